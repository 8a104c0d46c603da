"""One turn at the upstreams: candidates are tried in order until one answers.

Law 1: the gate looks again before every attempt; time has passed since the route was decided.
Law 2: failover happens only before the first byte has gone to the caller.
Law 3: a caller who has gone is waited for at most DRAIN_TIMEOUT_S: the upstream is drained to its
usage so that the charge is exact.
"""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import orjson

from phigate import outcomes
from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import StreamDecoder, WireRequest
from phigate.closing import CallerGone, Ticket
from phigate.core import limits
from phigate.core.errors import (
    InvalidRequest,
    NotSent,
    PhigateError,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from phigate.core.extras import Exchanged
from phigate.core.gate import may_attempt, refusal_code
from phigate.core.protocols import Exchange, Head, Out
from phigate.core.route import Attempts
from phigate.core.types import Attempt, Json, Row
from phigate.order import Order, refused
from phigate.sending import RowUnsuited, check_status, upstream_request
from phigate.watched import watch

T = TypeVar("T")

# Those of check_status's failures that only the operator can mend.
OPERATOR_OUTCOMES = frozenset({"http_401", "http_402", "http_403", "http_404"})
# Those that another key may end.
KEY_OUTCOMES = frozenset({"http_401", "http_403"})


@dataclass(slots=True)
class Answered:
    """A whole answer in canonical form."""

    row: Row
    body: Json
    dropped: tuple[str, ...]
    exchanged: Exchanged | None = None
    fits: bool = True  # the schema that was asked for, as far as the adapter can tell


@dataclass(slots=True)
class Opened:
    """A stream whose first event has come and is no error. `exchange` is still open."""

    row: Row
    exchange: Exchange
    decoder: StreamDecoder
    chunks: list[Json]
    dropped: tuple[str, ...]
    exchanged: Exchanged | None = None


class Turn:
    """The attempts of one turn."""

    def __init__(
        self,
        ticket: Ticket,
        order: Order,
        out: Out,
        *,
        beat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._beat = beat
        self._before = len(ticket.attempts)  # those of earlier turns
        self._ticket = ticket
        self._gateway = ticket.gateway
        self._order = order
        self._out = out

    async def answer(self) -> Answered:
        """A whole answer of the first candidate that gives one. Raises PhigateError, CallerGone."""
        return await self._first(self._whole)

    async def stream(self) -> Opened:
        """The first candidate's stream whose first event is no error."""
        return await self._first(self._opened)

    async def piece(self, exchange: Exchange, *, until_s: float, ping_at_s: float) -> bytes | None:
        """The next bytes; empty when none came. Raises UpstreamFailed, CallerGone."""
        wait_s = min(self._slice_s(until_s), ping_at_s - self._now_s())
        return await exchange.piece(max(0.0, wait_s))

    async def _first(self, attempt: Callable[[Row], Awaitable[T]]) -> T:
        now_s = self._gateway.clock.now_s()
        rows = self._order.route.candidates
        breaker = self._gateway.breaker
        attempts = Attempts(self._order.route, breaker.open_rows([r.id for r in rows], now_s))
        while True:
            if attempts.pauses_next:
                await self._gateway.clock.sleep(limits.RETRY_PAUSE_S)
            started_s = self._gateway.clock.now_s()
            if self._out.gone_at_s is not None:
                # Nobody waits for another attempt. One that failed costs nothing, as for those who
                # stay.
                raise self._all_failed(started_s) if self._tried() else CallerGone()
            row = attempts.next(self._gateway.stack.stand(self._order.view, started_s))
            if row is None or started_s >= self._order.deadline_s:
                raise self._all_failed(started_s)
            outcome = "ended_early"
            self._ticket.tally.begins(row)
            try:
                result = await attempt(row)
                outcome = "ok"
                return result
            except (InvalidRequest, UpstreamFailed) as failed:
                self._ticket.tally.fails()
                outcome = self._outcome_of(failed, row)
                if isinstance(failed, InvalidRequest):
                    raise
            finally:
                self._note(row, outcome, started_s)

    async def _whole(self, row: Row) -> Answered:
        until_s = min(self._order.deadline_s, self._now_s() + limits.JSON_TIMEOUT_S)
        exchange, wire = await self._send(row, stream=False)
        try:
            head = await self._head(exchange, until_s)
            body = await self._body(exchange, until_s)
        finally:
            exchange.close()
        adapter = ADAPTERS[row.dialect]
        check_status(head, body, adapter)
        answer = adapter.answer(body)
        if answer is None:
            raise UpstreamFailed("malformed")
        outcomes.succeeded(self._gateway, row.id)
        fits = wire.fits is None or wire.fits(answer)
        return Answered(row, answer, wire.dropped, self._exchanged(wire, body), fits)

    async def _opened(self, row: Row) -> Opened:
        until_s = min(self._order.deadline_s, self._now_s() + limits.FIRST_BYTE_TIMEOUT_S)
        exchange, wire = await self._send(row, stream=True)
        kept = False
        try:
            head = await self._head(exchange, until_s)
            if head.status != 200:
                check_status(head, await self._body(exchange, until_s), ADAPTERS[row.dialect])
            decoder = ADAPTERS[row.dialect].decoder()
            chunks = await self._first_chunks(exchange, decoder, until_s)
            kept = True
            exchanged = self._exchanged(wire, None)
            return Opened(row, exchange, decoder, chunks, wire.dropped, exchanged)
        finally:
            if not kept:
                exchange.close()

    async def _first_chunks(
        self, exchange: Exchange, decoder: StreamDecoder, until_s: float
    ) -> list[Json]:
        while True:
            piece = await exchange.piece(self._slice_s(until_s))
            if piece is None:
                raise UpstreamFailed("cut")
            chunks = decoder.feed(piece)
            if chunks:
                return chunks
            await self._silence()
            if decoder.failed is not None or decoder.ended:
                raise UpstreamFailed(decoder.failed or "empty")

    async def _send(self, row: Row, *, stream: bool) -> tuple[Exchange, WireRequest]:
        salt = self._ticket.principal.salt
        order = self._order
        written = functools.partial(upstream_request, order, row, salt, stream=stream)
        request, wire = await self._gateway.beside(written, heavy=order.is_heavy)
        if order.is_heavy and not self._may_still(row):
            raise RowUnsuited("unsuited")
        exchange = self._gateway.upstream.open(request)
        exchange, self._ticket.tally.watched = watch(exchange, request, phi=self._order.asked.phi)
        return exchange, wire

    def _may_still(self, row: Row) -> bool:
        """The gate's look once more: a heavy request waits for others before it is written."""
        stand = self._gateway.stack.stand(self._order.view, self._now_s())
        return may_attempt(row, self._order.asked, stand)

    def _exchanged(self, wire: WireRequest, received: bytes | None) -> Exchanged | None:
        """The bodies that went over the wire, when the request asks to see them."""
        if not self._order.wanted.is_debug:
            return None
        return Exchanged(wire.body, None if received is None else orjson.loads(received))

    async def _head(self, exchange: Exchange, until_s: float) -> Head:
        while (head := await exchange.head(self._slice_s(until_s))) is None:
            await self._silence()
        return head

    async def _body(self, exchange: Exchange, until_s: float) -> bytes:
        pieces: list[bytes] = []
        while (piece := await exchange.piece(self._slice_s(until_s))) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    async def _silence(self) -> None:
        """In a stream that has begun, a further turn's silence is filled."""
        if self._beat is not None:
            await self._beat()

    def _slice_s(self, until_s: float) -> float:
        """How long to wait for the upstream before looking up again."""
        now_s = self._now_s()
        wait_s = min(until_s - now_s, limits.PING_INTERVAL_S)
        if self._out.gone_at_s is not None:
            drain_s = self._out.gone_at_s + limits.DRAIN_TIMEOUT_S - now_s
            if drain_s <= 0:
                raise CallerGone
            wait_s = min(wait_s, drain_s)
        if wait_s <= 0:
            raise UpstreamFailed("timeout")
        return wait_s

    def _now_s(self) -> float:
        return self._gateway.clock.now_s()

    def ended(self, row: Row, outcome: str | None) -> None:
        """How an opened stream ended: only now is it known whether the row did well."""
        if outcome is None:
            outcomes.succeeded(self._gateway, row.id)
        else:
            self._gateway.journal.note("stream_failed", row=row.id, outcome=outcome)
            outcomes.failed(self._gateway, row.id)

    def _outcome_of(self, failed: InvalidRequest | UpstreamFailed, row: Row) -> str:
        """The outcome of an attempt that gave no answer; its row's failures are counted."""
        if isinstance(failed, InvalidRequest):
            return "refused"
        if not isinstance(failed, NotSent):
            self._gateway.journal.note("attempt_failed", row=row.id, outcome=failed.outcome)
            is_key = failed.outcome in KEY_OUTCOMES
            outcomes.failed(self._gateway, row.id, told=not is_key)
        if failed.outcome in OPERATOR_OUTCOMES:
            self._gateway.journal.note(
                "provider_refuses_operator", row=row.id, outcome=failed.outcome
            )
        if failed.outcome in KEY_OUTCOMES:
            self._gateway.key_refused(row.provider)
        return failed.outcome

    def _note(self, row: Row, outcome: str, started_s: float) -> None:
        ms = max(0, round((self._now_s() - started_s) * 1000))
        at_ms = max(0, int((started_s - int(self._ticket.started_s)) * 1000))
        attempt = Attempt(row.id, self._order.asked.region, outcome, ms, at_ms)
        self._ticket.attempts.append(attempt)

    def _tried(self) -> list[Attempt]:
        """The attempts of this turn."""
        return self._ticket.attempts[self._before :]

    def _all_failed(self, now_s: float) -> PhigateError:
        attempts = self._ticket.attempts
        route = self._order.route
        if not self._tried() and now_s < self._order.deadline_s:
            # Every agreement lapsed between the route and now.
            return refused(refusal_code("agreement", route.asked), route.asked)
        timed_out = now_s >= self._order.deadline_s or all(
            attempt.outcome == "timeout" for attempt in self._tried()
        )
        kind = UpstreamTimeout if timed_out else UpstreamError
        return kind(
            "No provider answered within the time allowed."
            if timed_out
            else "Every provider that may serve this request failed. "
            + (
                "Nothing was charged."
                if self._ticket.charge is None
                else "Turns before are charged."
            ),
            extra={
                "attempts": [
                    {"row": a.row, "region": a.region, "outcome": a.outcome, "ms": a.ms}
                    for a in attempts
                ]
            },
        )
