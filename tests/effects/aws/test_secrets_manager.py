"""Secrets: what is there, what counts as none, every failure's name; and moto takes the call."""

import json

import boto3
import pytest
import requests
from moto import mock_aws

from phigate.effects.aws.secrets_manager import SecretsManager, SecretUnread
from tests.effects.raw_server import answer, raw_server
from tests.effects.signing.kms import aws_json, serving

REGION = "eu-central-2"
SECRET = "a-secret-that-no-text-may-hold"


class Secrets(SecretsManager):
    """With a service of its own, to be closed."""

    def __init__(self, url: str) -> None:
        service = aws_json("secretsmanager", url)
        super().__init__(service)
        self.close = service.close


def secrets(url: str) -> Secrets:
    return Secrets(url)


ANSWERS: dict[str, tuple[str, bytes, str | None]] = {
    "a secret": ("200 OK", json.dumps({"SecretString": f" {SECRET}\n"}).encode(), SECRET),
    "an empty one": ("200 OK", b'{"SecretString":""}', None),
    "a binary one": ("200 OK", b'{"SecretBinary":"AAAA"}', None),
    "a missing one": (
        "400 Bad Request",
        b'{"__type":"com.amazonaws#ResourceNotFoundException"}',
        None,
    ),
}
FAILURES: dict[str, tuple[str, bytes, str]] = {
    "no leave": ("400 Bad Request", b'{"__type":"AccessDeniedException"}', "AccessDeniedException"),
    "a key of another": ("400 Bad Request", b'{"__type":"DecryptionFailure"}', "DecryptionFailure"),
    "the service is down": ("500 Oops", b'{"__type":"InternalServiceError"}', "unreachable"),
    "no JSON": ("200 OK", SECRET.encode(), "malformed"),
    "no object": ("200 OK", b"[]", "malformed"),
    "no name": ("400 Bad Request", b"{}", "refused"),
}


@pytest.mark.parametrize("status, body, text", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.anyio
async def test_a_secret_is_read(status: str, body: bytes, text: str | None) -> None:
    async with raw_server([answer(status, body)]) as server:
        client = secrets(f"http://127.0.0.1:{server.port}")
        assert await client.text("stack/provider/acme") == text
        await client.close()
    (asked,) = server.requests
    assert b"X-Amz-Target: secretsmanager.GetSecretValue\r\n" in asked
    assert b"Content-Type: application/x-amz-json-1.1\r\n" in asked
    assert asked.endswith(b'{"SecretId":"stack/provider/acme"}')


@pytest.mark.parametrize("status, body, outcome", FAILURES.values(), ids=FAILURES)
@pytest.mark.anyio
async def test_a_failure_is_named_without_the_secret(
    status: str, body: bytes, outcome: str
) -> None:
    async with raw_server([answer(status, body)]) as server:
        client = secrets(f"http://127.0.0.1:{server.port}")
        with pytest.raises(SecretUnread) as raised:
            await client.text("stack/provider/acme")
        await client.close()
    assert str(raised.value) == outcome


@pytest.mark.anyio
async def test_nobody_there_is_unreachable() -> None:
    client = secrets("http://127.0.0.1:9")
    with pytest.raises(SecretUnread, match="unreachable"):
        await client.text("any")
    await client.close()


FILLED = {"acme": True, "without-a-value": False, "nobody": False}


def ask_moto(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Hand a call to moto; no packet is sent to AWS."""
    kept = {name: headers[name] for name in ("Content-Type", "X-Amz-Target", "Authorization")}
    taken = requests.post(
        f"https://secretsmanager.{REGION}.amazonaws.com/", data=body, headers=kept, timeout=10
    )
    return taken.status_code, taken.content


@pytest.mark.anyio
async def test_moto_takes_the_call() -> None:
    with mock_aws(), serving(ask_moto) as url:
        made = boto3.client("secretsmanager", region_name=REGION)
        made.create_secret(Name="stack/acme", SecretString=SECRET)
        made.create_secret(Name="stack/without-a-value")
        client = secrets(url)
        assert await client.text("stack/acme") == SECRET
        assert await client.text("stack/without-a-value") is None
        assert await client.text("stack/nobody") is None
        filled = [await client.is_filled(f"stack/{name}") for name in FILLED]
        assert filled == list(FILLED.values())
        await client.close()
