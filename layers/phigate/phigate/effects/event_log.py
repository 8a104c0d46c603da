"""Operational facts as lines: one event each, fields as name=value. Never content."""

from datetime import UTC, datetime
from typing import TextIO

from phigate.core.clock import Clock


class LineJournal:
    """Writes to a text stream; see core.event_log.EventLog."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def record(self, event: str, **fields: str | int | float | bool) -> None:
        """One line: time of day (UTC), event, fields."""
        time = datetime.fromtimestamp(self._clock.now_s(), UTC).strftime("%H:%M:%S")
        facts = " ".join(f"{name}={value}" for name, value in fields.items())
        self._stream.write(f"{time} {event} {facts}\n")
        self._stream.flush()
