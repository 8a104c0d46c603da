"""Bodies of the right shape pass; a wrong type or range is refused with the path of the member."""

from typing import Any

import pytest

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json
from phigate.wire.openai.chat_body import ChatBody, RouteBody, read_chat
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
    "tool_choice": (
        ["none", "auto", "required", "gateway:datetime", {"type": "gateway:datetime"}],
        ["any", "gateway:search", 1, ["auto"]],
    ),
    "stream_options": ([{}, {"include_usage": True}], ["x", [True]]),
    "system": (["", "Be brief"], [1, ["x"], {"text": "x"}]),
    "max_tool_calls": ([1, 1_000], [0, -1, 1.5, "2", True]),
    "reasoning": ([{}, {"effort": "low"}], ["high", [], 1]),
    "thinking": ([{}, {"type": "enabled"}], ["enabled", [], True]),
    "response_modalities": ([[], ["text"], ["TEXT"]], ["text", {"a": 1}]),
    "responseModalities": ([["text"]], ["text"]),
    "image_config": ([{}], ["1K", []]),
    "imageConfig": ([{}], ["1K", []]),
    "usage": ([True, False], [1, "true", {"include": True}]),
    "provider_options": ([{}, {"acme": {}}], [[], "acme"]),
    "speed": (["fast", ""], [1, ["fast"]]),
    "meta": ([True, False], [1, "true", {}]),
    "debug": ([{}, {"enabled": True}], [True, "on", []]),
    "echo_upstream_request": ([True, False], [0, "yes"]),
}
INSIDE = [(name, value) for name, (inside, _) in RANGES.items() for value in inside]
OUTSIDE = [(name, value) for name, (_, outside) in RANGES.items() for value in outside]
NULLABLE = sorted(set(RANGES) - {"model", "messages"})


# The same for members of members, by their path.
INNER_RANGES: dict[str, tuple[list[Any], list[Any]]] = {
    "reasoning.effort": (["low", "none", "x" * 32], ["x" * 33, 1]),
    "reasoning.summary": (["auto", "concise"], [True, "x" * 33]),
    "reasoning.enabled": ([True, False], ["true", 1]),
    "reasoning.max_tokens": ([1, 100_000], [0, -1, 1.5, "1"]),
    "reasoning.include_thoughts": ([True, False], [0]),
    "reasoning.includeThoughts": ([True, False], ["no"]),
    "reasoning.novelty": ([], [1, None]),
    "thinking.type": (["enabled", "disabled", "adaptive", "auto"], ["on", 1]),
    "thinking.enabled": ([True, False], [1]),
    "thinking.effort": (["none", "high"], [3]),
    "thinking.include_thoughts": ([True], ["yes"]),
    "thinking.includeThoughts": ([False], [1]),
    "thinking.max_tokens": ([1], [0]),
    "thinking.maxTokens": ([1], [0]),
    "thinking.budget_tokens": ([1], [0, 1.5]),
    "thinking.budgetTokens": ([1], [0, "1"]),
    "thinking.novelty": ([], [1]),
    "image_config.aspect_ratio": (["16:9"], [1]),
    "image_config.aspectRatio": (["1:1"], [[]]),
    "image_config.image_size": (["0.5K", "1K", "2K", "4K"], ["8K", 1]),
    "imageConfig.imageSize": (["0.5K"], ["1k"]),
    "image_config.include_rai_reason": ([True], ["true"]),
    "imageConfig.includeRaiReason": ([False], [0]),
    "image_config.font_inputs": ([[], [{"font_url": "https://a.example", "text": "x"}]], ["x"]),
    "image_config.fontInputs": ([[{"fontUrl": "https://a.example"}]], [{}]),
    "image_config.super_resolution_references": ([["https://a.example"]], ["x"]),
    "image_config.superResolutionReferences": ([[]], [1]),
    "imageConfig.reference_images": ([[{}]], ["x"]),
    "imageConfig.referenceImages": ([[{"url": "x"}]], [{}]),
    "imageConfig.novelty": ([], [1]),
    "provider.order": ([[], ["acme"]], ["acme"]),
    "provider.only": ([["acme-one"]], [1, []]),
    "provider.ignore": ([[], ["acme"]], [{}]),
    "provider.include_alpha": ([True, False], [1]),
    "provider.allow_fallbacks": ([True, False], ["no"]),
    "provider.confidential": ([True, False], [1, "true"]),
    "provider.require_parameters": ([True, False], [1, "true"]),
    "provider.novelty": ([], [True]),
    "provider_options.acme": ([{}, {"x": [1]}], ["x", 1, []]),
    "debug.enabled": ([True, False], [1]),
    "debug.return_upstream_request": ([True], ["yes"]),
    "debug.return_upstream_response": ([True], [1]),
    "debug.trace": ([True], [1]),
    "debug.trace_level": (["summary", "full"], ["all", 1]),
    "debug.novelty": ([], [True]),
    "stream_options.include_usage": ([True, False], [1]),
}
INNER_INSIDE = [(path, value) for path, (good, _) in INNER_RANGES.items() for value in good]
INNER_OUTSIDE = [(path, value) for path, (_, bad) in INNER_RANGES.items() for value in bad]


