"""Several gateways on one table: what one has seen of a failing row moves it last at the others."""

import asyncio
import heapq
import itertools
import random
from typing import Any

import pytest

from phigate.core.limits import BREAKER_FAILURES, BREAKER_OPEN_S, BREAKER_WINDOW_S
from phigate.core.types import Json
from phigate.effects.store.breaker import DynamoBreaker
from phigate.effects.store.dynamodb import Dynamo
from phigate.pipeline.call import row_health
from tests.builders import NOW_S, make_catalog, make_row
from tests.fakes import (
    FAULTS,
    FakeClock,
    FakeDynamo,
    Fault,
    FaultyDynamo,
    Item,
    Script,
    StaticCatalog,
)
from tests.pipeline.gateway_harness import (
    CREDIT_MICROS,
    GOOD_STREAM,
    PLAIN,
    ROWS,
    STREAM,
    GatewayHarness,
    answers,
    chunk,
    fails,
    streams,
)

ROW, NEXT = "acme-one", "bolt-two"
DOWN = fails(500)


class Process(GatewayHarness):
    """A harness with a table and a clock that others have too."""

    def __init__(self, table: Dynamo, clock: FakeClock | None = None, **options: Any) -> None:
        super().__init__(clock=clock, **options)
        self.use(shared_breaker=DynamoBreaker(table, self.clock, self.event_log))

    def tries(self, *scripts: Script, body: Json = PLAIN) -> list[str]:
        """The rows that one call tries when the upstreams answer so; a second passes after it."""
        self.plays(*scripts)

        async def through() -> None:
            await self.serve(body)
            await self.gateway.wait_idle()

        asyncio.run(through())
        self.told()
        self.pass_time(1)
        return self.upstream.rows

    def reads_its_catalog(self) -> None:
        """As it does every CATALOG_FRESH_S; the next call finds it so."""
        self.use(catalog=StaticCatalog(make_catalog(ROWS), self.clock.now_s()))


def two(table: Dynamo | None = None, **options: Any) -> tuple[Process, Process]:
    """Two processes of one stack."""
    shared, clock = table or FakeDynamo(), FakeClock(NOW_S)
    return Process(shared, clock, **options), Process(shared, clock, **options)


def opened(process: Process) -> list[dict[str, Any]]:
    """What its event log says of opened rows."""
    return process.event_log.fields("breaker_opened")


@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["json", "stream"])
def test_what_one_has_seen_fail_five_times_the_other_tries_last(body: Json) -> None:
    one, other = two()
    good = GOOD_STREAM if body is STREAM else answers()
    assert other.tries(good, body=body) == [ROW]
    for _ in range(5):
        assert one.tries(DOWN, good, body=body) == [ROW, NEXT]
    assert other.tries(good, body={**body, "model": NEXT}) == [NEXT]
    other.reads_its_catalog()
    # The call that finds it so does not wait for the count; the next one knows.
    assert other.tries(good, body={**body, "model": NEXT}) == [NEXT]
    assert other.tries(good, body=body) == [NEXT]
    assert opened(one) == [{"row": ROW}]
    assert other.event_log.fields("breaker_heard") == [{"row": ROW}]
    assert opened(other) == []


def test_after_one_failure_of_its_own_a_process_knows_of_the_others() -> None:
    one, other = two()
    other.tries(answers())
    for _ in range(4):
        one.tries(DOWN, answers())
    assert other.tries(DOWN, answers()) == [ROW, NEXT]
    assert other.tries(answers()) == [NEXT]
    # The fifth was the other's own, which this one has not looked at yet.
    assert one.tries(DOWN, answers()) == [ROW, NEXT]
    assert one.tries(answers()) == [NEXT]


def test_streams_that_break_off_count_too() -> None:
    one, other = two()
    for _ in range(4):
        one.tries(streams(chunk("Hel")), body=STREAM)
    other.tries(streams(chunk("Hel")), body=STREAM)
    assert other.tries(GOOD_STREAM, body=STREAM) == [NEXT]


def test_half_a_minute_after_it_one_call_of_each_process_tries_the_row() -> None:
    one, other = two()
    for _ in range(4):
        one.tries(DOWN, answers())
    other.tries(DOWN, answers())
    other.pass_time(BREAKER_OPEN_S)
    assert other.tries(DOWN, answers()) == [ROW, NEXT]
    assert other.tries(answers()) == [NEXT]
    other.pass_time(BREAKER_OPEN_S)
    assert other.tries(answers()) == [ROW]
    assert other.tries(answers()) == [ROW]


def test_a_success_anywhere_ends_the_count() -> None:
    one, other = two()
    for _ in range(4):
        one.tries(DOWN, answers())
    assert one.tries(answers()) == [ROW]
    other.tries(DOWN, answers())
    assert other.tries(answers()) == [ROW]
    assert opened(one) == opened(other) == []


def test_what_a_process_has_seen_succeed_ends_the_count_at_its_next_failure() -> None:
    """It tells nobody while all is well; its first failure says what went well before it."""
    table = FakeDynamo()
    one, other = two(table)
    third = Process(table, one.clock)
    other.tries(answers())
    for _ in range(4):
        one.tries(DOWN, answers())
    assert other.tries(answers()) == [ROW]
    other.tries(DOWN, answers())
    third.tries(DOWN, answers())
    assert third.tries(answers()) == [ROW]
    assert opened(other) == opened(third) == []


