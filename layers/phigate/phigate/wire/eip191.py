"""Ethereum's signatures of texts (EIP-191, personal_sign), as RedPill's verifiers know them: 65
bytes, r then s then v, from which the signer's address is recovered.

Law: what is made here has one form: s in the lower half of the order (EIP-2), v 27 or 28. What is
read may have either s, and v from 0.
Specification: https://eips.ethereum.org/EIPS/eip-191 and https://eips.ethereum.org/EIPS/eip-55
"""

import re

from coincurve import PublicKey
from Crypto.Hash import keccak

SIGNATURE_BYTES = 65
PUBLIC_BYTES = 64  # x then y
_ADDRESS_BYTES = 20
_HALF = 32
_V = 27  # what Ethereum adds to the recovery id
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_PREFIX = b"\x19Ethereum Signed Message:\n%d"
_SIGNATURE = re.compile(r"(?:0x)?([0-9a-fA-F]{130})")


class Unrecoverable(ValueError):
    """This is nobody's signature of that."""


def text_digest(text: str) -> bytes:
    """The 32 bytes that are signed for a text."""
    content = text.encode()
    return keccak256(_PREFIX % len(content) + content)


def keccak256(content: bytes) -> bytes:
    """Keccak-256, whose padding is not that of SHA3-256."""
    return keccak.new(digest_bits=256, data=content).digest()


def address_of(public: bytes) -> str:
    """The checksummed address (EIP-55) of a public key's x and y."""
    name = keccak256(public)[-_ADDRESS_BYTES:].hex()
    digits = keccak256(name.encode("ascii")).hex()
    return "0x" + "".join(
        letter.upper() if int(digit, 16) >= 8 else letter
        for letter, digit in zip(name, digits, strict=False)
    )


def recoverable(digest: bytes, signature: bytes, public: bytes) -> str:
    """A key's signature of a digest (r then s) in hex, with what the key is recovered by.

    Raises Unrecoverable where it is not this key's.
    """
    s = int.from_bytes(signature[_HALF:], "big")
    low = signature[:_HALF] + min(s, _ORDER - s).to_bytes(_HALF, "big")
    for recovery_id in (0, 1):
        if _recovered(digest, low, recovery_id) == public:
            return f"0x{low.hex()}{_V + recovery_id:02x}"
    raise Unrecoverable("the signature is not that of the key")


def recovered_address(text: str, signature: str) -> str:
    """Who signed a text, by the signature in hex. Raises Unrecoverable."""
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        raise Unrecoverable("a signature is 65 bytes in hex")
    raw = bytes.fromhex(found[1])
    # Some signers leave the 27 out.
    recovery_id = raw[-1] - _V if raw[-1] >= _V else raw[-1]
    public = _recovered(text_digest(text), raw[:-1], recovery_id)
    if public is None:
        raise Unrecoverable("no key has made this signature")
    return address_of(public)


def _recovered(digest: bytes, signature: bytes, recovery_id: int) -> bytes | None:
    """The x and y of the key whose signature this is, if there is one."""
    if recovery_id not in (0, 1):
        return None
    raw = signature + bytes([recovery_id])
    try:
        key = PublicKey.from_signature_and_message(raw, digest, hasher=None)
    except ValueError:
        return None
    return key.format(compressed=False)[1:]
