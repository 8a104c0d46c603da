"""The breaker as a story: it opens, lets one call try, and closes on a success; and the count that
several processes share, as values."""

from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phigate.core.limits import (
    ATTEMPTS_MAX,
    BREAKER_FAILURES,
    BREAKER_OPEN_S,
    BREAKER_SKEW_S,
    BREAKER_WINDOW_S,
)
from phigate.core.routing.breaker import Breaker, Counted, recent, with_failure, without
from phigate.core.routing.route import Attempts, decide
from tests.builders import NOW_S, make_catalog, make_gate_context, make_requirements, make_row

ROW = "acme-one"
OPEN = frozenset({ROW})
CLOSED: frozenset[str] = frozenset()


def failing(at_s: list[float]) -> Breaker:
    breaker = Breaker()
    for moment in at_s:
        breaker.failed(ROW, moment)
    return breaker


def test_the_fifth_failure_within_a_minute_opens_for_half_a_minute() -> None:
    breaker = failing([0, 10, 20, 30])
    assert breaker.open_rows([ROW], 30) == CLOSED
    breaker.failed(ROW, 59)
    assert breaker.open_rows([ROW], 59) == OPEN
    assert breaker.open_rows([ROW], 88.9) == OPEN


def test_five_failures_over_more_than_a_minute_do_not_open() -> None:
    assert failing([0, 15, 30, 45, 60]).open_rows([ROW], 60) == CLOSED


def test_a_success_between_failures_starts_the_count_again() -> None:
    breaker = failing([0, 1, 2, 3])
    breaker.succeeded(ROW, 0)
    breaker.failed(ROW, 4)
    assert breaker.open_rows([ROW], 4) == CLOSED


def test_when_the_time_is_up_one_call_tries_and_the_others_still_pass_by() -> None:
    breaker = failing([0, 0, 0, 0, 0])
    assert breaker.open_rows([ROW], 30) == CLOSED
    assert breaker.open_rows([ROW], 30) == OPEN
    assert breaker.open_rows([ROW], 59.9) == OPEN


def test_a_successful_try_closes() -> None:
    breaker = failing([0, 0, 0, 0, 0])
    breaker.open_rows([ROW], 30)
    breaker.succeeded(ROW, 0)
    assert breaker.open_rows([ROW], 30) == CLOSED
    breaker.failed(ROW, 31)
    assert breaker.open_rows([ROW], 31) == CLOSED


def test_a_failed_try_opens_again() -> None:
    breaker = failing([0, 0, 0, 0, 0])
    breaker.open_rows([ROW], 30)
    breaker.failed(ROW, 40)
    assert breaker.open_rows([ROW], 69.9) == OPEN
    assert breaker.open_rows([ROW], 70) == CLOSED


def test_a_failed_try_long_after_opens_again() -> None:
    """Its first failures have left the window by then; it has still not succeeded."""
    breaker = failing([0, 0, 0, 0, 0])
    assert breaker.open_rows([ROW], 3_600) == CLOSED
    breaker.failed(ROW, 3_620)
    assert breaker.open_rows([ROW], 3_649.9) == OPEN
    assert breaker.open_rows([ROW], 3_650) == CLOSED


def test_rows_do_not_know_each_other() -> None:
    breaker = failing([0, 0, 0, 0, 0])
    assert breaker.open_rows([ROW, "other-one"], 1) == OPEN


def test_a_success_of_an_unknown_row_is_nothing() -> None:
    breaker = Breaker()
    breaker.succeeded(ROW, 0)
    assert breaker.open_rows([ROW], 0) == CLOSED


# What others have counted of the row, when this process saw it succeed, and until when it is open
# here from 100 on; None: not at all.
HEARD: dict[str, tuple[tuple[float, ...], float, float | None]] = {
    "five just now": ((96, 97, 98, 99, 100), 0, 130),
    "five a while ago: half a minute from the last": ((70, 71, 72, 73, 80), 0, 110),
    "five whose time is over": ((50, 51, 52, 53, 70), 0, None),
    "four": ((97, 98, 99, 100), 0, None),
    "five over a minute": ((40, 50, 60, 70, 100), 0, None),
    "five in just under a minute": ((40.1, 50, 60, 70, 100), 0, 130),
    "five since the last success here": ((96, 97, 98, 99, 100), 95, 130),
    "a success here between them": ((96, 97, 98, 99, 100), 97, None),
    "a success here after them": ((90, 91, 92, 93, 94), 99, None),
    "a clock that is ahead opens for no longer": ((100, 100, 100, 100, 101), 0, 130),
    "nothing": ((), 0, None),
}


