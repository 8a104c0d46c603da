"""What a caller reads when the application did not finish, unless another set is plugged in."""

import json
from collections.abc import Mapping

from streaming_runtime.types import JSON_TYPE, Failure, RawHeaders


class PlainFailures:
    """JSON before the first byte; behind it one last event in a stream of events, else nothing."""

    def answer(self, failure: Failure) -> tuple[int, RawHeaders, bytes]:
        """See types.Failures."""
        return _STATUS[failure], [JSON_TYPE], _envelope(failure)

    def in_band(self, failure: Failure, content_type: str, tail: bytes) -> bytes:
        """See types.Failures."""
        if not content_type.startswith("text/event-stream"):
            return b""
        # An event that was cut in two must not swallow this one.
        gap = b"" if tail.endswith((b"\n\n", b"\r\n\r\n")) else b"\n\n"
        return gap + b"data: " + _envelope(failure) + b"\n\n"


def _envelope(failure: Failure) -> bytes:
    error = {"message": MESSAGES[failure], "type": "server_error", "code": failure.value}
    return json.dumps({"error": error}).encode()


MESSAGES: Mapping[Failure, str] = {
    Failure.FAILED: "The application failed.",
    Failure.INCOMPLETE: "The application ended without finishing its answer.",
    Failure.DEADLINE: "The time for this call is over.",
    Failure.SHUTDOWN: "The server is being shut down.",
}
_STATUS: Mapping[Failure, int] = {
    Failure.FAILED: 500,
    Failure.INCOMPLETE: 500,
    Failure.DEADLINE: 504,
    Failure.SHUTDOWN: 503,
}
