"""POST /v1/chat/completions: hands the call to the pipeline, writes what comes back.

A plain ASGI endpoint: bytes in, bytes out. No decision is made here; the body is read when the
pipeline asks for it, which is after it knows the key.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from phigate.core.clock import Clock
from phigate.core.errors import InvalidRequest
from phigate.core.limits import BODY_BYTES_MAX, WRITE_TIMEOUT_S
from phigate.core.response import ResponseWriter
from phigate.core.types import Task
from phigate.formats.caller_format import CallerFormat
from phigate.pipeline.gateway import Gateway
from phigate.pipeline.inbound_request import BodyLate, InboundBody, InboundRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Serve = Callable[[Gateway, CallerFormat, InboundRequest, ResponseWriter], Awaitable[None]]

# The headers that decide where a request goes, as `core.request.headers.read_headers` reads them.
PINNED_BY_HEADER = frozenset({"x-phi", "x-region", "x-model-tier"})


class ChatEndpoint:
    """One task of the pipeline as an ASGI application, in one format that callers speak."""

    def __init__(
        self, gateway: Gateway, task: Task, caller_format: CallerFormat, serve: Serve
    ) -> None:
        self._gateway = gateway
        self._task = task
        self._caller_format = caller_format
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        out = AsgiResponseWriter(send, self._gateway.clock)
        watch: asyncio.Future[None] | None = None

        async def receive_body() -> bytes | None:
            nonlocal watch
            body = await read_body(receive, self._gateway.stack.body_timeout_s)
            watch = asyncio.ensure_future(_watch(receive, out))
            return body

        body = InboundBody(receive=receive_body)
        request = InboundRequest(self._task, headers_of(scope), body)
        try:
            await self._serve(self._gateway, self._caller_format, request, out)
        finally:
            if watch is not None:
                watch.cancel()


class AsgiResponseWriter:
    """The way back to the caller over ASGI (see core.response.ResponseWriter)."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self.gone_at_s: float | None = None
        self._send = send
        self._clock = clock

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """See ResponseWriter.start."""
        start = {"type": "http.response.start", "status": status, "headers": raw_headers(headers)}
        await self._try(start)

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """See ResponseWriter.write."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._try({"type": "http.response.body", "body": body, "more_body": not last})
        except TimeoutError:
            self.hang_up()

    def hang_up(self) -> None:
        """The transport says that the caller has gone."""
        if self.gone_at_s is None:
            self.gone_at_s = self._clock.now_s()

    async def _try(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            self.hang_up()


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI sends them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def headers_of(scope: Scope) -> dict[str, str]:
    """Header names in lower case; of a header sent twice the values are joined by a comma.

    X_PHI is X-PHI: a caller who means the one and writes the other must not be overheard, and two
    that contradict each other become a value that is refused.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name and (hyphened := name.replace("_", "-")) in PINNED_BY_HEADER:
            name = hyphened
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(receive: Receive, timeout_s: float) -> bytes | None:
    """The whole body, or None as soon as it is over BODY_BYTES_MAX. Raises BodyLate, and
    InvalidRequest for one whose caller went before its end."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _whole_body(receive)
    except TimeoutError:
        raise BodyLate from None


async def _whole_body(receive: Receive) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The body ended before it was whole.")
        piece = message.get("body", b"")
        size += len(piece)
        if size > BODY_BYTES_MAX:
            return None
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _watch(receive: Receive, out: AsgiResponseWriter) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        out.hang_up()
