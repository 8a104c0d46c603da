"""What a row answers a turn with, in canonical form: a whole answer, or a stream that has begun."""

from dataclasses import dataclass

from phigate.adapters.adapter import StreamDecoder
from phigate.core.request.debug import WireBodies
from phigate.core.types import Json, Row
from phigate.pipeline.call.upstream_response import ResponseReader


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A whole answer in canonical form."""

    row: Row
    body: Json
    dropped: tuple[str, ...]
    exchanged: WireBodies | None = None
    fits: bool = True  # the schema that was asked for, as far as the adapter can tell
    is_assembled: bool = False  # of a stream: its large parts are written out already

    @property
    def upstream_id(self) -> object:
        """What the upstream calls its answer."""
        return self.body.get("id")


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A stream whose first event has come and is no error. Who has it closes `reader`."""

    row: Row
    reader: ResponseReader
    decoder: StreamDecoder
    chunks: list[Json]
    dropped: tuple[str, ...]
    exchanged: WireBodies | None = None

    @property
    def upstream_id(self) -> object:
        """What the upstream calls its answer."""
        return self.chunks[0].get("id")
