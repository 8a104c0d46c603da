"""What upstreams and sandboxes answer: everything that the simulated providers can be told to do,
in JSON and in streams, in both dialects."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.golden.bodies import (
    CALL,
    CH,
    DONE,
    GOOD_STREAM,
    LOOK_UP,
    PHI,
    SCHEMA,
    TIME,
    TWO,
    US,
    USAGE,
    USAGE_CHUNK,
    anthropic,
    anthropic_stream,
    asks,
    called,
    calls,
    ran,
    says_choice,
    streamed_call,
)
from tests.golden.harness import (
    MATH,
    Case,
    Json,
    Script,
    UpstreamFailed,
    answers,
    chunk,
    event,
    fails,
    streams,
)

CLAUDE = "claude-sonnet-4-6"
PINNED = {"allow_fallbacks": False}
LOGPROB = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="4" height="4"/>'


def status(http: int, message: str = "no", **members: Any) -> Script:
    """An error of OpenAI's shape."""
    return fails(http, {"error": {"message": message, "type": "t", "code": "c", **members}})


def _late(script: Script, seconds: float) -> Script:
    return replace(script, before=[seconds])


# JSON answers, each tried by whoever comes next too.
WHOLE: Mapping[str, Script] = {
    "a redirect": Script([], status=302),
    "a connection that fails": Script(before=[UpstreamFailed("connect")]),
    "a redirect that was not followed": Script(before=[UpstreamFailed("redirect")]),
    "a body that is cut": Script([b'{"id": "up-1"', UpstreamFailed("cut")]),
    "a body that is too large": Script([UpstreamFailed("oversized")]),
    "a body over our bound": Script([b"x" * 1_200_000]),
    "a head that times out": Script(before=[UpstreamFailed("timeout")]),
    "silence": Script([20.0, *answers().body]),
    "a slow head": Script(answers().body, before=[100.0]),
    "garbage": Script([b"\x00\xff{{{"]),
    "a list": Script([b"[]"]),
    "an error in a 200": Script([json.dumps({"error": {"message": "no"}}).encode()]),
    "a stream instead": streams(*GOOD_STREAM),
    "a choice without a message": answers(choices=[{"index": 0, "finish_reason": "stop"}]),
    "a choice without anything": answers(choices=[{"index": 0}]),
    "a message that is none": answers(choices=[{"index": 0, "message": "Hi"}]),
    "a call without an id": calls({"type": "function", "function": {"name": "f"}}),
    "two choices": answers(
        choices=[
            {"index": n, "message": {"role": "assistant", "content": str(n)}} for n in range(2)
        ]
    ),
    "negative usage": answers(usage={**USAGE, "completion_tokens": -1}),
    "usage that is text": answers(usage={**USAGE, "prompt_tokens": "10"}),
    "usage that is a list": answers(usage=[]),
    "usage of reasoning": answers(
        usage={**USAGE, "completion_tokens_details": {"reasoning_tokens": 3}}
    ),
    "more than was asked for": answers("Hi" * 40_000, usage=...),
    "unicode": answers("\u0000\u2028 \U0001f600 </script> \ud83d"),
    "our own names": answers(
        x_phi_cost=0, phi={"usage": "verified"}, meta={"routing": {}}, id="chatcmpl-forged"
    ),
    "a link and a picture": says_choice(
        {
            "content": "x",
            "annotations": [{"type": "url_citation"}],
            "images": [{"type": "image_url", "image_url": {"url": "https://x.org"}}],
            "audio": {"id": "a"},
        }
    ),
    "members of its own": answers(system_fingerprint="fp", service_tier="priority", weird=[1]),
    "a call": calls(CALL, text="Let me see."),
    "a refusal": says_choice({"content": None, "refusal": "No."}),
    "an empty text": says_choice({"content": ""}),
    "no text": says_choice({"content": None}),
    "parts": says_choice({"content": [{"type": "text", "text": "Hi"}]}),
    "thoughts": says_choice({"content": "4", "reasoning": "2 and 2", "reasoning_content": "2"}),
    "thoughts in details": says_choice(
        {"content": "4", "reasoning_details": [{"type": "reasoning.text", "text": "2"}]}
    ),
    "a finish that is unknown": says_choice({"content": "x"}, "because"),
    "no finish": says_choice({"content": "x"}, None),
    "an old finish": says_choice({"content": "x"}, "function_call"),
}
REFUSED: Mapping[str, Script] = {
    "a full context": status(400, "maximum context length", code="context_length_exceeded"),
    "a bad image": status(400, "could not decode image", code="invalid_image"),
    "credit of the operator": status(400, "credit balance is too low"),
    "a member": status(422, "no", param="top_k"),
    "a text": Script([b"plain words"], status=400, content_type="text/plain"),
    "a detail": Script([b'{"detail": "no"}'], status=400),
    "an error that is text": Script([b'{"error": "no"}'], status=400),
    "a long error": status(400, "x" * 5_000),
    "an error over our bound": Script([b"x" * 70_000], status=400),
    "a status that is none": status(299),
    "a teapot": status(418),
    "a wait": Script([b"{}"], status=429),
}

