"""Bodies of the right shape pass; a wrong type or range is refused with the path of the member."""

from typing import Any

import pytest

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json
from phigate.wire.chat_body import ChatBody, RouteBody, check_shape
from tests.builders import make_body

CANARY = "c4n4ry"
URL = "https://a.example/x.png"


def message(role: str = "user", content: Any = "x", **members: Any) -> Json:
    return make_body(messages=[{"role": role, "content": content, **members}])


def part(**members: Any) -> Json:
    return message(content=[members])


def tool(**members: Any) -> Json:
    return make_body(tools=[{"type": "function", "function": {"name": "f", **members}}])


def call(**members: Any) -> dict[str, Any]:
    return {"id": "1", "function": {"name": "f", "arguments": "{}"}, **members}


# The values at both ends of each range, and the next ones outside.
INT64 = 9_223_372_036_854_776_000
RANGES: dict[str, tuple[list[Any], list[Any]]] = {
    "temperature": ([0, 0.0, 1.5, 2], [-0.01, 2.01, "1", True, [1]]),
    "top_p": ([0, 0.5, 1], [-0.01, 1.01, "1"]),
    "top_k": ([1, 1_000], [0, -1, 1.5, "2"]),
    "frequency_penalty": ([-2, 0, 2], [-2.01, 2.01, "0"]),
    "presence_penalty": ([-2, 0.5, 2], [-2.01, 2.01, False]),
    "top_logprobs": ([0, 20], [-1, 21, 1.0]),
    "logprobs": ([True, False], [1, "true"]),
    "seed": ([-INT64, 0, INT64], [-INT64 - 1, INT64 + 1, 1.5, "7"]),
    "max_tokens": ([1, 100_000], [0, -1, 1.0, "5", True]),
    "max_completion_tokens": ([1], [0, "5"]),
    "max_output_tokens": ([1], [0, 2.5]),
    "n": ([1, 128], [0, 129, "1"]),
    "stream": ([True, False], [1, "true", "yes"]),
    "store": ([True, False], [0, "false"]),
    "parallel_tool_calls": ([True, False], [1]),
    "service_tier": (["auto", "default", "standard", "flex", "priority"], ["scale", "", 1]),
    "reasoning_effort": (["low", "x" * 32], ["x" * 33, 3]),
    "user": (["", "u"], [1, ["u"]]),
    "user_id": (["u"], [1]),
    "safety_identifier": (["u"], [{}]),
    "prompt_cache_key": (["u"], [1.5]),
    "model": (["a", "x" * 256], ["", "x" * 257, 1, None, ["auto"]]),
    "stop": (["x", [], ["x", "y"]], [1, {"x": 1}]),
    "metadata": ([{}, {"a": "b"}], ["a", [1]]),
    "logit_bias": ([{}, {"50256": -100, "1": 100}], [[1], "x"]),
    "tools": ([[]], [{}, "x"]),
    "messages": ([[{"role": "user", "content": "x"}]], [[], {}, "x", None]),
    "provider": ([{}, {"order": []}], ["acme", ["acme"]]),
    "response_format": (["text", "json_object"], ["json_schema", "xml", 1, ["text"]]),
    "tool_choice": (["none", "auto", "required"], ["any", 1, ["auto"]]),
    "stream_options": ([{}, {"include_usage": True}], ["x", [True]]),
}
INSIDE = [(name, value) for name, (inside, _) in RANGES.items() for value in inside]
OUTSIDE = [(name, value) for name, (_, outside) in RANGES.items() for value in outside]
NULLABLE = sorted(set(RANGES) - {"model", "messages"})


def spoken(value: object) -> str:
    return repr(value)[:24]


@pytest.mark.parametrize(("name", "value"), INSIDE, ids=spoken)
def test_a_value_in_its_range_passes(name: str, value: Any) -> None:
    check_shape(ChatBody, {**make_body(), name: value})


@pytest.mark.parametrize(("name", "value"), OUTSIDE, ids=spoken)
def test_a_value_out_of_its_range_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal({**make_body(), name: value}).param == name


@pytest.mark.parametrize("name", NULLABLE)
def test_null_stands_for_absent(name: str) -> None:
    check_shape(ChatBody, make_body(**{name: None}))


