"""The version of the catalog in force: which snapshot, and the agreements that have ended.

Law 1: numbers only grow. A snapshot that comes back, by a rollback or a hand, is a new version.
Law 2: ended agreements only grow. One leaves the catalog, or its end is moved forward: it is ended
from then on in every later version, whatever the catalog says. It comes back under a new id only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phigate.core.types import Catalog
from phigate.verify.errors import VerificationError
from phigate.verify.roots import CATALOGS, Roots
from phigate.verify.trust.statement import (
    check_signed_by_root,
    is_number,
    is_sha256,
    is_sha256_or_none,
    is_stack,
    is_time,
    read_claims,
    statement_input,
    statement_name,
)

VERSION = "phigate-catalog-version+jwt"
_WHAT = "the catalog's version"


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """What it says. `agreements` are the ends of those in the snapshot, `ended` the times at which
    agreements were ended, each in seconds by id; `previous` names the version before."""

    stack: str
    n: int
    sha256: str
    agreements: Mapping[str, int]
    ended: Mapping[str, int]
    issued_at_s: int
    previous: str | None


def version_input(version: CatalogVersion, kid: str) -> bytes:
    """What CatalogKey signs."""
    claims = {
        "stack": version.stack,
        "n": version.n,
        "sha256": version.sha256,
        "agreements": dict(version.agreements),
        "ended": dict(version.ended),
        "issued": version.issued_at_s,
        "previous": version.previous,
    }
    return statement_input(VERSION, claims, kid)


def read_version(text: str, roots: Roots | None) -> CatalogVersion:
    """The version of a JWS, signed by a CatalogKey of its time. Without roots it is read and not
    believed. Raises VerificationError."""
    jws, claims = read_claims(text, VERSION, MEMBERS, _WHAT)
    if (claims["previous"] is None) != (claims["n"] == 1):
        raise VerificationError(f"{_WHAT} contradicts itself: its number and the one before")
    if roots is not None:
        check_signed_by_root(jws, CATALOGS, claims["issued"], roots, _WHAT)
    return CatalogVersion(
        stack=claims["stack"],
        n=claims["n"],
        sha256=claims["sha256"],
        agreements=claims["agreements"],
        ended=claims["ended"],
        issued_at_s=claims["issued"],
        previous=claims["previous"],
    )


def next_version(
    before: tuple[str, CatalogVersion] | None, catalog: Catalog, *, stack: str, now_s: int
) -> CatalogVersion:
    """What is to be signed for this catalog. Raises VerificationError for another stack's."""
    agreements = agreements_of(catalog)
    if before is None:
        return CatalogVersion(stack, 1, catalog.sha256, agreements, {}, now_s, None)
    text, known = before
    if known.stack != stack:
        raise VerificationError(f"{_WHAT} before is of stack {known.stack}")
    now_s = max(now_s, known.issued_at_s)
    return CatalogVersion(
        stack=stack,
        n=known.n + 1,
        sha256=catalog.sha256,
        agreements=agreements,
        ended=_ended(known, agreements, now_s),
        issued_at_s=now_s,
        previous=statement_name(text),
    )


def says_the_same(one: CatalogVersion, other: CatalogVersion) -> bool:
    """Whether two versions put the same in force."""
    return (one.sha256, one.ended) == (other.sha256, other.ended)


def highest(texts: Iterable[str], roots: Roots, stack: str) -> tuple[str, CatalogVersion] | None:
    """The version with the highest number of those that a CatalogKey of this stack has signed.

    What is not one is passed over: whoever can put texts there must not be able to hide the others.
    Raises VerificationError where that number has two texts.
    """
    found: dict[str, tuple[str, CatalogVersion]] = {}
    for text in texts:
        try:
            version = read_version(text, roots)
        except VerificationError:
            continue
        if version.stack == stack:
            found[statement_name(text)] = text, version
    if not found:
        return None
    most = max(version.n for _, version in found.values())
    of_most = [each for each in found.values() if each[1].n == most]
    if len(of_most) > 1:
        raise VerificationError(f"two versions of the catalog have number {most}")
    return of_most[0]


def agreements_of(catalog: Catalog) -> dict[str, int]:
    """The end of each agreement of a catalog; of one that rows give two ends, the earlier."""
    ends: dict[str, int] = {}
    for row in catalog.rows:
        if (agreement := row.agreement) is not None:
            end_s = agreement.expires_at_s
            ends[agreement.id] = min(end_s, ends.get(agreement.id, end_s))
    return ends


def revived(version: CatalogVersion) -> list[str]:
    """Agreements that its snapshot names although they had ended: no PHI flows under them."""
    return sorted(
        name
        for name, ended_at_s in version.ended.items()
        if version.agreements.get(name, 0) > ended_at_s
    )


def _ended(known: CatalogVersion, agreements: Mapping[str, int], now_s: int) -> dict[str, int]:
    ended = dict(known.ended)
    for name, end_s in known.agreements.items():
        if name not in agreements:
            ended_at_s = min(end_s, now_s)
        elif agreements[name] < end_s:
            ended_at_s = agreements[name]
        else:
            continue
        ended[name] = min(ended_at_s, ended.get(name, ended_at_s))
    return ended


def _are_times(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_time, value.values()))


MEMBERS = {
    "stack": is_stack,
    "n": is_number,
    "sha256": is_sha256,
    "agreements": _are_times,
    "ended": _are_times,
    "issued": is_time,
    "previous": is_sha256_or_none,
}
