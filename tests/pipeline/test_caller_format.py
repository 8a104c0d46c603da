"""A format that nobody speaks: the pipeline reads and writes it as it does chat, for the pair of
functions that it is given is all that it knows of a format."""

import asyncio
import hashlib
import json
from functools import partial

import orjson
import pytest

from phigate.core.errors import InvalidRequest, PhigateError
from phigate.core.types import Json
from phigate.formats.caller_format import CallerFormat, StreamFormat
from phigate.pipeline.inbound_request import InboundBody, InboundRequest
from phigate.pipeline.serve import serve
from phigate.wire.openai.answer import Stamp
from phigate.wire.openai.chat_body import ChatRequest, read_chat
from tests.builders import make_body
from tests.fakes import RecordingResponseWriter, Script
from tests.pipeline.gateway_harness import (
    GOOD_STREAM,
    KEY,
    USAGE_MICROS,
    GatewayAnswer,
    GatewayHarness,
    answers,
    fails,
)


def read(body: bytes, marks: bytes | None) -> ChatRequest:
    """`<model> <text>`, with `!` in front for a stream."""
    model, _, text = body.decode().removeprefix("!").partition(" ")
    if not text:
        raise InvalidRequest("Say something.")
    messages = [{"role": "user", "content": text}]
    return read_chat(make_body(model=model, messages=messages, stream=body.startswith(b"!")))


def answer(answer: Json, stamp: Stamp) -> bytes:
    """`<id> <model>: <text>`."""
    text = answer["choices"][0]["message"]["content"]
    return f"{stamp.completion_id} {stamp.model}: {text}".encode()


def chunk(number: list[int], chunk: Json, stamp: Stamp) -> bytes:
    """`<number>: <text>`; a format of its own may count what it writes."""
    if not chunk["choices"]:
        return b""
    number[0] += 1
    return f"{number[0]}: {chunk['choices'][0]['delta']['content']}\n".encode()


def stream(with_usage: bool) -> StreamFormat:
    """Each stream counts from one."""
    return StreamFormat(
        chunk=partial(chunk, [0]),
        error=lambda envelope: b"! " + orjson.dumps(envelope) + b"\n",
        end=lambda facts: f"cost {facts['cost_micro']}\n".encode(),
        end_without_receipt=b"no receipt\n",
        ping=b"...\n",
    )


def envelope(error: PhigateError) -> Json:
    """The code in a member of its own."""
    return {"wrong": error.code}


LINES = CallerFormat(
    read=read, answer=answer, assembled=answer, stream=stream, envelope=envelope, id_prefix="say-"
)


def say(body: bytes, *scripts: Script) -> tuple[GatewayHarness, GatewayAnswer]:
    """One call in this format to its end."""
    harness = GatewayHarness(*scripts)
    harness.out = RecordingResponseWriter(harness.clock)
    headers = {"authorization": f"Bearer {KEY}"}
    request = InboundRequest("chat", headers, InboundBody(body))
    asyncio.run(serve(harness.gateway, LINES, request, harness.out))
    assert request.body.content == b"", "nobody keeps a body while an upstream answers"
    return harness, harness.told()


CALLS: dict[str, tuple[bytes, tuple[Script, ...], bytes]] = {
    "an answer": (b"acme-one Hello", (answers("Hi"),), b"say-%s acme-one: Hi"),
    "a stream": (b"!acme-one Hello", (GOOD_STREAM,), b"1: Hel\n2: lo\ncost 5\n"),
    "a mistake": (b"acme-one", (), b'{"wrong":"invalid_request"}'),
    "a failure": (b"acme-one Hello", (fails(500),) * 4, b'{"wrong":"upstream_error"}'),
}


@pytest.mark.parametrize(("body", "scripts", "written"), CALLS.values(), ids=CALLS)
def test_a_caller_is_answered_in_the_format_that_they_speak(
    body: bytes, scripts: tuple[Script, ...], written: bytes
) -> None:
    harness, told = say(body, *scripts)
    receipt_id = told.headers["x-phi-receipt"].encode()
    assert told.body == written.replace(b"%s", receipt_id)
    record = harness.record
    # The receipt hashes what came and what went, in the caller's own format.
    assert record["request_sha256"] == hashlib.sha256(body).hexdigest()
    assert record["response_sha256"] == hashlib.sha256(told.body).hexdigest()
    assert harness.account()["spent"] == (USAGE_MICROS if record["verdict"] == "routed" else 0)


def test_the_upstream_is_asked_in_its_own_format() -> None:
    harness, _ = say(b"acme-one Hello", answers())
    (request,) = harness.upstream.requests
    assert json.loads(request.body)["messages"] == [{"role": "user", "content": "Hello"}]
