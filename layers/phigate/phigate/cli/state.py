"""Reaches the DynamoDB engine of a local state directory.

While `phigate local` runs on the directory, its engine is used: `engine.json` says where it is.
Else the engine runs as a child for as long as the command does, and holds the directory's lock.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phigate.cli.command import CommandFailed
from phigate.effects.handed_socket import SCHEME, handed_socket_now

ENGINE_FILE = "engine.json"
CONNECT_TIMEOUT_S = 1.0  # an engine of this machine answers at once or is not there
STOP_TIMEOUT_S = 5.0  # the child's own stop takes a few milliseconds
LOCK_TRIES_MAX = 6  # another command holds the lock for half a second; a try takes 0.1 s
LOCK_PAUSE_S = 0.2

_LOCK_IS_TAKEN = "another gateway is running"  # how local.engine begins that refusal


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine: where it is, its table, and whether it survives its end."""

    url: str
    table: str
    durable: bool


def local_python(module: str) -> list[str]:
    """The command that runs a module of the local stack. Raises CommandFailed without one.

    `-P` keeps a folder named `local` in the working directory from being taken for it.
    """
    if importlib.util.find_spec("local") is None:
        raise CommandFailed("the local stack is not installed; run this in the repository")
    return [sys.executable, "-P", "-m", module]


@contextlib.contextmanager
def local_engine(state: Path) -> Iterator[Engine]:
    """The engine of a state directory, which exists. Raises CommandFailed."""
    running = _running(state)
    if running is not None:
        yield running
        return
    with contextlib.ExitStack() as stack:
        engine = _started(state, stack)
        if not engine.durable:
            raise CommandFailed(
                "the local database of this machine keeps nothing once it stops; "
                "run phigate local, and this command while it runs"
            )
        yield engine


def _running(state: Path) -> Engine | None:
    """The engine of the stack that runs on the directory; None without one that answers."""
    try:
        text = (state / ENGINE_FILE).read_text()
    except FileNotFoundError:
        return None
    try:
        named = json.loads(text)
        engine, pid = _engine(named), int(named["pid"])
        scheme, _, path = engine.url.partition(":")
    except (ValueError, KeyError, TypeError):
        return None  # being written, or cut off by a crash
    # A stack that was killed leaves the file and the socket; an older release named a port.
    if scheme != SCHEME or not _is_alive(pid):
        return None
    with contextlib.suppress(OSError), handed_socket_now(path, CONNECT_TIMEOUT_S):
        return engine
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _started(state: Path, stack: contextlib.ExitStack) -> Engine:
    """An engine of our own, stopped by `stack`; waits a little while another command has it."""
    refusal = ""
    for tries_left in reversed(range(LOCK_TRIES_MAX)):
        with contextlib.ExitStack() as attempt:
            process = attempt.enter_context(_child(state))
            line = process.stdout.readline() if process.stdout is not None else ""
            if line:
                stack.push(attempt.pop_all())
                return _engine(json.loads(line))
            refusal = _last_line(process)
        running = _running(state)
        if running is not None:
            return running
        if tries_left and refusal.startswith(_LOCK_IS_TAKEN):
            time.sleep(LOCK_PAUSE_S)
        else:
            break
    raise CommandFailed(refusal or "the local database did not start")


@contextlib.contextmanager
def _child(state: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m local.engine`: it says where it is when it is ready, and ends with its stdin."""
    process = subprocess.Popen(  # noqa: S603  # the command is our own
        [*local_python("local.engine"), "--state", str(state.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches this process alone, which then closes the child's stdin.
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _last_line(process: subprocess.Popen[str]) -> str:
    """Why the child ended, from its stderr: its own line, or the last of a traceback."""
    lines = [] if process.stderr is None else process.stderr.read().strip().splitlines()
    return lines[-1].removeprefix("phigate: ") if lines else ""


def _engine(named: dict[str, object]) -> Engine:
    return Engine(str(named["url"]), str(named["table"]), named["durable"] is True)