# Streams, and whether the first event has gone to the caller by then.
STREAMED: Mapping[str, Script] = {
    "an error first": streams(event({"error": {"message": "no"}}), DONE),
    "an error after a piece": streams(chunk("a"), event({"error": {"message": "no"}}), DONE),
    "a piece that is no JSON": streams(chunk("a"), b"data: {\n\n", DONE),
    "a piece that is a list": streams(chunk("a"), b"data: []\n\n", DONE),
    "a delta that is none": streams(chunk(choices=[{"index": 0, "delta": "x"}]), DONE),
    "an event over our bound": streams(chunk("a"), b"data: " + b"x" * 1_100_000),
    "a cut": streams(chunk("a"), UpstreamFailed("cut")),
    "no end": streams(chunk("a"), USAGE_CHUNK),
    "comments and names": streams(
        b": phi {}\n\nevent: x\nid: 7\nretry: 1\n", chunk("a"), USAGE_CHUNK, DONE
    ),
    "carriage returns": streams(
        event(chunk("a")).replace(b"\n", b"\r\n"), event(USAGE_CHUNK).replace(b"\n", b"\r"), DONE
    ),
    "bytes one by one": streams(
        *(bytes([each]) for each in event(chunk("a\u00e9"))), USAGE_CHUNK, DONE
    ),
    "usage beside choices": streams(chunk("a", usage=USAGE), DONE),
    "usage twice": streams(chunk("a"), USAGE_CHUNK, {**USAGE_CHUNK, "usage": {}}, DONE),
    "usage that cannot be": streams(
        chunk("a"), {**USAGE_CHUNK, "usage": {**USAGE, "completion_tokens": 10**9}}, DONE
    ),
    "usage without choices": streams(chunk("a"), {"usage": USAGE}, DONE),
    "an empty delta": streams(chunk(choices=[{"index": 0, "delta": {}}]), USAGE_CHUNK, DONE),
    "a finish": streams(
        chunk("a"),
        chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}]),
        USAGE_CHUNK,
        DONE,
    ),
    "a finish of nobody's": streams(
        chunk("a"),
        chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "because"}]),
        USAGE_CHUNK,
        DONE,
    ),
    "thoughts": streams(
        chunk(choices=[{"index": 0, "delta": {"reasoning_content": "2"}}]),
        chunk("4"),
        USAGE_CHUNK,
        DONE,
    ),
    "two choices": streams(
        chunk(choices=[{"index": n, "delta": {"content": str(n)}} for n in range(2)]),
        USAGE_CHUNK,
        DONE,
    ),
    "a call in pieces": streams(
        chunk(choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}]}}]),
        chunk(
            choices=[
                {
                    "index": 0,
                    "delta": {"tool_calls": [{"index": 0, "function": {"arguments": " "}}]},
                    "finish_reason": "tool_calls",
                }
            ]
        ),
        USAGE_CHUNK,
        DONE,
    ),
    "our own names": streams(chunk("a", x_phi_cost=0, phi={"usage": "x"}), USAGE_CHUNK, DONE),
    "long silences": streams(14.0, chunk("a"), 50.0, chunk("b"), 50.0, USAGE_CHUNK, DONE),
    "a silence that is too long": streams(chunk("a"), 61.0, chunk("b"), USAGE_CHUNK, DONE),
    "a stream that never ends": streams(*(step for _ in range(20) for step in (50.0, chunk("a")))),
    "what comes behind the end": streams(*GOOD_STREAM, chunk("no"), USAGE_CHUNK),
    "an answer in one piece": answers(),
    "no answer": Script([], content_type="text/event-stream"),
    "a slow head": _late(streams(*GOOD_STREAM), 121.0),
    "a page": Script([b"<html>"], content_type="text/html"),
}

