"""Every variable that is missing or wrong, and the line that says so."""

from typing import Any

import pytest

from phigate.aws.server import BUFFERED_TIMEOUT_S, stack_of
from phigate.aws.settings import (
    FUNCTIONS,
    SETTINGS,
    ChatSettings,
    Function,
    SettingsRefused,
    SweeperSettings,
    read_settings,
    variables_of,
)
from phigate.core.limits import JSON_TIMEOUT_S, STREAM_TIMEOUT_S
from tests.builders import repository_catalog
from tests.functions.aws import AWS_REGION
from tests.functions.aws_stack import ENVIRONMENT, TASKS

WHOLE = {**ENVIRONMENT, **TASKS, "PHIGATE_DIGEST_BUCKET": "digests"}

MISSING = [
    (function, variable.name)
    for function in FUNCTIONS
    for variable in variables_of(SETTINGS[function])
    if not variable.may_be_empty
    if (function, variable.name) != ("sweeper", "PHIGATE_CLUSTER")
]
WRONG: dict[str, tuple[Function, dict[str, str], str]] = {
    "a region that is none": (
        "chat",
        {"PHIGATE_REGION": "XX"},
        "PHIGATE_REGION names XX, which is none of CH, EU, US",
    ),
    "a jurisdiction that is none": (
        "sweeper",
        {"PHIGATE_JURISDICTIONS": "CH,ch"},
        "PHIGATE_JURISDICTIONS names ch, which is none of",
    ),
    "jurisdictions without a name": (
        "chat",
        {"PHIGATE_JURISDICTIONS": ","},
        "PHIGATE_JURISDICTIONS names nothing",
    ),
    "a default that is not served": (
        "chat",
        {"PHIGATE_REGION": "EU"},
        "PHIGATE_REGION is none of PHIGATE_JURISDICTIONS",
    ),
    "an AWS region that is none": ("chat", {"AWS_REGION": "local"}, "AWS_REGION is no AWS region"),
    "an issuer without TLS": (
        "directory",
        {"PHIGATE_ISSUER": "http://x"},
        "PHIGATE_ISSUER is no https URL",
    ),
    "an issuer with a slash": ("chat", {"PHIGATE_ISSUER": "https://x/"}, "without a slash"),
    "any unproven row": (
        "chat",
        {"PHIGATE_ALLOW_UNPROVEN": "*"},
        r"PHIGATE_ALLOW_UNPROVEN holds \*, which is not row/region",
    ),
    "receipts by another word": (
        "chat",
        {"PHIGATE_RECEIPTS_REQUIRED": "some"},
        "PHIGATE_RECEIPTS_REQUIRED is some, not phi or all or none",
    ),
    "streaming by another word": (
        "math",
        {"PHIGATE_STREAMING": "true"},
        "PHIGATE_STREAMING is true, not on or off",
    ),
    "a pool of none": (
        "math",
        {"PHIGATE_WARM_POOL": "-1"},
        "PHIGATE_WARM_POOL is no whole number of 0 or more",
    ),
    "no sandbox for an account": (
        "math",
        {"PHIGATE_SANDBOXES_PER_ACCOUNT": "0"},
        "PHIGATE_SANDBOXES_PER_ACCOUNT is no whole number of 1 or more",
    ),
    "another place for a provider": (
        "chat",
        {"PHIGATE_INFOMANIAK_BASE_URL": "https://elsewhere.example"},
        "PHIGATE_INFOMANIAK_BASE_URL may not be set on AWS",
    ),
    "PHI for another place": (
        "sweeper",
        {"PHIGATE_INFOMANIAK_PHI": "trusted"},
        "PHIGATE_INFOMANIAK_PHI may not be set on AWS",
    ),
    "a provider's key": (
        "catalog_sync",
        {"PHIGATE_OPENAI_API_KEY": ""},
        "PHIGATE_OPENAI_API_KEY may not be set on AWS",
    ),
}

