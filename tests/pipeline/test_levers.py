"""What the caller's own levers cause is charged by what was written, is tried nowhere else, and
never moves a row last for others. What no lever explains is its row's failure, and free.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from phigate.core.errors import InternalError, Overloaded, PhigateError, UpstreamFailed
from phigate.core.limits import BREAKER_FAILURES
from phigate.core.types import Json, Row
from tests.builders import make_body, make_price, make_row
from tests.fakes import Script, Step
from tests.pipeline.await_points import at, failing, watch
from tests.pipeline.gateway_harness import (
    DONE,
    USAGE_CHUNK,
    USAGE_MICROS,
    GatewayAnswer,
    GatewayHarness,
    answers,
    chunk,
    event,
    streams,
)

LONG = 32_768
ROWS = (
    make_row("acme-one", tokens_out_max=LONG),
    make_row("bolt-two", tokens_out_max=LONG, price=make_price(1_000_000, 2_000_000)),
)
CONFIDENTIAL = (make_row("acme-one", tokens_out_max=LONG, confidential=True), ROWS[1])
BURN: Json = make_body(model="acme-one", logprobs=True, top_logprobs=20, max_tokens=LONG)
PROMPT_MICROS = 2  # 20 bytes are 6 tokens at 0.24: 1.44


def entry(token: str = "abcdef") -> Json:
    return {"token": token, "logprob": -1.25, "bytes": list(token.encode())}


def token(alternatives: int = 20) -> Json:
    """One token's log probabilities."""
    return {**entry(), "top_logprobs": [entry()] * alternatives}


def told_of(text: str, tokens: int) -> Json:
    """A chunk with its log probabilities."""
    listed = {"content": [token() for _ in range(tokens)]}
    return chunk(choices=[{"index": 0, "delta": {"content": text}, "logprobs": listed}])


def whole(tokens: int) -> bytes:
    """An answer in one piece, cut where the limit is."""
    listed = [token() for _ in range(tokens)]
    message = {"role": "assistant", "content": "abc" * tokens}
    return json.dumps(
        {"choices": [{"index": 0, "message": message, "logprobs": {"content": listed}}]},
        separators=(",", ":"),
    ).encode()


