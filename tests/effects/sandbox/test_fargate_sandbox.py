"""Fargate's sandboxes over a double of ECS: every outcome, every path stops what it started."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import botocore.session
import pytest

from phigate.core.errors import SandboxError
from phigate.core.sandbox import tasks as facts
from phigate.core.sandbox.port import Sandbox
from phigate.core.sandbox.tasks import COLD, ERRORS, LIFE_MAX_S, POOLED_AGE_MAX_S, STARTING_MAX_S
from phigate.effects.clock import WallClock
from phigate.effects.sandbox.ecs_tasks import TaskPlacement
from phigate.effects.sandbox.fargate_pool import PoolSweep
from phigate.effects.sandbox.fargate_sandbox import LATE_S, STARTS_MAX, FargateSandboxes
from phigate.effects.sandbox.session import HttpSandbox, token_of, token_sha256
from tests.effects.sandbox.ecs_double import (
    NO_ANSWER,
    NORMAL,
    UNREACHABLE,
    FakeEcs,
    Outcome,
    refused,
)
from tests.effects.sandbox.sandboxes import SECRET, two, why_not
from tests.fakes import FakeClock, FakeDynamo, FaultyDynamo, Item, RecordingEventLog

pytestmark = pytest.mark.anyio

OPERATIONS = ("RunTask", "DescribeTasks", "StopTask", "ListTasks")
HEALTHY = b'HTTP/1.1 200 x\r\ncontent-length: 19\r\n\r\n{"status": "ready"}'


@dataclass
class FargateHarness:
    """Sandboxes of region CH over doubles."""

    ecs: FakeEcs
    dynamo: FakeDynamo
    clock: FakeClock
    event_log: RecordingEventLog
    sandboxes: FargateSandboxes

    async def open(
        self, live_s: float = 240.0, request_id: str = "r1", region: str = "CH"
    ) -> Sandbox:
        """A sandbox for one request."""
        until_s = self.clock.now_s() + live_s
        return await self.sandboxes.open(
            account="acme", request_id=request_id, region=region, until_s=until_s
        )

    @property
    def records(self) -> list[facts.Record]:
        """The pool as stored."""
        items = [item for (pk, _), item in self.dynamo.items.items() if pk == "T#CH"]
        return [facts.record_of("CH", item) for item in items]


class AwakeClock(FakeClock):
    """Time stands until it is slept, and others have their turn then."""

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.time_s += seconds
        await asyncio.sleep(0.001)


class Yielding:
    """A client at whose calls others have their turn, as with a network between."""

    def __init__(self, inner: FakeDynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """As the Protocol says."""
        await asyncio.sleep(0)
        return await self._inner.call(operation, payload)


def free_port() -> int:
    """A port that is free on all loopback addresses, most likely."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def harness(
    ecs: FakeEcs, *, warm: int = 0, answers: bool = True
) -> AsyncIterator[FargateHarness]:
    """A harness; where tasks answer, each address has a health check that says ready."""
    clock = AwakeClock()
    event_log = RecordingEventLog()
    dynamo = FakeDynamo()
    ecs.port = free_port()
    ecs.now_s = clock.now_s
    async with contextlib.AsyncExitStack() as exits:
        if answers:
            server = await asyncio.start_server(healthy, "0.0.0.0", ecs.port)  # noqa: S104
            exits.push_async_callback(server.wait_closed)
            exits.callback(server.close)
        made = FargateSandboxes(
            place=place(ecs.port),
            region="CH",
            secret=SECRET,
            dynamo=Yielding(dynamo),
            clock=clock,
            event_log=event_log,
            image="the image",
            warm_pool_size=warm,
            make_client=lambda _: ecs,
        )
        yield FargateHarness(ecs, dynamo, clock, event_log, made)
        await made.close()


async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A task that is warm; it runs nothing."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(HEALTHY)
            await writer.drain()
    writer.close()


def place(port: int = 8080) -> TaskPlacement:
    """Where sandboxes run."""
    return TaskPlacement(
        aws_region="eu-central-2",
        cluster="phigate",
        task_definition="phigate-sandbox:7",
        subnets=("subnet-1", "subnet-2"),
        security_groups=("sg-1",),
        port=port,
    )


