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
from phigate.core.receipts.record import Charge, Worked, sandbox_told
from phigate.core.sandbox.runs import Run
from phigate.core.types import Attempt, Json, Requirements, Row, Usage
from phigate.core.upstream import HashedExchange

_UPSTREAM_ID = re.compile(r"[A-Za-z0-9_.:-]{1,80}")


@dataclass(frozen=True, slots=True)
class _CountedTurn:
    """One turn that was counted."""

    row: Row
    usage: Usage
    is_estimate: bool
    bytes_in: int
    bytes_out: int
    worked: Worked | None


class UsageMeter:
    """State over the turns of one request: attempts, answered turns, programs, and their charge."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.rows_sent = 0  # the distinct rows that were sent a request, in the turn with most
        self.runs: list[Run] = []
        self.image: str | None = None  # of the sandbox, once there is one
        self.charge: Charge | None = None  # what the turns until now cost
        self.row: Row | None = None  # of the attempt under way, or the one that answered
        self.bytes_out = 0  # what it has written in this turn so far
        self.is_counted = True  # False while an upstream may be using tokens
        self.is_seen = True  # False while an answer comes in one piece: it is all or nothing
        self.exchange: HashedExchange | None = None  # under way, where its bytes are hashed
        self._requirements: Requirements | None = None
        self._started_s = 0.0
        self._answered_exchange: HashedExchange | None = None  # that of the attempt that answered
        self._answered_row: Row | None = None
        self._upstream_id: str | None = None
        self._turns: list[_CountedTurn] = []

    def start_attempt(self, row: Row, requirements: Requirements, now_s: float) -> None:
        """An attempt begins: from now on the row may use tokens."""
        self.row = row
        self._requirements = requirements
        self._started_s = now_s
        self.is_seen = True
        self.bytes_out = 0
        self.is_counted = False

    def drop_attempt(self) -> None:
        """It failed, which is no use."""
        self.is_counted = True

    def record_attempt(self, attempt: Attempt, *, rows_sent: int) -> None:
        """How an attempt ended, and how many rows were sent a request in this turn."""
        self.attempts.append(attempt)
        self.rows_sent = max(self.rows_sent, rows_sent)

    def record_run(self, run: Run) -> None:
        """One program ran."""
        self.runs.append(run)

    def set_upstream_id(self, upstream_id: object) -> None:
        """The upstream's own id of its answer; kept when it is an id and nothing else."""
        is_id = isinstance(upstream_id, str) and _UPSTREAM_ID.fullmatch(upstream_id) is not None
        self._upstream_id = str(upstream_id) if is_id else None
        self._answered_exchange = self.exchange
        self._answered_row = self.row

    def add_turn(self, reported: object, bytes_out: int, *, held_micros: int) -> bool:
        """Count one more turn of the row: reported usage if it can be true, else our estimate.
        Whether what was reported was believed."""
        row, requirements = self._under_way()
        limit = worst_case(row, requirements)
        usage = validated_usage(reported, limit)
        is_estimate = usage is None
        if usage is None:
            usage = estimate(row, requirements, bytes_out, limit)
        self._add(
            _CountedTurn(row, usage, is_estimate, requirements.text_bytes, bytes_out, None),
            held_micros,
        )
        return not is_estimate

    def add_unfinished_turn(self, *, held_micros: int, now_s: float) -> None:
        """Count the attempt under way, which nobody waits for any longer: what was seen of it, or
        what its row writes in the time that it worked."""
        if self.row is None or self.is_counted:
            return
        if self.is_seen:
            self.add_turn(None, self.bytes_out, held_micros=held_micros)
            return
        row, requirements = self._under_way()
        limit = worst_case(row, requirements)
        ms = max(0, round((now_s - self._started_s) * 1000))
        worked = Worked(ms, row.tokens_out_per_s, limit.tokens_out)
        usage = estimate_unseen(row, requirements, ms, limit)
        self._add(_CountedTurn(row, usage, True, requirements.text_bytes, 0, worked), held_micros)

    def _under_way(self) -> tuple[Row, Requirements]:
        if self.row is None or self._requirements is None:
            raise RuntimeError("a turn is counted of an attempt")
        return self.row, self._requirements

    def _add(self, turn: _CountedTurn, held_micros: int) -> None:
        self.is_counted = True
        self._turns.append(turn)
        self.charge = self._charged(held_micros)

    @property
    def sandbox(self) -> Json | None:
        """What is told of the sandbox; None without one."""
        return None if self.image is None else sandbox_told(self.image, self.runs)

    @property
    def last_row(self) -> Row | None:
        """The row of the last turn that was counted."""
        return self._turns[-1].row if self._turns else None

    @property
    def signed_exchange(self) -> tuple[HashedExchange, str] | None:
        """The exchange that a confidential upstream signs, and its id of it."""
        if self._answered_exchange is None or self._upstream_id is None:
            return None
        return self._answered_exchange, self._upstream_id

    def upstream_id(self, row: Row | None) -> str | None:
        """The row's own id of its answer, where it is the one that answered."""
        return self._upstream_id if self._answered_row is row else None

    def upstream_hashes(self, row: Row | None) -> tuple[str, str] | None:
        """Of the bytes that went to the row and came from it, where they were hashed."""
        exchange = self._answered_exchange
        return None if exchange is None or exchange.row is not row else exchange.hashes

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
