"""What people may write on the command line, and what is refused."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.cli import tables, values

READ: dict[str, tuple[Callable[[str], Any], str, Any]] = {
    "whole dollars": (values.usd, "1", 1_000_000),
    "two decimals": (values.usd, "1.00", 1_000_000),
    "one decimal": (values.usd, "0.1", 100_000),
    "one micro": (values.usd, "0.000001", 1),
    "a figure that floats get wrong": (values.usd, "1.000003", 1_000_003),
    "the most": (values.usd, "999999999999.999999", 999_999_999_999_999_999),
    "nothing": (values.usd, "0.00", 0),
    "a rate without bound": (values.count, "1000000000000", 1_000_000_000_000),
    "the last port": (values.port, "65535", 65_535),
    "a day is its midnight in UTC": (values.day, "2030-01-01", 1_893_456_000),
    "a region in lower case": (values.region, "ch", "CH"),
    "regions with a space": (values.regions, "CH, eu", frozenset({"CH", "EU"})),
    "two models": (values.models, "gemma-4,qwen3.5", frozenset({"gemma-4", "qwen3.5"})),
    "a model tier": (values.model_tier, "Fast", "fast"),
    "an account": (values.account, "clinic-7.a_b", "clinic-7.a_b"),
    "a reference in any script": (values.reference, "Rechnung № 7", "Rechnung № 7"),
}

REFUSED: dict[str, tuple[Callable[[str], Any], str]] = {
    "an exponent": (values.usd, "1e3"),
    "a negative amount": (values.usd, "-1"),
    "less than a micro": (values.usd, "0.0000001"),
    "a sign": (values.usd, "+1"),
    "no digit before the point": (values.usd, ".5"),
    "no digit after the point": (values.usd, "1."),
    "a decimal comma": (values.usd, "1,00"),
    "grouped digits": (values.usd, "1_000"),
    "digits of another script": (values.usd, "\u0661"),
    "not a number": (values.usd, "nan"),
    "infinity": (values.usd, "inf"),
    "an amount with a space": (values.usd, " 1"),
    "an amount with a line end": (values.usd, "1.00\n"),
    "no amount": (values.usd, ""),
    "more dollars than the store counts": (values.usd, "1000000000000"),
    "a credit of nothing": (values.usd_above_zero, "0.000000"),
    "a rate of nothing": (values.count, "0"),
    "a rate below nothing": (values.count, "-5"),
    "half a call": (values.count, "1.5"),
    "a port past the last": (values.port, "65536"),
    "a day that is none": (values.day, "2030-02-30"),
    "a day in another order": (values.day, "01-02-2030"),
    "a day without hyphens": (values.day, "20300101"),
    "an unknown region": (values.region, "FR"),
    "a region too many commas": (values.regions, "CH,,EU"),
    "an empty model": (values.models, "gemma-4,"),
    "an unknown model tier": (values.model_tier, "turbo"),
    "an account with a separator": (values.account, "a#b"),
    "an account without a name": (values.account, ""),
    "an empty reference": (values.reference, ""),
    "a reference over the limit": (values.reference, "x" * 257),
    "a reference with a line end": (values.reference, "x\ny"),
    "a reference that is no text": (values.reference, "\udcff"),
}


@pytest.mark.parametrize(("read", "text", "value"), READ.values(), ids=READ)
def test_a_value_is_taken_exactly(read: Callable[[str], Any], text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(("read", "text"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_is_not_exact_is_refused(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_an_amount_that_is_printed_reads_back_as_itself(micros: int) -> None:
    assert values.usd(tables.usd(micros)) == micros


PRINTED = {0: "0.000000", 48: "0.000048", -48: "-0.000048", -1_000_001: "-1.000001"}


@pytest.mark.parametrize(("micros", "text"), PRINTED.items())
def test_an_amount_has_six_decimals(micros: int, text: str) -> None:
    assert tables.usd(micros) == text


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_stand_right() -> None:
    rows = [("a", "10.5"), ("longer", "7.25")]
    table = tables.columns(("NAME", "N"), rows, right=frozenset({"N"}))
    assert table == "NAME       N\na       10.5\nlonger  7.25"
