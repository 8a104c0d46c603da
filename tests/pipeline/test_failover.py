"""Attempts: who is tried when another fails, what the gate says in between, what is told of it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from phigate.core.errors import NotSent, UpstreamFailed
from phigate.core.limits import CATALOG_PHI_AGE_MAX_S
from phigate.core.types import Json, Row
from phigate.core.upstream import UpstreamRequest
from phigate.pipeline.gateway import Stack
from tests.builders import NOW_S, make_agreement, make_body, make_price, make_row
from tests.fakes import FakeExchange, FakeUpstream, Script
from tests.pipeline.await_points import at, watch
from tests.pipeline.gateway_harness import (
    DONE,
    GOOD_STREAM,
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

BODIES = {"json": PLAIN, "stream": STREAM}
ONE = (make_row("acme-one"),)


def good(body: Json) -> Script:
    return GOOD_STREAM if body.get("stream") else answers()


def broken(outcome: str) -> Script:
    return Script(before=[UpstreamFailed(outcome)])


# What may happen at either kind of call, and the outcome in the attempts.
FAILURES: dict[str, tuple[Script, str]] = {
    "no connection": (broken("connect"), "connect"),
    "a redirect": (broken("redirect"), "redirect"),
    "an oversized head": (broken("oversized"), "oversized"),
    "the operator's key is refused": (fails(401), "http_401"),
    "the operator has not paid": (fails(402), "http_402"),
    "the operator may not": (fails(403), "http_403"),
    "the model has gone": (fails(404), "http_404"),
    "request timeout": (fails(408), "http_408"),
    "conflict": (fails(409), "http_409"),
    "too many requests": (fails(429), "http_429"),
    "internal error": (fails(500), "http_500"),
    "bad gateway": (fails(502), "http_502"),
    "unavailable": (fails(503), "http_503"),
    "overloaded": (fails(529), "http_529"),
    "a status without an answer": (fails(204), "http_204"),
    "a redirect that was read": (fails(302), "http_302"),
    "cut in an error's body": (
        Script([b'{"err', UpstreamFailed("cut")], status=500),
        "cut",
    ),
}
FAILURES_OF_JSON: dict[str, tuple[Script, str]] = {
    "malformed": (Script([b'{"choices": [']), "malformed"),
    "no object": (Script([b"[]"]), "malformed"),
    "an empty body": (Script([]), "malformed"),
    "no choices": (Script([b'{"id": "a"}']), "malformed"),
    "choices of no objects": (Script([b'{"choices": [1]}']), "malformed"),
    "a choice without a message": (Script([b'{"choices": [{"index": 0}]}']), "malformed"),
    "an error with status 200": (answers(error={"message": "no"}), "malformed"),
    "not UTF-8": (Script([b'{"choices": [], "a": "\xff"}']), "malformed"),
    "a lone surrogate": (Script([b'{"choices": [], "a": "\\ud800"}']), "malformed"),
    "nested too deep to be written out": (
        Script([b'{"choices": [], "a": ' + b"[" * 300 + b"]" * 300 + b"}"]),
        "malformed",
    ),
    "nested too deep to be counted": (
        answers(content=json.loads("[" * 900 + "]" * 900)),
        "malformed",
    ),
    "oversized": (Script([b"{", UpstreamFailed("oversized")]), "oversized"),
    "cut": (Script([b"{", UpstreamFailed("cut")]), "cut"),
    "an event stream": (GOOD_STREAM, "malformed"),
}
FAILURES_OF_STREAMS: dict[str, tuple[Script, str]] = {
    "the first event is an error": (
        streams(b': ok\n\ndata: {"error": {"message": "no", "code": 500}}\n\n', DONE),
        "error_event",
    ),
    "ends before its first event": (streams(b": ok\n\n"), "cut"),
    "ends inside its first event": (streams(b'data: {"choices": []}\n'), "cut"),
    "done before its first event": (streams(DONE), "empty"),
    "garbage": (streams(b"data: garbage\n\n"), "malformed"),
    "an event that is no chunk": (streams(b'data: {"a": 1}\n\n'), "malformed"),
    "choices of no objects": (streams(b'data: {"choices": ["a"], "usage": {}}\n\n'), "malformed"),
    "choices that are text": (streams(b'data: {"choices": "abc", "usage": {}}\n\n'), "malformed"),
    "an oversized event": (streams(b"data: " + b"a" * 1_100_000), "oversized"),
    "cut": (streams(UpstreamFailed("cut")), "cut"),
    "JSON instead of a stream": (answers(), "cut"),
}
CASES = [
    pytest.param(body, script, outcome, id=f"{kind}: {name}")
    for kind, body, table in (
        ("json", PLAIN, FAILURES | FAILURES_OF_JSON),
        ("stream", STREAM, FAILURES | FAILURES_OF_STREAMS),
    )
    for name, (script, outcome) in table.items()
]


@pytest.mark.parametrize(("body", "script", "outcome"), CASES)
def test_the_next_candidate_answers(body: Json, script: Script, outcome: str) -> None:
    harness = GatewayHarness(script, good(body))
    told = harness.chat(body)
    assert told.status == 200
    assert harness.upstream.rows == ["acme-one", "bolt-two"]
    assert told.headers["x-phi-routed"] == "bolt-two/CH/general"
    assert told.headers["x-phi-fallback"] == "upstream_failed"
    assert told.headers["x-phi-attempts"] == "2"
    assert harness.attempts == [
        ["acme-one", "CH", outcome, 0],
        ["bolt-two", "CH", "ok", 0],
    ]
    assert harness.record["row"] == "bolt-two"
    assert [exchange.closed for exchange in harness.upstream.exchanges] == [1, 1]
    # One charge, at the price of the row that answered: 10 at 1.00 and 5 at 2.00.
    assert [line for line in harness.log if line[0] != "hold"] == [
        ("receipt", 20, "done"),
        ("settle", 20),
    ]
    operators = [
        fields["outcome"] for fields in harness.event_log.fields("provider_refuses_operator")
    ]
    assert operators == [outcome] * (outcome in {"http_401", "http_402", "http_403", "http_404"})
    assert harness.refused_keys == ["acme"] * (outcome in {"http_401", "http_403"})


class WithoutKey(FakeUpstream):
    """An upstream whose key of acme has gone since the route was decided."""

    def open(self, request: UpstreamRequest) -> FakeExchange:
        """See Upstream."""
        if request.row.provider == "acme":
            raise UpstreamFailed("http_401")
        return super().open(request)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_key_that_has_gone_since_the_route_fails_its_attempt_alone(body: Json) -> None:
    harness = GatewayHarness()
    harness.use(upstream=WithoutKey(harness.clock, [good(body)]))
    told = harness.chat(body)
    assert (told.status, told.headers["x-phi-routed"]) == (200, "bolt-two/CH/general")
    assert harness.attempts == [["acme-one", "CH", "http_401", 0], ["bolt-two", "CH", "ok", 0]]
    assert harness.refused_keys == ["acme"]
    assert harness.event_log.fields("bug") == []


@pytest.mark.parametrize(("body", "script", "outcome"), CASES)
def test_when_every_candidate_fails_it_costs_nothing_and_every_attempt_is_told(
    body: Json, script: Script, outcome: str
) -> None:
    harness = GatewayHarness(script, script, script)
    told = harness.chat(body)
    assert told.status == 502
    assert told.error["code"] == "upstream_error"
    assert told.error["attempts"] == [
        {"row": row.id, "region": "CH", "outcome": outcome, "ms": 0} for row in ROWS
    ]
    assert told.headers["x-phi-attempts"] == "3"
    assert harness.log[1:] == [("receipt", 0, "done"), ("settle", 0)]
    assert harness.account()["spent"] == 0
    assert harness.record["verdict"] == "upstream_error"
    assert harness.attempts == [[row.id, "CH", outcome, 0] for row in ROWS]
    assert "cost" not in harness.record


SILENCES: dict[str, tuple[Json, Script, int]] = {
    "json, no head": (PLAIN, Script(before=[1_000.0]), 280),
    "json, no body": (PLAIN, Script([1_000.0]), 280),
    "stream, no head": (STREAM, Script(before=[1_000.0]), 120),
    "stream, no first event": (STREAM, streams(1_000.0), 120),
    "stream, comments only": (STREAM, streams(*(b": wait\n\n", 10.0) * 30), 120),
}


@pytest.mark.parametrize(("body", "script", "limit_s"), SILENCES.values(), ids=SILENCES)
def test_a_silent_upstream_is_given_up_after_its_time_and_never_pinged_over(
    body: Json, script: Script, limit_s: int
) -> None:
    harness = GatewayHarness(*[script] * 3)
    told = harness.chat(body)
    assert told.status == 504
    assert told.error["code"] == "upstream_timeout"
    assert {attempt["outcome"] for attempt in told.error["attempts"]} == {"timeout"}
    assert {attempt["ms"] for attempt in told.error["attempts"]} == {limit_s * 1000}
    # A JSON attempt takes the whole time; a stream leaves time for the others.
    assert harness.upstream.rows == [row.id for row in ROWS][: 3 if body is STREAM else 1]
    assert len(harness.out.writes) == 1
    assert harness.account()["spent"] == 0
    assert {exchange.closed for exchange in harness.upstream.exchanges} == {1}


def test_a_stream_that_is_late_with_its_first_event_hands_over_before_a_byte_has_gone() -> None:
    harness = GatewayHarness(streams(119.0, b": wait\n\n", 2.0, chunk()), GOOD_STREAM)
    told = harness.chat(STREAM)
    assert harness.record["attempts"] == [
        ["acme-one", "CH", "timeout", 120_000, 0],
        ["bolt-two", "CH", "ok", 0, 120_000],
    ]
    assert b"ping" not in told.body
    assert told.headers["x-phi-routed"] == "bolt-two/CH/general"


def test_nothing_is_sent_before_the_first_event_is_whole_and_no_error() -> None:
    harness = GatewayHarness()
    begun: list[int] = []

    def look() -> None:
        begun.append(len(harness.out.starts) + len(harness.out.writes))

    whole = event(chunk())
    harness.plays(
        streams(look, whole[:10], 20.0, look, whole[10:-1], look, whole[-1:], look, DONE),
    )
    harness.chat(STREAM)
    assert begun == [0, 0, 0, 2]


def test_a_list_of_one_row_is_tried_twice_with_a_pause() -> None:
    harness = GatewayHarness(fails(503), answers(), rows=ONE)
    told = harness.chat(PLAIN)
    assert harness.upstream.rows == ["acme-one", "acme-one"]
    assert harness.clock.time_s == NOW_S + 0.25
    assert told.headers["x-phi-attempts"] == "1", "one row, asked twice"
    assert "x-phi-fallback" not in told.headers


def test_a_list_of_one_row_is_tried_no_third_time() -> None:
    harness = GatewayHarness(fails(503), fails(503), rows=ONE)
    assert harness.chat(PLAIN).status == 502
    assert harness.upstream.rows == ["acme-one", "acme-one"]


def test_at_most_four_attempts_are_made() -> None:
    rows = [make_row(f"row{i}-x") for i in range(6)]
    harness = GatewayHarness(*[fails(500)] * 6, rows=rows)
    told = harness.chat(make_body(model="row3-x"))
    assert harness.upstream.rows == ["row3-x", "row0-x", "row1-x", "row2-x"]
    assert len(told.error["attempts"]) == 4


def test_fallbacks_that_were_forbidden_are_not_made() -> None:
    harness = GatewayHarness(fails(500), fails(500))
    told = harness.chat({**PLAIN, "provider": {"allow_fallbacks": False}})
    assert told.status == 502
    assert harness.upstream.rows == ["acme-one", "acme-one"]
    assert harness.record["rejected"] == {"model": ["bolt-two", "cove-three"]}


def test_mixed_failures_are_an_upstream_error_and_late_ones_a_timeout() -> None:
    mixed = GatewayHarness(Script(before=[130.0]), fails(500), fails(500))
    assert mixed.chat(STREAM).error["code"] == "upstream_error"
    late = GatewayHarness(fails(500), Script(before=[300.0]), fails(500))
    assert late.chat(PLAIN).error["code"] == "upstream_timeout"


REFUSED_BY_PROVIDER: dict[str, tuple[int, Any, str, str | None]] = {
    "with its param": (
        400,
        {"error": {"message": "temperature is odd", "param": "temperature"}},
        "temperature is odd",
        "temperature",
    ),
    "with text alone": (422, {"error": "bad things"}, "bad things", None),
    "without a reason": (400, {}, "no reason given", None),
    "too large for it": (413, {"detail": "too large"}, "too large", None),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    ("status", "answer", "message", "param"), REFUSED_BY_PROVIDER.values(), ids=REFUSED_BY_PROVIDER
)
def test_an_upstreams_400_is_the_callers_and_is_not_retried(
    status: int, answer: Any, message: str, param: str | None, body: Json
) -> None:
    refused = Script([json.dumps(answer).encode()], status=status)
    harness = GatewayHarness(refused)
    told = harness.chat(body)
    assert told.status == 400
    assert told.error["code"] == "invalid_request"
    assert told.error["message"] == f"The provider refused the request: {message}"
    assert told.error["param"] == param
    assert harness.upstream.rows == ["acme-one"]
    assert harness.account()["spent"] == 0
    assert harness.attempts == [["acme-one", "CH", "refused", 0]]
    assert harness.event_log.fields("attempt_failed") == []


def test_an_integer_that_no_provider_reads_is_the_callers_and_calls_nobody() -> None:
    harness = GatewayHarness()
    told = harness.chat({**PLAIN, "budget": 2**64})
    assert told.status == 400
    assert harness.upstream.requests == []
    assert harness.account()["spent"] == 0


def test_an_agreement_that_ends_between_two_attempts_ends_the_rows_part() -> None:
    rows = (
        make_row("acme-one"),
        make_row("bolt-two", agreement=make_agreement(expires_at_s=int(NOW_S) + 5)),
        make_row("cove-three"),
    )
    harness = GatewayHarness(Script(before=[5.0], status=500), answers(), rows=rows)
    told = harness.phi(model="acme-one")
    assert harness.upstream.rows == ["acme-one", "cove-three"]
    assert told.status == 200
    assert told.headers["x-phi-attempts"] == "2"


def test_when_no_agreement_is_left_after_a_failure_the_failure_is_told() -> None:
    ends = make_agreement(expires_at_s=int(NOW_S) + 5)
    rows = (make_row("acme-one", agreement=ends), make_row("bolt-two", agreement=ends))
    harness = GatewayHarness(Script(before=[5.0], status=500), rows=rows)
    told = harness.phi(model="acme-one")
    assert told.error["code"] == "upstream_error"
    assert harness.upstream.rows == ["acme-one"]


def test_an_agreement_that_ends_before_the_pause_is_over_forbids_the_second_try() -> None:
    row = make_row(agreement=make_agreement(expires_at_s=int(NOW_S) + 1))
    harness = GatewayHarness(Script(before=[0.9], status=500), rows=(row,))
    assert harness.phi().error["code"] == "upstream_error"
    assert len(harness.upstream.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_catalog_that_grows_stale_between_two_attempts_serves_no_more_phi(stream: bool) -> None:
    harness = GatewayHarness()
    harness.pass_time(CATALOG_PHI_AGE_MAX_S - 5)
    harness.plays(Script(before=[6.0], status=500))
    told = harness.phi(model="acme-one", stream=stream)
    assert told.error["code"] == "upstream_error"
    assert harness.upstream.rows == ["acme-one"]
    assert harness.phi().error["code"] == "phi_blocked"
    assert harness.upstream.rows == ["acme-one"]
    harness.plays(answers())
    assert harness.chat(PLAIN).status == 200


@pytest.mark.parametrize(("images", "code"), [(False, "phi_blocked"), (True, "no_route")])
def test_when_every_agreement_ends_while_the_hold_is_written_nobody_is_called(
    images: bool, code: str
) -> None:
    ends: Row = make_row(agreement=make_agreement(expires_at_s=int(NOW_S) + 1))
    harness = GatewayHarness(rows=(ends,))
    watch(harness, at("before ledger.hold", lambda: harness.pass_time(2)))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    told = harness.phi(messages=[{"role": "user", "content": [image] if images else "Hello"}])
    assert told.error["code"] == code
    assert harness.upstream.requests == []
    assert harness.account()["spent"] == 0


def test_a_deadline_that_passes_while_the_hold_is_written_is_a_timeout() -> None:
    harness = GatewayHarness()
    watch(harness, at("before ledger.hold", lambda: harness.pass_time(2)))
    harness.use(stack=Stack("stack-1", "CH", ("CH",), json_timeout_s=1.0))
    told = harness.chat(PLAIN)
    assert told.error["code"] == "upstream_timeout"
    assert harness.upstream.requests == []


def test_a_row_that_fails_five_times_is_tried_last_for_half_a_minute() -> None:
    harness = GatewayHarness()
    for _ in range(5):
        harness.plays(fails(500), answers())
        harness.chat(PLAIN)
        assert harness.upstream.rows == ["acme-one", "bolt-two"]
    harness.plays(answers())
    told = harness.chat(PLAIN)
    assert harness.upstream.rows == ["bolt-two"]
    assert told.headers["x-phi-fallback"] == "upstream_failed"
    harness.plays(fails(500), fails(500), answers())
    harness.chat(PLAIN)
    assert harness.upstream.rows == ["bolt-two", "cove-three", "acme-one"]
    assert harness.account()["spent"] > 6 * USAGE_MICROS


def test_a_row_that_cuts_its_streams_is_tried_last_although_they_began_well() -> None:
    harness = GatewayHarness()
    for _ in range(5):
        harness.plays(streams(chunk(), UpstreamFailed("cut")))
        harness.chat(STREAM)
        assert harness.upstream.rows == ["acme-one"]
    harness.plays(streams(chunk(), USAGE_CHUNK, DONE))
    harness.chat(STREAM)
    assert harness.upstream.rows == ["bolt-two"]


def test_after_its_time_one_call_tries_the_row_again() -> None:
    harness = GatewayHarness()
    for _ in range(5):
        harness.plays(fails(500), answers())
        harness.chat(PLAIN)
    harness.pass_time(31)
    for rows in (["acme-one"], ["acme-one"]):
        harness.plays(answers())
        harness.chat(PLAIN)
        assert harness.upstream.rows == rows


def test_the_upstreams_answer_is_only_its_body() -> None:
    harness = GatewayHarness(streams(chunk(), USAGE_CHUNK, DONE))
    assert set(harness.chat(STREAM).headers) == {
        "content-type",
        "x-request-id",
        "x-phi-receipt",
        "x-phi-routed",
        "x-phi-tier",
        "x-phi-attempts",
        "x-phi-max-tokens",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    }


# A function's name that Anthropic's dialect has no place for.
ODD_NAME: Json = {
    "tools": [{"type": "function", "function": {"name": "calendar.read", "parameters": {}}}]
}
SEED = {"seed": 9_223_372_036_854_776_000, "provider": {"require_parameters": True}}
CLAUDE = make_row("claude-one", dialect="anthropic", price=make_price(1_000_000, 2_000_000))
GONE = Script(before=[NotSent("no_key")])

# The rows, the request's members, the scripts, and how many rows were sent a request.
SENT: dict[str, tuple[Sequence[Row], Json, Sequence[Script], int]] = {
    "the first answers": (ROWS, {}, [answers()], 1),
    "the third answers": (ROWS, {}, [fails(503), fails(503), answers()], 3),
    "none answers": (ROWS, {}, [fails(503)] * 3, 3),
    "one row is asked twice": (ONE, {}, [fails(503), answers()], 1),
    "one row fails twice": (ONE, {}, [fails(503)] * 2, 1),
    "a provider refuses": (ROWS, {}, [fails(400)], 1),
    "the adapter refuses": ((CLAUDE,), ODD_NAME, [], 0),
    "no row's key is there": (ROWS, {}, [GONE] * 3, 0),
    "one row's key is not there": (ROWS, {}, [GONE, answers()], 1),
    "a key is gone at the second try": (ONE, {}, [fails(503), GONE], 1),
    "the first cannot be connected to": (
        ROWS,
        {},
        [Script(before=[UpstreamFailed("connect")]), answers()],
        2,
    ),
    "every adapter would drop a member": (ROWS, SEED, [], 0),
    "a fallback cannot take the tool": (
        (ROWS[0], CLAUDE, ROWS[2]),
        ODD_NAME,
        [fails(503), answers()],
        2,
    ),
    "no row is left": ((make_row("acme-one", status="staged"),), {}, [], 0),
    "an integer that no provider reads": (ROWS, {"unknown": 2**70}, [], 0),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", SENT)
def test_the_attempts_told_are_the_rows_that_were_sent_a_request(name: str, stream: bool) -> None:
    rows, members, scripts, count = SENT[name]
    if stream:
        scripts = [
            streams(chunk(), USAGE_CHUNK, DONE) if script.status == 200 and script.body else script
            for script in scripts
        ]
    harness = GatewayHarness(*scripts, rows=rows)
    told = harness.chat({**PLAIN, **members, "model": rows[0].id, "stream": stream})
    assert told.headers["x-phi-attempts"] == str(count)
    # The list keeps every attempt, those of which nothing was sent too.
    tried = {attempt[0] for attempt in harness.attempts}
    assert len(tried) == (0 if name == "no row is left" else max(count, len(tried)))


def test_of_several_turns_the_one_with_most_rows_is_told() -> None:
    function = {"name": "gateway_datetime", "arguments": "{}"}
    call = {"id": "call-1", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    calls = answers(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    asks = {**PLAIN, "tools": [{"type": "gateway:datetime"}]}
    for scripts in ([fails(503), calls, answers()], [calls, fails(503), answers()]):
        harness = GatewayHarness(*scripts)
        assert harness.chat(asks).headers["x-phi-attempts"] == "2"
        assert len(harness.attempts) == 3


def test_require_parameters_passes_a_row_by_whose_adapter_would_drop_one() -> None:
    body = {**PLAIN, "provider": {"require_parameters": True}, "seed": 9_223_372_036_854_776_000}
    harness = GatewayHarness(answers())
    told = harness.chat(body)
    assert harness.upstream.requests == []
    assert told.error["code"] in ("no_route", "upstream_error")
    assert harness.account()["spent"] == 0


@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["json", "stream"])
def test_a_row_without_its_key_is_passed_by_and_no_provider_is_said_to_have_failed(
    body: Json,
) -> None:
    harness = GatewayHarness(Script(before=(NotSent("no_key"),)), good(body))
    told = harness.chat(body)
    assert told.status == 200
    assert [attempt[2] for attempt in harness.attempts] == ["no_key", "ok"]
    told_of = {event for event, _ in harness.event_log.notes}
    assert not told_of & {"attempt_failed", "provider_refuses_operator", "breaker_opened"}
    assert harness.refused_keys == []
