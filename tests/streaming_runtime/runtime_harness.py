"""The runtime before the fake Runtime API, with everything a story wants to see or to steer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from streaming_runtime import loop
from streaming_runtime.failures import PlainFailures
from streaming_runtime.invocation import MakeSink, Parts
from streaming_runtime.runtime_api import RuntimeApi
from streaming_runtime.sinks import StreamSink
from streaming_runtime.types import App, Failures, Receive, Scope, Send, Timer
from tests.streaming_runtime.fake_api import FakeApi, Post, fake_api

STORY_S = 10  # a story that hangs fails


class ListJournal:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def note(self, event: str, **fields: object) -> None:
        """See types.Journal."""
        self.lines.append({"event": event, **fields})

    def named(self, event: str) -> list[dict[str, object]]:
        """The lines of one kind."""
        return [line for line in self.lines if line["event"] == event]


@dataclass
class Ring:
    """One alarm that was set."""

    at_s: float
    ring: Callable[[], None]
    is_set: bool = True

    def cancel(self) -> None:
        """See types.Timer."""
        self.is_set = False


class Alarms:
    """A clock that stands still until a story lets it go on."""

    def __init__(self) -> None:
        self.set: list[Ring] = []

    def __call__(self, at_s: float, ring: Callable[[], None]) -> Timer:
        self.set.append(Ring(at_s, ring))
        return self.set[-1]

    def ring(self) -> float:
        """Let the one that is set ring; for when it was set."""
        (alarm,) = [alarm for alarm in self.set if alarm.is_set]
        alarm.is_set = False
        alarm.ring()
        return alarm.at_s


@dataclass
class RuntimeHarness:
    """One story."""

    api: FakeApi
    task: asyncio.Task[int]
    journal: ListJournal = field(default_factory=ListJournal)
    alarms: Alarms = field(default_factory=Alarms)
    traces: list[str] = field(default_factory=list)


@asynccontextmanager
async def harness(
    found: Any,
    *,
    snap_start: bool = False,
    make_sink: MakeSink = StreamSink,
    failures: Failures | None = None,
    restore_s: float = loop.RESTORE_S,
) -> AsyncIterator[RuntimeHarness]:
    """Run the loop over an application until the story ends."""
    async with asyncio.timeout(STORY_S), fake_api() as api:
        journal, alarms, traces = ListJournal(), Alarms(), list[str]()
        parts = Parts(
            api=RuntimeApi(api.authority, journal),
            make_sink=make_sink,
            failures=failures or PlainFailures(),
            journal=journal,
            alarm=alarms,
            trace=traces.append,
        )
        running = loop.run(found, parts, snap_start=snap_start, restore_s=restore_s)
        task = asyncio.ensure_future(running)
        try:
            yield RuntimeHarness(api, task, journal, alarms, traces)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def answered(api: FakeApi, payload: bytes) -> Post:
    """Hand out an event; its answer, read to the end."""
    api.hand_out(payload)
    return await api.post()


async def lives_on(story: RuntimeHarness) -> None:
    """The runtime asks for the next event and reports it when that is malformed."""
    story.api.hand_out(b"{")
    assert (await story.api.post()).error_type == "Runtime.MalformedEvent"


def http(app: App) -> App:
    """An application that knows no lifespans."""

    async def only_http(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return only_http


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """http.response.start."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    """http.response.body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


SSE = (b"content-type", b"text/event-stream; charset=utf-8")


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once."""
    await send(start(200, (b"content-type", b"text/plain")))
    await send(body(b"hello"))
