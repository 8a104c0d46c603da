"""Runs an engine that listens on a TCP port where nobody else can reach that port.

The engine (dynoxide) has no unix socket and checks no credentials. It runs in a network namespace
of its own, which has loopback and nothing else; a child of it in the same namespace connects to the
port there and hands the connection out. So no byte of a call is copied on its way.

Law: without a namespace nothing is started: exit status NO_NAMESPACE.
https://man7.org/linux/man-pages/man7/network_namespaces.7.html
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path

from local.die_with_parent import PR_SET_PDEATHSIG
from local.handover import hand_out, listen

NO_NAMESPACE = 78  # EX_CONFIG of sysexits.h; the engine itself has no such status
PORT = 8000  # the namespace is the engine's alone, so every port is free
HOST = "127.0.0.1"

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # linux/sched.h
# Root takes the first; whoever is not takes the second, where the kernel lets users have it.
_NAMESPACES = (_NEW_NETWORK, _NEW_USER | _NEW_NETWORK)
_SET_FLAGS, _UP = 0x8914, 1  # linux/sockios.h, linux/if.h
_INTERFACE = "16sh22x"  # struct ifreq


def main(arguments: list[str]) -> int:
    """`arguments`: the socket's path, and the engine's command, which ends with its port."""
    path, *command = arguments
    os.umask(0o077)
    listener = listen(Path(path))
    if not isolated():
        Path(path).unlink(missing_ok=True)
        return NO_NAMESPACE
    engine = os.getpid()
    if os.fork() == 0:
        _end_with(engine)
        hand_out(listener, _connect)
    listener.close()
    os.execv(command[0], [*command, str(PORT)])  # noqa: S606  # no shell is wanted
    return 1


def isolated() -> bool:
    """Leave the machine's network for one of this process alone; false where that is refused."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return any(libc.unshare(namespaces) == 0 and _has_loopback() for namespaces in _NAMESPACES)


def _has_loopback() -> bool:
    """Switch loopback on, which is off in a new namespace."""
    with socket.socket() as any_socket:
        try:
            fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack(_INTERFACE, b"lo", _UP))
        except OSError:
            return False
    return True


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _connect() -> socket.socket:
    connected = socket.create_connection((HOST, PORT))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
