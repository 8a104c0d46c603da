"""The endpoints that RedPill's verifiers ask: signatures of answers, attestation reports."""

from fastapi import APIRouter, Request, Response

from phigate import attestation as redpill
from phigate.http.answers import json_answer
from phigate.http.chat import headers_of
from phigate.http.dependencies import NEEDS_KEY, AdmittedPrincipal, ServedGateway
from phigate.http.openapi import REGION_HEADER, error_responses
from phigate.http.receipts import own_receipt
from phigate.http.response_models import AnswerSignature

router = APIRouter(responses=error_responses())


@router.get(
    "/v1/signature/{receipt_id}",
    response_model=AnswerSignature,
    dependencies=[NEEDS_KEY],
    summary="An answer's signature.",
)
async def signature(
    gateway: ServedGateway,
    principal: AdmittedPrincipal,
    receipt_id: str,
    model: str | None = None,
    signing_algo: str | None = None,
) -> Response:
    """The signature of an answer, to the account that made the call."""
    stored = await own_receipt(gateway, principal, receipt_id)
    return json_answer(await redpill.signature(gateway, stored, model, signing_algo))


@router.get(
    "/v1/attestation/report",
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    dependencies=[NEEDS_KEY],
    openapi_extra={"parameters": [REGION_HEADER]},
    summary="A confidential row's attestation.",
)
async def report(
    gateway: ServedGateway,
    request: Request,
    *,
    model: str | None = None,
    nonce: str | None = None,
    signing_algo: str | None = None,
    signing_address: str | None = None,
) -> Response:
    """The attestation report of a confidential row."""
    content = await redpill.report(
        gateway,
        headers_of(request.scope),
        model=model,
        nonce=nonce,
        algo=signing_algo,
        address=signing_address,
    )
    return Response(content, media_type="application/json")
