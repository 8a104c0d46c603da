"""Each function has the settings that it reads, and each role allows what it was seen to call."""

import pytest

from phigate.aws.settings import FIELDS, TASK_FIELDS, Function
from tests.functions import actions as recorded
from tests.template.tables import ACTIONS, CONTRACT, DENIED_WRITES, NAMES


@pytest.mark.parametrize("function", NAMES)
def test_role_allows_every_recorded_call(function: Function) -> None:
    calls = recorded.ACTIONS[function]
    needed = set().union(*(recorded.ALLOWED_BY.get(call, {call}) for call in calls))
    role = "".join(part.title() for part in function.split("_")) + "Role"
    assert needed <= set(ACTIONS[role].split())


@pytest.mark.parametrize("function", ["chat", "math", "directory", "sweeper"])
def test_role_is_denied_nothing_that_its_function_was_seen_to_write(function: Function) -> None:
    denied = {kind.removesuffix("*") for kind in DENIED_WRITES[f"{function.title()}Role"].split()}
    assert not denied & (recorded.WRITTEN[function] | {"BREAKER"})


@pytest.mark.parametrize("function", NAMES)
def test_template_sets_the_variables_that_settings_read(function: Function) -> None:
    fields = [field for field in FIELDS if function in field.functions]
    if function in ("math", "sweeper"):
        fields += TASK_FIELDS
    read = {field.variable for field in fields} - {"AWS_REGION"}  # Lambda's own
    assert {name for name in CONTRACT if function in CONTRACT[name].split()} - OTHERS == read


# What the processes read that the functions run in.
OTHERS = {
    "AWS_LAMBDA_EXEC_WRAPPER",
    "PYDANTIC_DISABLE_PLUGINS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "STREAMING_RUNTIME_FAILURES",
}
