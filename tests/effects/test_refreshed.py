"""A value that one fetches for all: proven once for everybody who has one, by a virtual clock."""

import asyncio
import contextlib
import gc
import math
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from phigate.effects.refreshed import Refreshed
from tests.fakes import FakeClock

RETRY_AFTER_S = 5.0
FRESH_S = 60.0


class Down(Exception):
    """What is asked does not answer."""


class Source:
    """What is asked; each fetch waits until it is answered."""

    def __init__(self) -> None:
        self.asked = 0
        self.waiting: list[asyncio.Future[int]] = []

    async def fetch(self) -> int:
        """The next number. Raises Down."""
        self.asked += 1
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        return await answer

    def answer(self, outcome: int | None) -> None:
        """To who waits; None is a failure."""
        answer = self.waiting.pop()
        if outcome is None:
            answer.set_exception(Down())
        else:
            answer.set_result(outcome)


class Office:
    """A value, what it is asked of, and who was told of failures."""

    def __init__(self) -> None:
        self.clock, self.source = FakeClock(), Source()
        self.failures: list[Exception] = []
        self.known = Refreshed(
            self.source.fetch,
            self.clock,
            retry_after_s=RETRY_AFTER_S,
            on_failure=self.failures.append,
        )

    async def fetched(self, outcome: int | None) -> None:
        """One whole fetch."""
        asking = asyncio.ensure_future(self.known.fetch())
        await turn()
        self.source.answer(outcome)
        with contextlib.suppress(Down):
            await asking