async def test_a_task_is_started_found_used_and_stopped() -> None:
    async with harness(FakeEcs()) as scene:
        sandbox = await scene.open()
        (task,) = scene.ecs.tasks.values()
        assert sandbox.image == "sha256:0123"
        assert task.call["startedBy"] == COLD + "r1"
        expires = str(int(scene.clock.time_s + 240 - 2) + LATE_S)
        assert abs(int(task.call["tags"][0]["value"]) - int(expires)) <= 2
        assert task.stops == 0
        await sandbox.close()
        await sandbox.close()
        assert task.stops == 1
        assert scene.dynamo.items == {}


async def test_the_overrides_carry_the_hash_of_the_token_and_nothing_else() -> None:
    async with harness(FakeEcs()) as scene:
        sandbox = await scene.open()
        (task,) = scene.ecs.tasks.values()
        token = token_of(SECRET, task.call["clientToken"])
        (override,) = task.call["overrides"]["containerOverrides"]
        variable = {"name": "PHIGATE_SANDBOX_TOKEN_SHA256", "value": token_sha256(token)}
        assert override == {"name": "sandbox", "environment": [variable]}
        assert token not in repr(task.call)
        await sandbox.close()


# What RunTask meets, then whether a sandbox comes, how often it is asked, tasks ever started.
RUNS: dict[str, tuple[list[Outcome], bool, int, int]] = {
    "throttled once": ([refused("ThrottlingException")], True, 2, 1),
    "throttled for ever": ([refused("ThrottlingException")] * 99, False, 4, 0),
    "no connection": ([UNREACHABLE], True, 2, 1),
    "no capacity once": (["Capacity is unavailable at this time"], True, 2, 1),
    "no capacity at all": (["RESOURCE:ENI"] * 99, False, 4, 0),
    "a failure nobody knows": (["SOMETHING"], True, 2, 1),
    "a failure that stays": (["INACTIVE"], False, 1, 0),
    "the server's error": ([refused("ServerException")], True, 2, 1),
    "an error nobody knows": ([refused("FlyingSaucer")], True, 2, 1),
    "no answer, and it started": (["lost"], True, 2, 1),
    "no answer for ever, and it started": (["lost"] * 99, False, 4, 1),
    "no answer at all": ([NO_ANSWER] * 99, False, 4, 0),
    "started without an answer, then refused": (
        ["lost", refused("ThrottlingException"), refused("AccessDeniedException")],
        False,
        3,
        1,
    ),
    "not allowed": ([refused("AccessDeniedException")], False, 1, 0),
    "no such cluster": ([refused("ClusterNotFoundException")], False, 1, 0),
}


@pytest.mark.parametrize(("runs", "comes", "asked", "started"), RUNS.values(), ids=RUNS)
async def test_what_run_task_meets(
    runs: list[Outcome], comes: bool, asked: int, started: int
) -> None:
    async with harness(FakeEcs(runs=list(runs))) as scene:
        if comes:
            await (await scene.open()).close()
        else:
            with pytest.raises(SandboxError, match="No sandbox could be started"):
                await scene.open()
        await scene.sandboxes.wait_idle()
        assert scene.ecs.count("RunTask") == asked
        assert len(scene.ecs.tasks) == started
        assert scene.ecs.living == []


# The states of each task in turn, then whether a sandbox comes and from which task.
STATES: dict[str, tuple[list[Sequence[str]], int | None]] = {
    "it takes its time": ([(*["PENDING"] * 20, "RUNNING")], 0),
    "the first dies while pending": ([("PENDING", "STOPPED"), NORMAL], 1),
    "the first is being stopped": ([("RUNNING_", "DEPROVISIONING"), NORMAL], 1),
    "two die": ([("STOPPED",), ("PENDING", "STOPPING"), NORMAL], 2),
    "all die": ([("PENDING", "STOPPED")], None),
    "none ever runs": ([("PENDING",)], None),
    "a state that nobody knows": ([("LEVITATING",), NORMAL], 1),
}


