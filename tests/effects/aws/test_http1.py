"""The pool of plain POSTs: what is an answer, what breaks a connection, what is never reused."""

import asyncio
from collections.abc import Sequence

import pytest

from phigate.effects.http1 import Connection, ConnectionBroken, Posts
from tests.effects.raw_server import RawServer, answer, raw_server
from tests.fakes import FakeClock

HEAD = b"POST / HTTP/1.1\r\nHost: test\r\n"
OK = answer("200 OK", b'{"a":1}')

pytestmark = pytest.mark.anyio

ANSWERS = {
    "plain": (OK, (200, b'{"a":1}')),
    "an error": (answer("400 Bad Request", b"{}"), (400, b"{}")),
    "a redirect, which nobody follows": (
        answer("307 Temporary Redirect", b"", b"Location: http://127.0.0.1:1/"),
        (307, b""),
    ),
    "no body": (answer("200 OK", b""), (200, b"")),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, b"")),
    "small letters": (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n{}", (200, b"{}")),
    "a head inside the body": (answer("200 OK", b"\r\n\r\nHTTP/1.1 500 x"), None),
    "a length in the body": (answer("200 OK", b"\r\nContent-Length: 99\r\n"), None),
}

BROKEN = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "an old version": b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a length beyond every bound": b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n{}",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    "a coded body": answer("200 OK", b"{}", b"Content-Encoding: gzip"),
    "more than was announced": OK + b"x",
    "two answers": OK + OK,
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
}


class Wire(asyncio.Transport):
    """A transport that answers whatever is written with these pieces."""

    def __init__(self, connection: Connection, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self._connection = connection
        self._pieces = pieces

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Answer."""
        for piece in self._pieces:
            self._connection.data_received(piece)

    def is_closing(self) -> bool:
        """Never."""
        return False


def posts(server: RawServer, clock: FakeClock | None = None, connections_max: int = 4) -> Posts:
    """A pool on the server."""
    return Posts(
        endpoint=f"http://127.0.0.1:{server.port}",
        clock=clock or FakeClock(),
        connections_max=connections_max,
        connect_timeout_s=2.0,
        unused_max_s=20.0,
    )


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_read_whole(name: str) -> None:
    sent, expected = ANSWERS[name]
    async with raw_server([sent, OK]) as server:
        pool = posts(server)
        body = sent.partition(b"\r\n\r\n")[2]
        assert await pool.post(HEAD, b"{}", 2.0) == (expected or (200, body))
        assert await pool.post(HEAD, b"{}", 2.0) == (200, b'{"a":1}')
        assert server.connections == 1
        pool.close()


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_may_come_in_pieces(name: str) -> None:
    sent, expected = ANSWERS[name]
    body = sent.partition(b"\r\n\r\n")[2]
    connection = Connection()
    wire = Wire(connection, [sent[i : i + 1] for i in range(len(sent))])
    connection.connection_made(wire)
    status, read, may_stay = await connection.exchange(b"", 2.0)
    assert ((status, read), may_stay) == (expected or (200, body), True)


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_answer_breaks_the_connection(name: str) -> None:
    async with raw_server([BROKEN[name]], [OK]) as server:
        pool = posts(server)
        with pytest.raises(ConnectionBroken):
            await pool.post(HEAD, b"{}", 2.0)
        assert await pool.post(HEAD, b"{}", 2.0) == (200, b'{"a":1}')
        assert server.connections == 2
        pool.close()


async def test_a_post_carries_its_head_length_and_body() -> None:
    async with raw_server([OK]) as server:
        pool = posts(server)
        await pool.post(HEAD, b'{"b":2}', 2.0)
        assert server.requests == [HEAD + b'Content-Length: 7\r\n\r\n{"b":2}']
        pool.close()


async def test_silence_ends_in_time_and_the_connection_is_not_used_again() -> None:
    async with raw_server([b"", OK], [OK]) as server:
        pool = posts(server)
        with pytest.raises(TimeoutError):
            await pool.post(HEAD, b"{}", 0.02)
        async with asyncio.timeout(2.0):
            await server.left.wait()
        assert await pool.post(HEAD, b"{}", 2.0) == (200, b'{"a":1}')
        assert server.connections == 2
        pool.close()


async def test_a_connection_whose_caller_was_cancelled_is_not_used_again() -> None:
    async with raw_server([b"", OK], [OK]) as server:
        pool = posts(server)
        waiting = asyncio.create_task(pool.post(HEAD, b"{}", 2.0))
        await server.asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(2.0):
            await server.left.wait()
        assert await pool.post(HEAD, b'{"second":1}', 2.0) == (200, b'{"a":1}')
        assert server.connections == 2
        pool.close()


async def test_a_connection_that_ends_without_an_answer_is_broken_and_not_repeated() -> None:
    async with raw_server([OK, None], [OK]) as server:
        pool = posts(server)
        await pool.post(HEAD, b"{}", 2.0)
        with pytest.raises(ConnectionBroken):
            await pool.post(HEAD, b"{}", 2.0)
        assert len(server.requests) == 2
        pool.close()


async def test_a_server_that_says_close_is_believed() -> None:
    closing = answer("200 OK", b"{}", b"Connection: close")
    async with raw_server([closing, OK], [OK]) as server:
        pool = posts(server)
        assert await pool.post(HEAD, b"{}", 2.0) == (200, b"{}")
        assert await pool.post(HEAD, b"{}", 2.0) == (200, b'{"a":1}')
        assert server.connections == 2
        pool.close()


@pytest.mark.parametrize(
    ("passed_s", "connections"), [(0.0, 1), (20.0, 1), (20.1, 2), (3_600.0, 2), (-1.0, 2)]
)
async def test_a_connection_unused_for_long_by_the_wall_clock_is_not_trusted(
    passed_s: float, connections: int
) -> None:
    clock = FakeClock()
    async with raw_server([OK, OK]) as server:
        pool = posts(server, clock)
        await pool.post(HEAD, b"{}", 2.0)
        clock.time_s += passed_s
        await pool.post(HEAD, b"{}", 2.0)
        assert server.connections == connections
        pool.close()


async def test_not_more_connections_than_allowed_are_open_at_once() -> None:
    async with raw_server([OK] * 10) as server:
        pool = posts(server, connections_max=2)
        answers = await asyncio.gather(*(pool.post(HEAD, b"{}", 2.0) for _ in range(10)))
        assert answers == [(200, b'{"a":1}')] * 10
        assert server.connections <= 2
        pool.close()


async def test_nobody_listens() -> None:
    async with raw_server([OK]) as server:
        pass
    with pytest.raises(OSError, match=r".+"):
        await posts(server).post(HEAD, b"{}", 2.0)
