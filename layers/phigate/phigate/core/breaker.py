"""The breaker: which rows failed so often just now that they should be tried last.

BREAKER_FAILURES failures without a success between them within BREAKER_WINDOW_S open a row for
BREAKER_OPEN_S; then one call tries it. It moves rows last and does nothing else: it never removes
a row, so it cannot turn a request away.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from phigate.core.limits import BREAKER_FAILURES, BREAKER_OPEN_S, BREAKER_WINDOW_S


@dataclass(slots=True)
class _Row:
    failures_at_s: list[float] = field(default_factory=list)
    open_until_s: float = 0.0


class Breaker:
    """State per row id, in memory. Times are wall-clock seconds."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def open_rows(self, row_ids: Iterable[str], now_s: float) -> frozenset[str]:
        """Which of these rows to try last now."""
        if not self._rows:
            return frozenset()
        return frozenset(row_id for row_id in row_ids if self._is_open(row_id, now_s))

    def succeeded(self, row_id: str) -> None:
        """A success closes the row and forgets its failures."""
        if self._rows:
            self._rows.pop(row_id, None)

    def failed(self, row_id: str, now_s: float) -> bool:
        """Count a failure; the one that reaches the limit opens the row; so does a failed try.
        Whether this one did."""
        row = self._rows.setdefault(row_id, _Row())
        since = now_s - BREAKER_WINDOW_S
        row.failures_at_s = [at for at in row.failures_at_s if at > since] + [now_s]
        # A row that was opened before has not had a success since: this was its one try.
        opens = bool(row.open_until_s) or len(row.failures_at_s) >= BREAKER_FAILURES
        if opens:
            row.open_until_s = now_s + BREAKER_OPEN_S
            row.failures_at_s = row.failures_at_s[-BREAKER_FAILURES:]
        return opens

    def _is_open(self, row_id: str, now_s: float) -> bool:
        row = self._rows.get(row_id)
        if row is None or not row.open_until_s:
            return False
        if now_s < row.open_until_s:
            return True
        # Time is up: this one call tries the row; the others go on passing it by until it is known
        # how that went.
        row.open_until_s = now_s + BREAKER_OPEN_S
        return False
