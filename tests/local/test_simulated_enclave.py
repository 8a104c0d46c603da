"""The simulated confidential provider really signs what it received and sent, and its report says
that it is simulated."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from local.simulated.app import build_app
from local.simulated.enclave import TEXTS_MAX, Enclave
from phigate.core.types import Json
from tests import ethereum

T = TypeVar("T")
CHAT = "/phala/v1/chat/completions"
KEY = {"authorization": "Bearer k"}
BODY: Json = {"model": "phala/qwen3.5-27b", "messages": [{"role": "user", "content": "Hello"}]}


def told(story: Callable[[httpx.AsyncClient], Awaitable[T]], headers: Json = KEY) -> T:
    """A story with one application of its own."""

    async def run() -> T:
        transport = httpx.ASGITransport(build_app(["phala", "scaleway"]))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://simulated", headers=headers
        ) as client:
            return await story(client)

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("algo", ["ecdsa", "ed25519", ""])
def test_the_signature_is_of_every_byte_of_request_and_answer(stream: bool, algo: str) -> None:
    async def story(client: httpx.AsyncClient) -> tuple[httpx.Response, Json]:
        answer = await client.post(CHAT, json={**BODY, "stream": stream})
        query = f"?model=phala/qwen3.5-27b&signing_algo={algo}" if algo else ""
        signed = await client.get(f"/phala/v1/signature/chatcmpl-simulated-phala-1{query}")
        assert signed.status_code == 200, signed.text
        return answer, signed.json()

    answer, signed = told(story)
    hashes = (hashlib.sha256(part).hexdigest() for part in (answer.request.content, answer.content))
    assert signed["text"] == ":".join(hashes)
    assert signed["signing_algo"] == (algo or "ecdsa")
    if algo == "ed25519":
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed["signing_address"]))
        public.verify(bytes.fromhex(signed["signature"]), signed["text"].encode())
    else:
        signer = ethereum.signer_of(signed["text"], signed["signature"])
        assert signer.lower() == signed["signing_address"]


REPORT = "/phala/v1/attestation/report"
# (path, headers, status)
REFUSED: dict[str, tuple[str, Json, int]] = {
    "an answer that was never given": ("/phala/v1/signature/chatcmpl-9", KEY, 404),
    "no key": (REPORT, {}, 401),
    "an unknown algorithm": (f"{REPORT}?signing_algo=rsa", KEY, 400),
    "a nonce that is not hex": (f"{REPORT}?nonce=xyz", KEY, 400),
    "a nonce that is too long": (f"{REPORT}?nonce={'a' * 65}", KEY, 400),
    "a provider without an enclave": ("/scaleway/v1/attestation/report", KEY, 404),
    "another path": ("/phala/v1/other", KEY, 404),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(name: str) -> None:
    path, headers, status = REFUSED[name]
    assert told(lambda client: client.get(path), headers).status_code == status


def test_the_report_says_that_it_is_simulated() -> None:
    nonce = "0f" * 32
    report = told(lambda client: client.get(f"{REPORT}?nonce={nonce}")).json()
    (attestation,) = report["all_attestations"]
    assert attestation["simulated"] is True
    assert attestation["request_nonce"] == nonce
    assert "this is no quote" in report["intel_quote"]
    assert "this is no quote" in report["nvidia_payload"]


def test_what_was_cut_off_is_not_signed() -> None:
    enclave = Enclave()
    steps = enclave.witnessed(iter((b"half", b"of it")), b"", "chatcmpl-1")
    assert next(steps) == b"half"
    steps.close()  # type: ignore[attr-defined]
    reply = enclave.answers("/v1/signature/chatcmpl-1", b"", KEY)
    assert reply is not None
    assert reply.status == 404


def test_the_oldest_answers_are_forgotten() -> None:
    enclave = Enclave()
    for number in range(TEXTS_MAX + 1):
        list(enclave.witnessed(iter(()), b"", f"chatcmpl-{number}"))
    for number, status in ((0, 404), (1, 200), (TEXTS_MAX, 200)):
        reply = enclave.answers(f"/v1/signature/chatcmpl-{number}", b"", KEY)
        assert reply is not None
        assert reply.status == status
