"""Who signs texts for RedPill's verifiers, as a shape; see `effects/text_signer.py`."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TextSignature:
    """A signature of a text in hex, and the address of who made it."""

    signature: str
    signing_address: str


class TextSigner(Protocol):
    """Signs texts as Ethereum does (EIP-191), when they are asked for. Raises Overloaded."""

    async def sign(self, text: str) -> TextSignature: ...
