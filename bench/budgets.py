"""The budgets of speed and memory, and whether a run met them.

A budget is a named limit and the function that takes its figure from the rows. A figure that was
not measured is `not measured`, which is neither met nor missed.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.figures import Row, RowKey, growth_percent, peak_growth_bytes
from bench.scenarios import STREAMS_AT_ONCE

Rows = Mapping[RowKey, Row]
BYTES_PER_MB = 1_000_000
_FIRST_CHUNK = "first_chunk_p50_ms"

JSON_NO_LEDGER_CPU_MS = 0.45
JSON_CPU_MS = 1.1
STREAM_CPU_MS = 1.8
ANTHROPIC_JSON_CPU_MS = 1.2
ANTHROPIC_STREAM_CPU_MS = 2.5
ADDED_FIRST_CHUNK_MS = 2.0
SIGNING_CPU_MS = 0.2
SIGNING_PERCENT = 15.0
IMAGE_PEAK_BODIES = 4.0
RSS_IDLE_MB = 90.0
SOAK_GROWTH_PERCENT = 5.0
# The floor's CPU on a quiet machine, measured when the budgets were set.
FLOOR_CPU_MS = {("json-1k", 8): 0.12, ("stream-200", 8): 0.80}


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit; `is_met(figure, limit)` compares; `floor` names the row that scales CPU."""

    name: str
    limit: float
    unit: str
    figure: Callable[[Rows], float | None]
    is_met: Callable[[float, float], bool] = operator.le
    floor: tuple[str, int] | None = None


def budget_line(budget: Budget, rows: Rows) -> str:
    """One budget as a line: its figure, its limit and `met`, `missed` or `not measured`."""
    figure = budget.figure(rows)
    sign = "<=" if budget.is_met is operator.le else ">="
    limit = f"{sign} {budget.limit:g} {budget.unit}"
    if figure is None:
        return f"- {budget.name}: not measured ({limit})"
    line = f"- {budget.name}: {figure:.3g} {budget.unit} ({limit}): **{_verdict(budget, figure)}**"
    slowness = None if budget.floor is None else machine_slowness(budget.floor, rows)
    if slowness is None:
        return line
    scaled = figure / slowness
    return f"{line}; scaled by the floor: {scaled:.3g} {budget.unit}, {_verdict(budget, scaled)}"


def machine_slowness(floor: tuple[str, int], rows: Rows) -> float | None:
    """How many times the CPU that the floor took when the budgets were set it takes now."""
    now_ms = _cpu_ms(rows, (*floor, "floor"))
    return None if now_ms is None else now_ms / FLOOR_CPU_MS[floor]


def _verdict(budget: Budget, figure: float) -> str:
    return "met" if budget.is_met(figure, budget.limit) else "missed"


def _cpu_ms(rows: Rows, key: RowKey) -> float | None:
    row = rows.get(key)
    return None if row is None else row.median("cpu_ms_per_request")


def _cpu_budget(
    name: str, limit_ms: float, key: RowKey, floor: tuple[str, int] | None = None
) -> Budget:
    """`floor` is named where the scenario has none of its own."""
    return Budget(name, limit_ms, "ms", lambda rows: _cpu_ms(rows, key), floor=floor or key[:2])


def _signing(scenario: str) -> Callable[[Rows], float | None]:
    """What signing receipts adds: CPU ms a request beside receipts that nobody signs."""

    def added_ms(rows: Rows) -> float | None:
        on, off = (_cpu_ms(rows, (scenario, 8, f"gateway{which}")) for which in ("", "-unsigned"))
        return None if on is None or off is None else on - off

    return added_ms


def _signing_percent(rows: Rows) -> float | None:
    off = _cpu_ms(rows, ("stream-200", 8, "gateway-unsigned"))
    added_ms = _signing("stream-200")(rows)
    return None if off is None or added_ms is None else 100 * added_ms / off


def _first_chunk_budget(name: str, scenario: str) -> Budget:
    def added_ms(rows: Rows) -> float | None:
        both = [rows.get((scenario, 1, target)) for target in ("gateway", "direct")]
        gateway, direct = (None if row is None else row.median(_FIRST_CHUNK) for row in both)
        return None if gateway is None or direct is None else gateway - direct

    return Budget(name, ADDED_FIRST_CHUNK_MS, "ms", added_ms)


def _image_peak_bodies(rows: Rows) -> float | None:
    row = rows.get(("image-4m", 1, "gateway"))
    growth = None if row is None else peak_growth_bytes(row)
    return None if row is None or growth is None else growth / row.cells[0].body_bytes


def _rss_idle_mb(rows: Rows) -> float | None:
    row = rows.get(("idle-rss", 1, "gateway"))
    memory = None if row is None else row.cells[0].memory
    return None if memory is None else max(memory.before, memory.after) / BYTES_PER_MB


def _soak_growth_percent(rows: Rows) -> float | None:
    row = rows.get(("soak-20k", 8, "gateway"))
    growth = None if row is None else growth_percent(row)
    return None if growth is None else abs(growth)


def _streams_held(rows: Rows) -> float | None:
    row = rows.get(("streams-500", STREAMS_AT_ONCE, "gateway"))
    if row is None:
        return None
    return min(min(cell.requests - cell.wrong.total(), cell.streams_open_max) for cell in row.cells)


BUDGETS = (
    _cpu_budget(
        "CPU of a JSON answer, ledger off",
        JSON_NO_LEDGER_CPU_MS,
        ("json-1k", 8, "gateway-noledger"),
    ),
    _cpu_budget("CPU of a JSON answer", JSON_CPU_MS, ("json-1k", 8, "gateway")),
    _cpu_budget("CPU of a stream of 200 chunks", STREAM_CPU_MS, ("stream-200", 8, "gateway")),
    _first_chunk_budget("time added to the first chunk", "first-chunk"),
    _cpu_budget(
        "CPU of an Anthropic JSON answer, translated",
        ANTHROPIC_JSON_CPU_MS,
        ("anthropic-json-1k", 8, "gateway"),
        floor=("json-1k", 8),
    ),
    _cpu_budget(
        "CPU of an Anthropic stream of 200 chunks, translated",
        ANTHROPIC_STREAM_CPU_MS,
        ("anthropic-stream-200", 8, "gateway"),
        floor=("stream-200", 8),
    ),
    _first_chunk_budget("time added to the first chunk of Anthropic's", "anthropic-first-chunk"),
    Budget("CPU that signing adds to a JSON answer", SIGNING_CPU_MS, "ms", _signing("json-1k")),
    Budget("CPU that signing adds to a stream", SIGNING_PERCENT, "%", _signing_percent),
    Budget("peak memory of a 4 MB image", IMAGE_PEAK_BODIES, "bodies", _image_peak_bodies),
    Budget("memory when idle", RSS_IDLE_MB, "MB", _rss_idle_mb),
    Budget("change of memory over the soak", SOAK_GROWTH_PERCENT, "%", _soak_growth_percent),
    Budget(
        "paced streams held at once, all right",
        STREAMS_AT_ONCE,
        "streams",
        _streams_held,
        operator.ge,
    ),
)
