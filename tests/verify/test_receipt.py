"""Verifying one receipt: what holds, what was left open, and what fails with which words."""

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.cli.main import main
from phigate.core.catalog.price import card_sha256, pricing_card
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.receipts.record import RECEIPT_ALG, RECEIPT_TYP
from phigate.core.types import Json
from phigate.verify.errors import VerificationError
from phigate.verify.receipt import Bundle, Evidence, Verified, read_bundle, verify
from phigate.verify.roots import CATALOGS, CERTIFICATES, DIGESTS, Root, by_kid
from phigate.wire.jws import compact, encode, signing_input
from tests.builders import make_agreement, make_catalog, make_price, make_row
from tests.verify.receipt_factory import ID, TIME_S, ReceiptFactory, answer, fresh_signer, general

RECEIPTS = ReceiptFactory()
OTHER = ReceiptFactory()
REQUEST, RESPONSE = b'{"model": "gemma-4"}', b'{"id": "chatcmpl-1"}'
NONCE = bytes(range(32))
CATALOG = make_catalog([make_row()])
CARD = pricing_card(CATALOG)
CARD_SHA256 = card_sha256(CARD)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def outcomes(verified: Verified) -> dict[str, str]:
    return {check.name: check.outcome for check in verified.checks}


def failures(verified: Verified) -> dict[str, str]:
    return {check.name: check.message for check in verified.checks if check.outcome == "fails"}


def test_with_everything_at_hand_everything_holds() -> None:
    members = general(
        request_sha256=sha256(REQUEST), response_sha256=sha256(RESPONSE), card=CARD_SHA256
    )
    evidence = Evidence(
        roots=RECEIPTS.roots, request=REQUEST, response=RESPONSE, card=canonical_bytes(CARD)
    )
    verified = verify(RECEIPTS.bundle(members), evidence)
    assert set(outcomes(verified).values()) == {"holds"}
    assert verified.is_anchored
    assert not verified.fails


def test_what_was_not_given_is_open_and_anchors_nothing() -> None:
    verified = verify(RECEIPTS.bundle(), Evidence())
    assert outcomes(verified) == {
        "certificate": "open",
        "signature": "holds",
        "record": "holds",
        "card": "open",
        "request": "open",
        "response": "open",
    }
    assert not verified.is_anchored


def test_a_bare_jws_holds_with_its_certificate_and_is_open_without() -> None:
    bare = read_bundle(RECEIPTS.bundle().receipt.encode() + b"\n")
    assert bare == Bundle(RECEIPTS.bundle().receipt)
    assert outcomes(verify(bare, Evidence(RECEIPTS.roots)))["signature"] == "open"


def test_phi_hashes_open_with_the_nonce_alone() -> None:
    members = answer(
        request_sha256=hmac.digest(NONCE, REQUEST, "sha256").hex(),
        response_sha256=hmac.digest(NONCE, RESPONSE, "sha256").hex(),
    )
    bundle = RECEIPTS.bundle(members)
    given = Evidence(RECEIPTS.roots, request=REQUEST, response=RESPONSE)
    closed = verify(bundle, given)
    assert outcomes(closed)["request"] == "open"
    # The option that there is: no command takes a secret as an argument.
    assert any("--nonce-file" in check.message for check in closed.checks)
    opened = verify(bundle, replace(given, nonce=NONCE))
    assert (outcomes(opened)["request"], outcomes(opened)["response"]) == ("holds", "holds")
    wrong = verify(bundle, replace(given, nonce=bytes(32)))
    assert set(failures(wrong)) == {"request", "response"}


def without(members: Json, *names: str) -> Json:
    return {name: value for name, value in members.items() if name not in names}


def resigned(header: Json, payload: bytes, signature: bytes | None = None) -> str:
    """A JWS with any header, signed by the receipt key unless a signature is given."""
    message = encode(orjson.dumps(header)) + b"." + encode(payload)
    return compact(message, RECEIPTS.key.sign(message) if signature is None else signature)


