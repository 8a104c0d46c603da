"""Local times from the system's time zone database, else from the tzdata package.

https://docs.python.org/3/library/zoneinfo.html
"""

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class SystemZones:
    """See core.tool_loop.Zones."""

    def local(self, timezone: str, at_s: float) -> datetime | None:
        """The local time; None for a name that is no time zone."""
        try:
            return datetime.fromtimestamp(at_s, ZoneInfo(timezone))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None
