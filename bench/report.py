"""The report as markdown: cells, memory, DynamoDB calls, budgets, noise. It measures nothing."""

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.budgets import BUDGETS, BYTES_PER_MB, FLOOR_CPU_MS, Rows, budget_line, machine_slowness
from bench.figures import Cell, Row, growth_percent, peak_growth_bytes, rows_of

_SPEED_HEAD = (
    "scenario",
    "c",
    "target",
    "req/s",
    "p50 ms",
    "p99 ms",
    "CPU ms/req",
    "CPU least",
    "to floor",
    "first chunk ms",
    "helpers ms/req",
    "others %",
    "steal %",
    "wrong",
)
_MEMORY_HEAD = (
    "scenario",
    "c",
    "target",
    "before MB",
    "after MB",
    "change %",
    "peak MB",
    "peak growth / body",
    "streams open",
)
# Cells of which the table of DynamoDB calls speaks.
_CALLS_SCENARIOS = ("json-1k", "stream-200", "soak-20k")


def render(cells: Sequence[Cell]) -> str:
    """The whole report."""
    rows = rows_of(cells)
    parts = [
        "## Speed",
        table(_SPEED_HEAD, [_speed_line(row, rows) for row in rows.values()]),
        "## Memory of the target's process",
        table(_MEMORY_HEAD, [_memory_line(row) for row in rows.values() if _has_memory(row)]),
        "## DynamoDB calls a chat",
        _calls(rows),
        "## Budgets",
        "\n".join(budget_line(budget, rows) for budget in BUDGETS),
        "## Machine",
        _machine(rows),
        "## Noise",
        _noise(cells),
        "## Wrong answers",
        _wrong(rows),
    ]
    return "\n\n".join(parts)


def wrong_total(cells: Iterable[Cell]) -> int:
    """How many answers of the whole run were wrong."""
    return sum(cell.wrong.total() for cell in cells)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def helpers_line(target: str, command: str, *, cpu_s: float, rss_bytes: int) -> str:
    """What one process beside a target has used since its start."""
    return f"- {target}: {command}, {cpu_s:.1f} s of CPU, {rss_bytes / BYTES_PER_MB:.0f} MB"


def _speed_line(row: Row, rows: Rows) -> list[str]:
    scenario, clients, target = row.key
    floor = rows.get((scenario, clients, "floor"))
    return [
        scenario,
        str(clients),
        target,
        _number(row.median("requests_per_s"), 0),
        _number(row.median("p50_ms"), 2),
        _number(row.median("p99_ms"), 2),
        _number(row.median("cpu_ms_per_request"), 3),
        _number(_cpu_least(row), 3),
        _number(_ratio(row, floor), 2),
        _number(row.median("first_chunk_p50_ms"), 2),
        _number(row.median("helpers_cpu_ms_per_request"), 3),
        _number(row.median("others_percent"), 0),
        _number(row.median("steal_percent"), 1),
        str(row.wrong.total()),
    ]


def _ratio(row: Row, floor: Row | None) -> float | None:
    own = row.median("cpu_ms_per_request")
    base = None if floor is None else floor.median("cpu_ms_per_request")
    return own / base if own is not None and base else None


def _cpu_least(row: Row) -> float | None:
    figures = [cell.cpu_ms_per_request for cell in row.cells]
    return min((figure for figure in figures if figure is not None), default=None)


def _has_memory(row: Row) -> bool:
    return row.cells[0].memory is not None


def _memory_line(row: Row) -> list[str]:
    scenario, clients, target = row.key
    first, last = row.cells[0], row.cells[-1]
    memories = [cell.memory for cell in row.cells if cell.memory is not None]
    growth = peak_growth_bytes(row)
    return [
        scenario,
        str(clients),
        target,
        _megabytes(first.memory.before if first.memory else None),
        _megabytes(last.memory.after if last.memory else None),
        _number(growth_percent(row), 1),
        _megabytes(max(memory.peak for memory in memories)),
        _number(None if growth is None else growth / first.body_bytes, 1)
        if first.body_bytes > BYTES_PER_MB
        else "",
        _number(max(cell.streams_open_max for cell in row.cells) or None, 0),
    ]


def _calls(rows: Rows) -> str:
    lines = []
    for (scenario, clients, target), row in rows.items():
        calls = row.cells[-1].dynamodb_calls_per_request
        if calls is not None and scenario in _CALLS_SCENARIOS:
            each = ", ".join(f"{name} {count:.2f}" for name, count in sorted(calls.items()))
            total = sum(calls.values())
            lines.append(f"- {target}, {scenario}, c={clients}: {total:.2f} ({each})")
    return "\n".join(lines) or "No target says `dynamodb_calls` in /healthz."


def _machine(rows: Rows) -> str:
    lines = []
    for floor, then_ms in FLOOR_CPU_MS.items():
        slowness = machine_slowness(floor, rows)
        if slowness is not None:
            lines.append(
                f"- {floor[0]}, c={floor[1]}: the floor takes {slowness:.2f} times the CPU that "
                f"it took when the budgets were set ({then_ms:g} ms)"
            )
    return "\n".join(lines) or "The floor was not measured."


def _noise(cells: Sequence[Cell]) -> str:
    if not cells:
        return "Nothing was measured."
    loudest = sorted(cells, key=lambda cell: -cell.noise.others_percent)[:3]
    worst = "; ".join(
        f"{cell.scenario} c={cell.clients} {cell.target} {cell.noise.others_percent:.0f} %"
        for cell in loudest
    )
    steal = max(cell.noise.steal_percent for cell in cells)
    return (
        f"Other processes took most in: {worst} (per cent of one core). "
        f"Steal was at most {steal:.1f} % of the machine."
    )


def _wrong(rows: Rows) -> str:
    lines = []
    for (scenario, clients, target), row in rows.items():
        if row.wrong:
            lines.append(f"- {target}, {scenario}, c={clients}: {_kinds(row.wrong)}")
    return "\n".join(lines) or "None."


def _kinds(wrong: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in wrong.most_common())


def _megabytes(size: int | None) -> str:
    return _number(None if size is None else size / BYTES_PER_MB, 1)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