def spoken(value: object) -> str:
    return repr(value)[:24]


@pytest.mark.parametrize(("name", "value"), INSIDE, ids=spoken)
def test_a_value_in_its_range_passes(name: str, value: Any) -> None:
    read_chat({**make_body(), name: value})


@pytest.mark.parametrize(("name", "value"), OUTSIDE, ids=spoken)
def test_a_value_out_of_its_range_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal({**make_body(), name: value}).param == name


def body_with(path: str, value: Any) -> Json:
    outer, _, inner = path.partition(".")
    return make_body(**{outer: {inner: value}})


@pytest.mark.parametrize(("path", "value"), INNER_INSIDE, ids=spoken)
def test_an_inner_value_in_its_range_passes(path: str, value: Any) -> None:
    read_chat(body_with(path, value))


@pytest.mark.parametrize(("path", "value"), INNER_OUTSIDE, ids=spoken)
def test_an_inner_value_out_of_its_range_is_refused_by_its_path(path: str, value: Any) -> None:
    assert refusal(body_with(path, value)).param == path


WEB_SEARCHES = ["web_search", "web_search_preview", "web_search_preview_2025_03_11", "web-search"]


@pytest.mark.parametrize("kind", [*WEB_SEARCHES, "web_search_20250305", "openrouter:web_search"])
def test_web_search_tools_are_said_to_be_disabled(kind: str) -> None:
    refused = refusal(make_body(tools=[{"type": kind}]))
    assert refused.param == "tools.0.type"
    assert "disabled" in refused.message


@pytest.mark.parametrize("kind", ["mcp", "code_interpreter", "file_search", "", None, 7, {}])
def test_another_type_of_tool_is_refused_and_told_which_there_are(kind: Any) -> None:
    refused = refusal(make_body(tools=[{"type": kind}]))
    assert refused.param == "tools.0.type"
    assert "gateway:datetime" in refused.message


def test_a_server_tool_that_we_do_not_have_is_refused() -> None:
    assert refusal(make_body(tools=[{"type": "gateway:search"}])).param == "tools.0.type"


@pytest.mark.parametrize("name", NULLABLE)
def test_null_stands_for_absent(name: str) -> None:
    read_chat(make_body(**{name: None}))


def refusal(body: Json, model: type[ChatBody] = ChatBody) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_chat(body, model)
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
    "a server tool": make_body(tools=[{"type": "gateway:datetime"}]),
    "a server tool with its parameters": make_body(
        tools=[{"type": "gateway:datetime", "parameters": {"timezone": "Europe/London"}}]
    ),
    "a server tool with a time zone beside": make_body(
        tools=[{"type": "gateway:datetime", "timezone": "America/Argentina/Buenos_Aires"}]
    ),
    "what clients echo of an answer": message(
        "assistant",
        "x",
        annotations=[{"type": "url_citation"}],
        provider_specific_fields={"x": 1},
        refusal=None,
        audio=None,
        images=[{"type": "image_url", "image_url": {"url": URL}, "mime_type": "image/png"}],
        audios=[{"type": "audio_url", "audio_url": {"url": URL}, "format": "wav"}],
    ),
    "a call that repeats its tool": message(
        "assistant",
        None,
        tool_calls=[
            call(function={"name": "f", "arguments": "", "description": "d", "parameters": {}})
        ],
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
    read_chat(body)


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
    "a time zone that is a path": (
        make_body(tools=[{"type": "gateway:datetime", "timezone": "../etc/passwd"}]),
        "tools.0.timezone",
    ),
    "a time zone that is a number": (
        make_body(tools=[{"type": "gateway:datetime", "parameters": {"timezone": 1}}]),
        "tools.0.parameters.timezone",
    ),
    "an unknown parameter of a server tool": (
        make_body(tools=[{"type": "gateway:datetime", "parameters": {"zone": CANARY}}]),
        "tools.0.parameters.zone",
    ),
    "a server tool with a function": (
        make_body(tools=[{"type": "gateway:datetime", "function": {"name": CANARY}}]),
        "tools.0.function",
    ),
    "an image of an answer without URL": (
        message("assistant", "x", images=[{"type": "image_url", "image_url": {}}]),
        "messages.0.images.0.image_url.url",
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
    read_chat({"model": "auto"}, RouteBody)
    assert refusal({"model": "auto"}).param == "messages"
    assert refusal({"model": "auto", "temperature": 3}, RouteBody).param == "temperature"
