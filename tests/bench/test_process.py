"""What is read about processes, against processes that are really there."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.process import (
    command_of,
    cpu_s,
    descendants,
    listener_pid,
    listening_inodes,
    parse_machine_ticks,
    reset_peak,
    rss_bytes,
    rss_peak_bytes,
)
from bench.run import Reading, calls_per_request, noise_between
from bench.targets import says_ready

# It works, or starts a child that works, says so, and waits for its end.
SPIN = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
WAIT = "print('done', flush=True)\ninput()\n"
GROW = "x = b'x' * 50_000_000\ndel x\n"
PARENT = f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {SPIN + WAIT!r}])\n"


def started(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(name="run")
def _run(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with started(request.param) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process
        process.communicate("\n", timeout=20)


@pytest.mark.parametrize("run", [SPIN + WAIT], indirect=True)
def test_cpu_of_a_process_is_what_it_used(run: subprocess.Popen[str]) -> None:
    assert 0.2 <= cpu_s(run.pid) < 2


@pytest.mark.parametrize("run", [PARENT + "p.wait()\n"], indirect=True)
def test_cpu_of_a_child_is_counted_for_the_child_alone(run: subprocess.Popen[str]) -> None:
    (child,) = descendants(run.pid)
    assert cpu_s(child) >= 0.2
    assert cpu_s(run.pid) < 0.2


@pytest.mark.parametrize("run", [GROW + WAIT], indirect=True)
def test_the_peak_stays_until_it_is_reset(run: subprocess.Popen[str]) -> None:
    assert rss_peak_bytes(run.pid) - rss_bytes(run.pid) > 40_000_000
    reset_peak(run.pid)
    assert rss_peak_bytes(run.pid) - rss_bytes(run.pid) < 1_000_000


@pytest.mark.parametrize("run", [WAIT], indirect=True)
def test_a_command_is_named_by_its_program_without_its_folder(run: subprocess.Popen[str]) -> None:
    assert (
        command_of(run.pid) == f"{Path(sys.executable).name} -c print('done', flush=True) input()"
    )


@pytest.mark.parametrize("run", [WAIT], indirect=True)
def test_the_listener_of_a_port_is_found_among_its_candidates(run: subprocess.Popen[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener_pid(port, [run.pid, os.getpid()]) == os.getpid()
        assert listener_pid(port, [run.pid]) is None


def test_only_listening_sockets_of_the_port_count() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid to inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 111 1\n"
        "   1: 0100007F:1F90 0100007F:C001 01 0:0 00:0 0 0 0 222 1\n"
        "   2: 0100007F:1F91 00000000:0000 0A 0:0 00:0 0 0 0 333 1\n"
    )
    assert listening_inodes(table, 8080) == {"111"}


def test_idle_and_disk_waits_are_not_busy_and_steal_stands_alone() -> None:
    ticks = parse_machine_ticks("cpu  10 1 5 100 7 2 3 4 0 0\ncpu0 1 2 3 4 5 6 7 8\n")
    assert (ticks.busy, ticks.steal, ticks.total) == (21, 4, 132)


def test_noise_is_what_nobody_of_the_bench_used() -> None:
    per_s = os.sysconf("SC_CLK_TCK")

    def reading(busy_s: int, idle_s: int, steal_s: int, wall_s: float, share_s: float) -> Reading:
        line = f"cpu {busy_s * per_s} 0 0 {idle_s * per_s} 0 0 0 {steal_s * per_s}"
        return Reading(
            target_s=share_s,
            helpers_s=share_s,
            ours_s=share_s,
            machine=parse_machine_ticks(line),
            wall_s=wall_s,
            rss_bytes=0,
            rss_peak_bytes=0,
            streams_open_max=0,
            dynamodb_calls=None,
        )

    noise = noise_between(reading(10, 50, 0, 100.0, 1.0), reading(18, 60, 2, 110.0, 2.0))
    assert noise.others_percent == pytest.approx(50)
    assert noise.steal_percent == pytest.approx(10)


CALLS = {
    "three writes a chat": (
        {"UpdateItem": 10, "PutItem": 5},
        {"UpdateItem": 30, "PutItem": 15},
        {"UpdateItem": 2.0, "PutItem": 1.0},
    ),
    "an operation that first came meanwhile": ({}, {"GetItem": 1}, {"GetItem": 0.1}),
    "a gateway that does not say": (None, None, None),
}


@pytest.mark.parametrize(("before", "after", "calls"), CALLS.values(), ids=CALLS.keys())
def test_calls_a_request_are_the_difference_of_two_readings(
    before: dict[str, int] | None,
    after: dict[str, int] | None,
    calls: dict[str, float] | None,
) -> None:
    assert calls_per_request(before, after, 10) == calls


READY = {
    "on a line of its own": (b"curl ...\nready\n", True),
    "within a line": (b"getting ready\nalready\n", False),
    "not yet": (b"", False),
}


@pytest.mark.parametrize(("said", "is_ready"), READY.values(), ids=READY.keys())
def test_ready_is_a_line_of_its_own(said: bytes, is_ready: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(said)
    assert says_ready(log) is is_ready
