"""Hands connections to an engine out through a unix socket, in place of a port.

A port of loopback is everybody's: every user of the machine, and every page in a browser on it.
Law: the socket's mode is 0600 from its first moment, so that its owner alone is let in.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from phigate.effects.handed_socket import short_address

BACKLOG = 1024  # as many clients may ask at once; a gateway keeps 256 connections
_OTHERS = 0o177  # all that a mode of 0600 leaves out


def listen(path: Path) -> socket.socket:
    """The socket at `path`; one that a killed engine has left is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(_OTHERS)
    try:
        with short_address(str(path)) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def hand_out(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Give everybody who comes a socket that `connect` makes, until this process ends.

    Whoever comes before the engine listens is sent away, and comes again.
    """
    while True:
        asked, _ = listener.accept()
        with asked, contextlib.suppress(OSError), connect() as made:
            socket.send_fds(asked, [b"\0"], [made.fileno()])
