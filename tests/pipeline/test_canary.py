"""Nothing that a caller or a provider wrote reaches a log line, a record, the store, a log or
an exception that leaves the pipeline: whatever happens, the canary is not found there.
"""

import asyncio
import base64
import json
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from phigate.core.attributes import inflate
from phigate.core.errors import UpstreamFailed
from phigate.core.types import Json, KeyPolicy
from phigate.core.upstream import Fetched
from tests.builders import make_body, make_row
from tests.fakes import Get, Script, Step
from tests.pipeline.await_points import Pass, watch
from tests.pipeline.gateway_harness import (
    DONE,
    KEY,
    USAGE_CHUNK,
    GatewayHarness,
    answers,
    chunk,
    completion,
    fails,
    streams,
)

CANARY = "canary-7f3a9c51"
# Behind the eight bytes of a PNG, and one that puts the word where base64 shows it whole.
IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n\0" + CANARY.encode()).decode()
NEEDLES = (CANARY, IMAGE[12:], KEY, KEY[-40:])
PHI = {"x-phi": "true"}

CONTENT: Json = {
    "messages": [
        {"role": "system", "content": CANARY, "name": CANARY},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": CANARY},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
            ],
        },
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": CANARY,
                "description": CANARY,
                "parameters": {"type": "object", "properties": {CANARY: {"enum": [CANARY]}}},
            },
        }
    ],
    "user": CANARY,
    "prompt_cache_key": CANARY,
    "metadata": {CANARY: CANARY},
    "stop": [CANARY],
}
ASKED = make_body(model="acme-one", **CONTENT)
STREAMED = {**ASKED, "stream": True}
ECHO = {"error": {"message": f"refused: {CANARY}", "param": CANARY, "code": CANARY}}
ERROR_EVENT = b"data: " + json.dumps(ECHO).encode() + b"\n\n"
WRITTEN = answers(CANARY, service_tier=CANARY, system_fingerprint=CANARY)

# The body, the headers, and what the upstreams do.
STORIES: dict[str, tuple[Json | bytes, dict[str, str], Sequence[Script]]] = {
    "json": (ASKED, {}, [WRITTEN]),
    "json under PHI": (ASKED, PHI, [WRITTEN]),
    "stream": (STREAMED, {}, [streams(chunk(CANARY), USAGE_CHUNK, DONE)]),
    "stream under PHI": (STREAMED, PHI, [streams(chunk(CANARY), USAGE_CHUNK, DONE)]),
    "usage of words": (ASKED, {}, [answers(usage={"prompt_tokens": CANARY})]),
    "the provider refuses and echoes": (ASKED, {}, [fails(400, ECHO)]),
    "providers fail and echo": (ASKED, {}, [fails(500, ECHO), fails(429, ECHO), fails(401, ECHO)]),
    "providers fail and one answers": (ASKED, {}, [fails(503, ECHO), WRITTEN]),
    "malformed": (ASKED, {}, [Script([CANARY.encode()])] * 3),
    "a stream malformed": (STREAMED, {}, [streams(b"data: " + CANARY.encode() + b"\n\n")] * 3),
    "an error event first": (STREAMED, {}, [streams(ERROR_EVENT)] * 3),
    "an error event later": (STREAMED, {}, [streams(chunk(CANARY), ERROR_EVENT)]),
    "a stream is cut": (STREAMED, {}, [streams(chunk(CANARY), UpstreamFailed("cut"))]),
    "no JSON": (CANARY.encode(), {}, []),
    "no UTF-8": (CANARY.encode() + b"\xff", {}, []),
    "a wrong type": ({**ASKED, "temperature": CANARY}, {}, []),
    "a wrong role": (make_body(messages=[{"role": CANARY, "content": CANARY}]), {}, []),
    "a refused member's value": ({**ASKED, "plugins": [{CANARY: CANARY}]}, {}, []),
    "an unknown member under PHI": ({**ASKED, CANARY: CANARY}, PHI, []),
    "an unknown member in general traffic": ({**ASKED, CANARY: CANARY}, {}, [WRITTEN]),
    "a model's name": ({**ASKED, "model": CANARY}, {}, []),
    "preferences": ({**ASKED, "provider": {"only": [CANARY]}}, {}, []),
    "a region": (ASKED, {"x-region": CANARY}, []),
    "a tier": (ASKED, {"x-phi": CANARY}, []),
    "an encoding": (ASKED, {"content-encoding": CANARY}, []),
    "a link to an image under PHI": (
        make_body(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"https://{CANARY}.example"}}
                    ],
                }
            ]
        ),
        PHI,
        [],
    ),
}


def assert_nowhere(harness: GatewayHarness, log: str) -> None:
    """Look for every needle everywhere that an operator can look."""
    items = harness.ledger.dynamo.items
    packed = [base64.b64decode(item["z"]["B"]) for item in items.values() if "z" in item]
    places = {
        "event_log": repr(harness.event_log.notes),
        "records": repr(harness.ledger.records),
        "store": repr(items),
        "stored records": repr([inflate(record) for record in packed]),
        "log": log,
    }
    for place, text in places.items():
        for needle in NEEDLES:
            assert needle not in text, place
    if harness.receipts():
        assert packed, "the stored records were looked at"


