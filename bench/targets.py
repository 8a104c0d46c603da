"""Starts what is measured, each target in its own process group, and stops it again.

Laws: everything listens on loopback, on a port that was free; the state of a gateway lives in a
temporary directory; a target that is not there is skipped with a line, one that does not start
ends the bench.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.bodies import Endpoint
from bench.process import cpu_s, descendants, listener_pid

ROOT = Path(__file__).resolve().parent.parent
PHIGATE = Path(sys.executable).with_name("phigate")
HOST = "127.0.0.1"
# An engine, a catalog and a key on a busy machine of two cores.
START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 15.0
# 500 streams of CLIENTS_PER_KEY each (bench.client).
ACCOUNTS = 4
_CREDIT_USD = "1000"
_RPM = "1000000000"
_LOG_TAIL_LINES = 15


class StartFailedError(Exception):
    """A target was there but did not start; the text ends with its last lines."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The running fake upstream."""

    port: int
    pid: int

    @property
    def base_url(self) -> str:
        """Its address, without a path."""
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured; `pid` is the process that listens, None for the upstream itself.

    `translates` says that it speaks OpenAI's dialect whatever its upstream speaks.
    """

    name: str
    endpoint: Endpoint
    pid: int | None
    leader_pid: int | None = None
    translates: bool = False

    def helper_pids(self) -> list[int]:
        """The processes that belong to the target beside the one that listens."""
        if self.leader_pid is None:
            return []
        tree = [self.leader_pid, *descendants(self.leader_pid)]
        return [pid for pid in tree if pid != self.pid]

    def helpers_cpu_s(self) -> float:
        """CPU seconds of those processes."""
        return sum(_cpu_s_or_zero(pid) for pid in self.helper_pids())


@dataclass(slots=True)
class BenchProcesses:
    """Where processes are started: `stack` stops them, `logs` keeps what they say."""

    stack: ExitStack
    logs: Path

    def start(
        self,
        name: str,
        command: list[str],
        *,
        port: int,
        environment: dict[str, str] | None = None,
        is_ready: Callable[[Path], bool] | None = None,
    ) -> tuple[int, int]:
        """Start a process and wait for it: the pids of its leader and of its listener."""
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=_clean_environment() | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.stack.callback(_stop, process)
        deadline_s = time.monotonic() + START_SECONDS_MAX
        while process.poll() is None and time.monotonic() < deadline_s:
            listener = listener_pid(port, [process.pid, *descendants(process.pid)])
            if listener is not None and (is_ready is None or is_ready(log)):
                return process.pid, listener
            time.sleep(0.02)
        raise StartFailedError(f"{name} did not start:\n{_tail(log)}")


def start_upstream(processes: BenchProcesses) -> Upstream:
    """The fake upstream that all targets share."""
    port = free_port()
    command = [sys.executable, "-m", "bench.fake_upstream", "--port", str(port)]
    _, listener = processes.start("upstream", command, port=port)
    return Upstream(port, listener)


def start_direct(_processes: BenchProcesses, upstream: Upstream) -> Target:
    """The upstream itself, without anything between."""
    return Target("direct", Endpoint(HOST, upstream.port), pid=None)


def start_floor(processes: BenchProcesses, upstream: Upstream) -> Target:
    """The pass-through floor."""
    port = free_port()
    command = [sys.executable, "-m", "bench.floor_proxy", "--port", str(port)]
    command += ["--upstream", upstream.base_url]
    leader, listener = processes.start("floor", command, port=port)
    return Target("floor", Endpoint(HOST, port), pid=listener, leader_pid=leader)


def start_gateway(processes: BenchProcesses, upstream: Upstream) -> Target | None:
    """The gateway as `phigate local` serves it."""
    if not PHIGATE.exists():
        _say_skipped("gateway", f"no command {PHIGATE.name} beside this Python")
        return None
    # No warm sandboxes: what they cost at the start is not what a chat costs.
    command = [str(PHIGATE), "local", "--sandboxes", "0"]
    return _start_stack("gateway", command, processes, upstream)


def start_gateway_noledger(processes: BenchProcesses, upstream: Upstream) -> Target | None:
    """The same with a ledger that does nothing: bench.noledger, with the arguments of `local`."""
    if not PHIGATE.exists() or importlib.util.find_spec("bench.noledger") is None:
        _say_skipped("gateway-noledger", "no module bench.noledger")
        return None
    command = [sys.executable, "-m", "bench.noledger"]
    return _start_stack("gateway-noledger", command, processes, upstream)


def start_gateway_unsigned(processes: BenchProcesses, upstream: Upstream) -> Target | None:
    """The same with receipts that nobody signs: bench.unsigned, with the arguments of `local`."""
    if not PHIGATE.exists() or importlib.util.find_spec("bench.unsigned") is None:
        _say_skipped("gateway-unsigned", "no module bench.unsigned")
        return None
    command = [sys.executable, "-m", "bench.unsigned"]
    return _start_stack("gateway-unsigned", command, processes, upstream)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
    return port


def says_ready(log: Path) -> bool:
    """Whether a process has printed `ready` on a line of its own."""
    return b"ready" in log.read_bytes().split(b"\n")


def _start_stack(
    name: str, command: list[str], processes: BenchProcesses, upstream: Upstream
) -> Target:
    port = free_port()
    state = processes.stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{name}-"))
    leader, listener = processes.start(
        name,
        [*command, "--port", str(port), "--state", state],
        port=port,
        environment={
            "PHIGATE_INFOMANIAK_BASE_URL": f"{upstream.base_url}/v1",
            # The dialect's own path begins with /v1.
            "PHIGATE_ANTHROPIC_BASE_URL": upstream.base_url,
        },
        is_ready=says_ready,
    )
    keys = tuple(create_key(f"bench-{number}", state) for number in range(ACCOUNTS))
    endpoint = Endpoint(HOST, port, keys, {"x-region": "CH"})
    return Target(name, endpoint, pid=listener, leader_pid=leader, translates=True)


def create_key(account: str, state: str) -> str:
    command = [str(PHIGATE), "keys", "create", "--account", account, "--credit-usd", _CREDIT_USD]
    command += ["--rpm", _RPM, "--state", state]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=_clean_environment(),
        capture_output=True,
        text=True,
        timeout=START_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        raise StartFailedError(f"keys create ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.strip()


def _clean_environment() -> dict[str, str]:
    """Ours without the settings of a gateway that lie in the shell for other work."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PHIGATE_")}


def _say_skipped(name: str, reason: str) -> None:
    print(f"skipped {name}: {reason}", file=sys.stderr)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS_MAX)
    # What is left of its group: a leader that ended early leaves its children behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


def _cpu_s_or_zero(pid: int) -> float:
    try:
        return cpu_s(pid)
    except OSError:
        return 0.0


# The targets in the order of the report; each from the processes and the upstream.
STARTERS: dict[str, Callable[[BenchProcesses, Upstream], Target | None]] = {
    "direct": start_direct,
    "floor": start_floor,
    "gateway": start_gateway,
    "gateway-noledger": start_gateway_noledger,
    "gateway-unsigned": start_gateway_unsigned,
}
