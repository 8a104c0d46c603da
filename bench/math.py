"""What a math agent's request takes on this machine: the last part of `make bench`.

The whole request by HTTP: the simulated provider's turn that writes a program, the sandbox, the
program, and the turn that answers. `live` is what one more program in the same sandbox adds.
"""

import http.client
import json
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.process import command_of, cpu_s, descendants, pss_bytes
from bench.report import table
from bench.targets import HOST, PHIGATE, BenchProcesses, create_key, free_port, says_ready

ROUNDS = 9
AT_ONCE = 8
WARM = 2
REQUEST_SECONDS_MAX = 60.0
# A pool that was drained is full again within a few seconds.
REFILL_SECONDS_MAX = 30.0
IDLE_CPU_S = 0.02  # within half a second: nothing is being loaded any more
ONE = "```python\n1 + 1\n```"
GOALS_MS = {"warm pool": 120.0, "no pool": 2_500.0, "one more program": 15.0}


class Stack:
    """A local stack with so many warm sandboxes."""

    def __init__(self, processes: BenchProcesses, warm: int) -> None:
        self._port = free_port()
        state = processes.stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-math-"))
        command = [str(PHIGATE), "local", "--sandboxes", str(warm)]
        self.leader, _ = processes.start(
            f"math-{warm}",
            [*command, "--port", str(self._port), "--state", state],
            port=self._port,
            is_ready=says_ready,
        )
        # An account has at most four sandboxes at once.
        self._keys = [create_key(f"bench-math-{i}", state) for i in range(AT_ONCE // 4)]

    def request_ms(self, question: str, caller: int = 0) -> float:
        """One request, checked: every program of the question has run."""
        body = {"model": "auto", "messages": [{"role": "user", "content": question}]}
        key = self._keys[caller % len(self._keys)]
        headers = {"authorization": f"Bearer {key}", "x-region": "CH"}
        connection = http.client.HTTPConnection(HOST, self._port, timeout=REQUEST_SECONDS_MAX)
        began = time.perf_counter()
        connection.request("POST", "/v1/math/chat/completions", json.dumps(body), headers)
        answer = json.loads(connection.getresponse().read())
        taken_ms = (time.perf_counter() - began) * 1000
        connection.close()
        wanted = question.count("```python")
        if answer.get("usage", {}).get("server_tool_use", {}).get("python_runs") != wanted:
            raise SystemExit(f"a math answer was wrong: {answer.get('error')}")
        return taken_ms

    def sandboxes(self) -> list[int]:
        """The processes that hold warm sandboxes, and those inside them."""
        tree = descendants(self.leader)
        servers = [pid for pid in tree if _is_server(pid)]
        return [*servers, *(inner for pid in servers for inner in descendants(pid))]

    def wait_for_pool(self) -> None:
        """Return once as many servers wait as the pool holds, and have been idle for a while."""
        until = time.monotonic() + REFILL_SECONDS_MAX
        used = -IDLE_CPU_S
        while time.monotonic() < until:
            pids = self.sandboxes()
            now = sum(map(_cpu_s, pids))
            if sum(map(_is_server, pids)) >= WARM:
                if now - used < IDLE_CPU_S:
                    return
                used = now
            time.sleep(0.5)


def main() -> int:
    """Print the table."""
    if shutil.which("bwrap") is None:
        print("skipped math: bubblewrap is missing", file=sys.stderr)
        return 0
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-logs-") as logs:
        processes = BenchProcesses(stack, Path(logs))
        print("## Math\n")
        print(table(("request", "p50 ms", "worst ms", "goal ms"), _lines(processes)))
    return 0


def _lines(processes: BenchProcesses) -> list[list[str]]:
    warm = Stack(processes, WARM)
    first, more = [], []
    for _ in range(ROUNDS):
        warm.wait_for_pool()
        first.append(warm.request_ms(ONE))
        warm.wait_for_pool()
        more.append(warm.request_ms(f"{ONE}\n{ONE}"))
    warm.wait_for_pool()
    idle_mb = sum(pss_bytes(pid) for pid in warm.sandboxes()) / 1e6
    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = list(pool.map(warm.request_ms, [ONE] * AT_ONCE, range(AT_ONCE)))
    cold = Stack(processes, 0)
    colds = [cold.request_ms(ONE) for _ in range(ROUNDS)]
    added = statistics.median(more) - statistics.median(first)
    return [
        _line("warm pool", first),
        _line("no pool", colds),
        ["one more program", f"{added:.0f}", "", f"{GOALS_MS['one more program']:g}"],
        _line(f"{AT_ONCE} at once, pool of {WARM}", together),
        [f"memory of {WARM} idle sandboxes", f"{idle_mb:.0f} MB", "", "450 MB"],
    ]


def _line(name: str, taken_ms: list[float]) -> list[str]:
    goal = GOALS_MS.get(name)
    worst, middle = max(taken_ms), statistics.median(taken_ms)
    return [name, f"{middle:.0f}", f"{worst:.0f}", "" if goal is None else f"{goal:g}"]


def _is_server(pid: int) -> bool:
    try:
        return "sandbox_fargate.server" in command_of(pid)
    except OSError:
        return False


def _cpu_s(pid: int) -> float:
    try:
        return cpu_s(pid)
    except OSError:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
