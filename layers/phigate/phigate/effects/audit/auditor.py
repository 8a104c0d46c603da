"""Feeds an audit from the table: day by day, each certificate and each catalog read once."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from phigate.core.clock import Clock
from phigate.core.limits import CERTIFICATES_KEPT_MAX
from phigate.core.receipts.days import days_from, next_day
from phigate.core.types import Catalog
from phigate.effects.store.catalog import SnapshotRefused, read_snapshot
from phigate.effects.store.dynamodb import Dynamo
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.audit import Audit, AuditScope, Report
from phigate.verify.chain import read_closed
from phigate.verify.roots import Roots, by_kid
from phigate.verify.stored_receipt import (
    ReceiptKey,
    Unproven,
    read_entry,
    receipt_key,
    vouched_number,
)

CATALOGS_KEPT_MAX = 100  # a snapshot is some 100 KB in memory; a day has one or two
_REFUSALS = {
    "missing": "it is not in the table",
    "hash": "it does not hash to its name",
    "key": "no root of the stack has signed it",
    "signature": "its signature is not that of the key that it names",
    "garbled": "it cannot be read",
    "invalid": "it breaks the rules of a catalog",
    "needs_newer_release": "it has rules that only a newer release knows: audit with that one",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Period:
    """What is to be audited. Without roots the table's own are believed."""

    account: str
    first_day: str
    last_day: str
    roots: Roots | None = None
    saved: Sequence[tuple[str, str]] = ()
    uncertified_max: int = 0
    tombstones_max: int | None = None
    overrides_allowed: frozenset[str] = frozenset()


class ReadCache(Generic[T]):
    """What was read, by its name; the oldest falls out above `most`."""

    def __init__(self, most: int, read: Callable[[str], Awaitable[T]]) -> None:
        self._most = most
        self._read = read
        self._kept: dict[str, T] = {}

    async def get(self, name: str) -> T:
        """What has this name."""
        if name not in self._kept:
            if len(self._kept) >= self._most:
                self._kept.pop(next(iter(self._kept)))
            self._kept[name] = await self._read(name)
        return self._kept[name]


async def audit(dynamo: Dynamo, clock: Clock, period: Period) -> Report | None:
    """The report of a period; None where there is no such account. Raises Overloaded."""
    receipts = DynamoReceipts(dynamo, clock)
    account = period.account
    # Before the days: what is given out from here on need not stand there yet.
    standing = await receipts.standing(account)
    if standing is None:
        return None
    roots = by_kid(await receipts.roots()) if period.roots is None else period.roots
    question = AuditScope(
        account=account,
        first_day=period.first_day,
        last_day=period.last_day,
        now_s=clock.now_s(),
        roots=roots,
        last_number=standing.seq,
        open_holds=standing.holds,
        closed=[read_closed(day, jws, roots) for day, jws in await receipts.digests(account)],
        saved=period.saved,
        uncertified_max=period.uncertified_max,
        tombstones_max=period.tombstones_max,
        overrides_allowed=period.overrides_allowed,
        spent_micros=standing.spent_micros,
        created_s=standing.created_s,
    )
    running = Audit(question)
    sources = _Sources(dynamo, clock, receipts, roots)
    for day in days_from(period.first_day, period.last_day):
        async for item in receipts.day(account, day):
            entry = read_entry(item)
            signed, record = entry.signed, entry.record
            key = None if signed is None else await sources.keys.get(signed.kid)
            name = None if record is None else record["catalog"]
            catalog = None if name is None else await sources.catalogs.get(name)
            running.entry(entry, day, key, catalog)
        running.end_day(day)
    return running.report(
        before=await _numbers(receipts, sources, account, next_day(period.first_day, -1)),
        after=await _numbers(receipts, sources, account, next_day(period.last_day)),
    )


async def _numbers(
    receipts: DynamoReceipts, sources: "_Sources", account: str, day: str
) -> list[int]:
    """The numbers that a neighbouring day shows to have; the day itself is not audited."""
    numbers = []
    async for item in receipts.day(account, day):
        entry = read_entry(item)
        key = None if entry.signed is None else await sources.keys.get(entry.signed.kid)
        number = vouched_number(entry, account, day, key)
        if number is not None:
            numbers.append(number)
    return numbers


class _Sources:
    """What receipts name: the certificates of their keys, and catalogs."""

    def __init__(
        self, dynamo: Dynamo, clock: Clock, receipts: DynamoReceipts, roots: Roots
    ) -> None:
        self._dynamo = dynamo
        self._clock = clock
        self._receipts = receipts
        self._roots = roots
        self.keys = ReadCache(CERTIFICATES_KEPT_MAX, self._key)
        self.catalogs = ReadCache(CATALOGS_KEPT_MAX, self._catalog)

    async def _key(self, kid: str) -> ReceiptKey | Unproven | None:
        text = await self._receipts.certificate(kid)
        return None if text is None else receipt_key(text, self._roots)

    async def _catalog(self, name: str) -> Catalog | Unproven:
        try:
            return await read_snapshot(self._dynamo, self._clock, name, self._roots)
        except SnapshotRefused as exc:
            return Unproven(_REFUSALS.get(exc.reason, exc.reason))
