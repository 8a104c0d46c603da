"""The application fails: before, in and behind its answer, or by what it wants to send."""

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streaming_runtime.types import App, Failure, RawHeaders, Receive, Scope, Send
from tests.streaming_runtime.events import at, event
from tests.streaming_runtime.runtime_harness import (
    SSE,
    answered,
    body,
    harness,
    http,
    lives_on,
    start,
)

pytestmark = pytest.mark.anyio


class Bug(Exception):
    """What an application raises; its text must appear nowhere."""


BUG = Bug("secret of the caller")


def fails_after(*messages: dict[str, Any]) -> App:
    """An application that sends this and then has a bug."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise BUG

    return http(app)


@pytest.mark.parametrize(
    "messages", [(), (start(201),)], ids=["before the start", "before the body"]
)
async def test_bug_before_the_first_byte_is_a_500_without_trailers(messages: Any) -> None:
    async with harness(fails_after(*messages)) as story:
        post = await answered(story.api, event())
        prelude, content = await post.streamed()
        assert (prelude["statusCode"], post.trailers) == (500, {})
        assert json.loads(content)["error"]["code"] == "app_failed"
        (line,) = story.journal.named("app_failed")
        assert (line["error"], line["request_id"]) == ("Bug", "r-1")
        assert "secret" not in str(story.journal.lines)
        await lives_on(story)


async def test_bug_in_a_stream_of_events_is_an_event_and_trailers() -> None:
    async with harness(fails_after(start(200, SSE), body(b"data: 1\n\n", more=True))) as story:
        post = await answered(story.api, event())
        _, content = await post.streamed()
        first, last = content.removesuffix(b"\n\n").split(b"\n\n")
        assert first == b"data: 1"
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "app_failed"
        assert post.error_type == "Runtime.Failed"
        assert post.error_body["errorType"] == "Runtime.Failed"
        assert "secret" not in str(post.error_body)
        await lives_on(story)


async def test_event_cut_in_two_does_not_swallow_the_error() -> None:
    async with harness(fails_after(start(200, SSE), body(b"data: {", more=True))) as story:
        _, content = await (await answered(story.api, event())).streamed()
        assert content.startswith(b'data: {\n\ndata: {"error"')


@pytest.mark.parametrize(
    "headers", [(b"content-type", b"text/plain"), (b"content-length", b"99")], ids=["text", "sized"]
)
async def test_bug_in_another_stream_is_trailers_alone(headers: tuple[bytes, bytes]) -> None:
    async with harness(fails_after(start(200, headers), body(b"half", more=True))) as story:
        post = await answered(story.api, event())
        assert (await post.streamed())[1] == b"half"
        assert post.error_type == "Runtime.Failed"


async def test_bug_that_was_answered_by_the_framework_is_not_an_error_again() -> None:
    async def bug(request: Request) -> PlainTextResponse:
        raise BUG

    app = Starlette(routes=[Route("/v1/chat/completions", bug, methods=["POST"])])
    async with harness(app) as story:
        post = await answered(story.api, event())
        prelude, content = await post.streamed()
        assert (prelude["statusCode"], content) == (500, b"Internal Server Error")
        assert (post.trailers, post.error_type) == ({}, "")
        await lives_on(story)
        assert len(story.journal.named("app_failed")) == 1  # raised again, so it is noted


async def test_framework_routes_by_stage_and_runs_background_work_behind_the_answer() -> None:
    ran: list[str] = []

    async def work() -> None:
        ran.append("work")

    async def model(request: Request) -> PlainTextResponse:
        path = str(request.url.path)
        return PlainTextResponse(request.path_params["id"] + path, background=BackgroundTask(work))

    async with harness(Starlette(routes=[Route("/v1/models/{id}", model)])) as story:
        post = await answered(story.api, at("/v1/models/a"))
        assert (await post.streamed())[1] == b"a/api/v1/models/a"
        await lives_on(story)
        assert ran == ["work"]


@pytest.mark.parametrize(
    ("messages", "status"),
    [((), 500), ((start(201),), 500), ((start(201), body(b"half", more=True)), 201)],
    ids=["nothing", "a start alone", "half a body"],
)
async def test_app_that_ends_without_ending_its_answer(messages: Any, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async with harness(http(app)) as story:
        post = await answered(story.api, event())
        prelude, _ = await post.streamed()
        assert prelude["statusCode"] == status
        assert post.error_type == ("Runtime.Incomplete" if status == 201 else "")
        assert story.journal.named("app_incomplete")
        await lives_on(story)


HEADS: list[tuple[str, dict[str, Any]]] = [
    ("a break in a value", start(200, (b"x", b"a\r\nset-cookie: b=1"))),
    ("a line feed in a value", start(200, (b"x", b"a\nb"))),
    ("a NUL in a value", start(200, (b"x", b"\0"))),
    ("a break in a name", start(200, (b"x\r\ny", b"a"))),
    ("an empty name", start(200, (b"", b"a"))),
    ("headers over 16 KB", start(200, (b"x", b"a" * 17_000))),
    ("headers of text", {"type": "http.response.start", "status": 200, "headers": [("x", "y")]}),
    ("an informational status", start(101)),
    ("a status that is a word", {"type": "http.response.start", "status": "200"}),
    ("a body first", body(b"x")),
    ("an unknown message", {"type": "http.response.push"}),
]


@pytest.mark.parametrize("head", [row[1] for row in HEADS], ids=[row[0] for row in HEADS])
async def test_head_that_must_not_go_out_is_a_500(head: dict[str, Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head)
        await send(body(b"x"))

    async with harness(http(app)) as story:
        prelude, _ = await (await answered(story.api, event())).streamed()
        assert (prelude["statusCode"], "set-cookie" in prelude["headers"]) == (500, False)
        await lives_on(story)


class Plugged:
    """Failures in the words of another application, or a bug."""

    def __init__(self, header: bytes | None = None, *, broken: bool = False) -> None:
        self._header = header
        self._broken = broken

    def answer(self, failure: Failure) -> tuple[int, RawHeaders, bytes]:
        """See types.Failures."""
        if self._broken:
            raise BUG
        return 599, [(b"x-failure", self._header or failure.value.encode())], b"mine"

    def in_band(self, failure: Failure, content_type: str, tail: bytes) -> bytes:
        """See types.Failures."""
        if self._broken:
            raise BUG
        return b"mine"


async def test_failures_can_be_plugged_in() -> None:
    async with harness(fails_after(), failures=Plugged()) as story:
        prelude, content = await (await answered(story.api, event())).streamed()
        assert (prelude["statusCode"], content) == (599, b"mine")
        assert prelude["headers"] == {"x-failure": "app_failed"}


@pytest.mark.parametrize("header", [b"a\r\nb: c", b"x" * 17_000], ids=["break", "huge"])
async def test_plugged_head_that_must_not_go_out_is_the_plain_one(header: bytes) -> None:
    async with harness(fails_after(), failures=Plugged(header)) as story:
        prelude, _ = await (await answered(story.api, event())).streamed()
        assert prelude["statusCode"] == 500
        await lives_on(story)


@pytest.mark.parametrize("last", [True, False])
async def test_body_that_is_text_is_a_bug(last: bool) -> None:
    text: dict[str, Any] = {"type": "http.response.body", "body": "text", "more_body": not last}
    async with harness(fails_after(start(), body(b"a", more=True), text)) as story:
        post = await answered(story.api, event())
        assert (await post.streamed())[1] == b"a"
        assert post.error_type == "Runtime.Failed"
        await lives_on(story)


@pytest.mark.parametrize("messages", [(), (start(), body(b"a", more=True))])
async def test_bug_in_plugged_failures_does_not_cost_the_answer(messages: Any) -> None:
    async with harness(fails_after(*messages), failures=Plugged(broken=True)) as story:
        prelude, _ = await (await answered(story.api, event())).streamed()
        assert prelude["statusCode"] == (200 if messages else 500)
        await lives_on(story)
