"""The requests of the golden table: every kind of good one, and every kind of bad one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.golden.bodies import (
    CALL,
    CH,
    DONE,
    GOOD_STREAM,
    LOOK_UP,
    PHI,
    PIXEL,
    SCHEMA,
    TIME,
    TWO,
    USAGE,
    USAGE_CHUNK,
    anthropic,
    asks,
    called,
    calls,
    image,
    ran,
    says,
    streamed_call,
    user,
)
from tests.golden.endpoints import ENDPOINT_CASES
from tests.golden.harness import (
    CHAT,
    MATH,
    NOW_S,
    Case,
    Json,
    KeyPolicy,
    SandboxError,
    Script,
    answers,
    chunk,
    event,
    fails,
    streams,
)
from tests.golden.members import MEMBER_CASES
from tests.golden.precedence import PRECEDENCE_CASES
from tests.golden.routing import ROUTING_CASES
from tests.golden.upstreams import UPSTREAM_CASES

# --- Bodies that no model takes: the member, and values that are wrong in one way each ------------

WRONG: Mapping[str, tuple[Any, ...]] = {
    "model": (None, 7, "", "x" * 300, ["gemma-4"]),
    "messages": (None, [], {}, "Hi", [7], [{}], [{"role": "user"}], [{"content": "Hi"}]),
    "system": (7, ["Hi"]),
    "stream": ("true", 1, {}),
    "stream_options": (True, {"include_usage": "yes"}, {"x": 1}),
    "max_tokens": (0, -1, 1.5, "7", 20_000, 10**9),
    "max_completion_tokens": (0, "7", 10**9),
    "temperature": (-1, 3, "1", True),
    "top_p": (-0.1, 1.1, "1"),
    "top_k": (-1, 1.5),
    "frequency_penalty": (-3, 3, "1"),
    "presence_penalty": (-3, 3, "1"),
    "logit_bias": ([], {"1": 101}, {"1": "x"}),
    "logprobs": ("yes", 1),
    "top_logprobs": (-1, 21, "1"),
    "seed": (1.5, "1", 10**19),
    "stop": (7, ["a", 7], ["a", "b", "c", "d", "e"], [""]),
    "n": (0, 2, 129, "1"),
    "tools": ({}, [7], [{}], [{"type": "function"}], [{"type": "web_search"}], [TIME, TIME]),
    "tool_choice": ("some", 7, {"type": "function"}, "required"),
    "parallel_tool_calls": ("yes",),
    "max_tool_calls": (-1, "1"),
    "response_format": ("json", {"type": "xml"}, {"type": "json_schema"}, {"type": 7}),
    "reasoning_effort": ("extreme", 7),
    "reasoning": ("high", {"effort": "extreme"}, {"x": 1}),
    "thinking": (True, {"type": "maybe"}),
    "modalities": ("text", ["smell"], ["audio"]),
    "metadata": ("x", [1]),
    "store": ("yes", True),
    "service_tier": ("fastest", 7),
    "user": (7, {}),
    "prompt_cache_key": (7,),
    "provider": ("x", {"order": "x"}, {"only": [7]}, {"sort": "beauty"}, {"x": 1}),
    "provider_options": ("x", {"x": 1}),
    "meta": ("yes",),
    "debug": ("yes", {"echo": 1}),
    "functions": ([],),
    "prediction": ({"type": "content", "content": "x"},),
    "web_search_options": ({},),
    "audio": ({"voice": "x"},),
    "no_such_member": (1, None),
}

# --- Messages -------------------------------------------------------------------------------------

MESSAGES: Mapping[str, list[Any]] = {
    "a role that is none": [{"role": "doctor", "content": "Hi"}],
    "a user who says nothing": [user("")],
    "a user of no parts": [user([])],
    "a part of no type": [user([{"text": "Hi"}])],
    "a part of an unknown type": [user([{"type": "smell", "smell": "x"}])],
    "a text part without text": [user([{"type": "text"}])],
    "a text that is a number": [user([{"type": "text", "text": 7}])],
    "sound": [user([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])],
    "a file": [user([{"type": "file", "file": {"file_data": "AA=="}}])],
    "a member that nobody knows": [{"role": "user", "content": "Hi", "mood": "bad"}],
    "an assistant without content": [user("Hi"), {"role": "assistant"}, user("Go on")],
    "an assistant's refusal": [user("Hi"), {"role": "assistant", "refusal": "No"}, user("Why?")],
    "a call without a result": [
        user("Hi"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        user("Go on"),
    ],
    "a result without a call": [{"role": "tool", "tool_call_id": "c9", "content": "x"}],
    "a result without its id": [user("Hi"), {"role": "tool", "content": "x"}],
    "a call and its result": [
        user("Hi"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ],
    "arguments that are no JSON": [
        user("Hi"),
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
    ],
    "a developer's message": [{"role": "developer", "content": "Be brief."}, user("Hi")],
    "a system's message": [{"role": "system", "content": "Be brief."}, user("Hi")],
    "a system's message at the end": [user("Hi"), {"role": "system", "content": "Be brief."}],
    "no user at all": [{"role": "system", "content": "Be brief."}],
    "a function's message": [user("Hi"), {"role": "function", "name": "f", "content": "x"}],
    "a name": [{"role": "user", "name": "ada", "content": "Hi"}],
    "an assistant at the end": [user("Hi"), {"role": "assistant", "content": "Well,"}],
    "a lone surrogate": [user("\ud800")],
    "a null byte": [user("a\u0000b")],
    "cache control": [
        user([{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}])
    ],
    "a hundred messages": [user(f"line {n}") for n in range(100)],
}

IMAGES: Mapping[str, Json] = {
    "a pixel": image(PIXEL),
    "a pixel in detail": image(PIXEL, detail="high"),
    "a detail that is none": image(PIXEL, detail="best"),
    "a URL of the web": image("https://example.org/a.png"),
    "a URL that is a number": image(7),
    "no base64": image("data:image/png;base64,***"),
    "a type that is none": image("data:image/tiff;base64,AAAA"),
    "bytes of another type": image("data:image/jpeg;base64," + PIXEL.partition(",")[2]),
    "an empty image": image("data:image/png;base64,"),
    "a URL alone": says(user([{"type": "image_url", "image_url": PIXEL}])),
    "a member that nobody knows": image(PIXEL, width=7),
    "an image of a model without eyes": {**image(PIXEL), "model": "qwen3.6"},
    "an image of an assistant": says(
        user("Hi"),
        {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]},
    ),
}

TOOLS: Mapping[str, tuple[Json, tuple[Script, ...]]] = {
    "a tool that is called": (asks(tools=[LOOK_UP]), (calls(CALL),)),
    "a tool that must be called": (asks(tools=[LOOK_UP], tool_choice="required"), (calls(CALL),)),
    "a named tool": (
        asks(tools=[LOOK_UP], tool_choice={"type": "function", "function": {"name": "look_up"}}),
        (calls(CALL),),
    ),
    "a named tool that is none": (
        asks(tools=[LOOK_UP], tool_choice={"type": "function", "function": {"name": "fly"}}),
        (),
    ),
    "a name that is none": (asks(tools=[{"type": "function", "function": {"name": "a b"}}]), ()),
    "two of a name": (asks(tools=[LOOK_UP, LOOK_UP]), (calls(CALL),)),
    "the gateway's clock": (asks(tools=[TIME]), (calls(called("gateway_datetime", {})), answers())),
    "the gateway's clock in a zone": (
        asks(tools=[{**TIME, "parameters": {"timezone": "Europe/Zurich"}}]),
        (calls(called("gateway_datetime", {"timezone": "Europe/Zurich"})), answers()),
    ),
    "the gateway's clock in no zone": (
        asks(tools=[{**TIME, "parameters": {"timezone": "Mars/Olympus"}}]),
        (),
    ),
    "the gateway's clock beside a tool": (
        asks(tools=[TIME, LOOK_UP]),
        (calls(called("gateway_datetime", {}), CALL),),
    ),
    "the gateway's clock for ever": (
        asks(tools=[TIME], max_tool_calls=1),
        (calls(called("gateway_datetime", {})), calls(called("gateway_datetime", {})), answers()),
    ),
    "a tool that was not offered": (asks(tools=[LOOK_UP]), (calls(called("fly", {})),)),
    "strict parameters": (
        asks(tools=[{**LOOK_UP, "function": {**LOOK_UP["function"], "strict": True}}]),
        (calls(CALL),),
    ),
}

HEADERS: Mapping[str, Mapping[str, str]] = {
    "no region": {},
    "a region in small letters": {"x-region": "ch"},
    "a region that is none": {"x-region": "MOON"},
    "an empty region": {"x-region": ""},
    "a region without rows for gemma-4": {"x-region": "US"},
    "PHI": PHI,
    "PHI in capitals": {"x-region": "CH", "x-phi": "TRUE"},
    "PHI as 1": {"x-region": "CH", "x-phi": "1"},
    "PHI as maybe": {"x-region": "CH", "x-phi": "maybe"},
    "PHI where no row may see it": {"x-region": "US", "x-phi": "true"},
    "a model tier": {"x-region": "CH", "x-model-tier": "fast"},
    "a model tier that is none": {"x-region": "CH", "x-model-tier": "huge"},
    "a confidential row": {"x-region": "CH", "x-confidential": "required"},
    "a confidential row in the world": {"x-region": "WORLD", "x-confidential": "required"},
    "a compressed body": {"x-region": "CH", "content-encoding": "gzip"},
    "another content type": {"x-region": "CH", "content-type": "text/plain"},
    "an idempotency key": {"x-region": "CH", "idempotency-key": "k"},
    "a header that nobody knows": {"x-region": "CH", "x-mood": "bad"},
}

UPSTREAM: Mapping[str, tuple[Json, tuple[Script, ...]]] = {
    **{
        f"an error of {status}": (asks(), (fails(status),) * 4)
        for status in (
            400,
            401,
            402,
            403,
            404,
            408,
            409,
            413,
            415,
            422,
            429,
            500,
            502,
            503,
            504,
            529,
        )
    },
    "an error of a moderator": (
        asks(),
        (fails(400, {"error": {"message": "no", "code": "content_filter", "type": "t"}}),),
    ),
    "an error that names a member": (
        asks(seed=7),
        (fails(400, {"error": {"message": "no seed", "code": "c", "param": "seed"}}),),
    ),
    "no JSON": (asks(), (Script([b"<html>"]),) * 4),
    "an empty body": (asks(), (Script([b""]),) * 4),
    "no choices": (asks(), (answers(choices=[]),) * 4),
    "no usage": (asks(), (answers(usage=...),)),
    "usage that cannot be": (asks(), (answers(usage={**USAGE, "prompt_tokens": 10**9}),)),
    "usage of zero": (
        asks(),
        (answers(usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),),
    ),
    "cached tokens": (
        asks(),
        (answers(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 4}}),),
    ),
    "an answer cut at its length": (
        asks(max_tokens=5),
        (
            answers(
                choices=[
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Well"},
                        "finish_reason": "length",
                    }
                ]
            ),
        ),
    ),
    "an answer that was filtered": (
        asks(),
        (
            answers(
                choices=[
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": None},
                        "finish_reason": "content_filter",
                    }
                ]
            ),
        ),
    ),
    "reasoning": (
        asks(),
        (
            answers(
                choices=[
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {
                            "role": "assistant",
                            "content": "4",
                            "reasoning_content": "2 and 2",
                        },
                    }
                ]
            ),
        ),
    ),
    "an answer that keeps the schema": (asks(response_format=SCHEMA), (answers('{"a": 1}'),)),
    "an answer that breaks the schema": (asks(response_format=SCHEMA), (answers('{"b": 1}'),)),
    "JSON mode": (asks(response_format={"type": "json_object"}), (answers('{"b": 1}'),)),
    "log probabilities": (asks(logprobs=True, top_logprobs=1), (streams(*GOOD_STREAM),)),
    "a failure, then an answer": (
        asks(model="qwen3.5"),
        (fails(500), answers()),
    ),
    "many tokens": (asks(max_tokens=8_192), (answers("Hi" * 100),)),
}

STREAMS: Mapping[str, tuple[Json, tuple[Script, ...]]] = {
    "a stream": (asks(stream=True), (streams(*GOOD_STREAM),)),
    "a stream with usage": (
        asks(stream=True, stream_options={"include_usage": True}),
        (streams(*GOOD_STREAM),),
    ),
    "a stream with debug members": (
        asks(stream=True, meta=True),
        (streams(*GOOD_STREAM),),
    ),
    "a stream that is cut": (asks(stream=True), (streams(chunk("Hel")),)),
    "a stream without usage": (asks(stream=True), (streams(chunk("Hel"), DONE),)),
    "a stream that ends in an error": (
        asks(stream=True),
        (streams(chunk("Hel"), event({"error": {"message": "no", "code": 500}})),),
    ),
    "a stream of nothing": (asks(stream=True), (streams(),) * 4),
    "a stream of no JSON": (asks(stream=True), (streams(b"data: {\n\n"),) * 4),
    "a stream that fails first": (asks(stream=True), (fails(500),) * 4),
    "an answer instead of a stream": (asks(stream=True), (answers(),)),
    "a stream with a tool call": (asks(stream=True, tools=[LOOK_UP]), (streamed_call(CALL),)),
    "a stream with the gateway's clock": (
        asks(stream=True, tools=[TIME], stream_options={"include_usage": True}),
        (streamed_call(called("gateway_datetime", {})), streams(*GOOD_STREAM)),
    ),
    "a stream with a pause": (asks(stream=True), (streams(chunk("Hel"), 40.0, USAGE_CHUNK, DONE),)),
    "a stream that falls silent": (asks(stream=True), (streams(chunk("Hel"), 1000.0),)),
}

SPENDING = KeyPolicy(spend_limit_micros=1)
KEYS: Mapping[str, Case] = {
    "no key": Case(asks(), CH, key=None),
    "no key of ours": Case(asks(), CH, key="sk-abc"),
    "a key that nobody knows": Case(asks(), CH, key="phi_live_" + "A" * 43),
    "a key that has ended": Case(asks(), CH, options={"expires_at_s": NOW_S - 1}),
    "a key without PHI": Case(asks(), PHI, policy=KeyPolicy("forbidden")),
    "a key for PHI alone": Case(asks(), CH, policy=KeyPolicy("required"), scripts=(answers(),)),
    "a key for PHI alone that says no": Case(
        asks(), {**CH, "x-phi": "false"}, policy=KeyPolicy("required")
    ),
    "a key of another region": Case(asks(), CH, policy=KeyPolicy(regions=frozenset({"EU"}))),
    "a key of another model": Case(asks(), CH, policy=KeyPolicy(models=frozenset({"qwen3.5"}))),
    "a key of auto": Case(
        asks(model="auto"),
        CH,
        policy=KeyPolicy(models=frozenset({"gemma-4"})),
        scripts=(answers(),),
    ),
    "a key's own region": Case(asks(), policy=KeyPolicy(default_region="EU"), scripts=(answers(),)),
    "a key's own model tier": Case(
        asks(model="auto"), CH, policy=KeyPolicy(default_model_tier="fast"), scripts=(answers(),)
    ),
    "a key for enclaves alone": Case(asks(), CH, policy=KeyPolicy(confidential="required")),
    "a key that may spend no more": Case(asks(), CH, policy=SPENDING),
    "a key over its rate": Case(
        asks(), CH, policy=KeyPolicy(rpm=1), times=2, scripts=(answers(), answers())
    ),
    "an account without credit": Case(asks(), CH, options={"credit_micros": 0}),
    "an account of one micro": Case(asks(), CH, options={"credit_micros": 1}),
    "an account for a short answer": Case(asks(), CH, options={"credit_micros": 60}),
    "a key for debugging PHI": Case(
        asks(meta=True), PHI, policy=KeyPolicy(debug_phi=True), scripts=(answers(),)
    ),
    "a stack of another region": Case(asks(), {"x-region": "US"}, options={"regions": ("CH",)}),
}

MODELS = (
    "auto",
    "gemma-4",
    "GEMMA-4",
    "infomaniak-gemma-4-31b",
    "qwen3.5",
    "qwen3.6",
    "glm-5.2",
    "gpt-4o",
    "openai/gpt-5-nano",
    "gemini-2.5-flash",
    "gpt-7",
    "phala-glm-5",
    "auto:fast",
    "a" * 99,
)

DEBUG: Mapping[str, Json] = {
    "meta": asks(meta=True),
    "usage": asks(usage=True),
    "an echo": asks(echo_upstream_request=True),
    "debug members": asks(debug={"enabled": True}),
    "an order of providers": asks(provider={"order": ["infomaniak"]}),
    "one provider alone": asks(provider={"only": ["scaleway"]}),
    "all but one": asks(provider={"ignore": ["infomaniak"]}),
    "no fallbacks": asks(provider={"allow_fallbacks": False}),
    "all parameters": asks(provider={"require_parameters": True}, top_k=3),
    "options of a provider": asks(provider_options={"infomaniak": {"x": 1}}),
    "a parameter that is dropped": asks(top_k=3, seed=1),
    "a cache key": asks(prompt_cache_key="k", user="u", metadata={"a": "b"}),
    "everything at once": asks(
        temperature=0.5,
        top_p=0.5,
        seed=1,
        stop=["x"],
        max_tokens=7,
        frequency_penalty=1,
        presence_penalty=1,
        response_format={"type": "text"},
        parallel_tool_calls=False,
        tools=[LOOK_UP],
    ),
    "thinking": asks(reasoning_effort="low"),
    "thinking in another spelling": asks(reasoning={"effort": "high"}),
}

CLAUDE: Mapping[str, tuple[Json, tuple[Script, ...]]] = {
    "an answer": (asks(model="claude-sonnet-4-6"), (anthropic(),)),
    "a system's message": (
        says({"role": "system", "content": "Be brief."}, user("Hi"), model="claude-sonnet-4-6"),
        (anthropic(),),
    ),
    "an image": ({**image(PIXEL), "model": "claude-sonnet-4-6"}, (anthropic(),)),
    "a tool": (
        asks(model="claude-sonnet-4-6", tools=[LOOK_UP], tool_choice="auto"),
        (
            anthropic(
                content=[{"type": "tool_use", "id": "t1", "name": "look_up", "input": {}}],
                stop_reason="tool_use",
            ),
        ),
    ),
    "a schema": (
        asks(model="claude-sonnet-4-6", response_format=SCHEMA),
        (anthropic('{"a": 1}'),),
    ),
    "thinking": (asks(model="claude-sonnet-4-6", reasoning_effort="high"), (anthropic(),)),
    "a member that nobody knows": (asks(model="claude-sonnet-4-6", mood="x"), (anthropic(),)),
    "an error": (
        asks(model="claude-sonnet-4-6"),
        (fails(529, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),) * 3,
    ),
}

LATE: Mapping[str, Case] = {
    "late: an upstream": Case(asks(), CH, scripts=(Script([1000.0]),) * 3),
    "late: an upstream's head": Case(asks(), CH, scripts=(Script([], before=[1000.0]),) * 3),
    "late: a stream": Case(asks(stream=True), CH, scripts=(streams(1000.0),) * 3),
    "late: a program": Case(
        asks(),
        CH,
        path=MATH,
        plays=(SandboxError("The sandbox has gone."),),
        scripts=(calls(called("python", {"code": "6 * 7"})), answers("None")),
    ),
    "late: a result that is none": Case(
        asks(),
        CH,
        path=MATH,
        plays=(ran(stdout="x" * 70_000, limits=("stdout",)),),
        scripts=(calls(called("python", {"code": "print('x' * 70_000)"})), answers("long")),
    ),
}

MATHS: Mapping[str, Case] = {
    "math: no program": Case(asks(), PHI, path=MATH, scripts=(answers("4"),)),
    "math: a program": Case(
        asks(),
        PHI,
        path=MATH,
        plays=(ran(),),
        scripts=(calls(called("python", {"code": "6 * 7"})), answers("42")),
    ),
    "math: a program in R": Case(
        asks(),
        CH,
        path=MATH,
        plays=(ran(language="r"),),
        scripts=(calls(called("r", {"code": "6 * 7"})), answers("42")),
    ),
    "math: a program that fails": Case(
        asks(),
        CH,
        path=MATH,
        plays=(ran(exit_code=1, stderr="no"),),
        scripts=(calls(called("python", {"code": "6 / 0"})), answers("None")),
    ),
    "math: a program without code": Case(
        asks(), CH, path=MATH, scripts=(calls(called("python", {})), answers("None"))
    ),
    "math: a stream": Case(asks(stream=True), CH, path=MATH, scripts=(streams(*GOOD_STREAM),)),
    "math: an image under PHI": Case(image(PIXEL), PHI, path=MATH),
    "math: a body that is none": Case(b"{", CH, path=MATH),
}

GETS: Mapping[str, Case] = {
    f"{method} {path}": Case(None, method=method, path=path)
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/v1/models/infomaniak-gemma-4-31b"),
        ("GET", "/v1/models/x"),
        ("GET", "/v1/pricing"),
        ("GET", "/v1/pricing?card=00"),
        ("GET", "/v1/account"),
        ("GET", "/v1/receipts/x"),
        ("GET", "/v1/receipts/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("GET", "/v1/signature/x"),
        ("GET", "/v1/attestation/report"),
        ("GET", "/v1/attestation/report?model=gemma-4"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/.well-known/receipt.schema.json"),
        ("GET", "/healthz"),
        ("GET", "/openapi.json"),
        ("GET", "/v2"),
        ("GET", "/"),
        ("GET", CHAT),
        ("PUT", CHAT),
        ("DELETE", "/v1/models"),
        ("GET", "/api/v1/models"),
        ("GET", "/v1/chat/completions/"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/embeddings"),
    )
}

ROUTES: Mapping[str, tuple[Any, Mapping[str, str]]] = {
    "a dry run": (asks(), CH),
    "a dry run of PHI": (asks(), PHI),
    "a dry run without messages": ({"model": "gemma-4"}, CH),
    "a dry run that is refused": (asks(model="gpt-7"), CH),
    "a dry run without a row": (asks(), {"x-region": "US", "x-phi": "true"}),
    "a dry run of no JSON": (b"[", CH),
    "a dry run of an image": (image(PIXEL), CH),
}

AFTER: Mapping[str, Case] = {
    f"{path} after an answer": Case(asks(), CH, scripts=(answers(),), then=path)
    for path in ("/v1/receipts/{receipt}", "/v1/account", "/v1/signature/{receipt}")
}

BYTES: Mapping[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "not UTF-8": b'{"model": "\xff"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a member twice": b'{"model": "auto", "model": "gemma-4", '
    b'"messages": [{"role": "user", "content": "Hi"}]}',
    "NaN": b'{"model": "gemma-4", "temperature": NaN, "messages": []}',
    "too deep": b'{"model": "gemma-4", "messages": ' + b"[" * 300 + b"]" * 300 + b"}",
    "a great number": b'{"model": "gemma-4", "seed": 1' + b"0" * 400 + b"}",
    "too large": b" " * 6_000_000,
    "trailing text": json.dumps(asks(model="auto")).encode() + b"x",
}


def _bodies() -> Iterator[tuple[str, Case]]:
    for member, values in WRONG.items():
        for number, value in enumerate(values):
            yield f"{member} {number}", Case(asks(**{member: value}), CH, scripts=TWO)
    for name, content in BYTES.items():
        yield f"bytes: {name}", Case(content, CH)
    for name, body in IMAGES.items():
        yield f"image: {name}", Case(body, CH, scripts=TWO)


def _both() -> Iterator[tuple[str, Case]]:
    """What is asked as general traffic and as PHI."""
    tables = {
        "messages": {name: (says(*each), TWO) for name, each in MESSAGES.items()},
        "debug": {name: (body, TWO) for name, body in DEBUG.items()},
        "stream": STREAMS,
    }
    for kind, table in tables.items():
        for name, (body, scripts) in table.items():
            yield f"{kind}: {name}", Case(body, CH, scripts=(*scripts, *TWO))
            yield f"{kind} under PHI: {name}", Case(body, PHI, scripts=(*scripts, *TWO))


def _answers() -> Iterator[tuple[str, Case]]:
    for kind, table in (("tools", TOOLS), ("upstream", UPSTREAM)):
        for name, (body, scripts) in table.items():
            yield f"{kind}: {name}", Case(body, CH, scripts=(*scripts, *TWO))
    for name, (body, scripts) in CLAUDE.items():
        yield f"claude: {name}", Case(body, {"x-region": "US"}, scripts=scripts)
    for name, case in {**LATE, **MATHS}.items():
        yield name, case


def _routed() -> Iterator[tuple[str, Case]]:
    for name, headers in HEADERS.items():
        yield f"headers: {name}", Case(asks(), headers, scripts=TWO)
    for name, case in KEYS.items():
        yield f"key: {name}", case
    for model in MODELS:
        for region in ("CH", "WORLD"):
            yield (
                f"model in {region}: {model}",
                Case(asks(model=model), {"x-region": region}, scripts=TWO),
            )
    for name, (body, headers) in ROUTES.items():
        yield f"route: {name}", Case(body, headers, path="/v1/route")


_TABLES = (
    dict((*_bodies(), *_both(), *_answers(), *_routed(), *GETS.items(), *AFTER.items())),
    MEMBER_CASES,
    ROUTING_CASES,
    UPSTREAM_CASES,
    ENDPOINT_CASES,
    PRECEDENCE_CASES,
)
CASES: Mapping[str, Case] = {name: case for table in _TABLES for name, case in table.items()}
assert len(CASES) == sum(map(len, _TABLES)), "a name stands in two tables"
