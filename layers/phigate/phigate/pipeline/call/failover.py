"""One turn at the upstreams: candidates are tried in order until one answers.

Law 1: the gate looks again before every attempt; time has passed since the route was decided.
Law 2: failover happens only before the first byte has gone to the caller.
Law 3: a caller who has gone is waited for at most DRAIN_TIMEOUT_S: the upstream is drained to its
usage so that the charge is exact.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import StreamDecoder, WireRequest
from phigate.core import limits
from phigate.core.errors import (
    CallerCaused,
    InvalidRequest,
    NotSent,
    PhigateError,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from phigate.core.request.debug import WireBodies
from phigate.core.request.levers import LOGPROBS, levers_of
from phigate.core.request.prompt_cache import hides_cached
from phigate.core.response import CallerGone, ResponseWriter
from phigate.core.routing.gate import may_attempt, refusal_code
from phigate.core.routing.route import Attempts
from phigate.core.types import Attempt, Row
from phigate.pipeline.call.hashed_exchange import hash_exchange
from phigate.pipeline.call.row_health import record_failure, record_success
from phigate.pipeline.call.upstream_answer import OpenStream, WholeAnswer
from phigate.pipeline.call.upstream_request import RowUnsuited, check_status, upstream_request
from phigate.pipeline.call.upstream_response import ResponseReader
from phigate.pipeline.charge.hold import Hold
from phigate.pipeline.plan import RequestPlan
from phigate.pipeline.refusals import refused
from phigate.wire.openai.cached import UncachedDecoder, wire_without_cached, without_cached

T = TypeVar("T")

# Those of check_status's failures that only the operator can mend.
OPERATOR_OUTCOMES = frozenset({"http_401", "http_402", "http_403", "http_404"})
# Those that another key may end.
KEY_OUTCOMES = frozenset({"http_401", "http_403"})
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class SentRequest:
    """What was sent, and whether a stream was asked for."""

    request: WireRequest
    streams: bool


class Failover:
    """The attempts of one turn."""

    def __init__(
        self,
        hold: Hold,
        plan: RequestPlan,
        out: ResponseWriter,
        *,
        beat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._hold = hold
        self._context = hold.context
        self._meter = hold.context.meter
        self._gateway = hold.context.gateway
        self._plan = plan
        self._out = out
        self._beat = beat
        self._before = len(self._meter.attempts)  # those of earlier turns
        self._rows_sent: set[str] = set()  # those that were sent a request in this turn
        self._is_sent = False  # the request of the attempt under way

    async def answer(self) -> WholeAnswer:
        """A whole answer of the first candidate that gives one. Raises PhigateError, CallerGone."""
        return await self._first(self._whole)

    async def stream(self) -> OpenStream:
        """The first candidate's stream whose first event is no error."""
        return await self._first(self._opened)

    async def _first(self, attempt: Callable[[Row], Awaitable[T]]) -> T:
        now_s = self._gateway.clock.now_s()
        rows = self._plan.route.candidates
        breaker = self._gateway.breaker
        attempts = Attempts(self._plan.route, breaker.open_rows([r.id for r in rows], now_s))
        while True:
            if attempts.pauses_next:
                await self._gateway.clock.back_off(limits.RETRY_PAUSE_S)
            started_s = self._gateway.clock.now_s()
            if self._out.gone_at_s is not None:
                raise self._gone(started_s)
            row = attempts.next(self._gateway.stack.gate_context(self._plan.view, started_s))
            if row is None or started_s >= self._plan.deadline_s:
                raise self._all_failed(started_s)
            outcome = "ended_early"
            try:
                result = await attempt(row)
                outcome = "ok"
                return result
            except CallerCaused as caused:
                outcome = caused.outcome
                raise self._charged(caused) from None
            except (InvalidRequest, UpstreamFailed) as failed:
                self._meter.drop_attempt()
                outcome = self._outcome_of(failed, row)
                if isinstance(failed, InvalidRequest):
                    raise
            finally:
                self._record(row, outcome, started_s)

    async def _whole(self, row: Row) -> WholeAnswer:
        reader, wire = await self._send(row, stream=self._is_seen(row))
        until_s = min(self._plan.deadline_s, self._now_s() + limits.JSON_TIMEOUT_S)
        adapter = ADAPTERS[row.dialect]
        try:
            head = await reader.head(until_s)
            if head.status != 200:
                check_status(head, await reader.body(until_s, is_error=True), adapter)
            is_assembled = wire.streams and head.content_type != _JSON
            if is_assembled:
                keep = self._plan.debug.is_debug
                decoder = self._decoder(row)
                answer, received = await reader.assembled(decoder, until_s, keep=keep)
            else:
                # Asked for a stream, it answers in one piece, of which nothing is seen before.
                self._meter.is_seen = False
                body = await reader.body(until_s)
                answer = await reader.answer(adapter, body)
                received = await reader.shown(body) if self._plan.debug.is_debug else None
        finally:
            reader.close()
        record_success(self._gateway, row.id)
        exchanged = self._exchanged(wire.request, received)
        fits = wire.request.fits is None or wire.request.fits(answer)
        if self._hides_cached(row):
            answer = without_cached(answer)
        return WholeAnswer(row, answer, wire.request.dropped, exchanged, fits, is_assembled)

    def _is_seen(self, row: Row) -> bool:
        """Whether the upstream streams a JSON call's answer: where much may be written, so that it
        is known what was; and log probabilities, too large to be read at once."""
        if row.confidential:
            return False
        requirements = self._plan.requirements
        tokens = (
            row.tokens_out_default if requirements.tokens_out is None else requirements.tokens_out
        )
        if tokens > limits.JSON_TOKENS_MAX:
            return True
        tells = not requirements.parameters.isdisjoint(LOGPROBS)
        return tells and levers_of(self._plan.body, requirements, row).logprobs > 0

    async def _opened(self, row: Row) -> OpenStream:
        reader, wire = await self._send(row, stream=True)
        until_s = min(self._plan.deadline_s, self._now_s() + limits.FIRST_BYTE_TIMEOUT_S)
        adapter = ADAPTERS[row.dialect]
        kept = False
        try:
            head = await reader.head(until_s)
            if head.status != 200:
                check_status(head, await reader.body(until_s, is_error=True), adapter)
            decoder = self._decoder(row)
            chunks = await reader.first_chunks(decoder, until_s)
            kept = True
            exchanged = self._exchanged(wire.request, None)
            return OpenStream(row, reader, decoder, chunks, wire.request.dropped, exchanged)
        finally:
            if not kept:
                reader.close()

    async def _send(self, row: Row, *, stream: bool) -> tuple[ResponseReader, SentRequest]:
        plan, meter = self._plan, self._meter
        salt = self._context.principal.salt
        written = partial(upstream_request, plan, row, salt, stream=stream)
        request, wire = await self._gateway.beside(written, heavy=plan.is_heavy)
        if plan.is_heavy:
            self._look_again(row)
        # Until here nobody works on it: a wait for others' bodies is neither charged nor timed.
        meter.start_attempt(row, plan.requirements, self._now_s())
        response = self._gateway.upstream.open(request)
        self._is_sent = True
        response, meter.exchange = hash_exchange(response, request, phi=plan.requirements.phi)
        meter.is_seen = stream
        levers = partial(levers_of, plan.body, plan.requirements, row)
        reader = ResponseReader(
            self._context,
            self._out,
            row,
            response,
            levers,
            beat=self._silence,
            shows=self._shows(row),
        )
        return reader, SentRequest(wire, stream)

    def _look_again(self, row: Row) -> None:
        """The looks before an attempt once more: a heavy request waits for others before it is
        written, and what has come too late in that time is no failure of the row's. Raises
        RowUnsuited, CallerGone."""
        now_s = self._now_s()
        if self._out.gone_at_s is not None:
            raise self._gone(now_s)
        now = self._gateway.stack.gate_context(self._plan.view, now_s)
        if now_s >= self._plan.deadline_s or not may_attempt(row, self._plan.requirements, now):
            raise RowUnsuited("unsuited")

    def _gone(self, now_s: float) -> PhigateError | CallerGone:
        """Nobody waits for another attempt. One that failed costs nothing, as for those who
        stay."""
        return self._all_failed(now_s) if self._tried() else CallerGone()

    def _exchanged(self, wire: WireRequest, received: object) -> WireBodies | None:
        """The bodies that went over the wire, when the request asks to see them."""
        return WireBodies(wire.body, received) if self._plan.debug.is_debug else None

    def _decoder(self, row: Row) -> StreamDecoder:
        decoder = ADAPTERS[row.dialect].decoder()
        return UncachedDecoder(decoder) if self._hides_cached(row) else decoder

    def _shows(self, row: Row) -> Callable[[Any], Any]:
        """What of a wire body `debug` may show."""
        return wire_without_cached if self._hides_cached(row) else _as_it_came

    def _hides_cached(self, row: Row) -> bool:
        return hides_cached(row, phi=self._plan.requirements.phi)

    async def _silence(self) -> None:
        """In a stream that has begun, a further turn's silence is filled."""
        if self._beat is not None:
            await self._beat()

    def _now_s(self) -> float:
        return self._gateway.clock.now_s()

    def record_end(self, row: Row, outcome: str | None) -> None:
        """How an opened stream ended: only now is it known whether the row did well."""
        if outcome is None:
            record_success(self._gateway, row.id)
        else:
            self._gateway.event_log.record("stream_failed", row=row.id, outcome=outcome)
            record_failure(self._gateway, row.id)

    def _charged(self, caused: CallerCaused) -> PhigateError:
        """Charge what was written; what the caller is told of an answer that cannot be had."""
        self._hold.charge_turn(None, self._meter.bytes_out)
        kind, message = _CAUSED[caused.outcome]
        return kind(f"{message} It was written, so it is charged.")

    def _outcome_of(self, failed: InvalidRequest | UpstreamFailed, row: Row) -> str:
        """The outcome of an attempt that gave no answer; its row's failures are counted."""
        if isinstance(failed, InvalidRequest):
            return "refused"
        if isinstance(failed, NotSent):
            self._is_sent = False
        else:
            self._gateway.event_log.record("attempt_failed", row=row.id, outcome=failed.outcome)
            is_key = failed.outcome in KEY_OUTCOMES
            record_failure(self._gateway, row.id, share=not is_key)
        if failed.outcome == "timeout":
            self._count_timeout(row)
        if failed.outcome in OPERATOR_OUTCOMES:
            self._gateway.event_log.record(
                "provider_refuses_operator", row=row.id, outcome=failed.outcome
            )
        if failed.outcome in KEY_OUTCOMES:
            self._gateway.key_refused(row.provider)
        return failed.outcome

    def _count_timeout(self, row: Row) -> None:
        """An attempt timed out, which is free. Who causes it again and again is told of."""
        key_id, event_log = self._context.principal.key_id, self._gateway.event_log
        count = self._gateway.count_timeout(key_id, self._now_s())
        event_log.record(
            "attempt_timed_out", id=self._context.id, row=row.id, key=key_id, count=count
        )
        if count > limits.UNSEEN_TIMEOUTS_PER_DAY:
            event_log.record("key_times_out", key=key_id, count=count)

    def _record(self, row: Row, outcome: str, started_s: float) -> None:
        ms = max(0, round((self._now_s() - started_s) * 1000))
        at_ms = max(0, int((started_s - int(self._context.started_s)) * 1000))
        attempt = Attempt(row.id, self._plan.requirements.region, outcome, ms, at_ms)
        if self._is_sent:
            self._rows_sent.add(row.id)
            self._is_sent = False
        self._meter.record_attempt(attempt, rows_sent=len(self._rows_sent))

    def _tried(self) -> list[Attempt]:
        """The attempts of this turn."""
        return self._meter.attempts[self._before :]

    def _all_failed(self, now_s: float) -> PhigateError:
        attempts = self._meter.attempts
        route = self._plan.route
        if not self._tried() and now_s < self._plan.deadline_s:
            # Every agreement lapsed between the route and now.
            return refused(refusal_code("agreement", route.requirements), route.requirements)
        timed_out = now_s >= self._plan.deadline_s or all(
            attempt.outcome == "timeout" for attempt in self._tried()
        )
        kind = UpstreamTimeout if timed_out else UpstreamError
        return kind(
            "No provider answered within the time allowed."
            if timed_out
            else "Every provider that may serve this request failed. "
            + (
                "Nothing was charged."
                if self._meter.charge is None
                else "Turns before are charged."
            ),
            extra={
                "attempts": [
                    {"row": a.row, "region": a.region, "outcome": a.outcome, "ms": a.ms}
                    for a in attempts
                ]
            },
        )


def _as_it_came(received: Any) -> Any:
    return received


_CAUSED: Mapping[str, tuple[type[PhigateError], str]] = {
    "oversized": (
        UpstreamError,
        "The model's answer is larger than can be handed on. Ask for fewer tokens or alternatives "
        "(max_tokens, top_logprobs), or for a stream.",
    ),
    "unreadable": (
        UpstreamError,
        f"The model wrote JSON that nests deeper than {limits.JSON_DEPTH_MAX} levels, or half a "
        "character. Ask for a flatter schema.",
    ),
    "deadline": (
        UpstreamTimeout,
        "The answer took longer than a JSON call may. Ask for fewer tokens, or for a stream.",
    ),
}
