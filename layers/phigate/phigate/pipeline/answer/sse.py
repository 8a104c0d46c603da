"""A stream on its way to the caller: chunks as they come, pings in silence, and the end.

Law: the receipt is durable before the last byte leaves, and says what was handed to the transport.
"""

from collections.abc import Mapping

import orjson

from phigate.core import limits
from phigate.core.errors import (
    CallerCaused,
    PhigateError,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from phigate.core.receipts.record import Ended
from phigate.core.response import ResponseWriter
from phigate.core.types import Json
from phigate.pipeline.answer.debug import debug_members
from phigate.pipeline.call.failover import Failover, Opened
from phigate.pipeline.call.upstream_response import Reading
from phigate.pipeline.charge.finalize import CallerGone, Ticket
from phigate.pipeline.plan import RequestPlan
from phigate.pipeline.tools.loop import Loop
from phigate.wire import sse
from phigate.wire.openai import answer as openai
from phigate.wire.openai.tool_stream import ToolStream


class Streaming:
    """An open stream on its way to the caller: what was written, what was reported."""

    def __init__(
        self,
        ticket: Ticket,
        order: RequestPlan,
        turn: Failover,
        out: ResponseWriter,
        opened: Opened,
    ) -> None:
        self._ticket = ticket
        self._order = order
        self._turn = turn
        self._out = out
        self._opened = opened
        self._reading: Reading | None = opened.reading
        self._stamp = ticket.stamp(opened.row)
        self._loop = Loop(ticket, order, out)
        self._tools = ToolStream(is_first=True) if self._loop.has_tools else None
        self._reported: object = None
        self._written_at_s = ticket.gateway.clock.now_s()
        self._ended: Ended = "complete"
        self._error: PhigateError | None = None
        self._ttft_ms = 0  # the first event has come when the answer begins

    def close(self) -> None:
        """Let go of the upstream."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    async def through(self, headers: Mapping[str, str]) -> None:
        """The whole answer, from its head to its settle."""
        ticket = self._ticket
        self._ttft_ms = max(0, round((ticket.gateway.clock.now_s() - ticket.started_s) * 1000))
        await self._out.start(200, headers)
        await self._run()
        await self._finish()

    async def _run(self) -> None:
        """Turn after turn until the answer has ended, one way or another."""
        try:
            await self._through()
            while self._tools is not None and await self._follow(self._tools):
                await self._through()
        except CallerGone:
            self._ended = "hang_up"
        except CallerCaused:
            self._ended, self._error = "upstream_cut", _TOO_LARGE
        except UpstreamFailed as failed:
            is_late = self._ticket.gateway.clock.now_s() >= self._order.deadline_s
            self._ended = "deadline" if is_late else "upstream_cut"
            self._error = _IN_BAND[self._ended]
            if not (is_late and self._ticket.tally.bytes_out):
                # One that wrote until the deadline wrote what the caller asked for.
                self._turn.ended(self._opened.row, failed.outcome)
        except PhigateError as error:
            self._ended = "upstream_cut"
            self._error = error

    async def _finish(self) -> None:
        """Charge, receipt, our comment and `[DONE]`, settle, in this order."""
        ticket = self._ticket
        row = self._opened.row
        if self._ended == "complete" and self._out.gone_at_s is not None:
            self._ended = "hang_up"
        if not ticket.tally.is_counted:
            # Usage that was reported on the way says nothing of what came after it.
            # The row under way may be a further turn's, which has not been opened yet.
            ticket.used(ticket.tally.row or row, None, ticket.tally.bytes_out)
        tail = self._tail()
        if ticket.tally.watched is not None:
            await self._end_of_body()  # what comes behind the last event is part of the hash
        if self._out.gone_at_s is None:
            ticket.response.update(tail)
        try:
            await ticket.receipt("routed", self._ended, row)
        except PhigateError as error:
            tail = sse.data_event(orjson.dumps(error.envelope())) + sse.DONE
        try:
            await self._out.write(tail, last=True)
        finally:
            await ticket.settle()
            ticket.note("streamed", row, ended=self._ended, ttft_ms=self._ttft_ms)
        await self._end_of_body()

    async def _end_of_body(self) -> None:
        """The connection can serve again once the upstream has ended its body."""
        if self._ended != "complete":
            return
        await self._opened.reading.end_of_body()

    async def _through(self) -> None:
        """Pass one turn's chunks on until the upstream has ended it. Counts the turn."""
        decoder, reading = self._opened.decoder, self._opened.reading
        clock = self._ticket.gateway.clock
        self._ticket.tally.set_upstream_id(self._opened.chunks[0].get("id"))
        await self._pass(self._opened.chunks)
        silent_since_s = clock.now_s()
        while not decoder.ended and decoder.failed is None:
            until_s = min(silent_since_s + limits.IDLE_TIMEOUT_S, self._order.deadline_s)
            ping_at_s = self._written_at_s + limits.PING_INTERVAL_S
            piece = await reading.piece(until_s=until_s, ping_at_s=ping_at_s)
            if piece is None:
                raise UpstreamFailed("cut")
            if piece:
                silent_since_s = clock.now_s()
                if (chunks := reading.step(decoder, piece)) is not None:
                    await self._pass(chunks)
                else:
                    async for chunks in reading.fed(decoder, piece):
                        await self._pass(chunks)
            await self._ping()
        if decoder.failed is not None:
            raise reading.broken(decoder)
        self._turn.ended(self._opened.row, None)
        self._ticket.used(self._opened.row, self._reported, self._ticket.tally.bytes_out)

    async def _follow(self, tools: ToolStream) -> bool:
        """Open the next turn if the gateway's tools were called, else pass what was held back."""
        message = tools.message()
        order = await self._loop.after(message, self._opened.row)
        if order is None:
            await self._write(b"".join(map(self._event, tools.ending(message))))
            return False
        self.close()
        self._turn = Failover(self._ticket, order, self._out, beat=self._ping)
        self._reported = None
        self._opened = await self._turn.stream()
        self._reading = self._opened.reading
        self._stamp = self._ticket.stamp(self._opened.row)
        self._tools = ToolStream(is_first=False)
        return True

    async def _pass(self, chunks: list[Json]) -> None:
        tools, stamp, with_usage = self._tools, self._stamp, self._order.with_usage
        events: list[bytes] = []
        bytes_out = 0
        for chunk in chunks:
            if (usage := chunk.get("usage")) is not None:
                self._reported = usage
            if choices := chunk.get("choices"):
                bytes_out += openai.output_bytes(choices, "delta")
            passed = chunk if tools is None else tools.feed(chunk)
            if passed is not None:
                events.append(openai.chunk_event(passed, stamp, with_usage=with_usage))
        self._ticket.tally.bytes_out += bytes_out
        await self._write(b"".join(events))

    def _event(self, chunk: Json) -> bytes:
        return openai.chunk_event(chunk, self._stamp, with_usage=self._order.with_usage)

    def _tail(self) -> bytes:
        """Summed usage, an error if there was one, what the gateway says of the call, the end."""
        charge = self._ticket.charge
        usage = self._loop.usage()
        tail = b""
        if usage is not None and self._order.with_usage:
            tail += self._event({**_EMPTY_CHUNK, "usage": usage})
        asks = self._order.wanted
        if asks.any:
            dropped, exchanged = self._opened.dropped, self._opened.exchanged
            told = debug_members(asks, self._order.route, self._ticket.attempts, dropped, exchanged)
            tail += self._event({**_EMPTY_CHUNK, **told})
        if self._error is not None:
            tail += sse.data_event(orjson.dumps(self._error.envelope()))
        facts = {
            "usage": "estimated" if charge is None or charge.usage_is_estimate else "verified",
            "cost_micro": charge.charged_micros if charge is not None else 0,
            "receipt": self._ticket.id,
        }
        return tail + sse.comment("phi", orjson.dumps(facts)) + sse.DONE

    async def _ping(self) -> None:
        if self._ticket.gateway.clock.now_s() >= self._written_at_s + limits.PING_INTERVAL_S:
            await self._write(sse.PING)

    async def _write(self, event_bytes: bytes) -> None:
        if not event_bytes:
            return
        self._written_at_s = self._ticket.gateway.clock.now_s()
        if self._out.gone_at_s is None:
            self._ticket.response.update(event_bytes)
            await self._out.write(event_bytes)


_EMPTY_CHUNK: Json = {"object": "chat.completion.chunk", "choices": []}
_TOO_LARGE = UpstreamError(
    "The answer became larger than a stream may be; what was written is charged."
)
_IN_BAND: Mapping[Ended, PhigateError] = {
    "upstream_cut": UpstreamError("The provider's stream broke off; what was written is charged."),
    "deadline": UpstreamTimeout("The answer took too long; what was written is charged."),
}
