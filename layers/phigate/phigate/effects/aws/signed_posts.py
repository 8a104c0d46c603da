"""Signed POSTs to one service of AWS. A clock that is wrong costs one more POST, once.

Law: only a POST that AWS refused for its signature's time is sent again: nothing of it was done.
The clock itself is not touched; what a request is judged or charged by stays on it.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import orjson

from phigate.core.clock import Clock
from phigate.effects.aws.sigv4 import CONTENT_TYPE, CredentialsSource, RequestSigner
from phigate.effects.posts import Bounds, Posts, Reply

# AWS takes a signature for 5 minutes. A refusal while the clocks agree has another cause.
SKEW_LEAST_S = 240.0
# What the SDKs take for a clock's doing: the first three are nothing else.
SKEW_ERRORS = frozenset(
    {
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "AuthFailure",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
    }
)
_REFUSED = frozenset({400, 401, 403})


class SignedPosts:
    """The connections to a service, and what signs for it. `close` it at the end."""

    def __init__(
        self,
        *,
        service: str,
        endpoint: str,
        region: str,
        credentials: CredentialsSource,
        clock: Clock,
        bounds: Bounds,
        content_type: str = CONTENT_TYPE,
    ) -> None:
        self._clock = clock
        self._signer = RequestSigner(
            # A socket has no host, and HTTP wants one.
            host=urlsplit(endpoint).netloc or "localhost",
            region=region,
            service=service,
            source=credentials,
            content_type=content_type,
        )
        self._posts = Posts(endpoint=endpoint, clock=clock, bounds=bounds)
        self._skew_s = 0.0

    async def post(self, target: str, body: bytes) -> Reply:
        """Send one call; `target` is its X-Amz-Target. Raises OSError, TimeoutError."""
        reply = await self._posts.post(self._headers(target, body), body)
        if reply.status not in _REFUSED or error_name(reply.body) not in SKEW_ERRORS:
            return reply
        skew_s = _seconds_of(reply.date, self._clock.now_s()) - self._clock.now_s()
        if abs(skew_s - self._skew_s) < SKEW_LEAST_S:
            return reply
        self._skew_s = skew_s
        return await self._posts.post(self._headers(target, body), body)

    async def close(self) -> None:
        """Close what is open. A later POST opens new connections."""
        await self._posts.close()

    def _headers(self, target: str, body: bytes) -> dict[str, str]:
        now_s = self._clock.now_s() + self._skew_s
        return self._signer.headers(now_s=now_s, target=target, body=body)


def error_name(body: bytes) -> str:
    """What an answer calls its error, without the namespace that some services put before it."""
    try:
        members = orjson.loads(body)
    except ValueError:
        return ""
    named = members.get("__type", "") if isinstance(members, dict) else ""
    return str(named).rpartition("#")[2]


def _seconds_of(date: str, unknown_s: float) -> float:
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return unknown_s
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
