"""An answer, told once for JSON and for streams: turn after turn, the charge of each, what the
answer tells besides itself, its receipt, its last byte, its settle.

Law: the receipt is durable before the last byte leaves, and says what is handed to the transport.
"""

from phigate.core.errors import PhigateError, UpstreamError, UpstreamFailed
from phigate.core.receipts.record import Ended
from phigate.core.response import CallerGone
from phigate.core.types import Json
from phigate.pipeline.answer.answer_writer import Answer, AnswerParts, AnswerWriter, Turn
from phigate.pipeline.answer.debug import debug_members
from phigate.pipeline.answer.json import JsonWriter
from phigate.pipeline.answer.sse import SseWriter
from phigate.pipeline.call.upstream_answer import OpenStream, WholeAnswer
from phigate.pipeline.charge.context import log_end
from phigate.pipeline.charge.finalize import issue_receipt
from phigate.pipeline.charge.receipt import Outcome
from phigate.pipeline.plan import RequestPlan
from phigate.pipeline.tools.loop import ToolLoop


async def answer_request(parts: AnswerParts, tools: ToolLoop) -> None:
    """Answer a request whose hold stands. Raises PhigateError for what is answered with an error
    instead, and CallerGone."""
    writer: AnswerWriter = (SseWriter if parts.plan.stream else JsonWriter)(parts, tools)
    try:
        await _Answering(parts, tools, writer).run()
    finally:
        writer.close()


class _Answering:
    """State of one answer: the turn that was opened last."""

    def __init__(self, parts: AnswerParts, tools: ToolLoop, writer: AnswerWriter) -> None:
        self._parts = parts
        self._plan = parts.plan
        self._hold = parts.hold
        self._meter = parts.hold.context.meter
        self._tools = tools
        self._writer = writer
        self._opened: WholeAnswer | OpenStream | None = None
        self._dropped: tuple[str, ...] = ()

    async def run(self) -> None:
        """From the first turn to the settle."""
        ended, error = await self._run_turns()
        last, ended = await self._writer.compose(self._answer(ended, error))
        row = self._newest().row
        try:
            await issue_receipt(self._hold, Outcome("routed", ended, row), self._parts.response)
        except PhigateError as no_receipt:
            last = self._writer.without_receipt(no_receipt)
        try:
            await self._writer.send(last)
        finally:
            await self._hold.settle()
            event, fields = self._writer.log_line(ended)
            log_end(self._hold.context, event, row, **fields)
        await self._writer.drain(ended)

    async def _run_turns(self) -> tuple[Ended, PhigateError | None]:
        """Turn after turn until the answer has ended, one way or another."""
        plan: RequestPlan | None = self._plan
        try:
            while plan is not None:
                turn = await self._run_turn(plan)
                plan = await self._tools.next_plan(turn.message, self._newest().row)
            self._dropped = await self._writer.end_turns(turn.message)
        except (UpstreamFailed, PhigateError, CallerGone) as error:
            return self._writer.break_off(error)
        finally:
            self._tools.close()
        return "complete", None

    async def _run_turn(self, plan: RequestPlan) -> Turn:
        """One turn, counted."""
        self._opened = await self._writer.open_turn(plan)
        self._meter.set_upstream_id(self._opened.upstream_id)
        turn = await self._writer.relay_turn()
        self._hold.charge_turn(turn.reported_usage, turn.bytes_out)
        if not turn.fits:
            raise UpstreamError(
                "The model's answer does not fit the schema that was asked for. It was written, so "
                "it is charged."
            )
        return turn

    def _answer(self, ended: Ended, error: PhigateError | None) -> Answer:
        if not self._meter.is_counted:
            # Usage that was reported on the way says nothing of what came after it.
            self._hold.charge_turn(None, self._meter.bytes_out)
        dropped = self._newest().dropped + self._dropped
        return Answer(ended, error, dropped, self._tools.usage(), self._members(dropped))

    def _members(self, dropped: tuple[str, ...]) -> Json | None:
        """What the request asks to be told besides the answer."""
        plan, meter = self._plan, self._meter
        if not plan.debug.any:
            return None
        return debug_members(
            plan.debug,
            plan.route,
            meter.attempts,
            dropped,
            self._newest().exchanged,
            sandbox=meter.sandbox,
        )

    def _newest(self) -> WholeAnswer | OpenStream:
        if self._opened is None:
            raise RuntimeError("an answer is told of after its first turn")
        return self._opened