@pytest.mark.parametrize(("states", "winner"), STATES.values(), ids=STATES)
async def test_what_becomes_of_tasks(states: list[Sequence[str]], winner: int | None) -> None:
    async with harness(FakeEcs(states=states)) as scene:
        if winner is None:
            with pytest.raises(SandboxError):
                await scene.open()
            assert len(scene.ecs.tasks) <= STARTS_MAX
        else:
            sandbox = await scene.open()
            await scene.sandboxes.wait_idle()
            assert [task.arn for task in scene.ecs.living] == [f"arn/{winner}"]
            await sandbox.close()
        await scene.sandboxes.wait_idle()
        assert scene.ecs.living == []


async def test_tasks_that_never_answer_are_stopped_and_it_ends() -> None:
    async with harness(FakeEcs(), answers=False) as scene:
        started_s = scene.clock.time_s
        with pytest.raises(SandboxError):
            await scene.open()
        await scene.sandboxes.wait_idle()
        assert len(scene.ecs.tasks) == STARTS_MAX
        assert scene.ecs.living == []
        assert scene.clock.time_s - started_s < 150


# What DescribeTasks meets, and whether a sandbox comes.
DESCRIBES: dict[str, tuple[list[Outcome], bool]] = {
    "not listed yet": (["MISSING"] * 5, True),
    "never listed": (["MISSING"] * 999, False),
    "throttled": ([refused("ThrottlingException", "DescribeTasks")] * 5, True),
    "no answer": ([NO_ANSWER], True),
    "not allowed": ([refused("AccessDeniedException", "DescribeTasks")] * 999, False),
}


@pytest.mark.parametrize(("describes", "comes"), DESCRIBES.values(), ids=DESCRIBES)
async def test_what_describe_tasks_meets(describes: list[Outcome], comes: bool) -> None:
    async with harness(FakeEcs(describes=list(describes))) as scene:
        if comes:
            await (await scene.open()).close()
        else:
            with pytest.raises(SandboxError):
                await scene.open()
        await scene.sandboxes.wait_idle()
        assert scene.ecs.living == []


STOPS: dict[str, tuple[list[Outcome], int]] = {
    "throttled": ([refused("ThrottlingException", "StopTask")] * 3, 0),
    "no answer": ([NO_ANSWER], 0),
    "out of reach": ([UNREACHABLE] * 999, 1),
    "not allowed": ([refused("AccessDeniedException", "StopTask")], 1),
}


@pytest.mark.parametrize(("stops", "left"), STOPS.values(), ids=STOPS)
async def test_what_stop_task_meets_is_no_trouble_of_the_caller(
    stops: list[Outcome], left: int
) -> None:
    async with harness(FakeEcs(stops=list(stops))) as scene:
        await (await scene.open()).close()
        assert len(scene.ecs.living) == left
        assert len(scene.event_log.fields("sandbox_stop_failed")) == left
        # The sweeper finds what is left by its name.
        scene.ecs.stops.clear()
        later_s = int(scene.clock.time_s) + 240 + LATE_S + 1
        assert await scene.sandboxes.sweep(later_s) == PoolSweep(left, 0)
        assert scene.ecs.living == []


async def test_a_call_for_any_region_has_a_sandbox_of_the_one_pool() -> None:
    async with harness(FakeEcs(), warm=1) as scene:
        await scene.sandboxes.refill()
        sandbox = await scene.open(region="EU")
        await scene.sandboxes.wait_idle()
        assert {each.arn: each.state for each in scene.records} == {
            "arn/0": "used",
            "arn/1": "free",
        }
        await sandbox.close()


