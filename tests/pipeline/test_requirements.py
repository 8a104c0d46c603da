"""What a chat request needs of a row, and what of it cannot be served."""

import json
from dataclasses import replace
from typing import Any

import pytest

from phigate.core.catalog.port import CatalogView
from phigate.core.errors import InvalidRequest
from phigate.core.request.headers import RoutingHeaders
from phigate.core.types import Json, KeyPolicy, Preferences, Requirements, Task
from phigate.effects.zones import SystemZones
from phigate.formats.chat import CHAT
from phigate.pipeline.gateway import Stack
from phigate.pipeline.inbound_request import InboundBody, InboundRequest
from phigate.pipeline.plan import plan_request
from tests.builders import NOW_S, make_body, make_catalog, make_row

GENERAL = RoutingHeaders("CH", False, None)
PHI = RoutingHeaders("CH", True, None)
IMAGE = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


STACK = Stack("stack-1", "CH", ("CH",))
CATALOG = make_catalog((make_row("acme-one"),), aliases={"gemma-4": ("acme-one",)})


def requirements_of(
    body: Json, routing: RoutingHeaders = GENERAL, task: Task = "chat"
) -> Requirements:
    return plan_request(
        InboundRequest(task, {}, InboundBody(json.dumps(body).encode())),
        routing,
        KeyPolicy(),
        read=CHAT.read,
        view=CatalogView(CATALOG, NOW_S),
        stack=STACK,
        zones=SystemZones(),
        now_s=NOW_S,
    ).requirements


def test_a_plain_message_is_read() -> None:
    body = make_body(model="gemma-4", messages=[{"role": "user", "content": "Grüezi"}])
    assert requirements_of(body, PHI) == Requirements(
        model="gemma-4",
        region="CH",
        phi=True,
        model_tier=None,
        task="chat",
        images=0,
        needs_tools=False,
        needs_json_schema=False,
        has_tools=False,
        tokens_out=None,
        text_bytes=len("role" + "user" + "content") + len("Grüezi".encode()),
        messages=1,
        preferences=Preferences(),
    )


# Members, and the fields of Requirements that they decide.
READ: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tools alone are not needed": ({"tools": [TOOL]}, {"has_tools": True, "needs_tools": False}),
    "tool_choice auto": ({"tools": [TOOL], "tool_choice": "auto"}, {"needs_tools": False}),
    "tool_choice none": ({"tools": [TOOL], "tool_choice": "none"}, {"needs_tools": False}),
    "tool_choice required": ({"tools": [TOOL], "tool_choice": "required"}, {"needs_tools": True}),
    "tool_choice names one": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"needs_tools": True},
    ),
    "no tools": ({"tools": []}, {"has_tools": False}),
    "a JSON schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}},
        {"needs_json_schema": True},
    ),
    "a JSON object is no schema": (
        {"response_format": {"type": "json_object"}},
        {"needs_json_schema": False},
    ),
    "a format as text": ({"response_format": "json_object"}, {"needs_json_schema": False}),
    "max_tokens": ({"max_tokens": 5}, {"tokens_out": 5}),
    "max_completion_tokens": ({"max_completion_tokens": 6}, {"tokens_out": 6}),
    "max_output_tokens": ({"max_output_tokens": 7}, {"tokens_out": 7}),
    "two names, one value": ({"max_tokens": 5, "max_output_tokens": 5}, {"tokens_out": 5}),
    "one of two is null": ({"max_tokens": None, "max_output_tokens": 5}, {"tokens_out": 5}),
    "preferences": (
        {
            "provider": {
                "order": ["a"],
                "only": ["a", "b"],
                "ignore": ["c"],
                "allow_fallbacks": False,
                "include_alpha": True,
            }
        },
        {"preferences": Preferences(("a",), ("a", "b"), ("c",), False, True)},
    ),
    "strict preferences": (
        {"provider": {"confidential": True, "require_parameters": True}},
        {"preferences": Preferences(confidential=True, require_parameters=True)},
    ),
    "preferences that are off": (
        {"provider": {"confidential": False, "require_parameters": False}},
        {"preferences": Preferences(confidential=False)},
    ),
    "preferences that are null": (
        {"provider": {"confidential": None, "require_parameters": None}},
        {"preferences": Preferences()},
    ),
    "parameters": ({"top_k": 4, "n": 1}, {"parameters": frozenset({"top_k"})}),
    "a server tool": (
        {"tools": [{"type": "gateway:datetime"}], "tool_choice": "gateway:datetime"},
        {"needs_tools": True, "has_tools": True},
    ),
    "system is a message": ({"system": "Be brief"}, {"messages": 2}),
    "text in every spelling": (
        {"response_modalities": ["text"], "responseModalities": ["TEXT"]},
        {},
    ),
    "no preferences": ({"provider": None}, {"preferences": Preferences()}),
    "a standard service tier": ({"service_tier": "standard"}, {}),
    "store false": ({"store": False}, {}),
    "text as modality": ({"modalities": ["text"]}, {}),
}


