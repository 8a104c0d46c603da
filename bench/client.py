"""A closed-loop load client: so many clients, each with one request in the air.

Laws: every answer is checked; a wrong one is counted, never measured. It runs in the process of
the bench, so its own CPU never counts for a target.
"""

import asyncio
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import httptools

from bench.bodies import Endpoint, http_request
from bench.checks import Answer, Check

# Longer than any scenario's answer takes; a target that hangs fails the bench, it does not stop it.
ANSWER_TIMEOUT_S = 60.0
# A client that got a wrong answer waits, so that a broken target is not flooded.
AFTER_ERROR_S = 0.005
# Of the 200 holds that an account may have, with room for those that are still to be settled.
CLIENTS_PER_KEY = 125


@dataclass(slots=True)
class Load:
    """One load: what to send, how the answer is checked, and when to stop."""

    endpoint: Endpoint
    body: bytes
    check: Check
    clients: int
    requests_max: int
    seconds_max: float


@dataclass(slots=True)
class Measured:
    """What a load brought: one latency per right answer, one count per kind of wrong answer."""

    latencies_ms: list[float] = field(default_factory=list)
    first_chunks_ms: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    wall_s: float = 0.0

    @property
    def requests(self) -> int:
        """All answers, right and wrong."""
        return len(self.latencies_ms) + self.wrong.total()


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection with at most one request in the air."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._sent_ns = 0
        self._now_ns = 0
        self._parts: list[tuple[int, bytes]] = []

    def exchange(self, request: bytes) -> asyncio.Future[Answer]:
        """Send one request; the future holds its answer or the connection's failure."""
        self._parts = []
        self._answer = asyncio.get_running_loop().create_future()
        self._sent_ns = time.monotonic_ns()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """End the connection."""
        if self.is_open:
            self.is_open = False
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # A TCP transport of uvloop writes, but is no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.is_open = False
        self._fail(exc or ConnectionError("closed before the answer was whole"))

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._now_ns = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._fail(exc)
            self._transport.close()

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._parts.append((self._now_ns, part))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        parser, self._parser = self._parser, httptools.HttpResponseParser(self)
        if not parser.should_keep_alive():
            self.is_open = False
            self._transport.close()
        if self._answer is not None and not self._answer.done():
            status = parser.get_status_code()
            self._answer.set_result(Answer(status, self._sent_ns, self._now_ns, self._parts))

    def _fail(self, exc: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc)


class _Budget:
    """How many requests are still to be sent, shared by all clients of a load."""

    def __init__(self, load: Load) -> None:
        self._left = load.requests_max
        self._deadline_s = time.monotonic() + load.seconds_max

    def take(self) -> bool:
        """Whether one more request may be sent."""
        self._left -= 1
        return self._left >= 0 and time.monotonic() < self._deadline_s


async def run_load(load: Load) -> Measured:
    """Drive one load to its end."""
    measured, budget = Measured(), _Budget(load)
    start_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(load.clients):
            key = key_of(load.endpoint.keys, number)
            request = http_request(load.endpoint, load.body, key=key)
            group.create_task(_client(load, request, budget, measured))
    measured.wall_s = time.monotonic() - start_s
    return measured


def key_of(keys: tuple[str, ...], client: int) -> str:
    """The key of one client: the first key until its account holds enough, then the next."""
    return keys[client // CLIENTS_PER_KEY % len(keys)]


async def _client(load: Load, request: bytes, budget: _Budget, measured: Measured) -> None:
    connection: Connection | None = None
    while budget.take():
        wrong: str | None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if connection is None or not connection.is_open:
                    connection = await _connect(load.endpoint)
                answer = await connection.exchange(request)
        except (OSError, TimeoutError, httptools.HttpParserError) as exc:
            wrong = type(exc).__name__
            if connection is not None:
                connection.close()
        else:
            wrong = _record(load.check, answer, measured)
        if wrong is not None:
            measured.wrong[wrong] += 1
            await asyncio.sleep(AFTER_ERROR_S)
    if connection is not None:
        connection.close()


async def _connect(endpoint: Endpoint) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, endpoint.host, endpoint.port)
    return connection


def _record(check: Check, answer: Answer, measured: Measured) -> str | None:
    verdict = check(answer)
    if verdict.wrong is not None:
        return verdict.wrong
    measured.latencies_ms.append((answer.done_ns - answer.sent_ns) / 1e6)
    if verdict.first_chunk_ms is not None:
        measured.first_chunks_ms.append(verdict.first_chunk_ms)
    return None
