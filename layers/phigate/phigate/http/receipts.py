"""Receipts and the keys behind them: what anyone needs to check afterwards what ran where."""

import orjson
from fastapi import Request, Response

from phigate.core.errors import NotFound
from phigate.core.receipts.ids import MalformedId
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.upstream_signature import UpstreamSignature
from phigate.core.types import Principal
from phigate.http.answers import json_answer
from phigate.http.chat import headers_of
from phigate.pipeline.authenticate import authenticate
from phigate.pipeline.gateway import Gateway
from phigate.verify.receipt_body import jws_of, receipt_body
from phigate.verify.roots import jwks

COMPLETION_PREFIX = "chatcmpl-"
JOSE = "application/jose"


class Receipts:
    """The endpoints' functions, bound to one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def receipt(self, request: Request, receipt_id: str) -> Response:
        """A receipt, to the account that made the call: JSON, or the bare JWS by Accept."""
        principal = await authenticate(self._gateway, headers_of(request.scope))
        stored = await own_receipt(self._gateway, principal, receipt_id)
        signed = stored.signed
        certificate = (
            None if signed is None else await self._gateway.receipts.certificate(signed.kid)
        )
        if JOSE not in request.headers.get("accept", ""):
            upstream = await self._upstream(stored)
            return json_answer(receipt_body(stored, certificate, upstream))
        if signed is None:
            raise NotFound("The call never came to its end, so it left no receipt.", param="id")
        headers = {} if certificate is None else {"x-phi-certificate": certificate}
        return Response(jws_of(signed), media_type=JOSE, headers=headers)

    async def _upstream(self, stored: StoredReceipt) -> UpstreamSignature | None:
        """What a confidential provider has signed; of other rows there is nothing to look for."""
        if stored.signed is None or "upstream_id" not in orjson.loads(stored.signed.payload):
            return None
        return await self._gateway.receipts.upstream(stored.account, stored.id)

    async def jwks(self) -> Response:
        """The roots, the ones that were replaced too. Open without a key."""
        return json_answer(jwks(await self._gateway.receipts.roots()))


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
