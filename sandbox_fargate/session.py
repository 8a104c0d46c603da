"""One session: a jail, replaced when a program breaks it, and the programs it runs one by one.

Law: a program's end, however it comes, is a result; only a sandbox that cannot be started is an
error.
"""

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sandbox_fargate.answers import Answer, broken, read_answer, refused
from sandbox_fargate.jail import Jail, Launch
from sandbox_fargate.runner import wire

# Beyond a program's own time: libraries that are still being loaded, leftovers being ended.
GRACE_S = 5.0

LOSS_NOTE = "[the sandbox ended between two programs: variables and files are gone]\n"

# How often the server looks at what a jail uses.
LOOK_S = 0.2


class SandboxError(Exception):
    """The sandbox cannot be started; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is asked for."""

    language: str
    code: str
    timeout_s: float


class Session:
    """The jail of the moment; used by the main thread alone."""

    def __init__(self, launch: Launch, wake: int, is_over: Callable[[], bool]) -> None:
        """`wake` is readable when `is_over` may have changed."""
        self._launch = launch
        self._wake = wake
        self._is_over = is_over
        self._jail = Jail(launch)
        self.is_warm = False
        self._loss_is_unsaid = False

    @property
    def descriptor(self) -> int:
        """Readable when `listen` has something to do."""
        return self._jail.descriptor

    def listen(self) -> None:
        """Take what the jail says between programs: that it is warm, or that it has ended."""
        frames = self._jail.receive()
        if frames is not None:
            self.is_warm = self.is_warm or any(kind == wire.WARM for kind, _ in frames)
        elif self.is_warm:
            self._loss_is_unsaid = True
            self._replace()
        else:
            raise SandboxError(self._jail.complaint() or "the jail ended before it was ready")

    def run(self, program: Program) -> Answer:
        """Run one program to its result."""
        refusal = self._refusal(program)
        if refusal is not None:
            return refusal
        kills = self._jail.cgroup.oom_kills()
        request = {
            "language": program.language,
            "code": program.code,
            "timeout_s": program.timeout_s,
        }
        self._jail.send(wire.RUN, request)
        answer = self._await(time.monotonic() + program.timeout_s + GRACE_S, kills)
        if self._jail.cgroup.oom_kills() > kills:
            answer = answer.with_limit("memory")
        if answer.jail_gone:
            self._replace()
        elif self._loss_is_unsaid:
            answer = replace(answer, stderr=f"{LOSS_NOTE}{answer.stderr}")
        self._loss_is_unsaid = False
        return answer

    def end(self) -> bool:
        """Remove the jail; whether nothing is left of it."""
        return self._jail.end()

    def _refusal(self, program: Program) -> Answer | None:
        caps = self._launch.policy.caps
        try:
            size = len(program.code.encode("utf-8"))
        except UnicodeEncodeError as exc:
            place = f"character {exc.start} is a lone surrogate"
            return refused("", f"The program is not valid Unicode: {place}.")
        if size > caps.code_bytes:
            most = f"the most is {caps.code_bytes}"
            return refused("code", f"The program has {size} bytes, {most}; compute data in code.")
        return None

    def _await(self, deadline: float, kills: int) -> Answer:
        """The answer of a program, or the end of its jail."""
        while True:
            ready, _, _ = select.select([self._jail.descriptor, self._wake], [], [], LOOK_S)
            if self._is_over():
                return broken("session", "the session is over")
            try:
                found = self._result() if self._jail.descriptor in ready else None
            except (wire.GarbageError, EOFError):
                return broken("", "a program broke it")
            if found is not None:
                self.is_warm = True
                return found
            excess = self._excess(kills, is_silent=not ready)
            if excess is not None:
                return broken(excess, f"its processes together passed the limit: {excess}")
            if time.monotonic() > deadline:
                return broken("wall", "it did not answer in time")
            if self._wake in ready:
                os.read(self._wake, 1 << 10)

    def _excess(self, kills: int, *, is_silent: bool) -> str | None:
        """The limit that the jail as a whole has passed."""
        if is_silent and self._jail.cgroup.oom_kills() > kills:
            # The kernel ended a part of the program, and the rest does not know it.
            return "memory"
        return self._jail.excess()

    def _result(self) -> Answer | None:
        frames = self._jail.receive()
        if frames is None:
            raise EOFError
        for kind, payload in frames:
            if kind == wire.RESULT:
                return read_answer(payload, self._launch.policy.caps)
        return None

    def _replace(self) -> None:
        """A fresh jail; the old one is removed first, so that its uid and room are free."""
        self._jail.end()
        self._jail = Jail(self._launch)
        self.is_warm = False
