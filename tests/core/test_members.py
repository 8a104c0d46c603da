"""What may go where: under PHI only what the table names, and never what could undo the gate."""

import copy
from typing import Any

import pytest

from phigate.core.errors import InvalidRequest
from phigate.core.members import MEMBERS
from phigate.core.members_check import REFUSED, check_members
from phigate.core.types import Json
from phigate.wire.chat_body import ChatBody, check_shape
from tests.builders import make_body

IMAGE = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}, "file_id": {}}}

# A request that uses every object that the tables know.
FULL: Json = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief"},
        {
            "role": "user",
            "name": "ward",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example"}}],
            "reasoning_content": "",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "s", "description": "d", "schema": SCHEMA, "strict": True},
    },
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 1,
    "seed": 7,
    "user": "u",
}
# Every object of FULL whose members are known one by one: where it is, and the path of a member.
LEVELS: dict[str, tuple[tuple[str | int, ...], str]] = {
    "the body": ((), ""),
    "a message": (("messages", 0), "messages.0."),
    "a text part": (("messages", 1, "content", 0), "messages.1.content.0."),
    "an image part": (("messages", 1, "content", 1), "messages.1.content.1."),
    "an image": (("messages", 1, "content", 1, "image_url"), "messages.1.content.1.image_url."),
    "a part of a tool result": (("messages", 3, "content", 0), "messages.3.content.0."),
    "a refusal part": (("messages", 4, "content", 0), "messages.4.content.0."),
    "a tool call": (("messages", 2, "tool_calls", 0), "messages.2.tool_calls.0."),
    "a called function": (
        ("messages", 2, "tool_calls", 0, "function"),
        "messages.2.tool_calls.0.function.",
    ),
    "an annotation": (("messages", 2, "annotations", 0), "messages.2.annotations.0."),
    "a tool": (("tools", 0), "tools.0."),
    "a function": (("tools", 0, "function"), "tools.0.function."),
    "a tool choice": (("tool_choice",), "tool_choice."),
    "a chosen function": (("tool_choice", "function"), "tool_choice.function."),
    "a response format": (("response_format",), "response_format."),
    "a named schema": (("response_format", "json_schema"), "response_format.json_schema."),
}


def full_with(where: tuple[str | int, ...], name: str, value: Any) -> Json:
    body = copy.deepcopy(FULL)
    place: Any = body
    for step in where:
        place = place[step]
    place[name] = value
    check_shape(ChatBody, body)
    return body


def param_of(body: Json, *, phi: bool) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        check_members(body, phi=phi)
    assert "canary" not in caught.value.message
    return caught.value.param


@pytest.mark.parametrize("phi", [True, False], ids=["PHI", "general"])
def test_a_full_request_passes(phi: bool) -> None:
    check_members(FULL, phi=phi)


@pytest.mark.parametrize(("where", "path"), LEVELS.values(), ids=LEVELS)
def test_under_phi_a_member_that_no_table_names_is_refused_on_every_level(
    where: tuple[str | int, ...], path: str
) -> None:
    body = full_with(where, "novelty", "canary")
    assert param_of(body, phi=True) == f"{path}novelty"
    check_members(body, phi=False)


@pytest.mark.parametrize(("where", "path"), LEVELS.values(), ids=LEVELS)
def test_a_refused_member_is_refused_on_every_level(
    where: tuple[str | int, ...], path: str
) -> None:
    body = full_with(where, "mcp_servers", ["canary"])
    assert param_of(body, phi=True) == f"{path}mcp_servers"
    assert param_of(body, phi=False) == f"{path}mcp_servers"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_every_refused_name_is_refused_in_all_traffic(name: str) -> None:
    assert param_of(make_body(**{name: "canary"}), phi=False) == name
    assert param_of(make_body(**{name: "canary"}), phi=True) == name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_every_refused_name_is_refused_inside_an_unknown_member(name: str) -> None:
    body = make_body(extension=[{"deeper": {name: "canary"}}])
    assert param_of(body, phi=False) == f"extension.0.deeper.{name}"


def test_the_names_of_the_design_are_on_the_list() -> None:
    assert {
        "inference_geo",
        "models",
        "route",
        "plugins",
        "mcp_servers",
        "web_search_options",
        "container",
        "file_id",
    } <= REFUSED


def test_no_known_member_is_refused() -> None:
    assert REFUSED.isdisjoint(MEMBERS)


# Media outside its own part would pass by the rule for media.
STOWAWAYS: dict[str, tuple[tuple[str | int, ...], str, Any]] = {
    "a link in a text part": (("messages", 1, "content", 0), "image_url", "https://a.example/x"),
    "an image in a text part": (("messages", 1, "content", 0), "image_url", {"url": IMAGE}),
    "an image in a refusal part": (("messages", 4, "content", 0), "image_url", {"url": IMAGE}),
    "an image beside the content": (("messages", 1), "image_url", {"url": IMAGE}),
    "a video in a part": (("messages", 1, "content", 0), "video_url", {"url": IMAGE}),
    "sound in a part": (("messages", 1, "content", 0), "input_audio", {"data": "AAAA"}),
}


@pytest.mark.parametrize("phi", [True, False], ids=["PHI", "general"])
@pytest.mark.parametrize(("where", "name", "value"), STOWAWAYS.values(), ids=STOWAWAYS)
def test_media_outside_its_own_part_is_refused(
    where: tuple[str | int, ...], name: str, value: Any, phi: bool
) -> None:
    path = ".".join(map(str, (*where, name)))
    assert param_of(full_with(where, name, value), phi=phi) == path


def test_a_text_part_may_not_name_a_picture_as_text_does() -> None:
    """Members of one part type are unknown in another."""
    body = full_with(("messages", 4, "content", 0), "text", "canary")
    assert param_of(body, phi=True) == "messages.4.content.0.text"


def test_general_traffic_passes_what_no_table_knows() -> None:
    check_members(make_body(top_a=0.5, min_p=0.1, guided_choice=["a"]), phi=False)


def test_a_schema_may_name_its_properties_as_it_likes() -> None:
    """`location` and `file_id` in SCHEMA are the caller's own words."""
    check_members(FULL, phi=True)


# Clients send an answer's message back with its null members, and null for what they left open.
NULLS: dict[str, Json] = {
    "a null member of the body": make_body(web_search_options=None, novelty=None),
    "null members of a message": make_body(
        messages=[{"role": "assistant", "content": "x", "function_call": None, "audio": None}]
    ),
    "no tool calls": make_body(
        messages=[{"role": "assistant", "content": "x", "tool_calls": None}]
    ),
    "no tools": make_body(tools=None, tool_choice=None, response_format=None),
    "no schema": make_body(response_format={"type": "text", "json_schema": None}),
    "formats and choices as text": make_body(tool_choice="auto", response_format="text"),
}


@pytest.mark.parametrize("body", NULLS.values(), ids=NULLS)
def test_a_null_member_is_an_absent_one(body: Json) -> None:
    check_shape(ChatBody, body)
    check_members(body, phi=True)
