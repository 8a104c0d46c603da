"""The breaker as a story: it opens, lets one call try, and closes on a success."""

from phigate.core.breaker import Breaker

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
    breaker.succeeded(ROW)
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
    breaker.succeeded(ROW)
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
    breaker.succeeded(ROW)
    assert breaker.open_rows([ROW], 0) == CLOSED