ANTHROPIC_START: Json = {
    "type": "message_start",
    "message": {"id": "m", "model": "c", "usage": {"input_tokens": 10, "output_tokens": 1}},
}
ANTHROPIC_TEXT: tuple[Json, ...] = (
    ANTHROPIC_START,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
)
ANTHROPIC_END: tuple[Json, ...] = (
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 5},
    },
    {"type": "message_stop"},
)
ANTHROPIC_STREAMS: Mapping[str, Script] = {
    "text": anthropic_stream(*ANTHROPIC_TEXT, *ANTHROPIC_END),
    "a cut": anthropic_stream(*ANTHROPIC_TEXT),
    "an error": anthropic_stream(
        *ANTHROPIC_TEXT, {"type": "error", "error": {"type": "overloaded_error"}}
    ),
    "an error first": anthropic_stream({"type": "error", "error": {"type": "api_error"}}),
    "thoughts": anthropic_stream(
        ANTHROPIC_START,
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "2"},
        },
        *ANTHROPIC_END,
    ),
    "a call": anthropic_stream(
        ANTHROPIC_START,
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": "look_up", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '{"a":'},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": "1}"},
        },
        {"type": "content_block_stop", "index": 0},
        *ANTHROPIC_END,
    ),
}
ANTHROPIC_WHOLE: Mapping[str, Script] = {
    "a length": anthropic(stop_reason="max_tokens"),
    "a refusal": anthropic(stop_reason="refusal"),
    "a pause": anthropic(stop_reason="pause_turn"),
    "a stop of nobody's": anthropic(stop_reason="because"),
    "no stop": anthropic(stop_reason=None),
    "no content": anthropic(content=[]),
    "content that is none": anthropic(content="Hi"),
    "thoughts": anthropic(
        content=[{"type": "thinking", "thinking": "2"}, {"type": "text", "text": "4"}]
    ),
    "an unknown block": anthropic(content=[{"type": "server_tool_use", "id": "x"}]),
    "cached tokens": anthropic(
        usage={
            "input_tokens": 3,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 3,
            "output_tokens": 5,
        }
    ),
    "no usage": anthropic(usage=None),
    "an error": fails(400, {"type": "error", "error": {"type": "x", "message": "credit balance"}}),
    "an overload": fails(529, {"type": "error", "error": {"type": "overloaded_error"}}),
    "no JSON": Script([b"<html>"]),
}

