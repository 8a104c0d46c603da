"""What a confidential upstream signs: its wire is hashed, its signature is fetched after the answer
and kept beside the receipt; whatever goes wrong with it changes nothing for the caller."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.limits import UPSTREAM_SIGNATURE_S
from phigate.core.receipts.upstream_signature import UpstreamSignature
from phigate.core.types import Json
from phigate.core.upstream import Fetched
from phigate.effects.store.dynamodb import Unavailable
from phigate.verify.consistency import read_record
from tests.builders import make_body, make_row
from tests.fakes import Script
from tests.pipeline.gateway_harness import (
    ACCOUNT,
    DONE,
    GOOD_STREAM,
    PLAIN,
    STREAM,
    USAGE_CHUNK,
    GatewayHarness,
    answers,
    chunk,
    event,
    fails,
    streams,
)

ROWS = (make_row("acme-one", model="phala/qwen3.5-27b", confidential=True),)
SIGNATURE = {
    "text": f"{'a' * 64}:{'b' * 64}",
    "signature": "0x" + "c" * 130,
    "signing_address": "0x" + "D" * 40,
    "signing_algo": "ecdsa",
}
FOUND = Fetched(200, json.dumps({**SIGNATURE, "more": "members"}).encode())


def harness(
    *scripts: Script, gets: list[object] | None = None, **options: object
) -> GatewayHarness:
    made = GatewayHarness(*scripts, **{"rows": ROWS, **options})  # type: ignore[arg-type]
    made.upstream.gets = [FOUND] if gets is None else gets  # type: ignore[assignment]
    return made


def kept(made: GatewayHarness, receipt_id: str) -> UpstreamSignature | None:
    return asyncio.run(made.gateway.receipts.upstream(ACCOUNT, receipt_id))


def wire(made: GatewayHarness, script: Script) -> dict[str, str]:
    """The hashes of what went over the wire, computed here."""
    received = b"".join(step for step in script.body if isinstance(step, bytes))
    return {
        "upstream_request_sha256": hashlib.sha256(made.upstream.requests[-1].body).hexdigest(),
        "upstream_response_sha256": hashlib.sha256(received).hexdigest(),
    }


TRAILING = streams(chunk("Hi"), USAGE_CHUNK, b"data: [DONE]\n", b"\n", b": behind the end\n\n")
ANSWERS: dict[str, tuple[Script, Json]] = {
    "a whole answer": (answers(), PLAIN),
    "a whole answer in pieces": (
        Script([answers().body[0][:50], answers().body[0][50:]]),  # type: ignore[index]
        PLAIN,
    ),
    "a stream": (GOOD_STREAM, STREAM),
    "a stream in silence": (streams(chunk("Hi"), 40.0, USAGE_CHUNK, DONE), STREAM),
    "a stream with bytes behind its end": (TRAILING, STREAM),
    "a stream whose events come in one piece": (
        Script([event(chunk("Hi")) + event(USAGE_CHUNK) + DONE], content_type="text/event-stream"),
        STREAM,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_receipt_names_the_hashes_of_the_upstreams_wire(name: str) -> None:
    script, body = ANSWERS[name]
    made = harness(script)
    made.chat(body)
    hashes = wire(made, script)
    assert {name: made.record[name] for name in hashes} == hashes
    assert read_record(next(iter(made.ledger.records.values())).payload) == made.record


@pytest.mark.parametrize("name", ANSWERS)
def test_the_upstreams_signature_is_kept_beside_the_receipt(name: str) -> None:
    script, body = ANSWERS[name]
    made = harness(script)
    made.chat(body)
    found = kept(made, made.record["id"])
    assert found is not None
    assert asdict(found) == SIGNATURE
    (fetch,) = made.upstream.fetches
    path = "/signature/up-1?model=phala%2Fqwen3.5-27b&signing_algo=ecdsa"
    assert fetch.path == path
    assert (fetch.row.id, fetch.region) == ("acme-one", "CH")
    assert 0 < fetch.timeout_s <= UPSTREAM_SIGNATURE_S


def test_it_is_fetched_after_the_last_byte_and_the_settle() -> None:
    made = harness(answers())
    at_the_fetch: list[object] = []

    def asked() -> Fetched:
        at_the_fetch.extend([made.out.last_at, [name for name, *_ in made.log]])
        return FOUND

    made.upstream.gets = [asked]
    made.chat(PLAIN)
    assert at_the_fetch == [0, ["hold", "receipt", "settle"]]


def test_beside_a_receipt_is_no_receipt() -> None:
    made = harness(answers())
    made.chat(PLAIN)
    day = "2027-01-15"

    async def listed() -> list[str]:
        receipts = made.gateway.receipts
        return [r.id async for r in receipts.day(ACCOUNT, day)]  # type: ignore[attr-defined]

    items = [sk for pk, sk in made.ledger.dynamo.items if pk == f"R#{ACCOUNT}#{day}"]
    assert len(items) == 2, items
    assert asyncio.run(listed()) == [made.record["id"]]


def test_what_is_kept_stays_as_long_as_the_receipt_and_is_never_replaced() -> None:
    made = harness(answers())
    made.chat(PLAIN)
    receipt_id = made.record["id"]
    beside, receipt = (
        next(item for (pk, name), item in made.ledger.dynamo.items.items() if name == sk)
        for sk in (f"{receipt_id}.u", receipt_id)
    )
    assert beside["ttl"] == receipt["ttl"]
    other = UpstreamSignature(**{**SIGNATURE, "signature": "0x" + "e" * 130})
    asyncio.run(made.gateway.receipts.put_upstream(ACCOUNT, receipt_id, other))
    assert kept(made, receipt_id) == UpstreamSignature(**SIGNATURE)


NOT_KEPT: dict[str, tuple[list[object], str, int]] = {
    "not there": ([Fetched(404, b"{}")] * 2, "http_404", 2),
    "it refuses us": ([Fetched(401, b"{}")] * 2, "http_401", 2),
    "garbage": ([Fetched(200, b"<html>")] * 2, "malformed", 2),
    "no object": ([Fetched(200, b"[]")] * 2, "malformed", 2),
    "nested without end": ([Fetched(200, b"[" * 4_000)] * 2, "malformed", 2),
    "a redirect": ([UpstreamFailed("redirect")] * 2, "redirect", 2),
    "huge": ([UpstreamFailed("oversized")] * 2, "oversized", 2),
    "slow": ([UpstreamFailed("timeout")] * 2, "timeout", 2),
    "unreachable": ([UpstreamFailed("connect")] * 2, "connect", 2),
    **{
        f"a signature whose {member} is {value!r}": (
            [Fetched(200, json.dumps({**SIGNATURE, member: value}).encode())] * 2,
            "malformed",
            2,
        )
        for member, value in (
            ("text", None),
            ("text", "the prompt itself"),
            ("text", f"{SIGNATURE['text']} and the prompt"),
            ("text", f"the patient has:{SIGNATURE['text']}"),
            ("signature", "0xzz"),
            ("signature", 5),
            ("signing_address", "0x12"),
            ("signing_algo", "rsa"),
        )
    },
    **{
        f"a signature that names {name}": (
            [
                Fetched(
                    200, json.dumps({**SIGNATURE, "text": f"{name}:{SIGNATURE['text']}"}).encode()
                )
            ]
            * 2,
            "another_model",
            2,
        )
        for name in ("the-patient-has-hiv", "phala", "phala/qwen3.5-27b-the-patient-has-hiv")
    },
}


@pytest.mark.parametrize("model", ["phala/qwen3.5-27b", "qwen3.5-27b"])
def test_a_signature_that_names_the_rows_model_is_kept(model: str) -> None:
    text = f"{model}:{SIGNATURE['text']}"
    made = harness(answers(), gets=[Fetched(200, json.dumps({**SIGNATURE, "text": text}).encode())])
    made.chat(PLAIN)
    found = kept(made, made.record["id"])
    assert found is not None
    assert found.text == text


def test_an_id_of_no_known_shape_is_asked_for_as_it_is_and_kept_as_its_hash() -> None:
    made = harness(answers(id="the_patient_has_hiv"))
    made.chat(PLAIN)
    (fetch,) = made.upstream.fetches
    assert fetch.path.startswith("/signature/the_patient_has_hiv?")
    assert kept(made, made.record["id"]) is not None
    assert "patient" not in repr(made.ledger.dynamo.items) + repr(made.records)


@pytest.mark.parametrize("name", NOT_KEPT)
def test_a_signature_that_cannot_be_had_costs_a_line_of_the_journal(name: str) -> None:
    gets, outcome, tries = NOT_KEPT[name]
    made = harness(answers(), gets=list(gets))
    told = made.chat(PLAIN)
    assert told.status == 200
    assert len(made.upstream.fetches) == tries
    assert kept(made, made.record["id"]) is None
    (note,) = made.event_log.fields("upstream_signature_not_kept")
    assert note == {"id": made.record["id"], "row": "acme-one", "outcome": outcome}
    assert made.account()["held"] == 0


def test_a_signature_that_comes_a_moment_late_is_kept() -> None:
    made = harness(answers(), gets=[Fetched(404, b"{}"), FOUND])
    made.chat(PLAIN)
    assert kept(made, made.record["id"]) is not None
    assert made.event_log.fields("upstream_signature_not_kept") == []


def test_both_tries_together_have_five_seconds() -> None:
    made = harness(answers())

    def slow() -> UpstreamFailed:
        made.pass_time(UPSTREAM_SIGNATURE_S)
        return UpstreamFailed("timeout")

    made.upstream.gets = [slow, FOUND]
    began_s = made.clock.time_s
    made.chat(PLAIN)
    assert len(made.upstream.fetches) == 1
    assert made.clock.time_s == began_s + UPSTREAM_SIGNATURE_S, "nothing is waited for in vain"
    (note,) = made.event_log.fields("upstream_signature_not_kept")
    assert note["outcome"] == "timeout"


def test_a_store_that_is_down_is_noted_and_nothing_more() -> None:
    made = harness(answers())

    def closes() -> Fetched:
        made.ledger.dynamo.execute = lost  # type: ignore[method-assign]
        return FOUND

    def lost(operation: str, payload: Json) -> Json:
        raise Unavailable("down")

    made.upstream.gets = [closes]
    assert made.chat(PLAIN).status == 200
    (note,) = made.event_log.fields("upstream_signature_not_kept")
    assert note["outcome"] == "Overloaded"


UNWATCHED: dict[str, Callable[[], GatewayHarness]] = {
    "a row that is not confidential": lambda: harness(answers(), rows=(make_row("acme-one"),)),
    "an answer without an id": lambda: harness(answers(id=None)),
    "a refusal": lambda: harness(fails(400)),
    "an upstream that fails": lambda: harness(fails(500), fails(500)),
}


@pytest.mark.parametrize("name", UNWATCHED)
def test_nothing_is_fetched_for(name: str) -> None:
    made = UNWATCHED[name]()
    made.chat(PLAIN)
    assert made.upstream.fetches == []
    assert made.event_log.fields("upstream_signature_not_kept") == []


def test_never_under_phi() -> None:
    """Also where a confidential row has an agreement: a plain hash of PHI tests guesses."""
    made = harness(answers())
    told = made.phi(model="acme-one")
    assert told.status == 200
    assert not [name for name in made.record if name.endswith("_sha256") and "upstream" in name]
    assert made.upstream.fetches == []


def test_after_a_failover_the_hashes_are_of_the_row_that_answered() -> None:
    rows = (
        make_row("acme-one", confidential=True),
        make_row("bolt-two", confidential=True, provider="bolt"),
    )
    answer = answers("from the second")
    made = harness(fails(503), answer, rows=rows)
    made.chat(make_body(model="acme-one"))
    hashes = wire(made, answer)
    assert made.record["row"] == "bolt-two"
    assert {name: made.record[name] for name in hashes} == hashes
    assert [fetch.row.id for fetch in made.upstream.fetches] == ["bolt-two"]


def test_a_failover_to_a_row_that_is_not_confidential_leaves_no_hashes() -> None:
    rows = (make_row("acme-one", confidential=True), make_row("bolt-two", provider="bolt"))
    made = harness(fails(503), answers(), rows=rows)
    made.chat(make_body(model="acme-one", provider={"confidential": False}))
    assert made.record["row"] == "bolt-two"
    assert "upstream_response_sha256" not in made.record
    assert made.upstream.fetches == []


def test_a_stream_that_breaks_off_is_hashed_as_far_as_it_came() -> None:
    script = streams(chunk("Hel"), UpstreamFailed("cut"))
    made = harness(script)
    made.chat(STREAM)
    assert made.record["ended"] == "upstream_cut"
    assert made.record["upstream_response_sha256"] == wire(made, script)["upstream_response_sha256"]