@pytest.mark.parametrize(("body", "headers", "scripts"), STORIES.values(), ids=STORIES)
def test_no_content_is_left_behind(
    body: Json | bytes,
    headers: dict[str, str],
    scripts: Sequence[Script],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    harness = GatewayHarness(*scripts)
    harness.chat(body, headers)
    assert harness.event_log.notes
    assert harness.records
    assert_nowhere(harness, caplog.text)


# An upstream that writes the word wherever a dialect has a place for text, and in names of its own.
CALL: Json = {"id": CANARY, "type": CANARY, "function": {"name": CANARY, "arguments": CANARY}}
SPOKEN: Json = {
    **dict.fromkeys(("role", "content", "refusal", "reasoning", "reasoning_content"), CANARY),
    CANARY: CANARY,
    "tool_calls": [{**CALL, "index": 0}],
    "annotations": [{"type": CANARY, CANARY: CANARY}],
}
COUNTED: Json = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    CANARY: CANARY,
    "prompt_tokens_details": {"cached_tokens": CANARY, CANARY: 1},
    "inference_geo": CANARY,
}
NAMED: Json = {
    **dict.fromkeys(("object", "model", "system_fingerprint", "service_tier"), CANARY),
    CANARY: {CANARY: [CANARY]},
}
ENDED: Json = dict.fromkeys(("finish_reason", "raw_finish_reason", "stop_reason"), CANARY)
LOGPROBS: Json = {"content": [{"token": CANARY, "logprob": 0, "bytes": None, CANARY: CANARY}]}
# The id that an upstream gives its answer; behind a known prefix, of any length, of none.
UPSTREAM_IDS = (CANARY, f"chatcmpl-{CANARY}", f"msg_{CANARY}", CANARY * 40, f"gen-7-{CANARY}", None)


def full(upstream_id: str | None, usage: Any) -> Script:
    choice = {"index": 0, "message": SPOKEN, "logprobs": LOGPROBS, **ENDED}
    return answers(id=upstream_id, choices=[choice], usage=usage, **NAMED)


def full_stream(upstream_id: str | None, usage: Any, *last: Step) -> Script:
    choice = {"index": 0, "delta": SPOKEN, "logprobs": LOGPROBS, **ENDED}
    words = CANARY.encode()
    return streams(
        b"event: %b\nid: %b\nretry: %b\n: %b\n\n" % (words, words, words, words),
        chunk(id=upstream_id, choices=[choice], **NAMED),
        {**chunk(id=upstream_id, **NAMED), "choices": [], "usage": usage},
        *(last or (DONE,)),
    )


def anthropic_full(upstream_id: str | None) -> Script:
    blocks = [
        {"type": "text", "text": CANARY, CANARY: CANARY, "citations": [{CANARY: CANARY}]},
        {"type": "thinking", "thinking": CANARY, "signature": CANARY},
        {"type": "tool_use", "id": CANARY, "name": CANARY, "input": {CANARY: CANARY}},
    ]
    body: Json = {
        "id": upstream_id,
        "type": "message",
        "role": CANARY,
        "content": blocks,
        "stop_reason": CANARY,
        "stop_sequence": CANARY,
        "stop_details": {"explanation": CANARY},
        "usage": {"input_tokens": 10, "output_tokens": 5, "inference_geo": CANARY, CANARY: CANARY},
        **NAMED,
    }
    return Script([json.dumps(body).encode()], content_type=CANARY)


# The dialect, the request, and what the upstreams do, by the id that they give.
ECHOES: dict[str, tuple[str, Json, Callable[[str | None], list[Script]]]] = {
    "an answer": ("openai", ASKED, lambda i: [full(i, COUNTED)]),
    "an answer whose usage cannot be true": (
        "openai",
        ASKED,
        lambda i: [full(i, {"prompt_tokens": CANARY})],
    ),
    "an answer whose usage is a word": ("openai", ASKED, lambda i: [full(i, CANARY)]),
    "an answer of Anthropic's": ("anthropic", ASKED, lambda i: [anthropic_full(i)]),
    "a stream": ("openai", STREAMED, lambda i: [full_stream(i, COUNTED)]),
    "a stream that is cut": (
        "openai",
        STREAMED,
        lambda i: [full_stream(i, CANARY, UpstreamFailed("cut"))],
    ),
    "a stream that ends in an error": (
        "openai",
        STREAMED,
        lambda i: [full_stream(i, COUNTED, ERROR_EVENT)],
    ),
    "a refusal": (
        "openai",
        ASKED,
        lambda i: [Script([json.dumps({**ECHO, "id": i}).encode()], 400, CANARY)],
    ),
    "a failure, then an answer": (
        "openai",
        ASKED,
        lambda i: [Script([CANARY.encode()], 503, CANARY), full(i, COUNTED)],
    ),
    "a content type": (
        "openai",
        STREAMED,
        lambda i: [replace(full_stream(i, COUNTED), content_type=CANARY)],
    ),
}
SIGNED = f"{'a' * 64}:{'b' * 64}"
SIGNATURE: Json = {
    "text": SIGNED,
    "signature": "0x" + "c" * 130,
    "signing_address": "0x" + "d" * 40,
    "signing_algo": "ecdsa",
}
# What a confidential upstream gives as its signature: the word in each member, and none of them.
SIGNATURES: list[Get] = [
    *(
        Fetched(200, json.dumps({**SIGNATURE, member: value, CANARY: CANARY}).encode())
        for member, value in (
            ("text", f"{CANARY}:{SIGNED}"),
            ("text", f"{SIGNED}:{CANARY}"),
            *((name, CANARY) for name in SIGNATURE),
            ("more", CANARY),
        )
    ),
    Fetched(200, CANARY.encode()),
    Fetched(500, CANARY.encode()),
]


