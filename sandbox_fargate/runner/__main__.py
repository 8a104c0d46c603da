"""The supervisor: first process of a jail, warms up, forks interpreters, relays results.

Laws: it never runs a line of a program; the descriptors to the server are closed in every child; it
cannot be read or traced by them (not dumpable), and in a jail with its own pids not be killed.
"""

import ctypes
import json
import os
import resource
import select
import sys
from typing import Any

from sandbox_fargate.runner import wire
from sandbox_fargate.runner.capture import Kept
from sandbox_fargate.runner.child import Child, Outcome
from sandbox_fargate.runner.interpreter import Interpreter
from sandbox_fargate.runner.preload import warm
from sandbox_fargate.runner.process_reaper import end_others
from sandbox_fargate.runner.r_runner import run_r

# linux/prctl.h
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

# To be ended first when memory is short (Documentation/filesystems/proc.rst).
OOM_SCORE_FIRST = "1000"

NOTE_GONE = "[the interpreter ended: variables are gone, the next program starts afresh]\n"
NOTE_FRESH = "[the interpreter had ended since the last program: variables were gone]\n"


class Supervisor:
    """The descriptors to the server, what to go by, and the interpreter of the moment."""

    def __init__(self, inbound: int, outbound: int, setup: dict[str, Any]) -> None:
        """Nothing is forked yet."""
        self._inbound = inbound
        self._outbound = outbound
        self._caps: dict[str, Any] = setup["caps"]
        self._python: Child | None = None

    def serve(self) -> None:
        """Warm up, then run what comes in until the server is gone."""
        warm(self._is_wanted)
        self._python = self._fork_python()
        wire.write(self._outbound, wire.pack(wire.WARM, b""))
        while (frame := wire.read(self._inbound)) is not None:
            request = json.loads(frame[1])
            outcome = self._run(request)
            if self._python is None:
                self._python = self._fork_python()
            wire.write(self._outbound, wire.pack_json(wire.RESULT, result_of(outcome)))

    def _run(self, request: dict[str, Any]) -> Outcome:
        if request["language"] == "r":
            closed = (self._inbound, self._outbound)
            code, timeout_s = request["code"], request["timeout_s"]
            return run_r(code, timeout_s, self._caps, closed, self._settle)
        child, was_gone = self._living_python()
        frame = wire.pack_json(wire.RUN, {"code": request["code"]})
        outcome = child.run(frame, request["timeout_s"], self._caps)
        if outcome.ended:
            self._python = None
        elif not self._settle():
            child.collect(outcome)
            outcome.ended = True
            outcome.hit("processes")
        if outcome.ended:
            self._settle()
        child.drain(outcome)
        if outcome.ended:
            child.close()
        if outcome.ended or was_gone:
            outcome.stderr.feed((NOTE_GONE if outcome.ended else NOTE_FRESH).encode("ascii"))
        return outcome

    def _living_python(self) -> tuple[Child, bool]:
        """The interpreter, and whether it is a new one because the last ended by itself."""
        if self._python is not None and self._python.has_ended():
            self._python.collect(Outcome(Kept(0, tail=False), Kept(0, tail=True)))
            self._python.close()
            self._python = self._fork_python()
            return self._python, True
        if self._python is None:
            self._python = self._fork_python()
        return self._python, False

    def _settle(self) -> bool:
        """End what a program left running; False when the interpreter had to go with it."""
        spared = (self._python.pid,) if self._python else ()
        if end_others(spared):
            return True
        self._python = None
        return False

    def _fork_python(self) -> Child:
        caps = self._caps

        def body(inbound: int, outbound: int) -> None:
            """The forked side."""
            _be_first_to_go()
            Interpreter(outbound, caps).serve(inbound)

        return Child(body, (self._inbound, self._outbound))

    def _is_wanted(self) -> bool:
        return bool(select.select([self._inbound], [], [], 0)[0])


def result_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the server gets it."""
    if outcome.stdout.cut or outcome.stderr.cut:
        outcome.hit("output")
    return {
        "exit_code": outcome.exit_code,
        "stdout": outcome.stdout.text(),
        "stderr": outcome.stderr.text(),
        "value": outcome.value,
        "figures": [svg.decode("utf-8", "replace") for svg in outcome.figures],
        "limits": outcome.limits,
    }


def take_stdio() -> tuple[int, int]:
    """Move the descriptors to the server out of the way; what is left reads and writes nothing."""
    inbound, outbound = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return inbound, outbound


def confine(setup: dict[str, Any]) -> None:
    """What can only be set inside: the number of processes, and being out of reach."""
    count = setup["nproc"]
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    least = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (least, least))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_DUMPABLE, 0), (PR_SET_CHILD_SUBREAPER, 1)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def _be_first_to_go() -> None:
    """An interpreter is ended for want of memory before its supervisor."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write(OOM_SCORE_FIRST)
    except OSError:
        # Only a preference; without it the whole jail may go, which is a result too.
        return


def main() -> int:
    """Serve one server over stdin and stdout."""
    inbound, outbound = take_stdio()
    frame = wire.read(inbound)
    if frame is None or frame[0] != wire.SETUP:
        return 1
    setup = json.loads(frame[1])
    confine(setup)
    Supervisor(inbound, outbound, setup).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
