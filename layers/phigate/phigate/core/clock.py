"""The clock that everything is told: wall time and pauses."""

from typing import Protocol


class Clock(Protocol):
    """Wall clock and pauses. Ages are measured on the wall clock: an environment freezes."""

    def now_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    async def back_off(self, at_most_s: float) -> None:
        """Pause before another try, for any time up to this (full jitter): those who failed
        together must not come back together.

        https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
        """
        ...
