"""Keys and signatures against the examples of the specifications."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phigate.effects.signing.signer import KeyFileSigner
from phigate.wire.jwk import Jwk, ec_jwk, ed25519_jwk, thumbprint, verify
from phigate.wire.jws import decode

# RFC 8037 appendix A: the key, its thumbprint, and a JWS.
ED25519: Jwk = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
ED25519_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
ED25519_INPUT = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
ED25519_SIGNATURE = (
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
# RFC 7515 appendix A.3: ES256.
P256: Jwk = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
P256_INPUT = (
    b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
P256_SIGNATURE = (
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)

GOOD = {
    "Ed25519": (ED25519, "EdDSA", ED25519_INPUT, ED25519_SIGNATURE),
    "P-256": (P256, "ES256", P256_INPUT, P256_SIGNATURE),
}


@pytest.mark.parametrize("jwk, alg, message, signature", GOOD.values(), ids=GOOD)
def test_the_specifications_examples_hold(
    jwk: Jwk, alg: str, message: bytes, signature: str
) -> None:
    assert verify(jwk, alg, message, decode(signature))
    assert not verify(jwk, alg, message + b".", decode(signature))
    assert not verify(jwk, alg, message, decode(signature)[:-1])
    assert not verify(jwk, alg, message, bytes(64))


def test_a_thumbprint_is_that_of_the_specification() -> None:
    assert thumbprint(ED25519) == ED25519_THUMBPRINT
    assert thumbprint({**ED25519, "use": "sig", "kid": "x"}) == ED25519_THUMBPRINT


# A key, and an algorithm under which it has signed nothing.
CONFUSED = {
    "an Ed25519 key under ES256": (ED25519, "ES256"),
    "a P-256 key under EdDSA": (P256, "EdDSA"),
    "a curve that is another's": ({**P256, "crv": "secp256k1"}, "ES256"),
    "no curve": ({"kty": "EC", "x": P256["x"], "y": P256["y"]}, "ES256"),
    "no coordinate": ({"kty": "EC", "crv": "P-256", "x": P256["x"]}, "ES256"),
    "a point that is not on the curve": ({**P256, "y": P256["x"]}, "ES256"),
    "a coordinate that is no base64url": ({**P256, "x": "??"}, "ES256"),
    "a coordinate that is no text": ({**P256, "x": 1}, "ES256"),
    "a key that is too short": ({**ED25519, "x": "AAAA"}, "EdDSA"),
}


@pytest.mark.parametrize("jwk, alg", CONFUSED.values(), ids=CONFUSED)
def test_a_key_of_another_kind_has_signed_nothing(jwk: Jwk, alg: str) -> None:
    for _, _, message, signature in GOOD.values():
        assert not verify(jwk, alg, message, decode(signature))


def test_keys_of_ours_say_what_they_are() -> None:
    secp256k1 = ec_jwk(ec.generate_private_key(ec.SECP256K1()).public_key())
    assert (secp256k1["crv"], secp256k1["alg"]) == ("secp256k1", "ES256K")
    signer = KeyFileSigner(ec.generate_private_key(ec.SECP256R1()))
    assert verify(signer.public_jwk, "ES256", b"m", signer.signature(b"m"))
    private = Ed25519PrivateKey.generate()
    public = ed25519_jwk(private.public_key().public_bytes_raw())
    assert verify(public, "EdDSA", b"m", private.sign(b"m"))


def test_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256 or secp256k1"):
        ec_jwk(ec.generate_private_key(ec.SECP384R1()).public_key())
