"""The shapes of the effects that the pipeline calls. Their implementations live in `effects/`.

An expected failure is a result (`HoldRefused`, `None`); `Overloaded` means that the store could
not be reached within its bounds; `UpstreamFailed` ends one attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from phigate.core.fetch import Fetched, UpstreamFetch
from phigate.core.limits import KEY_FRESH_S
from phigate.core.receipts.record import Signed
from phigate.core.routing.breaker import Counted
from phigate.core.sandbox.runs import Language
from phigate.core.types import Catalog, Principal, Row


class Clock(Protocol):
    """Wall clock and pauses. Ages are measured on the wall clock: an environment freezes."""

    def now_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


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
class Held:
    """A hold that stands. `seq` numbers the account's calls without gaps.

    `calls_this_minute` counts this key's calls; `expired` are ids of other holds past their time.
    """

    account: str
    id: str
    micros: int
    seq: int
    calls_this_minute: int
    available_micros: int
    expired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldRefused:
    """Why no hold was written, in the order of DESIGN's table: key, credit, spend limit, rate."""

    reason: Literal["key", "credit", "spend_limit", "rate", "holds", "refusals"]
    available_micros: int = 0


# Why a call was not counted: the key is off, or over its rate.
CountRefusal = Literal["key", "rate"]


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


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep of one account did: holds voided by timeout, and holds settled by receipt."""

    account: str
    expired: int
    settled: int
    charged_micros: int


class Ledger(Protocol):
    """Prepaid credit with holds (DESIGN 3). Each method is idempotent and may raise Overloaded."""

    async def hold(self, request: HoldRequest) -> Held | HoldRefused: ...

    async def count_call(
        self, *, account: str, key_id: str, now_s: int, rpm: int
    ) -> CountRefusal | None:
        """Count a call that costs nothing against its key's rate: no hold, number or receipt. One
        whose outcome was unknown may count twice."""
        ...

    async def raise_hold(
        self, *, account: str, hold_id: str, old_micros: int, new_micros: int, used_micros: int
    ) -> bool: ...

    async def put_receipt(
        self, *, account: str, hold_id: str, cost_micros: int, record: Signed
    ) -> Literal["done", "late"]:
        """Write the record once. `late`: the sweeper was first, and nothing is left to settle."""
        ...

    async def settle(
        self, *, account: str, hold_id: str, held_micros: int, cost_micros: int
    ) -> None: ...

    async def sweep(self, account: str, now_s: int) -> Swept: ...

    async def account(self, account: str) -> AccountView | None: ...

    async def receipt(self, account: str, hold_id: str) -> StoredReceipt | None: ...


class SigningKey(Protocol):
    """A key that signs records. `expires_at_s` is its certificate's end, None without one."""

    @property
    def kid(self) -> str: ...

    @property
    def expires_at_s(self) -> int | None: ...

    def sign(self, message: bytes) -> bytes: ...


class ReceiptSigner(Protocol):
    """Keys for records, made by this process and certified for at most an hour (DESIGN 4)."""

    def begin(self, until_s: float) -> None:
        """Ask for a key that is certified until then, where there is none. Does not wait."""
        ...

    async def key(self, until_s: float) -> SigningKey:
        """A key that is certified until then; after a bounded wait one that is not."""
        ...

    async def renew(self) -> None:
        """After an answer: a new key when the certificate soon ends. Never raises."""
        ...


class Keys(Protocol):
    """Finds a key's Principal by the SHA-256 of the whole key (hex). None: unknown key.

    `age_max_s` is how old the knowledge may be: over KEY_FRESH_S only where a hold looks again.
    """

    async def principal(
        self, key_sha256: str, *, age_max_s: float = KEY_FRESH_S
    ) -> Principal | None: ...


@dataclass(frozen=True, slots=True)
class CatalogView:
    """The verified snapshot in use and when it was last read from the table."""

    catalog: Catalog
    read_at_s: float


