"""A confidential model stays confidential: what a caller chose by a name is never weaker at a
fallback, in a later turn, in a last turn of little credit or in a dry run.

Two rows run in an enclave, `ark-one` and `ark-two`; `acme-one` is cheaper than both and does not.
"""

import asyncio
from typing import Any

import pytest

from phigate.core.types import Json, KeyPolicy, Row
from phigate.pipeline.dry_run import dry_run
from tests.builders import make_body, make_catalog, make_place, make_price, make_row
from tests.fakes import Script
from tests.pipeline.gateway_harness import GOOD_STREAM, GatewayHarness, answers, call, fails
from tests.pipeline.test_server_tool import DATETIME, called, calls

ARK_PRICE = make_price(1_000_000, 2_000_000)
ARK_ONE = make_row("ark-one", confidential=True, price=ARK_PRICE)
ARK_TWO = make_row("ark-two", confidential=True, price=ARK_PRICE)
PLAIN_ROW = make_row("acme-one")
ROWS = (PLAIN_ROW, ARK_ONE, ARK_TWO)
ALIASES = {"ark": ("ark-one", "ark-two"), "lone": ("ark-one",), "mixed": ("ark-one", "acme-one")}
ABROAD = {"EU": make_place()}
REQUIRED = KeyPolicy(confidential="required")

# Every kind of name that means confidential rows alone.
NAMES = ["ark-one", "upstream/ark-one", "lone", "ark"]


def staged(*scripts: Script, rows: tuple[Row, ...] = ROWS, **more: Any) -> GatewayHarness:
    known = {row.id for row in rows}
    aliases = {
        name: kept
        for name, ids in ALIASES.items()
        if (kept := tuple(row_id for row_id in ids if row_id in known))
    }
    return GatewayHarness(
        *scripts, catalog=make_catalog(rows, aliases=aliases, sandboxes=("CH",)), **more
    )


def asking(model: str, **preferences: Any) -> Json:
    body = make_body(model=model)
    return {**body, "provider": preferences} if preferences else body


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", NAMES)
def test_a_confidential_name_at_503_is_answered_by_no_other_kind_of_row(
    name: str, stream: bool
) -> None:
    harness = staged(*[fails(503)] * 4)
    told = harness.chat({**asking(name, order=["acme"]), "stream": stream})
    assert (told.status, told.error["code"]) == (502, "upstream_error")
    assert set(harness.upstream.rows) == {"ark-one", "ark-two"}
    assert harness.record["confidential"] == "name"
    assert harness.record["rejected"] == {"capability_confidential": ["acme-one"]}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_another_confidential_row_may_answer(stream: bool) -> None:
    harness = staged(fails(503), GOOD_STREAM if stream else answers())
    told = harness.chat({**asking("ark-one"), "stream": stream})
    assert told.status == 200
    assert told.headers["x-phi-routed"] == "ark-two/CH/general"
    assert told.headers["x-phi-fallback"] == "upstream_failed"
    assert harness.record["confidential"] == "name"


@pytest.mark.parametrize("name", ["mixed", "acme-one", "upstream/acme-one", "auto"])
def test_every_other_name_falls_back_as_before(name: str) -> None:
    harness = staged(fails(503), fails(503), answers())
    assert harness.chat(asking(name)).status == 200
    assert set(harness.upstream.rows) == {"acme-one", "ark-one", "ark-two"}
    assert "confidential" not in harness.record


def test_false_lifts_it_and_the_receipt_says_so() -> None:
    harness = staged(fails(503), answers())
    told = harness.chat(asking("ark-one", confidential=False))
    assert told.headers["x-phi-routed"] == "acme-one/CH/general"
    assert harness.record["confidential"] == "lifted"


def test_false_of_a_name_that_is_not_confidential_lifts_nothing() -> None:
    harness = staged(answers())
    assert harness.chat(asking("acme-one", confidential=False)).status == 200
    assert "confidential" not in harness.record


@pytest.mark.parametrize(
    ("name", "by", "rule"),
    [
        ("acme-one", "preference", "provider_confidential"),
        ("auto", "preference", "provider_confidential"),
        ("ark", "name", "capability_confidential"),
    ],
)
def test_true_means_rows_in_an_enclave_whatever_the_name(name: str, by: str, rule: str) -> None:
    harness = staged(*[fails(503)] * 4)
    assert harness.chat(asking(name, confidential=True)).status == 502
    assert set(harness.upstream.rows) == {"ark-one", "ark-two"}
    assert (harness.record["confidential"], harness.record["rejected"]) == (
        by,
        {rule: ["acme-one"]},
    )


@pytest.mark.parametrize("name", ["acme-one", "auto", "mixed", "ark"])
@pytest.mark.parametrize("wish", [{}, {"confidential": True}], ids=["no wish", "true"])
def test_a_keys_policy_requires_it_for_every_call(name: str, wish: Json) -> None:
    harness = staged(*[fails(503)] * 4, policy=REQUIRED)
    assert harness.chat(asking(name, **wish)).status == 502
    assert set(harness.upstream.rows) == {"ark-one", "ark-two"}
    assert harness.record["confidential"] == "policy"