async def turn() -> None:
    """Let everybody go on as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_nothing_is_asked_before_somebody_asks() -> None:
    office = Office()
    await turn()
    await office.known.wait()  # of nothing
    assert (office.known.value, office.known.age_s(), office.source.asked) == (None, math.inf, 0)


@pytest.mark.anyio
async def test_one_fetch_serves_all_and_who_leaves_takes_nobody_along() -> None:
    office = Office()
    waiting = [asyncio.ensure_future(office.known.fetch()) for _ in range(20)]
    await turn()
    waiting[0].cancel()
    await turn()
    office.source.answer(7)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert (found[1:], office.source.asked) == ([7] * 19, 1)


@pytest.mark.anyio
async def test_what_nobody_waits_for_any_more_is_kept() -> None:
    office = Office()
    asking = asyncio.ensure_future(office.known.fetch())
    await turn()
    asking.cancel()
    await turn()
    office.source.answer(7)
    await turn()
    assert (office.known.value, office.known.age_s()) == (7, 0.0)


@pytest.mark.anyio
async def test_a_failure_is_raised_to_all_who_fetch_told_once_and_leaves_the_value() -> None:
    office = Office()
    await office.fetched(1)
    office.clock.time_s += FRESH_S
    waiting = [asyncio.ensure_future(office.known.fetch()) for _ in range(3)]
    patient = asyncio.ensure_future(office.known.wait())
    await turn()
    office.source.answer(None)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    await patient  # whatever comes of it
    assert [type(each) for each in found] == [Down] * 3
    assert [type(each) for each in office.failures] == [Down]
    assert (office.known.value, office.known.age_s()) == (1, FRESH_S)


@pytest.mark.anyio
async def test_a_failure_that_nobody_waits_for_is_not_written_by_the_loop() -> None:
    office = Office()
    written: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: written.append(context))
    assert office.known.renew()
    await turn()
    office.source.answer(None)
    await turn()
    del office
    gc.collect()
    assert written == []


# What is tried how long after a failure, and whether it asks.
RETRIES: dict[str, tuple[Callable[[Office], object], float, bool]] = {
    "renewing at once": (lambda office: office.known.renew(), 0.0, False),
    "renewing just before": (lambda office: office.known.renew(), RETRY_AFTER_S - 0.1, False),
    "renewing at its time": (lambda office: office.known.renew(), RETRY_AFTER_S, True),
    "renewing by a clock that was set back": (lambda office: office.known.renew(), -1.0, True),
    "fetching at once": (lambda office: asyncio.ensure_future(office.known.fetch()), 0.0, True),
    "waiting": (lambda office: asyncio.ensure_future(office.known.wait()), RETRY_AFTER_S, False),
}


@pytest.mark.parametrize("tries, passed_s, asks", RETRIES.values(), ids=RETRIES)
@pytest.mark.anyio
async def test_after_a_failure(
    tries: Callable[[Office], object], passed_s: float, asks: bool
) -> None:
    office = Office()
    await office.fetched(None)
    office.clock.time_s += passed_s
    tried = tries(office)
    await turn()
    assert office.source.asked - 1 == asks
    if isinstance(tried, bool):
        assert tried == asks
    if asks:
        office.source.answer(1)
        await turn()


# What passes between the question and the answer, and after it, and how old the value is then.
AGES = {
    "asked and answered at once": (0.0, 0.0, 0.0),
    "answered late": (10.0, 0.0, 10.0),
    "looked at late": (0.0, 10.0, 10.0),
    "both": (10.0, 10.0, 20.0),
    "a clock that was set back": (0.0, -0.1, math.inf),
}


@pytest.mark.parametrize("answered_s, passed_s, age_s", AGES.values(), ids=AGES)
@pytest.mark.anyio
async def test_a_value_is_as_old_as_its_question(
    answered_s: float, passed_s: float, age_s: float
) -> None:
    office = Office()
    asking = asyncio.ensure_future(office.known.fetch())
    await turn()
    office.clock.time_s += answered_s
    office.source.answer(1)
    await asking
    office.clock.time_s += passed_s
    assert office.known.age_s() == age_s


@pytest.mark.anyio
async def test_what_was_asked_for_before_it_expired_is_expired() -> None:
    office = Office()
    await office.fetched(1)
    assert office.known.renew()
    await turn()
    office.known.expire()
    office.source.answer(2)
    await turn()
    assert (office.known.value, office.known.age_s()) == (2, math.inf)
    await office.fetched(3)
    assert (office.known.value, office.known.age_s()) == (3, 0.0)


class RefreshedMachine(RuleBasedStateMachine):
    """Callers, time, answers and failures in any order, beside a model of two lines."""

    @initialize()
    def begin(self) -> None:
        """An office on a loop of its own."""
        self.loop = asyncio.new_event_loop()
        self.office = Office()
        self.waiting: list[asyncio.Task[int]] = []
        self.left: list[asyncio.Task[int]] = []
        self.number = 0
        self.value: int | None = None
        self.asked_at_s = -math.inf  # of the value
        self.flight_at_s: float | None = None  # when the one under way asked
        self.failed_at_s: float | None = None
        self.flights = self.failed = 0

    def teardown(self) -> None:
        """Nobody waits for ever."""
        if self.flight_at_s is not None:
            self.answer()
        self.loop.close()

    def _turn(self) -> None:
        self.loop.run_until_complete(turn())

    def _flies(self) -> None:
        if self.flight_at_s is None:
            self.flight_at_s = self.office.clock.now_s()
            self.flights += 1

    @rule(count=st.integers(1, 5))
    def fetch(self, count: int) -> None:
        """Some ask, who take what is under way or begin."""
        self.waiting += [self.loop.create_task(self.office.known.fetch()) for _ in range(count)]
        self._turn()
        self._flies()

    @rule()
    def renew(self) -> None:
        """One asks who does not wait."""
        now_s = self.office.clock.now_s()
        failed_at_s = self.failed_at_s
        is_early = failed_at_s is not None and 0 <= now_s - failed_at_s < RETRY_AFTER_S
        expected = self.flight_at_s is not None or not is_early

        async def renewed() -> bool:
            return self.office.known.renew()

        assert self.loop.run_until_complete(renewed()) == expected
        self._turn()
        if expected:
            self._flies()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """One who waits hangs up."""
        nth = data.draw(st.integers(0, len(self.waiting) - 1))
        gone = self.waiting.pop(nth)
        gone.cancel()
        self._turn()
        assert gone.cancelled()

    @rule(seconds=st.sampled_from([-1.0, 0.5, 1.0, RETRY_AFTER_S, FRESH_S]))
    def time_passes(self, seconds: float) -> None:
        """Or a clock is set back."""
        self.office.clock.time_s += seconds

    @precondition(lambda self: self.flight_at_s is not None)
    @rule()
    def answer(self) -> None:
        """What was asked answers: to all who wait, and to the next."""
        self.number += 1
        self.office.source.answer(self.number)
        self._turn()
        assert [each.result() for each in self.waiting] == [self.number] * len(self.waiting)
        assert self.flight_at_s is not None
        self.value, self.asked_at_s = self.number, self.flight_at_s
        self.waiting, self.flight_at_s, self.failed_at_s = [], None, None

    @precondition(lambda self: self.flight_at_s is not None)
    @rule()
    def fail(self) -> None:
        """What was asked does not answer: all who wait learn it, and what was known stays."""
        self.office.source.answer(None)
        self._turn()
        assert [type(each.exception()) for each in self.waiting] == [Down] * len(self.waiting)
        self.waiting, self.flight_at_s = [], None
        self.failed_at_s = self.office.clock.now_s()
        self.failed += 1

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        """One flight at a time, the last value that came, as old as its question."""
        if not hasattr(self, "office"):
            return
        office = self.office
        assert len(office.source.waiting) == (self.flight_at_s is not None)
        assert (office.source.asked, len(office.failures)) == (self.flights, self.failed)
        assert office.known.value == self.value
        age_s = office.clock.now_s() - self.asked_at_s
        assert office.known.age_s() == (age_s if age_s >= 0 else math.inf)
        assert not any(each.done() for each in self.waiting)


RefreshedMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestRefreshed = RefreshedMachine.TestCase
