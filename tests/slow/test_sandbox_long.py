"""Many sessions, one after the other and side by side: all work, and nothing is left of them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.harness import orphans, serving, why_not
from tests.sandbox.test_isolation import cgroups, mounts

SESSIONS = 200
AT_ONCE = 8

pytestmark = pytest.mark.skipif(bool(why_not("bwrap")), reason=why_not("bwrap") or "-")

PROGRAMS = (
    ("1 + 1", 0),
    ("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()", 0),
    ("import os\nif os.fork() == 0: os.setsid(); os.read(os.pipe()[0], 1)", 0),
    ("import os; open('/tmp/left', 'w').write('x'); os._exit(9)", 9),
)


def one_session(number: int) -> tuple[int, int, int]:
    """One program in a sandbox of its own: expected and real exit code, and the server's."""
    code, expected = PROGRAMS[number % len(PROGRAMS)]
    with serving("bwrap") as server:
        result = server.run(code)
        return expected, result["exit_code"], server.end()


def test_nothing_is_left_of_many_sessions_side_by_side() -> None:
    groups, mounted = cgroups(), mounts()
    scratch = set(os.listdir("/tmp"))
    descriptors = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(one_session, range(SESSIONS)))
    assert [row for row in found if row[0] != row[1] or row[2] != 0] == []
    assert orphans() == set()
    assert cgroups() <= groups
    assert mounts() <= mounted
    left = set(os.listdir("/tmp")) - scratch
    assert not any(name.startswith(("run-", "left", "bind-", "room-")) for name in left)
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
