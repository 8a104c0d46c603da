"""Whether a call may run, and what its receipt says, when keys can be certified and when not."""

import hashlib
import hmac

import pytest

from phigate.core.limits import CERTIFICATE_LIFE_S
from phigate.core.receipts.record import hash_text, nonce
from phigate.core.types import Json
from phigate.pipeline.gateway import ReceiptsRequired
from phigate.verify.receipt import Evidence, verify
from phigate.wire.jwk import verify as signature_holds
from tests.builders import make_body
from tests.pipeline.gateway_harness import (
    GOOD_STREAM,
    KEY,
    PLAIN,
    STREAM,
    GatewayHarness,
    answers,
    call,
    fails,
)

BODIES = {"json": PLAIN, "stream": STREAM}
PHI = {"x-phi": "true"}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("phi", [True, False], ids=["phi", "general"])
def test_a_receipt_holds_before_a_stranger_with_the_very_bytes(body: Json, phi: bool) -> None:
    harness = GatewayHarness(GOOD_STREAM if body is STREAM else answers())
    told = harness.chat(body, PHI if phi else {})
    receipt_id = told.headers["x-phi-receipt"]
    evidence = Evidence(
        roots=harness.roots,
        request=call(body).body.content,
        response=told.body,
        nonce=nonce(KEY, receipt_id) if phi else None,
    )
    verified = verify(harness.bundle(receipt_id), evidence)
    held = {check.name for check in verified.checks if check.outcome == "holds"}
    assert held == {"certificate", "signature", "record", "request", "response"}
    assert verified.is_anchored


def test_general_answers_carry_the_text_that_redpill_knows_and_phi_does_not() -> None:
    harness = GatewayHarness(answers(), answers())
    told = harness.chat(PLAIN)
    signed = harness.ledger.records[told.headers["x-phi-receipt"]]
    certificate = harness.certificate(signed.kid)
    hashes = [
        hashlib.sha256(each).hexdigest() for each in (call(PLAIN).body.content or b"", told.body)
    ]
    text = hash_text(*hashes).encode()
    assert signature_holds(certificate.jwk, "EdDSA", text, signed.text_signature)
    phi = harness.chat(PLAIN, PHI)
    assert harness.ledger.records[phi.headers["x-phi-receipt"]].text_signature == b""


def test_one_certificate_serves_many_calls() -> None:
    harness = GatewayHarness(*[answers()] * 3)
    for _ in range(3):
        harness.chat(PLAIN, PHI)
    assert harness.root.asked == 1
    assert len({record.kid for record in harness.ledger.records.values()}) == 1


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_phi_is_sent_nowhere_when_its_receipt_cannot_be_certified(body: Json) -> None:
    harness = GatewayHarness()
    harness.root.fails = True
    told = harness.chat(body, PHI)
    assert (told.status, told.error["code"]) == (503, "overloaded")
    assert "Receipts cannot be certified" in told.error["message"]
    assert harness.upstream.requests == []
    assert harness.account() == {"avail": 1_000_000, "held": 0, "spent": 0, "top": 1_000_000}
    assert harness.record["verdict"] == "overloaded"
    assert harness.record["certified"] is False


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_general_traffic_goes_on_with_a_receipt_that_says_it_is_uncertified(body: Json) -> None:
    harness = GatewayHarness(GOOD_STREAM if body is STREAM else answers())
    harness.root.fails = True
    assert harness.chat(body).status == 200
    assert harness.record["certified"] is False
    assert harness.record["verdict"] == "routed"
    assert harness.account()["held"] == 0


# Whose calls run when nothing can be certified: (PHI, general).
REQUIRED: dict[ReceiptsRequired, tuple[int, int]] = {
    "phi": (503, 200),
    "all": (503, 503),
    "none": (200, 200),
}


@pytest.mark.parametrize("required", REQUIRED)
def test_the_stack_says_which_traffic_needs_certified_receipts(required: ReceiptsRequired) -> None:
    harness = GatewayHarness(answers(), answers(), receipts_required=required)
    harness.root.fails = True
    statuses = (harness.chat(PLAIN, PHI).status, harness.chat(PLAIN).status)
    assert statuses == REQUIRED[required]


def test_phi_waits_for_a_key_that_lasts_to_the_end_of_its_call() -> None:
    harness = GatewayHarness(answers(), answers())
    harness.chat(PLAIN, PHI)
    harness.pass_time(CERTIFICATE_LIFE_S - 100)
    harness.chat(PLAIN, PHI)
    first, second = harness.ledger.records.values()
    assert first.kid != second.kid


def test_phi_stops_while_the_key_at_hand_ends_before_the_call_may() -> None:
    harness = GatewayHarness(answers())
    harness.chat(PLAIN, PHI)
    harness.pass_time(CERTIFICATE_LIFE_S - 100)
    harness.root.fails = True
    assert harness.chat(PLAIN, PHI).status == 503
    assert len(harness.upstream.requests) == 1


def test_a_refusal_of_phi_has_its_receipt_also_uncertified() -> None:
    harness = GatewayHarness(policy=None)
    harness.root.fails = True
    told = harness.chat(make_body(model="nobody"), PHI)
    assert (told.status, harness.record["verdict"]) == (404, "model_not_found")
    assert told.headers["x-phi-receipt"] == harness.record["id"]


def test_when_every_provider_fails_the_receipt_is_certified_too() -> None:
    harness = GatewayHarness(*[fails(500)] * 4)
    told = harness.chat(make_body(model="acme-one"), PHI)
    assert told.status == 502
    verified = verify(harness.bundle(harness.record["id"]), Evidence(harness.roots))
    assert verified.is_anchored
    assert not verified.fails


def test_the_nonce_of_another_call_does_not_open_the_hash() -> None:
    harness = GatewayHarness(answers(), answers())
    first, second = (harness.chat(PLAIN, PHI) for _ in range(2))
    ids = [told.headers["x-phi-receipt"] for told in (first, second)]
    body = call(PLAIN).body.content or b""
    (record, _) = harness.records
    assert record["request_sha256"] == hmac.digest(nonce(KEY, ids[0]), body, "sha256").hex()
    assert record["request_sha256"] != hmac.digest(nonce(KEY, ids[1]), body, "sha256").hex()
