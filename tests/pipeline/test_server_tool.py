"""The gateway's own tool: turns run in a loop under one hold, one receipt and one settle."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.types import Json
from tests.builders import NOW_S, make_body, make_row
from tests.fakes import Script
from tests.pipeline.await_points import at, watch
from tests.pipeline.gateway_harness import (
    DONE,
    USAGE_CHUNK,
    GatewayHarness,
    answers,
    chunk,
    fails,
    streams,
)

DATETIME = {"type": "gateway:datetime", "parameters": {"timezone": "Europe/London"}}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
ASKS: Json = make_body(model="acme-one", tools=[DATETIME], max_tokens=100)
STREAMS: Json = {**ASKS, "stream": True, "stream_options": {"include_usage": True}}
TWO_TURNS_MICROS = 10  # 20 tokens at 0.24 and 10 at 0.48 USD per million: 9.6, rounded up once


def called(name: str = "gateway_datetime", arguments: str = "{}", call_id: str = "call-1") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*tool_calls: Json, text: str | None = None) -> Script:
    """An answer that calls tools."""
    message = {"role": "assistant", "content": text, "tool_calls": list(tool_calls)}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return answers(choices=[choice])


def streamed(*tool_calls: Json, text: str = "") -> Script:
    """A stream that says `text` and then calls tools, the arguments in two fragments."""
    steps: list[Json] = [chunk(text)] if text else []
    for i, call in enumerate(tool_calls):
        function = call["function"]
        half = len(function["arguments"]) // 2
        first = {**call, "index": i, "function": {**function, "arguments": ""}}
        steps.append(with_delta({"role": "assistant", "tool_calls": [first]}))
        for part in (function["arguments"][:half], function["arguments"][half:]):
            steps.append(
                with_delta({"tool_calls": [{"index": i, "function": {"arguments": part}}]})
            )
    return streams(*steps, with_delta({}, "tool_calls"), USAGE_CHUNK, DONE)


def with_delta(delta: Json, finish: str | None = None) -> Json:
    return chunk(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def spoken(text: str) -> Script:
    """A stream that answers in two pieces."""
    role = with_delta({"role": "assistant", "content": ""})
    return streams(
        role, chunk(text[:2]), chunk(text[2:]), with_delta({}, "stop"), USAGE_CHUNK, DONE
    )


def results(harness: GatewayHarness, turn: int = 1) -> list[Json]:
    """The tool results that a turn's upstream was sent."""
    sent = harness.upstream.bodies[turn]["messages"]
    return [json.loads(message["content"]) for message in sent if message["role"] == "tool"]


def test_a_call_is_run_and_the_answer_comes_from_the_second_turn() -> None:
    harness = GatewayHarness(calls(called()), answers("It is noon."))
    told = harness.chat(ASKS)
    assert told.status == 200
    assert told.json["choices"][0]["message"]["content"] == "It is noon."
    assert told.json["usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "total_tokens": 30,
        "server_tool_use": {"datetime_requests": 1},
    }
    assert told.headers["x-phi-cost-micro"] == str(TWO_TURNS_MICROS)
    assert told.headers["x-phi-attempts"] == "1", "one row in each of the turns"
    (result,) = results(harness)
    assert result["timezone"] == "Europe/London"
    assert result["datetime"].endswith((".000+00:00", ".000+01:00"))


def test_the_loop_has_one_hold_one_raise_one_receipt_and_one_settle() -> None:
    harness = GatewayHarness(calls(called()), answers())
    harness.chat(ASKS)
    names = [line[0] for line in harness.log]
    assert names == ["hold", "extend", "receipt", "settle"]
    assert harness.log[-1] == ("settle", TWO_TURNS_MICROS)
    (raised,) = [micros for name, micros, *_ in harness.log if name == "extend"]
    assert harness.record["cost"] == {
        "computed": TWO_TURNS_MICROS,
        "charged": TWO_TURNS_MICROS,
        "held": raised,
    }
    assert [turn[:3] for turn in harness.record["turns"]] == [["acme-one", 10, 5]] * 2
    assert harness.account()["held"] == 0


def test_the_model_is_offered_a_function_and_never_the_gateways_type() -> None:
    harness = GatewayHarness(answers())
    harness.chat({**ASKS, "tools": [LOOK_UP, DATETIME]})
    tools = harness.upstream.bodies[0]["tools"]
    assert [tool["function"]["name"] for tool in tools] == ["look_up", "gateway_datetime"]
    assert {tool["type"] for tool in tools} == {"function"}


CHOICES: dict[str, tuple[Any, Any]] = {
    "the string": (
        "gateway:datetime",
        {"type": "function", "function": {"name": "gateway_datetime"}},
    ),
    "the object": (
        {"type": "gateway:datetime"},
        {"type": "function", "function": {"name": "gateway_datetime"}},
    ),
    "required": ("required", "required"),
    "auto": ("auto", "auto"),
}


