"""A whole answer: nothing goes to the caller before its receipt is durable."""

import asyncio
from collections.abc import Mapping

from phigate.core.errors import PhigateError, UpstreamFailed
from phigate.core.limits import WRITE_BYTES_MAX
from phigate.core.receipts.record import Ended
from phigate.core.response import CallerGone
from phigate.core.types import Json
from phigate.pipeline.answer.answer_writer import Answer, AnswerParts, Turn, ended_now
from phigate.pipeline.answer.headers import answer_headers, charge_headers, stamp
from phigate.pipeline.call.failover import Failover
from phigate.pipeline.call.upstream_answer import WholeAnswer
from phigate.pipeline.plan import RequestPlan
from phigate.pipeline.tools.loop import ToolLoop
from phigate.wire.openai import answer as openai


class JsonWriter:
    """Hands an answer over whole (see AnswerWriter)."""

    def __init__(self, parts: AnswerParts, tools: ToolLoop) -> None:
        self._parts = parts
        self._tools = tools
        self._whole: WholeAnswer | None = None
        self._dropped: tuple[str, ...] = ()

    async def open_turn(self, plan: RequestPlan) -> WholeAnswer:
        """The turn's whole answer."""
        parts = self._parts
        self._whole = await Failover(parts.hold, plan, parts.out).answer()
        return self._whole

    async def relay_turn(self) -> Turn:
        """Nothing is handed on before the answer is whole."""
        whole = self._answered()
        bytes_out = openai.output_bytes(whole.body["choices"], "message")
        message = openai.message(whole.body)
        return Turn(message, whole.body.get("usage"), bytes_out, whole.fits)

    async def end_turns(self, message: Json) -> tuple[str, ...]:
        """See AnswerWriter.end_turns."""
        return self._tools.finish(self._answered().body)

    def break_off(
        self, error: UpstreamFailed | PhigateError | CallerGone
    ) -> tuple[Ended, PhigateError | None]:
        """Nothing has gone to the caller yet."""
        raise error

    async def compose(self, answer: Answer) -> tuple[bytes, Ended]:
        """The body."""
        whole, parts = self._answered(), self._parts
        if answer.usage is not None:
            whole.body["usage"] = answer.usage
        if answer.members is not None:
            whole.body.update(answer.members)
        await self._tools.clean_answer(whole.body)
        write = parts.caller_format.assembled if whole.is_assembled else parts.caller_format.answer
        body = write(whole.body, stamp(parts, whole.row))
        await self._hash(body)
        self._dropped = answer.dropped
        return body, ended_now(answer.ended, parts.out)

    def without_receipt(self, error: PhigateError) -> bytes:
        """The answer is withheld."""
        raise error

    async def send(self, last: bytes) -> None:
        """The head and the body."""
        parts, whole = self._parts, self._answered()
        headers = answer_headers(parts, whole.row, self._dropped, self._tools.figures)
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(last))
        await parts.out.start(200, {**headers, **charge_headers(parts.hold.context.meter.charge)})
        *pieces, end = _pieces(last)
        for piece in pieces:
            await parts.out.write(piece)
            await asyncio.sleep(0)
        await parts.out.write(end, last=True)

    def log_line(self, ended: Ended) -> tuple[str, Mapping[str, str | int]]:
        """See AnswerWriter.log_line."""
        return "answered", {}

    async def drain(self, ended: Ended) -> None:
        """The upstream has been read to its end."""

    def close(self) -> None:
        """Each turn has let go of its upstream."""

    def _answered(self) -> WholeAnswer:
        if self._whole is None:
            raise RuntimeError("an answer is written after its turns")
        return self._whole

    async def _hash(self, body: bytes) -> None:
        *pieces, end = _pieces(body)
        for piece in pieces:
            self._parts.response.update(piece)
            await asyncio.sleep(0)
        self._parts.response.update(end)


def _pieces(body: bytes) -> list[bytes]:
    """A body in pieces of which each is hashed and written in a moment; one, nearly always."""
    return [body[at : at + WRITE_BYTES_MAX] for at in range(0, len(body), WRITE_BYTES_MAX)]
