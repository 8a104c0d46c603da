"""Closes days: for each account and each day that has ended, one signed digest, in order.

Law 1: a day is closed an hour after it ended, and only when no hold of it stands.
Law 2: a digest is put once. Whoever comes second builds on the one that stands, so a crash between
two writes, or two closers at once, leave one chain.
Law 3: what cannot be read is not signed, nor a day out of which a number is gone: it stays open and
the closer says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from phigate.core.clock import Clock
from phigate.core.errors import PhigateError
from phigate.core.ledger.account import DAY_S
from phigate.core.ledger.port import Swept
from phigate.core.limits import DAY_CLOSES_AFTER_S, RECEIPT_DAYS
from phigate.core.receipts.days import begins_at_s, closes_at_s, day_at, days_from, is_day, next_day
from phigate.core.receipts.ids import MalformedId, day_of
from phigate.effects.signing.signer import Signer, SigningFailed
from phigate.effects.store.receipts import DayClosed, DynamoReceipts, Standing
from phigate.verify.day import (
    DayDigest,
    Leaf,
    digest_input,
    digest_jws,
    name_of,
    read_digest,
    receipt_leaf,
    tally,
    tombstone_leaf,
)
from phigate.verify.errors import VerificationError
from phigate.verify.open_hold import why_implausible
from phigate.verify.sequence import Numbers
from phigate.verify.stored_receipt import own_number, read_entry

RETRY_AFTER_S = 600.0  # after a failure, or while a day is left open


class HoldSweeper(Protocol):
    """Ends the holds that are past their time."""

    async def sweep(self, account: str, now_s: int) -> Swept: ...

    async def accounts(self) -> list[str]: ...


class Keeper(Protocol):
    """Keeps copies of digests where the operator cannot change them. Raises KeepingFailed."""

    async def keep(self, account: str, digests: Sequence[tuple[str, str]]) -> None: ...


class KeepingFailed(Exception):
    """The copies could not be kept; the text names the outcome."""


class _LeftOpen(Exception):
    """A day cannot be closed now; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What was done for one account: the days closed, and why the next one was not."""

    account: str
    days: tuple[str, ...] = ()
    left_open: str | None = None


class DayCloser:
    """`close_due` may be called often: it works once a day, after the hour, and on a new start."""

    def __init__(
        self,
        *,
        ledger: HoldSweeper,
        receipts: DynamoReceipts,
        root: Signer,
        clock: Clock,
        stack: str,
        keeper: Keeper | None = None,
    ) -> None:
        self._ledger = ledger
        self._receipts = receipts
        self._root = root
        self._clock = clock
        self._stack = stack
        self._keeper = keeper
        self._due_at_s = 0.0

    async def close_due(self) -> tuple[list[Closing], list[str]]:
        """Close what may be closed, unless that was done since the hour."""
        now_s = self._clock.now_s()
        if now_s < self._due_at_s:
            return [], []
        closings, failed = await self.close_all()
        is_done = not failed and all(closing.left_open is None for closing in closings)
        next_hour_s = closes_at_s(day_at(now_s - DAY_CLOSES_AFTER_S))
        self._due_at_s = next_hour_s if is_done else min(next_hour_s, now_s + RETRY_AFTER_S)
        return closings, failed

    async def numbers(self, account: str, day: str) -> list[int]:
        """The numbers that stand in a day, sorted: those of receipts by what they have signed, and
        those of tombstones. Junk has none. Signatures are not checked."""
        found = [
            own_number(read_entry(item), account, day)
            async for item in self._receipts.day(account, day)
        ]
        return sorted(number for number in found if number is not None)

    async def close_all(self) -> tuple[list[Closing], list[str]]:
        """Every account; the second list names those that failed. May raise Overloaded."""
        closings, failed = [], []
        for account in await self._ledger.accounts():
            try:
                closings.append(await self.close(account))
            except (PhigateError, SigningFailed, KeepingFailed):
                failed.append(account)
        return closings, failed

    async def close(self, account: str) -> Closing:
        """Close an account's days in order, as far as that is possible now.

        Raises Overloaded, SigningFailed, KeepingFailed; what was closed until then stays closed.
        """
        now_s = self._clock.now_s()
        await self._ledger.sweep(account, int(now_s))
        standing = await self._receipts.standing(account)
        digests = await self._receipts.digests(account)
        done: list[str] = []
        left_open = None
        if digests and not is_day(digests[-1][0]):
            return Closing(
                account, (), f"{digests[-1][0]}: a digest stands there, and it is no day"
            )
        if standing is not None and not _is_all_closed(standing, digests):
            for day in _days_due(standing, digests, now_s):
                try:
                    jws = await self._close_day(account, day, standing, digests)
                except _LeftOpen as exc:
                    left_open = f"{day}: {exc}"
                    break
                if jws is not None:
                    digests.append((day, jws))
                    done.append(day)
        if self._keeper is not None and digests:
            await self._keeper.keep(account, digests)
        return Closing(account, tuple(done), left_open)

    async def _close_day(
        self, account: str, day: str, standing: Standing, digests: Sequence[tuple[str, str]]
    ) -> str | None:
        """The digest that stands for a day from now on; None for a day without receipts."""
        if any(_day_of(hold.id) <= day for hold in standing.holds):
            raise _LeftOpen("a hold of it still stands; sweep again")
        if not await self._receipts.has_receipts(account, day):
            return None
        leaves = await self._leaves(account, day)
        await self._check_numbers(account, day, standing, digests, Numbers(x.seq for x in leaves))
        digest = DayDigest(
            account=account,
            stack=self._stack,
            day=day,
            tally=tally(leaves),
            previous=name_of(digests[-1][1]) if digests else None,
            closed_at_s=int(self._clock.now_s()),
        )
        if digest.tally["count"] == 0:
            return None
        signed = digest_input(digest, (await self._root.jwk())["kid"])
        jws = digest_jws(signed, await self._root.sign(signed))
        try:
            await self._receipts.put_digest(account, day, jws)
        except DayClosed as exc:
            return str(exc)  # another closer was first; the chain goes on from its digest
        return jws

    async def _check_numbers(
        self,
        account: str,
        day: str,
        standing: Standing,
        digests: Sequence[tuple[str, str]],
        numbers: Numbers,
    ) -> None:
        """Whether every number after the last digest's stands in this day, in the next one, whose
        calls may have begun before midnight's last had their numbers, or is under way."""
        if not numbers:
            return
        lasts = {day: numbers.last, **_last_of(digests)}
        now_s, from_s = self._clock.now_s(), begins_at_s(day)
        under_way = Numbers(
            hold.seq
            for hold in standing.holds
            if why_implausible(hold, from_s=from_s, now_s=now_s, lasts=lasts) is None
        )
        first = max((last for other, last in lasts.items() if other != day), default=0) + 1
        missing = [
            gap for a, b in numbers.missing(first, numbers.last) for gap in under_way.missing(a, b)
        ]
        if missing:
            later = Numbers(await self.numbers(account, next_day(day)))
            missing = [gap for a, b in missing for gap in later.missing(a, b)]
        if missing:
            raise _LeftOpen(f"nothing has number {missing[0][0]}; see phigate audit")

    async def _leaves(self, account: str, day: str) -> list[Leaf]:
        leaves = []
        async for item in self._receipts.day(account, day):
            entry = read_entry(item)
            if entry.fault is not None or entry.stored is None:
                raise _LeftOpen(f"{entry.id} cannot be read: {entry.fault}")
            if entry.record is None:
                leaves.append(tombstone_leaf(entry.stored))
            else:
                leaves.append(receipt_leaf(entry.stored, entry.record))
        return leaves


