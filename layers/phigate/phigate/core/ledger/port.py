"""What the pipeline needs of the ledger: prepaid credit with holds (decision 1).

An expected failure is a result (`HoldRefused`, `None`); `Overloaded` means that the store could
not be reached within its bounds.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from phigate.core.ledger.hold import OpenHold
from phigate.core.limits import KEY_FRESH_S
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import Signed
from phigate.core.types import Principal

# Why a call was not counted: the key is off, or over its rate.
CountRefusal = Literal["key", "rate"]


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What a hold needs. A refusal is a hold of 0 micros without the funds and rate conditions."""

    account: str
    key_id: str
    id: str
    micros: int
    expires_at_s: int
    now_s: int
    rpm: int
    spend_limit_micros: int | None = None
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class HoldRefused:
    """Why no hold was written, in the order of docs/api.md: key, credit, spend limit, rate."""

    reason: Literal["key", "credit", "spend_limit", "rate", "holds", "refusals"]
    available_micros: int = 0


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as stored: avail + Σ held + spent = topped up, at every instant."""

    account: str
    available_micros: int
    held_micros: int
    spent_micros: int
    topped_up_micros: int
    seq: int
    holds: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep of one account did: holds voided by timeout, and holds settled by receipt."""

    account: str
    expired: int
    settled: int
    charged_micros: int


class Ledger(Protocol):
    """Prepaid credit with holds. Each method is idempotent and may raise Overloaded.

    It keeps nothing between calls: what it has to know of a hold, the hold carries.
    """

    async def hold(self, request: HoldRequest) -> OpenHold | HoldRefused: ...

    async def count_call(
        self, *, account: str, key_id: str, now_s: int, rpm: int
    ) -> CountRefusal | None:
        """Count a call that costs nothing against its key's rate: no hold, number or receipt. One
        whose outcome was unknown may count twice."""
        ...

    async def extend_hold(self, hold: OpenHold, micros: int, used_micros: int) -> OpenHold | None:
        """Hold so many micros and note what is used; `hold` is `noting` that already. None: credit
        or limit refuse, or the sweeper was first."""
        ...

    async def put_receipt(self, hold: OpenHold, record: Signed) -> OpenHold:
        """Write the record and its cost once; `hold` is `writing` it. The hold is `done` then, or
        `late`: the sweeper was first, and nothing is left to settle."""
        ...

    async def settle(self, hold: OpenHold) -> None:
        """End a hold: charge what its receipt says, and without one nothing."""
        ...

    async def sweep(self, account: str, now_s: int) -> Swept: ...

    async def account(self, account: str) -> AccountView | None: ...

    async def receipt(self, account: str, hold_id: str) -> StoredReceipt | None: ...


class KeyStore(Protocol):
    """Finds a key's Principal by the SHA-256 of the whole key (hex). None: unknown key.

    `age_max_s` is how old the knowledge may be: over KEY_FRESH_S only where a hold looks again.
    """

    async def lookup(
        self, key_sha256: str, *, age_max_s: float = KEY_FRESH_S
    ) -> Principal | None: ...
