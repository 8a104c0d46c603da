"""Costs by hand, the bound as a property, and which reports of usage are believed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.ledger.cost import (
    Bound,
    cost,
    estimate,
    text_bytes,
    tokens_affordable,
    validated_usage,
    worst_case,
)
from phigate.core.types import Price, Requirements, Row, Usage
from tests.builders import (
    GEMMA_PRICE,
    make_price,
    make_requirements,
    make_row,
    repository_catalog,
)

CENT = make_price(10_000, 10_000)
CACHING = make_price(3_300_000, 16_500_000, read=330_000, write=4_130_000)
LIMIT = Bound(1_000, 100, 0)

# Turns of one request, and micros computed by hand.
COSTS: dict[str, tuple[list[tuple[Price, Usage]], int]] = {
    # 100 x 0.24 + 50 x 0.48 = 24 + 24
    "100 in and 50 out on CH gemma-4": ([(GEMMA_PRICE, Usage(100, 50))], 48),
    "nothing": ([(GEMMA_PRICE, Usage(0, 0))], 0),
    "no turns": ([], 0),
    # 0.24 is rounded up
    "one token": ([(GEMMA_PRICE, Usage(1, 0))], 1),
    # 3 x 0.24 + 2 x 0.48 = 1.68
    "a fraction is rounded up": ([(GEMMA_PRICE, Usage(3, 2))], 2),
    # 0.01 for each of 100 turns is 1 micro, not 100
    "many turns are rounded once": ([(CENT, Usage(1, 0))] * 100, 1),
    # 1.01 micros
    "one turn more": ([(CENT, Usage(1, 0))] * 101, 2),
    # 600 x 3.30 + 300 x 0.33 + 100 x 4.13 + 10 x 16.50 = 1980 + 99 + 413 + 165
    "cached tokens at their own prices": ([(CACHING, Usage(1_000, 10, 300, 100))], 2_657),
    # 1000 x 0.33
    "all of it read from the cache": ([(CACHING, Usage(1_000, 0, 1_000, 0))], 330),
    # 2 x 0.24 + 1 x 3.30 = 3.78
    "turns at different prices": (
        [(GEMMA_PRICE, Usage(2, 0)), (CACHING, Usage(1, 0))],
        4,
    ),
    "a million tokens each way": ([(GEMMA_PRICE, Usage(1_000_000, 1_000_000))], 720_000),
}


@pytest.mark.parametrize(("turns", "micros"), COSTS.values(), ids=COSTS)
def test_cost_by_hand(turns: list[tuple[Price, Usage]], micros: int) -> None:
    assert cost(turns) == micros


def test_100_in_and_50_out_on_the_row_of_the_repository_cost_48_micros() -> None:
    row = repository_catalog().rows_by_id["infomaniak-gemma-4-31b"]
    assert cost([(row.price, Usage(100, 50))]) == 48


# What is asked of make_row() at gemma's price, and the bound by hand.
BOUNDS: dict[str, tuple[Requirements, Bound]] = {
    # 100 bytes + 32 + 8; 140 x 0.24 + 8192 x 0.48 = 33.6 + 3932.16
    "a text without max_tokens": (make_requirements(), Bound(140, 8_192, 3_966)),
    # 33.6 + 4.8
    "with max_tokens": (make_requirements(tokens_out=10), Bound(140, 10, 39)),
    # 100 + 32 + 8 x 5
    "five messages": (make_requirements(messages=5, tokens_out=10), Bound(172, 10, 47)),
    # 140 + 256
    "tools": (make_requirements(has_tools=True, tokens_out=10), Bound(396, 10, 100)),
    # 140 + 2 x 1000
    "two images": (make_requirements(images=2, tokens_out=10), Bound(2_140, 10, 519)),
}


@pytest.mark.parametrize(("requirements", "limit"), BOUNDS.values(), ids=BOUNDS)
def test_bound_by_hand(requirements: Requirements, limit: Bound) -> None:
    assert worst_case(make_row(), requirements) == limit


def test_the_bound_takes_the_dearest_input_price() -> None:
    requirements = make_requirements(tokens_out=1)
    for dear in (
        make_price(2_000_000, 0),
        make_price(1, 0, read=2_000_000),
        make_price(1, 0, write=2_000_000),
    ):
        assert worst_case(make_row(price=dear), requirements).micros == 280


rates = st.integers(0, 100_000_000)
counts = st.integers(0, 5_000)
prices = st.builds(Price, rates, rates, rates, rates)
rows = st.builds(
    make_row,
    price=prices,
    image_tokens_max=counts,
    overhead_tokens=counts,
    tokens_per_message=counts,
    tool_overhead_tokens=counts,
    bytes_per_token_x10=st.integers(10, 80),
)
requests = st.builds(
    make_requirements,
    text_bytes=counts,
    messages=st.integers(1, 50),
    images=st.integers(0, 20),
    has_tools=st.booleans(),
    tokens_out=st.none() | st.integers(1, 8_192),
)


@given(row=rows, requirements=requests, data=st.data())
def test_the_bound_is_never_below_a_usage_that_is_believed(
    row: Row, requirements: Requirements, data: st.DataObject
) -> None:
    limit = worst_case(row, requirements)
    tokens_in = data.draw(st.integers(0, limit.tokens_in + 1))
    reported = {
        "prompt_tokens": tokens_in,
        "completion_tokens": data.draw(st.integers(0, limit.tokens_out + 1)),
        "prompt_tokens_details": {
            "cached_tokens": data.draw(st.integers(0, tokens_in + 1)),
            "cache_write_tokens": data.draw(st.integers(0, tokens_in + 1)),
        },
    }
    usage = validated_usage(reported, limit)
    if usage is not None:
        assert 0 <= cost([(row.price, usage)]) <= limit.micros


@given(row=rows, requirements=requests, bytes_out=st.integers(0, 100_000))
def test_the_bound_is_never_below_an_estimate(
    row: Row, requirements: Requirements, bytes_out: int
) -> None:
    limit = worst_case(row, requirements)
    assert cost([(row.price, estimate(row, requirements, bytes_out, limit))]) <= limit.micros


@given(row=rows, requirements=requests, available=st.integers(0, 10_000_000))
def test_what_is_called_affordable_is_and_leaves_less_than_a_micro(
    row: Row, requirements: Requirements, available: int
) -> None:
    most = tokens_affordable([row], requirements, available)
    if most > 0:
        assert worst_case(row, replace(requirements, tokens_out=most)).micros <= available
    if most < row.tokens_out_max and row.price.out_micros_per_mtok:
        assert worst_case(row, replace(requirements, tokens_out=most + 1)).micros >= available


def test_affordable_is_what_the_dearest_of_the_rows_affords() -> None:
    cheap, dear = make_row("a-1"), make_row("b-1", price=make_price(240_000, 4_800_000))
    requirements = make_requirements()
    assert tokens_affordable([cheap, dear], requirements, 82) == 10
    assert tokens_affordable([cheap], requirements, 82) == 100
    assert tokens_affordable([cheap], requirements, 10**9) == 8_192
    assert tokens_affordable([], requirements, 82) == 0


def reported(tokens_in: Any, tokens_out: Any, **details: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
    return {**usage, "prompt_tokens_details": details} if details else usage


# What a provider reports, and what is believed of it under LIMIT.
REPORTS: dict[str, tuple[object, Usage | None]] = {
    "plain": (reported(10, 5), Usage(10, 5)),
    "nothing used": (reported(0, 0), Usage(0, 0)),
    "exactly the bound": (reported(1_000, 100), Usage(1_000, 100)),
    "with cached tokens": (
        reported(10, 5, cached_tokens=4, cache_write_tokens=6),
        Usage(10, 5, 4, 6),
    ),
    "null details": (
        {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": None},
        Usage(1, 1),
    ),
    "null cached tokens": (reported(1, 1, cached_tokens=None), Usage(1, 1)),
    "details that are no object": (
        {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": [9]},
        Usage(1, 1),
    ),
    "other members do not matter": ({**reported(1, 1), "total_tokens": -9}, Usage(1, 1)),
    "none": (None, None),
    "empty": ({}, None),
    "text": ("10", None),
    "a list": ([10, 5], None),
    "one count missing": ({"prompt_tokens": 10}, None),
    "a null count": (reported(None, 5), None),
    "negative input": (reported(-1, 5), None),
    "negative output": (reported(10, -5), None),
    "a fraction": (reported(10.0, 5), None),
    "infinity": (reported(float("inf"), 5), None),
    "true is no count": (reported(True, 5), None),
    "text as a count": (reported("10", 5), None),
    "input above the bound": (reported(1_001, 5), None),
    "output above the bound": (reported(10, 101), None),
    "absurd": (reported(10**30, 10**30), None),
    "more cached than sent": (reported(10, 5, cached_tokens=11), None),
    "read and written exceed what was sent": (
        reported(10, 5, cached_tokens=6, cache_write_tokens=5),
        None,
    ),
    "negative cached tokens": (reported(10, 5, cached_tokens=-1), None),
    "text as cached tokens": (reported(10, 5, cached_tokens="1"), None),
}


@pytest.mark.parametrize(("usage", "expected"), REPORTS.values(), ids=REPORTS)
def test_a_report_is_believed_or_counts_as_missing(usage: object, expected: Usage | None) -> None:
    assert validated_usage(usage, LIMIT) == expected


def test_an_estimate_is_rounded_up_and_counts_images() -> None:
    """3.5 bytes a token: 36 bytes are 11 tokens, 8 bytes are 3."""
    requirements = make_requirements(text_bytes=36, images=1)
    limit = worst_case(make_row(), requirements)
    assert estimate(make_row(), requirements, 8, limit) == Usage(1_011, 3)


def test_an_estimate_stays_within_the_bound() -> None:
    assert estimate(make_row(), make_requirements(), 10**9, LIMIT).tokens_out == LIMIT.tokens_out


# A JSON value, and its bytes of text.
TEXTS: dict[str, tuple[Any, int]] = {
    "ASCII": ("Hello", 5),
    "umlauts": ("Grüezi", 7),
    "beyond the basic plane": ("\U0001f600", 4),
    "names count": ({"ab": "c"}, 3),
    "nested": ([{"a": ["b", {"c": "d"}]}], 4),
    "numbers as written": ([10, -1.5], 6),
    "true, false and null": ([True, False, None], 13),
    "empty": ({"": []}, 0),
}


@pytest.mark.parametrize(("value", "size"), TEXTS.values(), ids=TEXTS)
def test_text_is_counted_in_utf_8(value: Any, size: int) -> None:
    assert text_bytes(value) == size
