"""Upstream calls over HTTP/1.1: https to the row's host, no redirect followed, no proxy, bounds on
every part. A pooled socket that was unused for SOCKET_UNUSED_MAX_S is not used for a POST.

Errors of aiohttp become outcomes by the table at the end.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from phigate.core import limits
from phigate.core.errors import UpstreamFailed
from phigate.core.protocols import Head, UpstreamRequest

_READ_BUFFER_BYTES = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Access:
    """How this stack reaches one provider.

    `base_url` replaces every row's own (the local stack's simulated providers); `variables` fill
    the names in a row's base URL.
    """

    api_key: str
    base_url: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def _bearer(key: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {key}")


def _named(name: str) -> Callable[[str], tuple[str, str]]:
    return lambda key: (name, key)


AUTH_HEADERS: Mapping[str, Callable[[str], tuple[str, str]]] = {
    "bearer": _bearer,
    "x-api-key": _named("x-api-key"),
    "api-key": _named("api-key"),
}


class HttpUpstream:
    """One connection pool for all providers; made inside the running event loop."""

    def __init__(self, access: Mapping[str, Access]) -> None:
        self._access = access
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=limits.SOCKET_UNUSED_MAX_S, ttl_dns_cache=60
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            # Half of what a burst of 200 chunks has: fewer pauses of the socket.
            read_bufsize=_READ_BUFFER_BYTES,
        )

    def open(self, request: UpstreamRequest) -> "HttpExchange":
        """Start one POST."""
        access = self._access[request.row.provider]
        place = request.row.places[request.region]
        base = access.base_url or place.base_url.format_map(access.variables)
        name, value = AUTH_HEADERS[request.row.auth](access.api_key)
        headers = {
            **request.headers,
            "content-type": "application/json",
            "accept-encoding": "identity",
            name: value,
        }
        return HttpExchange(self._session, base.rstrip("/") + request.path, headers, request.body)

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()


class HttpExchange:
    """One POST under way (see core.protocols.Exchange)."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        self._sending = asyncio.ensure_future(
            session.post(url, data=body, headers=headers, allow_redirects=False)
        )
        self._answer: aiohttp.ClientResponse | None = None
        self._bytes = 0

    async def head(self, wait_s: float) -> Head | None:
        """See Exchange.head."""
        await asyncio.wait((self._sending,), timeout=wait_s)
        if not self._sending.done():
            return None
        try:
            self._answer = self._sending.result()
        except FOREIGN as exc:
            raise UpstreamFailed(outcome_of(exc)) from exc
        if self._answer.status in _REDIRECTS:
            raise UpstreamFailed("redirect")
        if self._answer.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamFailed("malformed")
        return Head(self._answer.status, self._answer.content_type.lower())

    async def piece(self, wait_s: float) -> bytes | None:
        """See Exchange.piece."""
        if self._answer is None:
            raise RuntimeError("piece() before head()")
        silence = asyncio.timeout(wait_s)
        try:
            async with silence:
                piece = await self._answer.content.readany()
        except FOREIGN as exc:
            if silence.expired():
                return b""
            raise UpstreamFailed(outcome_of(exc)) from exc
        self._bytes += len(piece)
        if self._bytes > limits.UPSTREAM_BODY_BYTES_MAX:
            raise UpstreamFailed("oversized")
        return piece or None

    def close(self) -> None:
        """See Exchange.close."""
        if self._answer is not None:
            # Dropping is right when bytes are left, and harmless at the end of the body.
            self._answer.close()
        elif self._sending.done():
            if not self._sending.cancelled() and self._sending.exception() is None:
                self._sending.result().close()
        else:
            self._sending.cancel()


FOREIGN = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


def outcome_of(exc: BaseException) -> str:
    """The attempt's outcome for an error of aiohttp; the most specific class wins."""
    for kind, outcome in OUTCOMES:
        if isinstance(exc, kind):
            return outcome
    return "connect"


OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ServerTimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientPayloadError, "cut"),
    (aiohttp.ServerDisconnectedError, "connect"),
    (aiohttp.ClientConnectorError, "connect"),
    (aiohttp.ClientResponseError, "malformed"),
    (aiohttp.InvalidURL, "connect"),
    (aiohttp.ClientError, "connect"),
    (OSError, "connect"),
    (ValueError, "malformed"),
)
