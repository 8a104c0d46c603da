"""The signing keys of a local state directory: one file for each thing that is signed.

On AWS each is a KMS key of its own, so that no role can sign what another one answers for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve

from phigate.effects.signing.signer import P256, SECP256K1, KeyFileSigner, load_or_create_key_file
from phigate.verify.roots import CATALOGS, CERTIFICATES, DIGESTS, REDPILL
from phigate.wire.jwk import Jwk

LOCAL_STACK = "local"  # the name that a stack on one machine signs under

FILES: Mapping[str, tuple[str, EllipticCurve]] = {
    CATALOGS: ("catalog-key.pem", P256),
    CERTIFICATES: ("receipt-root.pem", P256),
    DIGESTS: ("day-root.pem", P256),
    REDPILL: ("redpill-key.pem", SECP256K1),
}


class RootStore(Protocol):
    """Where the roots of a stack are listed."""

    async def use_root(self, jwk: Jwk, signs: str, now_s: int) -> None: ...


def key_file(state: Path, signs: str) -> Path:
    """Where the key that signs this lies."""
    return state / FILES[signs][0]


def file_signer(state: Path, signs: str) -> KeyFileSigner:
    """The key that signs this, made if there is none. Raises KeyFileUnusable."""
    return load_or_create_key_file(key_file(state, signs), FILES[signs][1])


async def publish(signers: Mapping[str, KeyFileSigner], receipts: RootStore, now_s: int) -> None:
    """Name the keys in the table's list of roots; a key file that was replaced ends its root."""
    for signs, signer in signers.items():
        await receipts.use_root(signer.public_jwk, signs, now_s)