def refusal(body: Json, model: type[ChatBody] = ChatBody) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check_shape(model, body)
    assert CANARY not in caught.value.message
    assert caught.value.__cause__ is None
    return caught.value


GOOD: dict[str, Json] = {
    "a system message": message("system"),
    "a developer message": message("developer"),
    "text parts": message(content=[{"type": "text", "text": "x"}]),
    "an image": part(type="image_url", image_url={"url": URL}),
    "an image with detail": part(type="image_url", image_url={"url": URL, "detail": "high"}),
    "an image in a tool result": message(
        "tool", [{"type": "image_url", "image_url": {"url": URL}}], tool_call_id="1"
    ),
    "tool calls without content": message("assistant", None, tool_calls=[call()]),
    "tool calls and null members": message(
        "assistant", None, tool_calls=[call()], refusal=None, audio=None, annotations=None
    ),
    "an empty answer": message("assistant", ""),
    "a tool result": message("tool", "42", tool_call_id="1"),
    "a name": message(name="ward-3"),
    "unknown members": make_body(top_a=1, messages=[{"role": "user", "content": "x", "y": 1}]),
    "a tool without parameters": tool(),
    "a strict tool": tool(parameters={}, strict=True, description="d"),
    "a named tool": make_body(tool_choice={"type": "function", "function": {"name": "f"}}),
    "a schema": make_body(
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}
    ),
    "a text format": make_body(response_format={"type": "text"}),
    "all preferences": make_body(
        provider={
            "order": ["a"],
            "only": ["a"],
            "ignore": ["b"],
            "allow_fallbacks": True,
            "include_alpha": False,
        }
    ),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_a_body_of_the_right_shape_passes(body: Json) -> None:
    check_shape(ChatBody, body)


