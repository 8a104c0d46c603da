"""Every order of one call's and one sweeper's writes, with every fault at every write of the call.

Smaller than the simulation and complete: what two processes can do to each other is all here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Literal

from tests.fakes import Fault
from tests.ledger.simulation import HOLD_S, CallPlan, LedgerSimulation, Process

# What the pipeline does, and how many calls of DynamoDB that takes.
PLANS = {
    "plain": (CallPlan(30), 3),
    "raised": (CallPlan(30, raises=((40, 9),), cost_percent=100), 4),
    "raised with a daily limit": (CallPlan(20, raises=((40, 9),), limited=True), 4),
    "without memory": (CallPlan(30, forgets=True), 7),
    "void": (CallPlan(30, voids=True), 2),
    "refused": (CallPlan(999), 4),
}
SWEEPER_CALLS = 3  # read, tombstone, settle

Mishap = Fault | Literal["crash", "crash_sent"]
# A conflict is a throttle here: nothing was written, and the call is sent again.
MISHAPS: tuple[Mishap, ...] = ("lost_before", "lost_after", "throttle", "crash", "crash_sent")


@dataclass(frozen=True)
class Schedule:
    """`sweeper[i]`: after how many of the call's steps the sweeper takes its i-th."""

    plan: str
    mishap: Mishap | None
    at: int
    sweeper: tuple[int, ...]


def schedules() -> Iterator[Schedule]:
    """All of them."""
    for plan, (_, calls) in PLANS.items():
        orders = list(combinations_with_replacement(range(calls + 1), SWEEPER_CALLS))
        for order in orders:
            yield Schedule(plan, None, 0, order)
        for order, mishap, at in product(orders, MISHAPS, range(calls)):
            yield Schedule(plan, mishap, at, order)


def run(simulation: LedgerSimulation, schedule: Schedule) -> None:
    """Play a schedule to its end; the simulation checks itself at every step."""
    plan, calls = PLANS[schedule.plan]
    simulation.start_call(plan)
    call = simulation.processes[0]
    sweeper: Process | None = None
    for taken in range(calls + 1):
        for _ in range(schedule.sweeper.count(taken)):
            if sweeper is None:
                simulation.start_sweep(HOLD_S + 1)
                sweeper = simulation.processes[-1]
            if sweeper.request is not None:
                simulation.step(sweeper)
                simulation.check()
        if call.request is not None:
            _step(simulation, call, schedule, taken)
            simulation.check()
    simulation.end()


def _step(simulation: LedgerSimulation, call: Process, schedule: Schedule, taken: int) -> None:
    mishap = schedule.mishap if taken == schedule.at else None
    if mishap == "crash" or mishap == "crash_sent":  # noqa: PLR1714  # the type narrows by this
        simulation.crash(call, sent=mishap == "crash_sent")
    else:
        simulation.step(call, mishap)
