"""A caller who hangs up: the upstream is drained for half a minute, the charge is never free."""

from collections.abc import Sequence

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.types import Json
from tests.builders import NOW_S
from tests.fakes import Script, Step
from tests.pipeline.await_points import at, watch
from tests.pipeline.gateway_harness import (
    DONE,
    PLAIN,
    ROWS,
    STREAM,
    USAGE_CHUNK,
    USAGE_MICROS,
    GatewayHarness,
    answers,
    chunk,
    event,
    fails,
    streams,
)

(ANSWER,) = answers().body
PROMPT_MICROS = 2  # 20 bytes are 6 tokens, at 0.24: 1.44
HI_MICROS = 2  # and 2 bytes of output are 1 token, at 0.48: 1.92

# Nothing of a JSON answer is seen: 6 tokens in, 30 s at 200 a second: 2881.44.
UNSEEN_MICROS = 2_882

Steps = Sequence[Step | Json]


def story(harness: GatewayHarness, body: Json, before: Steps, steps: Steps) -> None:
    """SandboxScript the steps, in which the text "gone" is the moment of the hang-up."""
    script = streams(*(harness.hang_up if step == b"gone" else step for step in steps))
    heads = [harness.hang_up if step == b"gone" else step for step in before]
    harness.plays(Script(script.body, before=[h for h in heads if not isinstance(h, dict)]))
    harness.chat_gone(body)


EXACT: dict[str, tuple[Json, Steps, Steps]] = {
    "json, before the head": (PLAIN, [b"gone", 20.0], [5.0, ANSWER]),
    "json, in the body": (PLAIN, [], [b"gone", 29.0, ANSWER]),
    "json, with the answer": (PLAIN, [], [ANSWER, b"gone"]),
    "stream, before the head": (STREAM, [b"gone", 20.0], [chunk(), USAGE_CHUNK, DONE]),
    "stream, before the first event": (STREAM, [], [b"gone", 29.0, chunk(), USAGE_CHUNK, DONE]),
    "stream, in the middle": (STREAM, [], [chunk(), b"gone", 29.0, USAGE_CHUNK, DONE]),
    "stream, in the middle of a silence": (
        STREAM,
        [],
        [chunk(), 7.0, b"gone", 29.0, USAGE_CHUNK, DONE],
    ),
    "stream, at its end": (STREAM, [], [chunk(), USAGE_CHUNK, b"gone", DONE]),
}


@pytest.mark.parametrize(("body", "before", "steps"), EXACT.values(), ids=EXACT)
def test_an_upstream_that_ends_within_half_a_minute_is_charged_exactly(
    body: Json, before: Steps, steps: Steps
) -> None:
    harness = GatewayHarness()
    story(harness, body, before, steps)
    assert harness.log[1:] == [("receipt", USAGE_MICROS, "done"), ("settle", USAGE_MICROS)]
    assert harness.record["ended"] == "hang_up"
    assert harness.record["usage"]["source"] == "verified"
    assert [exchange.closed for exchange in harness.upstream.exchanges] == [1]


ESTIMATED: dict[str, tuple[Json, Steps, Steps, int]] = {
    "json, no head": (PLAIN, [b"gone", 31.0], [ANSWER], UNSEEN_MICROS),
    "json, no end": (PLAIN, [], [b"gone", 31.0, ANSWER], UNSEEN_MICROS),
    "json, an endless body": (PLAIN, [], (b"gone", *(1.0, b"{") * 60), UNSEEN_MICROS),
    "stream, no head": (STREAM, [b"gone", 31.0], [chunk(), DONE], PROMPT_MICROS),
    "stream, no first event": (STREAM, [], [b"gone", 31.0, chunk(), DONE], PROMPT_MICROS),
    "stream, no usage": (STREAM, [], [chunk(), b"gone", 31.0, USAGE_CHUNK, DONE], HI_MICROS),
    "stream, no end": (STREAM, [], (chunk(), b"gone", *(1.0, event(chunk(""))) * 60), HI_MICROS),
    "stream, ended without usage": (STREAM, [], [chunk(), b"gone", DONE], HI_MICROS),
}


@pytest.mark.parametrize(("body", "before", "steps", "micros"), ESTIMATED.values(), ids=ESTIMATED)
def test_an_upstream_that_does_not_end_in_time_is_charged_by_estimate(
    body: Json, before: Steps, steps: Steps, micros: int
) -> None:
    harness = GatewayHarness()
    story(harness, body, before, steps)
    assert harness.log[1:] == [("receipt", micros, "done"), ("settle", micros)]
    assert harness.record["ended"] == "hang_up"
    assert harness.record["usage"]["source"] == "estimated"
    assert harness.record["row"] == "acme-one"
    assert harness.clock.time_s <= NOW_S + 30
    assert [exchange.closed for exchange in harness.upstream.exchanges] == [1]


def test_what_is_written_while_nobody_listens_counts_as_output() -> None:
    harness = GatewayHarness()
    story(harness, STREAM, [], [chunk("a" * 35), b"gone", chunk("b" * 35), 31.0])
    assert harness.record["usage"]["bytes_out"] == 70
    assert b"b" * 35 not in b"".join(harness.out.writes)
    assert harness.record["usage"]["out"] == 20


@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["json", "stream"])
def test_for_a_caller_who_has_gone_a_failure_is_the_end_and_free(body: Json) -> None:
    harness = GatewayHarness()
    story(harness, body, [b"gone", UpstreamFailed("connect")], [])
    assert harness.upstream.rows == ["acme-one"]
    assert harness.account() == {"avail": 1_000_000, "held": 0, "spent": 0, "top": 1_000_000}
    assert harness.attempts == [["acme-one", "CH", "connect", 0]]


def test_a_caller_who_goes_during_the_pause_is_not_called_for_again() -> None:
    harness = GatewayHarness(fails(500), answers(), rows=ROWS[:1])
    watch(harness, at("after clock.back_off", harness.hang_up))
    harness.chat_gone(PLAIN)
    assert harness.upstream.rows == ["acme-one"]
    assert harness.account()["held"] == 0


@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["json", "stream"])
def test_for_a_caller_who_goes_before_anybody_was_called_nobody_is_and_it_is_free(
    body: Json,
) -> None:
    harness = GatewayHarness()
    watch(harness, at("after ledger.hold", harness.hang_up))
    harness.chat_gone(body)
    assert harness.upstream.requests == []
    assert harness.log[1:] == [("receipt", 0, "done"), ("settle", 0)]
    assert harness.record["ended"] == "hang_up"


def test_a_hang_up_leaves_a_line_for_the_operator() -> None:
    harness = GatewayHarness()
    story(harness, STREAM, [b"gone", 31.0], [])
    (line,) = harness.event_log.fields("abandoned")
    assert line["cost_micros"] == PROMPT_MICROS
