"""The signed digest that closes one account's UTC day, and names the one before.

Law: a digest is a function of the day's items alone, so whoever has them can make it again; what
was taken out, put in or changed after it was signed makes another one.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from phigate.core.receipts.days import is_day
from phigate.core.receipts.port import StoredReceipt
from phigate.core.types import Json
from phigate.verify.errors import VerificationError
from phigate.verify.receipt_body import jws_of
from phigate.verify.roots import DIGESTS, Roots, root_of
from phigate.wire.jwk import verify
from phigate.wire.jws import JwsInvalid, compact, read, signing_input

ALG = "ES256"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One item of a day as its digest sees it. A tombstone has no stack and no record."""

    seq: int
    id: str
    sha256: bytes
    stack: str | None = None
    phi: bool = False
    row: str | None = None
    region: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class DayDigest:
    """What a digest says. `tally` is what `tally` makes of the day's leaves."""

    account: str
    stack: str
    day: str
    tally: Json
    previous: str | None
    closed_at_s: int


def receipt_leaf(stored: StoredReceipt, record: Json) -> Leaf:
    """The leaf of a receipt: the hash of its JWS."""
    if stored.signed is None:
        raise ValueError("a tombstone has a leaf of its own")
    return Leaf(
        seq=stored.seq,
        id=stored.id,
        sha256=hashlib.sha256(jws_of(stored.signed).encode("ascii")).digest(),
        stack=record["stack"],
        phi=record["phi"] is True,
        row=record.get("row"),
        region=record.get("region_served"),
        refusal=record["verdict"] if record["ended"] == "refused" else None,
    )


def tombstone_leaf(stored: StoredReceipt) -> Leaf:
    """The leaf of a tombstone: the hash of its id, its number and what it charged."""
    # A late receipt that took its place has a cost of its own.
    cost_micros = stored.cost_micros if stored.state == "expired" else stored.swept_micros
    facts = {"cost": cost_micros, "id": stored.id, "seq": stored.seq}
    content = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)
    return Leaf(stored.seq, stored.id, hashlib.sha256(content).digest())


def tally(leaves: Iterable[Leaf]) -> Json:
    """What a digest says of its day's items: counts, and one hash over all in order of number."""
    ordered = sorted(leaves, key=lambda leaf: (leaf.seq, leaf.id))
    running = hashlib.sha256()
    for leaf in ordered:
        running.update(leaf.sha256)
    return {
        "count": len(ordered),
        "first": ordered[0].seq if ordered else 0,
        "last": ordered[-1].seq if ordered else 0,
        "phi": sum(leaf.phi for leaf in ordered),
        "tombstones": sum(leaf.stack is None for leaf in ordered),
        "rows": _counted(leaf.row for leaf in ordered),
        "regions": _counted(leaf.region for leaf in ordered),
        "refusals": _counted(leaf.refusal for leaf in ordered),
        "receipts_sha256": running.hexdigest(),
    }


def digest_input(digest: DayDigest, kid: str) -> bytes:
    """What the root signs."""
    claims = {
        "account": digest.account,
        "stack": digest.stack,
        "day": digest.day,
        "previous": digest.previous,
        "closed": digest.closed_at_s,
        **digest.tally,
    }
    payload = orjson.dumps(claims, option=orjson.OPT_SORT_KEYS)
    return signing_input(alg=ALG, typ=DIGESTS, kid=kid, payload=payload)


def digest_jws(signed: bytes, signature: bytes) -> str:
    """The digest as a compact JWS."""
    return compact(signed, signature)


def name_of(jws: str) -> str:
    """How the next digest names this one."""
    return hashlib.sha256(jws.encode()).hexdigest()


def read_digest(text: str, roots: Roots | None) -> DayDigest:
    """The digest of a JWS, signed by a root. Without roots it is read and not believed.

    Raises VerificationError.
    """
    try:
        jws = read(text, alg=ALG, typ=DIGESTS)
        digest = _digest(jws.claims())
    except JwsInvalid as exc:
        raise VerificationError(f"the digest: {exc}") from exc
    if roots is not None:
        root = root_of(jws.kid, DIGESTS, digest.closed_at_s, roots)
        if not verify(root.jwk, ALG, jws.signing_input, jws.signature):
            raise VerificationError("the digest's signature is not that of the key that it names")
    return digest


def _digest(claims: Json) -> DayDigest:
    if claims.keys() != MEMBERS.keys():
        raise VerificationError("the digest has not the members that one has")
    wrong = [name for name, fits in MEMBERS.items() if not fits(claims[name])]
    if wrong:
        raise VerificationError(f"the digest's member {wrong[0]} is not what it must be")
    return DayDigest(
        account=claims["account"],
        stack=claims["stack"],
        day=claims["day"],
        tally={name: claims[name] for name in TALLY},
        previous=claims["previous"],
        closed_at_s=claims["closed"],
    )


def _counted(names: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(name for name in names if name is not None).items()))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


def _sha256(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


TALLY = {
    "count": _count,
    "first": _count,
    "last": _count,
    "phi": _count,
    "tombstones": _count,
    "rows": _counts,
    "regions": _counts,
    "refusals": _counts,
    "receipts_sha256": _sha256,
}
MEMBERS = {
    "account": _text,
    "stack": _text,
    "day": is_day,
    "previous": lambda value: value is None or _sha256(value),
    "closed": _count,
    **TALLY,
}
