"""How amounts, days and tables look on a terminal."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from phigate.core.catalog.price import MICROS_PER_USD


def usd(micros: int) -> str:
    """Dollars with all six decimals: -48 is `-0.000048`."""
    sign = "-" if micros < 0 else ""
    dollars, rest = divmod(abs(micros), MICROS_PER_USD)
    return f"{sign}{dollars}.{rest:06d}"


def amount(micros: int) -> str:
    """An amount in both units."""
    return f"{usd(micros)} USD ({micros} micro)"


def day(at_s: int) -> str:
    """The UTC day of a time, `YYYY-MM-DD`; a time that no calendar has as its number."""
    try:
        return datetime.fromtimestamp(at_s, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return str(at_s)


def moment(at_s: int) -> str:
    """A time to the second, in UTC; one that no calendar has as its number."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return str(at_s)


def plain(text: str) -> str:
    """A text that others wrote, on one line: what could move a terminal's cursor is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns(
    headings: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = frozenset()
) -> str:
    """A table under its headings; the columns named in `right` hold numbers."""
    lines = [tuple(headings), *(tuple(plain(cell) for cell in row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    aligned = [
        [
            cell.rjust(width) if heading in right else cell.ljust(width)
            for heading, cell, width in zip(headings, line, widths, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and their values, one line each."""
    known = list(pairs)
    width = max(len(name) for name, _ in known)
    return "\n".join(f"{name.ljust(width)}  {plain(value)}".rstrip() for name, value in known)
