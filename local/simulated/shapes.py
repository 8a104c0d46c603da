"""The values that pass between a dialect, the answer and the failures.

A request becomes an Ask, an Ask becomes a Draft and then an Answer, an Answer becomes a Reply made
of parts, and a Reply becomes bytes. Each step is pure; only app.py waits, receives and sends.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Format = Literal["text", "json_object", "json_schema"]


class Refused(Exception):
    """The request is not one that a real provider would take. Never quotes what was sent."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of an image without looking at it; sizes are pixels."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called, and the JSON schema of its arguments."""

    name: str
    schema: Json


@dataclass(frozen=True, slots=True)
class Ask:
    """One checked request, without the dialect's spelling.

    `images` holds None for an image that is only linked. `forced` are the tools of which one must
    be called; `offered` may be called. `thinking` is shown as thought; None when nothing is.
    """

    model: str
    messages: int
    last_user_text: str
    tool_results: tuple[str, ...]
    images: tuple[Image | None, ...]
    prompt_tokens: int
    offered: tuple[Tool, ...] = ()
    forced: tuple[Tool, ...] = ()
    parallel_calls: bool = True
    format: Format = "text"
    schema: Json | None = None
    stop: tuple[str, ...] = ()
    tokens_out_max: int | None = None
    stream: bool = False
    with_usage: bool = True
    choices: int = 1
    top_logprobs: int | None = None
    thinking: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What would be answered if there were no limits; `chunks` is the wanted number of pieces.

    The text of a prose draft may be replaced; other text is JSON or goes with calls.
    """

    text: str
    calls: tuple[Call, ...] = ()
    is_prose: bool = False
    chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Reported tokens; a failure may make them absurd."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `finish` is stop, length or tool_calls; None is usage that is not said."""

    pieces: tuple[str, ...]
    calls: tuple[Call, ...]
    finish: str
    usage: Usage | None
    usage_with_choices: bool = False

    @property
    def text(self) -> str:
        """The pieces in one."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Data:
    """A JSON body, or one event of a stream. `[DONE]` is the only value that is not an object.

    `kind` says what it carries: whole, open, content, call, finish, usage, done, error.
    """

    kind: str
    value: Json | str
    event: str | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are sent as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed here, without an end of the body."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers."""

    status: int
    headers: tuple[tuple[str, str], ...]


Part = Data | Raw | Pause | Cut
Step = Head | bytes | Pause | Cut


@dataclass(frozen=True, slots=True)
class Reply:
    """Everything that is sent. `framing` is how events are written, see render.py."""

    stream: bool
    parts: tuple[Part, ...]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    framing: Literal["plain", "crlf", "split"] = "plain"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes an answer one of a kind: the provider, the call's number, Unix seconds."""

    provider: str
    serial: int
    created: int


@dataclass(frozen=True, slots=True)
class FailureOrder:
    """One failure to simulate. `number` is the one that its kind takes; None is the default."""

    kind: str
    number: float | None = None
    after_chunks: int | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """One wire format, as a simulated provider speaks it.

    `read` takes body and headers (names in lower case), and raises Refused. `error` takes status,
    message, param and code. `error_event` is the event name of an error in a stream, for dialects
    whose events have names.
    """

    authorized: Callable[[Mapping[str, str]], bool]
    read: Callable[[bytes, Mapping[str, str]], Ask]
    parts: Callable[[Ask, Answer, Stamp], tuple[Part, ...]]
    error: Callable[[int, str, str | None, str | None], Json]
    error_event: str | None = None
