"""The shapes that the modules share; no decisions."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

# https://asgi.readthedocs.io/en/latest/specs/main.html
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = Iterable[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the Runtime API hands out: the event as bytes, and what it says about it."""

    request_id: str
    deadline_s: float
    event: bytes
    function_arn: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as ASGI sees it: the scope and the whole body."""

    scope: Scope
    body: bytes


class Failure(StrEnum):
    """Why an answer was not brought to its end by the application."""

    FAILED = "app_failed"
    INCOMPLETE = "app_incomplete"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"


class Failures(Protocol):
    """What a caller reads when the application did not finish. Names only, never content."""

    def answer(self, failure: Failure) -> tuple[int, RawHeaders, bytes]:
        """The whole answer, when nothing has been sent yet."""

    def in_band(self, failure: Failure, content_type: str, tail: bytes) -> bytes:
        """The last bytes of an answer that had begun; `tail` is how it ended so far."""


class Journal(Protocol):
    """Where the runtime writes what it has seen: names, ids and counts, never content."""

    def note(self, event: str, **fields: object) -> None:
        """Write one line."""


class Timer(Protocol):
    """What an alarm gives back."""

    def cancel(self) -> None:
        """Do not ring."""


# Calls the function when the wall clock shows so many seconds.
Alarm = Callable[[float, Callable[[], None]], Timer]
