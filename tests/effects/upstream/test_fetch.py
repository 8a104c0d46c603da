"""A small GET at an upstream: what it sends, and every way in which it ends within its bounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.upstream import Fetched, UpstreamFetch
from phigate.effects.upstream.credentials import ProviderAccess
from phigate.effects.upstream.http_upstream import HttpUpstream
from tests.builders import make_row

BYTES_MAX = 1_000
TIMEOUT_S = 0.3
KEY = "the-provider's-key"
PATH = "/signature/chatcmpl-1?model=phala%2Fqwen&signing_algo=ecdsa"


class ScriptedServer:
    """Answers every connection with the same pieces and then keeps it open, or closes it."""

    def __init__(self, pieces: Sequence[bytes], *, closes: bool) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self._pieces = pieces
        self._closes = closes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in self._pieces:
                writer.write(piece)
                await writer.drain()
            if not self._closes:
                await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def served(
    *pieces: bytes, closes: bool = True
) -> AsyncIterator[tuple[ScriptedServer, HttpUpstream]]:
    """A server, and the upstream that reaches it."""
    server = ScriptedServer(pieces, closes=closes)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    base_url = f"http://127.0.0.1:{server.port}/v1"
    upstream = HttpUpstream({"acme": ProviderAccess(api_key=KEY, base_url=base_url)})
    try:
        yield server, upstream
    finally:
        await upstream.close()
        listening.close()
        await asyncio.sleep(0)


def request(path: str = PATH) -> UpstreamFetch:
    return UpstreamFetch(make_row("acme-one"), "CH", path, TIMEOUT_S, BYTES_MAX)


def whole(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers)
    return b"\r\n".join((*lines, b"", body))


@pytest.mark.anyio
async def test_a_get_goes_to_the_rows_host_with_its_key_and_nothing_else() -> None:
    async with served(whole(b'{"a": 1}')) as (server, upstream):
        assert await upstream.fetch(request()) == Fetched(200, b'{"a": 1}')
    line, *headers = server.heads[0].decode().strip().lower().split("\r\n")
    assert line.split(" ")[0] == "get"
    assert line.split(" ")[1].startswith("/v1/signature/chatcmpl-1?model=phala")
    assert line.split(" ")[1].endswith("qwen&signing_algo=ecdsa")
    assert sorted(header for header in headers if not header.startswith("host:")) == [
        "accept-encoding: identity",
        "accept: application/json",
        f"authorization: bearer {KEY}",
    ]


@pytest.mark.anyio
async def test_an_error_answer_is_an_answer() -> None:
    async with served(whole(b'{"error": {}}', b"404 Not Found")) as (_, upstream):
        assert await upstream.fetch(request()) == Fetched(404, b'{"error": {}}')


@pytest.mark.anyio
async def test_a_body_of_just_the_bound_is_read() -> None:
    async with served(whole(b"x" * BYTES_MAX)) as (_, upstream):
        assert (await upstream.fetch(request())).body == b"x" * BYTES_MAX


FAILURES: dict[str, tuple[Sequence[bytes], bool, str]] = {
    "one byte too many": ([whole(b"x" * (BYTES_MAX + 1))], True, "oversized"),
    "huge, without a length": (
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", *[b"x" * 500] * 50],
        False,
        "oversized",
    ),
    "a redirect to elsewhere": (
        [whole(b"", b"307 Go", b"location: http://127.0.0.1:1/")],
        True,
        "redirect",
    ),
    "a redirect to the same host": (
        [whole(b"", b"301 Go", b"location: /v1/other")],
        True,
        "redirect",
    ),
    "packed": ([whole(b"x", b"200 OK", b"content-encoding: gzip")], True, "malformed"),
    "cut": ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"], True, "cut"),
    "no HTTP": ([b"<html>\r\n\r\n"], True, "malformed"),
    "silent": ([], False, "timeout"),
    "silent after its head": ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"], False, "timeout"),
    "it hangs up": ([], True, "connect"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", FAILURES)
async def test_it_fails_by_name_and_within_its_time(name: str) -> None:
    pieces, closes, outcome = FAILURES[name]
    async with served(*pieces, closes=closes) as (server, upstream):
        async with asyncio.timeout(TIMEOUT_S + 5):
            with pytest.raises(UpstreamFailed) as raised:
                await upstream.fetch(request())
    assert raised.value.outcome == outcome
    # A GET on a connection that ends unanswered is asked once more by the client below.
    assert len(server.heads) == (2 if outcome == "connect" else 1)


@pytest.mark.anyio
async def test_what_drips_ends_in_time_all_the_same() -> None:
    """Every wait is short; it is the whole that is bounded."""

    class Dripping(ScriptedServer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            if await reader.read(65_536) == b"":
                                break
            writer.close()

    server = Dripping((), closes=False)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    upstream = HttpUpstream(
        {"acme": ProviderAccess(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")}
    )
    with pytest.raises(UpstreamFailed) as raised:
        await upstream.fetch(request())
    assert raised.value.outcome == "timeout"
    await upstream.close()
    listening.close()
    await asyncio.sleep(0)
