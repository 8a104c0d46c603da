"""An account's numbers: which were seen, which twice, and which are missing between two.

Numbers come nearly without gaps, so they are kept as ranges: a quarter of them in a few hundred
bytes.
"""

import itertools
from collections.abc import Iterable, Sequence

Range = tuple[int, int]  # first and last, both included


class Numbers:
    """The numbers seen so far."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._ranges: list[Range] = []
        self.add(numbers)

    def add(self, numbers: Iterable[int]) -> list[int]:
        """See these too; those that were seen before or stand among them twice."""
        ordered = sorted(numbers)
        doubled = {a for a, b in itertools.pairwise(ordered) if a == b}
        new = _ranges(ordered)
        doubled.update(n for a, b in _common(self._ranges, new) for n in range(a, b + 1))
        self._ranges = _joined([*self._ranges, *new])
        return sorted(doubled)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    @property
    def first(self) -> int:
        """The least; of none it is an error."""
        return self._ranges[0][0]

    @property
    def last(self) -> int:
        """The greatest; of none it is an error."""
        return self._ranges[-1][1]

    def missing(self, first: int, last: int) -> list[Range]:
        """The ranges between these two, both included, of which nothing was seen."""
        gaps, next_number = [], first
        for a, b in self._ranges:
            if a > last:
                break
            if a > next_number:
                gaps.append((next_number, a - 1))
            next_number = max(next_number, b + 1)
        if next_number <= last:
            gaps.append((next_number, last))
        return gaps


def _ranges(ordered: Sequence[int]) -> list[Range]:
    return _joined([(n, n) for n in ordered])


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """The same numbers in the fewest ranges, in order."""
    joined: list[Range] = []
    for a, b in sorted(ranges):
        if joined and a <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], b)
        else:
            joined.append((a, b))
    return joined


def _common(ones: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """What stands in both; each is in order and without overlaps."""
    found, i, k = [], 0, 0
    while i < len(ones) and k < len(others):
        first, last = max(ones[i][0], others[k][0]), min(ones[i][1], others[k][1])
        if first <= last:
            found.append((first, last))
        if ones[i][1] < others[k][1]:
            i += 1
        else:
            k += 1
    return found
