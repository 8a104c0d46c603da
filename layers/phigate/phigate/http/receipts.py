"""Receipts and the keys behind them: what anyone needs to check afterwards what ran where."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from phigate.core.errors import NotFound
from phigate.core.receipts.ids import MalformedId
from phigate.core.receipts.members import record_schema
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.upstream_signature import UpstreamSignature
from phigate.core.types import Json, Principal
from phigate.http.answers import json_answer
from phigate.http.dependencies import NEEDS_KEY, CallingPrincipal, ServedGateway
from phigate.http.openapi import error_responses
from phigate.http.response_models import KeySet, Receipt
from phigate.pipeline.gateway import Gateway
from phigate.verify.receipt_body import jws_of, receipt_body
from phigate.verify.roots import jwks as key_set

COMPLETION_PREFIX = "chatcmpl-"
JOSE = "application/jose"


router = APIRouter(responses=error_responses())
_OR_BARE: dict[int | str, Json] = {200: {"content": {JOSE: {"schema": {"type": "string"}}}}}


@router.get(
    "/v1/receipts/{receipt_id}",
    response_model=Receipt,
    responses=_OR_BARE,
    dependencies=[NEEDS_KEY],
    summary="A receipt of this account.",
)
async def receipt(
    gateway: ServedGateway, principal: CallingPrincipal, request: Request, receipt_id: str
) -> Response:
    """A receipt, to the account that made the call: JSON, or the bare JWS by Accept."""
    stored = await own_receipt(gateway, principal, receipt_id)
    signed = stored.signed
    certificate = None if signed is None else await gateway.receipts.certificate(signed.kid)
    if JOSE not in request.headers.get("accept", ""):
        return json_answer(receipt_body(stored, certificate, await _upstream(gateway, stored)))
    if signed is None:
        raise NotFound("The call never came to its end, so it left no receipt.", param="id")
    headers = {} if certificate is None else {"x-phi-certificate": certificate}
    return Response(jws_of(signed), media_type=JOSE, headers=headers)


@router.get(
    "/.well-known/jwks.json", response_model=KeySet, summary="The keys that receipts stand on."
)
async def jwks(gateway: ServedGateway) -> Response:
    """The roots, the ones that were replaced too. Open without a key."""
    return json_answer(key_set(await gateway.receipts.roots()))


@router.get(
    "/.well-known/receipt.schema.json",
    response_model=dict[str, Any],
    summary="What stands in a receipt, as JSON Schema.",
)
async def receipt_schema() -> Response:
    """The schema of a receipt's `record`, of every release until this one. Open without a key."""
    return json_answer(record_schema())


async def _upstream(gateway: Gateway, stored: StoredReceipt) -> UpstreamSignature | None:
    """What a confidential provider has signed; of other rows there is nothing to look for."""
    if stored.signed is None or "upstream_id" not in orjson.loads(stored.signed.payload):
        return None
    return await gateway.receipts.upstream(stored.account, stored.id)


async def own_receipt(gateway: Gateway, principal: Principal, receipt_id: str) -> StoredReceipt:
    """The receipt of this id or completion id, if the caller's account made that call.
    Raises NotFound."""
    try:
        name = receipt_id.removeprefix(COMPLETION_PREFIX)
        stored = await gateway.ledger.receipt(principal.account, name)
    except MalformedId:
        stored = None
    if stored is None:
        # The same for one of another account: whether it exists is not told.
        raise NotFound("This account has no receipt of this id.", param="id")
    return stored
