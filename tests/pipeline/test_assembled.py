"""A JSON call that may write much: its row streams, the caller gets one answer, and what was
written is known at every moment.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.types import Json, Row
from tests.builders import NOW_S, make_body, make_price, make_row
from tests.fakes import Script, Step
from tests.pipeline.gateway_harness import (
    DONE,
    USAGE,
    USAGE_CHUNK,
    USAGE_MICROS,
    GatewayHarness,
    answers,
    chunk,
    fails,
    streams,
)

LONG = 32_768
ROWS = (
    make_row("acme-one", tokens_out_max=LONG),
    make_row("bolt-two", tokens_out_max=LONG, price=make_price(1_000_000, 2_000_000)),
)
MUCH: Json = make_body(model="acme-one", max_tokens=8_193)
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
STREAMED = streams(chunk("Hel"), chunk("lo"), END, USAGE_CHUNK, DONE)
HELLO_MICROS = 3  # 20 bytes are 6 tokens at 0.24, "Hello" is 2 at 0.48: 2.4


def harness(*scripts: Script, rows: Sequence[Row] = ROWS, **named: Any) -> GatewayHarness:
    return GatewayHarness(*scripts, rows=rows, **named)


def test_the_caller_gets_one_answer_as_if_the_row_had_written_it_in_one_piece() -> None:
    streamed, whole = harness(STREAMED), GatewayHarness(answers("Hello"))
    told, other = streamed.chat(MUCH), whole.chat(make_body(model="acme-one"))
    assert streamed.upstream.bodies[0]["stream"] is True
    assert streamed.upstream.bodies[0]["stream_options"] == {"include_usage": True}
    assert told.json | {"id": ""} == other.json | {"id": ""}
    varying = {"date", "x-phi-receipt", "x-request-id", "x-phi-max-tokens"}
    kept = [
        {name: value for name, value in each.headers.items() if name not in varying}
        for each in (told, other)
    ]
    assert kept[0] == kept[1]
    assert told.headers["x-phi-cost-micro"] == str(USAGE_MICROS)
    assert told.headers["x-phi-usage"] == "verified"
    assert streamed.log[1:] == [("receipt", USAGE_MICROS, "done"), ("settle", USAGE_MICROS)]
    assert streamed.record["ended"] == "complete"
    assert [exchange.closed for exchange in streamed.upstream.exchanges] == [1]


# What is asked, of which rows, and whether they are asked for a stream.
ASKED: dict[str, tuple[Json, Sequence[Row], bool]] = {
    "the default length": ({}, ROWS, False),
    "8,192 tokens": ({"max_tokens": 8_192}, ROWS, False),
    "8,193 tokens": ({"max_tokens": 8_193}, ROWS, True),
    "8,193 tokens by another name": ({"max_completion_tokens": 8_193}, ROWS, True),
    "log probabilities": ({"logprobs": True, "max_tokens": 10}, ROWS, True),
    "log probabilities that are off": ({"logprobs": False, "max_tokens": 10}, ROWS, False),
    "log probabilities that the row drops": (
        {"logprobs": True, "max_tokens": 10},
        [make_row("acme-one", drops=frozenset({"logprobs"}))],
        False,
    ),
    "a confidential row": (
        {"max_tokens": 8_193},
        [make_row("acme-one", confidential=True, tokens_out_max=LONG)],
        False,
    ),
    "a confidential row and log probabilities": (
        {"logprobs": True},
        [make_row("acme-one", confidential=True)],
        False,
    ),
}


@pytest.mark.parametrize("phi", ["false", "true"])
@pytest.mark.parametrize(("members", "rows", "streamed"), ASKED.values(), ids=ASKED)
def test_rows_stream_what_may_be_long_or_large(
    members: Json, rows: Sequence[Row], streamed: bool, phi: str
) -> None:
    called = harness(STREAMED if streamed else answers("Hello"), rows=rows)
    told = called.chat(make_body(model="acme-one", **members), {"x-phi": phi})
    assert told.json["choices"][0]["message"]["content"] == "Hello"
    assert called.upstream.bodies[0].get("stream", False) is streamed


def test_an_upstream_that_answers_in_one_piece_is_read_so() -> None:
    called = harness(answers("Hello"))
    assert called.chat(MUCH).json["choices"][0]["message"]["content"] == "Hello"
    assert called.upstream.bodies[0]["stream"] is True
    assert called.account()["spent"] == USAGE_MICROS


def test_log_probabilities_come_whole() -> None:
    told = [{"token": t, "logprob": -0.5, "bytes": [1], "top_logprobs": []} for t in "ab"]
    steps = [
        chunk(
            choices=[
                {"index": 0, "delta": {"content": each["token"]}, "logprobs": {"content": [each]}}
            ]
        )
        for each in told
    ]
    called = harness(streams(*steps, END, USAGE_CHUNK, DONE))
    answer = called.chat(make_body(model="acme-one", logprobs=True, top_logprobs=1)).json
    assert answer["choices"][0]["logprobs"] == {"content": told}
    assert answer["choices"][0]["message"]["content"] == "ab"


# A stream that breaks by its row's doing, and the outcome of the attempt.
BREAKS: dict[str, tuple[Sequence[Step | Json], str]] = {
    "at once": ([UpstreamFailed("connect")], "connect"),
    "in the middle": ([chunk(), UpstreamFailed("cut")], "cut"),
    "without an end": ([chunk()], "cut"),
    "an error event": ([chunk(), b'data: {"error": {"message": "no"}}\n\n'], "error_event"),
    "garbage": ([chunk(), b"data: {garbage}\n\n"], "malformed"),
    "silence of a minute in the middle": ([chunk(), 61.0], "timeout"),
    "an event that no lever explains": ([chunk(), b"data: " + b"a" * 1_100_000], "oversized"),
    "a stream that no lever explains": ([chunk(), UpstreamFailed("oversized")], "oversized"),
    "an end without a beginning": ([DONE], "empty"),
    "usage alone": ([USAGE_CHUNK, DONE], "empty"),
}


@pytest.mark.parametrize(("steps", "outcome"), BREAKS.values(), ids=BREAKS)
def test_a_break_before_the_caller_has_a_byte_is_free_and_tried_elsewhere(
    steps: Sequence[Step | Json], outcome: str
) -> None:
    body = make_body(model="acme-one", logprobs=True, max_tokens=10)
    called = harness(streams(*steps), STREAMED)
    told = called.chat(body)
    assert told.status == 200
    assert told.headers["x-phi-routed"] == "bolt-two/CH/general"
    assert [each[2] for each in called.attempts] == [outcome, "ok"]
    assert called.account()["spent"] == 20  # at bolt's prices, and nothing for acme
    assert [exchange.closed for exchange in called.upstream.exchanges] == [1, 1]
    assert [line["row"] for line in called.event_log.fields("attempt_failed")] == ["acme-one"]


def test_an_end_without_done_is_an_end_once_the_choice_has_ended() -> None:
    told = harness(streams(chunk("Hello"), END, USAGE_CHUNK)).chat(MUCH)
    assert told.json["usage"] == USAGE


@pytest.mark.parametrize(
    "steps",
    [
        [chunk("Hello"), *(30.0, b": still here\n\n") * 20],
        [chunk("Hello"), *(30.0, chunk("")) * 20],
    ],
    ids=["comments", "events"],
)
def test_a_deadline_charges_what_was_written_and_nobody_else_is_tried(
    steps: Sequence[Step | Json],
) -> None:
    called = harness(streams(*steps), STREAMED)
    told = called.chat(MUCH)
    assert (told.status, told.error["code"]) == (504, "upstream_timeout")
    assert called.clock.time_s == NOW_S + 280
    assert called.upstream.rows == ["acme-one"]
    assert told.headers["x-should-retry"] == "false"
    assert told.headers["x-phi-cost-micro"] == str(HELLO_MICROS)
    assert called.record["usage"]["bytes_out"] == 5
    assert called.log[1:] == [("receipt", HELLO_MICROS, "done"), ("settle", HELLO_MICROS)]
    assert called.event_log.fields("attempt_failed") == []


def test_a_deadline_of_which_nothing_was_seen_is_the_rows_failure() -> None:
    called = harness(streams(1_000.0))
    told = called.chat(MUCH)
    assert (told.status, told.error["code"]) == (504, "upstream_timeout")
    assert "x-should-retry" not in told.headers
    assert called.account()["spent"] == 0
    assert [line["key"] for line in called.event_log.fields("attempt_timed_out")] == ["k1"]


# The steps of a stream whose caller goes, and what is charged: what was seen.
GONE: dict[str, tuple[Sequence[Step | Json], int, str]] = {
    "within the drain": (
        [chunk("Hello"), b"gone", 29.0, USAGE_CHUNK, DONE],
        USAGE_MICROS,
        "verified",
    ),
    "past the drain": (
        [chunk("Hello"), b"gone", 31.0, USAGE_CHUNK, DONE],
        HELLO_MICROS,
        "estimated",
    ),
    "written while nobody listens": (
        [chunk("Hel"), b"gone", 5.0, chunk("lo"), 31.0],
        HELLO_MICROS,
        "estimated",
    ),
}


@pytest.mark.parametrize(("steps", "micros", "source"), GONE.values(), ids=GONE)
def test_a_hang_up_is_charged_by_what_was_written(
    steps: Sequence[Step | Json], micros: int, source: str
) -> None:
    called = harness()
    called.plays(streams(*(called.hang_up if step == b"gone" else step for step in steps)))
    called.chat_gone(MUCH)
    assert called.account()["spent"] == micros
    assert called.record["usage"]["source"] == source
    assert called.record["ended"] == "hang_up"
    assert "worked" not in called.record


def test_debug_shows_the_events_as_they_came() -> None:
    body = {**MUCH, "debug": {"return_upstream_response": True, "return_upstream_request": True}}
    called = harness(streams(b": ok\n\n", chunk("Hi", x_phi=1), END, USAGE_CHUNK, DONE))
    told = called.chat(body).json
    assert told["upstream_response"] == [chunk("Hi"), END, USAGE_CHUNK]
    assert told["upstream_request"] == called.upstream.bodies[0]
    assert told["choices"][0]["message"]["content"] == "Hi"


def test_debug_of_a_row_of_another_dialect_shows_its_own_events() -> None:
    events: list[Json] = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    rows = [make_row("acme-one", dialect="anthropic", tokens_out_max=LONG)]
    called = harness(streams(*events), rows=rows)
    told = called.chat({**MUCH, "debug": {"return_upstream_response": True}}).json
    assert told["upstream_response"] == events
    assert told["choices"][0]["message"] == {"role": "assistant", "content": "Hi"}
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["usage"]["completion_tokens"] == 5
    assert called.account()["spent"] == USAGE_MICROS


CALL = {"id": "1", "type": "function", "function": {"name": "gateway_datetime", "arguments": "{}"}}
LOOP: Json = {**MUCH, "tools": [{"type": "gateway:datetime"}]}


def calls() -> Script:
    first = {"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}]}}
    return streams(chunk(choices=[first]), USAGE_CHUNK, DONE)


def test_turns_of_a_tool_loop_are_assembled_each() -> None:
    called = harness(calls(), STREAMED)
    told = called.chat(LOOP)
    assert told.json["choices"][0]["message"]["content"] == "Hello"
    assert told.json["usage"]["server_tool_use"] == {"datetime_requests": 1}
    assert [body["stream"] for body in called.upstream.bodies] == [True, True]
    sent = called.upstream.bodies[1]["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool"]
    assert called.account()["spent"] == 10


def test_a_deadline_in_a_later_turn_charges_all_turns() -> None:
    called = harness(calls(), streams(chunk("Hello"), *(30.0, chunk("")) * 20))
    told = called.chat(LOOP)
    assert told.status == 504
    assert told.headers["x-should-retry"] == "false"
    assert [turn[2] for turn in called.record["turns"]] == [5, 2]
    assert told.headers["x-phi-cost-micro"] == str(called.account()["spent"])


def test_a_schema_that_the_assembled_answer_does_not_keep_is_charged() -> None:
    rows = [make_row("acme-one", dialect="anthropic", tokens_out_max=LONG)]
    number = {"type": "integer", "minimum": 1}  # which this dialect cannot say
    schema = {"type": "object", "properties": {"a": number}, "additionalProperties": False}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    events: list[Json] = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": "no"},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    called = harness(streams(*events), STREAMED, rows=rows)
    told = called.chat({**MUCH, "response_format": asked})
    assert told.status == 502
    assert told.headers["x-should-retry"] == "false"
    assert called.upstream.rows == ["acme-one"]
    assert called.account()["spent"] == USAGE_MICROS
    assert called.event_log.fields("attempt_failed") == []


@pytest.mark.parametrize("failed", [fails(503), fails(429)], ids=["503", "429"])
def test_an_error_instead_of_a_stream_is_tried_elsewhere(failed: Script) -> None:
    assert harness(failed, STREAMED).chat(MUCH).headers["x-phi-attempts"] == "2"


def test_an_upstreams_400_is_told_as_ever() -> None:
    told = harness(fails(400)).chat(MUCH)
    assert (told.status, told.error["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("first", [5, {"a": 1}, ["a"]], ids=["number", "object", "list"])
def test_a_name_that_is_no_text_at_first_is_no_bug(first: Any) -> None:
    odd = {"choices": [{"index": 0, "delta": {"name": first}}]}
    then = {"choices": [{"index": 0, "delta": {"name": "ab"}}]}
    told = harness(streams(odd, then, chunk("Hello"), END, USAGE_CHUNK, DONE)).chat(MUCH)
    assert told.status == 200
    assert told.json["choices"][0]["message"]["name"] == "ab"
