"""The statement of roots: every long-lived key of a stack, what it signs, and from when until when.

It is signed by CatalogKey, whose fingerprint verifiers pin. When CatalogKey itself is replaced, the
new one signs the next statement, and the old one signs it too: a verifier that pins the old one
then goes over to the new one, and otherwise pins anew.
Law 1: numbers only grow, and the highest one that is believed counts, wherever it lay.
Law 2: a root vouches for nothing before its birth and after its end. Those that stood when the
first statement was made keep the old rule for the time before it.
Law 3: nothing follows from an old root to a new one alone: both have signed the same members.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phigate.core.limits import CERTIFICATE_LIFE_S
from phigate.core.types import Json
from phigate.verify.errors import VerificationError
from phigate.verify.roots import CATALOGS, PURPOSES, Root, Roots, by_kid
from phigate.verify.trust.statement import (
    check_signed_by,
    is_number,
    is_sha256_or_none,
    is_signed_by,
    is_stack,
    is_time,
    read_claims,
    statement_input,
    statement_name,
)
from phigate.wire.jwk import Jwk, thumbprint
from phigate.wire.jws import Jws

ROOTS = "phigate-roots+jwt"
ROOTS_MAX = 200  # four purposes, replaced monthly for four years; a JWS has 64 KB
_WHAT = "the statement of roots"
_JWK_MEMBERS = frozenset({"kty", "crv", "x", "y", "kid", "alg", "use"})


@dataclass(frozen=True, slots=True)
class RootsStatement:
    """What it says. `first_at_s` is when statement 1 was made, `previous` names the one before."""

    stack: str
    n: int
    issued_at_s: int
    first_at_s: int
    roots: tuple[Root, ...]
    previous: str | None

    def in_force(self, signs: str) -> Root | None:
        """The root that signs this from now on."""
        return next((r for r in self.roots if r.signs == signs and r.until_s is None), None)


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """Its text, and the same members signed by the CatalogKey before, where that was replaced."""

    text: str
    cosigned: str | None = None


def roots_input(statement: RootsStatement, kid: str) -> bytes:
    """What CatalogKey signs."""
    claims = {
        "stack": statement.stack,
        "n": statement.n,
        "issued": statement.issued_at_s,
        "first": statement.first_at_s,
        "roots": [_item(root) for root in statement.roots],
        "previous": statement.previous,
    }
    return statement_input(ROOTS, claims, kid)


def read_roots(text: str, jwk: Jwk | None = None) -> RootsStatement:
    """The statement of a JWS that this key has signed. Without one it is read and not believed.

    Raises VerificationError.
    """
    return _read(text, jwk)[1]


def next_roots(
    before: tuple[str, RootsStatement] | None,
    in_force: Mapping[str, Jwk],
    *,
    stack: str,
    now_s: int,
) -> RootsStatement | None:
    """What is to be signed, by what each key of `in_force` signs; None where nothing has changed.

    A root that was replaced ends in an hour, when the last certificate of a process that still
    knows it does. A key that was replaced before is not taken into use again.

    Raises VerificationError.
    """
    if before is None:
        roots = tuple(Root(jwk, signs, now_s) for signs, jwk in in_force.items())
        return RootsStatement(stack, 1, now_s, now_s, _ordered(roots), None)
    text, known = before
    if known.stack != stack:
        raise VerificationError(f"{_WHAT} before is of stack {known.stack}")
    now_s = max(now_s, known.issued_at_s)
    roots = known.roots
    for signs, jwk in in_force.items():
        roots = _with(roots, signs, jwk, now_s)
    if roots == known.roots:
        return None
    return RootsStatement(
        stack, known.n + 1, now_s, known.first_at_s, _ordered(roots), statement_name(text)
    )


def believed(
    statements: Iterable[SignedStatement],
    fingerprint: str,
    *,
    stack: str | None = None,
    least_n: int = 0,
) -> tuple[SignedStatement, RootsStatement]:
    """The highest statement that follows from the pinned fingerprint of a CatalogKey.

    What cannot be read, or is signed by a key that does not follow, is passed over: whoever can put
    texts there must not be able to hide the others. Raises VerificationError where none is left,
    one number has two statements, the stack is another one, or a later one than `least_n` was
    pinned.
    """
    pinned, found = fingerprint, None
    by_number: dict[int, list[_Candidate]] = {}
    for candidate in _readable(statements):
        by_number.setdefault(candidate.statement.n, []).append(candidate)
    for n in sorted(by_number):
        following = {c.name: c for c in by_number[n] if _follows(c, pinned, found)}
        if len(following) > 1:
            raise VerificationError(f"two statements of roots have number {n}")
        for candidate in following.values():
            pinned, found = candidate.jws.kid, candidate
    if found is None:
        raise VerificationError(f"no statement of roots is signed by the pinned key {fingerprint}")
    statement = found.statement
    if stack is not None and statement.stack != stack:
        raise VerificationError(f"{_WHAT} is of stack {statement.stack}, not {stack}")
    if statement.n < least_n:
        raise VerificationError(f"{_WHAT} has number {statement.n}; {least_n} was pinned")
    return found.signed, statement


def self_signed(statements: Iterable[SignedStatement]) -> list[str]:
    """The CatalogKeys that statements name and that have signed them, the latest first. Whoever can
    put texts among them can make one, so it is for a place that vouches for what lies in it."""
    found = [c for c in _readable(statements) if _follows(c, c.jws.kid, None)]
    return [c.jws.kid for c in sorted(found, key=lambda c: -c.statement.n)]


def same_claims(one: str, other: str) -> bool:
    """Whether two keys have signed the same members."""
    return one.split(".")[1:2] == other.split(".")[1:2]


def anchored(statement: RootsStatement) -> Roots:
    """Its roots, each bound to its time."""
    first_s = statement.first_at_s
    return by_kid(
        replace(root, vouches_from_s=None if root.from_s == first_s else root.from_s)
        for root in statement.roots
    )


def _with(roots: tuple[Root, ...], signs: str, jwk: Jwk, now_s: int) -> tuple[Root, ...]:
    """The roots once this key signs that."""
    known = next((root for root in roots if root.kid == jwk["kid"]), None)
    if known is not None and (known.signs != signs or known.until_s is not None):
        raise VerificationError(
            f"the key {known.kid} signed {known.signs} and was replaced; make a new one for {signs}"
        )
    ended = tuple(
        replace(root, until_s=now_s + CERTIFICATE_LIFE_S)
        if root.signs == signs and root.until_s is None and root.kid != jwk["kid"]
        else root
        for root in roots
    )
    return ended if known is not None else (*ended, Root(jwk, signs, now_s))


def _ordered(roots: Sequence[Root]) -> tuple[Root, ...]:
    return tuple(sorted(roots, key=lambda root: (root.from_s, root.kid)))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One statement that can be read."""

    signed: SignedStatement
    jws: Jws
    statement: RootsStatement

    @property
    def name(self) -> str:
        """As other statements name it."""
        return statement_name(self.signed.text)


