"""What the local stack does in every round beside its requests."""

import asyncio

import pytest

from bench.audit_plan import Traffic
from local.sweeper import SWEEP_INTERVAL_S, sweep_for_ever
from phigate.core.receipts.days import DAY_S, begins_at_s
from phigate.effects.store.dynamodb import Dynamo
from phigate.verify.roots import DIGESTS
from tests.fakes import FakeClock, Fault, FaultyDynamo
from tests.verify.account_fixture import AccountFixture, is_receipt

TRAFFIC = Traffic("clinic", "2026-07-01", days=3, per_day=4)
OPEN = AccountFixture.kept(TRAFFIC, is_closed=False)


class Stopped(Exception):  # named by what happened, like every error here
    """So many rounds are enough."""


class RoundsClock(FakeClock):
    """Stops the loop at the end of the last round."""

    def __init__(self, now_s: float, rounds: int) -> None:
        super().__init__(now_s)
        self._rounds = rounds

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once; a round ends with the sweeper's own pause."""
        self._rounds -= seconds == SWEEP_INTERVAL_S
        if self._rounds == 0:
            raise Stopped
        await super().sleep(seconds)


class Notes:
    """A EventLog that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def record(self, event: str, **fields: str | int | float | bool) -> None:
        """As the Protocol says."""
        self.lines.append((event, dict(fields)))


def rounds(fixture: AccountFixture, count: int, dynamo: Dynamo | None = None) -> Notes:
    """Let the loop go round so often, from an hour after the second day on."""
    dynamo = fixture.dynamo if dynamo is None else dynamo
    clock = RoundsClock(begins_at_s(fixture.day(1)) + DAY_S + 3_600.0, count)
    notes, root = Notes(), fixture.operator.signers[DIGESTS]
    with pytest.raises(Stopped):
        asyncio.run(sweep_for_ever(dynamo, root, clock, notes))
    return notes


def test_days_that_ended_are_closed_in_the_first_round() -> None:
    fixture = OPEN.copy()
    assert rounds(fixture, 1).lines == [("days_closed", {"days": 2})]
    assert sorted(name[1] for name in fixture.items if name[0] == "D#clinic") == [
        fixture.day(0),
        fixture.day(1),
    ]


def test_rounds_of_the_same_day_read_no_receipts() -> None:
    fixture = OPEN.copy()
    rounds(fixture, 1)
    before = fixture.dynamo.calls["Query"]
    rounds(fixture, 1)
    first = fixture.dynamo.calls["Query"] - before
    rounds(fixture, 50)
    # A process's first round looks for days; every round reads the list of accounts.
    assert fixture.dynamo.calls["Query"] - before - first == first + 49


def test_a_day_that_is_left_open_is_said() -> None:
    fixture = OPEN.copy()
    fixture.change(fixture.names(is_receipt, day=0)[0], z={"B": "AAAA"})
    assert rounds(fixture, 1).lines == [("days_left_open", {"accounts": 1})]


def test_a_store_that_is_down_ends_no_round() -> None:
    fixture = OPEN.copy()
    faults: list[Fault | None] = ["lost_before"] * 15
    notes = rounds(fixture, 25, FaultyDynamo(fixture.dynamo, faults))
    events = [event for event, _ in notes.lines]
    assert events[:2] == ["sweep_failed", "days_left_open"]
    assert events[-1] == "days_closed"
