"""Public keys as JWK (RFC 7517), their names, and what they have signed.

Law: an algorithm is bound to one kind of key; a key of another kind has signed nothing.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from phigate.wire.jws import JwsInvalid, decode, encode

Jwk = dict[str, str]

COORDINATE_BYTES = 32  # P-256 and secp256k1 alike
ED25519_BYTES = 32
_CURVES: Mapping[str, tuple[str, ec.EllipticCurve]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "secp256k1": ("ES256K", ec.SECP256K1()),
}
_ECDSA = ec.ECDSA(hashes.SHA256())


def ec_jwk(public_key: ec.EllipticCurvePublicKey) -> Jwk:
    """A P-256 or secp256k1 key: `kty`, `crv`, `x`, `y`, `kid`, `alg`, `use`."""
    numbers = public_key.public_numbers()
    for crv, (alg, curve) in _CURVES.items():
        if public_key.curve.name == curve.name:
            x, y = (encode(n.to_bytes(COORDINATE_BYTES, "big")) for n in (numbers.x, numbers.y))
            required = {"crv": crv, "kty": "EC", "x": x.decode(), "y": y.decode()}
            return {**required, "kid": thumbprint(required), "alg": alg, "use": "sig"}
    raise ValueError("the curve must be P-256 or secp256k1")


def ed25519_jwk(public: bytes) -> Jwk:
    """An Ed25519 key (RFC 8037) by its 32 bytes: `kty`, `crv`, `x`."""
    return {"crv": "Ed25519", "kty": "OKP", "x": encode(public).decode()}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The key's name (RFC 7638): SHA-256 of its required members, sorted, without spaces."""
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    canonical = orjson.dumps(required, option=orjson.OPT_SORT_KEYS)
    return encode(hashlib.sha256(canonical).digest()).decode()


def verify(jwk: Mapping[str, Any], alg: str, message: bytes, signature: bytes) -> bool:
    """True when the key has signed `message` under `alg`; whatever is malformed is False."""
    kty, crv, check = ALGORITHMS[alg]
    if (jwk.get("kty"), jwk.get("crv")) != (kty, crv):
        return False
    try:
        return check(jwk, message, signature)
    except (InvalidSignature, JwsInvalid, ValueError, KeyError, TypeError):
        return False


def ec_public_key(jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    """The key of an EC JWK. Raises ValueError, KeyError, TypeError, JwsInvalid."""
    x, y = (int.from_bytes(decode(jwk[name]), "big") for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, _CURVES[jwk["crv"]][1]).public_key()


def ed25519_public_key(jwk: Mapping[str, Any]) -> Ed25519PublicKey:
    """The key of an Ed25519 JWK. Raises ValueError, KeyError, TypeError, JwsInvalid."""
    return Ed25519PublicKey.from_public_bytes(decode(jwk["x"]))


def verify_ed25519(public_key: Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
    """True when this key has signed the message: for many messages under a key that was read."""
    try:
        public_key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def ec_point(jwk: Mapping[str, Any]) -> bytes:
    """The 64 bytes of x and y of an EC JWK. Raises JwsInvalid, KeyError."""
    return decode(jwk["x"]) + decode(jwk["y"])


def raw_signature(der: bytes) -> bytes:
    """An ECDSA signature as JWS has it (RFC 7518 section 3.4): r then s, 32 bytes each."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")


def verify_ec(public_key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    """True when `signature` (r then s) is this key's ECDSA signature over SHA-256."""
    if len(signature) != 2 * COORDINATE_BYTES:
        return False
    r = int.from_bytes(signature[:COORDINATE_BYTES], "big")
    s = int.from_bytes(signature[COORDINATE_BYTES:], "big")
    try:
        public_key.verify(encode_dss_signature(r, s), message, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _verify_ec(jwk: Mapping[str, Any], message: bytes, signature: bytes) -> bool:
    return verify_ec(ec_public_key(jwk), message, signature)


def _verify_ed25519(jwk: Mapping[str, Any], message: bytes, signature: bytes) -> bool:
    return verify_ed25519(ed25519_public_key(jwk), message, signature)


Check = Callable[[Mapping[str, Any], bytes, bytes], bool]
# The algorithm of a JWS, the one kind of key that it goes with, and the check.
ALGORITHMS: Mapping[str, tuple[str, str, Check]] = {
    "ES256": ("EC", "P-256", _verify_ec),
    "EdDSA": ("OKP", "Ed25519", _verify_ed25519),
}
