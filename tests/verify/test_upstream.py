"""A confidential provider's signature against the receipt, made here by independent libraries."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phigate.verify.check import Outcome
from phigate.verify.receipt import Bundle, Evidence, read_bundle, verify
from phigate.verify.upstream import check_upstream
from tests.ethereum import address_of, signature_by
from tests.verify.receipt_factory import ReceiptFactory, general

SENT, GOT = "1a" * 32, "2b" * 32
RECORD = {"upstream_request_sha256": SENT, "upstream_response_sha256": GOT}
SECRET = bytes(31) + b"\x05"
SIGNER = address_of(SECRET)
OTHER = address_of(bytes(31) + b"\x06")
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

Members = dict[str, Any]


def ecdsa(text: str = f"{SENT}:{GOT}", **changes: Any) -> Members:
    return {
        "text": text,
        "signature": signature_by(SECRET, text),
        "signing_address": SIGNER,
        "signing_algo": "ecdsa",
        **changes,
    }


def ed25519(text: str = f"{SENT}:{GOT}", **changes: Any) -> Members:
    return {
        "text": text,
        "signature": ED25519.sign(text.encode()).hex(),
        "signing_address": ED25519.public_key().public_bytes_raw().hex(),
        "signing_algo": "ed25519",
        **changes,
    }


def flip(text: str, at: int = 10) -> str:
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


FLAT = {"signing_address": SIGNER, "intel_quote": "04", "request_nonce": "ab"}
OTHERS = {"signing_address": OTHER}

# (record, signature, report, outcome, what the message says)
Case = tuple[Members, Members | bytes | None, Members | bytes | None, Outcome, str]
NOT_VERIFIED = "the quote inside the report is NOT verified here"
CASES: dict[str, Case] = {
    "nothing was given": (RECORD, None, None, "open", "--upstream"),
    "ecdsa": (RECORD, ecdsa(), None, "holds", "give it with --attestation"),
    "ecdsa, its address in lower case": (
        RECORD,
        ecdsa(signing_address=SIGNER.lower()),
        None,
        "holds",
        "has signed the bytes that the gateway sent and got",
    ),
    "ecdsa, with the model's name in front": (
        RECORD,
        ecdsa(f"phala/qwen3.5-27b:{SENT}:{GOT}"),
        None,
        "holds",
        "has signed",
    ),
    "ed25519": (RECORD, ed25519(), None, "holds", "has signed"),
    "a flat report": (RECORD, ecdsa(), FLAT, "holds", NOT_VERIFIED),
    "a report of many machines": (
        RECORD,
        ecdsa(),
        {**OTHERS, "all_attestations": [OTHERS, FLAT]},
        "holds",
        NOT_VERIFIED,
    ),
    "a report in two layers": (
        RECORD,
        ecdsa(),
        {"gateway_attestation": FLAT, "model_attestations": [OTHERS]},
        "holds",
        NOT_VERIFIED,
    ),
    "another request": (
        {**RECORD, "upstream_request_sha256": "3c" * 32},
        ecdsa(),
        None,
        "fails",
        "upstream_request_sha256",
    ),
    "another answer": (
        {**RECORD, "upstream_response_sha256": "3c" * 32},
        ecdsa(),
        None,
        "fails",
        "upstream_response_sha256",
    ),
    "the hashes the wrong way round": (RECORD, ecdsa(f"{GOT}:{SENT}"), None, "fails", "signed"),
    "a receipt without the hashes": ({}, ecdsa(), None, "fails", "names no hashes"),
    "a text that was changed after it was signed": (
        {**RECORD, "upstream_response_sha256": flip(GOT)},
        {**ecdsa(), "text": f"{SENT}:{flip(GOT)}"},
        None,
        "fails",
        "has signed this, not",
    ),
    "a tampered signature": (
        RECORD,
        ecdsa(signature=flip(ecdsa()["signature"], 70)),
        None,
        "fails",
        "",
    ),
    "a signature of zeros": (RECORD, ecdsa(signature="0x" + "0" * 130), None, "fails", "no key"),
    "a swapped address": (
        RECORD,
        ecdsa(signing_address=OTHER),
        None,
        "fails",
        f"{SIGNER} has signed this, not {OTHER}",
    ),
    "a tampered ed25519 signature": (
        RECORD,
        ed25519(signature=flip(ed25519()["signature"])),
        None,
        "fails",
        "has not signed this",
    ),
    "a swapped ed25519 key": (
        RECORD,
        ed25519(signing_address="ab" * 32),
        None,
        "fails",
        "has not signed this",
    ),
    "ecdsa that says it is ed25519": (
        RECORD,
        ecdsa(signing_algo="ed25519"),
        None,
        "fails",
        "has not signed this",
    ),
    "ed25519 that says it is ecdsa": (RECORD, ed25519(signing_algo="ecdsa"), None, "fails", ""),
    "an unknown algorithm": (RECORD, ecdsa(signing_algo="none"), None, "fails", "is not one"),
    "a member that is missing": (RECORD, ecdsa(signature=None), None, "fails", "is not one"),
    "a text without hashes": (RECORD, ecdsa("hello"), None, "fails", "is not one"),
    "garbage": (RECORD, b"<html>", None, "fails", "is not one"),
    "a list": (RECORD, b"[]", None, "fails", "is not one"),
    "nested without end": (RECORD, b"[" * 100_000, None, "fails", "is not one"),
    "a report of somebody else": (RECORD, ecdsa(), OTHERS, "fails", "is not of"),
    "a report without an address": (RECORD, ecdsa(), {}, "fails", "is not of"),
    "a report whose lists are none": (
        RECORD,
        ecdsa(),
        {"all_attestations": SIGNER, "gateway_attestation": [FLAT]},
        "fails",
        "is not of",
    ),
    "a report that is none": (RECORD, ecdsa(), b"<html>", "fails", "cannot be read"),
    "a report with a name that stands twice": (
        RECORD,
        ecdsa(),
        b'{"signing_address": 1, "signing_address": 2}',
        "fails",
        "cannot be read",
    ),
}


def dumped(value: Members | bytes | None) -> bytes | None:
    return json.dumps(value).encode() if isinstance(value, dict) else value


@pytest.mark.parametrize("name", CASES)
def test_a_providers_signature(name: str) -> None:
    record, signature, report, outcome, says = CASES[name]
    check = check_upstream(record, dumped(signature), dumped(report))
    assert (check.name, check.outcome) == ("upstream", outcome), check
    assert says in check.message


@pytest.mark.parametrize("made", [ecdsa, ed25519])
def test_every_changed_digit_is_noticed(made: Callable[[], Members]) -> None:
    good = made()
    for name in ("text", "signature", "signing_address"):
        for at, digit in enumerate(good[name]):
            # The last of a signature's v is read in two ways, and a checksum is not looked at.
            if digit in "x:" or (name == "signature" and at >= 130):
                continue
            changed = {**good, name: flip(good[name], at)}
            check = check_upstream(RECORD, dumped(changed), None)
            if changed[name].lower() != good[name].lower():
                assert check.outcome == "fails", (name, at)


RECEIPTS = ReceiptFactory()
WATCHED = {**RECORD, "upstream_id": "chatcmpl-1"}


def upstream_of(bundle: Bundle, evidence: Evidence) -> list[Outcome]:
    """What verify says of the upstream."""
    return [c.outcome for c in verify(bundle, evidence).checks if c.name == "upstream"]


def test_verify_takes_the_signature_that_came_with_the_receipt_or_the_one_that_is_given() -> None:
    good, bad = (dumped(ecdsa(signing_address=address)) for address in (SIGNER, OTHER))
    bundle = RECEIPTS.bundle(general(**WATCHED))
    assert upstream_of(bundle, Evidence()) == ["open"]
    assert upstream_of(bundle, Evidence(upstream=good)) == ["holds"]
    assert upstream_of(replace(bundle, upstream=good), Evidence()) == ["holds"]
    assert upstream_of(replace(bundle, upstream=good), Evidence(upstream=bad)) == ["fails"]
    report = dumped(OTHERS)
    assert upstream_of(replace(bundle, upstream=good), Evidence(attestation=report)) == ["fails"]


def test_verify_says_nothing_of_an_upstream_that_signs_nothing() -> None:
    bundle = RECEIPTS.bundle(general())
    assert upstream_of(bundle, Evidence()) == []
    assert upstream_of(bundle, Evidence(upstream=dumped(ecdsa()))) == ["fails"]


def test_a_bundle_is_read_with_the_upstreams_signature() -> None:
    made = RECEIPTS.bundle(general(**WATCHED))
    body = {"receipt": made.receipt, "certificate": made.certificate}
    assert read_bundle(json.dumps(body).encode()).upstream is None
    read = read_bundle(json.dumps({**body, "upstream_signature": ecdsa()}).encode())
    assert upstream_of(read, Evidence()) == ["holds"]
    read = read_bundle(json.dumps({**body, "upstream_signature": "garbage"}).encode())
    assert upstream_of(read, Evidence()) == ["fails"]