@pytest.mark.parametrize("phi", [True, False], ids=["PHI", "general"])
@pytest.mark.parametrize("confidential", [True, False], ids=["confidential", "not confidential"])
@pytest.mark.parametrize("name", ECHOES)
def test_what_an_upstream_writes_is_left_nowhere(
    name: str, confidential: bool, phi: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dialect, body, scripts = ECHOES[name]
    rows = (
        make_row("acme-one", dialect=dialect, confidential=confidential),
        make_row("bolt-two", confidential=confidential),
    )
    for number, upstream_id in enumerate(UPSTREAM_IDS * 2):
        harness = GatewayHarness(*scripts(upstream_id), rows=rows)
        harness.upstream.gets = [SIGNATURES[number % len(SIGNATURES)]] * 2
        harness.chat({**body, "messages": [{"role": "user", "content": "Hi"}]}, PHI if phi else {})
        assert harness.records
        assert_nowhere(harness, caplog.text)


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["json", "stream"])
def test_no_content_is_left_behind_by_a_caller_who_hangs_up(body: Json) -> None:
    harness = GatewayHarness()
    gone: list[Step] = [harness.hang_up, 31.0]
    harness.plays(streams(chunk(CANARY), *gone))
    harness.chat_gone(body)
    assert harness.record["ended"] == "hang_up"
    assert_nowhere(harness, "")


def test_a_key_that_is_not_known_is_left_nowhere() -> None:
    harness = GatewayHarness()
    for key in (CANARY, f"{KEY[:-1]}x", f"{KEY}{CANARY}"):
        harness.chat(ASKED, key=key)
    assert_nowhere(harness, "")


def test_a_key_whose_policy_refuses_is_left_nowhere() -> None:
    harness = GatewayHarness(policy=KeyPolicy(phi="required"))
    assert harness.chat(ASKED, {"x-phi": "0"}).status == 403
    assert_nowhere(harness, "")


CRASHES: dict[str, tuple[Json | bytes, Sequence[Script]]] = {
    "json": (ASKED, [fails(500, ECHO), WRITTEN]),
    "stream": (STREAMED, [streams(ERROR_EVENT), streams(chunk(CANARY), USAGE_CHUNK, DONE)]),
    "the provider refuses and echoes": (ASKED, [fails(400, ECHO)]),
    "refused": (CANARY.encode(), []),
}


@pytest.mark.parametrize(("body", "scripts"), CRASHES.values(), ids=CRASHES)
def test_an_effect_that_raises_content_is_not_quoted_by_what_leaves_the_pipeline(
    body: Json | bytes, scripts: Sequence[Script], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    points = _crash(GatewayHarness(*scripts), body, 0)[0]
    assert len(points) > 8
    for nth in range(1, len(points) + 1):
        harness = GatewayHarness(*scripts)
        _, texts = _crash(harness, body, nth)
        for text in texts:
            assert CANARY not in text, points[nth - 1]
        assert_nowhere(harness, caplog.text)
        assert not texts or harness.event_log.fields("bug") == [{"kind": "ValueError"}]
        harness.account()


def _crash(harness: GatewayHarness, body: Json | bytes, nth: int) -> tuple[list[str], list[str]]:
    """Serve with a bug at the n-th point; the points, and what left the pipeline as text."""
    points: list[str] = []

    async def passes(point: str) -> None:
        points.append(point)
        if len(points) == nth:
            raise ValueError(CANARY, completion(CANARY))

    return points, asyncio.run(_left(harness, body, passes))


async def _left(harness: GatewayHarness, body: Json | bytes, passes: Pass) -> list[str]:
    watch(harness, passes)
    texts: list[Any] = []
    try:
        await harness.serve(body)
    except Exception as left:
        texts = [str(left), repr(left), "".join(traceback.format_exception(left))]
        texts = [*texts, str(left.__cause__)]
    await harness.gateway.wait_idle()
    return texts


def test_an_upstream_that_cannot_even_be_opened_is_a_bug_without_content() -> None:
    harness = GatewayHarness()  # no script: the double raises

    with pytest.raises(Exception, match="own") as left:
        asyncio.run(harness.serve(ASKED))
    assert harness.event_log.fields("bug") == [{"kind": "IndexError"}]
    assert CANARY not in "".join(traceback.format_exception(left.value))
    harness.sweep()
    assert harness.account()["held"] == 0
