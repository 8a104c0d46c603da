"""Runs the cells: interleaved over targets, so that noise falls on all of them alike.

Laws: CPU is read after what stands behind the last byte (a settle) has had time to run; the pace
of the upstream is set before every load.
"""

import asyncio
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import httpx
import orjson
import uvloop

from bench import process
from bench.client import Load, Measured, run_load
from bench.fake_upstream import Pace
from bench.figures import Cell, Memory, Noise, percentile
from bench.scenarios import Scenario, Size, When
from bench.targets import HOST, Target, Upstream

# A gateway settles after the last byte: three writes at most, of a few milliseconds each.
DRAIN_S = 0.2
_CONTROL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """One cell to be measured."""

    scenario: Scenario
    clients: int
    target: Target


@dataclass(frozen=True, slots=True)
class Reading:
    """Every clock and counter at one moment; `ours_s` is the CPU of upstream and bench."""

    target_s: float
    helpers_s: float
    ours_s: float
    machine: process.MachineTicks
    wall_s: float
    rss_bytes: int
    rss_peak_bytes: int
    streams_open_max: int
    dynamodb_calls: dict[str, int] | None


def plan(scenarios: Iterable[Scenario], targets: list[Target], repeats: int) -> Iterator[Step]:
    """All cells in order: targets stand innermost, and every second repeat turns them round."""
    chosen = list(scenarios)
    for repeat in range(repeats):
        moments = {When.EVERY: True, When.FIRST: repeat == 0, When.LAST: repeat == repeats - 1}
        order = targets if repeat % 2 == 0 else targets[::-1]
        for scenario in (one for one in chosen if moments[one.when]):
            for clients in scenario.clients:
                for target in order:
                    if _can_run(scenario, target):
                        yield Step(scenario, clients, target)


def _can_run(scenario: Scenario, target: Target) -> bool:
    if scenario.needs_process and target.pid is None:
        return False
    return scenario.native is None or target.translates or target.pid is None


def run(steps: Iterable[Step], upstream: Upstream, *, quick: bool) -> list[Cell]:
    """Measure all cells, with a line on standard error for each."""
    cells = []
    for step in steps:
        cell = _measure(step, upstream, step.scenario.quick if quick else step.scenario.full)
        cells.append(cell)
        cpu = "-" if cell.cpu_ms_per_request is None else f"{cell.cpu_ms_per_request:.3f}"
        print(
            f"{cell.scenario} c={cell.clients} {cell.target}: {cell.requests_per_s:.0f} req/s, "
            f"CPU {cpu} ms, others {cell.noise.others_percent:.0f} %, {cell.wrong.total()} wrong",
            file=sys.stderr,
        )
    return cells


