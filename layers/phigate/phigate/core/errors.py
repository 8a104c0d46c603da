"""Every error the gateway answers with; docs/api.md has the table in its order of precedence.

PhigateError
├── CallerError          the caller can mend it
│   ├── InvalidApiKey · NotFound · MethodNotAllowed · UnsupportedEncoding · RequestTooLarge
│   ├── RequestTimeout · InvalidRequest · KeyPolicyViolated · RegionNotServed · ModelNotFound
│   ├── NoRoute · PhiBlocked
│   └── InsufficientCredit · RateLimited · ServerToolLimit
├── UpstreamError        no provider could serve it
│   └── UpstreamTimeout · ServerToolError · SandboxError
└── GatewayError         the operator can mend it
    └── Overloaded · InternalError

A message says what was wrong and what to do. It never holds a prompt, an answer or a key.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from phigate.core.limits import PATH_CHARS_MAX


def member_path(*steps: str | int) -> str:
    """The path of a member for people, as `messages.3.content`: made when something is refused, and
    cut, since the names in it are the caller's own words."""
    return _cut(".".join(map(str, steps)))


def _cut(written: str) -> str:
    if len(written) <= PATH_CHARS_MAX:
        return written
    return written[: PATH_CHARS_MAX - 1] + "…"


class PhigateError(Exception):
    """Base of the tree. `extra` are further members of the envelope, `headers` of the answer."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = None if param is None else _cut(param)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, Any]:
        """The OpenAI error body: `{"error": {"message", "type", "code", "param", …}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "code": self.code,
                "param": self.param,
                **self.extra,
            }
        }


class CallerError(PhigateError):
    """The request cannot be served as it was sent."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class InvalidApiKey(CallerError):
    """Missing, malformed, unknown, disabled or expired key."""

    status, code, type = 401, "invalid_api_key", "authentication_error"


class NotFound(CallerError):
    """No such endpoint or object."""

    status, code, type = 404, "not_found", "invalid_request_error"


class MethodNotAllowed(CallerError):
    """The endpoint exists and does not take this method."""

    status, code, type = 405, "method_not_allowed", "invalid_request_error"


class UnsupportedEncoding(CallerError):
    """A Content-Encoding other than identity."""

    status, code, type = 415, "unsupported_encoding", "invalid_request_error"


class RequestTooLarge(CallerError):
    """The body is over BODY_BYTES_MAX."""

    status, code, type = 413, "request_too_large", "invalid_request_error"


class RequestTimeout(CallerError):
    """The body was not whole within BODY_TIMEOUT_S."""

    status, code, type = 408, "request_timeout", "invalid_request_error"


class InvalidRequest(CallerError):
    """Not JSON, a wrong type or range; `param` names the member."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class KeyPolicyViolated(CallerError):
    """A header or model against the key's policy."""

    status, code, type = 403, "key_policy", "permission_error"


class RegionNotServed(CallerError):
    """This stack does not serve the jurisdiction."""

    status, code, type = 421, "region_not_served", "invalid_request_error"


class ModelNotFound(CallerError):
    """The name is no row, upstream id or alias."""

    status, code, type = 404, "model_not_found", "invalid_request_error"


class NoRoute(CallerError):
    """No live row serves what was asked in the region."""

    status, code, type = 404, "no_route", "invalid_request_error"


class PhiBlocked(CallerError):
    """No row with an agreement in force serves PHI in the region."""

    status, code, type = 403, "phi_blocked", "permission_error"


class InsufficientCredit(CallerError):
    """The hold was refused for lack of credit."""

    status, code, type = 402, "insufficient_credit", "insufficient_quota"


class RateLimited(CallerError):
    """Too many calls, holds or refusals; `retry-after` says when to come back."""

    status, code, type = 429, "rate_limited", "rate_limit_error"


class ServerToolLimit(CallerError):
    """The caller's `max_tool_calls` or the loop limit was reached."""

    status, code, type = 400, "server_tool_limit", "invalid_request_error"


class UpstreamError(PhigateError):
    """Every candidate failed; `extra["attempts"]` lists them."""

    status, code, type = 502, "upstream_error", "upstream_error"


class UpstreamTimeout(UpstreamError):
    """The deadline passed before a candidate answered."""

    status, code = 504, "upstream_timeout"


class ServerToolError(UpstreamError):
    """A server tool loop did not come to an answer."""

    status, code = 502, "server_tool_error"


class SandboxError(UpstreamError):
    """The sandbox could not run."""

    status, code = 503, "sandbox_error"


class GatewayError(PhigateError):
    """The fault is ours."""


class Overloaded(GatewayError):
    """The ledger, the catalog or the key store cannot be reached in time."""

    status, code = 503, "overloaded"


class InternalError(GatewayError):
    """A bug: counted, alarmed."""


class UpstreamFailed(Exception):
    """One attempt failed before its answer was complete; never reaches the caller as such.

    `outcome` is the attempt's outcome (`connect`, `timeout`, `malformed`, `oversized`, …).
    """

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class CallerCaused(UpstreamFailed):
    """The row obeyed, and what the caller asked for cannot be handed on: `oversized`, `unreadable`,
    `deadline`. It was written, so it is charged; no other row would do better (see
    `core.request.levers`)."""


class NotSent(UpstreamFailed):
    """Nothing was sent, so no provider has failed: `unsuited`, `drops_parameters`, `no_key`,
    `overridden`."""


class SvgRefused(ValueError):
    """Nothing that could be shown is left of an SVG; says why, and never quotes it."""
