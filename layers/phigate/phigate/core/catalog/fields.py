"""The fields of the catalog's tables: which are required, and what a right value looks like.

`catalog/README.md` says what each field means; this module says what it may hold.

Checking is strict: `phigate catalog check` and every push refuse a field that is not named here,
and the lack of one that is required. Reading is not: a snapshot that an older or a newer release
has signed may lack fields and hold others (`core.catalog.reading`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, get_args

from phigate.core.limits import NAME_BYTES_MAX
from phigate.core.request.fields import DROPPABLE
from phigate.core.request.prompt_cache import CACHE_KEY_NAMES
from phigate.core.types import MODEL_TIERS, REGIONS, Residency

Wrong = Callable[[Any], str | None]

TOKENS_OUT_DEFAULT_MAX = 8_192  # a hold for more would lock up credit for answers nobody asked for
TOKENS_MAX = 10_000_000  # ten times the longest context on offer
TOKENS_PER_S_MAX = 10_000  # five times the fastest hardware on offer
EVIDENCE_CHARS_MAX = 500  # a sentence, or a page's address with the day it was read
PRICE_MICROS_MAX = 10_000_000_000  # 10,000 USD per million tokens: more is a slip of the units
STATUSES = ("live", "staged", "alpha")  # `no_key` is found out at start, never written
LAWS = ("nFADP", "GDPR-28", "HIPAA-BAA")
KINDS = ("DPA", "BAA")
AUTH_SCHEMES = ("bearer", "x-api-key", "api-key", "google_service_account")
API_VERSIONS = ("2023-06-01", "2026-10-21")  # those that the adapters know

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")
ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
AWS_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
SHA256 = re.compile(r"[0-9a-f]{64}")
# The place that a host and its path name may hold variables; everything else is plain.
BASE_URL = re.compile(r"https://(?:[a-z0-9.-]|\{[a-z_]+\})+(?:/(?:[A-Za-z0-9._-]|\{[a-z_]+\})+)*")
WEB_URL = re.compile(r"https://[a-z0-9.-]+(?:/[^\s]*)?")


@dataclass(frozen=True, slots=True)
class Field:
    """`wrong` says in a sentence what is wrong with a value, or None.

    `absent` is what a snapshot means that was signed before the field was there; it is never weaker
    for PHI than any value. None: the field was there from the first release on, or may be left out.
    `reads_from` is set where not knowing the field would weaken the gate: the first release that
    knows it. A snapshot that has the field is refused by releases before.
    """

    wrong: Wrong
    is_required: bool = True
    absent: Any = None
    reads_from: str | None = None


Fields = dict[str, Field]


def is_name(value: Any) -> bool:
    """A name that fits in a header and in a JSON body without escaping."""
    return (
        isinstance(value, str)
        and NAME.fullmatch(value) is not None
        and len(value) <= NAME_BYTES_MAX
    )


def _name(value: Any) -> str | None:
    return None if is_name(value) else "must be a name"


def _matching(pattern: re.Pattern[str], what: str) -> Wrong:
    def wrong(value: Any) -> str | None:
        right = isinstance(value, str) and pattern.fullmatch(value) is not None
        return None if right else f"must be {what}"

    return wrong


def _whole(least: int, most: int) -> Wrong:
    def wrong(value: Any) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return "must be an integer"
        return None if least <= value <= most else f"must be from {least} to {most}"

    return wrong


def _one_of(names: tuple[str, ...]) -> Wrong:
    def wrong(value: Any) -> str | None:
        return None if value in names else f"must be one of {', '.join(names)}"

    return wrong


def _list_of(item_wrong: Wrong) -> Wrong:
    def wrong(value: Any) -> str | None:
        if not isinstance(value, list) or not value:
            return "must be a list that is not empty"
        for item in value:
            if (problem := item_wrong(item)) is not None:
                return f"{item!r} {problem}"
        texts = [str(item) for item in value]
        return None if len(set(texts)) == len(texts) else "names something twice"

    return wrong


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _day(value: Any) -> str | None:
    try:
        right = isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        right = False
    return None if right else "must be a date, year-month-day"


def _table(value: Any) -> str | None:
    return None if isinstance(value, dict) and value else "must be a table that is not empty"


def _tables(value: Any) -> str | None:
    return None if isinstance(value, list) and value else "must be a list of tables"


def _pins(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "must be a table"
    plain = all(isinstance(item, str | int) for item in value.values())
    return None if plain else "must hold text, integers and flags only"


def _evidence(value: Any) -> str | None:
    right = isinstance(value, str) and 0 < len(value.strip()) <= EVIDENCE_CHARS_MAX
    return None if right else f"must be text of at most {EVIDENCE_CHARS_MAX} characters"


_TOKENS = _whole(0, TOKENS_MAX)
_PRICE = _whole(0, PRICE_MICROS_MAX)
_ID = _matching(ID, "an id: lower case letters, digits, '.' and '-'")
_REGION = _one_of(REGIONS)

PROVIDER_FIELDS: Fields = {
    "provider": Field(_ID),
    "dialect": Field(_ID),
    "auth": Field(_one_of(AUTH_SCHEMES)),
    "agreements": Field(_table, is_required=False),
    "rows": Field(_tables),
}
AGREEMENT_FIELDS: Fields = {
    "id": Field(_ID),
    "law": Field(_one_of(LAWS)),
    "kind": Field(_one_of(KINDS)),
    "regions": Field(_list_of(_REGION)),
    "effective": Field(_day),
    "expires": Field(_day),
    "zero_retention": Field(_flag),
    "no_training": Field(_flag),
    "evidence_sha256": Field(_matching(SHA256, "a SHA-256 in hex")),
}
ROW_FIELDS: Fields = {
    "id": Field(_ID),
    "model": Field(_name),
    "status": Field(_one_of(STATUSES)),
    "model_tier": Field(_one_of(MODEL_TIERS)),
    "agreement": Field(_name, is_required=False),
    "modalities": Field(_list_of(_one_of(("text", "image")))),
    "supports_tools": Field(_flag),
    "supports_json_schema": Field(_flag),
    "confidential": Field(_flag),
    "context": Field(_whole(1, TOKENS_MAX)),
    "tokens_out_default": Field(_whole(1, TOKENS_MAX)),
    "tokens_out_max": Field(_whole(1, TOKENS_MAX)),
    "api_version": Field(_one_of(API_VERSIONS), is_required=False),
    "drops": Field(_list_of(_one_of(tuple(sorted(DROPPABLE)))), is_required=False),
    "max_tokens_name": Field(_one_of(("max_tokens", "max_completion_tokens"))),
    "cache_key_name": Field(_one_of(CACHE_KEY_NAMES), is_required=False),
    "cache_is_per_key": Field(_flag, is_required=False),
    "image_tokens_max": Field(_TOKENS),
    "overhead_tokens": Field(_TOKENS),
    "tokens_per_message": Field(_TOKENS),
    "tool_overhead_tokens": Field(_TOKENS),
    "bytes_per_token_x10": Field(_whole(10, 100)),
    "tokens_out_per_s": Field(_whole(1, TOKENS_PER_S_MAX), is_required=False),
    "tokens_out_per_s_evidence": Field(_evidence, is_required=False),
    "price": Field(_table),
    "places": Field(_table),
}
PRICE_FIELDS: Fields = {
    "in_micros_per_mtok": Field(_PRICE),
    "out_micros_per_mtok": Field(_PRICE),
    "cache_read_micros_per_mtok": Field(_PRICE, is_required=False),
    "cache_write_micros_per_mtok": Field(_PRICE, is_required=False),
}
PLACE_FIELDS: Fields = {
    "base_url": Field(
        _matching(BASE_URL, "an https URL, with no query, no closing slash and {variables} only")
    ),
    "residency": Field(_one_of(get_args(Residency))),
    "evidence_url": Field(_matching(WEB_URL, "an https URL")),
    "evidence_read": Field(_day),
    "pins": Field(_pins, is_required=False),
}
REGION_FIELDS: Fields = {
    "aws_regions": Field(_list_of(_matching(AWS_REGION, "the name of an AWS region"))),
    "chat": Field(_ID, is_required=False),
    "vision": Field(_ID, is_required=False),
    "math": Field(_ID, is_required=False),
    "sandbox": Field(_flag, is_required=False),
}
