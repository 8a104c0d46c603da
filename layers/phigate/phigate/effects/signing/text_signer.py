"""Signs texts as RedPill does, with the stack's secp256k1 key: by EIP-191, when it is asked for.

A module of its own because its libraries take 25 ms to import: whoever only chats never loads it.
"""

from phigate.core.errors import Overloaded
from phigate.core.event_log import EventLog
from phigate.core.receipts.text_signer import TextSignature
from phigate.effects.signing.signer import Signer, SigningFailed
from phigate.wire.eip191 import Unrecoverable, address_of, recoverable, text_digest
from phigate.wire.jwk import ec_point


class Eip191Signer:
    """Implements core.text_signer.TextSigner on a secp256k1 key, wherever it lives."""

    def __init__(self, signer: Signer, event_log: EventLog) -> None:
        self._signer = signer
        self._event_log = event_log

    async def sign(self, text: str) -> TextSignature:
        """See TextSigner."""
        digest = text_digest(text)
        try:
            public = ec_point(await self._signer.jwk())
            signature = await self._signer.sign_digest(digest)
            return TextSignature(recoverable(digest, signature, public), address_of(public))
        except (SigningFailed, Unrecoverable) as exc:
            self._event_log.record("text_not_signed", kind=type(exc).__name__, outcome=str(exc))
            raise Overloaded("The signing key cannot be reached; try again.") from exc