HEADER = {"alg": RECEIPT_ALG, "kid": RECEIPTS.kid, "typ": RECEIPT_TYP}
PAYLOAD = orjson.dumps(answer(), option=orjson.OPT_SORT_KEYS)
GOOD = RECEIPTS.bundle()
HEAD, BODY, SIGNATURE = GOOD.receipt.split(".")
PUBLIC = RECEIPTS.key.public_key().public_bytes_raw()


def hs256() -> str:
    """The public key taken as the secret of a MAC."""
    message = encode(orjson.dumps({**HEADER, "alg": "HS256"})) + b"." + encode(PAYLOAD)
    return compact(message, hmac.digest(PUBLIC, message, "sha256"))


def raw_header(header: bytes) -> str:
    return f"{encode(header).decode()}.{BODY}.{SIGNATURE}"


# The texts that are no receipt, and the words that say so.
TEXTS: dict[str, tuple[str, str]] = {
    "cut by a character": (GOOD.receipt[:-1], "base64url|bits"),
    "cut after the payload": (f"{HEAD}.{BODY}", "three parts"),
    "cut after the dot": (f"{HEAD}.{BODY}.", "three parts"),
    "a part too many": (f"{GOOD.receipt}.{SIGNATURE}", "three parts"),
    "padded": (f"{GOOD.receipt}==", "base64url"),
    "plain base64": (f"{HEAD}.{BODY}.{'+' * 86}", "base64url"),
    "a line break": (f"{HEAD}.{BODY}\n.{SIGNATURE}", "base64url"),
    "unused bits": (f"{HEAD}.{BODY}.{SIGNATURE[:-1]}B", "bits that mean nothing"),
    "letters of another alphabet": (f"{HEAD}.{BODY}.{'ä' * 86}", "base64url"),
    "too long": ("a" * 100_000, "over 65536 characters"),
    "no algorithm": (resigned({**HEADER, "alg": "none"}, PAYLOAD), "must be EdDSA"),
    "a MAC under the public key": (hs256(), "must be EdDSA"),
    "another algorithm": (resigned({**HEADER, "alg": "ES256"}, PAYLOAD), "must be EdDSA"),
    "the algorithm in lower case": (resigned({**HEADER, "alg": "eddsa"}, PAYLOAD), "must be EdDSA"),
    "a certificate": (RECEIPTS.certificate(), "must be EdDSA"),
    "the type of a certificate": (
        resigned({**HEADER, "typ": CERTIFICATES}, PAYLOAD),
        f"must be {RECEIPT_TYP}",
    ),
    "no type": (resigned(without(HEADER, "typ"), PAYLOAD), f"must be {RECEIPT_TYP}"),
    "no key": (resigned(without(HEADER, "kid"), PAYLOAD), "alg, kid and typ"),
    "a key that is no text": (resigned({**HEADER, "kid": 1}, PAYLOAD), "alg, kid and typ"),
    "a key of its own": (resigned({**HEADER, "jwk": RECEIPTS.jwk}, PAYLOAD), "alg, kid and typ"),
    "an address of keys": (resigned({**HEADER, "jku": "https://x"}, PAYLOAD), "alg, kid and typ"),
    "a critical extension": (resigned({**HEADER, "crit": ["b64"]}, PAYLOAD), "alg, kid and typ"),
    "a header member twice": (
        raw_header(b'{"alg":"EdDSA","alg":"none","kid":"k","typ":"t"}'),
        "the header",
    ),
    "a header that is a list": (raw_header(b"[]"), "the header"),
    "a header that is no JSON": (raw_header(b"alg"), "the header"),
    "a payload that is no JSON": (RECEIPTS.jws(b"record"), "cannot be read"),
    "a payload member twice": (RECEIPTS.jws(b'{"id":"a",' + PAYLOAD[1:]), "cannot be read"),
    "a payload that is not canonical": (RECEIPTS.jws(b" " + PAYLOAD), "not canonical"),
}