@pytest.mark.parametrize("turns", [*range(1, 12), 20, 40])
@pytest.mark.parametrize("warm", [0, 1])
async def test_a_caller_who_leaves_at_any_await_leaves_no_task(turns: int, warm: int) -> None:
    async with harness(FakeEcs(), warm=warm) as scene:
        await scene.sandboxes.refill()
        opening = asyncio.ensure_future(scene.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        if opening.done():
            await (await opening).close()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await scene.sandboxes.wait_idle()
        assert len(scene.ecs.living) == len([r for r in scene.records if r.state == "free"])
        assert len(scene.ecs.living) <= 2 * warm
        assert all(record.state == "free" for record in scene.records)


async def test_a_caller_who_leaves_while_run_task_is_under_way_leaves_no_task() -> None:
    async with harness(FakeEcs()) as scene:
        scene.ecs.hold.clear()
        opening = asyncio.ensure_future(scene.open())
        await asyncio.to_thread(scene.ecs.running.wait, 10)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        scene.ecs.hold.set()
        await scene.sandboxes.wait_idle()
        assert len(scene.ecs.tasks) == 1
        assert scene.ecs.living == []


async def test_a_pooled_task_is_claimed_once_used_and_replaced() -> None:
    async with harness(FakeEcs(), warm=1) as scene:
        await scene.sandboxes.refill()
        (record,) = scene.records
        assert (record.state, record.arn) == ("free", "arn/0")
        first = await scene.open(request_id="r1")
        await scene.sandboxes.wait_idle()
        states = {each.arn: each.state for each in scene.records}
        assert states == {"arn/0": "used", "arn/1": "free"}
        second = await scene.open(request_id="r2")
        await scene.sandboxes.wait_idle()
        for sandbox in (first, second):
            await sandbox.close()
        assert [task.arn for task in scene.ecs.living] == ["arn/2"]
        assert [each.arn for each in scene.records] == ["arn/2"]
        names = {task.call["startedBy"] for task in scene.ecs.tasks.values()}
        assert all(name.startswith("phigate-pool-") for name in names)


async def test_two_requests_never_get_one_task() -> None:
    async with harness(FakeEcs(), warm=1) as scene:
        await scene.sandboxes.refill()
        opened = await asyncio.gather(*(scene.open(request_id=f"r{n}") for n in range(5)))
        await scene.sandboxes.wait_idle()
        assert len({each.base_url for each in opened if isinstance(each, HttpSandbox)}) == 5
        used = [each for each in scene.records if each.state == "used"]
        cold = [t for t in scene.ecs.living if t.call["startedBy"].startswith(COLD)]
        assert len(used) + len(cold) == 5
        for each in opened:
            await each.close()


async def test_a_pooled_task_that_has_died_is_replaced_by_a_cold_one() -> None:
    async with harness(FakeEcs(), warm=1) as scene:
        await scene.sandboxes.refill()
        scene.ecs.tasks["arn/0"].states = ["STOPPED"]
        sandbox = await scene.open()
        await scene.sandboxes.wait_idle()
        await sandbox.close()
        assert [each.state for each in scene.records] == ["free"]


async def test_without_the_table_a_task_is_started() -> None:
    ecs, clock, event_log = FakeEcs(), AwakeClock(), RecordingEventLog()
    ecs.port = free_port()
    server = await asyncio.start_server(healthy, "0.0.0.0", ecs.port)  # noqa: S104
    async with server:
        sandboxes = FargateSandboxes(
            place=place(ecs.port),
            region="CH",
            secret=SECRET,
            dynamo=FaultyDynamo(FakeDynamo(), ["lost_before"] * 999),
            clock=clock,
            event_log=event_log,
            image="i",
            warm_pool_size=1,
            make_client=lambda _: ecs,
        )
        sandbox = await sandboxes.open(
            account="a", request_id="r", region="CH", until_s=clock.time_s + 240
        )
        await sandbox.close()
        await sandboxes.close()
    assert event_log.fields("sandbox_claim_failed")
    assert ecs.living == []


async def test_a_refill_that_fails_leaves_no_record() -> None:
    async with harness(FakeEcs(runs=["INACTIVE"]), warm=2) as scene:
        await scene.sandboxes.refill()
        assert scene.records == []
        await scene.sandboxes.refill()
        assert [each.state for each in scene.records] == ["free", "free"]


async def test_the_sweeper_stops_what_is_over_and_nothing_else() -> None:
    async with harness(FakeEcs(), warm=2) as scene:
        now_s = int(scene.clock.time_s)
        await scene.sandboxes.refill()
        crashed = await scene.open(request_id="crashed", live_s=100)
        scene.ecs.run_task(clientToken="x", startedBy="somebody-else", tags=[], overrides={})
        scene.ecs.run_task(clientToken="y", startedBy=COLD + "untagged", tags=[], overrides={})
        scene.ecs.run_task(clientToken="z", startedBy="phigate-pool-gone", tags=[], overrides={})
        await scene.sandboxes.wait_idle()
        assert await scene.sandboxes.sweep(now_s) == PoolSweep(1, 0), (
            "a pooled task without a record"
        )
        assert (await scene.sandboxes.sweep(now_s + 100 + LATE_S + 60)).stopped == 1
        assert (await scene.sandboxes.sweep(now_s + POOLED_AGE_MAX_S + 60)).stopped == 2
        assert (await scene.sandboxes.sweep(now_s + LIFE_MAX_S + 60)).stopped == 1
        await scene.sandboxes.sweep(now_s + LIFE_MAX_S + 61)
        assert [task.call["startedBy"] for task in scene.ecs.living] == ["somebody-else"]
        assert scene.records == []
        await crashed.close()


async def test_the_sweeper_removes_records_without_a_task_and_tasks_too_many() -> None:
    async with harness(FakeEcs(), warm=1) as scene:
        now_s = int(scene.clock.time_s)
        left = facts.Record("CH", "n1", "starting", now_s)
        scene.dynamo.execute("PutItem", facts.reserve("phigate", left))
        await scene.sandboxes.refill()
        assert len(scene.ecs.tasks) == 0, "one is on its way"
        scene.clock.time_s += STARTING_MAX_S + 1
        await scene.sandboxes.refill()
        assert len(scene.ecs.living) == 1
        assert await scene.sandboxes.sweep(int(scene.clock.time_s)) == PoolSweep(0, 1)
        more = facts.Record("CH", "n2", "starting", now_s)
        scene.dynamo.execute("PutItem", facts.reserve("phigate", more))
        scene.ecs.run_task(clientToken="n2", startedBy="phigate-pool-n2", tags=[], overrides={})
        scene.dynamo.execute("UpdateItem", facts.note_started("phigate", more, "arn/1"))
        assert (await scene.sandboxes.sweep(int(scene.clock.time_s))).stopped == 1
        assert [task.arn for task in scene.ecs.living] == ["arn/0"], "the older one went"


async def test_a_sweeper_that_cannot_list_says_so() -> None:
    class Deaf(FakeEcs):
        def list_tasks(self, **call: Any) -> dict[str, Any]:
            raise refused("AccessDeniedException", "ListTasks")

    async with harness(Deaf()) as scene:
        with pytest.raises(SandboxError, match="cannot be listed in CH"):
            await scene.sandboxes.sweep(int(scene.clock.time_s))


def test_every_error_that_ecs_documents_has_an_outcome() -> None:
    model = botocore.session.get_session().get_service_model("ecs")
    documented = {
        str(shape.metadata.get("error", {}).get("code", shape.name))
        for operation in OPERATIONS
        for shape in model.operation_model(operation).error_shapes
    }
    assert documented <= set(ERRORS), documented - set(ERRORS)


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it runs")
async def test_a_task_that_runs_is_the_real_server() -> None:
    ecs = FakeEcs(serves=True)
    ecs.port = free_port()
    clock = WallClock()
    sandboxes = FargateSandboxes(
        place=place(ecs.port),
        region="CH",
        secret=SECRET,
        dynamo=FakeDynamo(),
        clock=clock,
        event_log=RecordingEventLog(),
        image="i",
        warm_pool_size=1,
        make_client=lambda _: ecs,
    )
    try:
        for request_id in ("cold", "pooled"):
            sandbox = await sandboxes.open(
                account="a", request_id=request_id, region="CH", until_s=clock.now_s() + 100
            )
            await two(sandbox)
            ran = await sandbox.run("python", "1/0", 10.0)
            assert "ZeroDivisionError" in ran.stderr
            await sandbox.close()
        await sandboxes.close()
        used = [task for task in ecs.tasks.values() if task.stops]
        assert len(used) == 2
        assert {task.call["startedBy"][:12] for task in used} == {"phigate-run-", "phigate-pool"}
    finally:
        ecs.close()
