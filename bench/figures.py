"""The figures of one cell, and of a row of the report: the median of its cells.

Law: a figure that cannot be had is None, never zero.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

RowKey = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Memory:
    """What the target's process held, in bytes: before and after the load, and at most."""

    before: int
    after: int
    peak: int


@dataclass(frozen=True, slots=True)
class Noise:
    """What else ran meanwhile, in per cent of one core; `steal` in per cent of the machine."""

    others_percent: float
    steal_percent: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One load on one target. `helpers` are the processes that the target started."""

    scenario: str
    clients: int
    target: str
    requests: int
    wrong: Counter[str]
    requests_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    first_chunk_p50_ms: float | None
    cpu_ms_per_request: float | None
    helpers_cpu_ms_per_request: float | None
    memory: Memory | None
    noise: Noise
    streams_open_max: int
    body_bytes: int
    dynamodb_calls_per_request: dict[str, float] | None = None

    @property
    def key(self) -> RowKey:
        """Which row of the report the cell belongs to."""
        return (self.scenario, self.clients, self.target)


@dataclass(frozen=True, slots=True)
class Row:
    """All cells of one scenario, number of clients and target."""

    key: RowKey
    cells: tuple[Cell, ...]
    medians: dict[str, float | None] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """The median of one figure of the cells."""
        return self.medians[name]

    @property
    def wrong(self) -> Counter[str]:
        """The wrong answers of all cells, by kind."""
        return sum((cell.wrong for cell in self.cells), Counter[str]())


# The figures of a cell of which a row takes the median.
MEDIANS: dict[str, Callable[[Cell], float | None]] = {
    "requests_per_s": lambda cell: cell.requests_per_s,
    "p50_ms": lambda cell: cell.p50_ms,
    "p99_ms": lambda cell: cell.p99_ms,
    "first_chunk_p50_ms": lambda cell: cell.first_chunk_p50_ms,
    "cpu_ms_per_request": lambda cell: cell.cpu_ms_per_request,
    "helpers_cpu_ms_per_request": lambda cell: cell.helpers_cpu_ms_per_request,
    "others_percent": lambda cell: cell.noise.others_percent,
    "steal_percent": lambda cell: cell.noise.steal_percent,
}


def rows_of(cells: Iterable[Cell]) -> dict[RowKey, Row]:
    """Cells grouped into rows, in the order in which they first came."""
    grouped: dict[RowKey, list[Cell]] = {}
    for cell in cells:
        grouped.setdefault(cell.key, []).append(cell)
    return {key: _row(key, tuple(group)) for key, group in grouped.items()}


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    rank = max(1, math.ceil(percent / 100 * len(values)))
    return sorted(values)[rank - 1]


def peak_growth_bytes(row: Row) -> int | None:
    """The highest peak of all cells over what the process held before the first of them."""
    memories = [cell.memory for cell in row.cells if cell.memory is not None]
    if not memories:
        return None
    return max(memory.peak for memory in memories) - memories[0].before


def growth_percent(row: Row) -> float | None:
    """How much more the process holds after the last cell than before the first."""
    first, last = row.cells[0].memory, row.cells[-1].memory
    if first is None or last is None:
        return None
    return 100 * (last.after - first.before) / first.before


def _row(key: RowKey, cells: tuple[Cell, ...]) -> Row:
    medians = {name: _median(figure(cell) for cell in cells) for name, figure in MEDIANS.items()}
    return Row(key, cells, medians)


def _median(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None
