"""Sandbox servers for the dispatchers' tests: the real one in bubblewrap, and scripted ones."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from phigate.core.sandbox.port import RunResult, Sandbox, Sandboxes
from phigate.effects.clock import WallClock
from phigate.effects.sandbox.pool import LocalSandboxes
from phigate.effects.sandbox.server import STOP_TIMEOUT_S, Launch, bwrap_launch
from tests.fakes import RecordingEventLog

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".phigate-tools" / "sandbox"
SECRET = b"a stack's secret of enough bytes"
WAIT_S = 30.0
# Only a script that never exits waits this long.
EXIT_TIMEOUT_S = 0.1
LONG_S = 240.0

RESULT = {
    "language": "python",
    "exit_code": 0,
    "stdout": "",
    "stderr": "",
    "value": "2",
    "figures": [],
    "limits": [],
    "wall_ms": 1,
}


def why_not() -> str:
    """Why the real server cannot be had here, or nothing."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (make setup-sandbox)"
    if not list(VENV.glob(".done-*")):
        return "the sandbox's libraries are not installed (make setup-sandbox)"
    return ""


class ShiftedClock(WallClock):
    """The wall clock, put forward by `by_s`."""

    by_s = 0.0

    def now_s(self) -> float:
        """The time as somebody with another clock sees it."""
        return super().now_s() + self.by_s


def real_launch() -> Launch:
    """The real server, in this checkout."""
    return bwrap_launch(python=sys.executable, root=ROOT, venv=VENV)


def scripted(
    folder: Path,
    script: str,
    start_timeout_s: float = WAIT_S,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> Launch:
    """A server that is a few lines of Python; `flag` is a folder that its runs share."""
    head = "import os, signal, sys, time, pathlib\n"
    head += f"flag = pathlib.Path({str(folder)!r})\n"
    head += "def say(line): print(line, flush=True)\n"
    command = (sys.executable, "-I", "-c", head + script)
    return Launch(command, folder, start_timeout_s, stop_timeout_s, EXIT_TIMEOUT_S)


# What a server says that is ready, and then waits for its end.
READY = "say('listening 127.0.0.1:9'); say('ready'); signal.pause()"


@contextlib.asynccontextmanager
async def pool_of(
    launch: Launch, *, size: int = 2, clock: WallClock | None = None, tend_interval_s: float = 10.0
) -> AsyncIterator[LocalSandboxes]:
    """A local pool, closed at the end."""
    pool = LocalSandboxes(
        launch=launch,
        secret=SECRET,
        clock=clock or WallClock(),
        event_log=RecordingEventLog(),
        size=size,
        tend_interval_s=tend_interval_s,
    )
    try:
        yield pool
    finally:
        await pool.close()


async def opened(sandboxes: Sandboxes, account: str = "acme", live_s: float = LONG_S) -> Sandbox:
    """A sandbox for one request."""
    until_s = WallClock().now_s() + live_s
    return await sandboxes.open(account=account, request_id="r", region="CH", until_s=until_s)


async def two(sandbox: Sandbox) -> RunResult:
    """The sum of one and one."""
    ran = await sandbox.run("python", "1 + 1", 20.0)
    assert ran.value == "2", ran
    return ran


async def until(condition: Callable[[], bool], wait_s: float = WAIT_S) -> None:
    """Wait for something that other processes do."""
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110  # other processes set no event
            await asyncio.sleep(0.02)


def processes(folder: Path | None = None) -> set[int]:
    """Living processes of this checkout's sandboxes, or of a scripted server in a folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                wanted = str(folder) if folder else str(VENV)
                if state != "Z" and wanted in words and "--parent" in words:
                    found.add(int(entry.name))
    return found


def descendants(pid: int) -> set[int]:
    """Living processes below one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found |= {int(child)} | descendants(int(child))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def result(**changes: object) -> bytes:
    """A result's JSON."""
    return json.dumps(RESULT | changes).encode()


def orphaned_groups() -> set[str]:
    """Control groups of sandboxes whose server is not alive any more."""
    found = set()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folder = Path("/sys/fs/cgroup", controllers, path.lstrip("/"))
        for group in folder.glob("phigate-sandbox-*"):
            if not is_alive(int(group.name.removeprefix("phigate-sandbox-").split("-")[0])):
                found.add(str(group))
    return found


async def nothing_left_after(sessions: int) -> None:
    """Run so many requests, one after the other; processes, files and groups are gone then."""
    mark = f"phigate-left-{os.getpid()}"
    before = orphaned_groups()
    others = descendants(os.getpid())  # engines and stacks of other tests
    async with pool_of(real_launch()) as pool:
        for _ in range(sessions):
            sandbox = await opened(pool)
            ran = await sandbox.run("python", f"open('/tmp/{mark}', 'w').write('x')", 20.0)
            assert ran.value == "1"
            await sandbox.close()
        await until(lambda: processes() == set(pool.pids))
        assert descendants(os.getpid()) >= set(pool.pids)
    assert processes() == set()
    assert descendants(os.getpid()) <= others
    assert orphaned_groups() <= before
    assert not Path(tempfile.gettempdir(), mark).exists()  # noqa: ASYNC240
