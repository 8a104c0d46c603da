"""A stream on its way to the caller: chunks as they come, pings in silence, and the end.

Law: once the head has gone every end is told in the stream, and what was written is charged.
"""

from collections.abc import Mapping

from phigate.core import limits
from phigate.core.errors import (
    CallerCaused,
    PhigateError,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from phigate.core.receipts.record import Ended
from phigate.core.response import CallerGone
from phigate.core.types import Json
from phigate.pipeline.answer.answer_writer import Answer, AnswerParts, Turn, ended_now
from phigate.pipeline.answer.headers import answer_headers, stamp
from phigate.pipeline.call.failover import Failover
from phigate.pipeline.call.upstream_answer import OpenStream
from phigate.pipeline.call.upstream_response import ResponseReader
from phigate.pipeline.plan import RequestPlan
from phigate.pipeline.tools.loop import ToolLoop
from phigate.wire.openai import answer as openai
from phigate.wire.openai.answer import Stamp
from phigate.wire.openai.tool_stream import ToolStream


class SseWriter:
    """Hands an answer on as it comes (see AnswerWriter)."""

    def __init__(self, parts: AnswerParts, tools: ToolLoop) -> None:
        context = parts.hold.context
        self._parts = parts
        self._out = parts.out
        self._response = parts.response
        self._meter = context.meter
        self._clock = context.gateway.clock
        self._started_s = context.started_s
        self._deadline_s = parts.plan.deadline_s
        self._format = parts.caller_format.stream(parts.plan.with_usage)
        self._has_tools = tools.has_tools
        self._has_begun = False
        self._written_at_s = 0.0
        self._ttft_ms = 0  # the first event has come when the answer begins
        # Those of the turn that was opened last:
        self._failover: Failover | None = None
        self._opened: OpenStream | None = None
        self._reader: ResponseReader | None = None
        self._stamp = _NO_STAMP
        self._tools: ToolStream | None = None
        self._reported_usage: object = None

    async def open_turn(self, plan: RequestPlan) -> OpenStream:
        """The turn's stream; the first one's brings the head of the answer. Later silences are
        filled."""
        self.close()
        beat = self._ping if self._has_begun else None
        failover = Failover(self._parts.hold, plan, self._out, beat=beat)
        opened = await failover.stream()
        self._failover, self._opened, self._reader = failover, opened, opened.reader
        self._stamp = stamp(self._parts, opened.row)
        self._reported_usage = None
        self._tools = ToolStream(is_first=not self._has_begun) if self._has_tools else None
        if not self._has_begun:
            await self._begin(opened)
        return opened

    async def relay_turn(self) -> Turn:
        """Pass the turn's chunks on until the upstream has ended it."""
        opened = self._newest()
        decoder, reader, clock = opened.decoder, opened.reader, self._clock
        await self._relay_chunks(opened.chunks)
        silent_since_s = clock.now_s()
        while not decoder.ended and decoder.failed is None:
            until_s = min(silent_since_s + limits.IDLE_TIMEOUT_S, self._deadline_s)
            ping_at_s = self._written_at_s + limits.PING_INTERVAL_S
            piece = await reader.piece(until_s=until_s, ping_at_s=ping_at_s)
            if piece is None:
                raise UpstreamFailed("cut")
            if piece:
                silent_since_s = clock.now_s()
                if (chunks := reader.step(decoder, piece)) is not None:
                    await self._relay_chunks(chunks)
                else:
                    async for chunks in reader.fed(decoder, piece):
                        await self._relay_chunks(chunks)
            await self._ping()
        if decoder.failed is not None:
            raise reader.broken(decoder)
        self._record_end(None)
        message: Json = {} if self._tools is None else self._tools.message()
        return Turn(message, self._reported_usage, self._meter.bytes_out)

    async def end_turns(self, message: Json) -> tuple[str, ...]:
        """What was held back while it was not known whose the calls were."""
        if self._tools is not None:
            await self._write(b"".join(map(self._event, self._tools.ending(message))))
        return ()

    def break_off(
        self, error: UpstreamFailed | PhigateError | CallerGone
    ) -> tuple[Ended, PhigateError | None]:
        """Once the head has gone, an error is told in the stream."""
        if not self._has_begun:
            raise error
        if isinstance(error, CallerGone):
            return "hang_up", None
        if isinstance(error, CallerCaused):
            return "upstream_cut", _TOO_LARGE
        if isinstance(error, PhigateError):
            return "upstream_cut", error
        is_late = self._clock.now_s() >= self._deadline_s
        ended: Ended = "deadline" if is_late else "upstream_cut"
        if not (is_late and self._meter.bytes_out):
            # One that wrote until the deadline wrote what the caller asked for.
            self._record_end(error.outcome)
        return ended, _IN_BAND[ended]

    async def compose(self, answer: Answer) -> tuple[bytes, Ended]:
        """The tail."""
        ended = ended_now(answer.ended, self._out)
        tail = self._tail(answer)
        if self._meter.exchange is not None:
            await self.drain(ended)  # what comes behind the last event is part of the hash
        if self._out.gone_at_s is None:
            self._response.update(tail)
        return tail, ended

    def without_receipt(self, error: PhigateError) -> bytes:
        """The error, and the end."""
        envelope = self._parts.caller_format.envelope(error)
        return self._format.error(envelope) + self._format.end_without_receipt

    async def send(self, last: bytes) -> None:
        """See AnswerWriter.send."""
        await self._out.write(last, last=True)

    def log_line(self, ended: Ended) -> tuple[str, Mapping[str, str | int]]:
        """See AnswerWriter.log_line."""
        return "streamed", {"ended": ended, "ttft_ms": self._ttft_ms}

    async def drain(self, ended: Ended) -> None:
        """The connection can serve again once the upstream has ended its body."""
        if ended == "complete":
            await self._newest().reader.end_of_body()

    def close(self) -> None:
        """Let go of the upstream."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _begin(self, opened: OpenStream) -> None:
        headers = answer_headers(self._parts, opened.row, opened.dropped)
        headers["content-type"] = "text/event-stream; charset=utf-8"
        self._written_at_s = self._clock.now_s()
        self._ttft_ms = max(0, round((self._written_at_s - self._started_s) * 1000))
        await self._out.start(200, headers)
        self._has_begun = True

    async def _relay_chunks(self, chunks: list[Json]) -> None:
        tools, stamp, write = self._tools, self._stamp, self._format.chunk
        events: list[bytes] = []
        bytes_out = 0
        for chunk in chunks:
            if (usage := chunk.get("usage")) is not None:
                self._reported_usage = usage
            if choices := chunk.get("choices"):
                bytes_out += openai.output_bytes(choices, "delta")
            passed = chunk if tools is None else tools.feed(chunk)
            if passed is not None:
                events.append(write(passed, stamp))
        self._meter.bytes_out += bytes_out
        await self._write(b"".join(events))

    def _event(self, chunk: Json) -> bytes:
        return self._format.chunk(chunk, self._stamp)

    def _tail(self, answer: Answer) -> bytes:
        """Summed usage, an error if there was one, what the gateway says of the call, the end."""
        context, charge = self._parts.hold.context, self._meter.charge
        tail = b""
        if answer.usage is not None and self._parts.plan.with_usage:
            tail += self._event({**_EMPTY_CHUNK, "usage": answer.usage})
        if answer.members is not None:
            tail += self._event({**_EMPTY_CHUNK, **answer.members})
        if answer.error is not None:
            tail += self._format.error(self._parts.caller_format.envelope(answer.error))
        facts = {
            "usage": "estimated" if charge is None or charge.usage_is_estimate else "verified",
            "cost_micro": charge.charged_micros if charge is not None else 0,
            "receipt": context.id,
        }
        return tail + self._format.end(facts)

    async def _ping(self) -> None:
        if self._clock.now_s() >= self._written_at_s + limits.PING_INTERVAL_S:
            await self._write(self._format.ping)

    async def _write(self, event_bytes: bytes) -> None:
        if not event_bytes:
            return
        self._written_at_s = self._clock.now_s()
        if self._out.gone_at_s is None:
            self._response.update(event_bytes)
            await self._out.write(event_bytes)

    def _record_end(self, outcome: str | None) -> None:
        if self._failover is not None:
            self._failover.record_end(self._newest().row, outcome)

    def _newest(self) -> OpenStream:
        if self._opened is None:
            raise RuntimeError("a stream is relayed after it was opened")
        return self._opened


_NO_STAMP = Stamp("", "", 0)  # before the first turn
_EMPTY_CHUNK: Json = {"object": "chat.completion.chunk", "choices": []}
_TOO_LARGE = UpstreamError(
    "The answer became larger than a stream may be; what was written is charged."
)
_IN_BAND: Mapping[Ended, PhigateError] = {
    "upstream_cut": UpstreamError("The provider's stream broke off; what was written is charged."),
    "deadline": UpstreamTimeout("The answer took too long; what was written is charged."),
}
