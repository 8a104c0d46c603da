"""A signing key that AWS KMS holds: ECC_NIST_P256, or ECC_SECG_P256K1 for RedPill's signatures.

Law 1: nothing is asked at init: a snapshot of the process must hold no connection.
Law 2: KMS is sent 32 bytes, never a message: it takes 4 KB at most, and need not see what it signs.
Law 3: every failure is a SigningFailed that names its outcome, by the table at the end.
https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from phigate.core.limits import SOCKET_UNUSED_MAX_S
from phigate.core.protocols import Clock
from phigate.effects import sigv4
from phigate.effects.http1 import Posts
from phigate.effects.signer import SigningFailed
from phigate.wire.jwk import Jwk, ec_jwk, raw_signature

CONNECT_TIMEOUT_S = 1.0  # KMS in the same region connects in a few milliseconds
CALL_TIMEOUT_S = 2.0  # a signature takes some 10 ms; with the connection under CERTIFY_TIMEOUT_S
CONNECTIONS_MAX = 8  # a certificate an hour, and RedPill's signatures when they are asked for
_CONTENT_TYPE = "application/x-amz-json-1.1"
_TARGET_PREFIX = "TrentService."
_ALGORITHM = "ECDSA_SHA_256"  # both kinds of key; with DIGEST the name only says 32 bytes


class KmsSigner:
    """Implements effects.signer.Signer. `key_id` is the key's ARN. `close` it at the end."""

    def __init__(
        self,
        *,
        key_id: str,
        endpoint: str,
        region: str,
        credentials: sigv4.CredentialsSource,
        clock: Clock,
    ) -> None:
        self._key_id = key_id
        self._clock = clock
        self._jwk: Jwk | None = None
        self._signer = sigv4.Signer(
            host=urlsplit(endpoint).netloc,
            region=region,
            service="kms",
            source=credentials,
            content_type=_CONTENT_TYPE,
        )
        self._posts = Posts(
            endpoint=endpoint,
            clock=clock,
            connections_max=CONNECTIONS_MAX,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            unused_max_s=SOCKET_UNUSED_MAX_S,
        )

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

    def close(self) -> None:
        """Close the sockets; a later call opens new ones."""
        self._posts.close()

    async def _call(self, operation: str, payload: Mapping[str, str]) -> dict[str, Any]:
        body = orjson.dumps(payload)
        head = self._signer.head(
            now_s=self._clock.now_s(), target=_TARGET_PREFIX + operation, body=body
        )
        try:
            status, content = await self._posts.post(head, body, CALL_TIMEOUT_S)
        except TimeoutError as exc:
            raise SigningFailed("timeout") from exc
        except OSError as exc:
            raise SigningFailed("unreachable") from exc
        return _read(status, content)


def _read(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(content)
    except ValueError as exc:
        raise SigningFailed("malformed") from exc
    if not isinstance(answer, dict):
        raise SigningFailed("malformed")
    if status == 200:
        return answer
    code = str(answer.get("__type", "")).rpartition("#")[2]
    raise SigningFailed(OUTCOMES.get(code, "unreachable" if status >= 500 else "refused"))


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
