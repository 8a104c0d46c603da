"""Pauses before another try: full jitter, whoever waits."""

import pytest

from phigate.core.limits import LEDGER_TRIES_MAX
from phigate.effects.clock import WallClock
from phigate.effects.store.dynamodb import REPEAT_PAUSE_S, Throttled, repeat
from tests.fakes import Item

pytestmark = pytest.mark.anyio
CALLS = 200


class CountingClock(WallClock):
    """Keeps what it would sleep."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Sleep none of it."""
        self.slept_s.append(seconds)


class Throttling:
    """A table that is asked too much, until its last try."""

    table = "phigate"

    def __init__(self) -> None:
        self.tries = 0

    async def call(self, operation: str, payload: Item) -> Item:
        """One call."""
        self.tries += 1
        if self.tries < LEDGER_TRIES_MAX:
            raise Throttled(operation)
        return {}


async def test_a_pause_has_any_length_up_to_what_was_asked_for() -> None:
    clock = CountingClock()
    for _ in range(CALLS):
        await clock.back_off(8.0)
    assert all(0 <= slept_s <= 8.0 for slept_s in clock.slept_s)
    # Of 200 even draws none leaves a quarter empty but once in 10^24 runs.
    assert {int(slept_s // 2.0) for slept_s in clock.slept_s} >= {0, 1, 2, 3}


async def test_calls_that_failed_together_do_not_come_back_together() -> None:
    clocks = [CountingClock() for _ in range(CALLS)]
    for clock in clocks:
        await repeat(Throttling(), clock, "UpdateItem", {})
    for number in range(LEDGER_TRIES_MAX - 1):
        pauses = [clock.slept_s[number] for clock in clocks]
        assert max(pauses) <= REPEAT_PAUSE_S * 2**number
        assert len(set(pauses)) == CALLS
