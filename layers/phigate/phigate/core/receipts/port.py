"""What the pipeline needs of receipts: what is stored, and keys that sign."""

from dataclasses import dataclass
from typing import Literal, Protocol

from phigate.core.receipts.record import Signed


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt or tombstone: `done`, `expired` or `late`, its number, cost and signed record.

    `signed` is None for a tombstone: the call never came to its end. `swept_micros` is what the
    tombstone charged, also where a late receipt has taken its place. From `expires_at_s` on the
    store may erase it; None: it never does.
    """

    account: str
    id: str
    state: Literal["done", "expired", "late"]
    seq: int
    cost_micros: int
    signed: Signed | None
    swept_micros: int = 0
    expires_at_s: int | None = None


class SigningKey(Protocol):
    """A key that signs records. `expires_at_s` is its certificate's end, None without one."""

    @property
    def kid(self) -> str: ...

    @property
    def expires_at_s(self) -> int | None: ...

    def sign(self, message: bytes) -> bytes: ...


class ReceiptSigner(Protocol):
    """Signs records by keys of this process, each certified for an hour at most (decision 26)."""

    def begin(self, until_s: float) -> None:
        """Ask for a key that is certified until then, where there is none. Does not wait."""
        ...

    async def key(self, until_s: float) -> SigningKey:
        """A key that is certified until then; after a bounded wait one that is not."""
        ...

    async def renew(self) -> None:
        """After an answer: a new key when the certificate soon ends. Never raises."""
        ...
