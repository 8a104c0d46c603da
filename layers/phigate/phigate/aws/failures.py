"""What a caller reads when the application did not finish: our envelope, before or in the stream.

Has the shape of the runtime layer's `types.Failures`, which is named by the environment, not
imported: the layer knows nothing of the gateway, nor the gateway of it.
"""

from collections.abc import Iterable, Mapping

import orjson

from phigate.core.errors import InternalError, Overloaded, PhigateError, UpstreamTimeout
from phigate.wire import sse


class EnvelopeFailures:
    """Chosen by the failure's name; a name that is not known is a bug of ours."""

    def answer(self, failure: str) -> tuple[int, Iterable[tuple[bytes, bytes]], bytes]:
        """See types.Failures."""
        error = _error(failure)
        headers = {"content-type": "application/json", **error.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        return error.status, raw, orjson.dumps(error.envelope())

    def in_band(self, failure: str, content_type: str, tail: bytes) -> bytes:
        """See types.Failures."""
        if not content_type.startswith("text/event-stream"):
            return b""
        # An event that was cut in two must not swallow this one.
        gap = b"" if tail.endswith(b"\n\n") else b"\n\n"
        return gap + sse.data_event(orjson.dumps(_error(failure).envelope())) + sse.DONE


def _error(failure: str) -> PhigateError:
    kind, message = _ERRORS.get(str(failure), _BUG)
    return kind(message)


_BUG: tuple[type[PhigateError], str] = (
    InternalError,
    "An error of the gateway's own; it was counted.",
)
_ERRORS: Mapping[str, tuple[type[PhigateError], str]] = {
    "deadline": (UpstreamTimeout, "The time for this call is over."),
    "shutdown": (Overloaded, "The gateway is being shut down; try again."),
}
FAILURES = EnvelopeFailures()
