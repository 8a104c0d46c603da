"""UTC days as text, `YYYY-MM-DD`: when they begin and close, which come after one another."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from phigate.core.limits import DAY_CLOSES_AFTER_S

DAY_S = 86_400
LAST_DAY = "9999-12-31"  # it has no day after it


def day_at(at_s: float) -> str:
    """The day of a time."""
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def begins_at_s(day: str) -> int:
    """The day's midnight. Raises ValueError for what is no day."""
    parsed = date.fromisoformat(day)
    return int(datetime(parsed.year, parsed.month, parsed.day, tzinfo=UTC).timestamp())


def is_day(text: object) -> bool:
    """Whether it is a day in the one spelling that is used here; ISO 8601 has several."""
    try:
        return isinstance(text, str) and text < LAST_DAY and day_at(begins_at_s(text)) == text
    except ValueError:
        return False


def closes_at_s(day: str) -> int:
    """When the day may be closed: every hold that began in it has been swept by then."""
    return begins_at_s(day) + DAY_S + DAY_CLOSES_AFTER_S


def next_day(day: str, days: int = 1) -> str:
    """The day so many days later; negative: earlier."""
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def days_from(first: str, last: str) -> Iterator[str]:
    """Every day from the first to the last, both included."""
    day = first
    while day <= last:
        yield day
        day = next_day(day)
