"""The keys that sign receipts: made by this process, certified by the stack's root (decision 26).

Law 1: a key is made when the first request asks, never at init: a snapshot of a process that has
one would give many environments the same key.
Law 2: a certificate is stored before the first receipt that needs it, so every receipt can be
checked.
Law 3: one key, one certificate, one hour. Ages are measured on the wall clock: an environment
freezes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.core.limits import (
    CERTIFICATE_LIFE_S,
    CERTIFICATE_RENEW_S,
    CERTIFY_RETRY_S,
    CERTIFY_TIMEOUT_S,
)
from phigate.effects.refreshed import Refreshed
from phigate.effects.signing.signer import Signer
from phigate.verify.certificate import ALG, Certificate, certificate_payload
from phigate.verify.roots import CERTIFICATES
from phigate.wire.jwk import ed25519_jwk, thumbprint
from phigate.wire.jws import compact, signing_input

StoreCertificate = Callable[[str, str, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Key:
    """One Ed25519 key (see core.receipts.port.SigningKey)."""

    private: Ed25519PrivateKey
    kid: str
    certificate: Certificate | None = None

    @property
    def expires_at_s(self) -> int | None:
        """See SigningKey."""
        return None if self.certificate is None else self.certificate.expires_at_s

    def sign(self, message: bytes) -> bytes:
        """See SigningKey."""
        return self.private.sign(message)

    def covers(self, now_s: float, until_s: float) -> bool:
        """Whether it is certified now and will be until then."""
        certificate = self.certificate
        return certificate is not None and certificate.covers(now_s) and certificate.covers(until_s)


class EphemeralKeySigner:
    """Implements core.receipts.port.ReceiptSigner. `store` keeps a certificate by its key's name,
    with its end."""

    def __init__(
        self,
        *,
        root: Signer,
        store: StoreCertificate,
        clock: Clock,
        event_log: EventLog,
        issuer: str,
        stack: str,
        timeout_s: float = CERTIFY_TIMEOUT_S,
    ) -> None:
        self._root = root
        self._store = store
        self._clock = clock
        self._event_log = event_log
        self._issuer = issuer
        self._stack = stack
        self._timeout_s = timeout_s
        self._certified = Refreshed(
            self._certify, clock, retry_after_s=CERTIFY_RETRY_S, on_failure=self._note_failure
        )
        self._uncertified: Key | None = None

    def begin(self, until_s: float) -> None:
        """See ReceiptSigner."""
        if not self._covers(until_s):
            self._certified.renew()

    async def key(self, until_s: float) -> Key:
        """See ReceiptSigner."""
        self.begin(until_s)
        # A key that is good now is good enough for a signature now; do not wait for a better one.
        if not self._covers(until_s):
            await self._certified.wait()
        now_s = self._clock.now_s()
        certified = self._certified.value
        if certified is not None and certified.covers(now_s, now_s):
            return certified
        if self._uncertified is None:
            # Never certified later: a receipt that says it is uncertified stays so.
            self._uncertified = _new_key()
        return self._uncertified

    async def renew(self) -> None:
        """See ReceiptSigner."""
        if self._certified.value is not None:
            self.begin(self._clock.now_s() + CERTIFICATE_RENEW_S)
        await self._certified.wait()

    def _covers(self, until_s: float) -> bool:
        certified = self._certified.value
        return certified is not None and certified.covers(self._clock.now_s(), until_s)

    def _note_failure(self, failure: Exception) -> None:
        self._event_log.record("certification_failed", kind=type(failure).__name__)

    async def _certify(self) -> Key:
        async with asyncio.timeout(self._timeout_s):
            return await self._new_certified()

    async def _new_certified(self) -> Key:
        key = _new_key()
        now_s = int(self._clock.now_s())
        certificate = Certificate(
            kid=key.kid,
            jwk=ed25519_jwk(key.private.public_key().public_bytes_raw()),
            issuer=self._issuer,
            stack=self._stack,
            issued_at_s=now_s,
            expires_at_s=now_s + CERTIFICATE_LIFE_S,
        )
        root_kid = (await self._root.jwk())["kid"]
        message = signing_input(
            alg=ALG, typ=CERTIFICATES, kid=root_kid, payload=certificate_payload(certificate)
        )
        text = compact(message, await self._root.sign(message))
        await self._store(key.kid, text, certificate.expires_at_s)
        return Key(key.private, key.kid, certificate)


def _new_key() -> Key:
    private = Ed25519PrivateKey.generate()
    return Key(private, thumbprint(ed25519_jwk(private.public_key().public_bytes_raw())))
