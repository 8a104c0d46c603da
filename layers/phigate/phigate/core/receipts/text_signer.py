"""Who signs texts for RedPill's verifiers, as a shape; see `effects/signing/text_signer.py`."""

import json
import re
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


def read_text_signature(written: str) -> TextSignature | None:
    """A signature as it was stored, in JSON; None where something else stands there."""
    try:
        body = json.loads(written)
        signature, address = str(body["signature"]), str(body["signing_address"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    is_one = _SIGNATURE.fullmatch(signature) and _ADDRESS.fullmatch(address)
    return TextSignature(signature, address) if is_one else None


_SIGNATURE = re.compile(r"0x[0-9a-f]{130}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
