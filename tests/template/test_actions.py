"""Each function has the settings that it reads, and each role allows what it was seen to call."""

import pytest

from phigate.aws.settings import FUNCTIONS, SETTINGS, Function, variables_of
from tests.functions import actions as recorded
from tests.template.roles import role_of
from tests.template.tables import ACTIONS, CONTRACT, DENIED_WRITES, NAMES, WRITES


@pytest.mark.parametrize("function", NAMES)
def test_role_allows_every_recorded_call(function: Function) -> None:
    calls = recorded.ACTIONS[function]
    needed = set().union(*(recorded.ALLOWED_BY.get(call, {call}) for call in calls))
    assert needed <= set(ACTIONS[role_of(function)].split())


@pytest.mark.parametrize("function", ["chat", "math", "directory", "sweeper"])
def test_role_is_denied_nothing_that_its_function_was_seen_to_write(function: Function) -> None:
    denied = {kind.removesuffix("*") for kind in DENIED_WRITES[role_of(function)].split()}
    writes = {action.removeprefix("dynamodb:") for action in WRITES}
    assert not denied & {kind for action, kind in recorded.items_of(function) if action in writes}


@pytest.mark.parametrize("function", NAMES)
def test_recorded_items_are_of_known_kinds_by_recorded_actions(function: Function) -> None:
    found = recorded.items_of(function)
    assert {kind for _, kind in found} <= set(recorded.KINDS)
    actions = {each for each in recorded.ACTIONS[function] if each.startswith("dynamodb:")}
    assert {f"dynamodb:{action}" for action, _ in found} == actions


def test_only_a_sandboxs_record_is_ever_deleted() -> None:
    deleted = {
        kind
        for function in FUNCTIONS
        for action, kind in recorded.items_of(function)
        if action == "DeleteItem"
    }
    assert deleted == {"T#"}


def test_every_kind_has_its_own_key() -> None:
    assert {kind: recorded.kind_of(key) for kind, key in recorded.KINDS.items()} == {
        kind: kind for kind in recorded.KINDS
    }


@pytest.mark.parametrize("function", NAMES)
def test_template_sets_the_variables_that_settings_read(function: Function) -> None:
    # AWS_REGION is Lambda's own.
    read = {variable.name for variable in variables_of(SETTINGS[function])} - {"AWS_REGION"}
    assert {name for name in CONTRACT if function in CONTRACT[name].split()} - OTHERS == read


# What the processes read that the functions run in.
OTHERS = {
    "AWS_LAMBDA_EXEC_WRAPPER",
    "POWERTOOLS_SERVICE_NAME",
    "PYDANTIC_DISABLE_PLUGINS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "STREAMING_RUNTIME_FAILURES",
}
