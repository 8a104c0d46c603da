"""No micro-dollar is lost, charged twice or stuck: on the fake, on a real engine, and not by luck.

The same machine runs on both engines, so the fake is proven honest; each mutant, a ledger with one
mistake, has to be found, so the machine is proven to look.
"""

import asyncio
from itertools import islice

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from phigate.core.ledger.hold import IllegalTransition, OpenHold
from phigate.core.ledger.port import HoldRequest
from phigate.effects.clock import WallClock
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.ledger import DynamoLedger
from tests.fakes import FakeDynamo
from tests.ledger.conftest import RealStore
from tests.ledger.machine import on
from tests.ledger.mutants import MUTANTS
from tests.ledger.schedules import run, schedules
from tests.ledger.simulation import OPENING_MICROS, PLAIN_KEY, START_S, LedgerSimulation, Mutation

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# The real engine plays one in so many of the schedules; the fake plays all of them.
REAL_EVERY = 29
CLIENTS = 32


def fake_world(mutation: Mutation | None = None) -> LedgerSimulation:
    """A simulation in memory."""
    return LedgerSimulation(FakeDynamo().execute, account="acme", mutation=mutation)


def machine_on_fake(examples: int, mutation: Mutation | None = None) -> None:
    """Run the machine in memory; raises what it finds."""
    machine = on(lambda: FakeDynamo().execute, lambda: "acme", mutation)
    # What a mutant breaks need not be made small.
    phases = settings().phases if mutation is None else [Phase.generate]
    bounded = settings(BOUNDED, max_examples=examples, stateful_step_count=40, phases=phases)
    run_state_machine_as_test(machine, settings=bounded)


def test_the_machine_finds_nothing_on_the_fake() -> None:
    machine_on_fake(250)


def test_the_machine_finds_nothing_on_a_real_engine(real_store: RealStore) -> None:
    machine = on(lambda: real_store.execute, real_store.account)
    bounded = settings(BOUNDED, max_examples=40, stateful_step_count=35)
    run_state_machine_as_test(machine, settings=bounded)


def test_every_order_of_a_call_and_a_sweeper_is_sound_on_the_fake() -> None:
    for schedule in schedules():
        run(fake_world(), schedule)


def test_orders_of_a_call_and_a_sweeper_are_sound_on_a_real_engine(real_store: RealStore) -> None:
    for schedule in islice(schedules(), 0, None, REAL_EVERY):
        run(LedgerSimulation(real_store.execute, account=real_store.account()), schedule)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_ledger_with_a_mistake_is_found(name: str) -> None:
    mutation, finder = MUTANTS[name]
    with pytest.raises((AssertionError, IllegalTransition)):
        if finder == "machine":
            machine_on_fake(400, mutation)
        else:
            for schedule in schedules():
                run(fake_world(mutation), schedule)


def test_of_32_clients_exactly_as_many_succeed_as_credit_lasts(real_store: RealStore) -> None:
    account = real_store.account()
    simulation = LedgerSimulation(real_store.execute, account=account)
    micros = OPENING_MICROS // 10
    clients = [real_store.client() for _ in range(CLIENTS)]

    async def hold(number: int, dynamo: DynamoDB) -> bool:
        request = HoldRequest(
            account=account,
            key_id=PLAIN_KEY,
            id=f"AAAAAAAAAAAA{number:04}",
            micros=micros,
            expires_at_s=START_S + 100,
            now_s=START_S,
            rpm=600,
        )
        return isinstance(await DynamoLedger(dynamo, WallClock()).hold(request), OpenHold)

    async def everybody() -> list[bool]:
        try:
            return await asyncio.gather(*(hold(i, each) for i, each in enumerate(clients)))
        finally:
            await asyncio.gather(*(each.close() for each in clients))

    assert sum(real_store.loop.run_until_complete(everybody())) == 10
    simulation.check()
