"""The shape that every format of callers has: it reads their requests and writes their answers.

The pipeline works on chat bodies and chat answers, whatever the caller speaks. Between the two
stand these functions, and nothing in the pipeline asks which format they are of.
"""

from collections.abc import Callable
from dataclasses import dataclass

from phigate.core.errors import PhigateError
from phigate.core.types import Json
from phigate.wire.openai.answer import Stamp
from phigate.wire.openai.chat_body import ChatRequest

# A body's bytes, and its marks where they are known, as a chat request. Raises InvalidRequest.
ReadBody = Callable[[bytes, bytes | None], ChatRequest]


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How the pieces of one stream are written. A format that numbers its events keeps the number
    behind these functions: each stream has its own.

    `error` takes an envelope; `end` takes what the gateway says of the call: `usage`, `cost_micro`
    and `receipt`. `end_without_receipt` ends a stream whose receipt could not be written.
    """

    chunk: Callable[[Json, Stamp], bytes]
    error: Callable[[Json], bytes]
    end: Callable[[Json], bytes]
    end_without_receipt: bytes
    ping: bytes


@dataclass(frozen=True, slots=True)
class CallerFormat:
    """One format that callers speak.

    `answer` writes a whole answer, `assembled` one whose large parts were written out as they came;
    `stream` opens a stream, with usage where the caller asked for it; `envelope` is the error as
    the caller reads it. `id_prefix` stands before the receipt's id in an answer's.
    """

    read: ReadBody
    answer: Callable[[Json, Stamp], bytes]
    assembled: Callable[[Json, Stamp], bytes]
    stream: Callable[[bool], StreamFormat]
    envelope: Callable[[PhigateError], Json]
    id_prefix: str
