"""An upstream's kept connections: none is used again on which something came that nobody asked for,
or that was unused for long by the wall clock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from phigate.core.limits import SOCKET_UNUSED_MAX_S
from phigate.core.upstream import UpstreamRequest
from phigate.effects.upstream.credentials import ProviderAccess
from phigate.effects.upstream.http_upstream import HttpUpstream
from tests.builders import make_row
from tests.effects.raw_server import RawServer, answer, raw_server
from tests.fakes import FakeClock

OWN = b'{"for":"who asked"}'
OTHERS = b'{"for":"another caller"}'
OK = answer("200 OK", OWN)
LATE = answer("200 OK", OTHERS)

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def upstream_at(server: RawServer, clock: FakeClock) -> AsyncIterator[HttpUpstream]:
    """An upstream whose one provider is the server."""
    base_url = f"http://127.0.0.1:{server.port}/v1"
    upstream = HttpUpstream({"acme": ProviderAccess(api_key="key", base_url=base_url)}, clock)
    try:
        yield upstream
    finally:
        await upstream.close()


async def ask(upstream: HttpUpstream, then: Callable[[], None] = lambda: None) -> bytes:
    """One POST, and its whole answer; `then` is done once its head has come."""
    exchange = upstream.open(UpstreamRequest(make_row("acme-one"), "CH", "/chat", {}, b"{}"))
    try:
        assert await exchange.headers(2.0) is not None
        then()
        body = b""
        while (piece := await exchange.next_chunk(2.0)) is not None:
            body += piece
        return body
    finally:
        exchange.close()


@pytest.mark.parametrize(
    "stray", [LATE, LATE[:20], b"\r\n", b"x"], ids=["answer", "half a head", "line", "byte"]
)
async def test_what_comes_while_nobody_asks_is_no_callers_answer(stray: bytes) -> None:
    clock = FakeClock()
    async with raw_server([OK, OK], [OK]) as server, upstream_at(server, clock) as upstream:
        assert await ask(upstream) == OWN
        server.say(stray)
        for _ in range(20):
            # On loopback what was written is there at once; these are the turns that read it.
            await asyncio.sleep(0)
        assert await ask(upstream) == OWN
        assert len(server.requests) == 2


async def test_what_comes_behind_an_answer_is_no_callers_answer() -> None:
    clock = FakeClock()
    async with raw_server([OK + LATE, OK], [OK]) as server, upstream_at(server, clock) as upstream:
        assert await ask(upstream) == OWN
        assert await ask(upstream) == OWN
        assert server.connections == 2


@pytest.mark.parametrize(
    ("passed_s", "connections"),
    [(0, 1), (SOCKET_UNUSED_MAX_S, 1), (SOCKET_UNUSED_MAX_S + 0.1, 2), (3_600, 2), (-1, 2)],
)
async def test_a_connection_unused_for_long_by_the_wall_clock_is_not_trusted(
    passed_s: float, connections: int
) -> None:
    clock = FakeClock()
    async with raw_server([OK, OK], [OK]) as server, upstream_at(server, clock) as upstream:
        await ask(upstream)
        clock.time_s += passed_s
        await ask(upstream)
        assert server.connections == connections


async def test_a_long_answer_is_not_time_unused() -> None:
    clock = FakeClock()
    async with raw_server([OK[:-2], OK], [OK]) as server, upstream_at(server, clock) as upstream:

        def work() -> None:
            clock.time_s += 600
            server.say(OK[-2:])

        assert await ask(upstream, work) == OWN
        assert await ask(upstream) == OWN
        assert server.connections == 1
