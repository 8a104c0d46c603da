"""A server that says byte for byte what a test tells it to, and keeps what it was sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

# What one connection answers to its requests in turn; None closes it without an answer, an empty
# piece leaves the request without one.
Script = Sequence[bytes | None]


class RawServer:
    """Connection number n plays `scripts[n]`, the last one for all that follow."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self._scripts = scripts
        self._talks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        self._writers.append(writer)
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._play(script, reader, writer)
        finally:
            self.left.set()
            writer.transport.abort()
            self._talks.discard(talk)

    def say(self, piece: bytes) -> None:
        """What nobody asked for, on the connection that was opened last."""
        self._writers[-1].write(piece)

    async def stop(self) -> None:
        """End every connection."""
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        # The turn in which the sockets are closed.
        await asyncio.sleep(0)

    async def _play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for piece in script:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            self.asked.set()
            if piece is None:
                return
            writer.write(piece)
            await writer.drain()
        await reader.read()


def answer(status: str, body: bytes, *headers: bytes) -> bytes:
    """A whole HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join((*lines, b"", body))


@contextlib.asynccontextmanager
async def raw_server(*scripts: Script) -> AsyncIterator[RawServer]:
    """Serve on a free loopback port for as long as the context lasts."""
    raw = RawServer(scripts)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        await raw.stop()
