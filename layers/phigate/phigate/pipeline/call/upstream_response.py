"""What comes from one upstream, read within bounds: head, whole bodies, and streams.

Law 1: no step works on more than the loop has time for; in between others have their turn.
Law 2: what grows over a bound is the row's failure, unless the caller's own levers explain it.
Law 3: a caller who has gone is waited for at most DRAIN_TIMEOUT_S.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import orjson

from phigate.adapters.adapter import Adapter, StreamDecoder
from phigate.core import limits
from phigate.core.errors import CallerCaused, UpstreamFailed
from phigate.core.request.levers import Large, Levers, explain_shape, explain_size, written_bytes
from phigate.core.response import CallerGone, ResponseWriter
from phigate.core.types import Json, Row
from phigate.core.upstream import Head, UpstreamResponse
from phigate.pipeline.charge.context import RequestContext
from phigate.wire import sse
from phigate.wire.openai import answer as openai
from phigate.wire.openai.assembly import Assembly

_BODY_END_WAIT_S = 0.2  # a provider ends its body right after its last event

Asks = Callable[[], Levers]  # read where something went wrong
Beat = Callable[[], Awaitable[None]]
Shows = Callable[[Any], Any]


class ResponseReader:
    """Reads one response of a row. `beat` fills the silence of a further turn; `shows` is what of
    a wire body may be shown again."""

    def __init__(
        self,
        context: RequestContext,
        out: ResponseWriter,
        row: Row,
        response: UpstreamResponse,
        levers: Asks,
        *,
        beat: Beat,
        shows: Shows,
    ) -> None:
        self._meter = context.meter
        self._clock = context.gateway.clock
        self._out = out
        self._row = row
        self._response = response
        self._levers = levers
        self._beat = beat
        self._shows = shows
        self._begun_bytes = 0  # since the last chunk

    def close(self) -> None:
        """Let go of the upstream."""
        self._response.close()

    async def head(self, until_s: float) -> Head:
        """The head. Raises UpstreamFailed, CallerGone."""
        while (head := await self._response.headers(self._slice_s(until_s))) is None:
            await self._beat()
        return head

    async def body(self, until_s: float, *, is_error: bool = False) -> bytes:
        """A whole body; of an error's as much as has its words. Raises UpstreamFailed, CallerGone,
        CallerCaused."""
        pieces: list[bytes] = []
        size = 0
        most = limits.ERROR_BYTES_MAX if is_error else limits.ANSWER_BYTES_MAX
        while (piece := await self._response.next_chunk(self._slice_s(until_s))) is not None:
            pieces.append(piece)
            size += len(piece)
            if size > most:
                if is_error:
                    break
                raise self._too_large("answer", b"".join(pieces))
        return b"".join(pieces)[:most]

    async def answer(self, adapter: Adapter, body: bytes) -> Json:
        """A whole body as a canonical answer. Raises UpstreamFailed, CallerCaused."""
        value = adapter.answer(body)
        if len(body) > limits.PIECE_BYTES_MAX:
            await asyncio.sleep(0)
        if value is not None:
            return value
        if explain_shape(self._levers(), body):
            raise self._caused("unreadable", body)
        raise UpstreamFailed("malformed")

    async def shown(self, body: bytes) -> orjson.Fragment:
        """A body that was read, as its own JSON to be shown again."""
        value = self._shows(orjson.loads(body))
        await asyncio.sleep(0)
        shown = orjson.Fragment(openai.clean(value))
        await asyncio.sleep(0)
        return shown

    async def first_chunks(self, decoder: StreamDecoder, until_s: float) -> list[Json]:
        """The chunks of a stream's first event that has any. Raises UpstreamFailed, CallerGone,
        CallerCaused."""
        while True:
            piece = await self._response.next_chunk(self._slice_s(until_s))
            if piece is None:
                raise UpstreamFailed("cut")
            chunks = [each async for fed in self.fed(decoder, piece) for each in fed]
            if chunks:
                return chunks
            await self._beat()
            if decoder.failed is not None or decoder.ended:
                raise self.broken(decoder)

    def step(self, decoder: StreamDecoder, piece: bytes) -> list[Json] | None:
        """The chunks that a piece completes, where that is done in a moment, as nearly always; else
        None, and it is `fed`."""
        size = self._begun_bytes + len(piece)
        if size > limits.PIECE_BYTES_MAX:
            return None
        chunks = decoder.feed(piece)
        self._begun_bytes = 0 if chunks else size
        return chunks

    async def fed(self, decoder: StreamDecoder, piece: bytes) -> AsyncIterator[list[Json]]:
        """The chunks that a piece completes, in as many steps as it is large."""
        async for part in _parts(piece):
            yield await self._feed(decoder, part)

    async def _feed(self, decoder: StreamDecoder, part: bytes) -> list[Json]:
        """What is done with the chunks of a large event waits a turn."""
        chunks = decoder.feed(part)
        self._begun_bytes += len(part)
        if chunks:
            if self._begun_bytes > limits.PIECE_BYTES_MAX:
                await asyncio.sleep(0)
            self._begun_bytes = 0
        return chunks

    async def piece(self, *, until_s: float, ping_at_s: float) -> bytes | None:
        """The next bytes; empty when none came. Raises UpstreamFailed, CallerGone, CallerCaused."""
        wait_s = min(self._slice_s(until_s), ping_at_s - self._clock.now_s())
        try:
            return await self._response.next_chunk(max(0.0, wait_s))
        except UpstreamFailed as failed:
            raise self._seen(failed) from failed

    async def assembled(
        self, decoder: StreamDecoder, until_s: float, *, keep: bool
    ) -> tuple[Json, Any]:
        """A stream to its end, as the whole answer; with `keep` its events too, as they came.

        Raises UpstreamFailed for what the row did: nobody has seen a byte, so another may try.
        Raises CallerCaused at the deadline once something was written, and CallerGone.
        """
        events = sse.EventDecoder() if keep else None
        received: list[Any] = []
        assembly = Assembly()
        async for piece in self._pieces(decoder, assembly, until_s):
            async for part in _parts(piece):
                if events is not None:
                    received += _shown(events.feed(part), self._shows)
                    await asyncio.sleep(0)
                self._take(assembly, await self._feed(decoder, part))
        if decoder.failed is not None:
            raise self.broken(decoder)
        await asyncio.sleep(0)
        answer = assembly.answer()
        await asyncio.sleep(0)
        if answer is None:
            raise UpstreamFailed("empty")
        await self.end_of_body()
        return answer, received if keep else None

    async def _pieces(
        self, decoder: StreamDecoder, assembly: Assembly, deadline_s: float
    ) -> AsyncIterator[bytes]:
        """What comes until the stream has ended."""
        until_s = deadline_s
        while not decoder.ended and decoder.failed is None:
            try:
                piece = await self._response.next_chunk(self._slice_s(until_s))
            except UpstreamFailed as failed:
                raise self._late(self._seen(failed), deadline_s) from failed
            if piece:
                until_s = min(self._clock.now_s() + limits.IDLE_TIMEOUT_S, deadline_s)
                yield piece
            elif piece is not None:
                await self._beat()
            elif assembly.is_finished:
                return
            else:
                raise UpstreamFailed("cut")

    async def end_of_body(self) -> None:
        """The connection can serve again once the upstream has ended its body."""
        until_s = self._clock.now_s() + _BODY_END_WAIT_S
        with contextlib.suppress(UpstreamFailed):
            while (left_s := until_s - self._clock.now_s()) > 0:
                if not await self._response.next_chunk(left_s):
                    break

    def broken(self, decoder: StreamDecoder) -> UpstreamFailed:
        """Why a stream has ended that should not have."""
        if decoder.failed == "oversized":
            return self._too_large("event", decoder.unfinished)
        return UpstreamFailed(decoder.failed or "empty")

    def _seen(self, failed: UpstreamFailed) -> UpstreamFailed:
        return self._too_large("stream") if failed.outcome == "oversized" else failed

    def _take(self, assembly: Assembly, chunks: list[Json]) -> None:
        meter = self._meter
        for chunk in chunks:
            if choices := chunk.get("choices"):
                meter.bytes_out += openai.output_bytes(choices, "delta")
            try:
                assembly.feed(chunk)
            except UpstreamFailed as failed:
                raise self._too_large("parts") from failed

    def _late(self, failed: UpstreamFailed, deadline_s: float) -> UpstreamFailed:
        """At the deadline what was written is the caller's: they asked for as much."""
        is_late = self._clock.now_s() >= deadline_s and self._meter.bytes_out > 0
        return self._caused("deadline") if is_late and failed.outcome == "timeout" else failed

    def _too_large(self, large: Large, unread: bytes = b"") -> UpstreamFailed:
        if explain_size(self._levers(), large):
            return self._caused("oversized", unread)
        return UpstreamFailed("oversized")

    def _caused(self, outcome: str, unread: bytes = b"") -> CallerCaused:
        self._meter.bytes_out += written_bytes(self._levers(), self._row, unread)
        return CallerCaused(outcome)

    def _slice_s(self, until_s: float) -> float:
        """How long to wait for the upstream before looking up again."""
        now_s = self._clock.now_s()
        wait_s = min(until_s - now_s, limits.PING_INTERVAL_S)
        if self._out.gone_at_s is not None:
            drain_s = self._out.gone_at_s + limits.DRAIN_TIMEOUT_S - now_s
            if drain_s <= 0:
                raise CallerGone
            wait_s = min(wait_s, drain_s)
        if wait_s <= 0:
            raise UpstreamFailed("timeout")
        return wait_s


def _shown(events: list[sse.Event], shows: Shows) -> Iterator[orjson.Fragment]:
    """The events of a stream as their JSON; its end is none."""
    for event in events:
        with contextlib.suppress(ValueError):
            yield orjson.Fragment(openai.clean(shows(orjson.loads(event.data))))


async def _parts(piece: bytes) -> AsyncIterator[bytes]:
    """A piece in parts; between them others have their turn."""
    for at in range(0, len(piece), limits.PIECE_BYTES_MAX):
        if at:
            await asyncio.sleep(0)
        yield piece[at : at + limits.PIECE_BYTES_MAX]
