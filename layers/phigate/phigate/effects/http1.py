"""POSTs to one host over kept HTTP/1.1 connections, for calls whose own cost counts.

A general client spends 0.3 ms of CPU on what DynamoDB needs 0.05 ms for. This one knows one method
and answers with a Content-Length, and takes everything else for a broken connection.
Specification: https://www.rfc-editor.org/rfc/rfc9112
"""

import asyncio
import functools
import re
import socket
import ssl
from typing import cast
from urllib.parse import urlsplit

from phigate.core.clock import Clock
from phigate.effects.handed_socket import SCHEME, handed_socket

ANSWER_BYTES_MAX = 32 * 1024 * 1024  # DynamoDB's largest answer is 16 MB
HEAD_BYTES_MAX = 16 * 1024  # its heads have some 300 bytes

_HEAD = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)
_CODED = re.compile(rb"\r\n(?:transfer-encoding|content-encoding):", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)


class ConnectionBroken(OSError):
    """The connection ended, or what came was no answer. Whether the POST arrived is unknown."""


class Posts:
    """A pool for one endpoint. At most `connections_max` calls are on their way at once.

    The endpoint is a URL, or `unix:` and the path of a socket that hands connections out.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        clock: Clock,
        connections_max: int,
        connect_timeout_s: float,
        unused_max_s: float,
    ) -> None:
        url = urlsplit(endpoint)
        tls = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or (443 if tls else 80)
        self._handed_by = url.path if url.scheme == SCHEME else None
        self._tls = _trusting_the_systems_authorities() if tls else None
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._unused_max_s = unused_max_s
        self._places = asyncio.Semaphore(connections_max)
        self._idle: list[tuple[Connection, float]] = []

    async def post(self, head: bytes, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Send one request; `head` is its lines up to Content-Length. Status and body come back.

        Raises OSError or TimeoutError; the outcome is then unknown.
        """
        async with self._places:
            connection = self._kept() or await self._connect()
            message = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
            try:
                status, content, may_stay = await connection.exchange(message, timeout_s)
            except BaseException:
                # Also when the caller is cancelled: the answer would reach the next one.
                connection.abort()
                raise
            if may_stay:
                self._idle.append((connection, self._clock.now_s()))
            else:
                connection.abort()
            return status, content

    def close(self) -> None:
        """Close what is idle. A later post opens a new connection."""
        while self._idle:
            self._idle.pop()[0].abort()

    def _kept(self) -> "Connection | None":
        """The connection used last, if it can be trusted: a frozen one may have died unseen."""
        now_s = self._clock.now_s()
        while self._idle:
            connection, used_at_s = self._idle.pop()
            if connection.is_open() and 0 <= now_s - used_at_s <= self._unused_max_s:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "Connection":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout_s):
            if self._handed_by is not None:
                return await _connection_on(await handed_socket(self._handed_by))
            _, protocol = await loop.create_connection(
                Connection, self._host, self._port, ssl=self._tls
            )
        return protocol


async def _connection_on(connected: socket.socket) -> "Connection":
    """A connection on a socket that is connected already: TCP, or half a pair."""
    loop = asyncio.get_running_loop()
    is_tcp = connected.family == socket.AF_INET
    take = loop.create_connection if is_tcp else loop.create_unix_connection
    connected.setblocking(False)
    _, protocol = await take(Connection, sock=connected)
    return protocol


@functools.cache
def _trusting_the_systems_authorities() -> ssl.SSLContext:
    """One for all pools: reading 140 authorities takes 16 ms of a cold start."""
    return ssl.create_default_context()


class Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes, bool]] | None = None
        self._received = bytearray()
        self._whole = 0

    async def exchange(self, message: bytes, timeout_s: float) -> tuple[int, bytes, bool]:
        """Send a request and wait for its answer: status, body, whether the connection stays."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionBroken("the connection was closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[int, bytes, bool]] = loop.create_future()
        self._answer = answer
        timer = loop.call_later(timeout_s, self._fail, TimeoutError("no answer in time"))
        transport.write(message)
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None

    def is_open(self) -> bool:
        """Whether a request may be sent, as far as this side knows."""
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop hands over the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has gone."""
        self._transport = None
        self._fail(ConnectionBroken("the connection was lost"))

    def data_received(self, data: bytes) -> None:
        """Collect an answer. Bytes that nobody asked for end the connection."""
        if self._answer is None or self._answer.done():
            self.abort()
            return
        received = self._received
        received += data
        if not self._whole and not self._read_head(received):
            return
        if len(received) > self._whole:
            self._fail(ConnectionBroken("more than the answer came"))
        elif len(received) == self._whole:
            self._finish(bytes(received))

    def _read_head(self, received: bytearray) -> bool:
        """Learn how long the answer is; false while the head is not there, or is no head."""
        end = received.find(b"\r\n\r\n")
        if end < 0:
            if len(received) > HEAD_BYTES_MAX:
                self._fail(ConnectionBroken("the head is too long"))
            return False
        lengths = _LENGTH.findall(received, 0, end + 2)
        is_whole = _HEAD.match(received) and not _CODED.search(received, 0, end + 2)
        if not is_whole or len(lengths) != 1 or int(lengths[0]) > ANSWER_BYTES_MAX:
            self._fail(ConnectionBroken("the answer is not one this client knows"))
            return False
        self._whole = end + 4 + int(lengths[0])
        return True

    def _finish(self, message: bytes) -> None:
        end = message.index(b"\r\n\r\n")
        may_stay = _CLOSES.search(message, 0, end + 2) is None
        self._received.clear()
        self._whole = 0
        if self._answer is not None:
            self._answer.set_result((int(message[9:12]), message[end + 4 :], may_stay))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