# A body, and the path of its first mistake.
BAD: dict[str, tuple[Json, str]] = {
    "no model": ({"messages": [{"role": "user", "content": "x"}]}, "model"),
    "no messages": ({"model": "auto"}, "messages"),
    "a message that is text": (make_body(messages=[CANARY]), "messages.0"),
    "a message without role": (make_body(messages=[{"content": CANARY}]), "messages.0.role"),
    "an unknown role": (message("function", CANARY), "messages.0.role"),
    "a role with a line end": (message("user\r\nX: 1", CANARY), "messages.0.role"),
    "the second message": (
        make_body(messages=[{"role": "user", "content": "x"}, {"role": CANARY}]),
        "messages.1.role",
    ),
    "content null": (message("user", None), "messages.0"),
    "content absent": (make_body(messages=[{"role": "user"}]), "messages.0"),
    "content a number": (message("user", 7), "messages.0.content"),
    "content an object": (message("user", {"text": CANARY}), "messages.0.content"),
    "content an empty list": (message("user", []), "messages.0.content"),
    "a part that is text": (message("user", [CANARY]), "messages.0.content.0"),
    "a part without type": (part(text=CANARY), "messages.0.content.0.type"),
    "a part of unknown type": (
        part(type="input_audio", data=CANARY),
        "messages.0.content.0.type",
    ),
    "a file part": (part(type="file", file={"file_id": CANARY}), "messages.0.content.0.type"),
    "a part type that is a list": (part(type=["text"], text="x"), "messages.0.content.0.type"),
    "a part type that looks like ours": (part(type="#text"), "messages.0.content.0.type"),
    "a text part without text": (part(type="text"), "messages.0.content.0.text"),
    "a text part with a number": (part(type="text", text=7), "messages.0.content.0.text"),
    "an image that is a URL": (
        part(type="image_url", image_url=URL),
        "messages.0.content.0.image_url",
    ),
    "an image without URL": (
        part(type="image_url", image_url={}),
        "messages.0.content.0.image_url.url",
    ),
    "an image in unknown detail": (
        part(type="image_url", image_url={"url": URL, "detail": "ultra"}),
        "messages.0.content.0.image_url.detail",
    ),
    "an image in a system message": (
        message("system", [{"type": "image_url", "image_url": {"url": URL}}]),
        "messages.0",
    ),
    "an image in an answer": (
        message("assistant", [{"type": "image_url", "image_url": {"url": URL}}]),
        "messages.0",
    ),
    "an answer with neither content nor calls": (message("assistant", None), "messages.0"),
    "an answer with no calls": (message("assistant", None, tool_calls=[]), "messages.0"),
    "a tool result without its call": (message("tool"), "messages.0"),
    "a name too long": (message(name="x" * 257), "messages.0.name"),
    "a stored sound": (
        message("assistant", "x", audio={"id": CANARY}),
        "messages.0.audio",
    ),
    "a refusal that is no text": (message("assistant", "x", refusal=[1]), "messages.0.refusal"),
    "annotations that are no objects": (
        message("assistant", "x", annotations=[CANARY]),
        "messages.0.annotations.0",
    ),
    "a call without id": (
        message("assistant", None, tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
        "messages.0.tool_calls.0.id",
    ),
    "a call with arguments as an object": (
        message("assistant", None, tool_calls=[call(function={"name": "f", "arguments": {}})]),
        "messages.0.tool_calls.0.function.arguments",
    ),
    "a call of another type": (
        message("assistant", None, tool_calls=[call(type="mcp")]),
        "messages.0.tool_calls.0.type",
    ),
    "a tool that is text": (make_body(tools=[CANARY]), "tools.0"),
    "a tool without function": (make_body(tools=[{"type": "function"}]), "tools.0.function"),
    "a network tool": (make_body(tools=[{"type": "web_search"}]), "tools.0.type"),
    "a function without name": (
        make_body(tools=[{"type": "function", "function": {}}]),
        "tools.0.function.name",
    ),
    "a function name with spaces": (tool(name="a b"), "tools.0.function.name"),
    "a function name with a line end": (tool(name="a\n"), "tools.0.function.name"),
    "a function name too long": (tool(name="a" * 65), "tools.0.function.name"),
    "an empty function name": (tool(name=""), "tools.0.function.name"),
    "parameters as text": (tool(parameters="{}"), "tools.0.function.parameters"),
    "strict as text": (tool(strict="true"), "tools.0.function.strict"),
    "a tool choice without function": (
        make_body(tool_choice={"type": "function"}),
        "tool_choice.function",
    ),
    "a tool choice of another type": (
        make_body(tool_choice={"type": "mcp", "function": {"name": "f"}}),
        "tool_choice.type",
    ),
    "an unknown format": (make_body(response_format={"type": "xml"}), "response_format.type"),
    "a schema format without schema": (
        make_body(response_format={"type": "json_schema"}),
        "response_format",
    ),
    "a schema without name": (
        make_body(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
        "response_format.json_schema.name",
    ),
    "a schema that is text": (
        make_body(
            response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": CANARY}}
        ),
        "response_format.json_schema.schema",
    ),
    "a bias out of range": (make_body(logit_bias={"7": 101}), "logit_bias.7"),
    "a bias as text": (make_body(logit_bias={"7": "1"}), "logit_bias.7"),
    "a stop sequence that is a number": (make_body(stop=["x", 1]), "stop.1"),
    "an unknown modality": (make_body(modalities=["smell"]), "modalities.0"),
    "usage options as text": (
        make_body(stream_options={"include_usage": "true"}),
        "stream_options.include_usage",
    ),
    "an unknown preference": (make_body(provider={"sort": CANARY}), "provider.sort"),
    "an order that is text": (make_body(provider={"order": CANARY}), "provider.order"),
    "an order of numbers": (make_body(provider={"order": [1]}), "provider.order.0"),
    "fallbacks as a number": (
        make_body(provider={"allow_fallbacks": 0}),
        "provider.allow_fallbacks",
    ),
}


@pytest.mark.parametrize(("body", "param"), BAD.values(), ids=BAD)
def test_a_mistake_is_refused_by_its_path_and_quotes_nothing(body: Json, param: str) -> None:
    assert refusal(body).param == param


def test_messages_may_be_left_out_of_a_dry_run_only() -> None:
    check_shape(RouteBody, {"model": "auto"})
    assert refusal({"model": "auto"}).param == "messages"
    assert refusal({"model": "auto", "temperature": 3}, RouteBody).param == "temperature"
