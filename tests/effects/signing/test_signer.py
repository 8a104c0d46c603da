"""The key file is made once, kept private, and signs what nobody else can."""

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from phigate.effects.signing.signer import (
    P256,
    SECP256K1,
    KeyFileSigner,
    KeyFileUnusable,
    load_or_create_key_file,
    verify,
)

PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
MESSAGE = b"what is signed"

UNUSABLE = {
    "empty": b"",
    "text": b"not a key",
    "another curve": ec.generate_private_key(ec.SECP384R1()).private_bytes(*PRIVATE),
    "another algorithm": ed25519.Ed25519PrivateKey.generate().private_bytes(*PRIVATE),
}

WRONG_SIGNATURES = {
    "empty": b"",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "too short": b"\x01" * 63,
    "too long": b"\x01" * 65,
}


def signer() -> KeyFileSigner:
    return KeyFileSigner(ec.generate_private_key(ec.SECP256R1()))


def test_the_file_is_made_once_and_read_again(tmp_path: Path) -> None:
    first = load_or_create_key_file(tmp_path / "key.pem")
    second = load_or_create_key_file(tmp_path / "key.pem")
    assert first.public_jwk == second.public_jwk
    assert verify(first.public_key, MESSAGE, asyncio.run(second.sign(MESSAGE)))
    assert os.listdir(tmp_path) == ["key.pem"]


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    load_or_create_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyFileUnusable, match="0600"):
        load_or_create_key_file(path)


def test_starts_at_the_same_time_share_one_key(tmp_path: Path) -> None:
    kids: list[str] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        kids.append(load_or_create_key_file(tmp_path / "key.pem").kid)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kids) == 8 and len(set(kids)) == 1
    assert os.listdir(tmp_path) == ["key.pem"]


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_file_that_is_no_p256_key_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileUnusable):
        load_or_create_key_file(path)
    assert path.read_bytes() == content


def test_a_signature_holds_for_its_message_and_its_key() -> None:
    ours, other = signer(), signer()
    signature = ours.signature(MESSAGE)
    assert len(signature) == 64
    assert verify(ours.public_key, MESSAGE, signature)
    assert not verify(ours.public_key, MESSAGE + b".", signature)
    assert not verify(other.public_key, MESSAGE, signature)


@pytest.mark.parametrize("curve", [P256, SECP256K1], ids=["P-256", "secp256k1"])
def test_a_digest_is_signed_as_it_is(curve: ec.EllipticCurve) -> None:
    ours = KeyFileSigner(ec.generate_private_key(curve))
    digest = hashlib.sha256(MESSAGE).digest()
    signature = asyncio.run(ours.sign_digest(digest))
    assert verify(ours.public_key, MESSAGE, signature)
    assert not verify(ours.public_key, digest, signature)


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33), bytes(64)], ids=len)
def test_a_digest_has_32_bytes(digest: bytes) -> None:
    with pytest.raises(ValueError, match="digest"):
        asyncio.run(signer().sign_digest(digest))


@pytest.mark.parametrize("signature", WRONG_SIGNATURES.values(), ids=WRONG_SIGNATURES.keys())
def test_bad_signatures_are_false_and_no_error(signature: bytes) -> None:
    assert not verify(signer().public_key, MESSAGE, signature)


def test_the_jwk_names_the_curve_and_holds_nothing_private() -> None:
    jwk = signer().public_jwk
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (jwk["kty"], jwk["crv"], jwk["alg"]) == ("EC", "P-256", "ES256")
    assert all(len(jwk[member]) == 43 for member in ("x", "y", "kid"))
