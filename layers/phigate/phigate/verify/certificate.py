"""The certificate of a receipt key: a JWS in which a root vouches for an Ed25519 key for an hour.

Law: a receipt is good when the moment of its signature lies inside its key's certificate.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from phigate.core.limits import CERTIFICATE_LIFE_S
from phigate.core.types import Json
from phigate.verify.errors import VerificationError
from phigate.verify.roots import CERTIFICATES, Roots, root_of
from phigate.wire.jwk import Jwk, thumbprint, verify
from phigate.wire.jws import Jws, JwsInvalid, read

ALG = "ES256"
_MEMBERS = frozenset({"iss", "kid", "jwk", "stack", "iat", "exp"})


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a root vouches for: that the key was the stack's from `issued_at_s` on."""

    kid: str
    jwk: Jwk
    issuer: str
    stack: str
    issued_at_s: int
    expires_at_s: int

    def covers(self, at_s: float) -> bool:
        """Whether something may have been signed under it at that time."""
        return self.issued_at_s <= at_s < self.expires_at_s


def certificate_payload(certificate: Certificate) -> bytes:
    """The canonical JSON that a root signs."""
    claims = {
        "iss": certificate.issuer,
        "kid": certificate.kid,
        "jwk": certificate.jwk,
        "stack": certificate.stack,
        "iat": certificate.issued_at_s,
        "exp": certificate.expires_at_s,
    }
    return orjson.dumps(claims, option=orjson.OPT_SORT_KEYS)


def read_certificate(text: str, roots: Roots | None) -> Certificate:
    """The certificate of a JWS, signed by a root. Without roots it is read and not believed.

    Raises VerificationError.
    """
    try:
        jws = read(text, alg=ALG, typ=CERTIFICATES)
        certificate = _certificate(jws.claims())
    except JwsInvalid as exc:
        raise VerificationError(f"the certificate: {exc}") from exc
    if roots is not None:
        _check_root(jws, certificate, roots)
    return certificate


def _check_root(jws: Jws, certificate: Certificate, roots: Roots) -> None:
    root = root_of(jws.kid, CERTIFICATES, certificate.issued_at_s, roots)
    if not verify(root.jwk, ALG, jws.signing_input, jws.signature):
        raise VerificationError("the certificate's signature is not that of the key that it names")


def _certificate(claims: Json) -> Certificate:
    jwk = claims.get("jwk")
    issued_at_s, expires_at_s = claims.get("iat"), claims.get("exp")
    texts = [claims.get(name) for name in ("kid", "iss", "stack")]
    is_shaped = (
        claims.keys() == _MEMBERS
        and _is_ed25519(jwk)
        and type(issued_at_s) is int
        and type(expires_at_s) is int
        and all(isinstance(text, str) for text in texts)
    )
    if not is_shaped or not isinstance(jwk, dict):
        raise VerificationError("the certificate has not the members that one has")
    if texts[0] != thumbprint(jwk):
        raise VerificationError("the certificate's key does not hash to its name")
    certificate = Certificate(str(texts[0]), jwk, str(texts[1]), str(texts[2]), *_times(claims))
    if not 0 < certificate.expires_at_s - certificate.issued_at_s <= CERTIFICATE_LIFE_S:
        raise VerificationError(f"the certificate is for more than {CERTIFICATE_LIFE_S} s")
    return certificate


def _times(claims: Json) -> tuple[int, int]:
    return claims["iat"], claims["exp"]


def _is_ed25519(jwk: Any) -> bool:
    if not isinstance(jwk, dict) or jwk.keys() != {"kty", "crv", "x"}:
        return False
    return (jwk["kty"], jwk["crv"]) == ("OKP", "Ed25519") and isinstance(jwk["x"], str)
