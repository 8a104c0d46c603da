"""Another process sweeps at every single await of a request, and two calls share one account while
one is interrupted: the account is whole at every point, and each call has one receipt at most.
"""

import asyncio
import contextlib

import pytest

from phigate.core.errors import InternalError
from phigate.effects.store.ledger import DynamoLedger
from phigate.formats.chat import CHAT
from phigate.pipeline.serve import serve
from tests.builders import NOW_S
from tests.fakes import FakeDynamo, Item, RecordingResponseWriter, fault_error
from tests.pipeline.await_points import Observed, Pass, watch
from tests.pipeline.gateway_harness import ACCOUNT, GatewayHarness, call
from tests.pipeline.test_interruption import SCENES, Scene


class Visits:
    """At the n-th point another process sweeps as if every hold were past its time; the call that
    passed it may be cancelled right after. Counts the points of every call together."""

    def __init__(
        self, harness: GatewayHarness, nth: int, *, sweeps: bool = False, cancels: int = 0
    ) -> None:
        self.harness = harness
        self.points: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._nth = nth
        self._sweeps = sweeps
        self._cancels = cancels

    async def passes(self, point: str) -> None:
        """One point: the account must be whole there."""
        self.harness.account()
        self.points.append(point)
        if len(self.points) == self._nth:
            if self._sweeps:
                sweeper = DynamoLedger(self.harness.ledger.dynamo, self.harness.clock)
                await sweeper.sweep(ACCOUNT, int(NOW_S) + 10_000)
                self.harness.account()
            for task in self.tasks[: self._cancels]:
                task.cancel()
        await asyncio.sleep(0)


async def _serve(scene: Scene, visits: Visits, calls: int) -> None:
    harness = visits.harness
    watching: Pass = visits.passes
    watch(harness, watching)
    dynamo = Observed(harness.ledger.dynamo, "dynamo", watching)
    harness.use(ledger=Observed(DynamoLedger(dynamo, harness.clock), "ledger", watching))
    for _ in range(calls):
        out = Observed(RecordingResponseWriter(harness.clock), "out", watching)
        serving = serve(harness.gateway, CHAT, call(scene.body, task=scene.task), out)
        visits.tasks.append(asyncio.create_task(serving))
    for task in visits.tasks:
        with contextlib.suppress(asyncio.CancelledError, InternalError):
            await task
    # As at the end of a process: nothing may be under way afterwards.
    await harness.gateway.wait_idle()
    passed = len(visits.points)
    await asyncio.sleep(0)
    assert len(visits.points) == passed


def play(
    name: str, nth: int, *, calls: int = 1, sweeps: bool = False, cancels: int = 0
) -> tuple[GatewayHarness, Visits]:
    """Calls of a scene on a fresh account, visited at their n-th point."""
    scene = SCENES[name]
    harness = GatewayHarness(*scene.scripts * calls, plays=scene.plays * calls)
    visits = Visits(harness, nth, sweeps=sweeps, cancels=cancels)
    asyncio.run(_serve(scene, visits, calls))
    return harness, visits


def check(harness: GatewayHarness, calls: int, where: str) -> int:
    """After a last sweep nothing is held, and what is spent is what the receipts say."""
    harness.account()
    harness.sweep()
    account, receipts = harness.account(), harness.receipts()
    assert account["held"] == 0, where
    assert account["spent"] == sum(cost for _, cost in receipts.values()), where
    # A hold that a repeated write put back behind its sweep gets a number and tombstone of its own.
    strays = {sk: of for sk, of in receipts.items() if "." in sk}
    assert set(strays.values()) <= {("expired", 0)}, where
    assert len(receipts) - len(strays) <= calls, where
    return account["spent"]


