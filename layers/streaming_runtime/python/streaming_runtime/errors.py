"""The errors of the runtime, and how Lambda is told of one.

RuntimeFailure
  EventRefused          the event's fault: POST .../error, and the process lives on
    MalformedEvent        not JSON, or a member of a wrong type
    UnsupportedEvent      another kind of event than API Gateway's proxy event, format 1.0
  AppBroke              the application's fault: it broke ASGI's rules
    HeadRefused           a status or header that must not go out
    AnswerTooLarge        a buffered answer above what Lambda takes
  HandlerNotFound       the function's fault: nothing can be started
  LifespanFailed        the application refused to start
  RuntimeApiGone        Lambda's fault: the process has to end
ResponseGone (OSError)  what ASGI wants send() to raise when nobody reads any more

No message quotes an event, a body or a header: it may reach a log.
"""

import base64
import json
from dataclasses import dataclass, field
from traceback import walk_tb

FRAMES_MAX = 8  # enough to find the line; a trailer should stay well under 8 KB


class RuntimeFailure(Exception):
    """The root of the tree."""


class EventRefused(RuntimeFailure):
    """The event cannot become a request."""

    type = "Runtime.EventRefused"


class MalformedEvent(EventRefused):
    """Not JSON, or a member of a wrong type."""

    type = "Runtime.MalformedEvent"


class UnsupportedEvent(EventRefused):
    """An event of another source."""

    type = "Runtime.UnsupportedEvent"


class AppBroke(RuntimeFailure):
    """The application sent what ASGI does not allow."""


class HeadRefused(AppBroke):
    """A status or a header that must not go out."""


class AnswerTooLarge(AppBroke):
    """A buffered answer above what Lambda takes."""


class HandlerNotFound(RuntimeFailure):
    """The handler's name leads to nothing that can be run."""


class LifespanFailed(RuntimeFailure):
    """The application answered lifespan.startup.failed."""


class RuntimeApiGone(RuntimeFailure):
    """The Runtime API cannot be reached, or says that this environment is beyond repair."""


class ResponseGone(OSError):
    """Nobody reads this answer any more."""


@dataclass(frozen=True, slots=True)
class Report:
    """An error as the Runtime API takes it."""

    type: str
    message: str
    frames: list[str] = field(default_factory=list)

    def json(self) -> bytes:
        """https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-invokeerror"""
        return json.dumps(
            {"errorMessage": self.message, "errorType": self.type, "stackTrace": self.frames}
        ).encode()

    def trailers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The same behind a streamed answer."""
        return (
            (b"Lambda-Runtime-Function-Error-Type", self.type.encode()),
            (b"Lambda-Runtime-Function-Error-Body", base64.b64encode(self.json())),
        )


def frames_of(error: BaseException) -> list[str]:
    """The innermost places the error passed, without its text."""
    places = [
        f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return places[-FRAMES_MAX:]


def start_report(kind: str, error: BaseException) -> Report:
    """An error of the start. With its text: no request has been read yet."""
    if not isinstance(error, RuntimeFailure):
        return Report(kind, f"{type(error).__name__}: {error}", frames_of(error))
    cause = error.__cause__
    if cause is None:
        return Report(kind, str(error), frames_of(error))
    return Report(kind, f"{error} {type(cause).__name__}: {cause}", frames_of(cause))