@pytest.mark.parametrize(("at_s", "succeeded_at_s", "until_s"), HEARD.values(), ids=HEARD)
def test_what_others_have_counted_opens(
    at_s: tuple[float, ...], succeeded_at_s: float, until_s: float | None
) -> None:
    breaker = Breaker()
    if succeeded_at_s:
        breaker.succeeded(ROW, succeeded_at_s)
    opened = breaker.merge_shared({ROW: at_s}, 100)
    assert opened == breaker.open_rows([ROW], 100) == (CLOSED if until_s is None else OPEN)
    if until_s is not None:
        assert breaker.open_rows([ROW], until_s - 0.1) == OPEN
        assert breaker.open_rows([ROW], until_s) == CLOSED  # one call tries
        assert breaker.open_rows([ROW], until_s) == OPEN


FIVE: Counted = {ROW: (96, 97, 98, 99, 100)}


def test_a_row_that_others_opened_is_closed_by_a_success_here() -> None:
    breaker = Breaker()
    breaker.merge_shared(FIVE, 100)
    breaker.succeeded(ROW, 101)
    assert breaker.open_rows([ROW], 101) == CLOSED
    assert breaker.merge_shared(FIVE, 102) == breaker.open_rows([ROW], 102) == CLOSED


def test_a_row_that_others_opened_is_opened_again_by_one_failed_try() -> None:
    breaker = Breaker()
    breaker.merge_shared(FIVE, 100)
    assert breaker.open_rows([ROW], 130) == CLOSED
    assert breaker.failed(ROW, 131)
    assert breaker.open_rows([ROW], 160) == OPEN


def test_others_do_not_put_off_the_try_of_a_row_that_is_open_here() -> None:
    breaker = failing([0, 0, 0, 0, 0])
    assert breaker.merge_shared({ROW: (25, 26, 27, 28, 29)}, 29) == CLOSED
    assert breaker.open_rows([ROW], 30) == CLOSED


def test_a_failure_is_news_unless_the_row_is_open_and_it_was_not_its_try() -> None:
    breaker = Breaker()
    for moment in range(5):
        assert breaker.should_share(ROW, moment)
        breaker.failed(ROW, moment)
    assert not breaker.should_share(ROW, 5)
    breaker.failed(ROW, 5)
    assert breaker.open_rows([ROW], 35) == CLOSED
    assert breaker.should_share(ROW, 36)
    breaker.failed(ROW, 36)
    assert not breaker.should_share(ROW, 37)
    assert breaker.should_share("other-one", 37)


# What stands, the last success here, and what stands after a failure at 100.
COUNTS: dict[str, tuple[tuple[float, ...], float, tuple[float, ...]]] = {
    "the first": ((), 0, (100,)),
    "one more": ((98, 99), 0, (98, 99, 100)),
    "the fifth": ((96, 97, 98, 99), 0, (96, 97, 98, 99, 100)),
    "an open row is not counted further": ((95, 96, 97, 98, 99), 0, (95, 96, 97, 98, 99)),
    "one that was open: the last five": ((60, 61, 62, 63, 64), 0, (61, 62, 63, 64, 100)),
    "those of before a minute have gone": ((30, 40, 41), 0, (41, 100)),
    "those of before a success here too": ((97, 98, 99), 98, (99, 100)),
    "open for others, not for who saw a success": ((95, 96, 97, 98, 99), 98, (99, 100)),
    "another clock is ahead": ((100.5,), 0, (100, 100.5)),
}


@pytest.mark.parametrize(("stands", "succeeded_at_s", "after"), COUNTS.values(), ids=COUNTS)
def test_a_failure_is_counted(
    stands: tuple[float, ...], succeeded_at_s: float, after: tuple[float, ...]
) -> None:
    others = {"other-one": (1.0,)}
    counted = {ROW: stands, **others} if stands else others
    assert with_failure(counted, ROW, 100, succeeded_at_s) == {ROW: after, **others}


