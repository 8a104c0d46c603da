"""Members of a request and of the objects in it: each with a value that passes, each wrong, and
names that no request may have."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.golden.bodies import (
    CALL,
    CH,
    GOOD_STREAM,
    LOOK_UP,
    PHI,
    PIXEL,
    SCHEMA,
    TIME,
    TWO,
    US,
    anthropic,
    asks,
    called,
    image,
    says,
    user,
)
from tests.golden.harness import Case, Json, streams

CLAUDE = "claude-sonnet-4-6"
FUNCTION = LOOK_UP["function"]

# A value of each member that is taken, in an order that no test depends on.
GOOD: Mapping[str, tuple[Any, ...]] = {
    "system": ("Be brief.", "", None),
    "stream": (False, None),
    "max_tokens": (7, None),
    "max_completion_tokens": (7,),
    "max_output_tokens": (7,),
    "temperature": (0, 1, 1.5, None),
    "top_p": (0.5, 1),
    "top_k": (1, 40),
    "frequency_penalty": (0, -2, 2),
    "presence_penalty": (0, 1.5),
    "logit_bias": ({}, {"50256": -100}),
    "logprobs": (False, None),
    "top_logprobs": (0,),
    "seed": (0, -1, 2**63, 9_223_372_036_854_776_000),
    "stop": ("END", ["a", "b"], [], None),
    "n": (1, 3, 128),
    "metadata": ({}, {"a": "b"}),
    "tools": ([], [LOOK_UP], [TIME], None),
    "tool_choice": ("none", "auto", None),
    "parallel_tool_calls": (True, False),
    "max_tool_calls": (1, 7),
    "response_format": ("text", "json_object", {"type": "text"}, {"type": "json_object"}, SCHEMA),
    "reasoning_effort": ("none", "low", "high"),
    "reasoning": (
        {},
        {"effort": "low"},
        {"enabled": True},
        {"enabled": False},
        {"max_tokens": 100},
        {"summary": "auto"},
        {"include_thoughts": True},
        {"includeThoughts": False},
    ),
    "thinking": (
        {"type": "enabled", "budget_tokens": 2000},
        {"type": "disabled"},
        {"type": "adaptive"},
        {"enabled": True, "effort": "high"},
        {"budgetTokens": 2000, "includeThoughts": True},
        {"maxTokens": 2000},
    ),
    "modalities": (["text"], [], None),
    "response_modalities": (["TEXT"],),
    "responseModalities": (["text"],),
    "image_config": (
        {},
        {"aspect_ratio": "1:1", "image_size": "1K"},
        {"imageSize": "2K", "image_size": "4K"},
        {"include_rai_reason": True},
        {"font_inputs": [{"font_url": "https://example.org/f", "text": "x"}]},
        {"reference_images": [{"url": "https://example.org/a"}]},
        {"super_resolution_references": ["https://example.org/a"]},
    ),
    "imageConfig": (
        {"aspectRatio": "1:1"},
        {"fontInputs": [{"fontUrl": "x"}]},
        {"referenceImages": [{}]},
        {"superResolutionReferences": ["x"]},
    ),
    "usage": (True, False),
    "provider": (
        {},
        {"order": []},
        {"order": ["infomaniak-qwen3.5"]},
        {"ignore": ["Infomaniak"]},
        {"include_alpha": True},
        {"confidential": False},
        {"confidential": True},
        {"require_parameters": True},
    ),
    "provider_options": ({}, {"infomaniak": {"guided": 1}}, {"anthropic": {"betas": ["x"]}}),
    "user": ("ada",),
    "user_id": ("ada",),
    "safety_identifier": ("ada",),
    "prompt_cache_key": ("k",),
    "cache_salt": ("s",),
    "service_tier": ("auto", "default", "standard"),
    "speed": ("standard", "fast"),
    "store": (False, None),
    "meta": (True, False),
    "debug": (
        {"enabled": False, "return_upstream_request": True},
        {"return_upstream_request": True},
        {"return_upstream_response": True},
        {"trace": True},
        {"trace": True, "trace_level": "full"},
    ),
    "echo_upstream_request": (True, False),
}

# Wrong in one way each; the name says where.
WRONG: Mapping[str, Json] = {
    "no model": {"messages": [user("Hi")]},
    "no messages": {"model": "gemma-4"},
    "nothing": {},
    "max_output_tokens": asks(max_output_tokens=0),
    "three names of one limit": asks(max_tokens=5, max_completion_tokens=6, max_output_tokens=5),
    "user and user_id": asks(user="a", user_id="b"),
    "safety_identifier": asks(safety_identifier=7),
    "user_id": asks(user_id=7),
    "cache_salt": asks(cache_salt=[]),
    "speed": asks(speed=1),
    "usage": asks(usage=1),
    "echo_upstream_request": asks(echo_upstream_request="yes"),
    "stream_options without a stream": asks(stream_options={"include_usage": True}),
    "stream_options that slip": asks(stream=True, stream_options={"includeUsage": True}),
    "reasoning.effort": asks(reasoning={"effort": "x" * 33}),
    "reasoning.enabled": asks(reasoning={"enabled": 1}),
    "reasoning.max_tokens": asks(reasoning={"max_tokens": 0}),
    "reasoning.summary": asks(reasoning={"summary": 7}),
    "reasoning.include_thoughts": asks(reasoning={"include_thoughts": 1}),
    "reasoning.includeThoughts": asks(reasoning={"includeThoughts": 1}),
    "thinking.type": asks(thinking={"type": 7}),
    "thinking.enabled": asks(thinking={"enabled": "yes"}),
    "thinking.effort": asks(thinking={"effort": 7}),
    "thinking.include_thoughts": asks(thinking={"include_thoughts": 1}),
    "thinking.includeThoughts": asks(thinking={"includeThoughts": 1}),
    "thinking.max_tokens": asks(thinking={"max_tokens": 0}),
    "thinking.maxTokens": asks(thinking={"maxTokens": 0}),
    "thinking.budget_tokens": asks(thinking={"budget_tokens": -1}),
    "thinking.budgetTokens": asks(thinking={"budgetTokens": "1"}),
    "thinking.x": asks(thinking={"x": 1}),
    "response_modalities": asks(response_modalities=["AUDIO"]),
    "response_modalities of no list": asks(response_modalities="text"),
    "responseModalities": asks(responseModalities=["image"]),
    "image_config": asks(image_config=[]),
    "image_config.x": asks(image_config={"x": 1}),
    "image_config.aspect_ratio": asks(image_config={"aspect_ratio": 1}),
    "image_config.aspectRatio": asks(image_config={"aspectRatio": 1}),
    "image_config.image_size": asks(image_config={"image_size": "8K"}),
    "image_config.imageSize": asks(image_config={"imageSize": "8K"}),
    "image_config.include_rai_reason": asks(image_config={"include_rai_reason": 1}),
    "image_config.includeRaiReason": asks(image_config={"includeRaiReason": 1}),
    "image_config.font_inputs": asks(image_config={"font_inputs": [{"x": 1}]}),
    "image_config.fontInputs": asks(image_config={"fontInputs": [{}] * 21}),
    "image_config.super_resolution_references": asks(
        image_config={"super_resolution_references": [1]}
    ),
    "image_config.superResolutionReferences": asks(image_config={"superResolutionReferences": 1}),
    "image_config.reference_images": asks(image_config={"reference_images": [1]}),
    "image_config.referenceImages": asks(image_config={"referenceImages": 1}),
    "imageConfig": asks(imageConfig=7),
    "provider.order": asks(provider={"order": ["a"] * 65}),
    "provider.only": asks(provider={"only": []}),
    "provider.ignore": asks(provider={"ignore": [7]}),
    "provider.include_alpha": asks(provider={"include_alpha": "yes"}),
    "provider.allow_fallbacks": asks(provider={"allow_fallbacks": 0}),
    "provider.confidential": asks(provider={"confidential": "required"}),
    "provider.require_parameters": asks(provider={"require_parameters": 1}),
    "provider_options of a member": asks(provider_options={"infomaniak": {"max_tokens": 9}}),
    "provider_options of a spelling": asks(provider_options={"infomaniak": {"maxTokens": 9}}),
    "provider_options of a place": asks(provider_options={"infomaniak": {"base_url": "x"}}),
    "provider_options of a nested place": asks(provider_options={"x": {"y": [{"geo": "x"}]}}),
    "provider_options of a header": asks(provider_options={"infomaniak": {"X-PHI": "false"}}),
    "debug": asks(debug=[]),
    "debug.enabled": asks(debug={"enabled": 1}),
    "debug.return_upstream_request": asks(debug={"return_upstream_request": 1}),
    "debug.return_upstream_response": asks(debug={"return_upstream_response": 1}),
    "debug.trace": asks(debug={"trace": "full"}),
    "debug.trace_level": asks(debug={"trace_level": "all"}),
    "service_tier": asks(service_tier="priority"),
    "tool_choice of the clock": asks(tools=[LOOK_UP], tool_choice="gateway:datetime"),
    "tool_choice of the clock as an object": asks(
        tools=[LOOK_UP], tool_choice={"type": "gateway:datetime"}
    ),
    "tool_choice.x": asks(tools=[TIME], tool_choice={"type": "gateway:datetime", "x": 1}),
    "tool_choice of a search": asks(tools=[LOOK_UP], tool_choice={"type": "web_search"}),
    "tool_choice.function.name": asks(
        tools=[LOOK_UP], tool_choice={"type": "function", "function": {"name": 7}}
    ),
    "a tool of an unknown type": asks(tools=[{"type": "retrieval"}]),
    "a tool of another gateway": asks(tools=[{"type": "gateway:weather"}]),
    "a tool's parameters": asks(tools=[{**LOOK_UP, "function": {**FUNCTION, "parameters": []}}]),
    "a tool's strictness": asks(tools=[{**LOOK_UP, "function": {**FUNCTION, "strict": "yes"}}]),
    "a tool's description": asks(tools=[{**LOOK_UP, "function": {**FUNCTION, "description": 7}}]),
    "a tool's long name": asks(tools=[{**LOOK_UP, "function": {"name": "x" * 65}}]),
    "the clock's member": asks(tools=[{**TIME, "x": 1}]),
    "the clock's parameter": asks(tools=[{**TIME, "parameters": {"x": 1}}]),
    "the clock's zone": asks(tools=[{**TIME, "timezone": "../etc"}]),
    "the clock's zone that is none": asks(tools=[{**TIME, "timezone": "Mars/Olympus"}]),
    "a schema's name": asks(
        response_format={"type": "json_schema", "json_schema": {"name": "a b"}}
    ),
    "a schema without a name": asks(response_format={"type": "json_schema", "json_schema": {}}),
    "a schema that is none": asks(
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": []}}
    ),
    "a schema's strictness": asks(
        response_format={"type": "json_schema", "json_schema": {"name": "a", "strict": 1}}
    ),
    "a schema's description": asks(
        response_format={"type": "json_schema", "json_schema": {"name": "a", "description": 1}}
    ),
    "a schema that is elsewhere": asks(
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"$ref": "https://example.org/s"}},
        }
    ),
    "a tool's schema that is elsewhere": asks(
        tools=[
            {**LOOK_UP, "function": {**FUNCTION, "parameters": {"x": [{"$dynamicRef": "a.json"}]}}}
        ]
    ),
    "a schema that is too large": asks(
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"description": "x" * 70_000}},
        }
    ),
    "a tool's schema that is too large": asks(
        tools=[LOOK_UP, {**LOOK_UP, "function": {**FUNCTION, "description": "x" * 70_000}}]
    ),
    "a message's name": says({"role": "user", "name": "x" * 257, "content": "Hi"}),
    "a message's name that is a number": says({"role": "user", "name": 7, "content": "Hi"}),
    "a result's long id": says({"role": "tool", "tool_call_id": "x" * 257, "content": "x"}),
    "calls that are none": says({"role": "assistant", "tool_calls": {}}),
    "a call without an id": says({"role": "assistant", "tool_calls": [{**CALL, "id": None}]}),
    "a call of another type": says({"role": "assistant", "tool_calls": [{**CALL, "type": "x"}]}),
    "a call without a function": says({"role": "assistant", "tool_calls": [{"id": "c1"}]}),
    "a call's name": says({"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}),
    "a call's arguments": says(
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}],
        }
    ),
    "a refusal that is none": says({"role": "assistant", "content": "x", "refusal": 7}),
    "thoughts that are none": says({"role": "assistant", "content": "x", "reasoning_content": 7}),
    "a stored sound": says({"role": "assistant", "content": "x", "audio": {"id": "a"}}),
    "images that are none": says({"role": "assistant", "content": "x", "images": [{}]}),
    "audios that are none": says({"role": "assistant", "content": "x", "audios": [{"type": "x"}]}),
    "notes that are none": says({"role": "assistant", "content": "x", "annotations": [7]}),
    "a provider's own that is none": says(
        {"role": "assistant", "content": "x", "provider_specific_fields": 7}
    ),
    "a refusal part without its text": says(user([{"type": "refusal"}])),
    "a URL of no part": says(user([{"type": "image_url", "image_url": {}}])),
    "an image of a system": says(
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}
    ),
}

# Too many of something.
MANY: Mapping[str, Json | bytes] = {
    "messages": says(*[user("x")] * 2_001),
    "parts": says(user([{"type": "text", "text": "x"}] * 501)),
    "images": says(user([{"type": "image_url", "image_url": {"url": PIXEL}}] * 21)),
    "tools": asks(tools=[LOOK_UP] * 129),
    "stop": asks(stop=["x"] * 17),
    "calls": says({"role": "assistant", "tool_calls": [CALL] * 2_001}),
    "members": asks(logit_bias={str(n): 1 for n in range(1_001)}),
    "members of the body": {**asks(), **{f"m{n}": 1 for n in range(1_001)}},
    "items": b'{"messages": [' + b"[]," * 100_001 + b"[]]}",
    "backslashes": b'{"x": "' + b"\\\\" * 500_001 + b'"}',
    "bytes of a name": asks(logit_bias={"x" * 257: 1}),
    "bytes of a name of the body": {**asks(), "x" * 257: 1},
    "digits": b'{"seed": ' + b"1" * 21 + b"}",
    "levels": b'{"x": ' + b"[" * 65 + b"]" * 65 + b"}",
    "levels of the parser": b'{"x": ' + b"[" * 99_000 + b"]" * 99_000 + b"}",
    "exponents": b'{"temperature": 1e999}',
    "infinity": b'{"temperature": Infinity}',
    "bits": asks(top_k=2**65),
    "bits of a member that nobody knows": {**asks(), "x": 2**65},
    "surrogates": b'{"model": "gemma-4", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "members of a schema": asks(
        tools=[
            {
                **LOOK_UP,
                "function": {
                    **FUNCTION,
                    "parameters": {f"p{n}": {} for n in range(1_100)},
                },
            }
        ]
    ),
}

# Names that would undo a decision upstream, and members that nobody knows.
REFUSED_NAMES = """
phi x_phi region regions x_region model_tier x_model_tier functions function_call inference_geo
inference_region location data_region geo endpoint base_url api_base remote_host deployment
models model_id safety_model fallback_models lora_request route routes router fallbacks
fallback preset transforms plugins mcp_servers web_search web_search_options search_parameters
enable_search search_domain_filter container file_id file_ids file file_url files attachments
previous_response_id conversation google google_search prompt prompt_id assistant_id thread_id
vector_store_ids tool_resources background cached_content kv_transfer_params chat_template
mm_processor_kwargs guided_decoding_backend extra_body extra_headers extra_query webhook
callback_url data_sources image_url input_image input_audio audio_url video_url
"""
SPELLINGS: Mapping[str, Json] = {
    "Model": {**asks(), "Model": "x"},
    "maxTokens": asks(maxTokens=7),
    "max-tokens": {**asks(), "max-tokens": 7},
    "STREAM": asks(STREAM=True),
    "toolChoice": asks(toolChoice="auto"),
    "X-PHI": {**asks(), "X-PHI": False},
    "InferenceGeo": asks(InferenceGeo="us"),
    "a message's": says({"role": "user", "content": "Hi", "toolCallId": "x"}),
    "a function's": asks(tools=[{**LOOK_UP, "function": {**FUNCTION, "Name": "x"}}]),
    "a null": asks(base_url=None, maxTokens=None, whatever=None),
    "a nested place": asks(whatever={"deep": [{"BaseUrl": "x"}]}),
    "a nested null": asks(whatever={"base_url": None}),
}


def _nested(name: str, value: Any) -> Mapping[str, Json]:
    """A member in each object of a request."""
    extra = {name: value}
    choice: Json = {"type": "function", "function": {"name": "look_up"}}
    schema = SCHEMA["json_schema"]
    call = {**CALL, "function": {**CALL["function"], **extra}}
    said = {"role": "assistant", "content": "x"}
    return {
        "the body": asks(**extra),
        "a message": says({**user("Hi"), **extra}),
        "a text part": says(user([{"type": "text", "text": "Hi", **extra}])),
        "an image part": says(user([{"type": "image_url", "image_url": {"url": PIXEL}, **extra}])),
        "an image": image(PIXEL, **extra),
        "a refusal part": says(user("x"), {**said, "content": [{**_REFUSAL, **extra}]}),
        "a tool": asks(tools=[{**LOOK_UP, **extra}]),
        "a function": asks(tools=[{**LOOK_UP, "function": {**FUNCTION, **extra}}]),
        "a choice": asks(tools=[LOOK_UP], tool_choice={**choice, **extra}),
        "a choice's function": asks(
            tools=[LOOK_UP], tool_choice={**choice, "function": {**choice["function"], **extra}}
        ),
        "a format": asks(response_format={**SCHEMA, **extra}),
        "a format's schema": asks(response_format={**SCHEMA, "json_schema": {**schema, **extra}}),
        "a call": says({**said, "tool_calls": [{**CALL, **extra}]}, _RESULT),
        "a call's function": says({**said, "tool_calls": [call]}, _RESULT),
        "a note": says(user("x"), {**said, "annotations": [{"type": "url_citation", **extra}]}),
        "the stream's options": asks(stream=True, stream_options=extra),
    }


_REFUSAL = {"type": "refusal", "refusal": "No"}
_RESULT: Json = {"role": "tool", "tool_call_id": "c1", "content": "x"}

# What clients send back of an answer, and everything at once.
ECHOES: Mapping[str, Json] = {
    "a call with its index": says(
        user("Hi"), {"role": "assistant", "tool_calls": [{**CALL, "index": 0}]}, _RESULT
    ),
    "a call with its function": says(
        user("Hi"),
        {
            "role": "assistant",
            "tool_calls": [
                {**CALL, "function": {**CALL["function"], "description": "x", "parameters": {}}}
            ],
        },
        _RESULT,
    ),
    "notes, images and sounds": says(
        user("Hi"),
        {
            "role": "assistant",
            "content": "x",
            "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.org"}}],
            "images": [{"type": "image_url", "image_url": {"url": "https://x.org/a"}}],
            "audios": [{"type": "audio_url", "audio_url": {"url": "https://x.org/a"}}],
            "provider_specific_fields": {"a": 1},
            "audio": None,
            "refusal": None,
            "reasoning_content": "2 and 2",
        },
        user("Go on"),
    ),
    "nulls": says(
        {"role": "user", "content": "Hi", "name": None, "tool_calls": None, "whatever": None}
    ),
    "parts": says(user([{"type": "text", "text": "a"}, {"type": "text", "text": ""}])),
    "a result of parts": says(
        user("Hi"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "x"}]},
    ),
    "a result with an image": says(
        user("Hi"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "image_url", "image_url": {"url": PIXEL}}],
        },
    ),
    "all three efforts": asks(
        reasoning_effort="low", reasoning={"effort": "high"}, thinking={"effort": "medium"}
    ),
    "an effort that is turned off": asks(reasoning={"effort": "none", "enabled": True}),
    "both spellings of an image's members": asks(
        image_config={"aspect_ratio": "1:1"}, imageConfig={"aspectRatio": "2:1", "imageSize": "1K"}
    ),
    "one limit said three times": asks(max_tokens=5, max_completion_tokens=5, max_output_tokens=5),
    "a choice without tools": asks(tools=[], tool_choice="auto", parallel_tool_calls=True),
}

# What a dialect alone cannot say.
CLAUDE_WRONG: Mapping[str, Json] = {
    "no user first": says({"role": "assistant", "content": "Hi"}),
    "an empty user": says(user("")),
    "a system alone": says({"role": "system", "content": "Hi"}),
    "a function's dots": asks(tools=[{**LOOK_UP, "function": {"name": "a.b"}}]),
    "a function of ours": asks(tools=[{**LOOK_UP, "function": {"name": "gateway_json_answer"}}]),
    "a call's dots": says(
        user("Hi"), {"role": "assistant", "tool_calls": [called("a.b", {})]}, _RESULT
    ),
    "arguments that are a list": says(
        user("Hi"),
        {
            "role": "assistant",
            "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[]"}}],
        },
        _RESULT,
    ),
    "arguments of many items": says(
        user("Hi"),
        {
            "role": "assistant",
            "tool_calls": [
                {
                    **CALL,
                    "function": {
                        "name": "f",
                        "arguments": json.dumps({"x": [0] * 100_001}, separators=(",", ":")),
                    },
                }
            ],
        },
        _RESULT,
    ),
    "a choice of a tool that is none": asks(
        tools=[LOOK_UP], tool_choice={"type": "function", "function": {"name": "fly"}}
    ),
    "more messages": says(
        {"role": "developer", "content": "Be brief."},
        user("a"),
        user([{"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": PIXEL}}]),
        {"role": "assistant", "content": "c", "tool_calls": [CALL, {**CALL, "id": "c 2"}]},
        {"role": "tool", "tool_call_id": "c 2", "content": "y"},
        _RESULT,
        user("d"),
    ),
    "an image of the web": image("https://example.org/a.png"),
}
# Schemas that the dialect is told in another way, or cannot be told.
SCHEMAS: Mapping[str, Json] = {
    "a list of at least three": {"type": "array", "items": {}, "minItems": 3},
    "an open object": {"type": "object"},
    "a closed object": SCHEMA["json_schema"]["schema"],
    "a number in bounds": {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 5}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "a circle": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
}


def _good() -> Iterator[tuple[str, Case]]:
    for member, values in GOOD.items():
        for number, value in enumerate(values):
            name, body = f"{member} {number}", asks(**{member: value})
            yield f"good: {name}", Case(body, CH, scripts=TWO)
            if number == 0 or isinstance(value, dict):
                yield f"good under PHI: {name}", Case(body, PHI, scripts=TWO)
                claude = {**body, "model": CLAUDE}
                yield f"good at claude: {name}", Case(claude, US, scripts=(anthropic(),) * 2)
    for name, body in ECHOES.items():
        yield f"echo: {name}", Case(body, CH, scripts=TWO)
        yield f"echo at claude: {name}", Case({**body, "model": CLAUDE}, US, scripts=(anthropic(),))


def _wrong() -> Iterator[tuple[str, Case]]:
    for name, body in WRONG.items():
        yield f"wrong: {name}", Case(body, CH)
    for name, content in MANY.items():
        yield f"many: {name}", Case(content, CH, scripts=TWO)
    for name in REFUSED_NAMES.split():
        yield f"refused: {name}", Case(asks(**{name: "x"}), CH)
    for name, body in SPELLINGS.items():
        yield f"spelling: {name}", Case(body, CH, scripts=TWO)


def _nowhere() -> Iterator[tuple[str, Case]]:
    """What an object of a request, or a dialect, does not know."""
    for name, body in _nested("whatever", 1).items():
        scripts = (streams(*GOOD_STREAM),) if body.get("stream") else TWO
        yield f"unknown in {name}", Case(body, CH, scripts=scripts)
        yield f"unknown in {name} under PHI", Case(body, PHI, scripts=scripts)
    for name, body in _nested("base_url", "https://example.org").items():
        yield f"a place in {name}", Case(body, CH, scripts=(streams(*GOOD_STREAM),))
    for name, body in CLAUDE_WRONG.items():
        yield f"at claude: {name}", Case({**body, "model": CLAUDE}, US, scripts=(anthropic(),) * 2)
    for name, schema in SCHEMAS.items():
        shape = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        pinned = asks(
            model="claude-one", response_format=shape, provider={"allow_fallbacks": False}
        )
        yield (
            f"at claude: a schema of {name}",
            Case(pinned, CH, catalog="odd", scripts=(anthropic('{"a": 1}'),)),
        )


MEMBER_CASES: Mapping[str, Case] = dict((*_good(), *_wrong(), *_nowhere()))
