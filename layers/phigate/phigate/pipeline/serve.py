"""One request, top to bottom: authenticate → read → route → vouch → hold → adapt → send → adapt
back → receipt → settle. Read this first. What a confidential provider signs is fetched after it.

`serve` is the story; the pieces stand in `order` (read and route), `closing` (vouch, hold, receipt,
settle) and `turn` (adapt and send). Everything that does I/O comes in through the Gateway.
"""

import asyncio
import functools
from collections.abc import Coroutine, Mapping
from typing import TypeVar

import orjson

from phigate.core.errors import (
    InternalError,
    InvalidApiKey,
    PhigateError,
    UpstreamError,
)
from phigate.core.ledger.keys import parse_key
from phigate.core.limits import KEY_CACHE_S, KEY_FRESH_S, WRITE_BYTES_MAX
from phigate.core.receipts.record import Ended
from phigate.core.request.read import RoutingHeaders
from phigate.core.response import ResponseWriter
from phigate.core.types import Json, Principal
from phigate.pipeline.answer.debug import debug_members
from phigate.pipeline.answer.headers import answer_headers, charge_headers
from phigate.pipeline.answer.sse import Streaming
from phigate.pipeline.call import row_health as outcomes
from phigate.pipeline.call.failover import Answered, Failover
from phigate.pipeline.call.upstream_signature import keep_upstream_signature
from phigate.pipeline.charge.finalize import CallerGone, Ticket, cancelled_to_the_end
from phigate.pipeline.gateway import Gateway, InboundRequest
from phigate.pipeline.plan import (
    RequestPlan,
    count_refused,
    decision,
    plan_request,
    read_pinned,
    refused,
)
from phigate.pipeline.tools.loop import Loop
from phigate.wire.json import is_heavy, marks_of
from phigate.wire.openai import answer as openai
from phigate.wire.openai.chat_body import ChatBody, RouteBody

T = TypeVar("T")


async def serve(gateway: Gateway, call: InboundRequest, out: ResponseWriter) -> None:
    """Answer one chat call on `out`. Raises InternalError for a bug, and nothing else."""
    try:
        ticket = await _serve(gateway, call, out)
        await _afterwards(gateway, ticket)
    except Noted:
        raise
    except Exception as bug:
        raise _internal_error(gateway, bug) from None


class Noted(InternalError):
    """A bug that the event log has."""


def _internal_error(gateway: Gateway, bug: Exception, ticket: Ticket | None = None) -> Noted:
    """What a bug becomes. Its text may quote the request: from here on its class alone is named."""
    gateway.event_log.record("bug", kind=type(bug).__name__)
    headers = {} if ticket is None else ticket.receipt_headers()
    return Noted("An error of the gateway's own; it was counted.", headers=headers)


async def _serve(gateway: Gateway, call: InboundRequest, out: ResponseWriter) -> Ticket | None:
    ticket: Ticket | None = None
    try:
        # A disabled key is found by the hold, in its own write; a refusal holds too.
        principal = await authenticate(gateway, call, key_age_max_s=KEY_CACHE_S)
        await call.arrive()
        ticket = Ticket(gateway, call, principal)
        pinned = read_pinned(call, principal.policy, gateway.stack)
        ticket.pin(pinned)
        order = await _read(gateway, call, pinned, principal)
        ticket.order = order
        outcomes.catalog_read(gateway, order.view)
        if order.route.code is not None:
            raise refused(order.route.code, order.asked)
        await ticket.vouch(order)
        await ticket.hold(order)
        turn = Failover(ticket, order, out)
        await (_serve_stream if order.stream else _serve_json)(ticket, order, turn, out)
    except Noted:
        raise
    except PhigateError as error:
        await answer_error(error, ticket, out)
    except Exception as bug:
        raise _internal_error(gateway, bug, ticket) from None
    return ticket


