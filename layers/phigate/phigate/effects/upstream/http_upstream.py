"""Upstream calls over HTTP/1.1: https to the row's host, no redirect followed, no proxy, bounds on
every part. A pooled socket that was unused for SOCKET_UNUSED_MAX_S, or on which something came that
nobody asked for, is not used again: it could be another caller's answer.

Law: a request is sent with the access of its moment. One that changed since the last request is
followed at once; with one that is gone nothing is sent.
Errors of aiohttp become outcomes by the table at the end.
"""

import asyncio
from collections.abc import Awaitable

import aiohttp

from phigate.core import limits
from phigate.core.clock import Clock
from phigate.core.errors import NotSent, UpstreamFailed
from phigate.core.types import Row
from phigate.core.upstream import Fetched, Head, UpstreamFetch, UpstreamRequest
from phigate.effects.clock import WallClock
from phigate.effects.fresh_connections import FreshConnections
from phigate.effects.upstream.credentials import AUTH_SCHEMES, AccessSource, Credential
from phigate.effects.upstream.resolver import UpstreamResolver

_READ_BUFFER_BYTES = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpUpstream:
    """One connection pool for all providers; made inside the running event loop. `access` is
    asked before each request."""

    def __init__(self, access: AccessSource, clock: Clock | None = None) -> None:
        self._access = access
        self._clock = clock or WallClock()
        # By provider and header, with the key that it was made of.
        self._credentials: dict[tuple[str, str], tuple[str, Credential]] = {}
        self._session = aiohttp.ClientSession(
            connector=FreshConnections(
                self._clock,
                limits.SOCKET_UNUSED_MAX_S,
                ttl_dns_cache=60,
                resolver=UpstreamResolver(),
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
        """Start one POST. Raises NotSent."""
        url, credential = self._reached(request.row, request.region, request.path)
        headers = {
            **request.headers,
            "content-type": "application/json",
            "accept-encoding": "identity",
        }
        return HttpExchange(_posted(self._session, url, headers, request.body, credential))

    async def fetch(self, request: UpstreamFetch) -> Fetched:
        """See Upstream.fetch."""
        url, credential = self._reached(request.row, request.region, request.path)
        exchange = HttpExchange(_got(self._session, url, credential))
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(request.timeout_s):
                head = await exchange.headers(request.timeout_s)
                if head is None:
                    raise UpstreamFailed("timeout")
                while (piece := await exchange.next_chunk(request.timeout_s)) is not None:
                    pieces.append(piece)
                    size += len(piece)
                    if size > request.bytes_max:
                        raise UpstreamFailed("oversized")
        except TimeoutError as exc:
            raise UpstreamFailed("timeout") from exc
        finally:
            exchange.close()
        return Fetched(head.status, b"".join(pieces))

    def _reached(self, row: Row, region: str, path: str) -> tuple[str, Credential]:
        """Where a row answers and what it is shown, both by one access. Raises NotSent."""
        access = self._access.get(row.provider)
        place = row.places[region]
        if access is None or not access.api_key:
            raise NotSent("no_key")
        if access.override != row.override:
            # Nothing goes to an address that the order does not know of: the gate judged another.
            raise NotSent("overridden")
        try:
            base = access.base_url or place.base_url.format_map(access.variables)
        except KeyError:
            # A secret that was filled for another snapshot's URL than the one of this order.
            raise NotSent("no_key") from None
        return base.rstrip("/") + path, self._credential(row, access.api_key)

    def _credential(self, row: Row, key: str) -> Credential:
        """The key's own: what was made of another one, a token too, is let go."""
        made_of, known = self._credentials.get((row.provider, row.auth), (None, None))
        if known is None or made_of != key:
            known = AUTH_SCHEMES[row.auth](key, self._session, self._clock)
            self._credentials[row.provider, row.auth] = key, known
        return known

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()


def _posted(
    session: aiohttp.ClientSession,
    url: str,
    headers: dict[str, str],
    body: bytes,
    credential: Credential,
) -> Awaitable[aiohttp.ClientResponse]:
    """The POST to wait for. A key that is at hand costs no coroutine of our own."""
    if credential.ready is None:
        return _posted_late(session, url, headers, body, credential)
    name, value = credential.ready
    headers[name] = value
    return session.post(url, data=body, headers=headers, allow_redirects=False)


async def _posted_late(
    session: aiohttp.ClientSession,
    url: str,
    headers: dict[str, str],
    body: bytes,
    credential: Credential,
) -> aiohttp.ClientResponse:
    name, value = await credential.header()
    headers[name] = value
    return await session.post(url, data=body, headers=headers, allow_redirects=False)


async def _got(
    session: aiohttp.ClientSession, url: str, credential: Credential
) -> aiohttp.ClientResponse:
    name, value = credential.ready or await credential.header()
    headers = {name: value, "accept": "application/json", "accept-encoding": "identity"}
    return await session.get(url, headers=headers, allow_redirects=False)


class HttpExchange:
    """One call under way (see core.upstream.UpstreamResponse)."""

    def __init__(self, sending: Awaitable[aiohttp.ClientResponse]) -> None:
        self._sending = asyncio.ensure_future(sending)
        self._answer: aiohttp.ClientResponse | None = None
        self._bytes = 0

    async def headers(self, wait_s: float) -> Head | None:
        """See UpstreamResponse.headers."""
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

    async def next_chunk(self, wait_s: float) -> bytes | None:
        """See UpstreamResponse.next_chunk."""
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
        """See UpstreamResponse.close."""
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
