"""That a version of the catalog is still the one in force: signed every ten minutes by DayKey.

PHI asks for one that is younger than an hour. A version vouches for itself for its first hour, so
that a deployment begins with PHI.
"""

from dataclasses import dataclass

from phigate.verify.roots import DIGESTS, Roots
from phigate.verify.trust.catalog_version import CatalogVersion
from phigate.verify.trust.statement import (
    check_signed_by_root,
    is_number,
    is_sha256,
    is_stack,
    is_time,
    read_claims,
    statement_input,
    statement_name,
)

FRESHNESS = "phigate-freshness+jwt"
CLOCK_SKEW_S = 60  # two functions' clocks differ by milliseconds; what is later is of no clock
_WHAT = "the catalog's freshness"


@dataclass(frozen=True, slots=True)
class Freshness:
    """What it says: `version_sha256` names the text of version `n`, in force at `at_s`."""

    stack: str
    n: int
    version_sha256: str
    at_s: int


def freshness_input(freshness: Freshness, kid: str) -> bytes:
    """What DayKey signs."""
    claims = {
        "stack": freshness.stack,
        "n": freshness.n,
        "version": freshness.version_sha256,
        "at": freshness.at_s,
    }
    return statement_input(FRESHNESS, claims, kid)


def read_freshness(text: str, roots: Roots) -> Freshness:
    """The freshness of a JWS, signed by a DayKey of its time. Raises VerificationError."""
    jws, claims = read_claims(text, FRESHNESS, MEMBERS, _WHAT)
    check_signed_by_root(jws, DIGESTS, claims["at"], roots, _WHAT)
    return Freshness(claims["stack"], claims["n"], claims["version"], claims["at"])


def fresh_at_s(
    version_text: str, version: CatalogVersion, freshness: Freshness | None, now_s: float
) -> float:
    """When this version was last known to be in force, at most `now_s`; 0 where nobody knows."""
    known = [float(version.issued_at_s)]
    if freshness is not None and _is_of(freshness, version_text, version):
        known.append(float(freshness.at_s))
    return max((min(at_s, now_s) for at_s in known if at_s <= now_s + CLOCK_SKEW_S), default=0.0)


def is_due(freshness: Freshness | None, version_text: str, now_s: float, every_s: float) -> bool:
    """Whether a new one is to be signed for this version."""
    if freshness is None or freshness.version_sha256 != statement_name(version_text):
        return True
    return not 0 <= now_s - freshness.at_s < every_s


def _is_of(freshness: Freshness, text: str, version: CatalogVersion) -> bool:
    return (freshness.stack, freshness.n, freshness.version_sha256) == (
        version.stack,
        version.n,
        statement_name(text),
    )


MEMBERS = {"stack": is_stack, "n": is_number, "version": is_sha256, "at": is_time}
