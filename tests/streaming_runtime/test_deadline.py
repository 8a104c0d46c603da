"""The time of an invocation is over: before, in and behind the answer."""

import asyncio
import json
from typing import Any

import pytest

from streaming_runtime.types import App, Receive, Scope, Send
from tests.streaming_runtime.events import event
from tests.streaming_runtime.runtime_harness import (
    SSE,
    answered,
    body,
    harness,
    hello,
    http,
    lives_on,
    start,
)

pytestmark = pytest.mark.anyio


def waits_after(*messages: dict[str, Any], started: asyncio.Event) -> App:
    """An application that sends this and then hangs."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        started.set()
        await asyncio.Event().wait()

    return http(app)


async def test_deadline_before_the_first_byte_is_a_504() -> None:
    started = asyncio.Event()
    async with harness(waits_after(started=started)) as story:
        story.api.hand_out(event(), **{"Lambda-Runtime-Deadline-Ms": "1000000"})
        await started.wait()
        assert story.alarms.ring() == 999.5
        post = await story.api.post()
        prelude, content = await post.streamed()
        assert (prelude["statusCode"], post.trailers) == (504, {})
        assert json.loads(content)["error"]["code"] == "deadline"
        await lives_on(story)


async def test_deadline_in_a_stream_ends_it_with_an_event_and_trailers() -> None:
    started = asyncio.Event()
    app = waits_after(start(200, SSE), body(b"data: 1\n\n", more=True), started=started)
    async with harness(app) as story:
        story.api.hand_out(event())
        post = await story.api.post()
        await post.chunk()
        await started.wait()
        story.alarms.ring()
        assert b'"code": "deadline"' in await post.rest()
        assert post.error_type == "Runtime.Deadline"
        await lives_on(story)


async def test_app_may_end_its_own_answer_at_the_deadline() -> None:
    started = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, SSE))
        await send(body(b"data: 1\n\n", more=True))
        try:
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await send(body(b"data: [DONE]\n\n"))
            raise

    async with harness(http(app)) as story:
        story.api.hand_out(event())
        post = await story.api.post()
        await started.wait()
        story.alarms.ring()
        assert (await post.streamed())[1] == b"data: 1\n\ndata: [DONE]\n\n"
        await lives_on(story)
        assert post.trailers == {}


async def test_app_that_does_not_let_itself_be_cancelled_loses_its_answer() -> None:
    started, cancelled, free = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            await free.wait()

    async with harness(http(app)) as story:
        await story.api.asked()
        story.api.hand_out(event(), **{"Lambda-Runtime-Deadline-Ms": "1000000"})
        await started.wait()
        story.alarms.ring()
        await cancelled.wait()
        assert story.alarms.ring() == 999.8
        assert (await (await story.api.post()).streamed())[0]["statusCode"] == 504
        for _ in range(50):
            await asyncio.sleep(0)
        assert not story.api.is_asked()  # the environment would be frozen under it
        free.set()
        await lives_on(story)


async def test_background_work_is_cut_at_the_deadline_without_trailers() -> None:
    started = asyncio.Event()
    async with harness(waits_after(start(), body(b"x"), started=started)) as story:
        post = await answered(story.api, event())
        await started.wait()
        story.alarms.ring()
        await lives_on(story)
        assert ((await post.streamed())[1], post.trailers) == (b"x", {})
        assert story.journal.named("deadline")


async def test_alarm_is_off_after_the_answer() -> None:
    async with harness(http(hello)) as story:
        await (await answered(story.api, event())).rest()
        await lives_on(story)
        assert [alarm.is_set for alarm in story.alarms.set] == [False]
