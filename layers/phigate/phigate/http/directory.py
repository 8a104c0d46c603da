"""The endpoints that answer about the gateway: models, prices, a dry run, the account, health."""

import functools
from collections.abc import Mapping

import orjson
from fastapi import APIRouter, Request, Response

from phigate.core.catalog.snapshot import model_item, pricing_card
from phigate.core.errors import NotFound, Overloaded
from phigate.core.ledger.keys import policy_members
from phigate.core.types import Json
from phigate.http.answers import json_answer
from phigate.http.attestation import RedPill
from phigate.http.chat import headers_of, read_body
from phigate.http.pricing_page import pricing_page
from phigate.http.receipts import Receipts
from phigate.pipeline.authenticate import authenticate
from phigate.pipeline.dry_run import dry_run
from phigate.pipeline.gateway import Gateway
from phigate.pipeline.inbound_request import InboundBody, InboundRequest


def directory(gateway: Gateway) -> APIRouter:
    """All endpoints but chat; the caller adds them under each base path."""
    router = APIRouter()
    kinds: tuple[Endpoints, ...] = (Directory, Receipts, RedPill)
    bound = {kind: kind(gateway) for kind in kinds}
    for method, path, kind, name, summary in _ENDPOINTS:
        router.add_api_route(path, getattr(bound[kind], name), methods=[method], summary=summary)
    return router


class Directory:
    """The endpoints' functions, bound to one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def models(self) -> Response:
        """All rows of the snapshot in use."""
        catalog = (await self._gateway.catalog.current()).catalog
        return json_answer(
            {"object": "list", "data": [model_item(catalog, r) for r in catalog.rows]}
        )

    async def model(self, row_id: str) -> Response:
        """One row."""
        catalog = (await self._gateway.catalog.current()).catalog
        row = catalog.rows_by_id.get(row_id)
        if row is None:
            raise NotFound("No model row has this id; GET /v1/models lists them.", param="id")
        return json_answer(model_item(catalog, row))

    async def pricing(self, request: Request, card: str | None = None) -> Response:
        """The rate card, as JSON or as a page."""
        content = await _card(self._gateway, card)
        if "text/html" in request.headers.get("accept", ""):
            return Response(pricing_page(content), media_type="text/html")
        return json_answer(content)

    async def route(self, request: Request) -> Response:
        """The dry run."""
        timeout_s = self._gateway.stack.body_timeout_s
        body = InboundBody(receive=functools.partial(read_body, request.receive, timeout_s))
        inbound = InboundRequest("chat", headers_of(request.scope), body)
        return json_answer(await dry_run(self._gateway, inbound))

    async def account(self, request: Request) -> Response:
        """The caller's account; right after an answer it may still show the hold."""
        return json_answer(await _account(self._gateway, headers_of(request.scope)))

    async def healthz(self) -> Response:
        """Alive, and what was counted since the start."""
        return json_answer(
            {"status": "ok", "stack": self._gateway.stack.name, **self._gateway.counters()}
        )


Endpoints = type[Directory] | type[Receipts] | type[RedPill]
_ENDPOINTS: tuple[tuple[str, str, Endpoints, str, str], ...] = (
    ("GET", "/v1/models", Directory, "models", "Every model row. Open without a key."),
    ("GET", "/v1/models/{row_id:path}", Directory, "model", "One model row by its id."),
    ("GET", "/v1/pricing", Directory, "pricing", "The live rate card, or an older one by `card`."),
    ("POST", "/v1/route", Directory, "route", "Dry run of a chat call: not sent, not charged."),
    ("GET", "/v1/account", Directory, "account", "The calling key's account."),
    ("GET", "/v1/receipts/{receipt_id}", Receipts, "receipt", "A receipt of this account."),
    ("GET", "/v1/signature/{receipt_id}", RedPill, "signature", "An answer's signature."),
    ("GET", "/v1/attestation/report", RedPill, "report", "A confidential row's attestation."),
    ("GET", "/.well-known/jwks.json", Receipts, "jwks", "The keys that receipts stand on."),
    ("GET", "/healthz", Directory, "healthz", "Whether this process answers."),
)


async def _card(gateway: Gateway, card: str | None) -> Json:
    catalog = (await gateway.catalog.current()).catalog
    live = pricing_card(catalog)
    if card is None or card in (live["card"], catalog.card_sha256):
        return live
    older = await gateway.catalog.card(card)
    if older is None:
        raise NotFound("No rate card has this hash.", param="card")
    content: Json = orjson.loads(older)
    return content


async def _account(gateway: Gateway, headers: Mapping[str, str]) -> Json:
    principal = await authenticate(gateway, headers)
    view = await gateway.ledger.account(principal.account)
    if view is None:
        raise Overloaded("The account could not be read; try again.")
    return {
        "account": view.account,
        "available_micro": view.available_micros,
        "held_micro": view.held_micros,
        "spent_micro": view.spent_micros,
        "topped_up_micro": view.topped_up_micros,
        "key": {
            "id": principal.key_id,
            "policy": policy_members(principal.policy),
        },
    }