@pytest.mark.parametrize(("choice", "sent"), CHOICES.values(), ids=CHOICES)
def test_a_forced_tool_is_forced_once(choice: Any, sent: Any) -> None:
    harness = GatewayHarness(calls(called()), answers())
    told = harness.chat({**ASKS, "tool_choice": choice})
    assert told.status == 200
    assert [body["tool_choice"] for body in harness.upstream.bodies] == [sent, "auto"]


ARGUMENTS: dict[str, tuple[str, str | None]] = {
    "none: the request's time zone": ("{}", "Europe/London"),
    "empty: the request's time zone": ("", "Europe/London"),
    "the model's wins": ('{"timezone": "Asia/Tokyo"}', "Asia/Tokyo"),
    "no such zone": ('{"timezone": "Mars/Olympus"}', None),
    "a path": ('{"timezone": "../../etc/passwd"}', None),
    "not a string": ('{"timezone": 3}', None),
    "not an object": ("[]", None),
    "not JSON": ("{", None),
}


@pytest.mark.parametrize(("arguments", "zone"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_an_argument_is_used_or_told_to_the_model(arguments: str, zone: str | None) -> None:
    harness = GatewayHarness(calls(called(arguments=arguments)), answers())
    assert harness.chat(ASKS).status == 200
    (result,) = results(harness)
    assert result.get("timezone") == zone
    assert ("error" in result) == (zone is None)


ZONES: dict[str, tuple[Json, str | None]] = {
    "in parameters": ({"parameters": {"timezone": "Asia/Tokyo"}}, "Asia/Tokyo"),
    "beside the type": ({"timezone": "Asia/Tokyo"}, "Asia/Tokyo"),
    "none": ({}, "UTC"),
    "no such zone": ({"parameters": {"timezone": "Mars/Olympus"}}, None),
    "no such zone beside the type": ({"timezone": "Mars/Olympus"}, None),
}


@pytest.mark.parametrize(("members", "zone"), ZONES.values(), ids=ZONES)
def test_a_requests_time_zone_is_used_or_refused_before_any_upstream(
    members: Json, zone: str | None
) -> None:
    harness = GatewayHarness(calls(called()), answers())
    told = harness.chat({**ASKS, "tools": [{"type": "gateway:datetime", **members}]})
    if zone is None:
        assert (told.status, told.error["code"]) == (400, "invalid_request")
        assert told.error["param"].startswith("tools.0.")
        assert harness.upstream.requests == []
    else:
        assert results(harness)[0]["timezone"] == zone


def test_a_callers_own_function_of_that_name_is_the_callers() -> None:
    own = {"type": "function", "function": {"name": "gateway_datetime"}}
    harness = GatewayHarness(calls(called()))
    told = harness.chat({**ASKS, "tools": [own, DATETIME]})
    assert [c["id"] for c in told.json["choices"][0]["message"]["tool_calls"]] == ["call-1"]
    assert len(harness.upstream.bodies[0]["tools"]) == 1


@pytest.mark.parametrize("body", [ASKS, STREAMS], ids=["json", "stream"])
def test_a_mixed_turn_hands_the_caller_its_own_calls_only(body: Json) -> None:
    both = (called(call_id="ours"), called("look_up", '{"a": 1}', "theirs"))
    harness = GatewayHarness(streamed(*both) if body is STREAMS else calls(*both))
    told = harness.chat({**body, "tools": [LOOK_UP, DATETIME]})
    if body is STREAMS:
        handed = [c["choices"][0] for c in told.chunks if c["choices"]]
        (delta,) = [c["delta"] for c in handed if c["delta"].get("tool_calls")]
        assert delta["tool_calls"] == [{"index": 0, **both[1]}]
        assert handed[-1]["finish_reason"] == "tool_calls"
    else:
        assert told.json["choices"][0]["message"]["tool_calls"] == [both[1]]
    assert len(harness.upstream.requests) == 1


def test_max_tool_calls_ends_the_loop_and_charges_the_turns_made() -> None:
    harness = GatewayHarness(calls(called(), called(call_id="call-2")))
    told = harness.chat({**ASKS, "max_tool_calls": 1})
    assert (told.status, told.error["code"]) == (400, "server_tool_limit")
    assert told.headers["x-should-retry"] == "false"
    assert harness.account()["spent"] == int(told.headers["x-phi-cost-micro"]) == 5
    assert harness.record["verdict"] == "server_tool_limit"


def test_after_eight_turns_that_follow_the_loop_is_an_error() -> None:
    harness = GatewayHarness(*[calls(called()) for _ in range(9)])
    told = harness.chat(ASKS)
    assert (told.status, told.error["code"]) == (502, "server_tool_error")
    assert len(harness.upstream.requests) == 9
    assert harness.account()["held"] == 0
    assert harness.account()["spent"] == int(told.headers["x-phi-cost-micro"])


def test_when_credit_covers_no_further_turn_the_last_one_has_no_tools() -> None:
    probe = GatewayHarness()
    probe.plays(answers())
    probe.chat(ASKS)
    first_hold = probe.log[0][1]
    harness = GatewayHarness(calls(called()), answers("Without."), credit_micros=first_hold)
    told = harness.chat(ASKS)
    assert told.status == 200
    assert harness.upstream.bodies[1]["tool_choice"] == "none"
    assert harness.account()["spent"] == TWO_TURNS_MICROS


@pytest.mark.parametrize("body", [ASKS, STREAMS], ids=["json", "stream"])
def test_a_second_turn_that_nobody_answers_charges_the_first(body: Json) -> None:
    first = streamed(called(), text="Wait. ") if body is STREAMS else calls(called())
    harness = GatewayHarness(first, *[fails(500) for _ in range(4)])
    told = harness.chat(body)
    assert harness.account() == {"avail": 999_995, "held": 0, "spent": 5, "top": 1_000_000}
    if body is STREAMS:
        assert told.status == 200
        assert told.chunks[-1]["error"]["code"] == "upstream_error"
        message = told.chunks[-1]["error"]["message"]
    else:
        assert told.status == 502
        assert told.headers["x-should-retry"] == "false"
        message = told.error["message"]
    assert message.endswith("Turns before are charged.")


def test_an_agreement_that_lapses_between_two_turns_ends_the_loop() -> None:
    row = make_row("acme-one")
    assert row.agreement is not None
    lasts_s = int(NOW_S) + 5
    harness = GatewayHarness(
        calls(called()),
        answers(),
        rows=(make_row("acme-one", agreement=replace(row.agreement, expires_at_s=lasts_s)),),
    )
    watch(harness, at("before ledger.extend_hold", lambda: harness.pass_time(10)))
    told = harness.chat(ASKS, {"x-phi": "true"})
    assert (told.status, told.error["code"]) == (403, "phi_blocked")
    assert len(harness.upstream.requests) == 1
    assert harness.account()["spent"] == 5


def test_a_stream_runs_the_turns_between_and_streams_the_answer() -> None:
    harness = GatewayHarness(streamed(called(), text="One moment. "), spoken("It is noon."))
    told = harness.chat(STREAMS)
    deltas = [c["choices"][0]["delta"] for c in told.chunks if c["choices"]]
    assert "".join(d.get("content") or "" for d in deltas) == "One moment. It is noon."
    assert not any("tool_calls" in delta for delta in deltas)
    assert [d["role"] for d in deltas if "role" in d] == ["assistant"]
    assert told.chunks[-1]["usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "total_tokens": 30,
        "server_tool_use": {"datetime_requests": 1},
    }
    assert told.comment["cost_micro"] == TWO_TURNS_MICROS
    assert {c["id"] for c in told.chunks} == {f"chatcmpl-{told.headers['x-phi-receipt']}"}


def test_a_stream_that_needs_no_tool_passes_its_text_at_once() -> None:
    harness = GatewayHarness(spoken("Hello"))
    told = harness.chat(STREAMS)
    texts = [c["choices"][0]["delta"].get("content") for c in told.chunks if c["choices"]]
    assert [text for text in texts if text] == ["He", "llo"]
    assert told.chunks[-1]["usage"]["server_tool_use"] == {"datetime_requests": 0}


def test_silence_between_two_turns_of_a_stream_is_filled_with_pings() -> None:
    slow = spoken("noon")
    harness = GatewayHarness(
        streamed(called(), text="One moment. "),
        Script([20.0, *slow.body], content_type="text/event-stream"),
    )
    told = harness.chat(STREAMS)
    assert told.lines.count(b": ping") == 1


def test_a_stream_that_breaks_in_its_second_turn_charges_both() -> None:
    broken = streams(chunk("It is "), UpstreamFailed("cut"))
    harness = GatewayHarness(streamed(called(), text="One moment. "), broken)
    told = harness.chat(STREAMS)
    assert told.comment["usage"] == "estimated"
    assert harness.account()["held"] == 0
    assert harness.account()["spent"] == told.comment["cost_micro"] > 5


def test_the_tool_needs_a_row_with_tools() -> None:
    harness = GatewayHarness(rows=(make_row("acme-one", supports_tools=False),))
    told = harness.chat(ASKS)
    assert told.error["code"] == "no_route"


def test_now_is_the_clocks() -> None:
    harness = GatewayHarness(calls(called(arguments='{"timezone": "UTC"}')), answers())
    harness.chat(ASKS)
    assert results(harness)[0]["datetime"].startswith(_utc(NOW_S))


def _utc(now_s: float) -> str:
    return datetime.fromtimestamp(now_s, UTC).isoformat(timespec="minutes")[:16]