CLOCK = calls(called("gateway_datetime", {}))
PROGRAM = calls(called("python", {"code": "6 * 7"}))
TURNS: Mapping[str, tuple[Json, tuple[Script, ...]]] = {
    "a zone": (
        asks(tools=[TIME]),
        (calls(called("gateway_datetime", {"timezone": "Asia/Tokyo"})), answers()),
    ),
    "a zone that is none": (
        asks(tools=[TIME]),
        (calls(called("gateway_datetime", {"timezone": "x"})), answers()),
    ),
    "arguments that are none": (
        asks(tools=[TIME]),
        (
            calls(
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": "gateway_datetime", "arguments": "["},
                }
            ),
            answers(),
        ),
    ),
    "two calls at once": (
        asks(tools=[TIME]),
        (
            calls(called("gateway_datetime", {}), called("gateway_datetime", {}, "c2")),
            answers(),
        ),
    ),
    "a function of the same name": (
        asks(tools=[TIME, {"type": "function", "function": {"name": "gateway_datetime"}}]),
        (CLOCK,),
    ),
    "a choice of it": (
        asks(tools=[TIME], tool_choice="gateway:datetime"),
        (CLOCK, answers()),
    ),
    "a choice of it as an object": (
        asks(tools=[TIME], tool_choice={"type": "gateway:datetime"}),
        (CLOCK, answers()),
    ),
    "eight turns": (asks(tools=[TIME]), (*[CLOCK] * 8, answers())),
    "nine turns": (asks(tools=[TIME]), (CLOCK,) * 10),
    "a limit": (asks(tools=[TIME], max_tool_calls=2), (CLOCK, CLOCK, CLOCK)),
    "a failure in the second turn": (asks(tools=[TIME]), (CLOCK, *[fails(500)] * 4)),
    "a failover in the second turn": (asks(tools=[TIME]), (CLOCK, fails(500), answers())),
    "a refusal in the second turn": (asks(tools=[TIME]), (CLOCK, status(400, "too long"))),
    "no usage in the first turn": (
        asks(tools=[TIME]),
        (
            answers(
                usage=...,
                choices=[
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": None,
                            "tool_calls": [called("gateway_datetime", {})],
                        },
                    }
                ],
            ),
            answers(),
        ),
    ),
    "everything told": (
        asks(tools=[TIME], meta=True, debug={"trace": True, "return_upstream_response": True}),
        (CLOCK, answers()),
    ),
}
STREAMED_CLOCK = streamed_call(called("gateway_datetime", {}))
STREAMED_TURNS: Mapping[str, tuple[Json, tuple[Script, ...]]] = {
    "two turns": (asks(tools=[TIME]), (STREAMED_CLOCK, streams(*GOOD_STREAM))),
    "nine turns": (asks(tools=[TIME]), (STREAMED_CLOCK,) * 10),
    "a limit": (asks(tools=[TIME], max_tool_calls=1), (STREAMED_CLOCK,) * 2),
    "a failure in the second turn": (asks(tools=[TIME]), (STREAMED_CLOCK, *[fails(500)] * 4)),
    "a silence in the second turn": (
        asks(tools=[TIME]),
        (STREAMED_CLOCK, _late(streams(*GOOD_STREAM), 40.0)),
    ),
    "both tools": (asks(tools=[TIME, LOOK_UP]), (streamed_call(CALL),)),
    "everything told": (
        asks(tools=[TIME], meta=True, stream_options={"include_usage": True}),
        (STREAMED_CLOCK, streams(*GOOD_STREAM)),
    ),
}
MATHS: Mapping[str, tuple[Json, tuple[Script, ...], tuple[Any, ...]]] = {
    "a program": (asks(), (PROGRAM, answers("42")), (ran(),)),
    "two programs": (
        asks(),
        (calls(called("python", {"code": "1"}), called("r", {"code": "2"}, "c2")), answers("42")),
        (ran(), ran(language="r", stdout="2\n")),
    ),
    "a value": (asks(), (PROGRAM, answers("42")), (ran(stdout="", value="42"),)),
    "a figure": (asks(), (PROGRAM, answers("See [figure 1].")), (ran(figures=(SVG + "</svg>",)),)),
    "a figure that is not named": (
        asks(),
        (PROGRAM, answers("x")),
        (ran(figures=(SVG + "</svg>",)),),
    ),
    "a figure with a script": (
        asks(),
        (PROGRAM, answers("x")),
        (ran(figures=(SVG + "<script>x</script></svg>",)),),
    ),
    "a figure that is none": (asks(), (PROGRAM, answers("x")), (ran(figures=("<html>",)),)),
    "a figure and JSON": (
        asks(response_format={"type": "json_object"}),
        (PROGRAM, answers('{"a": 42}')),
        (ran(figures=(SVG + "</svg>",)),),
    ),
    "an exit": (asks(), (PROGRAM, answers("x")), (ran(exit_code=137, limits=("memory",)),)),
    "a program that is too long": (
        asks(),
        (calls(called("python", {"code": "x" * 300_000})), answers("x")),
        (),
    ),
    "markup of a model's own": (
        asks(),
        (answers('<script>x</script><svg onload="x"></svg> 4 < 5'),),
        (),
    ),
    "an error that quotes markup": (asks(), (status(400, "<script>x</script>"),), ()),
    "a caller's own python": (
        asks(tools=[{"type": "function", "function": {"name": "python"}}]),
        (PROGRAM,),
        (),
    ),
    "everything told": (
        asks(meta=True, debug={"return_upstream_request": True}),
        (PROGRAM, answers("42")),
        (ran(),),
    ),
    "thirteen turns": (asks(), (*[PROGRAM] * 12, answers("x")), (ran(),) * 12),
    "programs that take too long": (
        asks(),
        (PROGRAM, PROGRAM, answers("x")),
        (ran(wall_ms=250_000),),
    ),
}
SLOWLY = (50.0, b": \n\n") * 8
LEVERS: Mapping[str, tuple[Json, tuple[Script, ...]]] = {
    "log probabilities": (
        asks(logprobs=True, top_logprobs=2),
        (
            streams(
                chunk(
                    choices=[
                        {
                            "index": 0,
                            "delta": {"content": "Hi"},
                            "logprobs": {"content": [LOGPROB]},
                        }
                    ]
                ),
                USAGE_CHUNK,
                DONE,
            ),
        ),
    ),
    "log probabilities in one piece": (asks(logprobs=True), (answers(),)),
    "deep JSON": (
        asks(response_format={"type": "json_object"}),
        (Script([b'{"choices": ' + b"[" * 300 + b"]" * 300 + b"}"]),),
    ),
    "half a character": (
        asks(response_format={"type": "json_object"}),
        (Script([b'{"choices": [{"index": 0, "message": {"content": "\\ud800"}}]}']),),
    ),
    "many tokens in a stream": (
        asks(model=CLAUDE, max_tokens=20_000),
        (ANTHROPIC_STREAMS["text"],),
    ),
    "many tokens that are cut": (
        asks(model=CLAUDE, max_tokens=20_000),
        (ANTHROPIC_STREAMS["a cut"],) * 4,
    ),
    "many tokens at the deadline": (
        asks(model=CLAUDE, max_tokens=20_000),
        (Script([*ANTHROPIC_STREAMS["a cut"].body, *SLOWLY]),) * 4,
    ),
    "a bug": (asks(), (Script([RuntimeError("with words of the request")]),)),
    "a bug in a stream": (
        asks(stream=True),
        (streams(chunk("a"), RuntimeError("with words of the request")),),
    ),
    "a schema that is kept": (asks(model=CLAUDE, response_format=SCHEMA), (anthropic('{"a": 1}'),)),
}


