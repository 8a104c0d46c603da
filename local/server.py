"""The ASGI server of the local stack: says hello once it accepts calls, and ends in order.

Law: a request under way at the end is cancelled after STOP_GRACE_S, and leaves its receipt.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

STOP_GRACE_S = 5  # long answers take minutes, and whoever stops the stack waits for them
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
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
