"""Signatures of texts, compared with an independent implementation of EIP-191 and EIP-55."""

import random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from phigate.wire.eip191 import (
    Unrecoverable,
    address_of,
    recoverable,
    recovered_address,
    text_digest,
)
from phigate.wire.jwk import ec_jwk, ec_point, raw_signature
from tests import ethereum

# The first account of Hardhat's public test mnemonic: what the whole field tests against.
SECRET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
TEXT = f"{'a' * 64}:{'b' * 64}"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
TEXTS = {
    "two hashes": TEXT,
    "empty": "",
    "not ASCII: bytes are counted, not characters": "Grüße, 漢字",
    "long": "x" * 10_000,
}


def key(secret: bytes = SECRET) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())


def raw_of(digest: bytes, secret: bytes = SECRET) -> bytes:
    """r and s by a library that knows nothing of Ethereum; s is high as often as low."""
    return raw_signature(key(secret).sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))


def public_of(secret: bytes = SECRET) -> bytes:
    return ec_point(ec_jwk(key(secret).public_key()))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_independent_library_recovers_the_signer(text: str) -> None:
    digest = text_digest(text)
    signature = recoverable(digest, raw_of(digest), public_of())
    assert ethereum.signer_of(text, signature) == ADDRESS
    assert recovered_address(text, signature) == ADDRESS


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_independent_library_s_signature_is_recovered(text: str) -> None:
    assert recovered_address(text, ethereum.signature_by(SECRET, text)) == ADDRESS


def test_addresses_are_checksummed() -> None:
    drawn = random.Random(55)
    for _ in range(200):
        secret = drawn.randbytes(32)
        assert address_of(public_of(secret)) == ethereum.address_of(secret)


def test_s_is_always_in_the_lower_half() -> None:
    digest = text_digest(TEXT)
    seen = set()
    for _ in range(64):
        raw = raw_of(digest)
        seen.add(int.from_bytes(raw[32:], "big") > ORDER // 2)
        signature = recoverable(digest, raw, public_of())
        assert int(signature[66:130], 16) <= ORDER // 2
        assert signature[130:] in ("1b", "1c")
        assert ethereum.signer_of(TEXT, signature) == ADDRESS
    assert seen == {True, False}, "both halves came"


GOOD = ethereum.signature_by(SECRET, TEXT).removeprefix("0x")
UNRECOVERABLE = {
    "empty": "",
    "no hex": "zz" * 65,
    "too short": GOOD[:-2],
    "too long": GOOD + "00",
    "an unknown v": GOOD[:-2] + "1d",
    "v of a transaction": GOOD[:-2] + "25",
    "zeros": "00" * 65,
    "r over the order": "ff" * 32 + GOOD[64:],
    "an Ed25519 signature": "ab" * 64,
    "a line end behind it": GOOD + "\n",
}


@pytest.mark.parametrize("signature", UNRECOVERABLE.values(), ids=UNRECOVERABLE)
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(Unrecoverable):
        recovered_address(TEXT, signature)


def test_v_may_be_counted_from_0() -> None:
    v = int(GOOD[-2:], 16)
    assert recovered_address(TEXT, GOOD[:-2] + f"{v - 27:02x}") == ADDRESS


def test_another_texts_signature_names_somebody_else() -> None:
    assert recovered_address(TEXT + ".", GOOD) != ADDRESS


def test_a_signature_of_another_key_is_not_given_out() -> None:
    digest = text_digest(TEXT)
    with pytest.raises(Unrecoverable):
        recoverable(digest, raw_of(digest, bytes(31) + b"\x07"), public_of())
