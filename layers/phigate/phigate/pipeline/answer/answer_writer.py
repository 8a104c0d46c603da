"""The values of an answer, and what a writer of answers does: `json` hands one over whole, `sse` as
it comes. Everything else that happens to an answer is told in `loop`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from phigate.core.errors import PhigateError, UpstreamFailed
from phigate.core.receipts.record import Digest, Ended
from phigate.core.response import CallerGone, ResponseWriter
from phigate.core.types import Json
from phigate.formats.caller_format import CallerFormat
from phigate.pipeline.call.upstream_answer import OpenStream, WholeAnswer
from phigate.pipeline.charge.hold import Hold
from phigate.pipeline.plan import RequestPlan


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """What an answer is made with. `response` hashes every byte that is handed to the transport."""

    hold: Hold
    plan: RequestPlan
    out: ResponseWriter
    caller_format: CallerFormat
    response: Digest


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of one turn of the model. `fits`: the schema that was asked for."""

    message: Json
    reported_usage: object
    bytes_out: int
    fits: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer once its turns have ended. `usage` is summed where turns were several, `members`
    are what the request asked to be told besides; `error` has ended it early."""

    ended: Ended
    error: PhigateError | None
    dropped: tuple[str, ...]
    usage: Json | None
    members: Json | None


class AnswerWriter(Protocol):
    """One way of handing an answer to the caller."""

    async def open_turn(self, plan: RequestPlan) -> WholeAnswer | OpenStream:
        """Have a turn answered. Raises PhigateError, CallerGone."""
        ...

    async def relay_turn(self) -> Turn:
        """Hand on what comes of the turn. Raises UpstreamFailed, PhigateError, CallerGone."""
        ...

    async def end_turns(self, message: Json) -> tuple[str, ...]:
        """No turn follows the one that said `message`. What could not be honoured."""
        ...

    def break_off(
        self, error: UpstreamFailed | PhigateError | CallerGone
    ) -> tuple[Ended, PhigateError | None]:
        """How a turn's error ends the answer, once some of it may have gone to the caller. Raises
        it again where nothing has."""
        ...

    async def compose(self, answer: Answer) -> tuple[bytes, Ended]:
        """What is written last, hashed; and how the answer has ended by then."""
        ...

    def without_receipt(self, error: PhigateError) -> bytes:
        """What is written last where no receipt could be. Raises the error where it can be answered
        instead."""
        ...

    async def send(self, last: bytes) -> None:
        """Hand over what is written last."""
        ...

    def log_line(self, ended: Ended) -> tuple[str, Mapping[str, str | int]]:
        """The operator's line: its event and what it says besides."""
        ...

    async def drain(self, ended: Ended) -> None:
        """After the settle: what the upstream still has to say."""
        ...

    def close(self) -> None:
        """Let go of the upstream."""
        ...


def ended_now(ended: Ended, out: ResponseWriter) -> Ended:
    """How an answer has ended, the caller's going considered."""
    return "hang_up" if ended == "complete" and out.gone_at_s is not None else ended
