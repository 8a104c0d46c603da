"""POSTs to one host over kept connections of aiohttp, within bounds and never repeated.

Law 1: a POST whose answer is lost, cut, coded or of no known length has an unknown outcome, and is
the caller's to repeat. aiohttp repeats no POST either.
Law 2: nothing of the environment leads it elsewhere: no redirect, no proxy, no cookie.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler

from phigate.core.clock import Clock
from phigate.effects.fresh_connections import FreshConnections
from phigate.effects.handed_socket import SCHEME, handed_socket

ANSWER_BYTES_MAX = 32 * 1024 * 1024  # DynamoDB's largest answer is 16 MB
_NOT_SENT = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class ConnectionBroken(OSError):
    """The connection ended, or what came was no answer. Whether the POST arrived is unknown."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one host's connections. At most `connections_max` POSTs are on their way at once."""

    connections_max: int
    connect_timeout_s: float
    unused_max_s: float
    answer_timeout_s: float  # of silence; the whole POST has this and the time to connect


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `date` is the header of that name, empty where there is none."""

    status: int
    date: str
    body: bytes


class Posts:
    """A pool for one endpoint: a URL, or `unix:` and the path of a socket that hands connections
    out. Nothing is opened before the first POST."""

    def __init__(self, *, endpoint: str, clock: Clock, bounds: Bounds) -> None:
        url = urlsplit(endpoint)
        self._handed_by = url.path if url.scheme == SCHEME else None
        # A socket has no host, and HTTP wants one.
        self._url = f"{url.scheme}://{url.netloc}/" if url.netloc else "http://localhost/"
        self._clock = clock
        self._bounds = bounds
        self._places = asyncio.Semaphore(bounds.connections_max)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send one request. Raises OSError or TimeoutError; the outcome is then unknown."""
        async with self._places:
            session = self._session or self._opened()
            try:
                async with session.post(
                    self._url, data=body, headers=headers, allow_redirects=False
                ) as answer:
                    return Reply(
                        answer.status, answer.headers.get("Date", ""), await _content(answer)
                    )
            # Errors of aiohttp know the request's headers, which nobody may show.
            except TimeoutError:
                raise TimeoutError("no answer in time") from None
            except (aiohttp.ClientError, ValueError) as exc:
                raise ConnectionBroken(type(exc).__name__) from None

    async def close(self) -> None:
        """Close what is open. A later POST opens a new pool."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        bounds = self._bounds
        self._session = aiohttp.ClientSession(
            connector=_HandedConnections(self._clock, bounds.unused_max_s, self._handed_by),
            timeout=aiohttp.ClientTimeout(
                total=bounds.connect_timeout_s + bounds.answer_timeout_s,
                connect=bounds.connect_timeout_s,
                sock_read=bounds.answer_timeout_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=_NOT_SENT,
        )
        return self._session


async def _content(answer: aiohttp.ClientResponse) -> bytes:
    """The body, of which the head says how long it is and that it is plain."""
    length = answer.content_length
    is_bound = length is not None and length <= ANSWER_BYTES_MAX
    is_plain = "Content-Encoding" not in answer.headers
    if not (is_bound and is_plain and answer.version == aiohttp.HttpVersion11):
        answer.close()
        raise ConnectionBroken("the answer is not one this client knows")
    return await answer.read()


class _HandedConnections(FreshConnections):
    """Fresh connections to the endpoint, or those that a socket hands out."""

    def __init__(self, clock: Clock, unused_max_s: float, handed_by: str | None) -> None:
        super().__init__(clock, unused_max_s, use_dns_cache=False)
        self._handed_by = handed_by

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        if self._handed_by is None:
            return await super()._create_connection(req, traces, timeout)
        connected = await handed_socket(self._handed_by)
        connected.setblocking(False)
        is_tcp = connected.family == socket.AF_INET
        take = self._loop.create_connection if is_tcp else self._loop.create_unix_connection
        _, protocol = await take(self._factory, sock=connected)
        return protocol
