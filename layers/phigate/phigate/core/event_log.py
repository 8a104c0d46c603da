"""Where operational facts go."""

from typing import Protocol


class EventLog(Protocol):
    """Counts and operational facts. Fields are ids, names, counts and micros; never content."""

    def record(self, event: str, **fields: str | int | float | bool) -> None: ...