def get_json(port: int, path: str, *, method: str = "GET") -> dict[str, object]:
    """One small JSON object from a server on loopback; empty when it is not one."""
    url = f"http://{HOST}:{port}{path}"
    try:
        parsed = orjson.loads(httpx.request(method, url, timeout=_CONTROL_TIMEOUT_S).content)
    except (httpx.HTTPError, orjson.JSONDecodeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _measure(step: Step, upstream: Upstream, size: Size) -> Cell:
    target, scenario = step.target, step.scenario
    _set_pace(upstream, scenario.pace)
    load = load_of(step, size)
    warm = _drive(load)
    if target.pid is not None:
        process.reset_peak(target.pid)
    before = _read(target, upstream)
    load.requests_max = size.requests_max
    measured = _drive(load)
    time.sleep(DRAIN_S)
    after = _read(target, upstream)
    measured.wrong += warm.wrong
    return _cell(step, len(load.body), measured, before, after)


def load_of(step: Step, size: Size) -> Load:
    """What is sent to one target, to begin with the unmeasured requests."""
    target, scenario = step.target, step.scenario
    endpoint = replace(target.endpoint, headers={**target.endpoint.headers, **scenario.headers})
    body, check = scenario.body, scenario.check
    if scenario.native is not None and target.pid is None:
        endpoint = replace(target.endpoint, path=scenario.native.path)
        body, check = scenario.native.body, scenario.native.check
    return Load(
        endpoint=endpoint,
        body=body(),
        check=check,
        clients=step.clients,
        requests_max=size.warm,
        seconds_max=size.seconds_max,
    )


def _cell(step: Step, body_bytes: int, measured: Measured, before: Reading, after: Reading) -> Cell:
    target = step.target
    requests = max(1, measured.requests)
    target_ms = 1_000 * (after.target_s - before.target_s) / requests
    helpers_ms = 1_000 * (after.helpers_s - before.helpers_s) / requests
    return Cell(
        scenario=step.scenario.name,
        clients=step.clients,
        target=target.name,
        requests=measured.requests,
        wrong=measured.wrong,
        requests_per_s=len(measured.latencies_ms) / measured.wall_s,
        p50_ms=percentile(measured.latencies_ms, 50),
        p99_ms=percentile(measured.latencies_ms, 99),
        first_chunk_p50_ms=percentile(measured.first_chunks_ms, 50),
        cpu_ms_per_request=None if target.pid is None else target_ms,
        helpers_cpu_ms_per_request=helpers_ms if target.helper_pids() else None,
        memory=None if target.pid is None else _memory(before, after),
        noise=noise_between(before, after),
        streams_open_max=after.streams_open_max,
        body_bytes=body_bytes,
        dynamodb_calls_per_request=calls_per_request(
            before.dynamodb_calls, after.dynamodb_calls, requests
        ),
    )


def _drive(load: Load) -> Measured:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_load(load))


def _set_pace(upstream: Upstream, pace: Pace) -> None:
    query = urlencode({"chunks": pace.chunks, "first_ms": pace.first_ms, "gap_ms": pace.gap_ms})
    get_json(upstream.port, f"/control?{query}", method="POST")


def _streams_open_max(upstream: Upstream) -> int:
    value = get_json(upstream.port, "/counters").get("streams_open_max")
    return value if isinstance(value, int) else 0


def _read(target: Target, upstream: Upstream) -> Reading:
    calls = dynamodb_calls(target)
    return Reading(
        target_s=0.0 if target.pid is None else process.cpu_s(target.pid),
        helpers_s=target.helpers_cpu_s(),
        ours_s=time.process_time() + process.cpu_s(upstream.pid),
        machine=process.machine_ticks(),
        wall_s=time.monotonic(),
        rss_bytes=0 if target.pid is None else process.rss_bytes(target.pid),
        rss_peak_bytes=0 if target.pid is None else process.rss_peak_bytes(target.pid),
        streams_open_max=_streams_open_max(upstream),
        dynamodb_calls=calls,
    )


def _memory(before: Reading, after: Reading) -> Memory:
    return Memory(before=before.rss_bytes, after=after.rss_bytes, peak=after.rss_peak_bytes)


def noise_between(before: Reading, after: Reading) -> Noise:
    """The share of all that is neither target nor helper nor upstream nor bench, and steal."""
    known_s = (
        (after.target_s - before.target_s)
        + (after.helpers_s - before.helpers_s)
        + (after.ours_s - before.ours_s)
    )
    busy_s = process.ticks_to_s(after.machine.busy - before.machine.busy)
    total = max(1, after.machine.total - before.machine.total)
    return Noise(
        others_percent=100 * max(0.0, busy_s - known_s) / (after.wall_s - before.wall_s),
        steal_percent=100 * (after.machine.steal - before.machine.steal) / total,
    )


def dynamodb_calls(target: Target) -> dict[str, int] | None:
    """How many calls of each operation the gateway has made, if its /healthz says so."""
    counts = get_json(target.endpoint.port, "/healthz").get("dynamodb_calls")
    return counts if isinstance(counts, dict) else None


def calls_per_request(
    before: dict[str, int] | None, after: dict[str, int] | None, requests: int
) -> dict[str, float] | None:
    """The calls of each operation between two readings, a request."""
    if before is None or after is None:
        return None
    return {name: (count - before.get(name, 0)) / requests for name, count in after.items()}
