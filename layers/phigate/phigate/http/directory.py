"""The endpoints that answer about the gateway: models, prices, a dry run, the account, health."""

import functools

import orjson
from fastapi import APIRouter, Request, Response

from phigate.core.catalog.model_item import model_item
from phigate.core.catalog.price import pricing_card
from phigate.core.errors import NotFound, Overloaded
from phigate.core.ledger.keys import policy_members
from phigate.core.types import Json
from phigate.http.answers import json_answer
from phigate.http.chat import headers_of, read_body
from phigate.http.dependencies import NEEDS_KEY, CallingPrincipal, ServedGateway
from phigate.http.openapi import error_responses
from phigate.http.pricing_page import pricing_page
from phigate.http.response_models import Account, Health, ModelItem, ModelList, RateCard
from phigate.pipeline.dry_run import dry_run
from phigate.pipeline.gateway import Gateway
from phigate.pipeline.inbound_request import InboundBody, InboundRequest

router = APIRouter(responses=error_responses())
_OR_A_PAGE: dict[int | str, Json] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}}
}


@router.get("/v1/models", response_model=ModelList, summary="Every model row. Open without a key.")
async def models(gateway: ServedGateway) -> Response:
    """All rows of the snapshot in use."""
    catalog = (await gateway.catalog.current()).catalog
    return json_answer({"object": "list", "data": [model_item(catalog, r) for r in catalog.rows]})


@router.get(
    "/v1/models/{row_id:path}", response_model=ModelItem, summary="One model row by its id."
)
async def model(gateway: ServedGateway, row_id: str) -> Response:
    """One row."""
    catalog = (await gateway.catalog.current()).catalog
    row = catalog.rows_by_id.get(row_id)
    if row is None:
        raise NotFound("No model row has this id; GET /v1/models lists them.", param="id")
    return json_answer(model_item(catalog, row))


@router.get(
    "/v1/pricing",
    response_model=RateCard,
    responses=_OR_A_PAGE,
    summary="The live rate card, or an older one by `card`.",
)
async def pricing(gateway: ServedGateway, request: Request, card: str | None = None) -> Response:
    """The rate card, as JSON or as a page."""
    content = await _card(gateway, card)
    if "text/html" in request.headers.get("accept", ""):
        return Response(pricing_page(content), media_type="text/html")
    return json_answer(content)


# In the document `http.openapi` says what its body is, which is read here only after the key.
@router.post("/v1/route", include_in_schema=False)
async def route(gateway: ServedGateway, request: Request) -> Response:
    """The dry run."""
    receive = functools.partial(read_body, request.receive, gateway.stack.body_timeout_s)
    inbound = InboundRequest("chat", headers_of(request.scope), InboundBody(receive=receive))
    return json_answer(await dry_run(gateway, inbound))


@router.get(
    "/v1/account",
    response_model=Account,
    dependencies=[NEEDS_KEY],
    summary="The calling key's account.",
)
async def account(gateway: ServedGateway, principal: CallingPrincipal) -> Response:
    """The caller's account; right after an answer it may still show the hold."""
    view = await gateway.ledger.account(principal.account)
    if view is None:
        raise Overloaded("The account could not be read; try again.")
    return json_answer(
        {
            "account": view.account,
            "available_micro": view.available_micros,
            "held_micro": view.held_micros,
            "spent_micro": view.spent_micros,
            "topped_up_micro": view.topped_up_micros,
            "key": {"id": principal.key_id, "policy": policy_members(principal.policy)},
        }
    )


@router.get("/healthz", response_model=Health, summary="Whether this process answers.")
async def healthz(gateway: ServedGateway) -> Response:
    """Alive, and what was counted since the start."""
    return json_answer({"status": "ok", "stack": gateway.stack.name, **gateway.counters()})


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
