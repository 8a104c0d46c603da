"""What all statements of trust share: a compact JWS over canonical JSON with exactly its members.

Law: one statement has one text. A member more or less, or of another type, makes it none.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json
from phigate.verify.errors import VerificationError
from phigate.verify.roots import Roots, root_of
from phigate.wire.json import parse_object
from phigate.wire.jwk import Jwk, verify
from phigate.wire.jws import Jws, JwsInvalid, decode, read, signing_input

ALG = "ES256"
NUMBER_MAX = 2**53 - 1  # what every reader of JSON tells apart (RFC 8259 section 6)
STACK_CHARS_MAX = 128  # a CloudFormation stack's name

Fits = Callable[[Any], bool]


def statement_input(typ: str, claims: Json, kid: str) -> bytes:
    """What a key signs."""
    payload = orjson.dumps(claims, option=orjson.OPT_SORT_KEYS)
    return signing_input(alg=ALG, typ=typ, kid=kid, payload=payload)


def statement_name(text: str) -> str:
    """How others name a statement: the SHA-256 of what was signed.

    Not of the signature: of one ECDSA signature anybody can make a second one that verifies.
    """
    return hashlib.sha256(text.rpartition(".")[0].encode()).hexdigest()


def signer_of(text: str) -> str | None:
    """The key that a statement says has signed it; None where it cannot be read."""
    try:
        header = parse_object(decode(text.partition(".")[0]))
    except (JwsInvalid, InvalidRequest):
        return None
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def read_claims(text: str, typ: str, members: Mapping[str, Fits], what: str) -> tuple[Jws, Json]:
    """The parts of a statement, read and not believed. Raises VerificationError."""
    try:
        jws = read(text, alg=ALG, typ=typ)
        claims = jws.claims()
    except JwsInvalid as exc:
        raise VerificationError(f"{what}: {exc}") from exc
    if claims.keys() != members.keys():
        raise VerificationError(f"{what} has not the members that one has")
    wrong = [name for name, fits in members.items() if not fits(claims[name])]
    if wrong:
        raise VerificationError(f"{what}: its member {wrong[0]} is not what it must be")
    if orjson.dumps(claims, option=orjson.OPT_SORT_KEYS) != jws.payload:
        raise VerificationError(f"{what} is not written as one is")
    return jws, claims


def is_signed_by(jws: Jws, jwk: Jwk) -> bool:
    """Whether this key has signed it, and it says so."""
    return jws.kid == jwk["kid"] and verify(jwk, ALG, jws.signing_input, jws.signature)


def check_signed_by(jws: Jws, jwk: Jwk, what: str) -> None:
    """Raises VerificationError where this key has not signed it."""
    if not is_signed_by(jws, jwk):
        raise VerificationError(f"{what} is not signed by the key {jwk['kid']}")


def check_signed_by_root(jws: Jws, signs: str, at_s: int, roots: Roots, what: str) -> None:
    """Raises VerificationError where no root that might then sign such a thing has signed it."""
    root = root_of(jws.kid, signs, at_s, roots)
    check_signed_by(jws, root.jwk, what)


def is_number(value: Any) -> bool:
    """A number of statements, which begin with 1."""
    return type(value) is int and 1 <= value <= NUMBER_MAX


def is_time(value: Any) -> bool:
    """Seconds since 1970."""
    return type(value) is int and 0 <= value <= NUMBER_MAX


def is_stack(value: Any) -> bool:
    """A stack's name."""
    return isinstance(value, str) and 0 < len(value) <= STACK_CHARS_MAX


def is_sha256(value: Any) -> bool:
    """Lower-case hex of 32 bytes."""
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def is_sha256_or_none(value: Any) -> bool:
    """The same, or null: the first statement names none before it."""
    return value is None or is_sha256(value)
