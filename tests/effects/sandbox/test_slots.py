"""Slots: never more at work than allowed, never stuck, in every order and with every fault."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from phigate.core.errors import Overloaded, RateLimited, SandboxError
from phigate.core.sandbox.port import RunResult, Sandbox
from phigate.core.sandbox.runs import Language
from phigate.core.sandbox.slots import STACK_PK, SlotLimits, pk_of
from phigate.effects.sandbox.slots import GRACE_S, DynamoSlots, LimitedSandboxes
from phigate.effects.store.dynamodb import Dynamo
from tests.effects.sandbox.slot_simulation import AtOnce, SlotMachine, SlotSimulation
from tests.fakes import FAULTS, FakeClock, FakeDynamo, Fault, FaultyDynamo, Item
from tests.ledger.conftest import RealStore
from tests.ledger.ledger_harness import drive

FEW = SlotLimits(stack=3, account=2)
CALM = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
    derandomize=True,
    database=None,
)
# A mutant has to be found each time, and what it breaks need not be made small.
SEARCH = settings(CALM, max_examples=600, stateful_step_count=40, phases=[Phase.generate])
# An engine is a hundred times slower than a table in memory.
BRIEF = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)


@pytest.fixture(params=["fake", "dynoxide"])
def dynamo(request: pytest.FixtureRequest) -> Dynamo:
    """Both engines, without any slot."""
    if request.param == "fake":
        execute = FakeDynamo().execute
    else:
        store: RealStore = request.getfixturevalue("real_store")
        execute = store.execute
    SlotSimulation(execute)
    return AtOnce(execute)


def ids(dynamo: Dynamo) -> tuple[set[str], set[str]]:
    """The slots that stand, of account a and of the stack."""

    async def read() -> list[set[str]]:
        found = []
        for pk in (pk_of("account", "a"), STACK_PK):
            key = {"pk": {"S": pk}, "sk": {"S": "X"}}
            call = {"TableName": "phigate", "Key": key, "ConsistentRead": True}
            item: Item = (await dynamo.call("GetItem", call)).get("Item", {})
            found.append(set(item.get("s", {"M": {}})["M"]))
        return found

    account, stack = drive(read())
    return account, stack


class PoolHarness:
    """A simulation's slots on one engine, for stories that go one call after the other."""

    def __init__(self, dynamo: Dynamo, faults: Iterable[Fault | None] = ()) -> None:
        self.simulation = SlotSimulation(FakeDynamo().execute)
        self.clock = self.simulation.clock
        self.slots = DynamoSlots(FaultyDynamo(dynamo, faults), self.clock, FEW)


def test_the_machine_on_the_fake() -> None:
    class OnFake(SlotMachine):
        def open_world(self) -> SlotSimulation:
            return SlotSimulation(FakeDynamo().execute)

    run_state_machine_as_test(OnFake, settings=CALM)


def test_the_machine_on_dynoxide(real_store: RealStore) -> None:
    class OnReal(SlotMachine):
        def open_world(self) -> SlotSimulation:
            return SlotSimulation(real_store.execute)

    run_state_machine_as_test(OnReal, settings=BRIEF)


class WithoutLimit:
    """A mutant: the slot is taken whatever stands there."""

    table = "phigate"

    def __init__(self, inner: Dynamo) -> None:
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Pass it on with more room than there is."""
        values = payload.get("ExpressionAttributeValues", {})
        if ":most" in values:
            more = {":most": {"N": "9"}}
            payload = payload | {"ExpressionAttributeValues": values | more}
        return await self._inner.call(operation, payload)


def test_the_machine_finds_a_missing_limit() -> None:
    class Mutant(SlotMachine):
        def open_world(self) -> SlotSimulation:
            return SlotSimulation(FakeDynamo().execute, WithoutLimit)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Mutant, settings=SEARCH)


def test_above_the_limit_of_the_account_it_is_429_with_a_time(dynamo: Dynamo) -> None:
    harness = PoolHarness(dynamo)

    async def story() -> None:
        for _ in range(2):
            await harness.slots.take(harness.simulation.slot("a"))
        with pytest.raises(RateLimited, match="This account has 2 sandboxes") as raised:
            await harness.slots.take(harness.simulation.slot("a"))
        assert raised.value.headers == {"retry-after": "10"}
        harness.clock.time_s += 97
        with pytest.raises(RateLimited) as raised:
            await harness.slots.take(harness.simulation.slot("a"))
        assert raised.value.headers == {"retry-after": "3"}
        await harness.slots.take(harness.simulation.slot("b"))

    drive(story())
    account, stack = ids(dynamo)
    assert (len(account), len(stack)) == (2, 3)


def test_above_the_limit_of_the_stack_nothing_is_taken_of_the_account(dynamo: Dynamo) -> None:
    harness = PoolHarness(dynamo)

    async def story() -> None:
        for account in ("b", "b", "a"):
            await harness.slots.take(harness.simulation.slot(account))
        with pytest.raises(RateLimited, match="All 3 sandboxes of this stack"):
            await harness.slots.take(harness.simulation.slot("a"))

    drive(story())
    account, stack = ids(dynamo)
    assert (len(account), len(stack)) == (1, 3)


def test_who_finds_expired_slots_frees_them(dynamo: Dynamo) -> None:
    harness = PoolHarness(dynamo)

    async def story() -> None:
        for _ in range(2):
            await harness.slots.take(harness.simulation.slot("a"))
        harness.clock.time_s += 101
        await harness.slots.take(harness.simulation.slot("a"))

    drive(story())
    account, stack = ids(dynamo)
    assert account <= stack
    assert len(account) == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", range(8))
def test_a_fault_at_any_call_changes_nothing_in_the_end(
    dynamo: Dynamo, fault: Fault, at: int
) -> None:
    harness = PoolHarness(dynamo, [*[None] * at, fault])
    slot = harness.simulation.slot("a")

    async def take() -> None:
        await harness.slots.take(slot)

    drive(take())
    assert ids(dynamo) == ({slot.id}, {slot.id})
    drive(harness.slots.free(slot))
    assert ids(dynamo) == (set(), set())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", range(6))
def test_when_the_table_is_out_of_reach_it_is_503_and_the_expiry_frees(
    dynamo: Dynamo, fault: Fault, at: int
) -> None:
    """What a crash at the same place leaves is the same."""
    harness = PoolHarness(dynamo, [*[None] * at, *[fault] * 99])

    async def story() -> None:
        with pytest.raises(Overloaded):
            await harness.slots.take(harness.simulation.slot("a"))

    drive(story())
    healthy = PoolHarness(dynamo)
    healthy.clock.time_s += 200

    async def after() -> None:
        for _ in range(2):
            await healthy.slots.take(healthy.simulation.slot("a"))

    drive(after())


@dataclass
class FakeSandbox:
    """A sandbox that does nothing, and what became of it."""

    log: list[str]
    image: str = "i"

    async def run(self, language: Language, code: str, timeout_s: float) -> RunResult:
        """As the Protocol says."""
        return RunResult(language, 0, code, "", None, (), (), 1)

    async def close(self) -> None:
        """As the Protocol says."""
        self.log.append("closed")


@dataclass
class FakeSandboxes:
    """Opens when it may, or fails."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    log: list[str] = field(default_factory=list)
    failure: Exception | None = None

    async def open(self, *, account: str, request_id: str, region: str, until_s: float) -> Sandbox:
        """As the Protocol says."""
        self.log.append(f"open {account} {request_id} {region} {until_s:g}")
        self.asked.set()
        await self.may.wait()
        if self.failure is not None:
            raise self.failure
        return FakeSandbox(self.log)