@pytest.mark.parametrize(("members", "fields"), READ.values(), ids=READ)
def test_members_decide_what_is_asked(members: dict[str, Any], fields: dict[str, Any]) -> None:
    requirements = requirements_of(make_body(**members))
    assert requirements == replace(requirements, **fields)


def test_math_alone_needs_no_tools() -> None:
    """Where there is no sandbox the model reasons without one; `order` asks for tools elsewhere."""
    assert not requirements_of(make_body(), task="math").needs_tools


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def image(url: str = IMAGE) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text(value: str = "x") -> dict[str, Any]:
    return {"type": "text", "text": value}


def tool_of(size: int) -> dict[str, Any]:
    """A tool whose JSON has `size` bytes."""
    named = {"type": "function", "function": {"name": "f", "description": ""}}
    plain = len(json.dumps(named))
    return {**named, "function": {"name": "f", "description": "d" * (size - plain)}}


# A body just inside a limit, the same just outside, and the param of the refusal.
LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "messages": (
        {"messages": [user("x")] * 2_000},
        {"messages": [user("x")] * 2_001},
        "messages",
    ),
    "content parts over all messages": (
        {"messages": [user([text()] * 250)] * 2},
        {"messages": [user([text()] * 250), user([text()] * 251)]},
        "messages",
    ),
    "images over all messages": (
        {"messages": [user([image()] * 10)] * 2},
        {"messages": [user([image()] * 10), user([image()] * 11)]},
        "messages",
    ),
    "tools": ({"tools": [TOOL] * 128}, {"tools": [TOOL] * 129}, "tools"),
    "stop": ({"stop": ["."] * 16}, {"stop": ["."] * 17}, "stop"),
    "the schema of a tool": (
        {"tools": [tool_of(65_536)]},
        {"tools": [TOOL, tool_of(65_537)]},
        "tools.1.function.parameters",
    ),
    "the schema of a format": (
        {"response_format": {"type": "text", "note": "x" * 65_000}},
        {"response_format": {"type": "text", "note": "x" * 66_000}},
        "response_format",
    ),
}


@pytest.mark.parametrize(("inside", "outside", "param"), LIMITS.values(), ids=LIMITS)
def test_a_limit_takes_its_last_value_and_refuses_the_next(
    inside: dict[str, Any], outside: dict[str, Any], param: str
) -> None:
    requirements_of(make_body(**inside))
    with pytest.raises(InvalidRequest) as caught:
        requirements_of(make_body(**outside))
    assert caught.value.param == param


