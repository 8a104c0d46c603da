"""Ranges of numbers agree with a plain set of them."""

from hypothesis import given
from hypothesis import strategies as st

from phigate.verify.sequence import Numbers

DAYS = st.lists(st.lists(st.integers(1, 40), max_size=12), max_size=6)


@given(days=DAYS, first=st.integers(1, 40), length=st.integers(0, 40))
def test_ranges_say_what_a_set_says(days: list[list[int]], first: int, length: int) -> None:
    numbers, plain = Numbers(), set[int]()
    for day in days:
        doubled = {n for n in day if n in plain or day.count(n) > 1}
        assert numbers.add(day) == sorted(doubled)
        plain.update(day)
    last = first + length
    missing = [n for a, b in numbers.missing(first, last) for n in range(a, b + 1)]
    assert missing == [n for n in range(first, last + 1) if n not in plain]
    assert bool(numbers) == bool(plain)
    if plain:
        assert (numbers.first, numbers.last) == (min(plain), max(plain))


def test_a_long_run_is_one_range() -> None:
    numbers = Numbers(range(1, 100_001))
    assert numbers.missing(0, 100_001) == [(0, 0), (100_001, 100_001)]
