"""Answers that stream: what leaves, in which order, and when the next event is asked for.

Time between chunks is shown by order: the application goes on only after its last chunk was seen.
"""

import asyncio
from contextlib import suppress

import pytest

from streaming_runtime.types import Receive, Scope, Send
from tests.streaming_runtime.events import event
from tests.streaming_runtime.fake_api import FakeApi, split
from tests.streaming_runtime.runtime_harness import SSE, body, harness, hello, http, start

pytestmark = pytest.mark.anyio
PIECE = 1024 * 1024


async def test_each_chunk_is_there_before_the_next_is_made() -> None:
    seen = asyncio.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, SSE))
        for n in range(3):
            await send(body(b"data: %d\n\n" % n, more=True))
            await seen.acquire()
        await send(body(b"data: [DONE]\n\n"))

    async with harness(http(app)) as story:
        request_id = story.api.hand_out(event())
        post = await story.api.post()
        assert post.path == f"/invocation/{request_id}/response"
        prelude, first = split(await post.chunk())
        assert (prelude["statusCode"], first) == (200, b"data: 0\n\n")
        seen.release()
        assert await post.chunk() == b"data: 1\n\n"
        seen.release()
        assert await post.chunk() == b"data: 2\n\n"
        seen.release()
        assert await post.rest() == b"data: [DONE]\n\n"
        assert post.trailers == {}


async def test_answer_is_declared_as_streamed() -> None:
    async with harness(http(hello)) as story:
        story.api.hand_out(event())
        post = await story.api.post()
        assert post.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert post.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
        assert post.headers["transfer-encoding"] == "chunked"
        assert "Lambda-Runtime-Function-Error-Type" in post.headers["trailer"]


async def test_prelude_says_status_headers_and_cookies() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        many = [(b"Vary", b"a"), (b"vary", b"b"), (b"Set-Cookie", b"c=1"), (b"set-cookie", b"d=2")]
        await send(start(201, (b"X-A", b"\xe9"), *many, (b"Connection", b"close")))
        await send(body(b"x"))

    async with harness(http(app)) as story:
        story.api.hand_out(event())
        prelude, content = await (await story.api.post()).streamed()
        assert prelude == {
            "statusCode": 201,
            "headers": {"x-a": "é"},
            "multiValueHeaders": {"vary": ["a", "b"]},
            "cookies": ["c=1", "d=2"],
        }
        assert content == b"x"


async def test_delimiter_stands_directly_between_prelude_and_body() -> None:
    async with harness(http(hello)) as story:
        story.api.hand_out(event())
        data = await (await story.api.post()).rest()
        assert data == (
            b'{"statusCode":200,"headers":{"content-type":"text/plain"}}' + b"\0" * 8 + b"hello"
        )


async def test_empty_body_message_does_not_end_the_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"", more=True))
        await send(body(b"", more=True))
        await send(body(b"end"))

    async with harness(http(app)) as story:
        story.api.hand_out(event())
        assert (await (await story.api.post()).streamed())[1] == b"end"


async def test_body_ends_before_background_work_and_next_is_asked_after_it() -> None:
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"now"))
        await done.wait()

    async with harness(http(app)) as story:
        await asked_and_given(story.api)
        post = await story.api.post()
        assert (await post.streamed())[1] == b"now"  # the end of the body is here
        for _ in range(50):
            await asyncio.sleep(0)
        assert not story.api.is_asked()
        done.set()
        await story.api.asked()


async def asked_and_given(api: FakeApi) -> None:
    """The runtime has asked; hand out one event."""
    await api.asked()
    api.hand_out(event())


async def test_receive_gives_the_body_then_disconnect_when_the_answer_is_over() -> None:
    got: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        assert first == {"type": "http.request", "body": b'{"model":"auto"}', "more_body": False}
        watch = asyncio.ensure_future(receive())
        await send(start())
        await send(body(b"a", more=True))
        await asyncio.sleep(0)
        got.append("gone" if watch.done() else "waits")
        await send(body(b"b"))
        got.append((await watch)["type"])
        got.append((await receive())["type"])

    async with harness(http(app)) as story:
        await asked_and_given(story.api)
        await story.api.asked()
        assert got == ["waits", "http.disconnect", "http.disconnect"]


async def test_writer_waits_while_lambda_does_not_read() -> None:
    waited = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for n in range(64):
            sending = asyncio.ensure_future(send(body(b"x" * PIECE, more=n < 63)))
            for _ in range(5):
                await asyncio.sleep(0)
            if not sending.done():
                waited.set()
            await sending

    async with harness(http(app)) as story:
        story.api.reads.clear()
        story.api.hand_out(event())
        post = await story.api.post()
        await waited.wait()
        story.api.reads.set()
        assert len((await post.streamed())[1]) == 64 * PIECE


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404)]
)
async def test_answers_without_a_body_have_none(method: str, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(status, (b"content-length", b"5")))
        await send(body(b"he", more=True))
        await send(body(b"llo"))

    async with harness(http(app)) as story:
        story.api.hand_out(event(httpMethod=method))
        prelude, content = await (await story.api.post()).streamed()
        assert (prelude["statusCode"], content) == (status, b"")
        assert prelude["headers"]["content-length"] == "5"


async def test_what_is_sent_after_the_end_is_refused_and_changes_nothing() -> None:
    raised: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        for message in (body(b"more"), start()):
            try:
                await send(message)
            except Exception as error:
                raised.append(type(error).__name__)

    async with harness(http(app)) as story:
        await asked_and_given(story.api)
        post = await story.api.post()
        assert (await post.streamed())[1] == b"hello"
        await story.api.asked()
        assert (raised, post.trailers) == (["AppBroke", "AppBroke"], {})


async def test_lost_connection_is_an_oserror_and_the_next_event_is_served() -> None:
    got: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["method"] == "GET":
            await hello(scope, receive, send)
            return
        await send(start())
        with suppress(OSError):
            while True:
                await send(body(b"x", more=True))
                await asyncio.sleep(0)
        got.append((await receive())["type"])
        try:
            await send(body(b"x"))
        except OSError:
            got.append("OSError")

    async with harness(http(app)) as story:
        story.api.hand_out(event())
        post = await story.api.post()
        await post.chunk()
        story.api.thaw()
        story.api.hand_out(event(httpMethod="GET"))
        post = await story.api.post()
        assert (await post.streamed())[1] == b"hello"
        assert got == ["http.disconnect", "OSError"]
        assert story.journal.named("response_lost")


async def test_invocations_share_one_loop_and_one_state() -> None:
    loops = set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["pool"] = asyncio.get_running_loop()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        loops.add(scope["state"]["pool"])
        loops.add(asyncio.get_running_loop())
        await hello(scope, receive, send)

    async with harness(app) as story:
        for _ in range(3):
            story.api.hand_out(event())
            assert (await (await story.api.post()).streamed())[1] == b"hello"
        assert len(loops) == 1
        assert story.api.connections == 1
        assert story.traces == ["Root=1-a"] * 3
