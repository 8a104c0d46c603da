"""The long-lived keys of a stack, and what each may sign: `/.well-known/jwks.json` (RFC 7517).

Law: a root signs one thing. The key that closes days cannot certify a receipt key, nor the other
way round; and a root that was replaced vouches for nothing that was signed after its end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json
from phigate.verify.errors import VerificationError
from phigate.wire.json import parse_object
from phigate.wire.jwk import Jwk, thumbprint

# What a root may sign: the type of a JWS, or the name of another purpose.
CERTIFICATES = "phigate-key+jwt"
DIGESTS = "phigate-day+jwt"
CATALOGS = "phigate-catalog"
REDPILL = "redpill-ecdsa"
PURPOSES = (CERTIFICATES, DIGESTS, CATALOGS, REDPILL)

_JWK_MEMBERS = ("kty", "crv", "x", "y", "kid", "alg", "use")


@dataclass(frozen=True, slots=True)
class Root:
    """One root: its public half, what it signs, and when. `until_s` None: it is in use.

    It vouches for nothing before `vouches_from_s`; None: nobody vouches for its birth.
    """

    jwk: Jwk
    signs: str
    from_s: int
    until_s: int | None = None
    vouches_from_s: int | None = None

    @property
    def kid(self) -> str:
        """The key's name."""
        return self.jwk["kid"]

    def vouches(self, signs: str, at_s: int) -> bool:
        """Whether it may have signed such a thing at that time."""
        is_over = self.until_s is not None and at_s >= self.until_s
        is_born = self.vouches_from_s is None or self.vouches_from_s <= at_s
        return self.signs == signs and is_born and not is_over


Roots = Mapping[str, Root]


def by_kid(roots: Iterable[Root]) -> Roots:
    """The roots by their names."""
    return {root.kid: root for root in roots}


def jwks(roots: Iterable[Root]) -> Json:
    """The document. Members that begin with `phi_` are ours; RFC 7517 lets others ignore them."""
    return {"keys": [_item(root) for root in roots]}


def read_jwks(document: bytes) -> Roots:
    """The roots of a document. Keys that are not ours are passed over. Raises VerificationError."""
    try:
        keys = parse_object(document).get("keys")
    except InvalidRequest as exc:
        raise VerificationError(f"the key set cannot be read: {exc.message}") from exc
    if not isinstance(keys, list):
        raise VerificationError("the key set has no list of keys")
    found = [root for key in keys if (root := _root(key)) is not None]
    if not found:
        raise VerificationError("the key set has no key of a phigate stack")
    return by_kid(found)


def root_of(kid: str, signs: str, at_s: int, roots: Roots) -> Root:
    """The root of this name, when it may have signed that. Raises VerificationError."""
    root = roots.get(kid)
    if root is None:
        raise VerificationError(f"the key set has no key {kid}")
    if not root.vouches(signs, at_s):
        raise VerificationError(f"the key {kid} may not sign this{_why(root, at_s)}")
    return root


def _why(root: Root, at_s: int) -> str:
    if root.vouches_from_s is not None and at_s < root.vouches_from_s:
        return f" (it was made at {root.vouches_from_s}, and this is of {at_s})"
    return "" if root.until_s is None else f" (it was replaced at {root.until_s})"


def _item(root: Root) -> Json:
    item: Json = {**root.jwk, "phi_signs": root.signs, "phi_from": root.from_s}
    return item if root.until_s is None else {**item, "phi_until": root.until_s}


def _root(key: Any) -> Root | None:
    if not isinstance(key, dict) or key.get("phi_signs") not in PURPOSES:
        return None
    jwk = {name: str(key[name]) for name in _JWK_MEMBERS if name in key}
    from_s, until_s = key.get("phi_from"), key.get("phi_until")
    is_dated = until_s is None or type(until_s) is int
    if type(from_s) is not int or not is_dated or jwk.get("kid") != thumbprint(jwk):
        raise VerificationError("a key of the key set does not hash to its name, or has no dates")
    return Root(jwk, key["phi_signs"], from_s, until_s)
