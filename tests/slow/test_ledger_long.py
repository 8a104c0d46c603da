"""The ledger's machine for longer than `make test` can wait: both engines, other runs each time."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fakes import FakeDynamo
from tests.ledger.conftest import RealStore, real_store
from tests.ledger.machine import on

__all__ = ["real_store"]

LONG = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("steps", [35, 60])
def test_the_machine_finds_nothing_on_the_fake_in_a_long_run(steps: int) -> None:
    machine = on(lambda: FakeDynamo().execute, lambda: "acme")
    long = settings(LONG, max_examples=2_000, stateful_step_count=steps)
    run_state_machine_as_test(machine, settings=long)


def test_the_machine_finds_nothing_on_a_real_engine_in_a_long_run(real_store: RealStore) -> None:
    machine = on(lambda: real_store.execute, real_store.account)
    long = settings(LONG, max_examples=250, stateful_step_count=35)
    run_state_machine_as_test(machine, settings=long)