class Gated:
    """A client whose calls wait until they may."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self.may = asyncio.Event()
        self.may.set()
        self.asked = asyncio.Event()
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """As the Protocol says."""
        self.asked.set()
        await self.may.wait()
        return await self._inner.call(operation, payload)


class Limited:
    """LimitedSandboxes over doubles."""

    def __init__(self) -> None:
        self.fake = FakeDynamo()
        self.gate = Gated(self.fake)
        self.inner = FakeSandboxes()
        self.inner.may.set()
        slots = DynamoSlots(self.gate, FakeClock(1_000.0), FEW)
        self.sandboxes = LimitedSandboxes(inner=self.inner, slots=slots)

    async def open(self) -> Sandbox:
        """A sandbox for account a."""
        return await self.sandboxes.open(account="a", request_id="r", region="CH", until_s=2_000.0)

    @property
    def standing(self) -> list[Item]:
        """The slots in the stack's item."""
        item = self.fake.items.get((STACK_PK, "X"), {"s": {"M": {}}})
        return list(item["s"]["M"].values())


pytest_anyio = pytest.mark.anyio


@pytest_anyio
async def test_a_slot_stands_as_long_as_its_sandbox() -> None:
    harness = Limited()
    sandbox = await harness.open()
    assert harness.standing == [{"N": str(2_000 + GRACE_S)}]
    assert (await sandbox.run("python", "1", 1.0)).stdout == "1"
    assert sandbox.image == "i"
    await sandbox.close()
    await sandbox.close()
    assert harness.standing == []
    assert harness.inner.log == ["open a r CH 2000", "closed"]


@pytest_anyio
async def test_one_request_may_open_a_second_sandbox_after_the_first() -> None:
    harness = Limited()
    await harness.open()
    await harness.open()
    assert len(harness.standing) == 2
    with pytest.raises(RateLimited):
        await harness.open()


@pytest_anyio
async def test_what_cannot_be_opened_holds_no_slot() -> None:
    harness = Limited()
    harness.inner.failure = SandboxError("none")
    with pytest.raises(SandboxError):
        await harness.open()
    await harness.sandboxes.wait_idle()
    assert harness.standing == []


@pytest_anyio
async def test_a_caller_who_leaves_while_a_sandbox_opens_holds_no_slot() -> None:
    harness = Limited()
    harness.inner.may.clear()
    opening = asyncio.ensure_future(harness.open())
    await harness.inner.asked.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await harness.sandboxes.wait_idle()
    assert harness.standing == []


@pytest_anyio
async def test_a_caller_who_leaves_while_a_slot_is_taken_holds_none() -> None:
    harness = Limited()
    harness.gate.may.clear()
    opening = asyncio.ensure_future(harness.open())
    await harness.gate.asked.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert harness.inner.log == []
    harness.gate.may.set()
    await harness.sandboxes.wait_idle()
    assert harness.standing == []


@pytest_anyio
async def test_a_caller_who_leaves_while_it_closes_frees_the_slot_all_the_same() -> None:
    harness = Limited()
    sandbox = await harness.open()
    harness.gate.may.clear()
    closing = asyncio.ensure_future(sandbox.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    harness.gate.may.set()
    await sandbox.close()
    assert harness.standing == []


@pytest_anyio
async def test_a_slot_that_cannot_be_freed_does_not_trouble_the_caller() -> None:
    harness = Limited()
    sandbox = await harness.open()
    down = DynamoSlots(FaultyDynamo(harness.fake, ["throttle"] * 99), FakeClock(1_000.0), FEW)
    broken = LimitedSandboxes(inner=harness.inner, slots=down)
    with pytest.raises(Overloaded):
        await broken.open(account="a", request_id="r", region="CH", until_s=2_000.0)
    await broken.wait_idle()
    await sandbox.close()
    assert harness.standing == []