def test_while_nothing_fails_the_table_is_read_once_for_each_reading_of_the_catalog() -> None:
    table = FakeDynamo()
    one, _ = two(table)
    for _ in range(3):
        one.tries(answers())
    assert table.calls == {"GetItem": 1}
    one.reads_its_catalog()
    for body, good in ((PLAIN, answers()), (STREAM, GOOD_STREAM)):
        one.tries(good, body=body)
    assert table.calls == {"GetItem": 2}


def test_a_row_that_is_down_and_has_no_other_costs_five_writes_and_then_one_a_try() -> None:
    table = FakeDynamo()
    one = Process(table, rows=[make_row(ROW)])
    for _ in range(20):
        assert one.tries(DOWN, DOWN) == [ROW, ROW]
    assert table.calls == {"GetItem": 1 + 5, "PutItem": 5}
    one.pass_time(BREAKER_OPEN_S)
    for _ in range(20):
        one.tries(DOWN, DOWN)
    assert table.calls == {"GetItem": 1 + 6, "PutItem": 6}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", range(4))
def test_a_table_that_fails_changes_no_answer(fault: Fault, at: int) -> None:
    told = []
    for faults in ([], [*[None] * at, *[fault] * 99]):
        process = Process(FaultyDynamo(FakeDynamo(), faults))
        assert process.tries(DOWN, answers()) == [ROW, NEXT]
        assert process.tries(answers()) == [ROW]
        told.append((process.told(), process.account()))
        assert len(process.event_log.fields("breaker_not_shared")) == min(1, len(faults))
        assert process.event_log.fields("bug") == []
    (healthy, account), (failing, failing_account) = told
    assert (failing.status, failing.headers.keys()) == (200, healthy.headers.keys())
    assert failing.json == healthy.json
    assert failing_account == account
    assert account["held"] == 0 and account["top"] == CREDIT_MICROS


class Hanging:
    """A table that answers when it may."""

    table = "phigate"

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = 0

    async def call(self, operation: str, payload: Item) -> Item:
        """As the Protocol says."""
        self.asked += 1
        await self.may.wait()
        return {}


def test_no_answer_waits_for_the_table_and_the_end_of_the_invocation_a_moment() -> None:
    async def story() -> None:
        table = Hanging()
        process = Process(table)
        process.plays(DOWN, answers())
        await process.serve(PLAIN)
        assert process.told().status == 200
        assert process.upstream.rows == [ROW, NEXT]
        draining = asyncio.ensure_future(process.gateway.wait_idle())
        await asyncio.sleep(0)
        assert table.asked and not draining.done()
        await draining  # given up: the table never answers
        assert not table.may.is_set()

    asyncio.run(story())


def test_a_refused_key_opens_no_row_for_others() -> None:
    """Each environment loses its attempts to a key that was revoked, and no healthy row is passed
    by for it."""

    async def story() -> None:
        table = FakeDynamo()
        for _ in range(BREAKER_FAILURES):
            process = Process(table)
            process.plays(fails(401), answers())
            await process.serve(PLAIN)
            await process.gateway.wait_idle()
        other = Process(table)
        other.plays(answers())
        await other.serve(PLAIN)
        await other.gateway.wait_idle()
        assert other.upstream.rows == [ROW]
        assert opened(other) == other.event_log.fields("breaker_heard") == []

    asyncio.run(story())


class Fleet:
    """Many processes, each with one call after the other, as environments of a function have them.

    A call of an open row is answered by another one. `moved` counts these, `calls` all.
    """

    def __init__(self, count: int, *, failing: float) -> None:
        self.table = FakeDynamo()
        self.clock = FakeClock(NOW_S)
        self.processes = [Process(self.table, self.clock) for _ in range(count)]
        self.calls = self.moved = 0
        self._failing = failing
        self._random = random.Random(1)
        self._numbers = itertools.count()
        self._ends: list[tuple[float, int, Process, bool]] = []

    async def run(self, seconds: float) -> None:
        """Let the calls come and go for so long."""
        for process in self.processes:
            self._begin(process, self._random.uniform(0, 3))
        while self._ends[0][0] < NOW_S + seconds:
            self.clock.time_s, _, process, fails = heapq.heappop(self._ends)
            (row_health.record_failure if fails else row_health.record_success)(
                process.gateway, ROW
            )
            await process.gateway.wait_idle()
            # What failed is answered by another row before the next call comes.
            self._begin(process, self._random.uniform(2, 4) if fails else 0.2)

    def _begin(self, process: Process, after_s: float) -> None:
        """The process's next call that the row is tried for; it ends 1.5 to 4.5 s later."""
        begins_s = self.clock.now_s() + after_s
        while process.gateway.breaker.open_rows([ROW], begins_s):
            self.calls, self.moved = self.calls + 1, self.moved + 1
            begins_s += 3
        self.calls += 1
        fails = self._random.random() < self._failing
        ends_s = begins_s + self._random.uniform(1.5, 4.5)
        heapq.heappush(self._ends, (ends_s, next(self._numbers), process, fails))


def test_a_provider_that_fails_one_call_in_a_hundred_stays_first_at_many_processes() -> None:
    fleet = Fleet(200, failing=0.01)
    asyncio.run(fleet.run(5 * BREAKER_WINDOW_S))
    assert fleet.calls > 15_000
    assert fleet.moved == 0
    # One of each to count a failure, and one to take it back.
    assert fleet.table.calls["PutItem"] < 0.03 * fleet.calls


def test_a_provider_that_is_down_moves_last_at_many_processes_with_few_writes() -> None:
    fleet = Fleet(200, failing=1.0)
    asyncio.run(fleet.run(5 * BREAKER_WINDOW_S))
    tried = fleet.calls - fleet.moved
    assert tried < 200 * 12  # its first call, and a try every half minute
    assert fleet.table.calls["PutItem"] < 200
