"""What a call asks: headers against the key's policy, members against the limits."""

import json
from dataclasses import replace
from typing import Any

import pytest

from phigate.core import limits
from phigate.core.errors import InvalidRequest, KeyPolicyViolated
from phigate.core.request.read import RoutingHeaders, check_policy, read_headers, read_requirements
from phigate.core.types import Json, KeyPolicy, Preferences, Requirements, Task
from phigate.wire.openai.chat_body import ChatBody, check_shape
from phigate.wire.openai.field_policy import check_members
from tests.builders import make_body

ANY = KeyPolicy()
GENERAL = RoutingHeaders("CH", False, None)
PHI = RoutingHeaders("CH", True, None)
IMAGE = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

# Headers, the key's policy, and what is pinned. The stack's own region is EU.
HEADERS: dict[str, tuple[dict[str, str], KeyPolicy, RoutingHeaders]] = {
    "none: the stack's region, general": ({}, ANY, RoutingHeaders("EU", False, None)),
    "X-PHI true": ({"x-phi": "true"}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI 1": ({"x-phi": "1"}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI TRUE": ({"x-phi": "TRUE"}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI with spaces": ({"x-phi": " true "}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI false": ({"x-phi": "false"}, ANY, RoutingHeaders("EU", False, None)),
    "X-PHI 0": ({"x-phi": "0"}, ANY, RoutingHeaders("EU", False, None)),
    "a key for PHI alone needs no header": (
        {},
        KeyPolicy("required"),
        RoutingHeaders("EU", True, None),
    ),
    "a key without PHI needs no header": (
        {},
        KeyPolicy("forbidden"),
        RoutingHeaders("EU", False, None),
    ),
    "the key's region": ({}, KeyPolicy(default_region="UK"), RoutingHeaders("UK", False, None)),
    "the header before the key's region": (
        {"x-region": "US"},
        KeyPolicy(default_region="UK"),
        RoutingHeaders("US", False, None),
    ),
    "region in lower case": ({"x-region": "latam"}, ANY, RoutingHeaders("LATAM", False, None)),
    "WORLD is a region": ({"x-region": "WORLD"}, ANY, RoutingHeaders("WORLD", False, None)),
    "model tier": ({"x-model-tier": "Fast"}, ANY, RoutingHeaders("EU", False, "fast")),
    "the key's model tier": (
        {},
        KeyPolicy(default_model_tier="thinking"),
        RoutingHeaders("EU", False, "thinking"),
    ),
}


@pytest.mark.parametrize(("headers", "policy", "pinned"), HEADERS.values(), ids=HEADERS)
def test_headers_are_read_with_the_defaults_of_the_key(
    headers: dict[str, str], policy: KeyPolicy, pinned: RoutingHeaders
) -> None:
    assert read_headers(headers, policy, "EU") == pinned


BAD_HEADERS = {
    "X-PHI yes": ("x-phi", "yes", "X-PHI"),
    "X-PHI empty": ("x-phi", "", "X-PHI"),
    "X-PHI 2": ("x-phi", "2", "X-PHI"),
    "X-PHI sent twice": ("x-phi", "true, false", "X-PHI"),
    "X-PHI in another script": ("x-phi", "\N{FULLWIDTH DIGIT ONE}", "X-PHI"),
    "unknown region": ("x-region", "MARS", "X-Region"),
    "region empty": ("x-region", "", "X-Region"),
    "two regions": ("x-region", "CH, EU", "X-Region"),
    "region with a line end inside": ("x-region", "CH\r\nX: 1", "X-Region"),
    "unknown model tier": ("x-model-tier", "huge", "X-Model-Tier"),
}


@pytest.mark.parametrize(("name", "value", "param"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_out_of_range_is_refused(name: str, value: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_headers({name: value}, ANY, "EU")
    assert caught.value.param == param


# What is pinned, the key's policy, and the header that contradicts it.
POLICIES: dict[str, tuple[RoutingHeaders, KeyPolicy, str | None]] = {
    "PHI where it is required": (PHI, KeyPolicy("required"), None),
    "no PHI where it is required": (GENERAL, KeyPolicy("required"), "X-PHI"),
    "PHI where it is forbidden": (PHI, KeyPolicy("forbidden"), "X-PHI"),
    "no PHI where it is forbidden": (GENERAL, KeyPolicy("forbidden"), None),
    "PHI where it is allowed": (PHI, ANY, None),
    "no PHI where it is allowed": (GENERAL, ANY, None),
    "a region of the key": (GENERAL, KeyPolicy(regions=frozenset({"CH", "EU"})), None),
    "a region outside the key": (GENERAL, KeyPolicy(regions=frozenset({"EU"})), "X-Region"),
    "a key without any region": (GENERAL, KeyPolicy(regions=frozenset()), "X-Region"),
}


@pytest.mark.parametrize(("pinned", "policy", "param"), POLICIES.values(), ids=POLICIES)
def test_a_header_that_contradicts_the_policy_is_refused(
    pinned: RoutingHeaders, policy: KeyPolicy, param: str | None
) -> None:
    if param is None:
        check_policy(pinned, policy)
        return
    with pytest.raises(KeyPolicyViolated) as caught:
        check_policy(pinned, policy)
    assert caught.value.param == param


def asked_of(body: Json, pinned: RoutingHeaders = GENERAL, task: Task = "chat") -> Requirements:
    check_shape(ChatBody, body)
    check_members(body, phi=pinned.phi)  # as `plan_request` does
    return read_requirements(body, pinned, task)[1]


def test_a_plain_message_is_read() -> None:
    body = make_body(model="gemma-4", messages=[{"role": "user", "content": "Grüezi"}])
    assert asked_of(body, PHI) == Requirements(
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
    asked = asked_of(make_body(**members))
    assert asked == replace(asked, **fields)


def test_math_alone_needs_no_tools() -> None:
    """Where there is no sandbox the model reasons without one; `order` asks for tools elsewhere."""
    assert not asked_of(make_body(), task="math").needs_tools


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
    asked_of(make_body(**inside))
    with pytest.raises(InvalidRequest) as caught:
        asked_of(make_body(**outside))
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


@pytest.mark.parametrize(("members", "pinned", "param"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_served_is_refused_with_its_param(
    members: dict[str, Any], pinned: RoutingHeaders, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked_of(make_body(**members), pinned)
    assert caught.value.param == param


PLAIN = asked_of(make_body()).text_bytes
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
    assert asked_of(make_body(**members)).text_bytes == PLAIN + more


# The limits that callers and operators were promised (decision 91), by hand.
PROMISED_LIMITS = {
    "BODY_BYTES_MAX": 5_000_000,
    "MESSAGES_MAX": 2_000,
    "PARTS_MAX": 500,
    "IMAGES_MAX": 20,
    "TOOLS_MAX": 128,
    "SCHEMA_BYTES_MAX": 65_536,
    "JSON_DEPTH_MAX": 64,
    "JSON_MEMBERS_MAX": 100_000,
    "OBJECT_MEMBERS_MAX": 1_000,
    "MEMBER_NAME_BYTES_MAX": 256,
    "HEADER_BYTES_MAX": 8_192,
    "KEY_BYTES_MAX": 128,
    "STOP_MAX": 16,
    "CONNECT_TIMEOUT_S": 3,
    "FIRST_BYTE_TIMEOUT_S": 120,
    "JSON_TIMEOUT_S": 280,
    "IDLE_TIMEOUT_S": 60,
    "STREAM_TIMEOUT_S": 840,
    "UPSTREAM_BODY_BYTES_MAX": 33_554_432,
    "EVENT_BYTES_MAX": 1_048_576,
    "CATALOG_FRESH_S": 300,
    "CATALOG_PHI_AGE_MAX_S": 3_600,
    "KEY_CACHE_S": 60,
    "RPM_DEFAULT": 600,
    "HOLDS_MAX": 200,
    "ATTEMPTS_MAX": 4,
    "RETRY_PAUSE_S": 0.25,
    "DRAIN_TIMEOUT_S": 30,
    "PING_INTERVAL_S": 15,
    "BREAKER_FAILURES": 5,
    "BREAKER_WINDOW_S": 60,
    "BREAKER_OPEN_S": 30,
    "REFUSALS_PER_MINUTE_MAX": 60,
    "HOLD_GRACE_S": 120,
    "SOCKET_UNUSED_MAX_S": 20,
}


def test_the_limits_are_those_that_were_promised() -> None:
    assert {name: getattr(limits, name) for name in PROMISED_LIMITS} == PROMISED_LIMITS
