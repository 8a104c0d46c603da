"""Measures the bwrap sandbox on this machine: `make bench-sandbox`."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.sandbox.harness import Sandbox, jail_processes, serving, why_not

ROUNDS = 9
PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2, 3], [2, 3, 5]); plt.show()"
R_PLOT = "library(ggplot2); ggplot(mtcars, aes(wt, mpg)) + geom_point()"


def main() -> int:
    """Print one line a measurement: name, p50, worst, goal."""
    if reason := why_not("bwrap"):
        print(f"not measured: {reason}")
        return 0
    rows = (
        ("start to 1+1, cold", cold("1 + 1"), 2500),
        ("start to first plot, cold", cold(PLOT), 2500),
        ("pre-warmed, 1+1 first", warm("1 + 1"), 120),
        ("pre-warmed, sympy integral first", warm(INTEGRAL), 120),
        ("pre-warmed, first plot", warm(PLOT), 120),
        ("live session, 1+1", live("1 + 1"), 15),
        ("live session, plot", live(PLOT), None),
        ("live session, ggplot2 in R", live(R_PLOT, "r"), None),
        ("end of a session", ends(), None),
        ("start to ready", ready(), None),
    )
    for name, milliseconds, goal in rows:
        shown = [f"{value:8.1f}" for value in (statistics.median(milliseconds), max(milliseconds))]
        print(f"{name:36}{''.join(shown)} ms   {f'goal {goal}' if goal else ''}")
    print(f"{'two idle sandboxes':36}{idle_mb():8.0f} MB PSS, goal 450")
    return 0


INTEGRAL = "import sympy as s; x = s.symbols('x'); s.integrate(s.exp(-x) * s.sin(x), x)"


def cold(code: str) -> list[float]:
    """From the start of the server's process to the result of a first program."""

    def once() -> None:
        with serving("bwrap") as server:
            server.run(code)
            marks.append(time.perf_counter())

    marks: list[float] = []
    begun = []
    for _ in range(ROUNDS):
        begun.append(time.perf_counter())
        once()
    return [(end - start) * 1000 for start, end in zip(begun, marks, strict=True)]


def warm(code: str) -> list[float]:
    """The first program of a session whose libraries are loaded."""
    found = []
    for _ in range(ROUNDS):
        with idle() as server:
            found.append(timed(server.run, code))
    return found


def live(code: str, language: str = "python") -> list[float]:
    """Programs one after the other in one session."""
    with idle() as server:
        server.run(code, language)
        return [timed(server.run, code, language) for _ in range(4 * ROUNDS)]


def ends() -> list[float]:
    """From the word to the end of the process."""
    found = []
    for _ in range(ROUNDS):
        with idle() as server:
            server.run("1")
            found.append(timed(server.end))
    return found


def ready() -> list[float]:
    """From the start to the word that libraries are loaded."""
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with idle():
            found.append((time.perf_counter() - start) * 1000)
    return found


def idle_mb() -> float:
    """What two sandboxes that wait take together, servers included."""
    with ExitStack() as stack:
        before = set(jail_processes())
        servers = [stack.enter_context(idle()) for _ in range(2)]
        pids = [server.process.pid for server in servers]
        return sum(pss_mb(pid) for pid in [*pids, *(set(jail_processes()) - before)])


def pss_mb(pid: int) -> float:
    """A process's share of memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@contextmanager
def idle() -> Iterator[Sandbox]:
    """A sandbox with its libraries loaded."""
    with serving("bwrap") as server:
        server.wait_until_ready()
        yield server


def timed(step: Callable[..., object], *arguments: object) -> float:
    """Milliseconds of a call."""
    start = time.perf_counter()
    step(*arguments)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    sys.exit(main())
