"""What processes tell each other of failing rows, on the fake and on a real engine."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from phigate.core.limits import BREAKER_TRIES_MAX, BREAKER_WINDOW_S
from phigate.core.routing.breaker import Counted
from phigate.effects.store.breaker import DynamoBreaker
from phigate.effects.store.dynamodb import Dynamo
from tests.effects.sandbox.slot_simulation import AtOnce
from tests.fakes import (
    FAULTS,
    FakeClock,
    FakeDynamo,
    Fault,
    FaultyDynamo,
    Item,
    RecordingEventLog,
)
from tests.ledger.conftest import RealStore
from tests.ledger.ledger_harness import drive
from tests.ledger.simulation import Execute

ROW = "acme-one"
KEY: Item = {"pk": {"S": "BREAKER"}, "sk": {"S": "X"}}
NOW_S = 1_790_000_000.0


@pytest.fixture(params=["fake", "dynoxide"])
def execute(request: pytest.FixtureRequest) -> Execute:
    """Both engines, on which nobody has counted yet."""
    if request.param == "fake":
        return FakeDynamo().execute
    store: RealStore = request.getfixturevalue("real_store")
    store.execute("DeleteItem", {"TableName": "phigate", "Key": KEY})
    return store.execute


class Counting(AtOnce):
    """A client that counts, and lets somebody else be first where a story asks for it."""

    def __init__(self, execute: Execute) -> None:
        super().__init__(execute)
        self.calls: list[str] = []
        self.before_put: Callable[[], object] = lambda: None

    async def call(self, operation: str, payload: Item) -> Item:
        """As the Protocol says."""
        self.calls.append(operation)
        if operation == "PutItem":
            self.before_put()
        return await super().call(operation, payload)


class Process:
    """One process of the stack."""

    def __init__(
        self, execute: Execute, clock: FakeClock, faults: Iterable[Fault | None] = ()
    ) -> None:
        self.dynamo = Counting(execute)
        self.event_log = RecordingEventLog()
        self.clock = clock
        self.breaker = DynamoBreaker(FaultyDynamo(self.dynamo, faults), clock, self.event_log)

    def fails(self, row_id: str = ROW, succeeded_at_s: float = 0.0) -> Counted:
        """A failure, now."""
        return drive(self.breaker.failed(row_id, self.clock.now_s(), succeeded_at_s))

    def succeeds(self, row_id: str = ROW) -> None:
        """A success, now."""
        drive(self.breaker.succeeded(row_id, self.clock.now_s()))

    def reads(self) -> dict[str, int]:
        """How many failures of each row it finds."""
        return {row_id: len(at_s) for row_id, at_s in drive(self.breaker.read()).items()}


class Stack:
    """Processes on one table, by one clock."""

    def __init__(self, execute: Execute, count: int = 2) -> None:
        self.clock = FakeClock(NOW_S)
        self.execute = execute
        self.processes = [Process(execute, self.clock) for _ in range(count)]

    @property
    def doc(self) -> Any:
        """What stands in the table."""
        item = self.execute("GetItem", {"TableName": "phigate", "Key": KEY})["Item"]
        assert set(item) == {"pk", "sk", "doc"}
        return json.loads(item["doc"]["S"])

    def put(self, **members: Item) -> None:
        """Somebody's hand in the table."""
        self.execute("PutItem", {"TableName": "phigate", "Item": {**KEY, **members}})


def test_failures_of_all_processes_add_up_and_hold_nothing_but_rows_and_times(
    execute: Execute,
) -> None:
    stack = Stack(execute)
    one, other = stack.processes
    assert one.fails() == {ROW: (NOW_S,)}
    stack.clock.time_s += 1.5
    assert other.fails() == {ROW: (NOW_S, NOW_S + 1.5)}
    other.fails("bolt-two")
    assert one.reads() == {ROW: 2, "bolt-two": 1}
    now_ms = int(NOW_S * 1000)
    assert stack.doc == {ROW: [now_ms, now_ms + 1500], "bolt-two": [now_ms + 1500]}


def test_a_success_takes_the_failures_of_all_processes(execute: Execute) -> None:
    stack = Stack(execute)
    one, other = stack.processes
    for process in (one, other, other):
        process.fails()
    one.fails("bolt-two")
    stack.clock.time_s += 1
    other.succeeds()
    assert one.reads() == {"bolt-two": 1}


def test_where_nothing_is_to_be_changed_nothing_is_written(execute: Execute) -> None:
    stack = Stack(execute)
    one, other = stack.processes
    one.reads()
    one.succeeds()
    for _ in range(5):
        one.fails()
    other.fails()  # the row is open: the others know
    assert other.dynamo.calls == ["GetItem"]
    assert one.dynamo.calls == ["GetItem"] * 2 + ["GetItem", "PutItem"] * 5


def test_what_is_older_than_the_window_goes_with_the_next_write(execute: Execute) -> None:
    stack = Stack(execute)
    one, other = stack.processes
    one.fails("bolt-two")
    stack.clock.time_s += BREAKER_WINDOW_S
    assert other.reads() == {}
    other.fails()
    assert set(stack.doc) == {ROW}


def test_who_was_second_counts_on_what_the_first_has_left(execute: Execute) -> None:
    stack = Stack(execute)
    one, other = stack.processes
    one.fails()

    def first() -> None:
        other.dynamo.before_put = lambda: None
        one.fails("bolt-two")

    other.dynamo.before_put = first
    assert {row: len(at_s) for row, at_s in other.fails().items()} == {ROW: 2, "bolt-two": 1}
    assert other.dynamo.calls == ["GetItem", "PutItem", "PutItem"]


