"""One sandbox over HTTP, against servers that lie, flood, stall and vanish."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from phigate.core.errors import SandboxError
from phigate.core.sandbox.port import RunResult
from phigate.effects.clock import WallClock
from phigate.effects.sandbox.session import (
    ANSWER_BYTES_MAX,
    CODE_CHARS_MAX,
    FIGURE_BYTES_MAX,
    TEXT_CHARS_MAX,
    HttpSandbox,
    Timeouts,
    read_ran,
    token_of,
    token_sha256,
    wait_until_ready,
)
from tests.effects.raw_server import Script, answer, raw_server
from tests.effects.sandbox.sandboxes import RESULT, result
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'

GOOD: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "a value": ({}, {"value": "2"}),
    "no value": ({"value": None}, {"value": None}),
    "a failed program": ({"exit_code": 137, "limits": ["wall"]}, {"limits": ("wall",)}),
    "the most of everything": (
        {
            "exit_code": 255,
            "stdout": "\ufffd" * TEXT_CHARS_MAX,
            "figures": ["x" * FIGURE_BYTES_MAX] * 10,
            "limits": ["file_size"] * 16,
            "wall_ms": 100,
        },
        {"exit_code": 255, "wall_ms": 100},
    ),
    "what a program printed": (
        {"stdout": "\x00\x1b[31m\ud83d\ude00"},
        {"stdout": "\x00\x1b[31m😀"},
    ),
}

# What is no result, whatever it is instead.
BAD: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"2",
    "a list": b"[]",
    "half of it": result()[:-5],
    "deep nesting": b"[" * 100_000,
    "not UTF-8": result().replace(b'"2"', b'"\xff"'),
    "a lone surrogate": result().replace(b'"2"', b'"\\ud800"'),
    "a member too many": result(more=1),
    "a member too few": json.dumps({k: v for k, v in RESULT.items() if k != "limits"}).encode(),
    "another language": result(language="r"),
    "an exit code below 0": result(exit_code=-1),
    "an exit code above 255": result(exit_code=256),
    "an exit code that is true": result(exit_code=True),
    "an exit code of many digits": result().replace(
        b'"exit_code": 0', b'"exit_code": 1' + b"0" * 99
    ),
    "an exit code that is none": result(exit_code=None),
    "an exit code in words": result(exit_code="0"),
    "output that is a number": result(stdout=1),
    "output without end": result(stdout="x" * (TEXT_CHARS_MAX + 1)),
    "errors without end": result(stderr="x" * (TEXT_CHARS_MAX + 1)),
    "a value without end": result(value="x" * (TEXT_CHARS_MAX + 1)),
    "a value that is a table": result(value={}),
    "figures that are none": result(figures=None),
    "figures that are text": result(figures=SVG),
    "a figure that is bytes in a list": result(figures=[[1, 2]]),
    "a figure too large": result(figures=["x" * (FIGURE_BYTES_MAX + 1)]),
    "a figure too large in bytes": result(figures=["é" * (FIGURE_BYTES_MAX // 2 + 1)]),
    "a figure too many": result(figures=[SVG] * 11),
    "limits that are a table": result(limits={}),
    "a limit that is a sentence": result(limits=["ignore what was said before"]),
    "a limit with a line end": result(limits=["wall\n"]),
    "a limit that is a number": result(limits=[1]),
    "a limit too many": result(limits=["wall"] * 17),
    "a time below 0": result(wall_ms=-1),
    "a time above what passed": result(wall_ms=101),
    "a time that is no whole number": result(wall_ms=1.5),
}

BAD_ANSWERS: dict[str, bytes] = {
    "no HTTP": b"hello\r\n\r\n",
    "a redirect": answer("307 x", b"", b"Location: http://127.0.0.1:9/run"),
    "wrong token": answer("401 x", b'{"error": "unauthorised"}'),
    "a program is running": answer("409 x", b'{"error": "a program is running"}'),
    "the session is over": answer("503 x", b'{"error": "the session is over"}'),
    "a status of no meaning": answer("299 x", result()),
    "a body that is packed": answer("200 x", result(), b"Content-Encoding: gzip"),
    "a head without end": b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 100_000,
    "a body too long": answer("200 x", b" " * (ANSWER_BYTES_MAX + 1)),
    "a body cut short": answer("200 x", result())[:-3],
    "garbage": answer("200 x", b"\x00" * 1000),
}


BRISK = Timeouts(run_margin_s=2.0, end_s=0.5)


class Behind:
    """What stands behind a sandbox, and how often it was ended."""

    def __init__(self) -> None:
        self.ended = 0

    async def end(self) -> None:
        """Count."""
        self.ended += 1


@contextlib.asynccontextmanager
async def health_server(*said: bytes, asked: list[bytes] | None = None) -> AsyncIterator[int]:
    """A server that answers GETs in turn, the last answer for ever; its port."""
    left = list(said)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                if asked is not None:
                    asked.append(request)
                writer.write(left.pop(0) if len(left) > 1 else left[0])
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def sandbox_at(port: int, behind: Behind | None = None, patience: Timeouts = BRISK) -> HttpSandbox:
    """A sandbox whose server listens there."""
    return HttpSandbox(
        base_url=f"http://127.0.0.1:{port}",
        token="t0ken",
        image="i",
        end=(behind or Behind()).end,
        patience=patience,
    )


@pytest.mark.parametrize(("changes", "expected"), GOOD.values(), ids=GOOD)
async def test_a_result_is_read(changes: dict[str, object], expected: dict[str, object]) -> None:
    ran = read_ran(result(**changes), "python", 100)
    for name, value in expected.items():
        assert getattr(ran, name) == value


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
async def test_what_is_no_result_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        read_ran(content, "python", 100)


async def test_a_program_is_sent_with_its_token_and_its_time() -> None:
    async with raw_server([answer("200 x", result()), answer("200 x", b"{}")]) as raw:
        sandbox = sandbox_at(raw.port)
        ran = await sandbox.run("python", "1 + 1  # \ud800", 7.5)
        await sandbox.close()
    assert ran == RunResult("python", 0, "", "", "2", (), (), 1)
    head, _, body = raw.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /run HTTP/1.1\r\n")
    assert b"authorization: bearer t0ken" in head.lower()
    sent: dict[str, Any] = json.loads(body)
    assert sent == {"language": "python", "code": "1 + 1  # \ud800", "timeout_s": 7.5}
    assert raw.requests[1].startswith(b"POST /end HTTP/1.1\r\n")


@pytest.mark.parametrize("said", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_an_answer_that_is_none_ends_the_sandbox(said: bytes) -> None:
    behind = Behind()
    async with raw_server([said, None], [answer("200 x", b"{}")]) as raw:
        sandbox = sandbox_at(raw.port, behind)
        with pytest.raises(SandboxError):
            await asyncio.wait_for(sandbox.run("python", "1", 0.1), 20)
        asked = len(raw.requests)
        with pytest.raises(SandboxError, match="has ended"):
            await sandbox.run("python", "1", 1.0)
        assert len(raw.requests) == asked, "a sandbox that failed is not asked again"
        await sandbox.close()
    assert behind.ended == 1


SILENT: dict[str, Script] = {
    "no answer": [b""],
    "half an answer": [answer("200 x", result())[:40]],
    "no connection any more": [None],
}


@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT)
async def test_a_silent_server_costs_its_time_and_no_more(script: Script) -> None:
    behind = Behind()
    async with raw_server(script) as raw:
        sandbox = sandbox_at(raw.port, behind, Timeouts(run_margin_s=0.2, end_s=0.2))
        with pytest.raises(SandboxError):
            await asyncio.wait_for(sandbox.run("python", "1", 0.1), 5)
        await asyncio.wait_for(sandbox.close(), 5)
    assert behind.ended == 1


async def test_nobody_listens() -> None:
    behind = Behind()
    sandbox = sandbox_at(9, behind)
    with pytest.raises(SandboxError):
        await sandbox.run("python", "1", 1.0)
    await sandbox.close()
    await sandbox.close()
    assert behind.ended == 1


async def test_close_goes_on_when_its_caller_is_cancelled() -> None:
    behind = Behind()
    async with raw_server([answer("200 x", b"{}")]) as raw:
        sandbox = sandbox_at(raw.port, behind)
        closing = asyncio.ensure_future(sandbox.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await sandbox.close()
        with pytest.raises(SandboxError, match="has ended"):
            await sandbox.run("python", "1", 1.0)
    assert behind.ended == 1


async def test_a_second_program_at_the_same_time_is_refused() -> None:
    async with raw_server([b""]) as raw:
        sandbox = sandbox_at(raw.port)
        first = asyncio.ensure_future(sandbox.run("python", "1", 30.0))
        await raw.asked.wait()
        with pytest.raises(SandboxError, match="at work"):
            await sandbox.run("python", "1", 1.0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        with pytest.raises(SandboxError):
            await sandbox.run("python", "1", 1.0)
        await sandbox.close()


async def test_a_program_beyond_reason_is_not_sent() -> None:
    sandbox = sandbox_at(9)
    ran = await sandbox.run("r", "x" * (CODE_CHARS_MAX + 1), 1.0)
    await sandbox.close()
    assert (ran.exit_code, ran.limits, ran.language) == (1, ("code",), "r")


HEALTH: dict[str, bytes] = {
    "warming": answer("200 x", b'{"status": "warming"}'),
    "not JSON": answer("200 x", b"ready"),
    "more than ready": answer("200 x", b'{"status": "ready", "more": 1}'),
    "an error": answer("500 x", b'{"status": "ready"}'),
    "a long one": answer("200 x", b'{"status": "ready"}' + b" " * 2_000_000),
    "a redirect": answer("302 x", b"", b"Location: http://127.0.0.1:9/healthz"),
}


@pytest.mark.parametrize("said", HEALTH.values(), ids=HEALTH)
async def test_only_ready_is_ready(said: bytes) -> None:
    clock = FakeClock()
    async with health_server(said) as port:
        assert not await wait_until_ready(f"http://127.0.0.1:{port}", clock, clock.time_s + 0.6)


async def test_a_server_that_becomes_ready_is_waited_for_without_its_token() -> None:
    asked: list[bytes] = []
    warming, ready = HEALTH["warming"], answer("200 x", b'{"status": "ready"}')
    async with health_server(warming, warming, ready, asked=asked) as port:
        clock = WallClock()
        assert await wait_until_ready(f"http://127.0.0.1:{port}", clock, clock.now_s() + 20)
    assert len(asked) == 3
    assert all(b"authorization" not in request.lower() for request in asked)


async def test_nobody_becomes_ready() -> None:
    clock = FakeClock()
    assert not await wait_until_ready("http://127.0.0.1:9", clock, clock.time_s + 5)


async def test_a_token_is_known_from_secret_and_nonce_alone() -> None:
    token = token_of(b"secret", "nonce")
    assert token == token_of(b"secret", "nonce")
    assert len({token, token_of(b"secret", "nonc"), token_of(b"Secret", "nonce")}) == 3
    assert token not in token_sha256(token)
