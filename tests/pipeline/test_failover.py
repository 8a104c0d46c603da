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
from tests.pipeline.points import at, watch
from tests.pipeline.stage import (
    DONE,
    GOOD_STREAM,
    PLAIN,
    ROWS,
    STREAM,
    USAGE_CHUNK,
    USAGE_MICROS,
    Stage,
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
    stage = Stage(script, good(body))
    told = stage.chat(body)
    assert told.status == 200
    assert stage.upstream.rows == ["acme-one", "bolt-two"]
    assert told.headers["x-phi-routed"] == "bolt-two/CH/general"
    assert told.headers["x-phi-fallback"] == "upstream_failed"
    assert told.headers["x-phi-attempts"] == "2"
    assert stage.attempts == [
        ["acme-one", "CH", outcome, 0],
        ["bolt-two", "CH", "ok", 0],
    ]
    assert stage.record["row"] == "bolt-two"
    assert [exchange.closed for exchange in stage.upstream.exchanges] == [1, 1]
    # One charge, at the price of the row that answered: 10 at 1.00 and 5 at 2.00.
    assert [line for line in stage.log if line[0] != "hold"] == [
        ("receipt", 20, "done"),
        ("settle", 20),
    ]
    operators = [fields["outcome"] for fields in stage.journal.fields("provider_refuses_operator")]
    assert operators == [outcome] * (outcome in {"http_401", "http_402", "http_403", "http_404"})
    assert stage.refused_keys == ["acme"] * (outcome in {"http_401", "http_403"})


class WithoutKey(FakeUpstream):
    """An upstream whose key of acme has gone since the route was decided."""

    def open(self, request: UpstreamRequest) -> FakeExchange:
        """See Upstream."""
        if request.row.provider == "acme":
            raise UpstreamFailed("http_401")
        return super().open(request)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_key_that_has_gone_since_the_route_fails_its_attempt_alone(body: Json) -> None:
    stage = Stage()
    stage.gateway.upstream = WithoutKey(stage.clock, [good(body)])
    told = stage.chat(body)
    assert (told.status, told.headers["x-phi-routed"]) == (200, "bolt-two/CH/general")
    assert stage.attempts == [["acme-one", "CH", "http_401", 0], ["bolt-two", "CH", "ok", 0]]
    assert stage.refused_keys == ["acme"]
    assert stage.journal.fields("bug") == []


@pytest.mark.parametrize(("body", "script", "outcome"), CASES)
def test_when_every_candidate_fails_it_costs_nothing_and_every_attempt_is_told(
    body: Json, script: Script, outcome: str
) -> None:
    stage = Stage(script, script, script)
    told = stage.chat(body)
    assert told.status == 502
    assert told.error["code"] == "upstream_error"
    assert told.error["attempts"] == [
        {"row": row.id, "region": "CH", "outcome": outcome, "ms": 0} for row in ROWS
    ]
    assert told.headers["x-phi-attempts"] == "3"
    assert stage.log[1:] == [("receipt", 0, "done"), ("settle", 0)]
    assert stage.account()["spent"] == 0
    assert stage.record["verdict"] == "upstream_error"
    assert stage.attempts == [[row.id, "CH", outcome, 0] for row in ROWS]
    assert "cost" not in stage.record


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
    stage = Stage(*[script] * 3)
    told = stage.chat(body)
    assert told.status == 504
    assert told.error["code"] == "upstream_timeout"
    assert {attempt["outcome"] for attempt in told.error["attempts"]} == {"timeout"}
    assert {attempt["ms"] for attempt in told.error["attempts"]} == {limit_s * 1000}
    # A JSON attempt takes the whole time; a stream leaves time for the others.
    assert stage.upstream.rows == [row.id for row in ROWS][: 3 if body is STREAM else 1]
    assert len(stage.out.writes) == 1
    assert stage.account()["spent"] == 0
    assert {exchange.closed for exchange in stage.upstream.exchanges} == {1}


def test_a_stream_that_is_late_with_its_first_event_hands_over_before_a_byte_has_gone() -> None:
    stage = Stage(streams(119.0, b": wait\n\n", 2.0, chunk()), GOOD_STREAM)
    told = stage.chat(STREAM)
    assert stage.record["attempts"] == [
        ["acme-one", "CH", "timeout", 120_000, 0],
        ["bolt-two", "CH", "ok", 0, 120_000],
    ]
    assert b"ping" not in told.body
    assert told.headers["x-phi-routed"] == "bolt-two/CH/general"


def test_nothing_is_sent_before_the_first_event_is_whole_and_no_error() -> None:
    stage = Stage()
    begun: list[int] = []

    def look() -> None:
        begun.append(len(stage.out.starts) + len(stage.out.writes))

    whole = event(chunk())
    stage.plays(
        streams(look, whole[:10], 20.0, look, whole[10:-1], look, whole[-1:], look, DONE),
    )
    stage.chat(STREAM)
    assert begun == [0, 0, 0, 2]


def test_a_list_of_one_row_is_tried_twice_with_a_pause() -> None:
    stage = Stage(fails(503), answers(), rows=ONE)
    told = stage.chat(PLAIN)
    assert stage.upstream.rows == ["acme-one", "acme-one"]
    assert stage.clock.time_s == NOW_S + 0.25
    assert told.headers["x-phi-attempts"] == "1", "one row, asked twice"
    assert "x-phi-fallback" not in told.headers


def test_a_list_of_one_row_is_tried_no_third_time() -> None:
    stage = Stage(fails(503), fails(503), rows=ONE)
    assert stage.chat(PLAIN).status == 502
    assert stage.upstream.rows == ["acme-one", "acme-one"]


def test_at_most_four_attempts_are_made() -> None:
    rows = [make_row(f"row{i}-x") for i in range(6)]
    stage = Stage(*[fails(500)] * 6, rows=rows)
    told = stage.chat(make_body(model="row3-x"))
    assert stage.upstream.rows == ["row3-x", "row0-x", "row1-x", "row2-x"]
    assert len(told.error["attempts"]) == 4


def test_fallbacks_that_were_forbidden_are_not_made() -> None:
    stage = Stage(fails(500), fails(500))
    told = stage.chat({**PLAIN, "provider": {"allow_fallbacks": False}})
    assert told.status == 502
    assert stage.upstream.rows == ["acme-one", "acme-one"]
    assert stage.record["rejected"] == {"model": ["bolt-two", "cove-three"]}


def test_mixed_failures_are_an_upstream_error_and_late_ones_a_timeout() -> None:
    mixed = Stage(Script(before=[130.0]), fails(500), fails(500))
    assert mixed.chat(STREAM).error["code"] == "upstream_error"
    late = Stage(fails(500), Script(before=[300.0]), fails(500))
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
    stage = Stage(refused)
    told = stage.chat(body)
    assert told.status == 400
    assert told.error["code"] == "invalid_request"
    assert told.error["message"] == f"The provider refused the request: {message}"
    assert told.error["param"] == param
    assert stage.upstream.rows == ["acme-one"]
    assert stage.account()["spent"] == 0
    assert stage.attempts == [["acme-one", "CH", "refused", 0]]
    assert stage.journal.fields("attempt_failed") == []


def test_an_integer_that_no_provider_reads_is_the_callers_and_calls_nobody() -> None:
    stage = Stage()
    told = stage.chat({**PLAIN, "budget": 2**64})
    assert told.status == 400
    assert stage.upstream.requests == []
    assert stage.account()["spent"] == 0


def test_an_agreement_that_ends_between_two_attempts_ends_the_rows_part() -> None:
    rows = (
        make_row("acme-one"),
        make_row("bolt-two", agreement=make_agreement(expires_at_s=int(NOW_S) + 5)),
        make_row("cove-three"),
    )
    stage = Stage(Script(before=[5.0], status=500), answers(), rows=rows)
    told = stage.phi(model="acme-one")
    assert stage.upstream.rows == ["acme-one", "cove-three"]
    assert told.status == 200
    assert told.headers["x-phi-attempts"] == "2"


def test_when_no_agreement_is_left_after_a_failure_the_failure_is_told() -> None:
    ends = make_agreement(expires_at_s=int(NOW_S) + 5)
    rows = (make_row("acme-one", agreement=ends), make_row("bolt-two", agreement=ends))
    stage = Stage(Script(before=[5.0], status=500), rows=rows)
    told = stage.phi(model="acme-one")
    assert told.error["code"] == "upstream_error"
    assert stage.upstream.rows == ["acme-one"]


def test_an_agreement_that_ends_before_the_pause_is_over_forbids_the_second_try() -> None:
    row = make_row(agreement=make_agreement(expires_at_s=int(NOW_S) + 1))
    stage = Stage(Script(before=[0.9], status=500), rows=(row,))
    assert stage.phi().error["code"] == "upstream_error"
    assert len(stage.upstream.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_catalog_that_grows_stale_between_two_attempts_serves_no_more_phi(stream: bool) -> None:
    stage = Stage()
    stage.pass_time(CATALOG_PHI_AGE_MAX_S - 5)
    stage.plays(Script(before=[6.0], status=500))
    told = stage.phi(model="acme-one", stream=stream)
    assert told.error["code"] == "upstream_error"
    assert stage.upstream.rows == ["acme-one"]
    assert stage.phi().error["code"] == "phi_blocked"
    assert stage.upstream.rows == ["acme-one"]
    stage.plays(answers())
    assert stage.chat(PLAIN).status == 200


@pytest.mark.parametrize(("images", "code"), [(False, "phi_blocked"), (True, "no_route")])
def test_when_every_agreement_ends_while_the_hold_is_written_nobody_is_called(
    images: bool, code: str
) -> None:
    ends: Row = make_row(agreement=make_agreement(expires_at_s=int(NOW_S) + 1))
    stage = Stage(rows=(ends,))
    watch(stage, at("before ledger.hold", lambda: stage.pass_time(2)))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    told = stage.phi(messages=[{"role": "user", "content": [image] if images else "Hello"}])
    assert told.error["code"] == code
    assert stage.upstream.requests == []
    assert stage.account()["spent"] == 0


def test_a_deadline_that_passes_while_the_hold_is_written_is_a_timeout() -> None:
    stage = Stage()
    watch(stage, at("before ledger.hold", lambda: stage.pass_time(2)))
    stage.gateway.stack = Stack("stack-1", "CH", ("CH",), json_timeout_s=1.0)
    told = stage.chat(PLAIN)
    assert told.error["code"] == "upstream_timeout"
    assert stage.upstream.requests == []


def test_a_row_that_fails_five_times_is_tried_last_for_half_a_minute() -> None:
    stage = Stage()
    for _ in range(5):
        stage.plays(fails(500), answers())
        stage.chat(PLAIN)
        assert stage.upstream.rows == ["acme-one", "bolt-two"]
    stage.plays(answers())
    told = stage.chat(PLAIN)
    assert stage.upstream.rows == ["bolt-two"]
    assert told.headers["x-phi-fallback"] == "upstream_failed"
    stage.plays(fails(500), fails(500), answers())
    stage.chat(PLAIN)
    assert stage.upstream.rows == ["bolt-two", "cove-three", "acme-one"]
    assert stage.account()["spent"] > 6 * USAGE_MICROS


def test_a_row_that_cuts_its_streams_is_tried_last_although_they_began_well() -> None:
    stage = Stage()
    for _ in range(5):
        stage.plays(streams(chunk(), UpstreamFailed("cut")))
        stage.chat(STREAM)
        assert stage.upstream.rows == ["acme-one"]
    stage.plays(streams(chunk(), USAGE_CHUNK, DONE))
    stage.chat(STREAM)
    assert stage.upstream.rows == ["bolt-two"]


def test_after_its_time_one_call_tries_the_row_again() -> None:
    stage = Stage()
    for _ in range(5):
        stage.plays(fails(500), answers())
        stage.chat(PLAIN)
    stage.pass_time(31)
    for rows in (["acme-one"], ["acme-one"]):
        stage.plays(answers())
        stage.chat(PLAIN)
        assert stage.upstream.rows == rows


def test_the_upstreams_answer_is_only_its_body() -> None:
    stage = Stage(streams(chunk(), USAGE_CHUNK, DONE))
    assert set(stage.chat(STREAM).headers) == {
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
    stage = Stage(*scripts, rows=rows)
    told = stage.chat({**PLAIN, **members, "model": rows[0].id, "stream": stream})
    assert told.headers["x-phi-attempts"] == str(count)
    # The list keeps every attempt, those of which nothing was sent too.
    tried = {attempt[0] for attempt in stage.attempts}
    assert len(tried) == (0 if name == "no row is left" else max(count, len(tried)))


def test_of_several_turns_the_one_with_most_rows_is_told() -> None:
    function = {"name": "gateway_datetime", "arguments": "{}"}
    call = {"id": "call-1", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    calls = answers(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    asks = {**PLAIN, "tools": [{"type": "gateway:datetime"}]}
    for scripts in ([fails(503), calls, answers()], [calls, fails(503), answers()]):
        stage = Stage(*scripts)
        assert stage.chat(asks).headers["x-phi-attempts"] == "2"
        assert len(stage.attempts) == 3


def test_require_parameters_passes_a_row_by_whose_adapter_would_drop_one() -> None:
    body = {**PLAIN, "provider": {"require_parameters": True}, "seed": 9_223_372_036_854_776_000}
    stage = Stage(answers())
    told = stage.chat(body)
    assert stage.upstream.requests == []
    assert told.error["code"] in ("no_route", "upstream_error")
    assert stage.account()["spent"] == 0


@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["json", "stream"])
def test_a_row_without_its_key_is_passed_by_and_no_provider_is_said_to_have_failed(
    body: Json,
) -> None:
    stage = Stage(Script(before=(NotSent("no_key"),)), good(body))
    told = stage.chat(body)
    assert told.status == 200
    assert [attempt[2] for attempt in stage.attempts] == ["no_key", "ok"]
    told_of = {event for event, _ in stage.journal.notes}
    assert not told_of & {"attempt_failed", "provider_refuses_operator", "breaker_opened"}
    assert stage.refused_keys == []