class CatalogSource(Protocol):
    """The catalog at run time. Raises Overloaded when no verified snapshot was ever read."""

    async def current(self) -> CatalogView: ...

    async def card(self, card_sha256: str) -> bytes | None:
        """An older rate card's JSON bytes by its hash."""
        ...


class SharedBreaker(Protocol):
    """What the processes of a stack have counted of failing rows. Never raises: what cannot be read
    or written counts as nothing."""

    async def read(self) -> Counted:
        """All of the last BREAKER_WINDOW_S."""
        ...

    async def failed(self, row_id: str, at_s: float, succeeded_at_s: float) -> Counted:
        """Count a failure of a row that last succeeded in this process at `succeeded_at_s`; all
        that stands then."""
        ...

    async def succeeded(self, row_id: str, at_s: float) -> None:
        """Take the row's failures of before away, if any stand."""
        ...

    def watches(self, row_id: str, now_s: float) -> bool:
        """Whether a success of the row should be told: for BREAKER_WINDOW_S after the last failure
        that this process knows of."""
        ...


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One POST to a row's upstream. The credential is added by the effect, not seen before it."""

    row: Row
    region: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Status and content type (lower case, without parameters) of an upstream's answer."""

    status: int
    content_type: str


class Exchange(Protocol):
    """One POST under way. Waiting is cut into slices so that the pipeline can look up between.

    Raises UpstreamFailed with `connect`, `redirect`, `oversized`, `cut` or `timeout`. `close` is
    called exactly once, in any case; it drops the connection unless the answer was read whole.
    """

    async def head(self, wait_s: float) -> Head | None:
        """The head, or None when it has not come within `wait_s`."""
        ...

    async def piece(self, wait_s: float) -> bytes | None:
        """The next bytes of the body; empty after `wait_s` of silence; None at the end."""
        ...

    def close(self) -> None: ...


class Upstream(Protocol):
    """Every provider, by the row's place in the region."""

    def open(self, request: UpstreamRequest) -> Exchange:
        """Start one POST. Raises NotSent where this stack has no key."""
        ...

    async def fetch(self, request: UpstreamFetch) -> Fetched:
        """The whole answer to a GET, within its bounds. Raises UpstreamFailed as Exchange does."""
        ...


@dataclass(frozen=True, slots=True)
class Ran:
    """What one program did. A program that failed is a result: its exit code, the end of what it
    wrote, and the limits that it hit by name.

    `value` is the last expression's, as the language shows it; `figures` are SVG as drawn, which
    nobody has cleaned yet.
    """

    language: Language
    exit_code: int
    stdout: str
    stderr: str
    value: str | None
    figures: tuple[str, ...]
    limits: tuple[str, ...]
    wall_ms: int


class Sandbox(Protocol):
    """One sandbox, of one request and no other. `image` names what runs in it."""

    @property
    def image(self) -> str: ...

    async def run(self, language: Language, code: str, timeout_s: float) -> Ran:
        """Run one program. Raises SandboxError when the sandbox itself fails."""
        ...

    async def close(self) -> None:
        """End it, and everything in it. Never raises; a second time does nothing."""
        ...


class Sandboxes(Protocol):
    """Where sandboxes come from: a pool on this machine, or Fargate tasks."""

    async def open(self, *, account: str, request_id: str, region: str, until_s: float) -> Sandbox:
        """A fresh sandbox in the region, which ends by itself soon after `until_s` whatever becomes
        of this process. Cancelled on the way it leaves nothing behind.

        Raises SandboxError where none can be had, RateLimited above the account's or the stack's
        number of sandboxes at once.
        """
        ...


class Out(Protocol):
    """The way back to the caller. Writing never raises: a caller who has gone sets `gone_at_s`."""

    gone_at_s: float | None

    async def start(self, status: int, headers: Mapping[str, str]) -> None: ...

    async def write(self, body: bytes, *, last: bool = False) -> None: ...


class Journal(Protocol):
    """Counts and operational facts. Fields are ids, names, counts and micros; never content."""

    def note(self, event: str, **fields: str | int | float | bool) -> None: ...
