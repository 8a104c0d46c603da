"""What this process counts of each key without writing it down."""

from phigate.core.receipts.days import DAY_S


class KeyCounts:
    """Refusals without a receipt, and attempts that timed out today."""

    def __init__(self) -> None:
        self._refusals: dict[str, int] = {}
        self._timeouts: dict[str, int] = {}
        self._timeouts_day = 0

    def count_refusal(self, key_id: str) -> None:
        """A refusal over the limit, which leaves no receipt of its own."""
        self._refusals[key_id] = self._refusals.get(key_id, 0) + 1

    def take_refusals(self, key_id: str) -> int:
        """How many refusals of the key left no receipt since the last one that did."""
        return self._refusals.pop(key_id, 0) if self._refusals else 0

    def count_timeout(self, key_id: str, now_s: float) -> int:
        """How many attempts of the key have timed out in this process today, this one too."""
        day = int(now_s) // DAY_S
        if day != self._timeouts_day:
            self._timeouts_day = day
            self._timeouts.clear()
        self._timeouts[key_id] = self._timeouts.get(key_id, 0) + 1
        return self._timeouts[key_id]
