"""The endpoints that RedPill's verifiers ask: signatures of answers, attestation reports."""

from fastapi import Request, Response

from phigate import attestation as redpill
from phigate.http.answers import json_answer
from phigate.http.chat import headers_of
from phigate.http.receipts import own_receipt
from phigate.pipeline.gateway import Gateway


class RedPill:
    """The endpoints' functions, bound to one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def signature(
        self,
        request: Request,
        receipt_id: str,
        model: str | None = None,
        signing_algo: str | None = None,
    ) -> Response:
        """The signature of an answer, to the account that made the call."""
        principal = await redpill.admitted(self._gateway, headers_of(request.scope))
        stored = await own_receipt(self._gateway, principal, receipt_id)
        return json_answer(await redpill.signature(self._gateway, stored, model, signing_algo))

    async def report(
        self,
        request: Request,
        model: str | None = None,
        nonce: str | None = None,
        signing_algo: str | None = None,
        signing_address: str | None = None,
    ) -> Response:
        """The attestation report of a confidential row."""
        content = await redpill.report(
            self._gateway,
            headers_of(request.scope),
            model=model,
            nonce=nonce,
            algo=signing_algo,
            address=signing_address,
        )
        return Response(content, media_type="application/json")
