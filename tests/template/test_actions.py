"""Each role allows what its function was recorded to call, once tests/functions is there."""

import pytest

from tests.template.tables import ACTIONS, NAMES

recorded = pytest.importorskip("tests.functions.actions")


@pytest.mark.parametrize("function", NAMES)
def test_role_allows_every_recorded_call(function: str) -> None:
    calls = recorded.ACTIONS[function]
    needed = set().union(*(recorded.ALLOWED_BY.get(call, {call}) for call in calls))
    role = "".join(part.title() for part in function.split("_")) + "Role"
    assert needed <= set(ACTIONS[role].split())
