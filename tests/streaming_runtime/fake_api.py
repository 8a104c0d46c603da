"""A small Runtime API on loopback that shows what reaches it byte for byte, when it does.

It hands out what a story gives it, and can die like a connection across a freeze.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
DEADLINE_MS = "1800000000000"


@dataclass
class Post:
    """One POST as it comes in."""

    path: str
    headers: dict[str, str]
    trailers: dict[str, str] = field(default_factory=dict)
    chunks: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    async def chunk(self) -> bytes:
        """The next chunk, waited for."""
        piece = await self.chunks.get()
        assert piece is not None, "the body has ended"
        return piece

    async def rest(self) -> bytes:
        """Everything up to the end."""
        pieces = []
        while (piece := await self.chunks.get()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    async def streamed(self) -> tuple[dict[str, Any], bytes]:
        """Prelude and body of a whole streamed answer."""
        return split(await self.rest())

    @property
    def error_type(self) -> str:
        """What the trailers say, else what the head says."""
        name = "lambda-runtime-function-error-type"
        return self.trailers.get(name) or self.headers.get(name, "")

    @property
    def error_body(self) -> dict[str, Any]:
        """The error in the trailers."""
        body: dict[str, Any] = json.loads(
            base64.b64decode(self.trailers["lambda-runtime-function-error-body"])
        )
        return body


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Prelude and body."""
    head, delimiter, body = data.partition(b"\0" * 8)
    assert delimiter, "no delimiter"
    assert data.index(delimiter) <= 16 * 1024 - 8
    return json.loads(head), body


class FakeApi:
    """The server. `log` holds every request in order, and the end of every body."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.authority = ""
        self.status = 202
        self.restored = asyncio.Event()
        self.restore_asked = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.sends_chunked = False
        self.closes_after_each = False
        self.connections = 0
        self.serving: set[asyncio.Future[None]] = set()
        self._posts: asyncio.Queue[Post] = asyncio.Queue()
        self._invocations: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self._asked: asyncio.Queue[None] = asyncio.Queue()
        self._writers: set[asyncio.StreamWriter] = set()
        self._count = 0

    def hand_out(self, event: bytes, **headers: str) -> str:
        """Give an invocation to whoever asks next; its request id."""
        self._count += 1
        request_id = f"r-{self._count}"
        self._invocations.put_nowait(
            (
                {
                    "Lambda-Runtime-Aws-Request-Id": request_id,
                    "Lambda-Runtime-Deadline-Ms": DEADLINE_MS,
                    "Lambda-Runtime-Trace-Id": "Root=1-a",
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:x:1:function:chat",
                    **headers,
                },
                event,
            )
        )
        return request_id

    async def post(self) -> Post:
        """The next POST, as soon as its head is here."""
        return await self._posts.get()

    async def asked(self) -> None:
        """Wait for a GET of the next invocation."""
        await self._asked.get()

    def is_asked(self) -> bool:
        """Whether a GET has come that nobody has waited for."""
        return not self._asked.empty()

    def thaw(self) -> None:
        """Every connection has died meanwhile."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._writers.add(writer)
        self.serving.add(asyncio.ensure_future(writer.wait_closed()))
        self.connections += 1
        try:
            while True:
                await self._request(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.log.append("closed")
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = fields(head[1:])
        path = path.removeprefix("/2018-06-01/runtime")
        self.log.append(f"{method} {path}")
        if path == "/restore/next":
            self.restore_asked.set()
            await unless_closed(reader, self.restored.wait())
            await answer(writer, 200, {}, b"{}")
        elif method == "GET":
            self._asked.put_nowait(None)
            head_out, event = await unless_closed(reader, self._invocations.get())
            await answer(writer, 200, head_out, event, chunked=self.sends_chunked)
        else:
            await self._read_post(reader, Post(path, headers))
            await answer(writer, self.status, {}, b'{"status":"OK"}')
            if self.closes_after_each:
                writer.close()

    async def _read_post(self, reader: asyncio.StreamReader, post: Post) -> None:
        self._posts.put_nowait(post)
        try:
            if "content-length" in post.headers:
                length = int(post.headers["content-length"])
                post.chunks.put_nowait(await reader.readexactly(length))
            else:
                assert post.headers["transfer-encoding"] == "chunked"
                await self._read_chunks(reader, post)
        finally:
            self.log.append(f"end {post.path}")
            post.chunks.put_nowait(None)

    async def _read_chunks(self, reader: asyncio.StreamReader, post: Post) -> None:
        while True:
            await self.reads.wait()
            size = int(await reader.readuntil(b"\r\n"), 16)
            if size == 0:
                break
            post.chunks.put_nowait((await reader.readexactly(size + 2))[:-2])
        lines = []
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            lines.append(line.decode().rstrip())
        post.trailers = fields(lines)


async def unless_closed(reader: asyncio.StreamReader, wanted: Coroutine[Any, Any, T]) -> T:
    """What is waited for, or ConnectionError when the other side hangs up meanwhile."""
    # Whoever waits for an answer sends nothing.
    closed, given = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(wanted)
    await asyncio.wait({closed, given}, return_when=asyncio.FIRST_COMPLETED)
    if closed.done():
        given.cancel()
        await asyncio.wait({given})
        raise ConnectionError
    closed.cancel()
    await asyncio.wait({closed})
    return given.result()


def fields(lines: list[str]) -> dict[str, str]:
    """Header lines as a dict."""
    pairs = (line.split(": ", 1) for line in lines if line)
    return {name.lower(): value for name, value in pairs}


async def answer(
    writer: asyncio.StreamWriter,
    status: int,
    headers: dict[str, str],
    body: bytes,
    *,
    chunked: bool = False,
) -> None:
    """Write an answer; chunked in pieces of 7 bytes, as a server does that knows no length."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {status} Something\r\n{framing}\r\n{lines}\r\n".encode())
    if chunked:
        pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
        writer.writelines(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        writer.write(b"0\r\nX-Trailer: 1\r\n\r\n")
    else:
        writer.write(body)
    await writer.drain()


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    """A server for one story."""
    api = FakeApi()
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    api.authority = f"{host}:{port}"
    try:
        yield api
    finally:
        server.close()
        api.thaw()
        await asyncio.gather(*api.serving, return_exceptions=True)
        await server.wait_closed()
