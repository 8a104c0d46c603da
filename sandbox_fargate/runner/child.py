"""A process that runs programs: forked from the supervisor, its output caught, its time counted.

Law: the supervisor believes nothing that a child says; a frame that does not fit ends the child.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from sandbox_fargate.runner import wire
from sandbox_fargate.runner.capture import Kept

PIECE_BYTES = 1 << 16

# After a program's end its pipes hold at most this many pieces that were written before it.
DRAIN_PIECES = 64

# Limits that an interpreter may report of its program.
REPORTABLE = frozenset(
    [
        "memory",
        "processes",
        "disk",
        "file_size",
        "files",
        "output",
        "figures",
        "figure_bytes",
        "raster",
    ]
)

# A value's cap in characters, each of which JSON may write as six bytes, and room for the rest.
DONE_BYTES_PER_CHARACTER = 6
DONE_BYTES_MORE = 1024

KILLED = 128 + signal.SIGKILL


@dataclass(slots=True)
class Outcome:
    """What became of one program."""

    stdout: Kept
    stderr: Kept
    exit_code: int = 0
    value: str | None = None
    figures: list[bytes] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    # The child is gone, with all that the program had in memory.
    ended: bool = False

    def hit(self, limit: str) -> None:
        """Name a limit once."""
        if limit not in self.limits:
            self.limits.append(limit)


class Ends(NamedTuple):
    """The child's ends of its four pipes."""

    inbound: int
    outbound: int
    out: int
    err: int


class Child:
    """One forked process and the pipes to it."""

    def __init__(self, body: Callable[[int, int], None], closed: tuple[int, ...]) -> None:
        """Fork; the child closes `closed` and runs `body(inbound, outbound)`."""
        inbound, self._to_child = os.pipe()
        self._from_child, outbound = os.pipe()
        self._stdout, out = os.pipe()
        self._stderr, err = os.pipe()
        own = (self._to_child, self._from_child, self._stdout, self._stderr)
        ends = Ends(inbound, outbound, out, err)
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(body, ends, (*own, *closed))
        for descriptor in ends:
            os.close(descriptor)
        self._pidfd = os.pidfd_open(self.pid)
        for descriptor in (self._stdout, self._stderr):
            os.set_blocking(descriptor, False)

    def run(self, request: bytes, timeout_s: float, caps: dict[str, Any]) -> Outcome:
        """Hand a frame to the child and follow it to its end, or to the end of its time."""
        outcome = self._fresh(caps)
        deadline = time.monotonic() + timeout_s
        try:
            if request:
                wire.write(self._to_child, request)
            self._follow(outcome, deadline, caps)
        except (wire.GarbageError, BrokenPipeError):
            outcome.ended = True
        if outcome.ended:
            self.collect(outcome)
        return outcome

    def drain(self, outcome: Outcome) -> None:
        """Take what was written before the end; call it when nobody else writes any more."""
        for descriptor, kept in ((self._stdout, outcome.stdout), (self._stderr, outcome.stderr)):
            for _ in range(DRAIN_PIECES):
                piece = _available(descriptor)
                if not piece:
                    break
                kept.feed(piece)

    def has_ended(self) -> bool:
        """Whether the process is gone already."""
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def close(self) -> None:
        """Let go of the pipes of a child that has ended."""
        for end in (self._to_child, self._from_child, self._stdout, self._stderr, self._pidfd):
            os.close(end)

    def _fresh(self, caps: dict[str, Any]) -> Outcome:
        """An empty outcome; what was written since the last program belongs to none."""
        size = caps["output_bytes"]
        stale = Outcome(Kept(size, tail=False), Kept(size, tail=True))
        self.drain(stale)
        return Outcome(Kept(size, tail=False), Kept(size, tail=True))

    def _follow(self, outcome: Outcome, deadline: float, caps: dict[str, Any]) -> None:
        buffer = wire.FrameBuffer(
            {
                wire.FIGURE: caps["figure_bytes"],
                wire.LIMIT: 32,
                wire.DONE: DONE_BYTES_PER_CHARACTER * caps["output_bytes"] + DONE_BYTES_MORE,
            }
        )
        poll = select.poll()
        for descriptor in (self._from_child, self._stdout, self._stderr, self._pidfd):
            poll.register(descriptor, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = {descriptor for descriptor, _ in poll.poll(left * 1000)}
            self._take_output(outcome, poll, ready)
            if self._from_child in ready:
                piece = os.read(self._from_child, PIECE_BYTES)
                if not piece:
                    poll.unregister(self._from_child)
                if any(_take(outcome, frame, caps) for frame in buffer.feed(piece)):
                    return
            elif self._pidfd in ready:
                outcome.ended = True
                return
        outcome.hit("wall")
        outcome.ended = True

    def _take_output(self, outcome: Outcome, poll: select.poll, ready: set[int]) -> None:
        for descriptor, kept in ((self._stdout, outcome.stdout), (self._stderr, outcome.stderr)):
            if descriptor in ready:
                piece = _available(descriptor)
                kept.feed(piece)
                if not piece:
                    poll.unregister(descriptor)

    def collect(self, outcome: Outcome) -> None:
        """End the child, if it has not ended, and learn its exit code."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        outcome.exit_code = code if code >= 0 else 128 - code


def _take(outcome: Outcome, frame: tuple[bytes, bytes], caps: dict[str, Any]) -> bool:
    """Note what a frame says; True at the end of the program."""
    kind, payload = frame
    if kind == wire.FIGURE:
        if len(outcome.figures) < caps["figures"]:
            outcome.figures.append(payload)
        return False
    if kind == wire.LIMIT:
        limit = payload.decode("ascii", "replace")
        if limit not in REPORTABLE:
            raise wire.GarbageError("an unknown limit")
        outcome.hit(limit)
        return False
    outcome.exit_code, outcome.value = read_done(payload)
    return True


def read_done(payload: bytes) -> tuple[int, str | None]:
    """Exit code and value out of an interpreter's last frame."""
    try:
        table = json.loads(payload)
        exit_code, value = table["exit_code"], table["value"]
    except (ValueError, TypeError, LookupError, RecursionError) as exc:
        raise wire.GarbageError("no result") from exc
    if not (type(exit_code) is int and 0 <= exit_code <= 255):
        raise wire.GarbageError("no exit code")
    if not (value is None or isinstance(value, str)):
        raise wire.GarbageError("no value")
    return exit_code, value


def _available(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, PIECE_BYTES)
    except BlockingIOError:
        return b""


def _be_child(body: Callable[[int, int], None], ends: Ends, closed: tuple[int, ...]) -> NoReturn:
    """The forked side; never returns into the supervisor's code."""
    code = 1
    try:
        for descriptor in closed:
            os.close(descriptor)
        os.dup2(ends.out, 1)
        os.dup2(ends.err, 2)
        os.close(ends.out)
        os.close(ends.err)
        os.setsid()
        body(ends.inbound, ends.outbound)
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)
