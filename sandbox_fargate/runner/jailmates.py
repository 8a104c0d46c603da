"""Ends what a program left running: its children, its daemons, whatever it detached.

Law: only the supervisor and the processes it names are spared; a swarm that outruns the search is
ended with them.
"""

import os
import signal
from collections.abc import Collection
from contextlib import suppress

# A pass finds all but what is being forked meanwhile; after these the whole jail is ended at once.
PASSES = 20


def end_others(spared: Collection[int]) -> bool:
    """End every process of this jail but this one and the spared; False when all had to go."""
    for _ in range(PASSES):
        alive = _end_and_reap(spared)
        if not alive:
            return True
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    _end_and_reap(spared)
    return False


def _end_and_reap(spared: Collection[int]) -> int:
    """One pass; how many were found alive."""
    alive = 0
    for pid, is_zombie in _own_processes():
        if pid == os.getpid() or pid in spared:
            continue
        with suppress(ProcessLookupError, PermissionError, ChildProcessError):
            if not is_zombie:
                alive += 1
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
    return alive


def _own_processes() -> list[tuple[int, bool]]:
    """The processes of this uid, and whether they have ended already."""
    uid = str(os.getuid()).encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError), open(f"/proc/{name}/status", "rb") as status:
            lines = {line.split(b":", 1)[0]: line.split() for line in status if b":" in line}
            if lines[b"Uid"][1] == uid:
                found.append((int(name), lines[b"State"][1] == b"Z"))
    return found
