"""As much HTTP/1.1 as the Runtime API speaks: heads, chunks with trailers, answers.

Specification: https://www.rfc-editor.org/rfc/rfc9112
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

READ_BUFFER_BYTES = 1024 * 1024  # an event of 6 MB must not be read in a hundred slices
EVENT_BYTES_MAX = 32 * 1024 * 1024  # Lambda's events end at 6 MB, escaped
LINE_BYTES_MAX = 8 * 1024  # a chunk's size has ten digits

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r|$)")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Broken(OSError):
    """The connection ended, or what came was no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Runtime API said; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request_head(method: bytes, path: str, host: str, headers: Mapping[bytes, bytes]) -> bytes:
    """The lines up to and with the empty one."""
    lines = b"".join(b"%b: %b\r\n" % field for field in headers.items())
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, path.encode(), host.encode(), lines)


def chunk(body: bytes) -> bytes:
    """One chunk. An empty one would end the message: not to be asked for."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def last_chunk(trailers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The end of a chunked message."""
    return b"0\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % field for field in trailers)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer to its end. Raises Broken."""
    try:
        return await _read(reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as exc:
        raise Broken("The Runtime API's answer is no HTTP/1.1 message.") from exc


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head[:-4].split(b"\r\n")
    status = _STATUS.match(status_line)
    if status is None:
        raise ValueError
    headers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValueError
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return Answer(int(status[1]), headers, await _chunks(reader))
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= EVENT_BYTES_MAX:
        raise ValueError
    return Answer(int(status[1]), headers, await reader.readexactly(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        digits = _SIZE.match(line)
        if digits is None or len(line) > LINE_BYTES_MAX:
            raise ValueError
        length = int(digits[0], 16)
        size += length
        if size > EVENT_BYTES_MAX:
            raise ValueError
        if length == 0:
            break
        pieces.append(await reader.readexactly(length))
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers say nothing that is needed
    return b"".join(pieces)
