"""The sandbox server: one port, one session, then the process exits.

Laws: the main thread owns the jail and does one thing after the other; whatever happens, the
process ends at its time with the jail removed; what is logged is names, counts and milliseconds.
"""

import argparse
import contextlib
import os
import queue
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox_fargate import cgroup, linux
from sandbox_fargate.bwrap import find_tool
from sandbox_fargate.host_probe import PlaceError, find_place
from sandbox_fargate.http_api import HttpApi
from sandbox_fargate.jail import Launch
from sandbox_fargate.policy import Policy, load_policy
from sandbox_fargate.requests import read_program, result_body
from sandbox_fargate.session import Program, SandboxError, Session

HASH_VARIABLE = "PHIGATE_SANDBOX_TOKEN_SHA256"
SHA256_HEX = re.compile(r"[0-9a-f]{64}")

# How long the process may take for its own end before it is cut short.
END_TIMEOUT_S = 15.0
WRITTEN_TIMEOUT_S = 2.0

EXIT_UNAVAILABLE = 3
EXIT_STUCK = 4


@dataclass(slots=True)
class Job:
    """One program on its way through the main thread."""

    program: Program
    done: threading.Event = field(default_factory=threading.Event)
    result: dict[str, Any] | None = None


class Server:
    """What the HTTP threads and the main thread share."""

    def __init__(self, policy: Policy, *, session_s: float, idle_s: float) -> None:
        """The session's clock starts with its first program, the idle one now."""
        self._policy = policy
        self._session_s = session_s
        self._ends_at_s = time.monotonic() + idle_s
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._claim = threading.Lock()
        self._over = threading.Event()
        self._removed = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._is_used = False
        self._session: Session | None = None

    def is_warm(self) -> bool:
        """Whether a program would find the libraries loaded."""
        return self._session is not None and self._session.is_warm

    def try_claim(self) -> bool:
        """Take the only place for a program."""
        return self._claim.acquire(blocking=False)

    def free(self) -> None:
        """Give it back."""
        self._claim.release()

    def run(self, body: bytes) -> dict[str, Any] | None:
        """Have the main thread run a program, and wait for it."""
        job = Job(read_program(body, self._policy.caps))
        self._jobs.put(job)
        self._wake()
        while not job.done.wait(1.0):
            if self._removed.is_set():
                return None
        return job.result

    def end(self) -> None:
        """End the session and wait until the jail is removed."""
        self.stop()
        self._removed.wait(END_TIMEOUT_S)

    def stop(self) -> None:
        """Ask for the end; from any thread and from signal handlers."""
        self._over.set()
        self._wake()

    def is_over(self) -> bool:
        """Whether the session has to end now."""
        return self._over.is_set() or time.monotonic() >= self._ends_at_s

    def serve(self, launch: Launch) -> None:
        """The main thread's whole life."""
        threading.Thread(target=self._guard, daemon=True).start()
        self._session = Session(launch, self._wake_read, self.is_over)
        try:
            self._work(self._session)
        finally:
            is_clean = self._session.end()
            self._removed.set()
            log(f"end clean={'yes' if is_clean else 'no'}")

    def _work(self, session: Session) -> None:
        told = False
        while not self.is_over():
            left = self._ends_at_s - time.monotonic()
            waiting = [session.descriptor, self._wake_read]
            ready, _, _ = select.select(waiting, [], [], max(left, 0.0))
            if self._wake_read in ready:
                os.read(self._wake_read, 1 << 10)
            with contextlib.suppress(queue.Empty):
                self._do(session, self._jobs.get_nowait())
                continue
            if session.descriptor in ready:
                session.listen()
            if session.is_warm and not told:
                told = True
                print("ready", flush=True)

    def _do(self, session: Session, job: Job) -> None:
        started = time.monotonic()
        if not self._is_used:
            self._is_used = True
            self._ends_at_s = started + self._session_s
        program = job.program
        answer = session.run(program)
        wall_ms = round((time.monotonic() - started) * 1000)
        job.result = result_body(answer, program.language, wall_ms)
        job.done.set()
        limits = ",".join(answer.limits) or "-"
        log(
            f"run language={program.language} exit={answer.exit_code} ms={wall_ms} "
            f"limits={limits} figures={len(answer.figures)} characters={len(program.code)}"
        )

    def _guard(self) -> None:
        """End the process when the main thread does not come to it."""
        while not self._removed.wait(1.0):
            if self._over.is_set():
                self._ends_at_s = min(self._ends_at_s, time.monotonic())
            if time.monotonic() > self._ends_at_s + END_TIMEOUT_S:
                os._exit(EXIT_STUCK)

    def _wake(self) -> None:
        os.write(self._wake_write, b".")


