"""Requests that are sent by halves: they end in time, are never served, and hold up nobody.

The server is the local stack's own, on a real socket, with deadlines of a moment.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from openai import AsyncOpenAI, AuthenticationError

from local.server import BoundServer, deadlined
from phigate.http.app import build_app
from tests.builders import make_body
from tests.pipeline.gateway_harness import KEY, GatewayHarness, answers

HEAD_S = 0.2
BODY_S = 0.2  # of the application
LEFT_S = 0.4  # of the connection
PATIENCE_S = 5.0  # a busy machine; what never ends fails by it
BAD_KEY = "phi_live_unknown"
WHOLE = json.dumps(make_body(model="acme-one")).encode()

Work = Callable[[int], Awaitable[None]]


async def served(app: Any, work: Work, *, head_s: float = HEAD_S, body_s: float = LEFT_S) -> None:
    """`work` with the port of a started server."""
    started = asyncio.Event()
    config = uvicorn.Config(
        app,
        http=deadlined(head_s, body_s),
        port=0,
        log_config=None,
        lifespan="off",
        timeout_keep_alive=1,
    )

    class Started(BoundServer):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Started(config, "")
    serving = asyncio.ensure_future(server.serve())
    await started.wait()
    try:
        await work(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await serving


def with_stage(harness: GatewayHarness, work: Work) -> None:
    """`work` with the port of the gateway."""
    harness.use(stack=replace(harness.gateway.stack, body_timeout_s=BODY_S))
    asyncio.run(served(build_app(harness.gateway), work))


async def told(port: int, *pieces: bytes, pause_s: float = 0.0, end: bool = False) -> bytes:
    """All that comes back until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        answer = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(PATIENCE_S):
            for piece in pieces:
                writer.write(piece)
                await asyncio.wait([answer], timeout=pause_s)
                if answer.done():
                    break
            if end:
                writer.write_eof()
            return await answer
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def head(path: str, length: int, key: str = KEY, method: str = "POST") -> bytes:
    """A request's head."""
    return (
        f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def trickle(of: bytes) -> list[bytes]:
    """One byte after the other."""
    return [of[i : i + 1] for i in range(len(of))]


CHAT, ROUTE = "/v1/chat/completions", "/v1/route"
CHUNKED_HEAD = head(CHAT, 0).replace(b"content-length: 0", b"transfer-encoding: chunked")
CHUNKED = b"%x\r\n%b\r\n0\r\n" % (len(WHOLE), WHOLE)
ENDLESS_BYTES = 60_000_000
# What is sent, and with which status it is answered; None: the connection ends without a word.
HALVES: dict[str, tuple[list[bytes], int | None]] = {
    "nothing": ([], None),
    "half a head": ([head(CHAT, 10)[:40]], None),
    "a head, byte by byte": (trickle(head(CHAT, 10)), None),
    "half a body": ([head(CHAT, 1_000) + WHOLE], 408),
    "half a body of a dry run": ([head(ROUTE, 1_000) + WHOLE], 408),
    "a body, byte by byte": ([head(CHAT, len(WHOLE)), *trickle(WHOLE)], 408),
    "half a body with a bad key": ([head(CHAT, 1_000, BAD_KEY) + WHOLE], 401),
    "half a body of a dry run with a bad key": ([head(ROUTE, 1_000, BAD_KEY) + WHOLE], 401),
    "a body with a bad key, byte by byte": (
        [head(CHAT, len(WHOLE), BAD_KEY), *trickle(WHOLE)],
        401,
    ),
    "half a body that nobody reads": ([head("/healthz", 1_000, method="GET") + WHOLE], 200),
    "a body that nobody reads, byte by byte": (
        [head("/healthz", 1_000, method="GET"), *trickle(b"x" * 900)],
        200,
    ),
    "half a head behind a request": ([head("/healthz", 0, method="GET") + b"GET /"], 200),
    "line ends behind a request": (
        [head("/healthz", 0, method="GET"), *trickle(b"\r\n" * 100)],
        200,
    ),
}


@pytest.mark.parametrize(("pieces", "status"), HALVES.values(), ids=HALVES)
def test_half_a_request_ends_in_time_and_is_not_served(
    pieces: list[bytes], status: int | None
) -> None:
    harness = GatewayHarness(answers())
    got: list[bytes] = []

    async def work(port: int) -> None:
        got.append(await told(port, *pieces, pause_s=0.05))

    with_stage(harness, work)
    line = got[0].partition(b"\r\n")[0].split()
    assert (int(line[1]) if line else None) == status
    assert harness.upstream.requests == []
    assert harness.account()["spent"] == harness.account()["held"] == 0


@pytest.mark.parametrize("path", [CHAT, ROUTE])
def test_a_caller_who_goes_within_the_body_has_asked_nothing(path: str) -> None:
    harness = GatewayHarness(answers())

    async def work(port: int) -> None:
        # What came is a whole request by itself.
        await told(port, head(path, len(WHOLE) + 1) + WHOLE, end=True)

    with_stage(harness, work)
    assert harness.upstream.requests == []
    assert harness.records == []
    assert [line[0] for line in harness.log] == ([] if path == CHAT else ["count"])
    assert harness.event_log.fields("bug") == []


def test_a_large_body_with_a_bad_key_gets_its_answer() -> None:
    async def work(port: int) -> None:
        body = b"x" * 20_000_000
        pieces = [body[i : i + 100_000] for i in range(0, len(body), 100_000)]
        answer = await told(port, head(CHAT, len(body), BAD_KEY), *pieces)
        assert answer.startswith(b"HTTP/1.1 401 ")

    with_stage(GatewayHarness(), work)


def test_the_sdk_is_told_of_a_bad_key_whatever_it_sends() -> None:
    async def work(port: int) -> None:
        client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=BAD_KEY, max_retries=0)
        async with client:
            for _ in range(3):
                with pytest.raises(AuthenticationError):
                    await client.chat.completions.create(
                        model="auto", messages=[{"role": "user", "content": "x" * 10_000_000}]
                    )

    with_stage(GatewayHarness(), work)