def test_who_is_always_second_gives_up_and_knows_that_the_row_is_open(execute: Execute) -> None:
    stack = Stack(execute)
    one, other = stack.processes
    other.dynamo.before_put = one.fails
    counted = other.fails()
    assert len(counted[ROW]) == BREAKER_TRIES_MAX
    assert other.dynamo.calls == ["GetItem"] + ["PutItem"] * BREAKER_TRIES_MAX
    assert other.event_log.notes == []


def test_who_is_second_to_other_rows_gives_up_too(execute: Execute) -> None:
    stack = Stack(execute)
    one, other = stack.processes
    names = (f"row-{number}" for number in range(99))
    other.dynamo.before_put = lambda: one.fails(next(names))
    assert len(other.fails()) == BREAKER_TRIES_MAX
    assert other.dynamo.calls == ["GetItem"] + ["PutItem"] * BREAKER_TRIES_MAX


def test_a_success_is_told_for_a_minute_after_a_failure_that_is_known(execute: Execute) -> None:
    stack = Stack(execute, 3)
    one, other, third = stack.processes
    third.reads()
    one.fails()
    other.reads()
    for process, watches in ((one, True), (other, True), (third, False)):
        assert process.breaker.watches(ROW, stack.clock.now_s()) == watches
    assert not one.breaker.watches("bolt-two", stack.clock.now_s())
    one.succeeds()
    stack.clock.time_s += BREAKER_WINDOW_S - 1
    assert one.breaker.watches(ROW, stack.clock.now_s())  # others may have failed since
    stack.clock.time_s += 1
    assert not one.breaker.watches(ROW, stack.clock.now_s())


NOW_MS = int(NOW_S * 1000)
FIVE = [NOW_MS] * 5
GARBLED: dict[str, dict[str, Item]] = {
    "no JSON": {"doc": {"S": "{"}},
    "a list": {"doc": {"S": "[]"}},
    "no text": {"doc": {"N": "1"}},
    "another attribute": {"rows": {"S": "{}"}},
    "a row of no list": {"doc": {"S": json.dumps({ROW: 5})}},
    "times that are texts": {"doc": {"S": json.dumps({ROW: ["1"] * 5})}},
    "times that are flags": {"doc": {"S": json.dumps({ROW: [True] * 5})}},
    "times with a fraction": {"doc": {"S": json.dumps({ROW: [at + 0.5 for at in FIVE]})}},
    "no times": {"doc": {"S": json.dumps({ROW: []})}},
    "a clock that is a day ahead": {
        "doc": {"S": json.dumps({ROW: [at + 86_400_000 for at in FIVE]})}
    },
    "a clock in seconds": {"doc": {"S": json.dumps({ROW: [at // 1000 for at in FIVE]})}},
    "more than a clock can show": {"doc": {"S": json.dumps({ROW: [10**30] * 5})}},
}


@pytest.mark.parametrize("members", GARBLED.values(), ids=GARBLED)
def test_a_garbled_item_counts_as_nothing_and_is_replaced(
    execute: Execute, members: dict[str, Item]
) -> None:
    stack = Stack(execute)
    one, _ = stack.processes
    stack.put(**members)
    assert one.reads() == {}
    one.succeeds()
    assert one.fails() == {ROW: (NOW_S,)}
    assert one.reads() == {ROW: 1}
    assert one.event_log.notes == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", [0, 1], ids=["the read", "the write"])
def test_a_table_that_fails_is_noted_once_until_it_answers_and_is_nothing(
    execute: Execute, fault: Fault, at: int
) -> None:
    stack = Stack(execute)
    faults: list[Fault | None] = [*[None] * at, fault, fault, None, fault]
    process = Process(execute, stack.clock, faults)
    assert process.fails() == {}
    assert not process.breaker.watches(ROW, NOW_S), "else every success would knock again"
    assert process.reads() == {}
    kinds = {"conflict": "Conflict", "throttle": "Throttled"}
    noted = {"kind": kinds.get(fault, "Unavailable")}
    assert process.event_log.notes == [("breaker_not_shared", noted)]
    process.reads()
    assert process.reads() == {}
    assert process.event_log.notes == [("breaker_not_shared", noted)] * 2


def test_a_write_whose_outcome_is_unknown_is_not_sent_again(execute: Execute) -> None:
    stack = Stack(execute)
    process = Process(execute, stack.clock, [None, "lost_after"])
    process.fails()
    assert stack.processes[0].reads() == {ROW: 1}
    assert process.dynamo.calls == ["GetItem", "PutItem"]


class Slow:
    """A client whose every call lets others have their turn."""

    table = "phigate"

    def __init__(self, inner: Dynamo) -> None:
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """As the Protocol says."""
        for _ in range(3):
            await asyncio.sleep(0)
        return await self._inner.call(operation, payload)


def test_a_success_is_told_after_the_failure_that_it_ends() -> None:
    """Of a row that is tried twice the first try may still be told when the second has answered."""
    table, clock = FakeDynamo(), FakeClock(NOW_S)
    breaker = DynamoBreaker(Slow(table), clock, RecordingEventLog())

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(breaker.failed(ROW, clock.now_s(), 0.0))
            await asyncio.sleep(0)
            clock.time_s += 1
            assert breaker.watches(ROW, clock.now_s())
            tasks.create_task(breaker.succeeded(ROW, clock.now_s()))
        assert await breaker.read() == {}

    asyncio.run(story())
