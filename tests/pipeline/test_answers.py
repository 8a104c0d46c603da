"""An answer that comes at the first attempt: bytes, headers, cost, record, and their order."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.errors import UpstreamFailed
from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.port import HoldRefused, HoldRequest
from phigate.core.receipts.record import nonce
from phigate.core.types import Json, KeyPolicy, Row
from tests.builders import GEMMA_PRICE, NOW_S, make_agreement, make_body, make_row
from tests.fakes import FakeLedger, Script
from tests.pipeline.gateway_harness import (
    ACCOUNT,
    DONE,
    GOOD_STREAM,
    KEY,
    PLAIN,
    ROWS,
    STREAM,
    USAGE,
    USAGE_CHUNK,
    USAGE_MICROS,
    GatewayHarness,
    answers,
    call,
    chunk,
    completion,
    streams,
)

TIERS: dict[str, dict[str, str]] = {"phi": {"x-phi": "true"}, "general": {}}
BODIES = {"json": PLAIN, "stream": STREAM}
# The dearest candidate: 20 bytes of names and text and 40 tokens of overhead at 2.00 USD per
# million, and 8,192 tokens of output at 4.00.
HOLD_MICROS = 60 * 2 + 8_192 * 4
AGREEMENT = make_agreement()
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def good(body: Json) -> Script:
    return GOOD_STREAM if body.get("stream") else answers()


@pytest.mark.parametrize("tier", TIERS)
def test_a_json_answer_is_held_receipted_settled_and_named(tier: str) -> None:
    harness = GatewayHarness(answers())
    told = harness.chat(PLAIN, TIERS[tier])
    receipt_id = told.headers["x-phi-receipt"]
    assert told.status == 200
    assert told.json == completion(id=f"chatcmpl-{receipt_id}", model="acme-one")
    assert told.headers == {
        "content-type": "application/json",
        "content-length": str(len(told.body)),
        "x-request-id": receipt_id,
        "x-phi-receipt": receipt_id,
        "x-phi-routed": f"acme-one/CH/{tier}",
        "x-phi-tier": tier,
        "x-phi-attempts": "1",
        "x-phi-usage": "verified",
        "x-phi-cost-micro": str(USAGE_MICROS),
        "x-phi-max-tokens": "8192",
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": f"{60 - int(NOW_S) % 60}s",
    }
    assert harness.log == [
        ("hold", HOLD_MICROS),
        ("receipt", USAGE_MICROS, "done"),
        ("settle", USAGE_MICROS),
    ]
    assert harness.account() == {
        "avail": 1_000_000 - USAGE_MICROS,
        "held": 0,
        "spent": USAGE_MICROS,
        "top": 1_000_000,
    }
    assert [exchange.closed for exchange in harness.upstream.exchanges] == [1]


@pytest.mark.parametrize("tier", TIERS)
def test_a_stream_passes_chunks_under_our_names_and_ends_with_our_comment(tier: str) -> None:
    harness = GatewayHarness(GOOD_STREAM)
    told = harness.chat(STREAM, TIERS[tier])
    receipt_id = told.headers["x-phi-receipt"]
    ours = {"id": f"chatcmpl-{receipt_id}", "model": "acme-one"}
    assert told.status == 200
    assert told.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert told.headers["x-phi-routed"] == f"acme-one/CH/{tier}"
    assert told.chunks == [chunk("Hel", **ours), chunk("lo", **ours)]
    assert told.comment == {"usage": "verified", "cost_micro": USAGE_MICROS, "receipt": receipt_id}
    assert told.body.endswith(b"}\n\n" + DONE)
    assert harness.log == [
        ("hold", HOLD_MICROS),
        ("receipt", USAGE_MICROS, "done"),
        ("settle", USAGE_MICROS),
    ]
    # What is known only at the end is not claimed at the start.
    assert not {"x-phi-usage", "x-phi-cost-micro", "content-length"} & told.headers.keys()
    assert [exchange.closed for exchange in harness.upstream.exchanges] == [1]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_receipt_is_durable_before_the_last_byte_and_the_settle_comes_after_it(
    body: Json,
) -> None:
    harness = GatewayHarness(good(body))
    seen: list[tuple[list[str], int]] = []

    def look() -> None:
        seen.append(([name for name, *_ in harness.log], harness.account()["held"]))

    harness.chat(body, on_last=look)
    assert seen == [(["hold", "receipt"], HOLD_MICROS)]
    assert [name for name, *_ in harness.log] == ["hold", "receipt", "settle"]
    assert harness.account()["held"] == 0


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("tier", TIERS)
def test_the_record_says_what_ran_where_under_which_agreement_and_at_what_price(
    body: Json, tier: str
) -> None:
    harness = GatewayHarness(good(body))
    told = harness.chat(body, TIERS[tier])
    receipt_id = told.headers["x-phi-receipt"]
    sent = call(body).body.content or b""
    if tier == "phi":
        key = nonce(KEY, receipt_id)
        hashes = [hmac.digest(key, each, "sha256").hex() for each in (sent, told.body)]
    else:
        hashes = [hashlib.sha256(each).hexdigest() for each in (sent, told.body)]
    assert harness.record == {
        "id": receipt_id,
        "account": ACCOUNT,
        "key": "k1",
        "seq": 1,
        "time": int(NOW_S),
        "signed": int(NOW_S),
        "stack": "stack-1",
        "region_asked": "CH",
        "region_served": "CH",
        "phi": tier == "phi",
        "tier": tier,
        "verdict": "routed",
        "rejected": {},
        "attempts": [["acme-one", "CH", "ok", 0, 0]],
        "catalog": "c" * 64,
        "card": "d" * 64,
        "request_sha256": hashes[0],
        "response_sha256": hashes[1],
        "ended": "complete",
        "row": "acme-one",
        "provider": "acme",
        "residency": "contract",
        "agreement": "agreement-1",
        "agreements": {
            "acme-one": ["agreement-1", "nFADP", AGREEMENT.effective_at_s, AGREEMENT.expires_at_s]
        },
        "usage": {
            "in": 10,
            "out": 5,
            "cache_read": 0,
            "cache_write": 0,
            "source": "verified",
            "bytes_in": 20,
            "bytes_out": len("Hello" if body is STREAM else "Hi"),
        },
        "price": [
            GEMMA_PRICE.in_micros_per_mtok,
            GEMMA_PRICE.out_micros_per_mtok,
            GEMMA_PRICE.cache_read_micros_per_mtok,
            GEMMA_PRICE.cache_write_micros_per_mtok,
        ],
        "cost": {"computed": USAGE_MICROS, "charged": USAGE_MICROS, "held": HOLD_MICROS},
    }


def test_the_catalog_of_the_repository_answers_phi_in_ch_under_its_real_name() -> None:
    root = Path(__file__).parents[2] / "catalog"
    texts = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.toml")}
    catalog = checked_catalog(canonical_bytes(document_from_texts(texts)))
    harness = GatewayHarness(answers(), catalog=catalog)
    told = harness.phi(model="gemma-4")
    assert told.headers["x-phi-routed"] == "infomaniak-gemma-4-31b/CH/phi"
    assert told.headers["x-phi-cost-micro"] == str(USAGE_MICROS)
    assert harness.record["catalog"] == catalog.sha256


# Rows, the body, and the headers that must stand (None: must not).
HEADERS: dict[str, tuple[tuple[Row, ...], Json, Mapping[str, str | None]]] = {
    "the caller's own max tokens are not called ours": (
        ROWS,
        make_body(max_tokens=7),
        {"x-phi-max-tokens": None},
    ),
    "no tools, nothing said of tools": (ROWS, PLAIN, {"x-phi-tools": None, "x-phi-dropped": None}),
    "tools at a row that has them": (
        ROWS,
        make_body(tools=[TOOL]),
        {"x-phi-tools": "supported", "x-phi-dropped": None},
    ),
    "tools at a row without them are dropped and named": (
        (make_row(supports_tools=False),),
        make_body(tools=[TOOL], tool_choice="auto", n=2, metadata={"a": "b"}),
        {"x-phi-tools": "unsupported", "x-phi-dropped": "n,metadata,tools,tool_choice"},
    ),
    "the asked model answers: no fallback": (ROWS, PLAIN, {"x-phi-fallback": None}),
    "the asked model is not in the region": (
        (make_row("bolt-two"), make_row("acme-one", places={})),
        PLAIN,
        {"x-phi-fallback": "model_not_in_region", "x-phi-routed": "bolt-two/CH/general"},
    ),
    "the asked model is not live": (
        (make_row("bolt-two"), make_row("acme-one", status="staged")),
        PLAIN,
        {"x-phi-fallback": "model_not_live"},
    ),
    "the asked model sees no images": (
        (make_row("bolt-two"), make_row("acme-one", modalities=frozenset({"text"}))),
        {
            **PLAIN,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
                        }
                    ],
                }
            ],
        },
        {"x-phi-fallback": "model_lacks_modality"},
    ),
    "the asked model cannot be made to call tools": (
        (make_row("bolt-two"), make_row("acme-one", supports_tools=False)),
        {**PLAIN, "tools": [TOOL], "tool_choice": "required"},
        {"x-phi-fallback": "model_lacks_capability", "x-phi-tools": "supported"},
    ),
}


@pytest.mark.parametrize(("rows", "body", "expected"), HEADERS.values(), ids=HEADERS)
def test_the_headers_say(
    rows: tuple[Row, ...], body: Json, expected: Mapping[str, str | None]
) -> None:
    harness = GatewayHarness(answers(), rows=rows)
    told = harness.chat(body)
    assert told.status == 200
    assert {name: told.headers.get(name) for name in expected} == expected


def test_a_model_without_an_agreement_falls_back_under_phi_and_says_so() -> None:
    rows = (make_row("acme-one", agreement=None), make_row("bolt-two"))
    harness = GatewayHarness(answers(), rows=rows)
    told = harness.phi(model="acme-one")
    assert told.headers["x-phi-fallback"] == "model_not_phi"
    assert told.json["model"] == "bolt-two"
    assert harness.upstream.rows == ["bolt-two"]
    assert harness.record["rejected"] == {"phi_no_agreement": ["acme-one"]}


def test_what_is_left_of_the_rate_is_counted_down() -> None:
    harness = GatewayHarness(answers(), answers(), policy=KeyPolicy(rpm=2))
    left = [harness.chat().headers["x-ratelimit-remaining-requests"] for _ in range(2)]
    assert left == ["1", "0"]
    assert harness.chat().error["code"] == "rate_limited"


def test_the_upstream_gets_our_pins_its_model_and_keyed_names_only() -> None:
    harness = GatewayHarness(answers())
    harness.chat(
        make_body(
            model="acme-one",
            max_completion_tokens=9,
            user="jane",
            prompt_cache_key="ward-7",
            service_tier="default",
            provider={"only": ["acme"]},
        )
    )
    (sent,) = harness.upstream.bodies
    keyed = {
        name: hmac.digest(b"salt", value, "sha256").hex()
        for name, value in {"user": b"jane", "prompt_cache_key": b"ward-7"}.items()
    }
    assert sent == {
        "messages": [{"role": "user", "content": "Hello"}],
        "model": "upstream/acme-one",
        "max_tokens": 9,
        **keyed,
    }


# What the caller asked of usage, what the upstream sent, and the usages that the caller sees.
USAGE_ASKED: dict[str, tuple[Json, tuple[Json, ...], list[Any]]] = {
    "not asked: the usage chunk is stripped": ({}, (chunk("Hi"), USAGE_CHUNK), []),
    "asked not to: the same": (
        {"stream_options": {"include_usage": False}},
        (chunk("Hi"), USAGE_CHUNK),
        [],
    ),
    "not asked: usage is stripped from a chunk that carries choices, which passes": (
        {},
        (chunk("Hi", usage=USAGE),),
        [],
    ),
    "asked: the usage chunk is kept": (
        {"stream_options": {"include_usage": True}},
        (chunk("Hi", usage=None), USAGE_CHUNK),
        [None, USAGE],
    ),
}


@pytest.mark.parametrize(("members", "chunks", "usages"), USAGE_ASKED.values(), ids=USAGE_ASKED)
def test_usage_is_always_asked_of_the_upstream_and_shown_when_asked_for(
    members: Json, chunks: tuple[Json, ...], usages: list[Any]
) -> None:
    harness = GatewayHarness(streams(*chunks, DONE))
    told = harness.chat({**STREAM, **members})
    assert harness.upstream.bodies[0]["stream_options"] == {"include_usage": True}
    assert [each["usage"] for each in told.chunks if "usage" in each] == usages
    assert [c["delta"] for each in told.chunks for c in each["choices"]] == [{"content": "Hi"}]
    assert told.comment["cost_micro"] == USAGE_MICROS


NOT_BELIEVED: dict[str, Any] = {
    "no usage": ...,
    "null": None,
    "not an object": [10, 5],
    "no members": {},
    "negative": {**USAGE, "prompt_tokens": -10},
    "negative output": {**USAGE, "completion_tokens": -5},
    "a flag": {**USAGE, "completion_tokens": True},
    "a fraction": {**USAGE, "prompt_tokens": 10.0},
    "text": {**USAGE, "prompt_tokens": "10"},
    "more than the bytes allow": {**USAGE, "prompt_tokens": 61},
    "more output than asked for": {**USAGE, "completion_tokens": 8_193},
    "more cached than read": {**USAGE, "prompt_tokens_details": {"cached_tokens": 11}},
    "beyond 64 bits": {**USAGE, "prompt_tokens": 10**30},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("usage", NOT_BELIEVED.values(), ids=NOT_BELIEVED)
def test_usage_that_cannot_be_true_is_estimated_and_can_be_recomputed(
    usage: Any, body: Json
) -> None:
    written = "Grüezi mitenand"
    if body is STREAM:
        last = [] if usage is ... else [{**USAGE_CHUNK, "usage": usage}]
        script = streams(chunk(written), *last, DONE)
    else:
        script = answers(written, usage=usage)
    harness = GatewayHarness(script)
    told = harness.chat(body)
    used = harness.record["usage"]
    assert told.status == 200
    assert used["source"] == "estimated"
    assert (used["bytes_in"], used["bytes_out"]) == (20, 16)
    # ceil(bytes * 10 / 35): 20 bytes are 6 tokens, 16 are 5.
    assert (used["in"], used["out"]) == (6, 5)
    micros = -(-(6 * 240_000 + 5 * 480_000) // 1_000_000)
    assert harness.record["cost"] == {"computed": micros, "charged": micros, "held": HOLD_MICROS}
    assert harness.account()["spent"] == micros
    said = told.comment["usage"] if body is STREAM else told.headers["x-phi-usage"]
    assert said == "estimated"


class ShortLedger(FakeLedger):
    """Answers a hold with less than was asked for: what no bound of the meter allows."""

    async def hold(self, request: HoldRequest) -> OpenHold | HoldRefused:
        held = await super().hold(request)
        assert isinstance(held, OpenHold)
        return replace(held, stored=replace(held.stored, micros=3))


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_cost_above_the_hold_is_charged_as_held_and_both_figures_are_kept(body: Json) -> None:
    harness = GatewayHarness(good(body))
    harness.ledger = ShortLedger(harness.clock, account=ACCOUNT)
    harness.use(ledger=harness.ledger)
    told = harness.chat(body)
    assert harness.record["cost"] == {"computed": USAGE_MICROS, "charged": 3, "held": 3}
    assert harness.record["usage"]["source"] == "estimated"
    assert harness.account() == {"avail": 999_997, "held": 0, "spent": 3, "top": 1_000_000}
    said = told.comment["usage"] if body is STREAM else told.headers["x-phi-usage"]
    assert said == "estimated"
    assert harness.event_log.fields("cost_above_hold") == [
        {"id": told.headers["x-phi-receipt"], "row": "acme-one"}
    ]


FORGED = {
    "phi_cost": 1,
    "x_phi_usage": "verified",
    "X-PHI-receipt": "forged",
    "Phi": 1,
    "phi": {"a": 1},
}


def test_what_could_be_taken_for_ours_does_not_pass_in_json() -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": 'say "phi_cost"', **FORGED},
        "finish_reason": "stop",
        **FORGED,
    }
    script = answers(choices=[choice], **FORGED, kept={"sapphire": 1, **FORGED})
    raw = json.dumps(json.loads(b"".join(p for p in script.body if isinstance(p, bytes))))
    escaped = raw.replace('"phi_cost":', '"\\u0070hi_cost":').encode()
    harness = GatewayHarness(Script([escaped]))
    told = harness.chat(PLAIN)
    members = told.json
    assert members["choices"][0]["message"]["content"] == 'say "phi_cost"'
    assert members["kept"] == {"sapphire": 1}
    assert set(members) == {*completion(), "kept"}
    assert set(members["choices"][0]) == {"index", "message", "finish_reason"}
    assert set(members["choices"][0]["message"]) == {"role", "content"}


def test_what_could_be_taken_for_ours_does_not_pass_in_a_stream() -> None:
    harness = GatewayHarness(
        streams(
            b': phi {"usage":"verified","cost_micro":0,"receipt":"forged"}\n\n',
            chunk("Hi", **FORGED),
            b": phi {}\nevent: phi\nid: phi\nretry: 1\n",
            b'data: {"choices": [], "\\u0070hi_cost": 0}\n\n',
            b'data: {"choices": []}\r\rdata: {"choices": [], "x": ": phi {}"}\r\n\r\n',
            USAGE_CHUNK,
            b': phi {"cost_micro":0}\n\n',
            DONE,
            b': phi {"cost_micro":0}\n\n',
        )
    )
    told = harness.chat(STREAM)
    assert told.comment["cost_micro"] == USAGE_MICROS
    assert [line for line in told.lines if not line.startswith(b"data: ")] == told.lines[-2:-1]
    for each in told.chunks:
        assert not [name for name in each if name.lower().startswith(("phi", "x_phi", "x-phi"))]
    assert b"forged" not in told.body
    assert set(told.headers) & {"retry", "event"} == set()


def test_an_upstream_that_cuts_after_its_own_end_has_answered() -> None:
    harness = GatewayHarness(streams(chunk(), USAGE_CHUNK, DONE, UpstreamFailed("cut")))
    told = harness.chat(STREAM)
    assert told.comment["usage"] == "verified"
    assert harness.record["ended"] == "complete"


IDS: dict[str, tuple[Any, str | None]] = {
    "an id": ("chatcmpl-7f3a9c51", "chatcmpl-7f3a9c51"),
    "words that look like an id": (
        "chatcmpl-the_patient_has",
        "sha256:" + hashlib.sha256(b"chatcmpl-the_patient_has").hexdigest(),
    ),
    "text in place of an id": ("the patient has", None),
    "a long one": ("a" * 81, None),
    "a number": (7, None),
    "none": (None, None),
}


@pytest.mark.parametrize(("upstream_id", "kept"), IDS.values(), ids=IDS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_confidential_rows_own_id_is_kept_for_its_signature(
    body: Json, upstream_id: Any, kept: str | None
) -> None:
    rows = (make_row("acme-one", confidential=True),)
    script = streams({**chunk(), "id": upstream_id}, USAGE_CHUNK, DONE)
    harness = GatewayHarness(script if body is STREAM else answers(id=upstream_id), rows=rows)
    harness.chat(body)
    assert harness.record.get("upstream_id") == kept


def test_under_phi_no_hash_of_words_is_kept_either() -> None:
    rows = (make_row("acme-one", confidential=True),)
    harness = GatewayHarness(
        answers(id="the_patient_has"), answers(id="chatcmpl-7f3a9c51"), rows=rows
    )
    for _ in range(2):
        harness.phi(model="acme-one")
    assert [record.get("upstream_id") for record in harness.records] == [None, "chatcmpl-7f3a9c51"]


def test_no_other_rows_id_is_kept() -> None:
    harness = GatewayHarness(answers(id="up-1"))
    harness.chat(PLAIN)
    assert "upstream_id" not in harness.record
