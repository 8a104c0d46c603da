"""`meta`, `debug` and `echo_upstream_request`: told in the answer and nowhere else."""

import json

import pytest

from phigate.core.types import Json, KeyPolicy
from tests.builders import make_body, make_place, make_row
from tests.pipeline.gateway_harness import (
    DONE,
    USAGE_CHUNK,
    GatewayHarness,
    answers,
    chunk,
    fails,
    streams,
)

CANARY = "canary-7f3a"
ASKS: Json = make_body(model="acme-one", messages=[{"role": "user", "content": CANARY}])
DEBUG = {"enabled": True, "return_upstream_request": True, "return_upstream_response": True}

# The request's members, and the answer's members that come of them.
TOLD: dict[str, tuple[Json, set[str]]] = {
    "nothing asked": ({}, set()),
    "meta": ({"meta": True}, {"meta"}),
    "meta off": ({"meta": False}, set()),
    "echo": ({"echo_upstream_request": True}, {"upstream_request"}),
    "debug": ({"debug": DEBUG}, {"upstream_request", "upstream_response"}),
    "debug without `enabled`": ({"debug": {"return_upstream_request": True}}, {"upstream_request"}),
    "debug switched off": ({"debug": {**DEBUG, "enabled": False}}, set()),
    "trace": ({"debug": {"trace": True, "trace_level": "summary"}}, {"trace"}),
}


@pytest.mark.parametrize(("members", "told"), TOLD.values(), ids=TOLD)
def test_the_answer_holds_what_was_asked_for(members: Json, told: set[str]) -> None:
    harness = GatewayHarness(answers())
    answer = harness.chat({**ASKS, **members}).json
    assert set(answer) - set(GatewayHarness(answers()).chat(ASKS).json) == told
    assert not set(harness.upstream.bodies[0]) & set(members)


def test_meta_names_rows_rules_attempts_and_what_was_dropped() -> None:
    rows = (
        make_row("acme-one"),
        make_row("bolt-two"),
        make_row("far-away", places={"US": make_place()}, agreement=None),
    )
    harness = GatewayHarness(fails(503), answers(), rows=rows)
    meta = harness.chat({**ASKS, "meta": True, "n": 2}).json["meta"]
    assert meta["routing"]["considered"] == 3
    assert meta["routing"]["candidates"] == ["acme-one", "bolt-two"]
    assert meta["routing"]["rejected"] == [{"row": "far-away", "rule": "region"}]
    outcomes = [attempt["outcome"] for attempt in meta["routing"]["attempts"]]
    assert outcomes == ["http_503", "ok"]
    assert meta["dropped_parameters"] == ["n"]


def test_debug_shows_the_wire_bodies_and_no_credential() -> None:
    harness = GatewayHarness(answers("Hi"))
    answer = harness.chat({**ASKS, "debug": DEBUG}).json
    assert answer["upstream_request"] == harness.upstream.bodies[0]
    assert answer["upstream_response"]["choices"][0]["message"]["content"] == "Hi"
    assert "authorization" not in json.dumps(answer["upstream_request"]).lower()


def test_debug_is_in_no_record_and_no_line() -> None:
    harness = GatewayHarness(answers(CANARY))
    harness.chat({**ASKS, "debug": DEBUG, "meta": True})
    assert CANARY not in json.dumps(harness.records) + repr(harness.event_log.notes)


@pytest.mark.parametrize("members", [{"debug": DEBUG}, {"echo_upstream_request": True}])
def test_with_phi_it_needs_a_key_whose_policy_says_so(members: Json) -> None:
    refused = GatewayHarness(answers()).chat({**ASKS, **members}, {"x-phi": "true"})
    assert (refused.status, refused.error["code"]) == (403, "key_policy")
    allowed = GatewayHarness(answers(), policy=KeyPolicy(debug_phi=True))
    assert "upstream_request" in allowed.chat({**ASKS, **members}, {"x-phi": "true"}).json


def test_a_stream_tells_it_in_a_chunk_of_its_own_before_the_end() -> None:
    harness = GatewayHarness(streams(chunk(), USAGE_CHUNK, DONE))
    told = harness.chat({**ASKS, "stream": True, "meta": True, "echo_upstream_request": True})
    last = told.chunks[-1]
    assert last["choices"] == []
    assert last["upstream_request"] == harness.upstream.bodies[0]
    assert last["meta"]["routing"]["attempts"][0]["outcome"] == "ok"
