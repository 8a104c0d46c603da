"""A stream after its first byte: failures, silence, pings, and what is told at the end."""

from collections.abc import Sequence

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.types import Json
from tests.builders import NOW_S, make_body
from tests.fakes import Step
from tests.pipeline.gateway_harness import (
    DONE,
    GOOD_STREAM,
    STREAM,
    USAGE_CHUNK,
    USAGE_MICROS,
    GatewayHarness,
    chunk,
    event,
    streams,
)

PING = b": ping"
# What is charged for "Hi": 20 bytes in are 6 tokens, 2 bytes out are 1.
ESTIMATE_MICROS = -(-(6 * 240_000 + 1 * 480_000) // 1_000_000)

CUTS: dict[str, tuple[Sequence[Step | Json], str, str]] = {
    "an error event": (
        [b'data: {"error": {"message": "secret words"}}\n\n', chunk("never"), DONE],
        "upstream_cut",
        "upstream_error",
    ),
    "an end without [DONE]": ([], "upstream_cut", "upstream_error"),
    "an end inside an event": ([b'data: {"choices": []}\n'], "upstream_cut", "upstream_error"),
    "the connection breaks": ([UpstreamFailed("cut")], "upstream_cut", "upstream_error"),
    "garbage": ([b"data: {garbage}\n\n", chunk("never"), DONE], "upstream_cut", "upstream_error"),
    "an event that is no chunk": ([b"data: [1]\n\n", DONE], "upstream_cut", "upstream_error"),
    "usage beside choices that are none": (
        [b'data: {"usage": {}, "choices": [1]}\n\n', DONE],
        "upstream_cut",
        "upstream_error",
    ),
    "nested too deep": (
        [b'data: {"choices": [], "a": ' + b"[" * 500 + b"]" * 500 + b"}\n\n", DONE],
        "upstream_cut",
        "upstream_error",
    ),
    "an oversized event": ([b"data: " + b"a" * 1_100_000], "upstream_cut", "upstream_error"),
    "an oversized body": ([UpstreamFailed("oversized")], "upstream_cut", "upstream_error"),
    "silence of 60 seconds": ([60.0, chunk("never")], "upstream_cut", "upstream_error"),
    "running usage before the cut is not the whole": (
        [{**USAGE_CHUNK, "usage": {"prompt_tokens": 1, "completion_tokens": 0}}],
        "upstream_cut",
        "upstream_error",
    ),
    "the deadline": ((b": wait\n\n", 50.0) * 20, "deadline", "upstream_timeout"),
}


@pytest.mark.parametrize(("steps", "ended", "code"), CUTS.values(), ids=CUTS)
def test_a_stream_that_breaks_ends_in_band_and_is_charged_by_estimate(
    steps: Sequence[Step | Json], ended: str, code: str
) -> None:
    harness = GatewayHarness(streams(chunk(), *steps))
    told = harness.chat(STREAM)
    receipt_id = told.headers["x-phi-receipt"]
    assert told.status == 200
    assert harness.upstream.rows == ["acme-one"]
    first, *_, last = told.chunks
    assert first["choices"][0]["delta"] == {"content": "Hi"}
    assert set(last) == {"error"}
    assert (last["error"]["code"], last["error"]["type"]) == (code, "upstream_error")
    assert told.comment == {
        "usage": "estimated",
        "cost_micro": ESTIMATE_MICROS,
        "receipt": receipt_id,
    }
    assert harness.record["ended"] == ended
    assert harness.record["usage"]["source"] == "estimated"
    assert harness.log[1:] == [("receipt", ESTIMATE_MICROS, "done"), ("settle", ESTIMATE_MICROS)]
    assert b"secret words" not in told.body
    assert b"never" not in told.body
    assert [exchange.closed for exchange in harness.upstream.exchanges] == [1]


def test_what_came_in_the_same_piece_before_the_error_is_passed_on_and_charged() -> None:
    harness = GatewayHarness(streams(event(chunk()) + b"data: garbage\n\n"))
    told = harness.chat(STREAM)
    assert [set(each) & {"choices", "error"} for each in told.chunks] == [{"choices"}, {"error"}]
    assert harness.account()["spent"] == ESTIMATE_MICROS


def test_a_silence_just_under_the_limit_is_waited_out() -> None:
    harness = GatewayHarness(streams(chunk("a"), 59.9, chunk("b"), 59.9, USAGE_CHUNK, DONE))
    told = harness.chat(STREAM)
    assert harness.record["ended"] == "complete"
    assert told.comment["usage"] == "verified"


# The steps after the first chunk, and how many pings the caller sees.
PINGS: dict[str, tuple[Sequence[Step | Json], int]] = {
    "no silence": ([chunk()], 0),
    "14 seconds": ([14.0, chunk()], 0),
    "16 seconds": ([16.0, chunk()], 1),
    "50 seconds": ([50.0, chunk()], 3),
    "twice 16 seconds": ([16.0, chunk(), 16.0, chunk()], 2),
    "comments of the upstream are no sign of life to the caller": (
        (*(10.0, b": wait\n\n") * 5, chunk()),
        3,
    ),
    "nor is half an event": ([10.0, b'data: {"choices"', 10.0, b": []}\n\n"], 1),
    "nor is usage that is not passed on": ([10.0, USAGE_CHUNK, 10.0, chunk()], 1),
}


@pytest.mark.parametrize(("steps", "pings"), PINGS.values(), ids=PINGS)
def test_after_the_first_event_every_15_seconds_of_silence_bring_a_ping(
    steps: Sequence[Step | Json], pings: int
) -> None:
    harness = GatewayHarness(streams(chunk(), *steps, USAGE_CHUNK, DONE))
    told = harness.chat(STREAM)
    assert told.lines.count(PING) == pings
    assert told.lines[0] != PING
    assert harness.record["ended"] == "complete"


def test_a_first_event_that_is_not_passed_on_brings_no_early_ping() -> None:
    harness = GatewayHarness(streams(USAGE_CHUNK, 14.0, chunk(), USAGE_CHUNK, DONE))
    assert PING not in harness.chat(STREAM).lines


def test_however_the_upstreams_bytes_are_cut_the_caller_gets_the_same() -> None:
    whole = event(chunk("Hel")) + event(chunk("lo")) + event(USAGE_CHUNK) + DONE
    pieces = {
        "whole": [whole],
        "single bytes": [whole[i : i + 1] for i in range(len(whole))],
        "in two": [whole[:200], whole[200:]],
    }
    told = {name: GatewayHarness(streams(*steps)).chat(STREAM) for name, steps in pieces.items()}
    assert [c["choices"][0]["delta"]["content"] for c in told["whole"].chunks] == ["Hel", "lo"]
    assert {each.body for each in told.values()} == {told["whole"].body}
    assert told["whole"].comment["cost_micro"] == USAGE_MICROS


def test_the_breaking_stream_is_not_tried_elsewhere_after_its_first_byte() -> None:
    harness = GatewayHarness(streams(chunk(), UpstreamFailed("cut")), GOOD_STREAM)
    harness.chat(STREAM)
    assert harness.upstream.rows == ["acme-one"]
    assert harness.event_log.fields("stream_failed") == [{"row": "acme-one", "outcome": "cut"}]


def test_an_empty_answer_is_an_answer_and_is_charged() -> None:
    harness = GatewayHarness(streams(b'data: {"choices": []}\n\n', USAGE_CHUNK, DONE))
    assert harness.chat(STREAM).comment["cost_micro"] == USAGE_MICROS


def test_nothing_after_done_reaches_the_caller() -> None:
    harness = GatewayHarness(
        streams(chunk(), event(USAGE_CHUNK) + DONE + event(chunk("late")), DONE)
    )
    told = harness.chat(make_body(model="acme-one", stream=True))
    assert b"late" not in told.body
    assert told.body.count(DONE) == 1
    assert harness.clock.time_s == NOW_S
