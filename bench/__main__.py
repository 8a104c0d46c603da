"""`python -m bench`: starts the targets, measures them interleaved, and prints the report.

The exit code is 0 whatever the figures are, and 1 when an answer was wrong or a target that is
there did not start: a bench of wrong answers measures nothing.
"""

import argparse
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.process import command_of, cpu_s, rss_bytes
from bench.report import helpers_line, render, wrong_total
from bench.run import plan, run
from bench.scenarios import SCENARIOS, Scenario
from bench.targets import (
    STARTERS,
    BenchProcesses,
    StartFailedError,
    Target,
    Upstream,
    start_upstream,
)

REPEATS = 3
# 500 streams are 1,000 sockets of a gateway, over the usual soft limit of 1,024 files.
FILES_MAX = 16_384


def main() -> int:
    """Run the bench; the exit code."""
    options = _parse()
    _raise_files_limit()
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-logs-")))
        try:
            processes = BenchProcesses(stack, logs)
            upstream = start_upstream(processes)
            targets = _start(processes, upstream, options.targets)
        except StartFailedError as exc:
            print(exc, file=sys.stderr)
            return 1
        repeats = 1 if options.quick and options.repeats is None else options.repeats or REPEATS
        cells = run(plan(options.only, targets, repeats), upstream, quick=options.quick)
        print(render(cells))
        print("\n## Processes beside the targets\n")
        print("\n".join(_beside(targets)) or "None.")
    return 1 if wrong_total(cells) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and memory.")
    parser.add_argument("--quick", action="store_true", help="about a minute, one repeat")
    parser.add_argument("--repeats", type=int, help=f"default {REPEATS}, quick 1")
    parser.add_argument("--only", type=_scenarios, default=list(SCENARIOS), metavar="NAME,NAME")
    parser.add_argument(
        "--targets", type=_target_names, default=list(STARTERS), metavar="NAME,NAME"
    )
    return parser.parse_args()


def _scenarios(text: str) -> list[Scenario]:
    named = {scenario.name: scenario for scenario in SCENARIOS}
    wanted = _known(text, list(named))
    return [scenario for name, scenario in named.items() if name in wanted]


def _target_names(text: str) -> list[str]:
    return _known(text, list(STARTERS))


def _known(text: str, names: list[str]) -> list[str]:
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown {unknown[0]}; known are {', '.join(names)}")
    return wanted


def _start(processes: BenchProcesses, upstream: Upstream, names: list[str]) -> list[Target]:
    started = [start(processes, upstream) for name, start in STARTERS.items() if name in names]
    return [target for target in started if target is not None]


def _beside(targets: list[Target]) -> list[str]:
    return [
        helpers_line(target.name, command_of(pid), cpu_s=cpu_s(pid), rss_bytes=rss_bytes(pid))
        for target in targets
        for pid in target.helper_pids()
    ]


def _raise_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


if __name__ == "__main__":
    sys.exit(main())
