"""What the attempts of one request have used so far, and what that costs.

Law 1: from the begin of an attempt until it is known what it used, an upstream may be using tokens;
who ends the request then charges an estimate.
Law 2: what is charged is never above what is held.
"""

import re
from dataclasses import dataclass

from phigate.core.ledger.cost import (
    cost,
    estimate,
    estimate_unseen,
    total,
    validated_usage,
    worst_case,
)
from phigate.core.receipts.record import Charge, Worked
from phigate.core.types import Requirements, Row, Usage
from phigate.core.upstream import HashedExchange

_UPSTREAM_ID = re.compile(r"[A-Za-z0-9_.:-]{1,80}")


@dataclass(frozen=True, slots=True)
class _Turned:
    """One answered turn."""

    row: Row
    usage: Usage
    is_estimate: bool
    bytes_in: int
    bytes_out: int
    worked: Worked | None


class UsageMeter:
    """State over the turns of one request."""

    def __init__(self) -> None:
        self.charge: Charge | None = None
        self.row: Row | None = None  # of the attempt under way, or the one that answered
        self.bytes_out = 0  # what it has written in this turn so far
        self.is_counted = True  # False while an upstream may be using tokens
        self.is_seen = True  # False while an answer comes in one piece: it is all or nothing
        self._began_at_s = 0.0
        self.watched: HashedExchange | None = (
            None  # the exchange under way, where its bytes are hashed
        )
        self._witness: HashedExchange | None = None  # that of the attempt that answered
        self._answering: Row | None = None  # whose id this is
        self._upstream_id: str | None = None
        self._turns: list[_Turned] = []

    def begins(self, row: Row, now_s: float) -> None:
        """An attempt begins."""
        self.row = row
        self._began_at_s = now_s
        self.is_seen = True
        self.bytes_out = 0
        self.is_counted = False

    def fails(self) -> None:
        """It failed, which is no use."""
        self.is_counted = True

    def set_upstream_id(self, upstream_id: object) -> None:
        """The upstream's own id of its answer; kept when it is an id and nothing else."""
        is_id = isinstance(upstream_id, str) and _UPSTREAM_ID.fullmatch(upstream_id) is not None
        self._upstream_id = str(upstream_id) if is_id else None
        self._witness = self.watched
        self._answering = self.row

    def used(
        self, row: Row, reported: object, bytes_out: int, *, asked: Requirements, held_micros: int
    ) -> bool:
        """Count one more turn: reported usage if it can be true, else our estimate. Whether what
        was reported was believed."""
        limit = worst_case(row, asked)
        usage = validated_usage(reported, limit)
        is_estimate = usage is None
        if usage is None:
            usage = estimate(row, asked, bytes_out, limit)
        self._count(_Turned(row, usage, is_estimate, asked.text_bytes, bytes_out, None))
        self.charge = self._charged(held_micros)
        return not is_estimate

    def abandoned(self, asked: Requirements, held_micros: int, now_s: float) -> None:
        """Count the attempt under way, which nobody waits for any longer: what was seen of it, or
        what its row writes in the time that it worked."""
        row = self.row
        if row is None or self.is_counted:
            return
        if self.is_seen:
            self.used(row, None, self.bytes_out, asked=asked, held_micros=held_micros)
            return
        limit = worst_case(row, asked)
        ms = max(0, round((now_s - self._began_at_s) * 1000))
        worked = Worked(ms, row.tokens_out_per_s, limit.tokens_out)
        usage = estimate_unseen(row, asked, ms, limit)
        self._count(_Turned(row, usage, True, asked.text_bytes, 0, worked))
        self.charge = self._charged(held_micros)

    def _count(self, turned: _Turned) -> None:
        self.is_counted = True
        self._turns.append(turned)

    @property
    def last_row(self) -> Row | None:
        """The row of the last turn that was counted."""
        return self._turns[-1].row if self._turns else None

    @property
    def signed_upstream(self) -> tuple[HashedExchange, str] | None:
        """The exchange that a confidential upstream signs, and its id of it."""
        if self._witness is None or self._upstream_id is None:
            return None
        return self._witness, self._upstream_id

    def upstream_id(self, row: Row | None) -> str | None:
        """The row's own id of its answer, where it is the one that answered."""
        return self._upstream_id if self._answering is row else None

    def upstream_hashes(self, row: Row | None) -> tuple[str, str] | None:
        """Of the bytes that went to the row and came from it, where they were watched."""
        witness = self._witness
        return None if witness is None or witness.row is not row else witness.hashes

    def _charged(self, held_micros: int) -> Charge:
        turns = self._turns
        computed = cost((turn.row.price, turn.usage) for turn in turns)
        charged = min(computed, held_micros)
        return Charge(
            usage=total(turn.usage for turn in turns),
            usage_is_estimate=any(turn.is_estimate for turn in turns) or charged < computed,
            bytes_in=sum(turn.bytes_in for turn in turns),
            bytes_out=sum(turn.bytes_out for turn in turns),
            computed_micros=computed,
            charged_micros=charged,
            held_micros=held_micros,
            turns=tuple((turn.row, turn.usage) for turn in turns),
            worked=turns[-1].worked,
        )
