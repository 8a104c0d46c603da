"""The ASGI server of the local stack: says hello once it accepts calls, and ends in order.

Law 1: a request under way at the end is cancelled after STOP_GRACE_S, and leaves its receipt.
Law 2: a head or a body that is sent by halves ends with its connection, whoever reads it.
Law 3: of a request no more than HEAD_KEPT_BYTES_MAX is kept besides its body, and no trailer is
taken for a header.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from phigate.core.limits import BODY_LEFT_TIMEOUT_S, BODY_TIMEOUT_S, HEAD_TIMEOUT_S

# Of a request besides its body: 10 s of head would be gigabytes. Far over HEADER_BYTES_MAX, which
# is refused in words, and over the framing of 5 MB in pieces of 64 bytes.
HEAD_KEPT_BYTES_MAX = 1024 * 1024

STOP_GRACE_S = 5  # long answers take minutes, and whoever stops the stack waits for them
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class BoundServer(uvicorn.Server):
    """Prints `hello` when it is ready."""

    def __init__(self, config: uvicorn.Config, hello: str) -> None:
        super().__init__(config)
        self._hello = hello

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print."""
        await super().startup(sockets)
        sys.stdout.write(self._hello)
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop. A second Ctrl-C ends the wait for requests under way, not their receipts."""
        await super().shutdown(sockets)
        left = set(self.server_state.tasks)
        if self.force_exit:
            for task in left:
                task.cancel()
        if left:
            await asyncio.wait(left, timeout=STOP_GRACE_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As the base does, but a signal is not raised again: it would end the process before the
        credit is settled and the children are stopped."""
        before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Deadlined(HttpToolsProtocol):
    """HTTP on one connection, which ends when a request on it is not whole in time.

    The application ends a body that it waits for; this ends those that nobody waits for.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    body_timeout_s = BODY_TIMEOUT_S + BODY_LEFT_TIMEOUT_S
    _deadline: asyncio.TimerHandle | None = None  # set while a request is on its way
    _kept_bytes = 0  # of the request on its way, besides its body
    _has_head = False  # the request on its way

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection on which nothing is sent ends as well."""
        super().connection_made(transport)
        self._expect(self.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The first bytes behind a request are those of the next."""
        if self._deadline is None:
            self._expect(self.head_timeout_s)
        self._kept_bytes += len(data)
        super().data_received(data)
        if self._kept_bytes > HEAD_KEPT_BYTES_MAX:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._has_head = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Trailers come when the request is being served, or just before: whether they
        were read as headers would be a matter of luck."""
        if not self._has_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, which the application bounds."""
        self._kept_bytes = max(0, self._kept_bytes - len(body))
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._has_head = True
        self._expect(self.body_timeout_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole. Where it was answered before that, the connection is idle now, which
        the base has forgotten when more of the body came."""
        self._arrived()
        self._kept_bytes = 0
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _expect(self, within_s: float) -> None:
        self._arrived()
        self._deadline = self.loop.call_later(within_s, self._late, within_s)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self, within_s: float) -> None:
        """Time is up; while we do not read, or still answer the request before, it begins anew."""
        cycle = self.cycle
        is_answering = cycle is not None and not cycle.more_body and not cycle.response_complete
        if self.flow.read_paused or self.pipeline or is_answering:
            self._expect(within_s)
        else:
            self.transport.close()


def deadlined(head_timeout_s: float, body_timeout_s: float) -> type[Deadlined]:
    """The protocol with other deadlines."""
    members = {"head_timeout_s": head_timeout_s, "body_timeout_s": body_timeout_s}
    return type("Deadlined", (Deadlined,), members)
