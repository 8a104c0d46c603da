"""What goes wrong in an invocation: the application, the event, the deadline, the connection."""

import asyncio
import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streaming_runtime.errors import RuntimeApiGone
from streaming_runtime.types import App, Failure, RawHeaders, Receive, Scope, Send
from tests.streaming_runtime.events import at, event
from tests.streaming_runtime.fake_api import FakeApi, Post
from tests.streaming_runtime.stage import SSE, Stage, body, hello, http, stage, start

pytestmark = pytest.mark.anyio


class Bug(Exception):
    """What an application raises; its text must appear nowhere."""


BUG = Bug("secret of the caller")


async def answered(api: FakeApi, payload: bytes) -> Post:
    """Hand out an event; its answer, read to the end."""
    api.hand_out(payload)
    return await api.post()


async def lives_on(story: Stage) -> None:
    """The runtime asks for the next event and reports it when that is malformed."""
    story.api.hand_out(b"{")
    assert (await story.api.post()).error_type == "Runtime.MalformedEvent"


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
    async with stage(fails_after(*messages)) as story:
        post = await answered(story.api, event())
        prelude, content = await post.streamed()
        assert (prelude["statusCode"], post.trailers) == (500, {})
        assert json.loads(content)["error"]["code"] == "app_failed"
        (line,) = story.journal.named("app_failed")
        assert (line["error"], line["request_id"]) == ("Bug", "r-1")
        assert "secret" not in str(story.journal.lines)
        await lives_on(story)


async def test_bug_in_a_stream_of_events_is_an_event_and_trailers() -> None:
    async with stage(fails_after(start(200, SSE), body(b"data: 1\n\n", more=True))) as story:
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
    async with stage(fails_after(start(200, SSE), body(b"data: {", more=True))) as story:
        _, content = await (await answered(story.api, event())).streamed()
        assert content.startswith(b'data: {\n\ndata: {"error"')


@pytest.mark.parametrize(
    "headers", [(b"content-type", b"text/plain"), (b"content-length", b"99")], ids=["text", "sized"]
)
async def test_bug_in_another_stream_is_trailers_alone(headers: tuple[bytes, bytes]) -> None:
    async with stage(fails_after(start(200, headers), body(b"half", more=True))) as story:
        post = await answered(story.api, event())
        assert (await post.streamed())[1] == b"half"
        assert post.error_type == "Runtime.Failed"


async def test_bug_that_was_answered_by_the_framework_is_not_an_error_again() -> None:
    async def bug(request: Request) -> PlainTextResponse:
        raise BUG

    app = Starlette(routes=[Route("/v1/chat/completions", bug, methods=["POST"])])
    async with stage(app) as story:
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

    async with stage(Starlette(routes=[Route("/v1/models/{id}", model)])) as story:
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

    async with stage(http(app)) as story:
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

    async with stage(http(app)) as story:
        prelude, _ = await (await answered(story.api, event())).streamed()
        assert (prelude["statusCode"], "set-cookie" in prelude["headers"]) == (500, False)
        await lives_on(story)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"{", "Runtime.MalformedEvent"),
        (b'{"version":"2.0"}', "Runtime.UnsupportedEvent"),
    ],
)
async def test_event_that_is_no_request_is_reported_and_the_next_is_served(
    payload: bytes, kind: str
) -> None:
    async with stage(http(hello)) as story:
        post = await answered(story.api, payload)
        error = json.loads(await post.rest())
        assert post.path == "/invocation/r-1/error"
        assert (post.error_type, error["errorType"]) == (kind, kind)
        assert post.headers["content-type"] == "application/vnd.aws.lambda.error+json"
        assert (await (await answered(story.api, event())).streamed())[1] == b"hello"
        assert not story.task.done()


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
    async with stage(waits_after(started=started)) as story:
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
    async with stage(app) as story:
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

    async with stage(http(app)) as story:
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

    async with stage(http(app)) as story:
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
    async with stage(waits_after(start(), body(b"x"), started=started)) as story:
        post = await answered(story.api, event())
        await started.wait()
        story.alarms.ring()
        await lives_on(story)
        assert ((await post.streamed())[1], post.trailers) == (b"x", {})
        assert story.journal.named("deadline")


