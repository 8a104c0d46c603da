"""The clock that everything is told: wall time and pauses."""

from typing import Protocol


class Clock(Protocol):
    """Wall clock and pauses. Ages are measured on the wall clock: an environment freezes."""

    def now_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
