"""The breaker: which rows failed so often just now that they should be tried last.

BREAKER_FAILURES failures without a success between them within BREAKER_WINDOW_S open a row for
BREAKER_OPEN_S; then one call tries it. It moves rows last and does nothing else: it never removes
a row, so it cannot turn a request away.

`Breaker` is what one process has seen itself. Where several serve a stack they also share a
`Counted`: each replaces it by what `with_failure` or `without` makes of it, and `heard` takes it
in. A process's own successes outweigh what others have counted: failures before its last success
have a success between them and the next one, whether or not anybody else knows of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from phigate.core.limits import (
    BREAKER_FAILURES,
    BREAKER_OPEN_S,
    BREAKER_SKEW_S,
    BREAKER_WINDOW_S,
)

# By row id the times of its last failures, the latest last, without a known success between them.
Counted = Mapping[str, tuple[float, ...]]


@dataclass(slots=True)
class _Row:
    failures_at_s: list[float] = field(default_factory=list)
    open_until_s: float = 0.0
    is_tried: bool = False  # by the one call that may, and how that went is not known yet


class Breaker:
    """State per row id, in memory. Times are wall-clock seconds."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._succeeded_at_s: dict[str, float] = {}
        # When the catalog was read with which what others count was last looked at.
        self.synced_at_s: float | None = None

    def open_rows(self, row_ids: Iterable[str], now_s: float) -> frozenset[str]:
        """Which of these rows to try last now."""
        if not self._rows:
            return frozenset()
        return frozenset(row_id for row_id in row_ids if self._is_open(row_id, now_s))

    def succeeded(self, row_id: str, now_s: float) -> None:
        """A success closes the row and forgets its failures."""
        self._succeeded_at_s[row_id] = now_s
        if self._rows:
            self._rows.pop(row_id, None)

    def succeeded_at_s(self, row_id: str) -> float:
        """When the row last succeeded here; 0 when it never did."""
        return self._succeeded_at_s.get(row_id, 0.0)

    def failed(self, row_id: str, now_s: float) -> bool:
        """Count a failure; the one that reaches the limit opens the row; so does a failed try.
        Whether this one did."""
        row = self._rows.setdefault(row_id, _Row())
        since = now_s - BREAKER_WINDOW_S
        row.failures_at_s = [at for at in row.failures_at_s if at > since] + [now_s]
        row.is_tried = False
        # A row that was opened before has not had a success since: this was its one try.
        opens = bool(row.open_until_s) or len(row.failures_at_s) >= BREAKER_FAILURES
        if opens:
            row.open_until_s = now_s + BREAKER_OPEN_S
            row.failures_at_s = row.failures_at_s[-BREAKER_FAILURES:]
        return opens

    def should_share(self, row_id: str, now_s: float) -> bool:
        """Whether a failure of the row now should be counted for others too, asked before `failed`.

        Of an open row it should only where it was the row's one try: a provider that is down would
        else cost a write for every attempt that is left to it.
        """
        row = self._rows.get(row_id)
        return row is None or row.is_tried or now_s >= row.open_until_s

    def merge_shared(self, counted: Counted, now_s: float) -> frozenset[str]:
        """Take in what all processes have counted. The rows that it opens here: until then closed,
        or open so long ago that their try was due."""
        opened = set()
        for row_id, failures_at_s in counted.items():
            since = self.succeeded_at_s(row_id)
            until_s = _open_until_s([at for at in failures_at_s if at > since])
            row = self._rows.get(row_id)
            # A row that is open here keeps its own time: others' failures would else put its try
            # off for ever.
            if now_s < until_s and (row is None or now_s >= row.open_until_s):
                row = self._rows.setdefault(row_id, _Row())
                row.open_until_s = min(until_s, now_s + BREAKER_OPEN_S)
                opened.add(row_id)
        return frozenset(opened)

    def _is_open(self, row_id: str, now_s: float) -> bool:
        row = self._rows.get(row_id)
        if row is None or not row.open_until_s:
            return False
        if now_s < row.open_until_s:
            return True
        # Time is up: this one call tries the row; the others go on passing it by until it is known
        # how that went.
        row.open_until_s = now_s + BREAKER_OPEN_S
        row.is_tried = True
        return False


def with_failure(counted: Counted, row_id: str, now_s: float, succeeded_at_s: float) -> Counted:
    """One more failure, seen by a process in which the row last succeeded at `succeeded_at_s`.
    Unchanged where the row is open already: nobody has to be told."""
    failures_at_s = [at for at in counted.get(row_id, ()) if at > succeeded_at_s]
    if now_s < _open_until_s(failures_at_s):
        return counted
    since = now_s - BREAKER_WINDOW_S
    kept = sorted([*(at for at in failures_at_s if at > since), now_s])
    return {**counted, row_id: tuple(kept[-BREAKER_FAILURES:])}


def without(counted: Counted, row_id: str, succeeded_at_s: float) -> Counted:
    """The row has succeeded. Unchanged where nothing from before stands there."""
    before = counted.get(row_id, ())
    left = tuple(at for at in before if at > succeeded_at_s)
    if left == before:
        return counted
    others = {other: at_s for other, at_s in counted.items() if other != row_id}
    return {**others, row_id: left} if left else others


def recent(counted: Counted, now_s: float) -> Counted:
    """Without the rows that did not fail within the window, or fail in the future."""
    since, until = now_s - BREAKER_WINDOW_S, now_s + BREAKER_SKEW_S
    return {
        row_id: tuple(sorted(failures_at_s))
        for row_id, failures_at_s in counted.items()
        if failures_at_s and since < max(failures_at_s) <= until
    }


def _open_until_s(failures_at_s: Sequence[float]) -> float:
    """Until when such failures open a row; 0 when they do not."""
    last = failures_at_s[-BREAKER_FAILURES:]
    if len(last) < BREAKER_FAILURES or last[-1] - last[0] >= BREAKER_WINDOW_S:
        return 0.0
    return last[-1] + BREAKER_OPEN_S
