"""Writes a reply as bytes: one JSON body, or server-sent events.

Framings: `plain` ends lines at LF; `crlf` ends them at CRLF, adds comments, ids and retry times and
writes data over several lines; `split` breaks the bytes inside every multi-byte character.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Callable, Iterator

import orjson

from local.simulated.shapes import Cut, Data, Head, Json, Part, Pause, Raw, Reply, Step

SPLIT_PAUSE_S = 0.001  # so that the halves of a character leave in two writes


def dumped(value: Json | str) -> bytes:
    """A JSON object; a string as it is (`[DONE]` is not JSON)."""
    return value.encode() if isinstance(value, str) else orjson.dumps(value)


def steps(reply: Reply) -> Iterator[Step]:
    """What to send, in order: a head, then bytes, pauses and cuts."""
    if reply.delay_s:
        yield Pause(reply.delay_s)
    yield Head(reply.status, (*_default_headers(reply), *reply.headers))
    for part in reply.parts:
        if isinstance(part, Data):
            yield from FRAMINGS[reply.framing](part) if reply.stream else (dumped(part.value),)
        else:
            yield part.data if isinstance(part, Raw) else part


def _default_headers(reply: Reply) -> tuple[tuple[str, str], ...]:
    if reply.stream:
        return (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
    if any(isinstance(part, Cut) for part in reply.parts):
        return (("content-type", "application/json"),)
    length = sum(_length(part) for part in reply.parts)
    return (("content-type", "application/json"), ("content-length", str(length)))


def _length(part: Part) -> int:
    if isinstance(part, Data):
        return len(dumped(part.value))
    return len(part.data) if isinstance(part, Raw) else 0


def _plain(data: Data) -> Iterator[Step]:
    name = f"event: {data.event}\n".encode() if data.event else b""
    yield name + b"data: " + dumped(data.value) + b"\n\n"


def _crlf(data: Data) -> Iterator[Step]:
    # Indented JSON has line ends between its tokens only, so every line may be a data line.
    value = data.value
    text = value.encode() if isinstance(value, str) else orjson.dumps(value, None, _INDENT)
    lines = [b": simulated comment", b"id: 1", b"retry: 1000"]
    lines += [f"event: {data.event}".encode()] if data.event else []
    lines += [b"data: " + line for line in text.split(b"\n")]
    yield b"\r\n".join(lines) + b"\r\n\r\n"


def _split(data: Data) -> Iterator[Step]:
    for whole in _plain(data):
        if not isinstance(whole, bytes):
            continue
        start = 0
        for i, byte in enumerate(whole):
            if byte & 0xC0 == 0x80:
                yield whole[start:i]
                yield Pause(SPLIT_PAUSE_S)
                start = i
        yield whole[start:]


_INDENT = orjson.OPT_INDENT_2
FRAMINGS: dict[str, Callable[[Data], Iterator[Step]]] = {
    "plain": _plain,
    "crlf": _crlf,
    "split": _split,
}
