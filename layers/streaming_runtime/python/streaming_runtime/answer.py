"""The two callables that ASGI gives an application for one request.

Laws: nothing leaves before the first body message, so a failure until then still gets a whole
answer; the last body message ends the answer, whatever the application does afterwards; an answer
is ended once. Specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

from streaming_runtime.errors import AppBroke, Report, ResponseGone
from streaming_runtime.failures import MESSAGES, PlainFailures
from streaming_runtime.prelude import Head, head_of, prelude
from streaming_runtime.sinks import Sink
from streaming_runtime.types import Failure, Failures, Message

TAIL_BYTES = 4  # what is remembered of a body: whether an event had ended

_Step = Callable[["Answer", Message], Awaitable[None]]


class State(StrEnum):
    """How far an answer has come."""

    WAITING = "waiting"
    STARTED = "started"
    OPEN = "open"
    COMPLETE = "complete"
    GONE = "gone"


class Answer:
    """One answer on its way out."""

    def __init__(self, sink: Sink, body: bytes, *, is_head: bool) -> None:
        self.state = State.WAITING
        self._sink = sink
        self._request_body: bytes | None = body
        self._is_head = is_head
        self._head: Head | None = None
        self._may_have_body = not is_head
        self._tail = b""
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be said."""
        return self.state in (State.COMPLETE, State.GONE) or self._sink.has_ended

    async def receive(self) -> Message:
        """The body in one piece; then, when the answer is over, http.disconnect.

        Lambda does not tell that a caller has hung up.
        """
        body, self._request_body = self._request_body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take one message of the application."""
        if self.state is State.GONE:
            raise ResponseGone("The answer was ended.")
        step = _STEPS.get((self.state, message["type"]))
        if step is None:
            raise AppBroke(f"{message['type']} does not fit an answer that is {self.state}.")
        try:
            await step(self, message)
        except ResponseGone:
            self._end(State.GONE)
            raise

    async def end(self, failure: Failure, failures: Failures) -> None:
        """Bring what the application left to its end. Raises nothing that it could have caused."""
        if self.is_over:
            return
        self._end(State.GONE)
        try:
            if self._sink.has_begun:
                report = Report(f"Runtime.{failure.name.title()}", MESSAGES[failure])
                await self._sink.cut(self._last_bytes(failure, failures), report)
            else:
                head, body = _whole(failure, failures)
                has_body = head.may_have_body and not self._is_head
                await self._sink.open(head, body if has_body else b"", last=True)
        except ResponseGone:
            return

    def _last_bytes(self, failure: Failure, failures: Failures) -> bytes:
        if not self._may_have_body or self._head is None or "content-length" in self._head.headers:
            return b""
        try:
            return bytes(failures.in_band(failure, self._head.content_type, self._tail))
        except Exception:  # plugged in by others; the answer has to end all the same
            return b""

    async def _start(self, message: Message) -> None:
        self._head = head_of(message)
        self._may_have_body &= self._head.may_have_body
        self.state = State.STARTED

    async def _first(self, message: Message) -> None:
        body, last = self._piece(message)
        if self._head is not None:
            await self._sink.open(self._head, body, last=last)
        self._after(last)

    async def _more(self, message: Message) -> None:
        body, last = self._piece(message)
        await self._sink.write(body, last=last)
        self._after(last)

    def _piece(self, message: Message) -> tuple[bytes, bool]:
        body = message.get("body", b"") if self._may_have_body else b""
        if len(body) >= TAIL_BYTES:
            self._tail = body[-TAIL_BYTES:]
        elif body:
            self._tail = (self._tail + body)[-TAIL_BYTES:]
        return body, not message.get("more_body", False)

    def _after(self, last: bool) -> None:
        if last:
            self._end(State.COMPLETE)
        else:
            self.state = State.OPEN

    def _end(self, state: State) -> None:
        self.state = state
        self._over.set()


def _whole(failure: Failure, failures: Failures) -> tuple[Head, bytes]:
    try:
        return _checked(failure, failures)
    except Exception:  # plugged in by others; the caller gets an answer all the same
        return _checked(failure, PlainFailures())


def _checked(failure: Failure, failures: Failures) -> tuple[Head, bytes]:
    status, headers, body = failures.answer(failure)
    head = head_of({"status": status, "headers": headers})
    prelude(head)  # for its size
    return head, bytes(body)


_STEPS: Mapping[tuple[State, str], _Step] = {
    (State.WAITING, "http.response.start"): Answer._start,
    (State.STARTED, "http.response.body"): Answer._first,
    (State.OPEN, "http.response.body"): Answer._more,
}