async def test_alarm_is_off_after_the_answer() -> None:
    async with stage(http(hello)) as story:
        await (await answered(story.api, event())).rest()
        await lives_on(story)
        assert [alarm.is_set for alarm in story.alarms.set] == [False]


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
    async with stage(fails_after(), failures=Plugged()) as story:
        prelude, content = await (await answered(story.api, event())).streamed()
        assert (prelude["statusCode"], content) == (599, b"mine")
        assert prelude["headers"] == {"x-failure": "app_failed"}


@pytest.mark.parametrize("header", [b"a\r\nb: c", b"x" * 17_000], ids=["break", "huge"])
async def test_plugged_head_that_must_not_go_out_is_the_plain_one(header: bytes) -> None:
    async with stage(fails_after(), failures=Plugged(header)) as story:
        prelude, _ = await (await answered(story.api, event())).streamed()
        assert prelude["statusCode"] == 500
        await lives_on(story)


@pytest.mark.parametrize("last", [True, False])
async def test_body_that_is_text_is_a_bug(last: bool) -> None:
    text: dict[str, Any] = {"type": "http.response.body", "body": "text", "more_body": not last}
    async with stage(fails_after(start(), body(b"a", more=True), text)) as story:
        post = await answered(story.api, event())
        assert (await post.streamed())[1] == b"a"
        assert post.error_type == "Runtime.Failed"
        await lives_on(story)


@pytest.mark.parametrize("messages", [(), (start(), body(b"a", more=True))])
async def test_bug_in_plugged_failures_does_not_cost_the_answer(messages: Any) -> None:
    async with stage(fails_after(*messages), failures=Plugged(broken=True)) as story:
        prelude, _ = await (await answered(story.api, event())).streamed()
        assert prelude["statusCode"] == (200 if messages else 500)
        await lives_on(story)


async def test_dead_connection_after_a_freeze_is_replaced_and_the_get_repeated() -> None:
    async with stage(http(hello)) as story:
        await story.api.asked()
        story.api.thaw()
        await story.api.asked()
        assert (await (await answered(story.api, event())).streamed())[1] == b"hello"
        assert story.api.connections == 2


async def test_connection_that_closes_after_each_answer_is_replaced() -> None:
    async with stage(http(hello)) as story:
        story.api.closes_after_each = True
        for _ in range(3):
            assert (await (await answered(story.api, event())).streamed())[1] == b"hello"


async def test_event_of_unknown_length_is_read() -> None:
    async with stage(http(hello)) as story:
        story.api.sends_chunked = True
        assert (await (await answered(story.api, event())).streamed())[1] == b"hello"


async def test_answer_refused_by_lambda_is_noted_and_the_next_event_served() -> None:
    async with stage(http(hello)) as story:
        story.api.status = 413
        await (await answered(story.api, event())).rest()
        await (await answered(story.api, event())).rest()
        assert story.journal.named("response_refused")[0]["status"] == 413


async def test_lambda_beyond_repair_ends_the_process() -> None:
    async with stage(http(hello)) as story:
        story.api.status = 500
        await (await answered(story.api, event())).rest()
        with pytest.raises(RuntimeApiGone):
            await story.task


@pytest.mark.parametrize("request_id", ["", "../../x", "a b", "x" * 200])
async def test_invocation_that_cannot_be_answered_ends_the_process(request_id: str) -> None:
    async with stage(http(hello)) as story:
        story.api.hand_out(event(), **{"Lambda-Runtime-Aws-Request-Id": request_id})
        with pytest.raises(RuntimeApiGone):
            await story.task


async def test_missing_deadline_is_no_deadline() -> None:
    async with stage(http(hello)) as story:
        story.api.hand_out(event(), **{"Lambda-Runtime-Deadline-Ms": ""})
        assert (await (await story.api.post()).streamed())[1] == b"hello"
        assert story.alarms.set[0].at_s == float("inf")