@pytest.mark.parametrize(
    ("counted", "after"),
    [
        ({ROW: (98, 99), "other-one": (1,)}, {"other-one": (1,)}),
        ({ROW: (98, 101)}, {ROW: (101,)}),
        ({ROW: (101,)}, {ROW: (101,)}),
        ({}, {}),
    ],
    ids=["all go", "a later one stays", "nothing from before", "nothing"],
)
def test_a_success_takes_the_failures_of_before(counted: Counted, after: Counted) -> None:
    changed = without(counted, ROW, 100)
    assert changed == after
    assert (changed is counted) == (after == counted), "nothing is written without a change"


@pytest.mark.parametrize(
    ("at_s", "stays"),
    [
        ((1, 100), True),
        ((1, 100 - BREAKER_WINDOW_S), False),
        ((100 + BREAKER_SKEW_S,), True),
        ((99, 100 + 2 * BREAKER_SKEW_S), False),
        ((), False),
    ],
    ids=["just now", "a minute ago", "a clock a little ahead", "the future", "none"],
)
def test_only_rows_that_failed_within_the_minute_are_recent(
    at_s: tuple[float, ...], stays: bool
) -> None:
    assert recent({ROW: at_s}, 100) == ({ROW: at_s} if stays else {})


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2),  # whose call
        st.booleans(),  # whether it failed
        st.sampled_from((0.5, 5.0, 14.0, 16.0)),  # after how long
    ),
    max_size=60,
)


@settings(max_examples=500, deadline=None)
@given(events=EVENTS)
def test_three_processes_open_a_row_exactly_at_the_fifth_failure(
    events: list[tuple[int, bool, float]],
) -> None:
    """Until then nobody has passed the row by, so the plain reading of the law is the measure."""
    breakers = [Breaker() for _ in range(3)]
    counted: Counted = {}
    told: list[tuple[float, bool]] = []
    now_s = NOW_S
    for who, fails, after_s in events:
        now_s += after_s
        told.append((now_s, fails))
        in_a_row = list(takewhile(lambda each: each[1], reversed(told)))
        of_late = [at_s for at_s, _ in in_a_row if at_s > now_s - BREAKER_WINDOW_S]
        counted = recent(counted, now_s)
        if fails:
            counted = with_failure(counted, ROW, now_s, breakers[who].succeeded_at_s(ROW))
        else:
            breakers[who].succeeded(ROW, now_s)
            counted = without(counted, ROW, now_s)
        opened = [bool(breaker.merge_shared(counted, now_s)) for breaker in breakers]
        if any(opened):
            assert len(of_late) == BREAKER_FAILURES
            assert all(opened), "everybody who looks knows"
            return
        assert len(of_late) < BREAKER_FAILURES


IDS = ("acme-one", "bolt-two", "cove-three", "dune-four")
TIMES = st.lists(st.floats(-100, 100), max_size=8).map(tuple)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fails"), st.sampled_from(IDS)),
        st.tuples(st.just("succeeds"), st.sampled_from(IDS)),
        st.tuples(st.just("is heard"), st.dictionaries(st.sampled_from(IDS), TIMES)),
        st.tuples(st.just("time passes"), st.sampled_from((0.1, 10.0, 31.0))),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_whatever_is_counted_every_candidate_is_tried_and_the_order_within_stays(
    steps: list[tuple[str, object]],
) -> None:
    """It moves rows last, nothing else; and no row is passed by for longer than half a minute."""
    breaker, now_s = Breaker(), NOW_S
    for what, value in steps:
        if what == "fails":
            breaker.failed(str(value), now_s)
        elif what == "succeeds":
            breaker.succeeded(str(value), now_s)
        elif isinstance(value, dict):
            breaker.merge_shared(
                {row: tuple(now_s + at for at in at_s) for row, at_s in value.items()}, now_s
            )
        elif isinstance(value, float):
            now_s += value
    catalog = make_catalog(make_row(row_id) for row_id in IDS)
    route = decide(catalog, make_requirements(), make_gate_context())
    candidates = [row.id for row in route.candidates]
    open_rows = breaker.open_rows(candidates, now_s)
    attempts = Attempts(route, open_rows)
    tried = [row.id for _ in range(ATTEMPTS_MAX) if (row := attempts.next(make_gate_context()))]
    assert tried == [
        *(row for row in candidates if row not in open_rows),
        *(row for row in candidates if row in open_rows),
    ]
    assert breaker.open_rows(candidates, now_s + BREAKER_OPEN_S) == CLOSED
