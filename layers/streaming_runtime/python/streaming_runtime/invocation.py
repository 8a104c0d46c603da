"""One invocation: translate, run the application against the clock, end the answer, wait for it.

Laws: an event that is no request is reported and forgotten; the application is cancelled ABORT_S
before Lambda's deadline and its answer ended by CUT_S before it; the next event is not asked for
while the application still runs, since Lambda freezes the environment then.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streaming_runtime.answer import Answer
from streaming_runtime.errors import EventRefused, Report, frames_of
from streaming_runtime.event import to_request
from streaming_runtime.runtime_api import RuntimeApi
from streaming_runtime.sinks import Sink
from streaming_runtime.types import Alarm, App, Failure, Failures, Invocation, Journal, Request

ABORT_S = 0.5  # what is left to the application for its own end: two writes of 0.1 s
CUT_S = 0.2  # what is left for the last bytes of the answer to travel
STOP_S = 0.1  # of the 0.3 s between SIGTERM and SIGKILL

MakeSink = Callable[[RuntimeApi, str], Sink]
_Running = asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What all invocations of a process share."""

    api: RuntimeApi
    make_sink: MakeSink
    failures: Failures
    journal: Journal
    alarm: Alarm
    trace: Callable[[str], None]


async def serve(app: App, invocation: Invocation, parts: Parts, state: Mapping[str, Any]) -> None:
    """Answer one invocation. Raises RuntimeApiGone."""
    parts.trace(invocation.trace_id)
    try:
        request = to_request(invocation, state)
    except EventRefused as refused:
        parts.journal.note(refused.type, request_id=invocation.request_id, reason=str(refused))
        await parts.api.error(invocation.request_id, Report(refused.type, str(refused)))
        return
    await _Serving(app, invocation, request, parts).run()


class _Serving:
    """The state of one invocation."""

    def __init__(self, app: App, invocation: Invocation, request: Request, parts: Parts) -> None:
        self._invocation = invocation
        self._parts = parts
        self._sink = parts.make_sink(parts.api, invocation.request_id)
        is_head = request.scope["method"] == "HEAD"
        self._answer = Answer(self._sink, request.body, is_head=is_head)
        self._running: _Running = asyncio.ensure_future(
            app(request.scope, self._answer.receive, self._answer.send)
        )

    async def run(self) -> None:
        running = self._running
        failure = Failure.INCOMPLETE
        try:
            if not await self._until(self._invocation.deadline_s - ABORT_S):
                failure = Failure.DEADLINE
                running.cancel()
                await self._until(self._invocation.deadline_s - CUT_S)
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait({running}, timeout=STOP_S)
            await self._end(Failure.SHUTDOWN)
            raise
        await self._end(failure)
        # An application that does not let itself be cancelled has until Lambda ends it.
        await asyncio.wait({running})
        await self._sink.acknowledged()

    async def _until(self, at_s: float) -> bool:
        """Whether the application ended before the wall clock showed so many seconds."""
        rung: _Running = asyncio.get_running_loop().create_future()
        timer = self._parts.alarm(at_s, lambda: None if rung.done() else rung.set_result(None))
        try:
            await asyncio.wait({self._running, rung}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return self._running.done()

    async def _end(self, failure: Failure) -> None:
        error = _error_of(self._running)
        if error is not None and failure is Failure.INCOMPLETE:
            failure = Failure.FAILED
        if error is not None or failure is not Failure.INCOMPLETE or not self._answer.is_over:
            # Also behind a whole answer: frameworks raise again what they have answered with a 500.
            self._parts.journal.note(
                failure.value,
                request_id=self._invocation.request_id,
                answer=self._answer.state.value,
                error=type(error).__name__ if error else "",
                where=frames_of(error) if error else [],
            )
        await self._answer.end(failure, self._parts.failures)


def _error_of(running: _Running) -> BaseException | None:
    if not running.done():
        return None
    if running.cancelled():
        return asyncio.CancelledError()
    return running.exception()