def main(arguments: list[str]) -> int:
    """Run one session; 0 when it came to its end."""
    options = read_options(arguments)
    token_sha256 = options.token_sha256 or os.environ.pop(HASH_VARIABLE, "")
    if not SHA256_HEX.fullmatch(token_sha256):
        log(f"no token: --token-sha256 or {HASH_VARIABLE}, 64 hexadecimal digits")
        return EXIT_UNAVAILABLE
    if options.parent:
        linux.die_with_parent(options.parent, signal.SIGTERM)
    policy = load_policy()
    try:
        launch = make_launch(options, policy)
        server = Server(policy, session_s=options.session_s, idle_s=options.idle_s)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        with listening(options.listen, token_sha256, server):
            server.serve(launch)
    except (PlaceError, SandboxError) as exc:
        log(f"no sandbox: {exc}")
        return EXIT_UNAVAILABLE
    return 0


def read_options(arguments: list[str]) -> argparse.Namespace:
    """The command line; times are bounded by the policy."""
    times = load_policy().session
    parser = argparse.ArgumentParser(prog="sandbox_fargate.server", description=__doc__)
    parser.add_argument("--launcher", choices=("bwrap", "lockdown"), required=True)
    parser.add_argument(
        "--listen", default="127.0.0.1:0", help="HOST:PORT; port 0 takes a free one"
    )
    parser.add_argument("--venv", type=Path, default=Path(".phigate-tools/sandbox"))
    parser.add_argument("--token-sha256", default="", help=f"else the variable {HASH_VARIABLE}")
    parser.add_argument("--session-s", type=float, default=times.seconds)
    parser.add_argument("--idle-s", type=float, default=times.idle_seconds)
    parser.add_argument("--parent", type=int, default=0, help="end when this process ends")
    options = parser.parse_args(arguments)
    if not 0 < options.session_s <= times.seconds:
        parser.error(f"--session-s must be above 0 and at most {times.seconds:g}")
    if not 0 < options.idle_s <= times.idle_seconds:
        parser.error(f"--idle-s must be above 0 and at most {times.idle_seconds:g}")
    return options


def make_launch(options: argparse.Namespace, policy: Policy) -> Launch:
    """How jails are started on this machine, or why none can be."""
    place = find_place(options.venv)
    if options.launcher == "lockdown":
        if os.geteuid() != 0:
            raise SandboxError("lockdown has to start as root, to leave it")
        return Launch(policy, place, None)
    cgroup.sweep()
    tool = find_tool()
    if tool is None:
        raise SandboxError("bubblewrap is not installed: make setup-sandbox")
    return Launch(policy, place, tool)


@contextlib.contextmanager
def listening(address: str, token_sha256: str, server: Server) -> Iterator[None]:
    """The HTTP API in threads of its own; its address is told on stdout."""
    host, _, port = address.rpartition(":")
    http_api = HttpApi((host, int(port)), token_sha256, server)
    print(f"listening {http_api.server_name}:{http_api.server_port}", flush=True)
    thread = threading.Thread(target=http_api.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        http_api.shutdown()
        http_api.wait_until_written(WRITTEN_TIMEOUT_S)
        http_api.server_close()


def log(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