# What goes on and on, and is no body.
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "a head of headers": (
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n",
        b"x-a: " + b"a" * 9_993 + b"\r\n",
    ),
    "a head of one header": (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: ", b"a" * 10_000),
    "an address": (b"GET /", b"a" * 10_000),
    "trailers": (CHUNKED_HEAD + CHUNKED, b"x-a: " + b"a" * 9_993 + b"\r\n"),
    "one trailer": (CHUNKED_HEAD + CHUNKED + b"x-a: ", b"a" * 10_000),
    "an extension of a chunk": (CHUNKED_HEAD + b"5;", b"a" * 10_000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_is_no_body_ends_where_it_is_too_much(name: str) -> None:
    begun, more = ENDLESS[name]
    sent = 0

    async def work(port: int) -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.ensure_future(reader.read())
        writer.write(begun)
        try:
            while not ended.done() and sent < ENDLESS_BYTES:
                writer.write(more)
                sent += len(more)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            ended.cancel()
        finally:
            writer.close()

    # Far more time than it takes to send, so that no deadline ends it.
    asyncio.run(served(build_app(GatewayHarness(answers()).gateway), work, head_s=60, body_s=60))
    # What lies in the sockets' buffers beside what was read.
    assert sent < ENDLESS_BYTES


def test_no_trailer_is_a_header() -> None:
    async def work(port: int) -> None:
        for key in (b"X-PHI: maybe", b"Authorization: Bearer x", b"X-A: " + b"a" * 9_000):
            answer = await told(port, CHUNKED_HEAD + CHUNKED + key + b"\r\n\r\n", end=True)
            assert answer.startswith(b"HTTP/1.1 200 "), answer

    harness = GatewayHarness(answers(), answers(), answers())
    with_stage(harness, work)
    assert [record["phi"] for record in harness.records] == [False] * 3


def test_an_answer_that_takes_longer_than_any_head_or_body_is_not_cut() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.wait([asyncio.ensure_future(receive())], timeout=2 * (HEAD_S + LEFT_S))
        await send({"type": "http.response.body", "body": b"all of it"})

    async def work(port: int) -> None:
        for behind in (b"", b"GET / HT", head(CHAT, 2)):
            answer = await told(port, head(CHAT, 2) + b"{}" + behind)
            assert b"all of it" in answer

    asyncio.run(served(app, work))
