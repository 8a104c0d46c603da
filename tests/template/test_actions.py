"""Each role allows what its function was recorded to call, once tests/functions is there."""

import pytest

from tests.template.tables import ACTIONS, DENIED_WRITES, NAMES

recorded = pytest.importorskip("tests.functions.actions")


@pytest.mark.parametrize("function", NAMES)
def test_role_allows_every_recorded_call(function: str) -> None:
    calls = recorded.ACTIONS[function]
    needed = set().union(*(recorded.ALLOWED_BY.get(call, {call}) for call in calls))
    role = "".join(part.title() for part in function.split("_")) + "Role"
    assert needed <= set(ACTIONS[role].split())


@pytest.mark.parametrize("function", ["chat", "math", "directory", "sweeper"])
def test_role_is_denied_nothing_that_its_function_was_seen_to_write(function: str) -> None:
    denied = {kind.removesuffix("*") for kind in DENIED_WRITES[f"{function.title()}Role"].split()}
    assert not denied & (recorded.WRITTEN[function] | {"BREAKER"})