def deep(levels: int) -> Script:
    """A call whose input nests, as this dialect has it: parsed."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    block = {"type": "tool_use", "id": "1", "name": "f", "input": {"a": value}}
    body = {"type": "message", "content": [block], "stop_reason": "tool_use", "usage": {}}
    return Script([json.dumps(body).encode()])


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER_DIALECT = (make_row("acme-one", dialect="anthropic"), ROWS[1])

# Whose answers they are, what is asked, what the row writes, and the least and most tokens of
# output that are charged.
CAUSED: dict[str, tuple[Sequence[Row], Json, Script, tuple[int, int]]] = {
    "json, a stream over 32 MB": (
        ROWS,
        BURN,
        streams(told_of("a" * 3_500, 10), UpstreamFailed("oversized")),
        (1_000, 1_000),
    ),
    "json, an event over 1 MB": (
        ROWS,
        BURN,
        streams(told_of("a" * 350, 10), event(told_of("b", 1_200))[:1_200_000]),
        (700, 1_300),
    ),
    "json, an event with more in it than can be read": (
        ROWS,
        BURN,
        streams(told_of("a" * 350, 10), told_of("b", 700)),
        (800, 820),
    ),
    "json in one piece, over its limit": (
        ROWS,
        BURN,
        Script([whole(2_000)]),
        (2_000, 2_001),
    ),
    "json of a confidential row": (
        CONFIDENTIAL,
        BURN,
        Script([whole(2_000)]),
        (2_000, 2_001),
    ),
    "stream, an event over 1 MB": (
        ROWS,
        {**BURN, "stream": True},
        streams(event(told_of("b", 1_200))[:1_200_000]),
        (600, 1_300),
    ),
    "an input that nests": (
        OTHER_DIALECT,
        make_body(model="acme-one", tools=[TOOL]),
        deep(300),
        (150, 220),
    ),
    "an input that holds half a character": (
        OTHER_DIALECT,
        make_body(model="acme-one", tools=[TOOL]),
        Script([b'{"type":"message","content":[{"type":"tool_use","input":{"a":"\\ud83d"}}]}']),
        (10, 40),
    ),
    "members that nobody here knows": (
        ROWS,
        make_body(model="acme-one", prompt_logprobs=20, max_tokens=10),
        Script([b"a" * 1_700_000]),
        (10, 10),
    ),
}


def call_of(
    rows: Sequence[Row], body: Json, script: Script
) -> tuple[GatewayHarness, GatewayAnswer]:
    harness = GatewayHarness(script, answers(), rows=rows)
    return harness, harness.chat(body)


@pytest.mark.parametrize(("rows", "body", "script", "tokens"), CAUSED.values(), ids=CAUSED)
def test_what_the_callers_levers_cause_is_charged_and_tried_nowhere_else(
    rows: Sequence[Row], body: Json, script: Script, tokens: tuple[int, int]
) -> None:
    harness, told = call_of(rows, body, script)
    assert (told.status, told.error["code"]) == (502, "upstream_error")
    assert harness.upstream.rows == ["acme-one"]
    spent = harness.account()["spent"]
    assert told.headers["x-should-retry"] == "false"
    assert told.headers["x-phi-cost-micro"] == str(spent)
    assert told.headers["x-phi-receipt"] == harness.record["id"]
    used = harness.record["usage"]
    assert tokens[0] <= used["out"] <= tokens[1]
    assert used["source"] == "estimated"
    assert spent == harness.record["cost"]["charged"] <= harness.record["cost"]["held"]
    assert spent > PROMPT_MICROS
    assert harness.attempts[0][2] in ("oversized", "unreadable")
    assert harness.account()["held"] == 0
    assert harness.event_log.fields("attempt_failed") == []
    assert [exchange.closed for exchange in harness.upstream.exchanges] == [1]


@pytest.mark.parametrize(("rows", "body", "script", "tokens"), CAUSED.values(), ids=CAUSED)
def test_it_never_moves_a_row_last_for_others(
    rows: Sequence[Row], body: Json, script: Script, tokens: tuple[int, int]
) -> None:
    harness = GatewayHarness(rows=rows)
    for _ in range(BREAKER_FAILURES + 1):
        harness.plays(script)
        harness.chat(body)
    assert harness.event_log.fields("breaker_opened") == []
    assert harness.gateway.breaker.open_rows(["acme-one"], harness.clock.time_s) == frozenset()


def test_the_three_requests_of_the_finding_are_charged() -> None:
    """Some 1.7 KB a token until the stream is over its limit: 19,000 of 32,768 tokens."""
    text = "abc " * 19_000
    burnt = streams(told_of(text, 1), UpstreamFailed("oversized"))
    harness = GatewayHarness(rows=ROWS, credit_micros=10_000_000)
    for _ in range(3):
        harness.plays(burnt)
        assert harness.chat(BURN).status == 502
        assert harness.upstream.rows == ["acme-one"]
    assert harness.account()["spent"] >= 3 * 19_000 * 480_000 // 1_000_000


STREAM_TAILS: dict[str, Sequence[Step | Json]] = {
    "an event over 1 MB": [event(told_of("b", 1_200))[:1_200_000]],
    "a stream over 32 MB": [UpstreamFailed("oversized")],
}


@pytest.mark.parametrize("steps", STREAM_TAILS.values(), ids=STREAM_TAILS)
def test_in_a_stream_that_has_begun_it_ends_in_band_and_feeds_no_breaker(
    steps: Sequence[Step | Json],
) -> None:
    harness = GatewayHarness(streams(chunk("Hello"), *steps), rows=ROWS)
    told = harness.chat({**BURN, "stream": True})
    assert told.chunks[-1]["error"]["code"] == "upstream_error"
    assert told.comment["cost_micro"] == harness.account()["spent"] > PROMPT_MICROS
    assert harness.event_log.fields("stream_failed") == []
    assert harness.record["ended"] == "upstream_cut"


# What no lever explains.
ROWS_FAULT: dict[str, tuple[Json, Script]] = {
    "a short answer over the limit": (
        make_body(model="acme-one", max_tokens=100),
        Script([b"a" * 1_600_000]),
    ),
    "a short stream over 32 MB": (
        make_body(model="acme-one", max_tokens=100, logprobs=True),
        streams(chunk(), UpstreamFailed("oversized")),
    ),
    "a short event over 1 MB": (
        make_body(model="acme-one", max_tokens=100, logprobs=True),
        streams(b"data: " + b"a" * 1_100_000),
    ),
    "nesting that nobody asked for": (
        make_body(model="acme-one"),
        answers(a=json.loads("[" * 70 + "]" * 70)),
    ),
    "an error in a 200, beside a member that nobody here knows": (
        make_body(model="acme-one", prompt_logprobs=20),
        Script([b'{"error": {"message": "busy", "code": 429}}']),
    ),
    "no JSON, beside a member that nobody here knows": (
        make_body(model="acme-one", prompt_logprobs=20),
        Script([b"<html>We are busy.</html>"]),
    ),
    "nothing, beside a member that nobody here knows": (
        make_body(model="acme-one", prompt_logprobs=20),
        Script([b""]),
    ),
    "100,001 lists": (
        make_body(model="acme-one", tools=[TOOL]),
        Script([b'{"choices": [' + b"[]," * 100_001 + b"[]]}"]),
    ),
}


@pytest.mark.parametrize(("body", "script"), ROWS_FAULT.values(), ids=ROWS_FAULT)
def test_what_no_lever_explains_is_the_rows_failure_and_free(body: Json, script: Script) -> None:
    good = streams(chunk(), USAGE_CHUNK, DONE) if body.get("logprobs") else answers()
    harness = GatewayHarness(script, good, rows=ROWS)
    told = harness.chat(body)
    assert told.status == 200
    assert harness.upstream.rows == ["acme-one", "bolt-two"]
    assert harness.account()["spent"] == 20
    assert len(harness.event_log.fields("attempt_failed")) == 1


def test_an_error_that_echoes_a_large_request_is_a_400_and_no_failure_of_the_row() -> None:
    harness = GatewayHarness(
        Script([b'{"error": {"message": "' + b"a" * 5_000_000], status=422), rows=ROWS
    )
    told = harness.chat(make_body(model="acme-one"))
    assert (told.status, told.error["code"]) == (400, "invalid_request")
    assert harness.event_log.fields("attempt_failed") == []


def test_in_a_later_turn_all_turns_are_charged() -> None:
    named = {"name": "gateway_datetime", "arguments": "{}"}
    called = {"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "1", "function": named}]}}
    harness = GatewayHarness(
        streams(chunk(choices=[called]), USAGE_CHUNK, DONE),
        streams(told_of("a" * 350, 1), UpstreamFailed("oversized")),
        rows=ROWS,
    )
    told = harness.chat({**BURN, "tools": [{"type": "gateway:datetime"}]})
    assert told.status == 502
    assert [turn[2] for turn in harness.record["turns"]] == [5, 100]
    assert told.headers["x-phi-cost-micro"] == str(harness.account()["spent"])


def test_in_math_it_is_charged_too() -> None:
    harness = GatewayHarness(streams(told_of("a" * 350, 1), UpstreamFailed("oversized")), rows=ROWS)
    told = harness.chat(BURN, task="math")
    assert (told.status, told.headers["x-should-retry"]) == (502, "false")
    assert harness.record["usage"]["out"] == 100


# A charged answer of which the receipt is in doubt: the error, and when it strikes.
DOUBTS = {
    "overloaded": Overloaded("The account store did not answer in time."),
    "not accepted": InternalError("The account store did not accept it."),
}


@pytest.mark.parametrize("kind", ["an answer", "an answer too large", "a later turn that fails"])
@pytest.mark.parametrize("error", DOUBTS.values(), ids=DOUBTS)
def test_what_may_be_charged_without_an_answer_says_so(error: PhigateError, kind: str) -> None:
    named = {"name": "gateway_datetime", "arguments": "{}"}
    call = {"id": "1", "type": "function", "function": named}
    message = {"role": "assistant", "tool_calls": [call]}
    calls = answers(choices=[{"index": 0, "message": message}])
    short = make_body(model="acme-one", max_tokens=100, tools=[{"type": "gateway:datetime"}])
    scripts, body = {
        "an answer": ((answers(),), make_body(model="acme-one")),
        "an answer too large": ((Script([whole(2_000)]),), BURN),
        "a later turn that fails": ((calls, *[Script(status=500)] * 3), short),
    }[kind]
    harness = GatewayHarness(*scripts, rows=ROWS)
    watch(harness, failing("after ledger.put_receipt", lambda: error))
    told = harness.chat(body)
    assert told.status >= 500
    harness.sweep()
    spent = harness.account()["spent"]
    assert spent >= USAGE_MICROS
    assert told.headers["x-should-retry"] == "false"
    assert told.headers["x-phi-cost-micro"] == str(spent)
    assert told.headers["x-phi-receipt"] in harness.receipts()


def test_a_bug_behind_the_charge_says_what_it_cost() -> None:
    harness = GatewayHarness(answers())

    def bug() -> None:
        raise RuntimeError("a bug")

    watch(harness, at("after ledger.put_receipt", bug))
    with pytest.raises(InternalError) as raised:
        harness.chat(make_body(model="acme-one"))
    harness.sweep()
    assert raised.value.headers["x-should-retry"] == "false"
    assert raised.value.headers["x-phi-cost-micro"] == str(harness.account()["spent"])