def _is_all_closed(standing: Standing, digests: Sequence[tuple[str, str]]) -> bool:
    """Whether every number that was given out stands in a digest: then no day need be looked at.

    Around midnight the last number may stand in the last day but one.
    """
    try:
        lasts = [read_digest(jws, None).tally["last"] for _, jws in digests[-2:]]
    except VerificationError:
        return False
    return standing.seq <= max(lasts, default=0)


def _days_due(standing: Standing, digests: Sequence[tuple[str, str]], now_s: float) -> list[str]:
    """The days after the last digest that may be closed by now."""
    last = next_day(day_at(now_s - DAY_CLOSES_AFTER_S), -1)
    if digests:
        first = next_day(digests[-1][0])
    else:
        oldest_s = now_s - RECEIPT_DAYS * DAY_S
        first = day_at(oldest_s if standing.created_s is None else standing.created_s)
    return list(days_from(first, last))


def _last_of(digests: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The last number of the last digest, by its day."""
    if not digests:
        return {}
    day, jws = digests[-1]
    try:
        return {day: read_digest(jws, None).tally["last"]}
    except VerificationError as exc:
        raise _LeftOpen(f"the digest of {day} cannot be read: {exc}") from exc


def _day_of(hold_id: str) -> str:
    try:
        return day_of(hold_id)
    except MalformedId:
        return ""  # of no day that could be told: it keeps every day open
