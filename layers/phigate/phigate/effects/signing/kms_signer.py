"""A signing key that AWS KMS holds: ECC_NIST_P256, or ECC_SECG_P256K1 for RedPill's signatures.

Law 1: KMS is sent 32 bytes, never a message: it takes 4 KB at most, and need not see what it signs.
Law 2: every failure is a SigningFailed that names its outcome, by the table at the end.
https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from phigate.effects.aws.json_service import AwsJson, NoAnswer
from phigate.effects.signing.signer import SigningFailed
from phigate.wire.jwk import Jwk, ec_jwk, raw_signature

_TARGET_PREFIX = "TrentService."
_ALGORITHM = "ECDSA_SHA_256"  # both kinds of key; with DIGEST the name only says 32 bytes


class KmsSigner:
    """Implements effects.signer.Signer. `key_id` is an ARN; `kms` may serve other keys too."""

    def __init__(self, kms: AwsJson, key_id: str) -> None:
        self._kms = kms
        self._key_id = key_id
        self._jwk: Jwk | None = None

    async def jwk(self) -> Jwk:
        """See Signer. Asked once: a KMS key never changes."""
        if self._jwk is None:
            answer = await self._call("GetPublicKey", {"KeyId": self._key_id})
            self._jwk = _jwk(answer)
        return self._jwk

    async def sign(self, message: bytes) -> bytes:
        """See Signer."""
        return await self.sign_digest(hashlib.sha256(message).digest())

    async def sign_digest(self, digest: bytes) -> bytes:
        """See Signer."""
        answer = await self._call(
            "Sign",
            {
                "KeyId": self._key_id,
                "Message": base64.b64encode(digest).decode("ascii"),
                "MessageType": "DIGEST",
                "SigningAlgorithm": _ALGORITHM,
            },
        )
        try:
            return raw_signature(_bytes_at(answer, "Signature"))
        except (ValueError, OverflowError) as exc:
            raise SigningFailed("malformed") from exc

    async def _call(self, operation: str, payload: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            answer = await self._kms.call(_TARGET_PREFIX + operation, payload)
        except NoAnswer as exc:
            raise SigningFailed(exc.outcome) from None
        if answer.status == 200:
            return answer.members
        refused = "unreachable" if answer.status >= 500 else "refused"
        raise SigningFailed(OUTCOMES.get(answer.error, refused))


def _jwk(answer: Mapping[str, Any]) -> Jwk:
    try:
        key = load_der_public_key(_bytes_at(answer, "PublicKey"))
        if isinstance(key, ec.EllipticCurvePublicKey):
            return ec_jwk(key)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise SigningFailed("malformed") from exc
    raise SigningFailed("wrong_key")


def _bytes_at(answer: Mapping[str, Any], name: str) -> bytes:
    """The bytes of a member. Raises SigningFailed."""
    try:
        return base64.b64decode(str(answer[name]), validate=True)
    except (KeyError, binascii.Error) as exc:
        raise SigningFailed("malformed") from exc


# Every error that KMS documents for the two operations, and those of every AWS service; the test
# walks its model. `unreachable` may pass by itself, the others are the operator's to mend.
OUTCOMES: Mapping[str, str] = {
    "DependencyTimeoutException": "unreachable",
    "KeyUnavailableException": "unreachable",
    "KMSInternalException": "unreachable",
    "ServiceUnavailable": "unreachable",
    "InternalFailure": "unreachable",
    "LimitExceededException": "throttled",
    "ThrottlingException": "throttled",
    "NotFoundException": "no_key",
    "InvalidArnException": "no_key",
    "DisabledException": "key_disabled",
    "KMSInvalidStateException": "key_disabled",
    "InvalidKeyUsageException": "wrong_key",
    "UnsupportedOperationException": "wrong_key",
    "AccessDeniedException": "not_allowed",
    "ExpiredTokenException": "not_allowed",
    "IncompleteSignature": "not_allowed",
    "InvalidGrantTokenException": "not_allowed",
    "InvalidSignatureException": "not_allowed",
    "MissingAuthenticationTokenException": "not_allowed",
    "UnrecognizedClientException": "not_allowed",
    "DryRunOperationException": "refused",
    "ValidationException": "refused",
}