async def _afterwards(gateway: Gateway, ticket: Ticket | None) -> None:
    """What no answer waits for: a sandbox's end, a new key, a confidential upstream's signature."""
    if ticket is not None:
        await ticket.left()
    await gateway.signer.renew()
    await keep_upstream_signature(ticket)


async def dry_run(gateway: Gateway, call: InboundRequest) -> Json:
    """POST /v1/route: what `serve` would decide, by the same code; nothing is sent or charged. It
    counts against the key's rate, before its body is read."""
    principal = await authenticate(gateway, call)
    now_s = int(gateway.clock.now_s())
    policy = principal.policy
    refusal = await gateway.ledger.count_call(
        account=principal.account, key_id=principal.key_id, now_s=now_s, rpm=policy.rpm
    )
    if refusal is not None:
        raise count_refused(refusal, policy, now_s)
    await call.arrive()
    return decision(await ordered(gateway, call))


async def ordered(gateway: Gateway, call: InboundRequest) -> RequestPlan:
    """A call that need not have messages, read and routed as `serve` does, and no more."""
    principal = await authenticate(gateway, call)
    pinned = read_pinned(call, principal.policy, gateway.stack)
    return await _read(gateway, call, pinned, principal, RouteBody)


async def _read(
    gateway: Gateway,
    call: InboundRequest,
    pinned: RoutingHeaders,
    principal: Principal,
    shape: type[ChatBody] = ChatBody,
) -> RequestPlan:
    view = await gateway.catalog.current()
    marks = marks_of(call.body or b"")
    read = functools.partial(
        plan_request,
        call,
        pinned,
        principal.policy,
        view=view,
        stack=gateway.stack,
        zones=gateway.zones,
        # After the read: a snapshot from the future would be refused under PHI.
        now_s=gateway.clock.now_s(),
        shape=shape,
        marks=marks,
    )
    return await gateway.beside(read, heavy=is_heavy(marks))


async def authenticate(
    gateway: Gateway, call: InboundRequest, *, key_age_max_s: float = KEY_FRESH_S
) -> Principal:
    """The caller behind the bearer token. Raises InvalidApiKey."""
    key = parse_key(call.key)
    if key is None:
        raise InvalidApiKey(
            "The API key is missing or not a key of this gateway. Send it as "
            "Authorization: Bearer phi_live_… or phi_test_…."
        )
    principal = await gateway.keys.lookup(key.sha256, age_max_s=key_age_max_s)
    if principal is None:
        raise InvalidApiKey("The API key is not known here.")
    expires_at_s = principal.expires_at_s
    if expires_at_s is not None and gateway.clock.now_s() >= expires_at_s:
        raise InvalidApiKey("The API key has expired.")
    return principal


async def answer_error(error: PhigateError, ticket: Ticket | None, out: ResponseWriter) -> None:
    """The OpenAI error envelope, with a receipt when the key is known."""
    named: Mapping[str, str] = {}
    body = _envelope(error, ticket)
    if ticket is not None:
        try:
            named = await ticket.refuse(error, body)
        except PhigateError as worse:
            error, body = worse, _envelope(worse, ticket)
            named = ticket.receipt_headers()
    headers = {
        **error.headers,
        **named,
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    if ticket is not None:
        ticket.note("refused", None, status=error.status, code=error.code)
        headers |= {"x-request-id": ticket.id, "x-phi-attempts": str(ticket.rows_sent)}
    await out.start(error.status, headers)
    await out.write(body, last=True)


def _envelope(error: PhigateError, ticket: Ticket | None) -> bytes:
    """The error's body. It may quote an upstream, which a math agent's caller may show as well."""
    envelope = error.envelope()
    if ticket is not None and ticket.order is not None and ticket.order.asked.task == "math":
        drawings = ticket.gateway.drawings
        if drawings is not None:
            drawings.clean_error(envelope)
    return orjson.dumps(envelope)


async def _serve_json(
    ticket: Ticket, order: RequestPlan, turn: Failover, out: ResponseWriter
) -> None:
    whole = await _closed_early(ticket, _whole(ticket, order, turn, out))
    if whole is None:
        return
    answered, body = whole
    try:
        headers = answer_headers(ticket, order, answered.row, answered.dropped)
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(body))
        await out.start(200, {**headers, **charge_headers(ticket)})
        *pieces, last = _pieces(body)
        for piece in pieces:
            await out.write(piece)
            await asyncio.sleep(0)
        await out.write(last, last=True)
    finally:
        await ticket.settle()
        ticket.note("answered", answered.row)


