"""What a verifier keeps of a stack: `trust.json`, written once and from then on compared with.

Law: it is taken from where the stack was deployed, and not again from what it is to check.
"""

import json
from dataclasses import dataclass

from phigate.core.errors import InvalidRequest
from phigate.verify.errors import VerificationError
from phigate.verify.trust.statement import is_number, is_stack, is_time
from phigate.wire.json import parse_object
from phigate.wire.jws import JwsInvalid, decode

PIN_BYTES_MAX = 4 * 1024  # it has 200


@dataclass(frozen=True, slots=True)
class TrustPin:
    """The stack, the fingerprint of its CatalogKey (RFC 7638), the number of the last statement of
    roots, and the time of the first one."""

    stack: str
    fingerprint: str
    n: int
    first_at_s: int


def pin_json(pin: TrustPin) -> str:
    """The file's text."""
    members = {
        "stack": pin.stack,
        "fingerprint": pin.fingerprint,
        "n": pin.n,
        "first": pin.first_at_s,
    }
    return json.dumps(members, indent=2) + "\n"


def read_pin(content: bytes) -> TrustPin:
    """The pin of such a file. Raises VerificationError."""
    if len(content) > PIN_BYTES_MAX:
        raise VerificationError(f"a trust file is not longer than {PIN_BYTES_MAX} bytes")
    try:
        members = parse_object(content)
    except InvalidRequest as exc:
        raise VerificationError(f"the trust file cannot be read: {exc.message}") from exc
    if members.keys() != MEMBERS.keys():
        raise VerificationError(
            "the trust file has not the members that phigate trust export wrote"
        )
    wrong = [name for name, fits in MEMBERS.items() if not fits(members[name])]
    if wrong:
        raise VerificationError(f"the trust file's {wrong[0]} is not what it must be")
    return TrustPin(members["stack"], members["fingerprint"], members["n"], members["first"])


def is_fingerprint(value: object) -> bool:
    """Whether it is a SHA-256 in base64url, as RFC 7638 has it."""
    try:
        return isinstance(value, str) and len(decode(value)) == 32
    except JwsInvalid:
        return False


MEMBERS = {"stack": is_stack, "fingerprint": is_fingerprint, "n": is_number, "first": is_time}
