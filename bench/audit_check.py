"""`make audit-check`: a quarter of traffic on a real engine, audited with and without violations.

It passes when the audit finds exactly what was planted, finds nothing where nothing was, and
verifies 10,000 receipts within its budget of CPU.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.audit_operator import Operator, audited_at_s
from bench.audit_plan import PLANTS, Traffic
from local.engine import Engine, running
from local.stack import local_dynamodb
from local.state import engine_named
from phigate.cli.audit_page import page
from phigate.core.types import Json
from phigate.effects.audit.auditor import Period, audit
from phigate.effects.clock import WallClock
from phigate.effects.signing.key_files import file_signer
from phigate.effects.store.admin import create_table
from phigate.verify.audit import Report
from phigate.verify.roots import PURPOSES

MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of its own is made in it
DAYS = 92
PER_DAY = 1_087  # 100,004 numbers in the quarter
FIRST_DAY = "2026-07-01"
SMALL = Traffic("ten-thousand", "2026-06-01", days=10, per_day=1_000)
AUDIT_10000_CPU_S_MAX = 5.0

PLANTED = Traffic("planted", FIRST_DAY, DAYS, PER_DAY, frozenset(PLANTS))
CLEAN = Traffic("clean", FIRST_DAY, DAYS, PER_DAY)


class Failed(Exception):  # named by what happened, like every error here
    """The audit did not say what it had to."""


def main() -> int:
    """Run everything; 1 where the audit is wrong or too slow."""
    with (
        tempfile.TemporaryDirectory(prefix="phigate-audit-") as folder,
        running(Path(folder)) as engine,
    ):
        if not engine.durable:
            print("audit-check needs dynoxide: run local/install_dynoxide.py")
            return 1
        try:
            _check(Path(folder), engine)
        except Failed as exc:
            print(f"FAILED: {exc}")
            return 1
    print("audit-check: passed")
    return 0


def _memory() -> str | None:
    """A folder in memory, where there is one: writes that last are not what is measured."""
    return str(MEMORY) if os.access(MEMORY, os.W_OK) else None


def _check(state: Path, engine: Engine) -> None:
    with engine_named(state, engine.url, durable=True):
        for traffic in (SMALL, CLEAN):
            asyncio.run(_simulated(state, engine, traffic))
            told, cpu_s = _command(state, traffic)
            if told["findings"]["total"]:
                raise Failed(f"{traffic.account}: {told['findings']['listed'][:5]}")
            if traffic is SMALL and cpu_s > AUDIT_10000_CPU_S_MAX:
                raise Failed(f"10,000 receipts took {cpu_s:.2f} s of CPU")
        asyncio.run(_planted(state, engine))


async def _simulated(state: Path, engine: Engine, traffic: Traffic) -> Json:
    """Write and close the traffic; what was planted."""
    dynamodb = local_dynamodb(engine.url, WallClock())
    operator = Operator(dynamodb, {signs: file_signer(state, signs) for signs in PURPOSES})
    try:
        await create_table(dynamodb, WallClock())
        await operator.open(traffic)
        with _timed(f"{traffic.account}: {traffic.numbers} numbers written"):
            written = await operator.write(traffic)
        with _timed(f"{traffic.account}: {traffic.days} days closed"):
            closing = await operator.close(traffic)
    finally:
        await dynamodb.close()
    if len(closing.days) != traffic.days:
        raise Failed(f"{traffic.account}: {len(closing.days)} days closed; {closing.left_open}")
    return {name: list(found) for name, found in written.planted.items()}


def _command(state: Path, traffic: Traffic) -> tuple[Json, float]:
    """`phigate audit` as a person runs it: what it says, and the CPU it took."""
    command = [sys.executable, "-m", "phigate.cli.main", "audit", "--json"]
    period = ["--from", traffic.first_day, "--to", traffic.last_day]
    before = _children_cpu_s()
    with _timed(f"{traffic.account}: phigate audit"):
        ran = subprocess.run(
            [*command, "--account", traffic.account, *period, "--state", str(state)],
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )
    cpu_s = _children_cpu_s() - before
    if not ran.stdout:
        raise Failed(f"phigate audit ended with {ran.returncode}: {ran.stderr}")
    told: Json = json.loads(ran.stdout)
    each_us = cpu_s / max(1, told["receipts"]) * 1e6
    print(f"  {told['receipts']} receipts, {cpu_s:.2f} s of CPU, {each_us:.0f} µs each")
    if ran.returncode != (1 if told["findings"]["total"] else 0):
        raise Failed(f"the exit status is {ran.returncode}")
    return told, cpu_s


async def _planted(state: Path, engine: Engine) -> None:
    planted = await _simulated(state, engine, PLANTED)
    dynamodb = local_dynamodb(engine.url, WallClock())
    clock = Operator(dynamodb, {}).clock
    clock.time_s = audited_at_s(PLANTED)
    period = Period(PLANTED.account, PLANTED.first_day, PLANTED.last_day)
    try:
        with _timed(f"{PLANTED.account}: audited"):
            report = await audit(dynamodb, clock, period)
    finally:
        await dynamodb.close()
    if report is None:
        raise Failed("the account is not there")
    print(f"\n{page(report, 'the table itself')}\n")
    if found(report) != sorted(map(tuple, planted.values())) or len(planted) != len(PLANTS):
        raise Failed(f"planted were {planted}")


def found(report: Report) -> list[tuple[str, str]]:
    """The subject and rule of every finding."""
    return sorted((each.subject, each.rule) for each in report.found)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    print(f"{what} in {time.monotonic() - began_s:.1f} s", flush=True)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
