"""A stream on its way to the caller: chunks as they come, pings in silence, and the end.

Law: the receipt is durable before the last byte leaves, and says what was handed to the transport.
"""

import contextlib
from collections.abc import Mapping

import orjson

from phigate.closing import Ticket
from phigate.core import limits
from phigate.core.errors import PhigateError, UpstreamError, UpstreamFailed, UpstreamTimeout
from phigate.core.protocols import Out
from phigate.core.receipt import Ended
from phigate.core.types import Json
from phigate.order import Order
from phigate.turn import CallerGone, Opened, Turn
from phigate.wire import openai, sse


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
            self._turn.ended(self._opened.row, None)
        except CallerGone:
            self._ended = "hang_up"
        except UpstreamFailed as failed:
            is_late = clock.now_s() >= self._order.deadline_s
            self._ended = "deadline" if is_late else "upstream_cut"
            self._turn.ended(self._opened.row, failed.outcome)

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
