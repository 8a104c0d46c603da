"""A connection to an engine that listens on no port: its process hands out connected sockets.

Whoever may open the unix socket is sent one descriptor (SCM_RIGHTS), and speaks HTTP on it without
anything in between. The path is `unix:` and where the socket lies; local stacks alone have one.
https://man7.org/linux/man-pages/man7/unix.7.html
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

SCHEME = "unix"
_PATH_BYTES_MAX = 100  # the kernel takes 107, and a state directory may lie deeper


async def handed_socket(path: str) -> socket.socket:
    """One connected socket. Raises OSError; a time limit is the caller's."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as asked, short_address(path) as address:
        asked.setblocking(False)
        await loop.sock_connect(asked, address)
        arrived = loop.create_future()
        loop.add_reader(asked, _set_once, arrived)
        try:
            await arrived
        finally:
            loop.remove_reader(asked)
        return _taken(asked)


def handed_socket_now(path: str, timeout_s: float) -> socket.socket:
    """The same without a loop, blocking for `timeout_s` at most. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as asked, short_address(path) as address:
        asked.settimeout(timeout_s)
        asked.connect(address)
        return _taken(asked)


@contextlib.contextmanager
def short_address(path: str) -> Iterator[str]:
    """The path as the kernel takes it, for as long as the context lasts."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield path
        return
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _set_once(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


def _taken(asked: socket.socket) -> socket.socket:
    _, descriptors, _, _ = socket.recv_fds(asked, 1, 1)
    if not descriptors:
        raise ConnectionRefusedError("the engine does not take connections")
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])
