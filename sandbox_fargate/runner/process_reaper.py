"""Ends what a program left running: its children, its daemons, whatever it detached.

Law: only the supervisor and the processes it names are spared; a swarm that outruns the search is
ended with them.
"""

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress

# A killed interpreter took up to 20 ms to give its memory back. What is still there after this
# outruns the search, and the whole jail is ended at once.
SEARCH_S = 1.0
STEP_S = 0.001


def end_others(spared: Collection[int]) -> bool:
    """End every process of this jail but this one and the spared; False when all had to go."""
    deadline = time.monotonic() + SEARCH_S
    while _end_and_reap(spared):
        if time.monotonic() > deadline:
            break
        time.sleep(STEP_S)
    else:
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
