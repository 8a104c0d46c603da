"""One request, top to bottom: authenticate → read → route → hold → adapt → send → adapt back →
receipt → settle. Read this first.

`serve` is the story; the pieces stand in `order` (read and route), `closing` (hold, receipt,
settle) and `turn` (adapt and send). Everything that does I/O comes in through the Gateway.
"""

import asyncio
import contextlib
from collections.abc import Mapping

import orjson

from phigate.closing import Ticket, cancelled_to_the_end
from phigate.core import limits
from phigate.core.errors import (
    InternalError,
    InvalidApiKey,
    PhigateError,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from phigate.core.keys import parse_key
from phigate.core.protocols import Out
from phigate.core.receipt import Ended
from phigate.core.types import Json, Principal
from phigate.gateway import Call, Gateway
from phigate.order import Order, decision, read_order, read_pinned, refused
from phigate.turn import CallerGone, Opened, Turn
from phigate.wire import openai, sse
from phigate.wire.chat_body import RouteBody


async def serve(gateway: Gateway, call: Call, out: Out) -> None:
    """Answer one chat call on `out`. Raises InternalError for a bug, and nothing else."""
    try:
        await _serve(gateway, call, out)
    except Exception as bug:
        # Its text may quote the request: what goes on from here names its class alone.
        gateway.journal.note("bug", kind=type(bug).__name__)
        raise InternalError("An error of the gateway's own; it was counted.") from None


async def _serve(gateway: Gateway, call: Call, out: Out) -> None:
    ticket: Ticket | None = None
    try:
        principal = await authenticate(gateway, call)
        ticket = Ticket(gateway, call, principal)
        pinned = read_pinned(call, principal.policy, gateway.stack)
        ticket.pin(pinned)
        view = await gateway.catalog.current()
        order = read_order(
            call,
            pinned,
            principal.policy,
            view=view,
            stack=gateway.stack,
            now_s=gateway.clock.now_s(),
        )
        ticket.order = order
        if order.route.code is not None:
            raise refused(order.route.code, order.asked)
        await ticket.hold(order)
        turn = Turn(ticket, order, out)
        await (_serve_stream if order.stream else _serve_json)(ticket, order, turn, out)
    except PhigateError as error:
        await answer_error(error, ticket, out)


async def dry_run(gateway: Gateway, call: Call) -> Json:
    """POST /v1/route: what `serve` would decide, by the same code; nothing is sent or charged."""
    principal = await authenticate(gateway, call)
    pinned = read_pinned(call, principal.policy, gateway.stack)
    view = await gateway.catalog.current()
    order = read_order(
        call,
        pinned,
        principal.policy,
        view=view,
        stack=gateway.stack,
        now_s=gateway.clock.now_s(),
        shape=RouteBody,
    )
    return decision(order)


async def authenticate(gateway: Gateway, call: Call) -> Principal:
    """The caller behind the bearer token. Raises InvalidApiKey."""
    key = parse_key(call.key)
    if key is None:
        raise InvalidApiKey(
            "The API key is missing or not a key of this gateway. Send it as "
            "Authorization: Bearer phi_live_… or phi_test_…."
        )
    principal = await gateway.keys.principal(key.sha256)
    if principal is None:
        raise InvalidApiKey("The API key is not known here.")
    expires_at_s = principal.expires_at_s
    if expires_at_s is not None and gateway.clock.now_s() >= expires_at_s:
        raise InvalidApiKey("The API key has expired.")
    return principal


async def answer_error(error: PhigateError, ticket: Ticket | None, out: Out) -> None:
    """The OpenAI error envelope, with a receipt when the key is known."""
    named: Mapping[str, str] = {}
    if ticket is not None:
        try:
            named = await ticket.refuse(error)
        except PhigateError as worse:
            error = worse
    body = orjson.dumps(error.envelope())
    headers = {
        **error.headers,
        **named,
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    if ticket is not None:
        ticket.note("refused", None, status=error.status, code=error.code)
        headers |= {"x-request-id": ticket.id, "x-phi-attempts": str(len(ticket.attempts))}
    await out.start(error.status, headers)
    await out.write(body, last=True)


async def _serve_json(ticket: Ticket, order: Order, turn: Turn, out: Out) -> None:
    try:
        answered = await turn.answer()
        row = answered.row
        bytes_out = openai.output_bytes(answered.body["choices"], "message")
        charge = ticket.used(row, answered.body.get("usage"), bytes_out)
        body = openai.completion(answered.body, completion_id=ticket.completion_id, model=row.id)
        ticket.response.update(body)
        await ticket.receipt("routed", "complete" if out.gone_at_s is None else "hang_up", row)
    except CallerGone:
        await ticket.abandon(turn.row)
        return
    except asyncio.CancelledError:
        await cancelled_to_the_end(ticket, turn.row)
        raise
    headers = ticket.headers(order, row, answered.dropped)
    headers["x-phi-usage"] = "estimated" if charge.usage_is_estimate else "verified"
    headers["x-phi-cost-micro"] = str(charge.charged_micros)
    headers["content-type"] = "application/json"
    headers["content-length"] = str(len(body))
    try:
        await out.start(200, headers)
        await out.write(body, last=True)
    finally:
        await ticket.settle()
        ticket.note("answered", row)


async def _serve_stream(ticket: Ticket, order: Order, turn: Turn, out: Out) -> None:
    try:
        opened = await turn.stream()
    except CallerGone:
        await ticket.abandon(turn.row)
        return
    except asyncio.CancelledError:
        await cancelled_to_the_end(ticket, turn.row)
        raise
    stream = Streaming(ticket, order, turn, out, opened)
    try:
        headers = ticket.headers(order, opened.row, opened.dropped)
        await out.start(200, {**headers, "content-type": "text/event-stream; charset=utf-8"})
        await stream.run()
        await stream.finish()
    except asyncio.CancelledError:
        await cancelled_to_the_end(ticket, opened.row, stream.bytes_out)
        raise
    finally:
        opened.exchange.close()


class Streaming:
    """An open stream on its way to the caller: what was written, what was reported."""

    def __init__(self, ticket: Ticket, order: Order, turn: Turn, out: Out, opened: Opened) -> None:
        self._ticket = ticket
        self._order = order
        self._turn = turn
        self._out = out
        self._opened = opened
        self.bytes_out = 0
        self._reported: object = None
        self._written_at_s = ticket.gateway.clock.now_s()
        self._ended: Ended = "complete"

    async def run(self) -> None:
        """Pass chunks on until the upstream has ended, one way or another."""
        decoder, exchange = self._opened.decoder, self._opened.exchange
        clock = self._ticket.gateway.clock
        await self._pass(self._opened.chunks)
        silent_since_s = clock.now_s()
        try:
            while not decoder.ended and decoder.failed is None:
                until_s = min(silent_since_s + limits.IDLE_TIMEOUT_S, self._order.deadline_s)
                ping_at_s = self._written_at_s + limits.PING_INTERVAL_S
                piece = await self._turn.piece(exchange, until_s=until_s, ping_at_s=ping_at_s)
                if piece is None:
                    raise UpstreamFailed("cut")
                if piece:
                    silent_since_s = clock.now_s()
                    await self._pass(decoder.feed(piece))
                if clock.now_s() >= self._written_at_s + limits.PING_INTERVAL_S:
                    await self._write(sse.PING)
            if decoder.failed is not None:
                raise UpstreamFailed(decoder.failed)
        except CallerGone:
            self._ended = "hang_up"
        except UpstreamFailed as failed:
            is_late = clock.now_s() >= self._order.deadline_s
            self._ended = "deadline" if is_late else "upstream_cut"
            self._ticket.gateway.journal.note(
                "stream_failed", row=self._opened.row.id, outcome=failed.outcome
            )

    async def finish(self) -> None:
        """Charge, receipt, our comment and `[DONE]`, settle, in this order."""
        ticket = self._ticket
        if self._ended == "complete" and self._out.gone_at_s is not None:
            self._ended = "hang_up"
        # Usage that was reported on the way says nothing of what came after it.
        reported = self._reported if self._opened.decoder.ended else None
        charge = ticket.used(self._opened.row, reported, self.bytes_out)
        facts = {
            "usage": "estimated" if charge.usage_is_estimate else "verified",
            "cost_micro": charge.charged_micros,
            "receipt": ticket.id,
        }
        tail = sse.comment("phi", orjson.dumps(facts)) + sse.DONE
        if self._ended in _IN_BAND:
            tail = sse.data_event(orjson.dumps(_IN_BAND[self._ended].envelope())) + tail
        if self._out.gone_at_s is None:
            ticket.response.update(tail)
        try:
            await ticket.receipt("routed", self._ended, self._opened.row)
        except PhigateError as error:
            tail = sse.data_event(orjson.dumps(error.envelope())) + sse.DONE
        try:
            await self._out.write(tail, last=True)
        finally:
            await ticket.settle()
            ticket.note("streamed", self._opened.row, ended=self._ended)
        # The connection can serve again once the upstream has ended its body.
        if self._ended == "complete":
            with contextlib.suppress(UpstreamFailed):
                await self._opened.exchange.piece(_BODY_END_WAIT_S)

    async def _pass(self, chunks: list[Json]) -> None:
        events: list[bytes] = []
        for chunk in chunks:
            if (usage := chunk.get("usage")) is not None:
                self._reported = usage
            choices = chunk.get("choices")
            if choices:
                self.bytes_out += openai.output_bytes(choices, "delta")
            events.append(
                openai.chunk_event(
                    chunk,
                    completion_id=self._ticket.completion_id,
                    model=self._opened.row.id,
                    with_usage=self._order.with_usage,
                )
            )
        await self._write(b"".join(events))

    async def _write(self, event_bytes: bytes) -> None:
        if not event_bytes:
            return
        self._written_at_s = self._ticket.gateway.clock.now_s()
        if self._out.gone_at_s is None:
            self._ticket.response.update(event_bytes)
            await self._out.write(event_bytes)


_BODY_END_WAIT_S = 0.2  # a provider ends its body right after its last event
_IN_BAND: Mapping[str, PhigateError] = {
    "upstream_cut": UpstreamError("The provider's stream broke off; what was written is charged."),
    "deadline": UpstreamTimeout("The answer took too long; what was written is charged."),
}