async def _serve_stream(
    ticket: Ticket, order: RequestPlan, turn: Failover, out: ResponseWriter
) -> None:
    opened = await _closed_early(ticket, turn.stream())
    if opened is None:
        return
    stream = Streaming(ticket, order, turn, out, opened)
    headers = answer_headers(ticket, order, opened.row, opened.dropped)
    headers["content-type"] = "text/event-stream; charset=utf-8"
    try:
        await _closed_early(ticket, stream.through(headers))
    finally:
        stream.close()


async def _whole(
    ticket: Ticket, order: RequestPlan, turn: Failover, out: ResponseWriter
) -> tuple[Answered, bytes]:
    """Turn after turn until there is an answer, and its receipt."""
    loop = Loop(ticket, order, out)
    try:
        answered = await _turn(ticket, turn)
        while following := await loop.after(openai.message(answered.body), answered.row):
            answered = await _turn(ticket, Failover(ticket, following, out))
    finally:
        loop.close()
    answered.dropped += loop.finish(answered.body)
    if (usage := loop.usage()) is not None:
        answered.body["usage"] = usage
    if order.wanted.any:
        answered.body |= debug_members(
            order.wanted,
            order.route,
            ticket.attempts,
            answered.dropped,
            answered.exchanged,
            sandbox=ticket.sandbox,
        )
    await loop.clean(answered.body)
    written = openai.assembled if answered.is_assembled else openai.completion
    body = written(answered.body, ticket.stamp(answered.row))
    await _hash(ticket, body)
    ended: Ended = "complete" if out.gone_at_s is None else "hang_up"
    await ticket.receipt("routed", ended, answered.row)
    return answered, body


def _pieces(body: bytes) -> list[bytes]:
    """A body in pieces of which each is hashed and written in a moment; one, nearly always."""
    return [body[at : at + WRITE_BYTES_MAX] for at in range(0, len(body), WRITE_BYTES_MAX)]


async def _hash(ticket: Ticket, body: bytes) -> None:
    *pieces, last = _pieces(body)
    for piece in pieces:
        ticket.response.update(piece)
        await asyncio.sleep(0)
    ticket.response.update(last)


async def _turn(ticket: Ticket, turn: Failover) -> Answered:
    """One whole turn, counted."""
    answered = await turn.answer()
    bytes_out = openai.output_bytes(answered.body["choices"], "message")
    ticket.tally.set_upstream_id(answered.body.get("id"))
    ticket.used(answered.row, answered.body.get("usage"), bytes_out)
    if not answered.fits:
        raise UpstreamError(
            "The model's answer does not fit the schema that was asked for. It was written, so it "
            "is charged."
        )
    return answered


async def _closed_early(ticket: Ticket, work: Coroutine[None, None, T]) -> T | None:
    """Do `work`; whatever ends it early, the ticket is closed: what an upstream has begun is
    charged, and no hold is left to the sweeper. None: the caller has gone."""
    try:
        return await work
    except CallerGone:
        await ticket.abandon()
        return None
    except PhigateError:
        raise
    except asyncio.CancelledError:
        await cancelled_to_the_end(ticket)
        raise
    except Exception as bug:
        await cancelled_to_the_end(ticket, "internal_error", "refused")
        raise _internal_error(ticket.gateway, bug, ticket) from None
