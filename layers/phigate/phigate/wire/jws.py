"""Compact JWS (RFC 7515 section 7.1): three parts of base64url with dots between, read strictly.

Law: one text has one reading. Padding, line breaks, unused bits, doubled or further header members
are refused, and the algorithm is the one that the reader expects, not the one that the text names.
"""

import base64
import binascii
import re
from dataclasses import dataclass

import orjson

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json
from phigate.wire.json import parse_object

JWS_BYTES_MAX = 64 * 1024  # a receipt has 2 KB, a day's digest 3 KB

_PART = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = frozenset({"alg", "kid", "typ"})


class JwsInvalid(ValueError):
    """The text is no JWS of ours; the message says where it fails, for a person."""


@dataclass(frozen=True, slots=True)
class Jws:
    """One that was read. Nothing of it is to be believed before its signature was verified."""

    kid: str
    payload: bytes
    signature: bytes
    signing_input: bytes

    def claims(self) -> Json:
        """The payload as a JSON object. Raises JwsInvalid."""
        try:
            return parse_object(self.payload)
        except InvalidRequest as exc:
            raise JwsInvalid(f"the payload: {exc.message}") from exc


def signing_input(*, alg: str, typ: str, kid: str, payload: bytes) -> bytes:
    """What is signed: header and payload in base64url with a dot between."""
    header = orjson.dumps({"alg": alg, "kid": kid, "typ": typ})
    return encode(header) + b"." + encode(payload)


def compact(signed: bytes, signature: bytes) -> str:
    """The JWS of a signing input and its signature."""
    return (signed + b"." + encode(signature)).decode("ascii")


def read(text: str, *, alg: str, typ: str) -> Jws:
    """A JWS of this type under this algorithm. Raises JwsInvalid."""
    if len(text) > JWS_BYTES_MAX:
        raise JwsInvalid(f"it is over {JWS_BYTES_MAX} characters")
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise JwsInvalid("it is not three parts of base64url with dots between (cut off?)")
    header, payload, signature = (decode(part) for part in parts)
    kid = _kid(header, alg=alg, typ=typ)
    return Jws(kid, payload, signature, text[: text.rindex(".")].encode("ascii"))


def encode(content: bytes) -> bytes:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def decode(part: str) -> bytes:
    """The bytes of base64url without padding. Raises JwsInvalid, also for unused bits."""
    try:
        if _PART.fullmatch(part) is None:
            raise ValueError
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise JwsInvalid("a part of it is not base64url") from None
    if encode(content).decode("ascii") != part:
        raise JwsInvalid("a part of it has bits that mean nothing")
    return content


def _kid(raw: bytes, *, alg: str, typ: str) -> str:
    try:
        header = parse_object(raw)
    except InvalidRequest as exc:
        raise JwsInvalid(f"the header: {exc.message}") from exc
    if header.get("alg") != alg:
        raise JwsInvalid(f"its algorithm must be {alg}")
    if header.get("typ") != typ:
        raise JwsInvalid(f"its type must be {typ}")
    kid = header.get("kid")
    if header.keys() != _HEADER or not isinstance(kid, str):
        raise JwsInvalid("its header must have alg, kid and typ, and nothing else")
    return kid
