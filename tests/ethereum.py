"""Ethereum's own Python libraries, the independent verifiers of our signatures.

They are imported here alone: one of them raises the interpreter's recursion limit, under which
nested JSON overflows the C stack.
"""

import sys

_LIMIT = sys.getrecursionlimit()

from eth_account import Account  # noqa: E402
from eth_account.messages import encode_defunct  # noqa: E402
from eth_keys.datatypes import PrivateKey  # noqa: E402

sys.setrecursionlimit(_LIMIT)


def address_of(secret: bytes) -> str:
    """The checksummed address of a private key."""
    return str(PrivateKey(secret).public_key.to_checksum_address())


def signature_by(secret: bytes, text: str) -> str:
    """A private key's signature of a text, by EIP-191."""
    signed = Account.from_key(secret).sign_message(encode_defunct(text=text))
    return str(signed.signature.to_0x_hex())


def signer_of(text: str, signature: str) -> str:
    """Who has signed a text."""
    return str(Account.recover_message(encode_defunct(text=text), signature=signature))
