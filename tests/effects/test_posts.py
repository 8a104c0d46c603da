"""The pool of plain POSTs: what is an answer, what breaks a connection, what is never reused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from phigate.effects.posts import Bounds, ConnectionBroken, Posts, Reply
from tests.effects.raw_server import RawServer, answer, raw_server
from tests.fakes import FakeClock

HEADERS = {"Host": "test", "X-Amz-Target": "Some.Thing"}
OK = answer("200 OK", b'{"a":1}')
TAKEN = Reply(200, "", b'{"a":1}')

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
    "no length": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a length beyond every bound": b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n{}",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    "more than was announced": OK + b"x",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
}


@contextlib.asynccontextmanager
async def posts(
    server: RawServer,
    clock: FakeClock | None = None,
    connections_max: int = 4,
    answer_timeout_s: float = 2.0,
) -> AsyncIterator[Posts]:
    """A pool on the server."""
    pool = Posts(
        endpoint=f"http://127.0.0.1:{server.port}",
        clock=clock or FakeClock(),
        bounds=Bounds(connections_max, 2.0, 20.0, answer_timeout_s),
    )
    try:
        yield pool
    finally:
        await pool.close()


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_read_whole(name: str) -> None:
    sent, expected = ANSWERS[name]
    async with raw_server([sent, OK]) as server, posts(server) as pool:
        body = sent.partition(b"\r\n\r\n")[2]
        reply = await pool.post(HEADERS, b"{}")
        assert (reply.status, reply.body) == (expected or (200, body))
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert server.connections == 1


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_answer_breaks_the_connection(name: str) -> None:
    async with raw_server([BROKEN[name]], [OK]) as server, posts(server) as pool:
        with pytest.raises(ConnectionBroken):
            await pool.post(HEADERS, b"{}")
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert server.connections == 2


async def test_a_coded_body_is_refused_and_not_decoded() -> None:
    """It was read to its end, so the connection may stay."""
    coded = answer("200 OK", b"{}", b"Content-Encoding: gzip")
    async with raw_server([coded, OK]) as server, posts(server) as pool:
        with pytest.raises(ConnectionBroken):
            await pool.post(HEADERS, b"{}")
        assert await pool.post(HEADERS, b"{}") == TAKEN


async def test_what_comes_behind_an_answer_is_never_taken_for_the_next_one() -> None:
    async with raw_server([OK + answer("200 OK", b"stale")], [OK]) as server, posts(server) as pool:
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert server.connections == 2


async def test_what_comes_while_nobody_asks_is_never_taken_for_the_next_answer() -> None:
    """As a proxy's 408 may."""
    async with raw_server([OK], [OK]) as server, posts(server) as pool:
        await pool.post(HEADERS, b"{}")
        server.say(answer("408 Request Timeout", b"stale"))
        for _ in range(20):
            # On loopback what was written is there at once; these are the turns that read it.
            await asyncio.sleep(0)
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert server.connections == 2


async def test_a_post_carries_its_head_length_and_body() -> None:
    async with raw_server([OK]) as server, posts(server) as pool:
        await pool.post(HEADERS, b'{"b":2}')
        assert server.requests == [
            b"POST / HTTP/1.1\r\nHost: test\r\nX-Amz-Target: Some.Thing\r\n"
            b'Content-Length: 7\r\n\r\n{"b":2}'
        ]


SILENT = {
    "nothing": b"",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "half a head": OK[:20],
    "half a body": OK[:-2],
}


@pytest.mark.parametrize("silence", SILENT.values(), ids=SILENT)
async def test_silence_ends_in_time_and_the_connection_is_not_used_again(silence: bytes) -> None:
    async with (
        raw_server([silence, OK], [OK]) as server,
        posts(server, answer_timeout_s=0.05) as pool,
    ):
        with pytest.raises(TimeoutError):
            await pool.post(HEADERS, b"{}")
        async with asyncio.timeout(2.0):
            await server.left.wait()
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert server.connections == 2


async def test_a_connection_whose_caller_was_cancelled_is_not_used_again() -> None:
    async with raw_server([b"", OK], [OK]) as server, posts(server) as pool:
        waiting = asyncio.create_task(pool.post(HEADERS, b"{}"))
        await server.asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(2.0):
            await server.left.wait()
        assert await pool.post(HEADERS, b'{"second":1}') == TAKEN
        assert server.connections == 2


async def test_a_connection_that_ends_without_an_answer_is_broken_and_not_repeated() -> None:
    async with raw_server([OK, None], [OK]) as server, posts(server) as pool:
        await pool.post(HEADERS, b"{}")
        with pytest.raises(ConnectionBroken):
            await pool.post(HEADERS, b"{}")
        assert len(server.requests) == 2


async def test_a_server_that_says_close_is_believed() -> None:
    closing = answer("200 OK", b"{}", b"Connection: close")
    async with raw_server([closing, OK], [OK]) as server, posts(server) as pool:
        assert (await pool.post(HEADERS, b"{}")).body == b"{}"
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert server.connections == 2


@pytest.mark.parametrize(
    ("passed_s", "connections"), [(0.0, 1), (20.0, 1), (20.1, 2), (3_600.0, 2), (-1.0, 2)]
)
async def test_a_connection_unused_for_long_by_the_wall_clock_is_not_trusted(
    passed_s: float, connections: int
) -> None:
    clock = FakeClock()
    async with raw_server([OK, OK]) as server, posts(server, clock) as pool:
        await pool.post(HEADERS, b"{}")
        clock.time_s += passed_s
        await pool.post(HEADERS, b"{}")
        assert server.connections == connections


async def test_not_more_connections_than_allowed_are_open_at_once() -> None:
    async with raw_server([OK] * 10) as server, posts(server, connections_max=2) as pool:
        answers = await asyncio.gather(*(pool.post(HEADERS, b"{}") for _ in range(10)))
        assert answers == [TAKEN] * 10
        assert server.connections <= 2


async def test_nobody_listens() -> None:
    async with raw_server([OK]) as server:
        pass
    async with posts(server) as pool:
        with pytest.raises(OSError, match=r".+"):
            await pool.post(HEADERS, b"{}")


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with raw_server([OK]) as server, posts(server) as pool:
        assert await pool.post(HEADERS, b"{}") == TAKEN


async def test_a_cookie_is_not_kept() -> None:
    cookie = answer("200 OK", b"{}", b"Set-Cookie: a=b; Path=/")
    async with raw_server([cookie, OK]) as server, posts(server) as pool:
        await pool.post(HEADERS, b"{}")
        await pool.post(HEADERS, b"{}")
        assert b"ookie" not in server.requests[1]


async def test_an_error_shows_nothing_of_the_request() -> None:
    """aiohttp's own holds the headers: a signature, and the session's token."""
    async with raw_server([BROKEN["another protocol"]]) as server, posts(server) as pool:
        with pytest.raises(ConnectionBroken) as raised:
            await pool.post({"Authorization": "canary"}, b"canary")
        chain = [raised.value, raised.value.__cause__]
        assert raised.value.__suppress_context__
        assert "canary" not in repr(chain)


async def test_a_pool_that_was_closed_opens_again() -> None:
    async with raw_server([OK], [OK]) as server, posts(server) as pool:
        await pool.post(HEADERS, b"{}")
        await pool.close()
        assert await pool.post(HEADERS, b"{}") == TAKEN
        assert server.connections == 2