def _answers() -> Iterator[tuple[str, Case]]:
    for name, script in WHOLE.items():
        yield f"whole: {name}", Case(asks(), PHI, scripts=(script, *TWO))
    for name, script in REFUSED.items():
        yield f"refused upstream: {name}", Case(asks(), CH, scripts=(script, *TWO))
    for name, script in STREAMED.items():
        yield (
            f"streamed: {name}",
            Case(
                asks(stream=True, stream_options={"include_usage": True}),
                CH,
                scripts=(script, streams(*GOOD_STREAM)),
            ),
        )
    for name in ("an error first", "a cut", "usage beside choices", "no answer"):
        body = asks(stream=True, provider=PINNED)
        yield f"streamed under PHI: {name}", Case(body, PHI, scripts=(STREAMED[name],) * 2)
    for name in ("a full context", "a member", "a wait"):
        both = (REFUSED[name], streams(*GOOD_STREAM))
        yield f"refused upstream in a stream: {name}", Case(asks(stream=True), CH, scripts=both)
    for name, (body, scripts) in LEVERS.items():
        headers = US if body["model"] == CLAUDE else CH
        yield f"levers: {name}", Case(body, headers, scripts=scripts)


def _dialect() -> Iterator[tuple[str, Case]]:
    for name, script in ANTHROPIC_WHOLE.items():
        body = asks(model=CLAUDE, provider=PINNED)
        yield f"anthropic: {name}", Case(body, US, scripts=(script,) * 2)
    for name, script in ANTHROPIC_STREAMS.items():
        body = asks(model=CLAUDE, provider=PINNED, stream=True, tools=[LOOK_UP])
        body["stream_options"] = {"include_usage": True}
        yield f"anthropic stream: {name}", Case(body, US, scripts=(script,) * 2)


def _turns() -> Iterator[tuple[str, Case]]:
    for name, (body, scripts) in TURNS.items():
        asked = {**body, "model": "qwen3.5"}
        yield f"turns: {name}", Case(asked, CH, scripts=scripts)
    for name, (body, scripts) in STREAMED_TURNS.items():
        asked = {**body, "model": "qwen3.5", "stream": True}
        yield f"streamed turns: {name}", Case(asked, CH, scripts=scripts)
    for name, (body, scripts, plays) in MATHS.items():
        yield f"programs: {name}", Case(body, CH, path=MATH, scripts=scripts, plays=plays)
    yield (
        "programs: no sandbox in the region",
        Case(asks(model="auto"), US, path=MATH, scripts=TWO),
    )
    yield (
        "six timeouts",
        Case(asks(provider=PINNED), CH, scripts=(Script([1000.0]),) * 6, times=6),
    )
    yield (
        "breaker: five failures",
        Case(
            asks(provider={"order": ["infomaniak-gemma-4-31b"]}),
            CH,
            scripts=(fails(500), answers()) * 5 + TWO,
            times=6,
        ),
    )


UPSTREAM_CASES: Mapping[str, Case] = dict((*_answers(), *_dialect(), *_turns()))
