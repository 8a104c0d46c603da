"""What callers and providers may try: no bug they can provoke is free or leaves a hold behind."""

import json
from typing import Any

import pytest

from phigate.core.routing.breaker import Breaker
from phigate.core.types import Json
from tests.builders import make_body, make_row
from tests.fakes import Script
from tests.pipeline.gateway_harness import (
    DONE,
    USAGE,
    USAGE_CHUNK,
    GatewayHarness,
    answers,
    chunk,
    streams,
)

ASKS: Json = make_body(model="acme-one", tools=[{"type": "gateway:datetime"}], max_tokens=100)


class BrokenBreaker(Breaker):
    """Has a bug where an answer has come."""

    def succeeded(self, row_id: str, now_s: float) -> None:
        raise RuntimeError(row_id)


def calls(tool_calls: Any) -> Script:
    """An answer with tool calls of any shape."""
    message = {"role": "assistant", "content": None, "tool_calls": tool_calls}
    return answers(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])


def streamed(delta: Any) -> Script:
    """A stream that has said something, and then a delta of any shape."""
    odd = chunk(choices=[{"index": 0, "delta": delta, "finish_reason": None}])
    return streams(chunk("Said. "), odd, USAGE_CHUNK, DONE)


def called(arguments: str) -> Json:
    return {
        "id": "call-1",
        "type": "function",
        "function": {"name": "gateway_datetime", "arguments": arguments},
    }


ODD_CALLS: dict[str, Any] = {
    "without an id": [{"type": "function", "function": {"name": "gateway_datetime"}}],
    "strings": ["gateway_datetime"],
    "a null function": [{"id": "1", "function": None}],
    "a name that is a list": [{"id": "1", "function": {"name": ["x"], "arguments": "{}"}}],
    "a number": 5,
}


@pytest.mark.parametrize("tool_calls", ODD_CALLS.values(), ids=ODD_CALLS)
@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_misshapen_tool_calls_leave_no_hold(tool_calls: Any, is_stream: bool) -> None:
    script = streamed({"tool_calls": tool_calls}) if is_stream else calls(tool_calls)
    harness = GatewayHarness(script, answers(), answers(), answers())
    harness.chat({**ASKS, "stream": is_stream})
    assert harness.account()["held"] == 0
    assert harness.account()["spent"] > 0


@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_arguments_that_nest_without_end_are_an_error_result(is_stream: bool) -> None:
    call = called("[" * 5_000)
    first = streamed({"tool_calls": [{"index": 0, **call}]}) if is_stream else calls([call])
    second = streams(chunk("So."), USAGE_CHUNK, DONE) if is_stream else answers()
    harness = GatewayHarness(first, second)
    told = harness.chat({**ASKS, "stream": is_stream})
    assert told.status == 200
    assert harness.account() == {"avail": 999_990, "held": 0, "spent": 10, "top": 1_000_000}


@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_a_bug_after_an_upstream_was_called_is_charged_and_leaves_no_hold(is_stream: bool) -> None:
    harness = GatewayHarness(streams(chunk(), USAGE_CHUNK, DONE) if is_stream else answers())
    harness.use(breaker=BrokenBreaker())
    with pytest.raises(Exception, match="counted"):
        harness.chat(make_body(model="acme-one", stream=is_stream))
    assert harness.account()["held"] == 0
    assert harness.account()["spent"] > 0


NAMES: dict[str, tuple[str, str]] = {
    "a plain name": ("custom_member", "custom_member"),
    "line ends": ("a\r\nx-phi-cost-micro: 0", "unknown"),
    "letters outside latin-1": ("\u6f22", "unknown"),
    "256 letters": ("a" * 256, "unknown"),
    "a comma": ("a,b", "unknown"),
}


@pytest.mark.parametrize(("name", "listed"), NAMES.values(), ids=NAMES)
def test_a_members_name_stands_in_a_header_only_when_it_is_plain(name: str, listed: str) -> None:
    rows = (make_row("acme-one", dialect="anthropic"),)
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    harness = GatewayHarness(Script([json.dumps(message).encode()]), rows=rows)
    told = harness.chat({**make_body(model="acme-one"), name: 1})
    assert told.status == 200
    assert told.headers["x-phi-dropped"].split(",") == [listed]


BULK: dict[str, Json] = {
    "empty arrays in a schema": {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "parameters": {"type": "object", "examples": [[]] * 10_000},
                },
            }
        ]
    },
    "empty objects in an unknown member": {"documents": [{}] * 10_000},
    "text beside an image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
                        "text": "x" * 40_000,
                    }
                ],
            }
        ]
    },
}


@pytest.mark.parametrize("members", BULK.values(), ids=BULK)
def test_usage_within_the_json_that_was_sent_is_believed(members: Json) -> None:
    body = {**make_body(model="acme-one", max_tokens=10), **members}
    usage = {**USAGE, "prompt_tokens": 20_000, "completion_tokens": 5, "total_tokens": 20_005}
    harness = GatewayHarness(answers(usage=usage))
    told = harness.chat(body)
    if told.status == 200:
        assert told.headers["x-phi-usage"] == "verified"
    else:
        assert told.error["code"] == "invalid_request"


LINKS = ("https://evil.example/x.json", "//evil.example/x", "file:///etc/passwd", "other.json#/a")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("phi", ["true", "false"])
def test_a_schema_with_a_link_is_refused(link: str, phi: str) -> None:
    parameters = {"type": "object", "properties": {"a": {"$ref": link}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    harness = GatewayHarness(answers())
    told = harness.chat(make_body(model="acme-one", tools=[tool]), {"x-phi": phi})
    assert (told.status, told.error["param"]) == (400, "tools.0.function.parameters")
    assert link not in told.error["message"]
    assert harness.upstream.requests == []


def test_a_local_reference_passes() -> None:
    parameters = {"$defs": {"a": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/a"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    assert GatewayHarness(answers()).chat(make_body(model="acme-one", tools=[tool])).status == 200
