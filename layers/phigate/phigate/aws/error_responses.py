"""What a caller reads when the application did not finish: our envelope, before or in the stream.

Has the shape of the runtime layer's `types.Failures`, which is named by the environment, not
imported: the layer knows nothing of the gateway, nor the gateway of it.
"""

from collections.abc import Iterable, Mapping

import orjson

from phigate.core.errors import Overloaded, PhigateError, UpstreamTimeout
from phigate.http.asgi import enveloped, internal_error
from phigate.http.chat import raw_headers
from phigate.wire import sse


class EnvelopeFailures:
    """Chosen by the failure's name; a name that is not known is a bug of ours."""

    def answer(self, failure: str) -> tuple[int, Iterable[tuple[bytes, bytes]], bytes]:
        """See types.Failures."""
        status, headers, body = enveloped(_error(failure))
        return status, raw_headers(headers), body

    def in_band(self, failure: str, content_type: str, tail: bytes) -> bytes:
        """See types.Failures."""
        if not content_type.startswith("text/event-stream"):
            return b""
        # An event that was cut in two must not swallow this one.
        gap = b"" if tail.endswith(b"\n\n") else b"\n\n"
        return gap + sse.data_event(orjson.dumps(_error(failure).envelope())) + sse.DONE


def _error(failure: str) -> PhigateError:
    if failure not in _ERRORS:
        return internal_error()
    kind, message = _ERRORS[failure]
    return kind(message)


_ERRORS: Mapping[str, tuple[type[PhigateError], str]] = {
    "deadline": (UpstreamTimeout, "The time for this call is over."),
    "shutdown": (Overloaded, "The gateway is being shut down; try again."),
}
FAILURES = EnvelopeFailures()