@pytest.mark.parametrize(
    "name",
    [
        "json",
        "stream",
        "stream that breaks",
        "json, two turns",
        "stream, two turns",
        "math, two programs",
        "math, a sandbox that fails",
    ],
)
@pytest.mark.parametrize("cancels", [0, 1], ids=["served", "cancelled"])
def test_a_sweep_at_any_await_of_a_call_loses_and_doubles_nothing(name: str, cancels: int) -> None:
    _, counted = play(name, 0)
    for nth in range(1, len(counted.points) + 1):
        harness, _ = play(name, nth, sweeps=True, cancels=cancels)
        where = f"{nth}: {counted.points[nth - 1]}"
        spent = check(harness, 1, where)
        assert spent <= max(SCENES[name].micros, SCENES[name].most), where
        assert len(harness.receipts()) == 1 or cancels, where


@pytest.mark.parametrize("name", ["json", "stream", "json, two turns"])
@pytest.mark.parametrize("cancels", [1, 2], ids=["one", "both"])
def test_two_calls_of_one_key_share_an_account_whichever_is_cancelled_where(
    name: str, cancels: int
) -> None:
    # Both calls are alike, so it does not matter which script which call gets.
    _, counted = play(name, 0, calls=2)
    for nth in range(1, len(counted.points) + 1):
        harness, _ = play(name, nth, calls=2, cancels=cancels)
        where = f"{nth}: {counted.points[nth - 1]}"
        check(harness, 2, where)


@pytest.mark.parametrize("name", ["json", "stream"])
def test_credit_of_exactly_the_hold_serves_one_call_and_not_one_micro_less(name: str) -> None:
    scene = SCENES[name]
    whole = GatewayHarness(*scene.scripts)
    whole.chat(scene.body)
    micros = whole.ledger.log[0][2]
    exact = GatewayHarness(*scene.scripts, credit_micros=micros)
    assert exact.chat(scene.body).status == 200
    assert exact.account() == {
        "avail": micros - scene.micros,
        "held": 0,
        "spent": scene.micros,
        "top": micros,
    }
    short = GatewayHarness(*scene.scripts, credit_micros=micros - 1)
    assert short.chat(scene.body).status == 402
    assert short.upstream.requests == []
    assert short.account() == {"avail": micros - 1, "held": 0, "spent": 0, "top": micros - 1}


class LosesAnswers:
    """A client that makes its n-th call, whose answer is lost so many times while another process
    sweeps in between, as if every hold were past its time."""

    def __init__(self, harness: GatewayHarness, nth: int, times: int) -> None:
        self.inner: FakeDynamo = harness.ledger.dynamo
        self.table = self.inner.table
        self.operations: list[str] = []
        self._harness = harness
        self._nth = nth
        self._times = times

    async def call(self, operation: str, payload: Item) -> Item:
        """As the Protocol says."""
        self.operations.append(operation)
        answer = await self.inner.call(operation, payload)
        if self._nth <= len(self.operations) < self._nth + self._times:
            sweeper = DynamoLedger(self.inner, self._harness.clock)
            await sweeper.sweep(ACCOUNT, int(NOW_S) + 10_000)
            self._harness.account()
            raise fault_error("lost_after")
        return answer


def lose(name: str, nth: int, times: int) -> tuple[GatewayHarness, LosesAnswers]:
    """A call of a scene whose n-th answer of the store is lost, and swept behind."""
    scene = SCENES[name]
    harness = GatewayHarness(*scene.scripts, plays=scene.plays)
    client = LosesAnswers(harness, nth, times)
    harness.use(ledger=DynamoLedger(client, harness.clock))

    async def serving() -> None:
        with contextlib.suppress(InternalError):
            await harness.serve(scene.body, task=scene.task)
        await harness.gateway.wait_idle()

    asyncio.run(serving())
    return harness, client


@pytest.mark.parametrize("name", ["json", "stream", "json, two turns", "math, two programs"])
@pytest.mark.parametrize("times", [1, 2, 5], ids=["once", "twice", "for good"])
def test_an_answer_of_the_store_lost_and_swept_behind_loses_nothing(name: str, times: int) -> None:
    _, counted = lose(name, 0, 0)
    for nth in range(1, len(counted.operations) + 1):
        harness, _ = lose(name, nth, times)
        where = f"{nth}: {counted.operations[nth - 1]}"
        spent = check(harness, 1, where)
        assert spent <= max(SCENES[name].micros, SCENES[name].most), where
