"""The long-lived signing key: a P-256 key in a file of mode 0600, as KMS holds it on AWS.

It signs catalog snapshots and certifies the short-lived receipt keys. Signatures are ES256 (RFC
7518 section 3.4): 64 bytes, r then s. Whoever signs puts a purpose in front of the message, so
that a signature made for one purpose is worthless for another.
"""

import base64
import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

PublicKey = ec.EllipticCurvePublicKey

_ALGORITHM = ec.ECDSA(hashes.SHA256())
_COORDINATE_BYTES = 32
_OTHERS = 0o077  # every permission of group and others


class KeyFileUnusable(Exception):
    """The key file is no P-256 key, or others may read it. The operator mends it; we do not."""


class Signer(Protocol):
    """What a signing key offers, wherever it lives."""

    @property
    def kid(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...

    def public_jwk(self) -> dict[str, str]: ...


class KeyFileSigner:
    """A P-256 private key in memory. `kid` is the RFC 7638 thumbprint of its public half."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key: PublicKey = key.public_key()
        self._jwk = _jwk(self.public_key)

    @property
    def kid(self) -> str:
        return self._jwk["kid"]

    def sign(self, message: bytes) -> bytes:
        """The ES256 signature of `message`, 64 bytes."""
        r, s = decode_dss_signature(self._key.sign(message, _ALGORITHM))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    def public_jwk(self) -> dict[str, str]:
        """The public half as a JWK: `kty`, `crv`, `x`, `y`, `kid`, `alg`, `use`."""
        return dict(self._jwk)


def load_or_create_key_file(path: Path) -> KeyFileSigner:
    """The signer of the key file at `path`, made if there is none; its folder must exist.

    Two processes that start at once end up with the same key. Raises KeyFileUnusable.
    """
    # A half-written key must never stand under the final name, and an existing one never be
    # replaced: write aside, then link, which fails where the name is taken.
    if not path.exists():
        aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            _write_private(
                aside, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    return _load(path)


def verify(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """True when `signature` is this key's ES256 signature of `message`; bad input is False."""
    if len(signature) != 2 * _COORDINATE_BYTES:
        return False
    r = int.from_bytes(signature[:_COORDINATE_BYTES], "big")
    s = int.from_bytes(signature[_COORDINATE_BYTES:], "big")
    try:
        public_key.verify(encode_dss_signature(r, s), message, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path) -> KeyFileSigner:
    if path.stat().st_mode & _OTHERS:
        raise KeyFileUnusable(f"{path.name}: others may read it; make its mode 0600")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileUnusable(f"{path.name}: not a private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileUnusable(f"{path.name}: not a P-256 key")
    return KeyFileSigner(key)


def _jwk(public_key: PublicKey) -> dict[str, str]:
    numbers = public_key.public_numbers()
    # RFC 7638 section 3.2: the required members alone, sorted, without spaces.
    required = {
        "crv": "P-256",
        "kty": "EC",
        "x": _base64url(numbers.x.to_bytes(_COORDINATE_BYTES, "big")),
        "y": _base64url(numbers.y.to_bytes(_COORDINATE_BYTES, "big")),
    }
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":"))
    kid = _base64url(hashlib.sha256(canonical.encode()).digest())
    return {**required, "kid": kid, "alg": "ES256", "use": "sig"}


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