@pytest.mark.parametrize("name", ["ark", "acme-one", "auto", "nobody"])
def test_a_keys_policy_is_not_lifted(name: str) -> None:
    harness = staged(policy=REQUIRED)
    told = harness.chat(asking(name, confidential=False))
    assert (told.status, told.error["code"]) == (403, "key_policy")
    assert told.error["param"] == "provider.confidential"
    assert harness.upstream.requests == []


def test_without_a_confidential_row_in_the_region_there_is_no_route() -> None:
    abroad = make_row("ark-one", confidential=True, places=ABROAD)
    for headers in ({}, {"x-phi": "true"}):
        harness = staged(rows=(PLAIN_ROW, abroad))
        told = harness.chat(asking("ark-one"), headers)
        assert (told.status, told.error["code"]) == (404, "no_route")
        assert "confidential" in told.error["message"]
        assert harness.record["confidential"] == "name"
        assert harness.upstream.requests == []


def test_phi_without_an_agreement_is_blocked_though_another_row_has_one() -> None:
    bare = make_row("ark-one", confidential=True, agreement=None)
    harness = staged(rows=(PLAIN_ROW, bare))
    told = harness.phi(model="ark-one")
    assert (told.status, told.error["code"]) == (403, "phi_blocked")
    assert harness.record["rejected"] == {
        "capability_confidential": ["acme-one"],
        "phi_no_agreement": ["ark-one"],
    }


def test_a_later_turn_is_answered_by_no_other_kind_of_row() -> None:
    harness = staged(calls(called()), *[fails(503)] * 4)
    told = harness.chat({**asking("ark-one"), "tools": [DATETIME], "max_tokens": 100})
    assert told.status == 502
    assert harness.upstream.rows == ["ark-one", "ark-one", "ark-two"]
    assert harness.record["confidential"] == "name"


def test_a_last_turn_of_little_credit_is_answered_by_no_other_kind_of_row() -> None:
    body = {**asking("ark-one"), "tools": [DATETIME], "max_tokens": 2_000}
    probe = staged(answers())
    probe.chat(body)
    held = probe.log[0][1]
    harness = staged(calls(called()), *[fails(503)] * 4, credit_micros=held)
    assert harness.chat(body).status == 502
    assert harness.upstream.bodies[1]["tool_choice"] == "none"
    assert set(harness.upstream.rows) == {"ark-one", "ark-two"}


def test_a_dry_run_says_what_a_live_call_would() -> None:
    came = call({"model": "ark-one"})
    decided = asyncio.run(dry_run(staged().gateway, came))
    assert [candidate["row"] for candidate in decided["candidates"]] == ["ark-one", "ark-two"]
    assert decided["rejections"] == [{"row": "acme-one", "rule": "capability_confidential"}]
    assert decided["confidential"] == "name"


# --- What else a caller chose, and no later turn may weaken ------------------------------------

CHOICES: dict[str, Json] = {
    "only": {"only": ["bolt", "ark-one"]},
    "ignore": {"ignore": ["ark-two", "acme"]},
    "no fallbacks": {"allow_fallbacks": False},
    "every parameter": {"require_parameters": True},
}
OTHERS = (make_row("acme-one", drops=frozenset({"top_k"})), ARK_ONE, ARK_TWO)


@pytest.mark.parametrize("short", [False, True], ids=["a further turn", "a last turn"])
@pytest.mark.parametrize("choice", CHOICES)
def test_preferences_hold_in_every_turn(choice: str, short: bool) -> None:
    body = {
        **asking("ark-one", **CHOICES[choice], confidential=False),
        "tools": [DATETIME],
        "max_tokens": 2_000,
        "top_k": 5,
    }
    probe = staged(answers(), rows=OTHERS)
    probe.chat(body)
    credit = {"credit_micros": probe.log[0][1]} if short else {}
    harness = staged(calls(called()), *[fails(503)] * 4, rows=OTHERS, **credit)
    assert harness.chat(body).status == 502
    left = {"every parameter": {"ark-one", "ark-two"}}.get(choice, {"ark-one"})
    assert set(harness.upstream.rows) == left


def test_a_last_turn_asks_no_row_for_more_tokens_than_it_writes() -> None:
    brief = make_row("acme-one", tokens_out_default=64, tokens_out_max=64)
    rows = (brief, make_row("bolt-two", tokens_out_default=2_000))
    body = {**make_body(model="bolt-two"), "tools": [DATETIME]}
    probe = GatewayHarness(answers(), rows=rows)
    probe.chat(body)
    harness = GatewayHarness(
        calls(called()), fails(503), answers(), rows=rows, credit_micros=probe.log[0][1]
    )
    harness.chat(body)
    for row_id, sent in zip(harness.upstream.rows, harness.upstream.bodies, strict=True):
        assert sent["max_tokens"] <= (64 if row_id == "acme-one" else 8_192)
