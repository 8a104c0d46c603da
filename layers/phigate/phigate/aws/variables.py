"""How the text of one variable is read. What is wrong with it is a ValueError, whose text goes on
after the variable's name."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from phigate.core.types import REGIONS

_ROW_REGION = re.compile(r"[a-z0-9][a-z0-9.-]*/[A-Z]+")
_AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]")


def text(text: str) -> str:
    """Any text."""
    return text


class Variable(NamedTuple):
    """One variable, and how it is read. It must be set, unless it may be empty."""

    name: str
    read: Callable[[str], Any] = text
    may_be_empty: bool = False


class WhereSet(NamedTuple):
    """A part that is read only where this variable is set."""

    name: str


def issuer(text: str) -> str:
    """The base URL that receipts name."""
    if not text.startswith("https://") or text.endswith("/"):
        raise ValueError("is no https URL without a slash at its end")
    return text


def region(text: str) -> str:
    """One of ours."""
    if text not in REGIONS:
        raise ValueError(f"names {text}, which is none of {', '.join(REGIONS)}")
    return text


def aws_region(text: str) -> str:
    """One of AWS's."""
    if _AWS_REGION.fullmatch(text) is None:
        raise ValueError("is no AWS region")
    return text


def names(text: str) -> tuple[str, ...]:
    """One or more, parted by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise ValueError("names nothing")
    return found


def regions(text: str) -> tuple[str, ...]:
    """One or more of ours."""
    return tuple(region(name) for name in names(text))


def rows(text: str) -> frozenset[str]:
    """`*` is for local stacks: here each row and region is named."""
    found = frozenset(names(text)) if text else frozenset()
    if wrong := sorted(row for row in found if _ROW_REGION.fullmatch(row) is None):
        raise ValueError(f"holds {wrong[0]}, which is not row/region")
    return found


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"is {text}, not {' or '.join(words)}")
        return text

    return read


def is_on(text: str) -> bool:
    """`on` or `off`."""
    return one_of("on", "off")(text) == "on"


def count(least: int) -> Callable[[str], int]:
    """A whole number."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise ValueError(f"is no whole number of {least} or more")
        return int(text)

    return read