def _readable(statements: Iterable[SignedStatement]) -> Iterable[_Candidate]:
    for signed in statements:
        with contextlib.suppress(VerificationError):
            yield _Candidate(signed, *_read(signed.text, None))


def _follows(candidate: _Candidate, pinned: str, found: _Candidate | None) -> bool:
    """Whether the pinned key has signed it, alone as the CatalogKey in force, or with the one that
    takes its place."""
    jws, statement = candidate.jws, candidate.statement
    root = statement.in_force(CATALOGS)
    if root is None or jws.kid != root.kid or not is_signed_by(jws, root.jwk):
        return False
    return root.kid == pinned or _is_handed_over(candidate, pinned, found)


def _is_handed_over(candidate: _Candidate, pinned: str, found: _Candidate | None) -> bool:
    statement, cosigned = candidate.statement, candidate.signed.cosigned
    old = next((root for root in statement.roots if root.kid == pinned), None)
    if cosigned is None or old is None or old.signs != CATALOGS:
        return False
    is_next = found is not None and found.statement.n == statement.n - 1
    if found is not None and is_next and statement.previous != found.name:
        return False
    try:
        jws, _ = read_claims(cosigned, ROOTS, MEMBERS, _WHAT)
    except VerificationError:
        return False
    return jws.payload == candidate.jws.payload and is_signed_by(jws, old.jwk)


def _read(text: str, jwk: Jwk | None) -> tuple[Jws, RootsStatement]:
    jws, claims = read_claims(text, ROOTS, MEMBERS, _WHAT)
    if jwk is not None:
        check_signed_by(jws, jwk, _WHAT)
    statement = RootsStatement(
        stack=claims["stack"],
        n=claims["n"],
        issued_at_s=claims["issued"],
        first_at_s=claims["first"],
        roots=tuple(map(_root, claims["roots"])),
        previous=claims["previous"],
    )
    _check_agrees(statement)
    return jws, statement


def _check_agrees(statement: RootsStatement) -> None:
    """Raises VerificationError where its members contradict one another."""
    roots = statement.roots
    used = [root.signs for root in roots if root.until_s is None]
    contradictions = (
        ((statement.previous is None) != (statement.n == 1), "its number and the one before"),
        ((statement.first_at_s == statement.issued_at_s) < (statement.n == 1), "its times"),
        (not statement.first_at_s <= statement.issued_at_s, "its times"),
        (len({root.kid for root in roots}) != len(roots), "one key twice"),
        (len(set(used)) != len(used), "two keys for one purpose"),
        (any(r.from_s > statement.issued_at_s for r in roots), "a key that is not born yet"),
        (
            any(r.until_s is not None and r.until_s < r.from_s for r in roots),
            "an end before a birth",
        ),
        (roots != _ordered(roots), "keys out of order"),
    )
    for is_so, what in contradictions:
        if is_so:
            raise VerificationError(f"{_WHAT} contradicts itself: {what}")


def _item(root: Root) -> Json:
    return {"jwk": root.jwk, "signs": root.signs, "from": root.from_s, "until": root.until_s}


def _root(item: Json) -> Root:
    return Root(item["jwk"], item["signs"], item["from"], item["until"])


def _is_root(item: Any) -> bool:
    if not isinstance(item, dict) or item.keys() != {"jwk", "signs", "from", "until"}:
        return False
    jwk = item["jwk"]
    if not isinstance(jwk, dict) or jwk.keys() != _JWK_MEMBERS:
        return False
    if not all(isinstance(value, str) for value in jwk.values()) or jwk["kid"] != thumbprint(jwk):
        return False
    is_dated = is_time(item["from"]) and (item["until"] is None or is_time(item["until"]))
    return is_dated and item["signs"] in PURPOSES


MEMBERS = {
    "stack": is_stack,
    "n": is_number,
    "issued": is_time,
    "first": is_time,
    "roots": lambda value: (
        isinstance(value, list) and 0 < len(value) <= ROOTS_MAX and all(map(_is_root, value))
    ),
    "previous": is_sha256_or_none,
}
