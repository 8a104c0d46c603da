"""What the tools of a request name: the caller's own functions, and the time zone of a clock."""

import pytest

from phigate.core.types import Json
from phigate.wire.openai.chat_body import read_chat
from phigate.wire.openai.chat_tools import datetime_zone, function_names
from tests.builders import make_body

OWN: Json = {"type": "function", "function": {"name": "f"}}
TIME: Json = {"type": "gateway:datetime"}
BERN = "Europe/Zurich"

# The tools of a request, and the path and name of the time zone.
ZONES: dict[str, tuple[list[Json], tuple[str, str] | None]] = {
    "no tools": ([], None),
    "functions alone": ([OWN], None),
    "no zone": ([TIME], ("tools.0.timezone", "UTC")),
    "null": ([{**TIME, "timezone": None}], ("tools.0.timezone", "UTC")),
    "a zone": ([{**TIME, "timezone": BERN}], ("tools.0.timezone", BERN)),
    "behind a function": ([OWN, {**TIME, "timezone": BERN}], ("tools.1.timezone", BERN)),
    "the first of two": ([TIME, {**TIME, "timezone": BERN}], ("tools.0.timezone", "UTC")),
    "in parameters": (
        [{**TIME, "parameters": {"timezone": BERN}}],
        ("tools.0.parameters.timezone", BERN),
    ),
    "in both": (
        [{**TIME, "timezone": "UTC", "parameters": {"timezone": BERN}}],
        ("tools.0.parameters.timezone", BERN),
    ),
    "empty parameters": (
        [{**TIME, "timezone": BERN, "parameters": {}}],
        ("tools.0.timezone", BERN),
    ),
    # Said, and no zone; such a request has always been refused.
    "null in parameters": (
        [{**TIME, "parameters": {"timezone": None}}],
        ("tools.0.parameters.timezone", "None"),
    ),
}


@pytest.mark.parametrize(("tools", "zone"), ZONES.values(), ids=ZONES)
def test_the_clocks_time_zone_is_found_with_its_path(
    tools: list[Json], zone: tuple[str, str] | None
) -> None:
    assert datetime_zone(read_chat(make_body(tools=tools)).chat.tools or ()) == zone


def test_the_callers_functions_are_named_and_the_gateways_tool_is_none_of_them() -> None:
    chat = read_chat(make_body(tools=[TIME, OWN])).chat
    assert function_names(chat.tools or ()) == {"f"}