SERVED = {"table", "stack", "aws_region", "issuer", "region", "jurisdictions", "unproven_allowed"}
SIGNS = {"required", "key", "catalog_key", "secrets", "is_streaming"}
SANDBOXES = {
    "cluster",
    "task_definition",
    "subnets",
    "security_groups",
    "image",
    "warm_pool",
    "per_account",
    "per_stack",
    "secret_name",
}
# All that a function knows: what it has no business with is no member of its settings.
MEMBERS: dict[Function, set[str]] = {
    "chat": SERVED | SIGNS,
    "math": SERVED | SIGNS | SANDBOXES,
    "directory": SERVED | {"catalog_key", "redpill_key", "secrets"},
    "catalog_sync": {
        "table",
        "stack",
        "aws_region",
        "receipt_key",
        "catalog_key",
        "day_key",
        "redpill_key",
        "catalog_folder",
    },
    "sweeper": {
        "table",
        "stack",
        "aws_region",
        "region",
        "jurisdictions",
        "day_key",
        "digest_bucket",
    }
    | SANDBOXES,
}


def members(settings: Any) -> set[str]:
    """The names of a model's members, and of its parts'."""
    return {
        name
        for own, value in settings._asdict().items()
        for name in (members(value) if hasattr(value, "_asdict") else {own})
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_whole_is_read(function: Function) -> None:
    settings = read_settings(WHOLE, SETTINGS[function])
    assert settings.common == ("phigate", "stack-ch", AWS_REGION)
    assert members(settings) == MEMBERS[function]
    assert None not in settings


def test_no_variable_is_read_twice() -> None:
    for model in SETTINGS.values():
        names = [variable.name for variable in variables_of(model)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("function, variable", MISSING)
@pytest.mark.parametrize("left", [None, " "], ids=["unset", "blank"])
def test_what_is_missing_is_named(function: Function, variable: str, left: str | None) -> None:
    environ = {name: text for name, text in WHOLE.items() if name != variable}
    if left is not None:
        environ[variable] = left
    with pytest.raises(SettingsRefused) as refused:
        read_settings(environ, SETTINGS[function])
    assert str(refused.value) == f"{function} does not start: {variable} is missing"


@pytest.mark.parametrize("function, changes, line", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line(
    function: Function, changes: dict[str, str], line: str
) -> None:
    with pytest.raises(SettingsRefused, match=line) as refused:
        read_settings(WHOLE | changes, SETTINGS[function])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["", "trusted", "https://elsewhere.example"])
@pytest.mark.parametrize("name", ["BASE_URL", "API_KEY", "PHI"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_function_starts_where_a_providers_place_is_set(
    function: Function, name: str, value: str
) -> None:
    for provider in sorted({row.provider for row in repository_catalog().rows}):
        variable = f"PHIGATE_{provider.upper()}_{name}"
        with pytest.raises(SettingsRefused, match=f"{variable} may not be set on AWS"):
            read_settings(WHOLE | {variable: value}, SETTINGS[function])


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsRefused, match="PHIGATE_TABLE is missing; PHIGATE_STACK is missing"):
        read_settings(WHOLE | {"PHIGATE_TABLE": "", "PHIGATE_STACK": ""}, SweeperSettings)


def test_a_sweeper_without_a_cluster_has_no_sandboxes() -> None:
    assert read_settings(ENVIRONMENT, SweeperSettings).sandboxes is None


@pytest.mark.parametrize(
    "streaming, json_s, stream_s",
    [("on", JSON_TIMEOUT_S, STREAM_TIMEOUT_S), ("off", BUFFERED_TIMEOUT_S, BUFFERED_TIMEOUT_S)],
)
def test_deadlines_are_those_of_the_transport(
    streaming: str, json_s: float, stream_s: float
) -> None:
    stack = stack_of(read_settings(WHOLE | {"PHIGATE_STREAMING": streaming}, ChatSettings))
    assert (stack.json_timeout_s, stack.stream_timeout_s) == (json_s, stream_s)
    assert stack.regions == ("CH",)
    assert stack.unproven_allowed == frozenset()
    assert BUFFERED_TIMEOUT_S == 27.0
