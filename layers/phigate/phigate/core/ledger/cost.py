"""What a request can cost, what it did cost, and which reports of usage are believed.

Law 1: integers only; a cost is rounded up once per request, over all its turns.
Law 2: the bound is never below what a provider may truthfully report: no token is shorter than a
byte of UTF-8, so bytes bound tokens.
Law 3: usage that is negative, not an integer or above the bound counts as missing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from phigate.core.types import Price, Requirements, Row, Usage

MICROS_PER_UNIT = 1_000_000  # prices are per million tokens


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that one turn at a row may use (tokens) and cost (micros)."""

    tokens_in: int
    tokens_out: int
    micros: int


def worst_case(row: Row, requirements: Requirements) -> Bound:
    """The hold for one turn: bytes as tokens, the row's overheads, the dearest input price."""
    tokens_in = (
        requirements.text_bytes
        + row.overhead_tokens
        + row.tokens_per_message * requirements.messages
        + (row.tool_overhead_tokens if requirements.has_tools else 0)
        + row.image_tokens_max * requirements.images
    )
    tokens_out = (
        row.tokens_out_default if requirements.tokens_out is None else requirements.tokens_out
    )
    price = row.price
    dearest_in = max(
        price.in_micros_per_mtok,
        price.cache_read_micros_per_mtok,
        price.cache_write_micros_per_mtok,
    )
    micros = _round_up(tokens_in * dearest_in + tokens_out * price.out_micros_per_mtok)
    return Bound(tokens_in, tokens_out, micros)


def cost(turns: Iterable[tuple[Price, Usage]]) -> int:
    """Micros for all turns of one request, rounded up once."""
    total = 0
    for price, usage in turns:
        plain = usage.tokens_in - usage.tokens_cache_read - usage.tokens_cache_write
        total += plain * price.in_micros_per_mtok
        total += usage.tokens_cache_read * price.cache_read_micros_per_mtok
        total += usage.tokens_cache_write * price.cache_write_micros_per_mtok
        total += usage.tokens_out * price.out_micros_per_mtok
    return _round_up(total)


def total(usages: Iterable[Usage]) -> Usage:
    """The sum over the turns of one request."""
    counts = [
        (u.tokens_in, u.tokens_out, u.tokens_cache_read, u.tokens_cache_write) for u in usages
    ]
    return Usage(*map(sum, zip(*counts, strict=True)))


def validated_usage(reported: object, limit: Bound) -> Usage | None:
    """A provider's `usage` object (OpenAI's names) as a value, or None when it cannot be true."""
    if not isinstance(reported, Mapping):
        return None
    details = reported.get("prompt_tokens_details")
    if not isinstance(details, Mapping):
        details = {}
    usage = (
        reported.get("prompt_tokens"),
        reported.get("completion_tokens"),
        _absent_as_zero(details.get("cached_tokens")),
        _absent_as_zero(details.get("cache_write_tokens")),
    )
    counts = [count for count in usage if type(count) is int and count >= 0]
    if len(counts) != len(usage):
        return None
    tokens_in, tokens_out, read, written = counts
    if tokens_in > limit.tokens_in or tokens_out > limit.tokens_out or read + written > tokens_in:
        return None
    return Usage(tokens_in, tokens_out, read, written)


def estimate(row: Row, requirements: Requirements, bytes_out: int, limit: Bound) -> Usage:
    """Usage by our own meter when none was reported; never above the bound."""
    images = row.image_tokens_max * requirements.images
    tokens_in = _tokens(requirements.text_bytes, row) + images
    tokens_out = _tokens(bytes_out, row)
    return Usage(min(tokens_in, limit.tokens_in), min(tokens_out, limit.tokens_out))


def estimate_unseen(row: Row, requirements: Requirements, worked_ms: int, limit: Bound) -> Usage:
    """Usage of an answer nobody saw a byte of: the prompt, and what the row writes in the time that
    it worked; never above what was asked for."""
    written = unseen_tokens(worked_ms, row.tokens_out_per_s, limit.tokens_out)
    return Usage(estimate(row, requirements, 0, limit).tokens_in, written)


def unseen_tokens(worked_ms: int, tokens_out_per_s: int, tokens_out_max: int) -> int:
    """What stands in a receipt's `worked`, as tokens."""
    return min(-(-worked_ms * tokens_out_per_s // 1000), tokens_out_max)


def tokens_affordable(
    rows: Iterable[Row], requirements: Requirements, available_micros: int
) -> int:
    """The largest max_tokens whose hold `available_micros` covers at every one of the rows."""
    least: int | None = None
    for row in rows:
        prompt = worst_case(row, replace(requirements, tokens_out=0)).micros
        left = max(0, available_micros - prompt) * MICROS_PER_UNIT
        affordable = min(left // max(1, row.price.out_micros_per_mtok), row.tokens_out_max)
        least = affordable if least is None else min(least, affordable)
    return least or 0


def text_bytes(value: Any) -> int:
    """UTF-8 bytes of every string and name inside a JSON value; numbers count as written."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(text_bytes(name) + text_bytes(member) for name, member in value.items())
    if isinstance(value, list):
        return sum(map(text_bytes, value))
    return len(str(value))


def json_bytes(value: Any) -> int:
    """The length of a value as JSON, spaced and escaped: no rendering of it is longer."""
    return len(json.dumps(value))


def _absent_as_zero(count: Any) -> Any:
    return 0 if count is None else count


def _tokens(count: int, row: Row) -> int:
    return -(-count * 10 // row.bytes_per_token_x10)


def _round_up(numerator: int) -> int:
    return -(-numerator // MICROS_PER_UNIT)
