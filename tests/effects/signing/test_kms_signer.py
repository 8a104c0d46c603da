"""The signer on KMS: keys of both kinds, what goes over the wire, and every failure's name."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Iterator

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from phigate.effects.aws import sigv4
from phigate.effects.aws.json_service import CALL_TIMEOUT_S
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.signing.kms_signer import OUTCOMES, KmsSigner
from phigate.effects.signing.signer import SigningFailed, verify
from phigate.effects.signing.text_signer import Eip191Signer
from phigate.wire.eip191 import recovered_address
from phigate.wire.jwk import ec_jwk, ec_public_key
from tests.effects.raw_server import Script, answer, raw_server
from tests.effects.signing.kms import CURVES, REGION, Keys, aws_json, moto_kms, serving
from tests.fakes import RecordingEventLog

MESSAGE = b"what is signed"
LONG = b"x" * 10_000  # KMS takes 4,096 bytes of a message


class Kms(KmsSigner):
    """With a service of its own, to be closed."""

    def __init__(self, url: str, key_id: str) -> None:
        service = aws_json("kms", url)
        super().__init__(service, key_id)
        self.close = service.close


def signer(url: str, key_id: str) -> Kms:
    return Kms(url, key_id)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def url(keys: Keys) -> Iterator[str]:
    with serving(keys) as served:
        yield served


@pytest.mark.anyio
@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("message", [MESSAGE, LONG], ids=["short", "long"])
async def test_a_message_is_signed_over_sha256(
    kind: str, message: bytes, keys: Keys, url: str
) -> None:
    kms = signer(url, kind)
    assert await kms.jwk() == ec_jwk(keys.keys[kind].public_key())
    assert verify(keys.keys[kind].public_key(), message, await kms.sign(message))
    await kms.close()


@pytest.mark.anyio
async def test_a_digest_is_signed_as_it_is(url: str) -> None:
    kms = signer(url, "ECC_SECG_P256K1")
    text = f"{'a' * 64}:{'b' * 64}"
    signed = await Eip191Signer(kms, RecordingEventLog()).sign(text)
    assert recovered_address(text, signed.signature) == signed.signing_address
    await kms.close()


@pytest.mark.anyio
async def test_kms_sees_digests_alone_and_is_asked_for_its_key_once(keys: Keys, url: str) -> None:
    kms = signer(url, "ECC_NIST_P256")
    assert keys.calls == [], "nothing at init"
    for _ in range(3):
        await kms.jwk()
        await kms.sign(MESSAGE)
    targets = [target.removeprefix("TrentService.") for target, _ in keys.calls]
    assert targets == ["GetPublicKey", "Sign", "Sign", "Sign"]
    sent = keys.calls[1][1]
    assert base64.b64decode(sent.pop("Message")) == hashlib.sha256(MESSAGE).digest()
    assert sent == {
        "KeyId": "ECC_NIST_P256",
        "MessageType": "DIGEST",
        "SigningAlgorithm": "ECDSA_SHA_256",
    }
    await kms.close()


def test_a_call_is_signed_as_aws_computes_it() -> None:
    source = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token")
    ours = sigv4.RequestSigner(
        host=f"kms.{REGION}.amazonaws.com",
        region=REGION,
        service="kms",
        source=lambda: source,
        content_type="application/x-amz-json-1.1",
    )
    lines = ours.headers(now_s=time.time(), target="TrentService.Sign", body=b"{}")
    told = lines.pop("Authorization")
    request = AWSRequest("POST", f"https://{lines['Host']}/", headers=lines, data=b"{}")
    request.context["timestamp"] = lines["X-Amz-Date"]
    auth = SigV4Auth(BotoCredentials(source.access_key, source.secret_key), "kms", REGION)
    canonical = auth.canonical_request(request)
    request.headers["X-Amz-Security-Token"] = "token"
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    assert told.endswith(f"Signature={signature}")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", CURVES)
async def test_moto_knows_what_is_asked(kind: str) -> None:
    with moto_kms() as (url, client):
        made = client.create_key(KeySpec=kind, KeyUsage="SIGN_VERIFY")["KeyMetadata"]
        kms = signer(url, made["Arn"])
        jwk = await kms.jwk()
        # moto takes a digest for a message and hashes it once more.
        public_key = ec_public_key(jwk)
        assert verify(public_key, hashlib.sha256(MESSAGE).digest(), await kms.sign(MESSAGE))
        await kms.close()


MOTO_REFUSES = {
    "a key that is not there": ("no_key", {}),
    "a key that signs otherwise": (
        "refused",
        {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
    ),
    "a key that encrypts": ("refused", {"KeyUsage": "ENCRYPT_DECRYPT"}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", MOTO_REFUSES)
async def test_moto_refuses(name: str) -> None:
    outcome, made = MOTO_REFUSES[name]
    with moto_kms() as (url, client):
        missing = f"arn:aws:kms:{REGION}:123456789012:key/00000000-0000-4000-8000-000000000000"
        key_id = client.create_key(**made)["KeyMetadata"]["Arn"] if made else missing
        kms = signer(url, key_id)
        with pytest.raises(SigningFailed, match=f"^{outcome}$"):
            await kms.sign(MESSAGE)
        await kms.close()


def test_every_error_that_kms_documents_has_a_name() -> None:
    model = botocore.session.get_session().get_service_model("kms")
    for operation in ("Sign", "GetPublicKey"):
        shapes = model.operation_model(operation).error_shapes
        assert shapes
        assert {shape.name for shape in shapes} - OUTCOMES.keys() == set()


def error(status: str, code: str) -> bytes:
    return answer(status, json.dumps({"__type": code, "message": "canary"}).encode())


def public_key_of(curve: ec.EllipticCurve) -> bytes:
    key = ec.generate_private_key(curve).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return answer("200 OK", json.dumps({"PublicKey": base64.b64encode(der).decode()}).encode())


# What KMS answers to GetPublicKey -> the outcome.
FAILURES: dict[str, tuple[Script, str]] = {
    "not allowed": ([error("400 x", "AccessDeniedException")], "not_allowed"),
    "a full name": ([error("400 x", "com.amazonaws.kms#DisabledException")], "key_disabled"),
    "too many calls": ([error("400 x", "ThrottlingException")], "throttled"),
    "its own trouble": ([error("500 x", "KMSInternalException")], "unreachable"),
    "a name of next year": ([error("400 x", "TooSunnyException")], "refused"),
    "a 5xx without a name": ([error("503 x", "")], "unreachable"),
    "a redirect": ([error("307 x", "")], "refused"),
    "no JSON": ([answer("200 OK", b"<html>")], "malformed"),
    "no object": ([answer("200 OK", b"[]")], "malformed"),
    "no key in it": ([answer("200 OK", b"{}")], "malformed"),
    "no base64": ([answer("200 OK", b'{"PublicKey": "%"}')], "malformed"),
    "no DER": ([answer("200 OK", b'{"PublicKey": "AAAA"}')], "malformed"),
    "another curve": ([public_key_of(ec.SECP384R1())], "malformed"),
    "it hangs up": ([None], "unreachable"),
    "no HTTP": ([b"hello\r\n\r\n"], "unreachable"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_has_one_name_and_shows_nothing_else(name: str) -> None:
    script, outcome = FAILURES[name]
    async with raw_server(script) as server:
        kms = signer(f"http://127.0.0.1:{server.port}", "key")
        with pytest.raises(SigningFailed) as raised:
            await kms.jwk()
        await kms.close()
    assert str(raised.value) == outcome


BAD_SIGNATURES = {
    "none": {},
    "no text": {"Signature": 5},
    "no DER": {"Signature": "AAAA"},
    "a number that is too large": {
        "Signature": base64.b64encode(b"\x30\x26\x02\x21" + b"\x7f" * 33 + b"\x02\x01\x01").decode()
    },
}


@pytest.mark.anyio
@pytest.mark.parametrize("body", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES)
async def test_a_signature_that_is_none_is_malformed(body: dict[str, object]) -> None:
    async with raw_server([answer("200 OK", json.dumps(body).encode())]) as server:
        kms = signer(f"http://127.0.0.1:{server.port}", "key")
        with pytest.raises(SigningFailed, match=r"^malformed$"):
            await kms.sign_digest(bytes(32))
        await kms.close()


@pytest.mark.anyio
async def test_nobody_there_is_unreachable() -> None:
    async with raw_server([None]) as server:
        port = server.port
    kms = signer(f"http://127.0.0.1:{port}", "key")
    with pytest.raises(SigningFailed, match=r"^unreachable$"):
        await kms.jwk()
    await kms.close()


@pytest.mark.anyio
async def test_a_call_ends_in_time() -> None:
    """It answers one byte, and then nothing more."""
    async with raw_server([b"H"]) as server:
        kms = signer(f"http://127.0.0.1:{server.port}", "key")
        async with asyncio.timeout(CALL_TIMEOUT_S + 2):
            with pytest.raises(SigningFailed, match=r"^timeout$"):
                await kms.jwk()
        await kms.close()


@pytest.mark.anyio
async def test_keys_of_one_service_share_its_connection() -> None:
    """A handshake of TLS less, of a cold start that needs two keys."""
    der = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    told = answer("200 OK", json.dumps({"PublicKey": base64.b64encode(der).decode()}).encode())
    async with raw_server([told, told]) as server:
        service = aws_json("kms", f"http://127.0.0.1:{server.port}")
        for key_id in ("receipt-key", "catalog-key"):
            await KmsSigner(service, key_id).jwk()
        await service.close()
    assert (len(server.requests), server.connections) == (2, 1)
