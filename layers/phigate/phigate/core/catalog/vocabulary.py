"""What the fields of a catalog may hold: the words, patterns and bounds, each stated once.

The models of the catalog's files (`core.catalog.files`) and the reader of its signed snapshots
(`core.catalog.snapshot`) ask the same tests, so that what is pushed can be read.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Any, get_args

from phigate.core.limits import NAME_BYTES_MAX
from phigate.core.request.fields import DROPPABLE
from phigate.core.types import Residency, Status

Table = dict[str, Any]
Test = Callable[[Any], bool]

PARTS = ("regions", "aliases", "providers")
READS_FROM = "reads_from"  # the oldest release that may read the snapshot; made, never written
TASKS = ("chat", "vision", "math")

TOKENS_OUT_DEFAULT_MAX = 8_192  # a hold for more would lock up credit for answers nobody asked for
TOKENS_MAX = 10_000_000  # ten times the longest context on offer
TOKENS_PER_S_MAX = 10_000  # five times the fastest hardware on offer
EVIDENCE_CHARS_MAX = 500  # a sentence, or a page's address with the day it was read
PRICE_MICROS_MAX = 10_000_000_000  # 10,000 USD per million tokens: more is a slip of the units
BYTES_PER_TOKEN_X10 = (10, 100)  # least and most

# `no_key` and `overridden` are found out at start, never written.
STATUSES: tuple[Status, ...] = ("live", "staged", "alpha")
LAWS = ("nFADP", "GDPR-28", "HIPAA-BAA")
KINDS = ("DPA", "BAA")
AUTH_SCHEMES = ("bearer", "x-api-key", "api-key", "google_service_account")
API_VERSIONS = ("2023-06-01", "2026-10-21")  # those that the adapters know
MODALITIES = ("text", "image")
MAX_TOKENS_NAMES = ("max_tokens", "max_completion_tokens")
RESIDENCIES: tuple[Residency, ...] = get_args(Residency)
DROPS = tuple(sorted(DROPPABLE))

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")


def matching(pattern: str) -> Test:
    """The test for text that is the pattern from its first character to its last."""
    fullmatch = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and fullmatch(value) is not None


def one_of(names: tuple[str, ...]) -> Test:
    """The test for one of these words."""
    return lambda value: isinstance(value, str) and value in names


def is_name(value: Any) -> bool:
    """A name that fits in a header and in a JSON body without escaping."""
    return (
        isinstance(value, str)
        and _NAME.fullmatch(value) is not None
        and len(value) <= NAME_BYTES_MAX
    )


def is_day(value: Any) -> bool:
    """A day of the calendar as year-month-day, in that form alone."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def is_evidence(value: Any) -> bool:
    """Text that says something."""
    return isinstance(value, str) and 0 < len(value.strip()) <= EVIDENCE_CHARS_MAX


def is_plain(pins: Table) -> bool:
    """Whether a table holds text, integers and flags only."""
    return all(isinstance(item, str | int) for item in pins.values())


is_id = matching(r"[a-z0-9][a-z0-9.-]*")
is_sha256 = matching(r"[0-9a-f]{64}")
is_aws_region = matching(r"[a-z]{2}(-[a-z]+)+-[0-9]")
is_web_url = matching(r"https://[a-z0-9.-]+(?:/[^\s]*)?")
# The place that a host and its path name may hold variables; everything else is plain.
is_base_url = matching(r"https://(?:[a-z0-9.-]|\{[a-z_]+\})+(?:/(?:[A-Za-z0-9._-]|\{[a-z_]+\})+)*")
