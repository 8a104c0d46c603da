"""What a dialect is: pure functions between its wire format and the canonical one (OpenAI's)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from phigate.core.types import Json, Place, Row


@dataclass(frozen=True, slots=True)
class WirePlan:
    """What the gateway decided about one turn, besides the row."""

    stream: bool
    tokens_out: int
    keyed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """The body to send, and the caller's members that this row cannot honour.

    `headers` stand beside the adapter's own and over them: what a row pins. `fits` says whether a
    whole canonical answer keeps the rules that the provider could not be told.
    """

    body: Json
    dropped: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    fits: Callable[[Json], bool] | None = None


class StreamDecoder(Protocol):
    """Bytes of an upstream's stream as canonical chunks.

    `ended` is set when the dialect's own end has come, `failed` (an attempt's outcome) when an
    error event or something malformed has; what came before it is still returned. `unfinished` is
    what has come of the next event.
    """

    ended: bool
    failed: str | None

    @property
    def unfinished(self) -> bytes: ...

    def feed(self, piece: bytes) -> list[Json]: ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """One dialect. `answer` returns the canonical body or None when it is malformed.

    `refusal` reads the provider's own words out of an error body, for the caller alone.
    """

    path: str
    headers: Mapping[str, str]
    request: Callable[[Json, Row, Place, WirePlan], WireRequest]
    answer: Callable[[bytes], Json | None]
    decoder: Callable[[], StreamDecoder]
    refusal: Callable[[bytes], tuple[str, str | None]]
