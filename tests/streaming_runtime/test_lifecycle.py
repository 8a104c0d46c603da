"""The life of an environment: start, SnapStart restore, stop; and answers that are kept whole."""

import asyncio
import base64
import json
from typing import Any

import pytest

from streaming_runtime.handler import app_of
from streaming_runtime.prelude import BUFFERED_BYTES_MAX
from streaming_runtime.sinks import BufferSink
from streaming_runtime.types import App, Receive, Scope, Send
from tests.streaming_runtime.events import event
from tests.streaming_runtime.runtime_harness import body, harness, hello, http, start

pytestmark = pytest.mark.anyio


class Lived:
    """An application that writes down its life."""

    def __init__(self, log: list[str], startup: str = "complete") -> None:
        self._log = log
        self._startup = startup

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._log.append("request")
            await hello(scope, receive, send)
            return
        while True:
            said = (await receive())["type"]
            self._log.append(said)
            outcome = self._startup if said == "lifespan.startup" else "complete"
            await send({"type": f"{said}.{outcome}"})
            if said == "lifespan.shutdown":
                return


async def test_lifespan_goes_round_the_requests() -> None:
    log: list[str] = []
    async with harness(Lived(log)) as story:
        story.api.hand_out(event())
        await (await story.api.post()).rest()
        story.task.cancel()
        assert await story.task == 0
    assert log == ["lifespan.startup", "request", "lifespan.shutdown"]


async def test_stop_while_a_request_runs_ends_its_answer() -> None:
    started = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"a", more=True))
        started.set()
        await asyncio.Event().wait()

    async with harness(http(app)) as story:
        story.api.hand_out(event())
        post = await story.api.post()
        await started.wait()
        story.task.cancel()
        assert await story.task == 0
        assert (await post.streamed())[1] == b"a"
        assert post.error_type == "Runtime.Shutdown"


async def test_app_without_lifespan_is_served_and_noted() -> None:
    async with harness(http(hello)) as story:
        story.api.hand_out(event())
        assert (await (await story.api.post()).streamed())[1] == b"hello"
        assert story.journal.lines[0] == {"event": "no_lifespan", "error": "AssertionError"}


async def test_app_that_refuses_to_start_is_an_init_error() -> None:
    async with harness(Lived([], startup="failed")) as story:
        post = await story.api.post()
        assert (post.path, post.error_type) == ("/init/error", "Runtime.InitFailed")
        assert await story.task == 1
        assert "GET /invocation/next" not in story.api.log


async def test_factory_that_raises_is_an_init_error_with_its_text() -> None:
    def factory() -> App:
        raise ValueError("AWS_REGION is not one of the jurisdiction's.")

    async with harness(factory) as story:
        post = await story.api.post()
        report = json.loads(await post.rest())
        assert report["errorMessage"] == "ValueError: AWS_REGION is not one of the jurisdiction's."
        assert "factory" in report["stackTrace"][-1]
        assert await story.task == 1


async def test_under_snapstart_nothing_is_made_before_the_restore() -> None:
    log: list[str] = []

    def factory() -> App:
        log.append("factory")
        return Lived(log)

    async with harness(factory, snap_start=True) as story:
        await story.api.restore_asked.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert (log, story.api.log) == ([], ["GET /restore/next"])
        story.api.restored.set()
        await story.api.asked()
        assert log == ["factory", "lifespan.startup"]


async def test_connection_that_died_in_the_snapshot_is_replaced() -> None:
    async with harness(http(hello), snap_start=True) as story:
        await story.api.restore_asked.wait()
        story.api.thaw()
        story.api.restored.set()
        await story.api.asked()
        assert story.api.log.count("GET /restore/next") == 2


async def test_start_that_fails_behind_the_restore_is_a_restore_error() -> None:
    async with harness(Lived([], startup="failed"), snap_start=True) as story:
        story.api.restored.set()
        post = await story.api.post()
        assert (post.path, post.error_type) == ("/restore/error", "Runtime.RestoreFailed")
        assert await story.task == 1


async def test_start_that_takes_too_long_behind_the_restore_is_a_restore_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async with harness(app, snap_start=True, restore_s=0) as story:
        story.api.restored.set()
        post = await story.api.post()
        assert post.path == "/restore/error"
        assert json.loads(await post.rest())["errorMessage"] == "TimeoutError: "


async def _three(scope: Any, receive: Any, send: Any) -> None: ...


def _any(*args: Any) -> None: ...


HANDLERS: list[tuple[str, Any, bool]] = [
    ("an application", _three, True),
    ("an object with __call__", Lived([]), True),
    ("a factory", lambda: _three, True),
    ("one that takes anything is an application", _any, True),
    ("a class of applications is a factory", type("A", (), {"__call__": _any}), True),
    ("two arguments", lambda a, b: None, False),
    ("no function", 1, False),
    ("a factory of nothing", lambda: None, False),
]


@pytest.mark.parametrize(
    ("found", "taken"), [row[1:] for row in HANDLERS], ids=[row[0] for row in HANDLERS]
)
def test_handler_is_an_application_or_makes_one(found: Any, taken: bool) -> None:
    if taken:
        assert callable(app_of(found))
    else:
        with pytest.raises(Exception, match="The handler"):
            app_of(found)


BUFFERED: list[tuple[str, tuple[bytes, bytes], bytes, bool]] = [
    ("JSON", (b"content-type", b"application/json"), b'{"a":"\xc3\xa9"}', False),
    ("a picture", (b"content-type", b"image/png"), b"\x89PNG\xff", True),
    ("gzip", (b"content-encoding", b"gzip"), b"plain", True),
    ("nothing", (b"x", b"y"), b"", False),
]


@pytest.mark.parametrize(
    ("header", "content", "is_base64"), [row[1:] for row in BUFFERED], ids=[r[0] for r in BUFFERED]
)
async def test_answer_kept_whole(
    header: tuple[bytes, bytes], content: bytes, is_base64: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(201, header, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")))
        await send(body(content[:3], more=True))
        await send(body(content[3:]))

    async with harness(http(app), make_sink=BufferSink) as story:
        story.api.hand_out(event())
        post = await story.api.post()
        answer = json.loads(await post.rest())
        encoded = base64.b64encode(content).decode() if is_base64 else content.decode()
        assert (answer["body"], answer["isBase64Encoded"]) == (encoded, is_base64)
        assert answer["multiValueHeaders"]["set-cookie"] == ["a=1", "b=2"]
        assert (answer["statusCode"], post.headers["content-type"]) == (201, "application/json")


async def test_half_an_answer_kept_whole_becomes_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"half", more=True))

    async with harness(http(app), make_sink=BufferSink) as story:
        story.api.hand_out(event())
        answer = json.loads(await (await story.api.post()).rest())
        assert (answer["statusCode"], "half" in answer["body"]) == (500, False)


async def test_answer_too_large_to_be_kept_whole_becomes_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"x" * BUFFERED_BYTES_MAX))

    async with harness(http(app), make_sink=BufferSink) as story:
        story.api.hand_out(event())
        assert json.loads(await (await story.api.post()).rest())["statusCode"] == 500
