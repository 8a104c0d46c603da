"""Server-sent events, as the event-stream standard reads them.

Law 1: a line ends at CR, LF or CRLF and at nothing else (not at U+2028, not inside a character).
Law 2: only the `data` of an event leaves the decoder; comments, `event`, `id` and `retry` do not,
except that the event's name is kept for dialects that need it.
Law 3: an event is complete at its blank line; what follows the last one is never an event.
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import re
from typing import NamedTuple

from phigate.core.errors import UpstreamFailed
from phigate.core.limits import EVENT_BYTES_MAX

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its name (empty: `message`) and its data, lines joined by LF."""

    name: bytes
    data: bytes


class EventDecoder:
    """Turns bytes as they arrive into events. Raises UpstreamFailed("oversized") past the limit."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""
        self._at_start = True
        self._after_cr = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that `piece` completes, in order."""
        if self._after_cr and piece:
            # A CR has ended its line already; a LF right after it belongs to the same line end.
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        self._rest += piece
        events: list[Event] = []
        data = self._data
        for line in self._lines(piece):
            if not line:
                if data:
                    events.append(
                        Event(self._name, data[0] if len(data) == 1 else b"\n".join(data))
                    )
                    data.clear()
                self._name = b""
                self._data_bytes = 0
            elif line.startswith(b"data: "):  # nearly every line; the call of _field costs as much
                data.append(line[6:])
                self._data_bytes += len(line) - 5
                if self._data_bytes > EVENT_BYTES_MAX:
                    raise UpstreamFailed("oversized")
            else:
                self._field(line)
        return events

    @property
    def unfinished(self) -> bytes:
        """The data of the event that is not whole yet."""
        return b"\n".join((*self._data, self._rest))

    def _lines(self, piece: bytes) -> list[bytes]:
        """The lines that are complete now; the unfinished one stays in `_rest`."""
        if self._at_start:
            if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
                return []
            self._at_start = False
            if self._rest.startswith(_BOM):
                del self._rest[: len(_BOM)]
        elif b"\n" not in piece and b"\r" not in piece:
            # Still inside one line: looking through all of it again would be quadratic.
            self._bound(len(self._rest))
            return []
        text = bytes(self._rest)
        self._after_cr = text.endswith(b"\r")
        # bytes.split is the quick way, and right whenever no CR is about.
        lines = _LINE_END.split(text) if b"\r" in text else text.split(b"\n")
        self._rest = bytearray(lines.pop())
        self._bound(len(self._rest))
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_bytes += len(value) + 1
            self._bound(0)
        elif name == b"event":
            self._name = value.removeprefix(b" ")

    def _bound(self, more: int) -> None:
        if self._data_bytes + more > EVENT_BYTES_MAX:
            raise UpstreamFailed("oversized")


def data_event(data: bytes) -> bytes:
    """One event on the wire. `data` is one line of JSON."""
    return b"data: " + data + b"\n\n"


def comment(name: str, text: bytes) -> bytes:
    """One comment line, such as `: phi {…}`. `text` holds no line end."""
    return b": " + name.encode() + b" " + text + b"\n\n"