@pytest.mark.parametrize("text, words", TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_receipt_is_told_why(text: str, words: str) -> None:
    verified = verify(Bundle(text, GOOD.certificate), Evidence(RECEIPTS.roots))
    (message,) = failures(verified).values()
    assert any(word in message for word in words.split("|")), message
    assert verified.record is None


EARLY: dict[str, Any] = {"issued_at_s": TIME_S - 4_000, "expires_at_s": TIME_S - 400}
DIGEST_ROOT = by_kid([Root(RECEIPTS.root.public_jwk, DIGESTS, 0)])
CATALOG_ROOT = by_kid([Root(RECEIPTS.root.public_jwk, CATALOGS, 0)])
REPLACED = by_kid([Root(RECEIPTS.root.public_jwk, CERTIFICATES, 0, TIME_S - 60)])

# The certificate, the key set, and the words.
CERTIFICATES_THAT_FAIL: dict[str, tuple[str, Any, str]] = {
    "another key's": (OTHER.certificate(RECEIPTS.root), RECEIPTS.roots, "another key's"),
    "another stack's": (RECEIPTS.certificate(stack="stack-2"), RECEIPTS.roots, "of stack stack-2"),
    "expired": (RECEIPTS.certificate(**EARLY), RECEIPTS.roots, "its certificate is good from"),
    "not yet good": (
        RECEIPTS.certificate(issued_at_s=TIME_S + 3, expires_at_s=TIME_S + 60),
        RECEIPTS.roots,
        "its certificate is good from",
    ),
    "ends at the very second": (
        RECEIPTS.certificate(expires_at_s=TIME_S + 2),
        RECEIPTS.roots,
        "its certificate is good from",
    ),
    "for more than an hour": (
        RECEIPTS.certificate(expires_at_s=TIME_S + 3_541),
        RECEIPTS.roots,
        "for more than 3600 s",
    ),
    "ends before it begins": (
        RECEIPTS.certificate(expires_at_s=TIME_S - 61),
        RECEIPTS.roots,
        "for more than 3600 s",
    ),
    "by a root that the key set does not have": (
        RECEIPTS.certificate(fresh_signer()),
        RECEIPTS.roots,
        "has no key",
    ),
    "by a root of another stack": (RECEIPTS.certificate(), OTHER.roots, "has no key"),
    "by the root of days": (RECEIPTS.certificate(), DIGEST_ROOT, "may not sign this"),
    "by the root of catalogs": (RECEIPTS.certificate(), CATALOG_ROOT, "may not sign this"),
    "by a root that was replaced": (RECEIPTS.certificate(), REPLACED, "was replaced at"),
    "changed": (
        RECEIPTS.certificate(issuer="https://stack.evil").split(".")[0]
        + "."
        + RECEIPTS.certificate(issuer="https://stack.evil").split(".")[1]
        + "."
        + RECEIPTS.certificate().split(".")[2],
        RECEIPTS.roots,
        "signature is not that of the key",
    ),
    "cut": (RECEIPTS.certificate()[:-1], RECEIPTS.roots, "the certificate:"),
    "a receipt": (GOOD.receipt, RECEIPTS.roots, "must be ES256"),
    "without members": (RECEIPTS.signed_certificate(b"{}"), RECEIPTS.roots, "not the members"),
    "no JSON": (RECEIPTS.signed_certificate(b"x"), RECEIPTS.roots, "the certificate:"),
    "a name that is not the key's": (
        RECEIPTS.certificate(kid="k"),
        RECEIPTS.roots,
        "hash to its name",
    ),
    "a key of another kind": (
        RECEIPTS.certificate(jwk=RECEIPTS.root.public_jwk, kid=RECEIPTS.root.kid),
        RECEIPTS.roots,
        "not the members",
    ),
    "times that are no numbers": (
        RECEIPTS.certificate(issued_at_s="1"),
        RECEIPTS.roots,
        "the members",
    ),
    "a time that is a flag": (
        RECEIPTS.certificate(issued_at_s=True),
        RECEIPTS.roots,
        "the members",
    ),
}


@pytest.mark.parametrize(
    "certificate, roots, words", CERTIFICATES_THAT_FAIL.values(), ids=CERTIFICATES_THAT_FAIL
)
def test_a_certificate_that_does_not_vouch_is_told_why(
    certificate: str, roots: Any, words: str
) -> None:
    verified = verify(Bundle(GOOD.receipt, certificate), Evidence(roots))
    assert words in failures(verified)["certificate"]
    assert outcomes(verified)["signature"] == "open"
    assert not verified.is_anchored


def test_a_root_that_was_replaced_later_still_vouches() -> None:
    roots = by_kid([Root(RECEIPTS.root.public_jwk, CERTIFICATES, 0, TIME_S + 1)])
    assert verify(GOOD, Evidence(roots)).is_anchored


def test_a_field_that_was_changed_after_signing_fails() -> None:
    changed = PAYLOAD.replace(b'"charged":48', b'"charged":47')
    bundle = Bundle(f"{HEAD}.{encode(changed).decode()}.{SIGNATURE}", GOOD.certificate)
    verified = verify(bundle, Evidence(RECEIPTS.roots))
    assert "was changed" in failures(verified)["signature"]


def test_a_receipt_signed_by_another_key_under_this_ones_name_fails() -> None:
    message = signing_input(alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=RECEIPTS.kid, payload=PAYLOAD)
    bundle = Bundle(compact(message, OTHER.key.sign(message)), GOOD.certificate)
    assert "was changed" in failures(verify(bundle, Evidence(RECEIPTS.roots)))["signature"]


def test_an_uncertified_receipt_says_so_and_fails() -> None:
    alone = Bundle(RECEIPTS.jws(general(certified=False)))
    assert "nobody vouches" in failures(verify(alone, Evidence(RECEIPTS.roots)))["certificate"]
    dressed = Bundle(alone.receipt, RECEIPTS.certificate())
    assert "not certified" in failures(verify(dressed, Evidence(RECEIPTS.roots)))["certificate"]


LAPSED = make_agreement()
TERMS = [LAPSED.id, LAPSED.law, LAPSED.effective_at_s, LAPSED.expires_at_s]
OVER = [*TERMS[:3], TIME_S]  # it ended with the second in which the request began
TURN = ["acme-one", 100, 50, 0, 0, 240_000, 480_000, 240_000, 240_000]


# What a stack with a bug might sign, and the words.
def unseen(ms: int = 30_000, out: int = 6_000, source: str = "estimated") -> Json:
    """Members of a record whose output was estimated by the time that its row worked."""
    micros = -(-(100 * 240_000 + out * 480_000) // 1_000_000)
    return {
        "usage": {**answer()["usage"], "out": out, "source": source},
        "cost": {"computed": micros, "charged": micros, "held": 9_000},
        "worked": [ms, 200, 8_192],
        "signed": TIME_S + min(ms // 1_000, 900),
    }


HOST = "127.0.0.1:9"


def answered_elsewhere(**changes: Any) -> Json:
    """PHI answered by rows whose providers are reached elsewhere; it agrees with itself."""
    said = {"override": True, "overrides": {"acme-one": HOST, "bolt-two": HOST}}
    members = {**said, "residency": "unproven", "agreement": None, **changes}
    return {**without(answer(), "agreements"), **members}


def test_another_address_is_told_and_never_counts_as_good() -> None:
    verified = verify(RECEIPTS.bundle(answered_elsewhere()), Evidence(RECEIPTS.roots))
    assert not verified.fails
    assert outcomes(verified)["override"] == "open"
    assert [HOST in check.message for check in verified.checks if check.name == "override"] == [
        True
    ]
    assert "override" not in outcomes(verify(RECEIPTS.bundle(answer()), Evidence(RECEIPTS.roots)))


def test_a_simulated_answer_holds() -> None:
    verified = verify(RECEIPTS.bundle(answer(simulated=["acme-one"])), Evidence(RECEIPTS.roots))
    assert not verified.fails
    assert outcomes(verified)["record"] == "holds"


CONTRADICTIONS: dict[str, tuple[Json, str]] = {
    "another region served": (answer(region_served="EU"), "region CH was asked, EU served"),
    "an attempt in another region": (
        answer(attempts=[["bolt-two", "US", "ok", 1, 0], ["acme-one", "CH", "ok", 1, 0]]),
        "bolt-two was tried in US",
    ),
    "PHI without an agreement": (
        answer(agreements={"acme-one": TERMS}),
        "PHI was sent to bolt-two without an agreement",
    ),
    "PHI served without one": (
        answer(attempts=[["acme-one", "CH", "ok", 1, 0]], agreements={}, agreement=None),
        "served by acme-one without an agreement",
    ),
    "an agreement for another address": (
        answer(override=True, overrides={"acme-one": HOST}, residency="unproven"),
        f"acme-one was tried at {HOST}, where no agreement is in force",
    ),
    "a residency for another address": (
        answered_elsewhere(residency="contract"),
        f"the residency of {HOST} is said to be contract",
    ),
    "another address that was never tried": (
        answered_elsewhere(overrides={"acme-one": HOST, "bolt-two": HOST, "carl-three": HOST}),
        "carl-three is named as overridden or simulated and was never tried",
    ),
    "an override of one row excuses no other": (
        answered_elsewhere(overrides={"acme-one": HOST}),
        "PHI was sent to bolt-two without an agreement",
    ),
    "simulated and never tried": (
        answer(simulated=["carl-three"]),
        "carl-three is named as overridden or simulated and was never tried",
    ),
    "simulated at another address": (
        answered_elsewhere(simulated=["acme-one"]),
        f"acme-one was tried at {HOST}",
    ),
    "an agreement that had ended": (
        answer(agreements={"acme-one": TERMS, "bolt-two": OVER}),
        "sent to bolt-two while its agreement agreement-1 was not in force",
    ),
    "an agreement that ends between two attempts": (
        answer(
            attempts=[["bolt-two", "CH", "http_500", 1, 0], ["acme-one", "CH", "ok", 1, 1_000]],
            agreements={"acme-one": [*TERMS[:3], TIME_S + 1], "bolt-two": TERMS},
        ),
        "sent to acme-one while its agreement",
    ),
    "an agreement that had not begun": (
        answer(agreements={"acme-one": [*TERMS[:2], TIME_S + 1, TERMS[3]], "bolt-two": TERMS}),
        "was not in force",
    ),
    "PHI at a place that is unproven": (answer(residency="unproven"), "residency is unproven"),
    "headers that could not be read, and yet something was tried": (
        answer(phi=None, tier=None, agreements={"acme-one": TERMS}),
        "sent to bolt-two without",
    ),
    "PHI under the general tier": (answer(tier="general"), "the tier is general"),
    "a row that was never tried": (answer(row="cove-three"), "cove-three served and was never"),
    "two agreements": (answer(agreement="other"), "other in one place and agreement-1 in another"),
    "a cost that is not prices times usage": (
        answer(cost={"computed": 47, "charged": 47, "held": 100}),
        "prices times usage is 48 micro-USD, the record computed 47",
    ),
    "prices that are not the cost's": (answer(price=[1, 1, 1, 1]), "prices times usage is 1"),
    "charged more than computed": (
        answer(cost={"computed": 48, "charged": 49, "held": 100}),
        "49 micro-USD were charged of 48",
    ),
    "charged more than held": (
        answer(cost={"computed": 48, "charged": 48, "held": 40}),
        "48 micro-USD were charged of 48",
    ),
    "charged less for no reason": (
        answer(cost={"computed": 48, "charged": 0, "held": 100}),
        "0 micro-USD were charged of 48",
    ),
    "turns that do not add up": (answer(turns=[TURN, TURN]), "the usage is not the sum"),
    "output that is not the time's": (
        answer(**unseen(ms=30_000, out=5_999)),
        "30000 ms of work are 6000 tokens of output, the record says 5999",
    ),
    "output above what was asked for": (
        answer(**unseen(ms=60_000, out=12_000)),
        "60000 ms of work are 8192 tokens of output, the record says 12000",
    ),
    "output by the time worked, as the provider's word": (
        answer(**unseen(source="verified")),
        "is an estimate, the record calls it verified",
    ),
    "work for longer than any call": (
        answer(**unseen(ms=961_000, out=8_192)),
        "a row worked for 961000 ms, longer than any call",
    ),
    "work for longer than the call": (
        answer(**{**unseen(ms=30_000), "signed": TIME_S + 2}),
        "a row worked for 30000 ms in a call that was over before",
    ),
    "a row that the gate removed, and tried": (
        answer(rejected={"phi_no_agreement": ["bolt-two"]}),
        "bolt-two was rejected (phi_no_agreement), and was tried",
    ),
    "programs for PHI": (
        answer(sandbox={"image": "sha256:0", "runs": [["python", 0, 12]]}),
        "programs were run for PHI",
    ),
    "PHI that was hashed plainly": (
        answer(upstream_request_sha256="1" * 64, upstream_response_sha256="2" * 64),
        "hashed plainly",
    ),
    "one hash of the upstream's wire": (
        general(upstream_request_sha256="1" * 64),
        "without the other",
    ),
    "rows rejected for an enclave that nothing asked for": (
        answer(rejected={"capability_confidential": ["acme-two"]}),
        "neither name nor policy asked for one",
    ),
    "rows rejected for an enclave that was lifted": (
        answer(rejected={"capability_confidential": ["acme-two"]}, confidential="lifted"),
        "neither name nor policy asked for one",
    ),
    "a row rejected for want of an enclave, and tried": (
        answer(rejected={"capability_confidential": ["bolt-two"]}, confidential="name"),
        "bolt-two was rejected for want of an enclave, and was tried",
    ),
    "a row rejected for the wish of an enclave, and tried": (
        answer(rejected={"provider_confidential": ["acme-one"]}, confidential="preference"),
        "acme-one was rejected for want of an enclave, and was tried",
    ),
    "an id of another time": (answer(time=TIME_S - 1), f"the id was made at {TIME_S}"),
    "an id that is none": (answer(id="receipt-1"), "no receipt id"),
    "signed before it began": (answer(signed=TIME_S - 1), "signed -1 s after"),
    "signed a day later": (answer(signed=TIME_S + 2_000), "signed 2000 s after"),
}


@pytest.mark.parametrize("members, words", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_record_that_contradicts_itself_fails_though_it_is_signed(
    members: Json, words: str
) -> None:
    verified = verify(RECEIPTS.bundle(members), Evidence(RECEIPTS.roots))
    assert words in failures(verified)["record"]
    assert outcomes(verified)["signature"] == "holds"


@pytest.mark.parametrize("by", ["name", "policy", "preference", "lifted"])
def test_a_record_may_say_what_made_an_enclave_necessary(by: str) -> None:
    rule = "provider_confidential" if by == "preference" else "capability_confidential"
    rejected = {} if by == "lifted" else {rule: ["acme-two"]}
    verified = verify(
        RECEIPTS.bundle(answer(confidential=by, rejected=rejected)), Evidence(RECEIPTS.roots)
    )
    assert outcomes(verified)["record"] == "holds"


def test_a_record_of_an_earlier_release_says_nothing_of_it_and_holds() -> None:
    rejected = {"provider_confidential": ["acme-two"]}
    verified = verify(RECEIPTS.bundle(answer(rejected=rejected)), Evidence(RECEIPTS.roots))
    assert outcomes(verified)["record"] == "holds"


def test_a_request_of_several_turns_is_recomputed_turn_by_turn() -> None:
    usage = {**answer()["usage"], "in": 200, "out": 100}
    cost = {"computed": 96, "charged": 96, "held": 100}
    members = answer(turns=[TURN, TURN], usage=usage, cost=cost)
    assert not verify(RECEIPTS.bundle(members), Evidence(RECEIPTS.roots)).fails


def test_output_that_nobody_saw_is_recomputed_by_the_time_worked() -> None:
    assert not verify(RECEIPTS.bundle(answer(**unseen())), Evidence(RECEIPTS.roots)).fails
    turns = [TURN, ["acme-one", 100, 6_000, 0, 0, *TURN[5:]]]
    usage = {**answer()["usage"], "in": 200, "out": 6_050, "source": "estimated"}
    cost = {"computed": 2_952, "charged": 2_952, "held": 9_000}
    several = answer(**{**unseen(), "turns": turns, "usage": usage, "cost": cost})
    assert not verify(RECEIPTS.bundle(several), Evidence(RECEIPTS.roots)).fails


MALFORMED: dict[str, Json] = {
    "two figures of work": answer(worked=[1, 2]),
    "work that is no number": answer(worked=[1, 2, "3"]),
    "work without a charge": {
        **without(answer(), "cost", "price", "usage"),
        "worked": [30_000, 200, 8_192],
    },
    **{
        f"without {name}": without(answer(), name)
        for name in answer()
        if name not in ("agreements",)
    },
    "without agreements, under PHI": without(answer(), "agreements"),
    "a number beyond 2**53": answer(seq=2**53 + 1),
    "a member that no version has": answer(prompt="hello"),
    "an override without its host": answer(override=True),
    "a host without override": answer(overrides={"acme-one": "x.example"}),
    "an override that is none": answer(override=False, overrides={"acme-one": "x.example"}),
    "an override of nothing": answer(override=True, overrides={}),
    "a host of two lines": answer(override=True, overrides={"acme-one": "x\nok"}),
    "nothing simulated": answer(simulated=[]),
    "simulated as a flag": answer(simulated=True),
    "a flag as a number": answer(seq=True),
    "a negative number": answer(seq=-1),
    "a fraction": answer(time=float(TIME_S)),
    "a hash that is too short": answer(request_sha256="e" * 63),
    "a hash in capitals": answer(request_sha256="E" * 64),
    "PHI as text": answer(phi="true"),
    "an attempt of four": answer(attempts=[["acme-one", "CH", "ok", 1]]),
    "attempts as a map": answer(attempts={}),
    "an agreement without its end": answer(agreements={"acme-one": TERMS[:3]}),
    "rejections without rows": answer(rejected={"region": "acme"}),
    "usage by somebody": answer(usage={**answer()["usage"], "source": "believed"}),
    "a cost with another member": answer(cost={"computed": 1, "charged": 1, "held": 1, "x": 1}),
    "three prices": answer(price=[1, 1, 1]),
    "certified as a claim": answer(certified=True),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_record_that_is_malformed_fails_and_is_no_traceback(name: str) -> None:
    verified = verify(RECEIPTS.bundle(MALFORMED[name]), Evidence(RECEIPTS.roots))
    assert verified.fails


# The card's bytes, and the words.
CARDS: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"card", "no price card"),
    "no card": (b"{}", "no price card"),
    "rows that are none": (b'{"currency":"USD","margin_percent":10,"rows":[1]}', "no price card"),
    "another one": (
        canonical_bytes(pricing_card(make_catalog([make_row("x-1")]))),
        "the receipt names",
    ),
    "one price changed": (
        canonical_bytes(CARD).replace(b'"0.24"', b'"0.25"'),
        "the receipt names",
    ),
}


@pytest.mark.parametrize("card, words", CARDS.values(), ids=CARDS)
def test_a_price_card_that_does_not_match_is_told_why(card: bytes, words: str) -> None:
    bundle = RECEIPTS.bundle(answer(card=CARD_SHA256))
    assert words in failures(verify(bundle, Evidence(RECEIPTS.roots, card=card)))["card"]


def test_prices_that_are_not_the_cards_fail() -> None:
    catalog = make_catalog([make_row(price=make_price(300_000, 480_000))])
    bundle = RECEIPTS.bundle(answer(card=card_sha256(pricing_card(catalog))))
    evidence = Evidence(RECEIPTS.roots, card=canonical_bytes(pricing_card(catalog)))
    assert "not those of the card" in failures(verify(bundle, evidence))["card"]


@pytest.mark.parametrize("name", ["request", "response"])
def test_one_byte_changed_fails(name: str) -> None:
    content = REQUEST if name == "request" else RESPONSE
    bundle = RECEIPTS.bundle(general(**{f"{name}_sha256": sha256(content)}))
    for at in range(len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        given: dict[str, Any] = {name: changed}
        assert set(failures(verify(bundle, Evidence(RECEIPTS.roots, **given)))) == {name}


NO_BUNDLES: dict[str, tuple[bytes, str]] = {
    "a tombstone": (b'{"id":"a","receipt":null}', "the call never came to its end"),
    "an error": (b'{"error":{"code":"not_found"}}', "holds no receipt"),
    "cut JSON": (b'{"receipt":"a', "cannot be read"),
    "letters of another alphabet": ("ä".encode(), "neither"),
    "too long": (b" " * 300_000, "not longer than"),
}


@pytest.mark.parametrize("content, words", NO_BUNDLES.values(), ids=NO_BUNDLES)
def test_what_holds_no_receipt_is_told_why(content: bytes, words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        read_bundle(content)


@given(st.integers(0, len(GOOD.receipt) - 1), st.characters(codec="utf-8"))
def test_a_receipt_with_any_character_changed_is_not_good(at: int, character: str) -> None:
    text = GOOD.receipt[:at] + character + GOOD.receipt[at + 1 :]
    verified = verify(Bundle(text, GOOD.certificate), Evidence(RECEIPTS.roots))
    assert text == GOOD.receipt or verified.fails


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=9,
)


@given(st.sampled_from(sorted(answer())), JSONS)
def test_a_record_with_any_member_replaced_is_judged_and_is_no_traceback(
    name: str, value: Any
) -> None:
    members = {**answer(), name: value}
    payload = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    verify(Bundle(RECEIPTS.jws(payload.encode()), GOOD.certificate), Evidence(RECEIPTS.roots))


@given(st.binary(max_size=300))
def test_the_reader_takes_any_bytes(content: bytes) -> None:
    try:
        bundle = read_bundle(content)
    except VerificationError:
        return
    assert verify(bundle, Evidence(RECEIPTS.roots)).fails


@given(JSONS)
def test_the_reader_takes_any_json(value: Any) -> None:
    content = json.dumps({"receipt": GOOD.receipt, "certificate": value}).encode()
    try:
        bundle = read_bundle(content)
    except VerificationError:
        return
    assert not verify(bundle, Evidence(RECEIPTS.roots)).is_anchored


def test_the_id_of_the_builders_is_of_their_time() -> None:
    assert verify(GOOD, Evidence(RECEIPTS.roots)).record is not None
    assert answer()["id"] == ID


# What would make the verifier fall over, or write on the terminal as it likes.
ESCAPES = "x\x1b[2J\x1b]0;owned\x07"
HOSTILE: dict[str, tuple[Json, str]] = {
    "a charge without a row": (
        without(general(), "row", "provider", "region_served", "residency", "agreement"),
        "member row is missing",
    ),
    "turns without a charge": (
        {**without(general(), "cost", "price", "usage"), "turns": []},
        "member cost is missing",
    ),
    "a time past the calendar": (general(time=2**52), "the id was made at"),
    "a time of signing past the calendar": (general(signed=2**53), "after the call began"),
    "agreements past the calendar": (
        general(agreements={"bolt-one": ["a", "GDPR-28", 2**50, 2**53]}),
        "the agreement is",
    ),
    **{
        f"escapes in {name}": ({**general(), name: ESCAPES}, f"member {name} is missing or not")
        for name in ("id", "account", "key", "stack", "region_asked", "tier", "verdict", "ended")
    },
    **{
        f"escapes in {name}": ({**general(), name: ESCAPES}, f"member {name} is missing or not")
        for name in ("row", "provider", "region_served", "residency", "agreement")
    },
    "a second line in the end": (general(ended="complete\nok"), "member ended is missing or not"),
    "escapes in an attempt": (general(attempts=[[ESCAPES, "CH", "ok", 1, 1]]), "member attempts"),
    "escapes in a turn": (general(turns=[[ESCAPES, *[1] * 8]]), "member turns"),
    "escapes in an agreement": (
        general(agreements={"bolt-one": [ESCAPES, "GDPR-28", 1, 2]}),
        "member agreements",
    ),
    "escapes in a row that agreed": (
        general(agreements={ESCAPES: ["a", "b", 1, 2]}),
        "the agreement is",
    ),
    "escapes in a rejection": (general(rejected={ESCAPES: [ESCAPES]}), ""),
}


@pytest.mark.parametrize(("members", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_record_is_judged_and_leaves_the_terminal_alone(
    members: Json, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verified = verify(RECEIPTS.bundle(members), Evidence(RECEIPTS.roots))
    assert not words or words in " ".join(failures(verified).values())
    path = tmp_path / "receipt.jws"
    path.write_text(RECEIPTS.bundle(members).receipt)
    assert main(["verify", str(path)], {}) == (1 if words else 3)
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())
