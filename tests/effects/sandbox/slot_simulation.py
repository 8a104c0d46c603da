"""Requests that take slots, use them and free them, in any order, with any fault."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from phigate.core.errors import GatewayError, RateLimited
from phigate.core.sandbox.slots import STACK_PK, Slot, SlotLimits, pk_of
from phigate.effects.sandbox.slots import DynamoSlots
from phigate.effects.store.dynamodb import Dynamo, DynamoError
from tests.fakes import FAULTS, FakeClock, Fault, Item, fault_error
from tests.ledger.ledger_harness import drive
from tests.ledger.simulation import (
    Execute,
    Mutation,
    Process,
    Request,
    SteppedDynamo,
    wait_for_driver,
)

ACCOUNTS = ("a", "b")
LIMITS = SlotLimits(stack=3, account=2)
LIFE_S = 100
PROCESSES_MAX = 6
TURN = st.tuples(
    st.integers(0, PROCESSES_MAX - 1),
    st.one_of(st.none(), st.none(), st.none(), st.sampled_from(FAULTS)),
)


class AtOnce:
    """A client whose calls are answered at once."""

    table = "phigate"

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def call(self, operation: str, payload: Item) -> Item:
        """As the Protocol says."""
        return self._execute(operation, payload)


class SlotSimulation:
    """The items, the processes, and what was lost on the way."""

    def __init__(self, execute: Execute, mutation: Mutation | None = None) -> None:
        self.clock = FakeClock(1_790_000_000)
        self.processes: list[Process] = []
        self.lost: list[Request] = []
        self.used_until: dict[Slot, float] = {}
        self._execute = execute
        self._mutation = mutation
        self._made = 0
        for pk in (STACK_PK, *(pk_of("account", account) for account in ACCOUNTS)):
            key = {"pk": {"S": pk}, "sk": {"S": "X"}}
            execute("DeleteItem", {"TableName": "phigate", "Key": key})

    def start(self, account: str) -> None:
        """A request wants a sandbox."""
        process = Process(self._live(self.slot(account)))
        if process.request is not None:
            self.processes.append(process)

    def slot(self, account: str) -> Slot:
        """A slot that nobody has taken yet."""
        self._made += 1
        return Slot(account, f"r{self._made}", int(self.clock.time_s) + LIFE_S)

    def step(self, who: int, fault: Fault | None) -> None:
        """Let a process's next call through, or not."""
        process = self.processes[who % len(self.processes)]
        request = process.request
        assert request is not None
        answer: Item | DynamoError = {}
        if request.operation != "work":
            if fault == "lost_before":
                self.lost.append(request)
            if fault is None or fault == "lost_after":
                answer = self.run(request)
            if fault is not None:
                answer = fault_error(fault)
        process.resume(answer)
        self.processes = [each for each in self.processes if each.request is not None]

    def crash(self, who: int, *, sent: bool) -> None:
        """A process ends; its sandbox may go on until its time, its next call may be under way."""
        process = self.processes.pop(who % len(self.processes))
        if sent and process.request is not None and process.request.operation != "work":
            self.lost.append(process.request)
        process.crash()

    def run(self, request: Request) -> Item | DynamoError:
        """Execute a call."""
        try:
            return self._execute(request.operation, request.payload)
        except DynamoError as exc:
            return exc

    def check(self) -> None:
        """Never more at work than allowed."""
        now_s = self.clock.time_s
        at_work = [slot for slot, until_s in self.used_until.items() if until_s > now_s]
        assert len(at_work) <= LIMITS.stack
        for account in ACCOUNTS:
            assert sum(slot.account == account for slot in at_work) <= LIMITS.account

    def end(self) -> None:
        """Everything stops and time passes: then every slot can be taken again, and no more."""
        while self.processes:
            self.crash(0, sent=True)
        while self.lost:
            self.run(self.lost.pop())
        self.clock.time_s += 10 * LIFE_S
        slots = DynamoSlots(AtOnce(self._execute), self.clock, LIMITS)
        taken = [self._is_taken(slots, account) for account in ("a", "a", "a", "b", "b")]
        assert taken == [True, True, False, True, False], "never stuck, and never too many"

    def _is_taken(self, slots: DynamoSlots, account: str) -> bool:
        try:
            drive(slots.take(self.slot(account)))
        except RateLimited:
            return False
        return True

    async def _live(self, slot: Slot) -> None:
        """What LimitedSandboxes does with the slots for one request."""
        dynamo: Dynamo = SteppedDynamo()
        if self._mutation is not None:
            dynamo = self._mutation(dynamo)
        slots = DynamoSlots(dynamo, self.clock, LIMITS)
        try:
            await slots.take(slot)
            self.used_until[slot] = slot.expires_at_s
            await wait_for_driver(Request("work", {}))
            self.used_until.pop(slot)
            await slots.free(slot)
        except RateLimited:
            return
        except GatewayError:
            self.used_until.pop(slot, None)


class SlotMachine(RuleBasedStateMachine):
    """Rules over a simulation; a subclass says on which engine."""

    def open_world(self) -> SlotSimulation:
        """A simulation of its own."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.simulation = self.open_world()

    @precondition(lambda self: len(self.simulation.processes) < PROCESSES_MAX)
    @rule(accounts=st.lists(st.sampled_from(ACCOUNTS), min_size=1, max_size=3))
    def requests_come(self, accounts: list[str]) -> None:
        for account in accounts:
            self.simulation.start(account)

    @precondition(lambda self: self.simulation.processes)
    @rule(turns=st.lists(TURN, min_size=1, max_size=8))
    def they_take_turns(self, turns: list[tuple[int, Fault | None]]) -> None:
        for who, fault in turns:
            if self.simulation.processes:
                self.simulation.step(who, fault)
                self.simulation.check()

    @precondition(lambda self: self.simulation.processes)
    @rule(who=st.integers(0, PROCESSES_MAX - 1), sent=st.booleans())
    def one_crashes(self, who: int, sent: bool) -> None:
        self.simulation.crash(who, sent=sent)

    @precondition(lambda self: self.simulation.lost)
    @rule(which=st.integers(0, 9))
    def a_lost_call_arrives(self, which: int) -> None:
        self.simulation.run(self.simulation.lost.pop(which % len(self.simulation.lost)))

    @rule(seconds=st.sampled_from((1, LIFE_S // 2, LIFE_S + 1)))
    def time_passes(self, seconds: int) -> None:
        self.simulation.clock.time_s += seconds

    @invariant()
    def the_limits_hold(self) -> None:
        self.simulation.check()

    def teardown(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.end()
