"""The long-lived signing keys: each a key in a file of mode 0600, as KMS holds them on AWS.

There is one for each purpose (`core.roots`): catalog snapshots, certificates of receipt keys, the
digests of days, RedPill's signatures. Signatures are ECDSA (RFC 7518 section 3.4): 64 bytes, r then
s; of a message over its SHA-256, or of a digest that the caller has made.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from phigate.wire.jwk import Jwk, ec_jwk, raw_signature, verify_ec

PublicKey = ec.EllipticCurvePublicKey

P256 = ec.SECP256R1()
SECP256K1 = ec.SECP256K1()
_ALGORITHM = ec.ECDSA(hashes.SHA256())
# Signs 32 bytes as they are; the name of a hash only says how many.
_OF_DIGEST = ec.ECDSA(Prehashed(hashes.SHA256()))
_OTHERS = 0o077  # every permission of group and others


class KeyFileUnusable(Exception):
    """The key file is no key of ours, or others may read it. The operator mends it; we do not."""


class SigningFailed(Exception):
    """The key could not be reached, or refuses to sign for us. The text names the outcome."""


class Signer(Protocol):
    """What a signing key offers, wherever it lives. Each may raise SigningFailed."""

    async def jwk(self) -> Jwk: ...

    async def sign(self, message: bytes) -> bytes:
        """Its signature of a message, over SHA-256."""
        ...

    async def sign_digest(self, digest: bytes) -> bytes:
        """Its signature of the 32 bytes of a digest, whichever hash has made them."""
        ...


class KeyFileSigner:
    """A private key in memory. `kid` is the RFC 7638 thumbprint of its public half."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key: PublicKey = key.public_key()
        self.public_jwk = ec_jwk(self.public_key)

    @property
    def kid(self) -> str:
        """The key's name."""
        return self.public_jwk["kid"]

    async def jwk(self) -> Jwk:
        """See Signer."""
        return self.public_jwk

    async def sign(self, message: bytes) -> bytes:
        """See Signer."""
        return self.signature(message)

    async def sign_digest(self, digest: bytes) -> bytes:
        """See Signer."""
        return raw_signature(self._key.sign(digest, _OF_DIGEST))

    def signature(self, message: bytes) -> bytes:
        """The same at once."""
        return raw_signature(self._key.sign(message, _ALGORITHM))


def load_or_create_key_file(path: Path, curve: ec.EllipticCurve = P256) -> KeyFileSigner:
    """The signer of the key file at `path`, made if there is none; its folder must exist.

    Two processes that start at once end up with the same key. Raises KeyFileUnusable.
    """
    # A half-written key must never stand under the final name, and an existing one never be
    # replaced: write aside, then link, which fails where the name is taken.
    if not path.exists():
        aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        key = ec.generate_private_key(curve)
        try:
            _write_private(
                aside, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    return _load(path, curve)


def verify(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """True when `signature` is this key's signature of `message`; bad input is False."""
    return verify_ec(public_key, message, signature)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path, curve: ec.EllipticCurve) -> KeyFileSigner:
    if path.stat().st_mode & _OTHERS:
        raise KeyFileUnusable(f"{path.name}: others may read it; make its mode 0600")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileUnusable(f"{path.name}: not a private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve.name:
        raise KeyFileUnusable(f"{path.name}: not a {_NAMES[curve.name]} key")
    return KeyFileSigner(key)


_NAMES = {P256.name: "P-256", SECP256K1.name: "secp256k1"}
