"""Receipt ids: their form, the time inside them, and what is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.receipts.ids import ID_CHARS, MalformedId, day_of, new_id, seconds_of

ZEROS, ONES = bytes(7), b"\xff" * 7

MADE = {
    "the epoch": (0, ZEROS, "AAAAAAAAAAAAAAAA"),
    "a day in 2026": (1_790_000_000, ZEROS, "AGqxO4AAAAAAAAAA"),
    "the last second that fits": ((1 << 40) - 1, ONES, "________________"),
}

DAYS = {
    "the last second of a day": (1_767_225_599, "2025-12-31"),
    "the first second of the next": (1_767_225_600, "2026-01-01"),
}

NOT_IDS = {
    "empty": "",
    "too short": "A" * 15,
    "too long": "A" * 17,
    "padding": "A" * 15 + "=",
    "the other base64": "A" * 15 + "+",
    "a line end": "A" * 15 + "\n",
    "a line end after it": "A" * 16 + "\n",
    "a letter that is not ASCII": "A" * 15 + "é",
    "a separator of item keys": "A" * 15 + "#",
}


@pytest.mark.parametrize("name", MADE)
def test_an_id_is_made_of_seconds_and_random_bytes(name: str) -> None:
    now_s, random_bytes, expected = MADE[name]
    assert new_id(now_s, random_bytes) == expected


@pytest.mark.parametrize("name", DAYS)
def test_the_day_is_the_utc_day_of_the_seconds(name: str) -> None:
    now_s, day = DAYS[name]
    assert day_of(new_id(now_s, ONES)) == day


@given(now_s=st.integers(0, (1 << 40) - 1), random_bytes=st.binary(min_size=7, max_size=7))
def test_every_id_gives_its_seconds_back(now_s: int, random_bytes: bytes) -> None:
    made = new_id(now_s, random_bytes)
    assert (seconds_of(made), len(made)) == (now_s, ID_CHARS)


@given(earlier=st.integers(0, 1 << 38), later=st.integers(0, 1 << 38))
def test_two_ids_differ_where_their_random_bytes_do(earlier: int, later: int) -> None:
    assert new_id(earlier, ZEROS) != new_id(later, ONES)


@pytest.mark.parametrize("name", NOT_IDS)
def test_what_is_no_id_is_refused(name: str) -> None:
    with pytest.raises(MalformedId):
        seconds_of(NOT_IDS[name])


def test_an_id_past_the_calendar_has_no_day() -> None:
    with pytest.raises(MalformedId):
        day_of("________________")


@pytest.mark.parametrize(("now_s", "count"), [(-1, 7), (1 << 40, 7), (0, 6), (0, 8)])
def test_an_id_is_not_made_of_anything_else(now_s: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"bytes"):
        new_id(now_s, bytes(count))