REFUSALS: dict[str, tuple[dict[str, Any], RoutingHeaders, str]] = {
    "store": ({"store": True}, GENERAL, "store"),
    "flex has no price": ({"service_tier": "flex"}, GENERAL, "service_tier"),
    "priority has no price": ({"service_tier": "priority"}, GENERAL, "service_tier"),
    "an answer in sound": ({"modalities": ["text", "audio"]}, GENERAL, "modalities"),
    "an answer in pictures": ({"modalities": ["image"]}, GENERAL, "modalities"),
    "an answer in pictures, in snake case": (
        {"response_modalities": ["TEXT", "IMAGE"]},
        GENERAL,
        "response_modalities",
    ),
    "an answer in pictures, in camel case": (
        {"responseModalities": ["image"]},
        GENERAL,
        "responseModalities",
    ),
    "an unknown modality in other words": (
        {"responseModalities": ["smell"]},
        GENERAL,
        "responseModalities",
    ),
    "two users": ({"user": "a", "user_id": "b"}, GENERAL, "user_id"),
    "a server tool that is not there": (
        {"tools": [TOOL], "tool_choice": "gateway:datetime"},
        GENERAL,
        "tool_choice",
    ),
    "a server tool that is not there, as an object": (
        {"tools": [TOOL], "tool_choice": {"type": "gateway:datetime"}},
        GENERAL,
        "tool_choice",
    ),
    "fonts by link under PHI": (
        {"image_config": {"font_inputs": [{"font_url": "https://a.example"}]}},
        PHI,
        "image_config.font_inputs",
    ),
    "reference images under PHI, in camel case": (
        {"imageConfig": {"referenceImages": [{"url": "https://a.example"}]}},
        PHI,
        "imageConfig.referenceImages",
    ),
    "references under PHI": (
        {"image_config": {"superResolutionReferences": ["https://a.example"]}},
        PHI,
        "image_config.superResolutionReferences",
    ),
    "provider options under PHI": (
        {"provider_options": {"acme": {"min_p": 0.1}}},
        PHI,
        "provider_options",
    ),
    "stream_options without stream": ({"stream_options": {}}, GENERAL, "stream_options"),
    "stream_options with stream false": (
        {"stream_options": {"include_usage": True}, "stream": False},
        GENERAL,
        "stream_options",
    ),
    "tool_choice without tools": ({"tool_choice": "required"}, GENERAL, "tool_choice"),
    "three names, two values": (
        {"max_tokens": 1, "max_completion_tokens": 2, "max_output_tokens": 2},
        GENERAL,
        "max_tokens",
    ),
    "a linked image under PHI": (
        {"messages": [user([image("https://a.example/x.png")])]},
        PHI,
        "messages.0.content.0.image_url.url",
    ),
    "a linked image in a tool result under PHI": (
        {
            "messages": [
                user("x"),
                {
                    "role": "tool",
                    "tool_call_id": "1",
                    "content": [text(), image("https://a.example/x.png")],
                },
            ]
        },
        PHI,
        "messages.1.content.1.image_url.url",
    ),
    "an unknown member under PHI": ({"novelty": 1}, PHI, "novelty"),
}


@pytest.mark.parametrize(("members", "routing", "param"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_served_is_refused_with_its_param(
    members: dict[str, Any], routing: RoutingHeaders, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requirements_of(make_body(**members), routing)
    assert caught.value.param == param


PLAIN = requirements_of(make_body()).text_bytes
# Members, and by how many bytes of text they are more than a plain body.
TEXT: dict[str, tuple[dict[str, Any], int]] = {
    "an image is priced by its row and is no text": (
        {"messages": [user([image(), text("Hello")])]},
        len("typetexttext"),
    ),
    "tools are read by the model": (
        {"tools": [TOOL]},
        len(json.dumps([TOOL])),
    ),
    "a schema is read by the model": (
        {"response_format": {"type": "text"}},
        len('{"type": "text"}'),
    ),
    "an unknown member may be read by the model": ({"documents": ["abc"]}, len('["abc"]')),
    "empty objects are read as JSON": ({"documents": [[], {}]}, len("[[], {}]")),
    "system is text": ({"system": "Hello"}, len("rolesystemcontentHello")),
    "provider options may be read by the model": (
        {"provider_options": {"acme": {"ab": "c"}}},
        len('{"acme": {"ab": "c"}}'),
    ),
    "what clients echo is not sent": (
        {
            "messages": [
                {"role": "user", "content": "Hello", "provider_specific_fields": {"a": "b" * 99}}
            ]
        },
        0,
    ),
    "a temperature is not": ({"temperature": 0.123456}, 0),
}


@pytest.mark.parametrize(("members", "more"), TEXT.values(), ids=TEXT)
def test_text_that_a_model_may_read_counts(members: dict[str, Any], more: int) -> None:
    assert requirements_of(make_body(**members)).text_bytes == PLAIN + more
