"""Serves an ASGI application on a loopback port, quietly: no access log, no content in any line."""

import socket
from collections.abc import Callable
from typing import Any

import uvicorn

HOST = "127.0.0.1"
BACKLOG = 1_024
SHUTDOWN_S = 1  # paused streams are cut off, not waited for


def open_socket(port: int) -> socket.socket:
    """A listening socket on loopback; 0 takes a free port. Raises OSError when it is in use."""
    listening = socket.create_server((HOST, port), backlog=BACKLOG)
    listening.setblocking(False)
    return listening


def port_of(listening: socket.socket) -> int:
    """The port that a socket listens on."""
    port: int = listening.getsockname()[1]
    return port


def build_server(app: Callable[..., Any]) -> uvicorn.Server:
    """The server; start it with `run(sockets=[...])` or `serve(sockets=[...])`.

    It raises the level of the process-wide `uvicorn.error` logger: a cut connection, which is
    wanted here, would be logged as an error.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
    )
