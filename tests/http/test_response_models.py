"""Real answers, held against the models that the document names: no member more, none less."""

import asyncio
import json
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from pydantic import BaseModel

from phigate.core.errors import InvalidApiKey
from phigate.core.types import Json, KeyPolicy
from phigate.http import response_models as models
from phigate.http.app import ENDPOINTS, build_app
from phigate.verify.roots import CERTIFICATES
from tests.builders import make_body
from tests.core.receipts.schema import PATH
from tests.pipeline.gateway_harness import KEY, GatewayHarness, answers

POLICY = KeyPolicy(regions=frozenset({"CH"}), models=frozenset({"acme-one", "gemma-4"}), rpm=7)
ANSWERS: dict[str, tuple[str, type[BaseModel]]] = {
    "models": ("/v1/models", models.ModelList),
    "one model": ("/v1/models/acme-one", models.ModelItem),
    "the rate card": ("/v1/pricing", models.RateCard),
    "the account": ("/v1/account", models.Account),
    "a receipt": ("/v1/receipts/{receipt}", models.Receipt),
    "a signature": ("/v1/signature/{receipt}?signing_algo=ecdsa", models.AnswerSignature),
    "a receipt's own": ("/v1/signature/{receipt}?signing_algo=ed25519", models.AnswerSignature),
    "keys": ("/.well-known/jwks.json", models.KeySet),
    "health": ("/healthz", models.Health),
}


def served() -> GatewayHarness:
    """A gateway with one answered call and a root."""
    harness = GatewayHarness(answers(), policy=POLICY)
    harness.chat(make_body(model="acme-one"))
    jwk = asyncio.run(harness.root.jwk())
    asyncio.run(harness.gateway.receipts.use_root(jwk, CERTIFICATES, int(harness.clock.now_s())))  # type: ignore[attr-defined]
    return harness


def told(harness: GatewayHarness, path: str) -> Json:
    """The answer to a GET."""

    async def asked() -> Json:
        transport = httpx2.ASGITransport(app=build_app(harness.gateway))
        async with httpx2.AsyncClient(transport=transport, base_url="http://phigate") as http:
            answer = await http.get(path, headers={"authorization": f"Bearer {KEY}"})
            content: Json = answer.json()
            return content

    return asyncio.run(asked())


@pytest.mark.parametrize("path, model", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_what_the_document_says(path: str, model: type[BaseModel]) -> None:
    harness = served()
    content = told(harness, path.format(receipt=harness.records[-1]["id"]))
    assert model.model_validate(content, strict=True).model_dump(exclude_unset=True) == content


def test_the_schema_that_is_served_is_the_published_one_and_a_receipt_keeps_to_it() -> None:
    harness = served()
    schema = told(harness, "/.well-known/receipt.schema.json")
    assert schema == json.loads(PATH.read_text())
    jsonschema_rs.Draft202012Validator(schema).validate(harness.records[-1])


def test_an_error_is_what_the_document_says() -> None:
    content = InvalidApiKey("The key is not known.").envelope()
    assert models.Error.model_validate(content, strict=True).model_dump() == content


def test_every_get_says_what_it_answers() -> None:
    """But an attestation report, which the provider writes, and a schema, which says it itself."""
    said = {route.path: route.response_model for route in ENDPOINTS if route.methods == {"GET"}}
    assert said.pop("/v1/attestation/report") is None
    assert said.pop("/.well-known/receipt.schema.json") == dict[str, Any]
    assert set(said.values()) == {model for _, model in ANSWERS.values()}
