"""The state machine: any number of calls, sweepers and top-ups, in any order, with any fault."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fakes import FAULTS, Fault
from tests.ledger.simulation import CREDITS, HOLD_S, CallPlan, Execute, LedgerSimulation, Mutation

PROCESSES_MAX = 5
REFS = sorted(CREDITS)

MICROS = st.sampled_from((55, 30, 80, 7, 0))
MORE = st.sampled_from((40, 0, 5))
USED = st.sampled_from((9, 3, 0))
PLANS = st.builds(
    CallPlan,
    micros=MICROS,
    raises=st.lists(st.tuples(MORE, USED), max_size=3).map(tuple),
    cost_percent=st.sampled_from((50, 100, 0)),
    settles=st.sampled_from((1, 2)),
    voids=st.sampled_from((False, False, False, True)),
    forgets=st.booleans(),
    limited=st.booleans(),
)
# Whose turn it is, and what happens to the call; most calls go through.
TURN = st.tuples(
    st.integers(0, PROCESSES_MAX - 1),
    st.one_of(st.none(), st.none(), st.none(), st.sampled_from(FAULTS)),
)
TURNS = st.lists(TURN, min_size=1, max_size=8)


class Machine(RuleBasedStateMachine):
    """Rules over a simulation that `open_world` makes; a subclass says on which engine."""

    def open_world(self) -> LedgerSimulation:
        """A simulation on an account of its own."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.simulation = self.open_world()

    @precondition(lambda self: len(self.simulation.processes) < PROCESSES_MAX)
    @rule(plan=PLANS)
    def a_call_comes(self, plan: CallPlan) -> None:
        self.simulation.start_call(plan)

    @precondition(lambda self: len(self.simulation.processes) < PROCESSES_MAX)
    @rule(plan=PLANS)
    def another_call_comes(self, plan: CallPlan) -> None:
        self.simulation.start_call(plan)

    @precondition(lambda self: len(self.simulation.processes) < PROCESSES_MAX)
    @rule(skew_s=st.sampled_from((0, HOLD_S + 1, -HOLD_S)))
    def a_sweeper_comes(self, skew_s: int) -> None:
        self.simulation.start_sweep(skew_s)

    @precondition(lambda self: self.simulation.processes)
    @rule(turns=TURNS)
    def the_processes_take_turns(self, turns: list[tuple[int, Fault | None]]) -> None:
        self._take(turns)

    @precondition(lambda self: self.simulation.processes)
    @rule(turns=TURNS)
    def the_processes_take_more_turns(self, turns: list[tuple[int, Fault | None]]) -> None:
        self._take(turns)

    @precondition(lambda self: self.simulation.processes)
    @rule(who=st.integers(0, PROCESSES_MAX - 1), sent=st.booleans())
    def a_process_crashes(self, who: int, sent: bool) -> None:
        self.simulation.crash(self.simulation.process(who), sent=sent)

    @precondition(lambda self: self.simulation.lost)
    @rule(which=st.integers(0, 9))
    def a_lost_call_arrives(self, which: int) -> None:
        self.simulation.deliver(which % len(self.simulation.lost))

    @precondition(lambda self: len(self.simulation.processes) < PROCESSES_MAX)
    @rule(seconds=st.sampled_from((HOLD_S + 1, 60, 1)), ref=st.sampled_from((None, None, *REFS)))
    def time_passes(self, seconds: int, ref: str | None) -> None:
        self.simulation.clock.time_s += seconds
        if ref is not None:
            self.simulation.start_credit(ref)

    @invariant()
    def the_account_is_sound(self) -> None:
        self.simulation.check()

    def teardown(self) -> None:
        self.simulation.end()

    def _take(self, turns: list[tuple[int, Fault | None]]) -> None:
        for who, fault in turns:
            if self.simulation.processes:
                self.simulation.step(self.simulation.process(who), fault)
                self.simulation.check()


def machine(open_world: Callable[[], LedgerSimulation]) -> type[Machine]:
    """The machine on worlds of one kind."""

    class MachineOn(Machine):
        def open_world(self) -> LedgerSimulation:
            return open_world()

    return MachineOn


def on(
    store: Callable[[], Execute], account: Callable[[], str], mutation: Mutation | None = None
) -> type[Machine]:
    """The machine on a store; `account` gives each run an account of its own."""
    return machine(lambda: LedgerSimulation(store(), account=account(), mutation=mutation))
