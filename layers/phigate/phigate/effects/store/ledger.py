"""The Ledger on DynamoDB: holds, receipts, settlement and the sweeper.

Law: a write whose outcome is unknown is repeated with the same condition, never with a new one.
What this process holds open is remembered only to save reads; without it the stored facts decide.
"""

from dataclasses import dataclass, replace
from typing import Literal

from phigate.core.attributes import Item, int_at, map_at, text, text_at
from phigate.core.clock import Clock
from phigate.core.errors import GatewayError
from phigate.core.ledger import writes
from phigate.core.ledger.account import (
    ACCOUNT_SK,
    DIRECTORY_PK,
    Hold,
    IllegalTransition,
    ReceiptState,
    State,
    account_pk,
    count_refusal,
    expired_ids,
    hold_at,
    holds,
    receipt_pk,
    refusal,
    stale_counters,
    state_of,
    swept_charge,
    transition,
    verdict_of,
    view,
)
from phigate.core.ledger.port import (
    AccountView,
    CountRefusal,
    Held,
    HoldRefused,
    HoldRequest,
    Swept,
)
from phigate.core.ledger.receipt_item import stored_receipt
from phigate.core.limits import LEDGER_TRIES_MAX
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import Signed
from phigate.effects.store.dynamodb import (
    ConditionFailed,
    Dynamo,
    TransactionCanceled,
    pages,
    read_item,
    repeat,
)

# Holds remembered at once; more than one process has calls in flight. What falls out is re-read.
OPEN_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Open:
    """A hold as this process last knew it; `cost_micros` is what its receipt or tombstone says."""

    state: State
    hold: Hold | None
    cost_micros: int = 0


class DynamoLedger:
    """Implements core.ledger.port.Ledger; one object may serve every account."""

    def __init__(self, dynamo: Dynamo, clock: Clock) -> None:
        self._dynamo = dynamo
        self._clock = clock
        self._open: dict[str, Open] = {}

    async def hold(self, request: HoldRequest) -> Held | HoldRefused:
        """Reserve micros. Finding the own id already there is success: an earlier try wrote it."""
        if request.micros < 0:
            raise IllegalTransition("a hold is not negative")
        try:
            answer = await self._call("UpdateItem", writes.hold(self._dynamo.table, request))
            item = answer["Attributes"]
            hold = hold_at(item, request.id)
        except ConditionFailed as exc:
            item = exc.item
            hold = None if item is None else hold_at(item, request.id)
            if hold is None:
                return refusal(item, request)
        if hold is None or (hold.micros < request.micros and not request.is_refusal):
            raise IllegalTransition("a hold's id was used before with another amount")
        self._remember(request.id, Open(transition("absent", "hold"), hold))
        return Held(
            account=request.account,
            id=request.id,
            micros=hold.micros,
            seq=hold.seq,
            calls_this_minute=int_at(map_at(item, "w"), f"{request.key_id}:{request.now_s // 60}"),
            available_micros=int_at(item, "avail"),
            expired=expired_ids(item, request.now_s, but=request.id),
        )

    async def count_call(
        self, *, account: str, key_id: str, now_s: int, rpm: int
    ) -> CountRefusal | None:
        """See Ledger.count_call."""
        call = writes.count_call(self._dynamo.table, account, key_id, now_s=now_s, rpm=rpm)
        try:
            await self._call("UpdateItem", call)
        except ConditionFailed as exc:
            return count_refusal(exc.item, key_id)
        return None

    async def extend_hold(
        self, *, account: str, hold_id: str, old_micros: int, new_micros: int, used_micros: int
    ) -> bool:
        """Move more into a hold; False where credit or limit refuse, or the sweeper was first."""
        known = await self._known(account, hold_id)
        state = transition(known.state, "use" if used_micros else "raise")
        hold = known.hold
        if state == "expired":
            return False
        if hold is None or not 0 <= used_micros <= new_micros or new_micros < old_micros:
            raise IllegalTransition("a hold is raised to at least what it was and what was used")
        raised = replace(hold, micros=new_micros, used_micros=used_micros)
        if hold.micros != old_micros and hold != raised:
            raise IllegalTransition("a raise does not know what the hold was")
        # Before it is sent: when its outcome stays unknown, usage may have been noted.
        self._remember(hold_id, Open(state, hold))
        call = writes.extend_hold(self._dynamo.table, account, hold, new_micros, used_micros)
        try:
            await self._call("UpdateItem", call)
        except ConditionFailed as exc:
            if hold_at(exc.item or {}, hold_id) != raised:
                return False
        self._remember(hold_id, Open(state, raised))
        return True

    async def put_receipt(
        self, *, account: str, hold_id: str, cost_micros: int, record: Signed
    ) -> Literal["done", "late"]:
        """Write the record and the cost once, or pay the difference where the sweeper was first."""
        known = await self._known(account, hold_id)
        state = transition(known.state, "write")
        hold = known.hold
        if cost_micros < 0 or (hold is not None and cost_micros > hold.micros):
            raise IllegalTransition("a cost is not negative and not above its hold")
        # Before it is sent: until its outcome is known, nothing but itself may follow.
        self._remember(hold_id, Open(state, hold))
        if hold is None:
            verdict = await self._verdict(account, hold_id)
        else:
            call = writes.receipt(self._dynamo.table, account, hold, cost_micros, record)
            verdict = await self._put(call)
        if verdict is not None and verdict.state == "expired":
            day = None if hold is None else hold.day
            call = writes.late(
                self._dynamo.table,
                account,
                hold_id,
                cost_micros=cost_micros,
                swept_micros=verdict.swept_micros,
                record=record,
                day=day,
            )
            verdict = await self._answer(call) or replace(
                verdict, state="late", cost_micros=cost_micros
            )
        if verdict is not None and verdict.cost_micros != cost_micros:
            raise IllegalTransition("a receipt stands with another cost")
        if verdict is not None and verdict.state == "late":
            transition(state, "late")
            self._open.pop(hold_id, None)
            return "late"
        self._remember(hold_id, Open(transition(state, "done"), hold, cost_micros))
        return "done"

    async def settle(
        self, *, account: str, hold_id: str, held_micros: int, cost_micros: int
    ) -> None:
        """Charge what the receipt says, or void (cost 0, no receipt, nothing used). Idempotent."""
        known = await self._known(account, hold_id)
        transition(known.state, "settle" if known.state in ("done", "settled") else "void")
        if cost_micros != known.cost_micros:
            raise IllegalTransition(
                "a settle charges what the receipt says, and without one nothing"
            )
        if known.hold is not None:
            hold = replace(known.hold, micros=held_micros)
            await self._settle(account, hold, cost_micros)
        self._open.pop(hold_id, None)

    async def sweep(self, account: str, now_s: int) -> Swept:
        """Settle every hold past its time: by its receipt, else by a tombstone."""
        item = await self._account_item(account)
        by_tombstone = by_receipt = charged = 0
        for hold in () if item is None else tuple(holds(item)):
            if hold.expires_at_s > now_s:
                continue
            found = await self._put(writes.tombstone(self._dynamo.table, account, hold))
            verdict = found or ReceiptState("expired", hold.seq, hold.used_micros, hold.used_micros)
            transition(state_of(hold, verdict), "sweep")
            if verdict.seq != hold.seq:
                await self._put(writes.stray(self._dynamo.table, account, hold))
            cost_micros = swept_charge(hold, verdict)
            if await self._settle(account, hold, cost_micros):
                by_receipt += verdict.state == "done"
                by_tombstone += verdict.state != "done"
                charged += cost_micros
        stale = {} if item is None else stale_counters(item, now_s)
        if any(stale.values()):
            await self._call("UpdateItem", writes.trim(self._dynamo.table, account, stale))
        return Swept(account, by_tombstone, by_receipt, charged)

    async def sweep_all(self, now_s: int) -> tuple[list[Swept], list[str]]:
        """Sweep every account; the second list names those whose sweep failed."""
        swept, failed = [], []
        for account in await self.accounts():
            try:
                swept.append(await self.sweep(account, now_s))
            except GatewayError:
                failed.append(account)
        return swept, failed

    async def accounts(self) -> list[str]:
        """Every account's name, sorted."""
        query: Item = {
            "TableName": self._dynamo.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": text(DIRECTORY_PK)},
            "ConsistentRead": True,
        }
        return [str(text_at(item, "sk")) async for item in pages(self._dynamo, self._clock, query)]

    async def account(self, account: str) -> AccountView | None:
        """The account as it stands; None where there is none."""
        item = await self._account_item(account)
        return None if item is None else view(account, item)

    async def receipt(self, account: str, hold_id: str) -> StoredReceipt | None:
        """The receipt or tombstone of an id; None where there is none. Raises MalformedId."""
        pk = receipt_pk(account, hold_id)
        item = await read_item(self._dynamo, self._clock, pk, hold_id)
        return None if item is None else stored_receipt(account, item)

    async def _settle(self, account: str, hold: Hold, cost_micros: int) -> bool:
        """End a hold; False where it is gone. A raise that was not seen only changes the refund."""
        for _ in range(LEDGER_TRIES_MAX):
            item: Item | None
            if cost_micros > hold.micros:
                # Only a hold that was raised since it was read can owe more than we know of it.
                item = await self._account_item(account)
                if hold_at(item or {}, hold.id) == hold:
                    raise IllegalTransition("a cost is above its hold")
            else:
                call = writes.settle(self._dynamo.table, account, hold, cost_micros)
                try:
                    await self._call("UpdateItem", call)
                except ConditionFailed as exc:
                    item = exc.item
                else:
                    return True
            stands = hold_at(item or {}, hold.id)
            if stands is None or stands.seq != hold.seq:
                return False
            hold = stands
        return False

    async def _put(self, call: Item) -> ReceiptState | None:
        """Put a receipt or tombstone; what stands there already, None where it was put."""
        try:
            await self._call("PutItem", call)
        except ConditionFailed as exc:
            return verdict_of(exc.item or {})
        return None

    async def _answer(self, call: Item) -> ReceiptState | None:
        """Answer a tombstone; what stands there already, None where it was answered."""
        try:
            await self._call("TransactWriteItems", call)
        except TransactionCanceled as exc:
            if not exc.failed(0):
                raise IllegalTransition("a late receipt found no account") from exc
            return verdict_of(exc.reasons[0][1] or {})
        return None

    async def _known(self, account: str, hold_id: str) -> Open:
        """What is remembered of a hold, else what is stored of it."""
        known = self._open.get(hold_id)
        if known is not None:
            return known
        item = await self._account_item(account)
        verdict = await self._verdict(account, hold_id)
        hold = hold_at(item or {}, hold_id)
        if hold is not None and verdict is not None and hold.seq != verdict.seq:
            hold = None
        return Open(state_of(hold, verdict), hold, 0 if verdict is None else verdict.cost_micros)

    def _remember(self, hold_id: str, known: Open) -> None:
        self._open[hold_id] = known
        if len(self._open) > OPEN_MAX:
            self._open.pop(next(iter(self._open)))

    async def _verdict(self, account: str, hold_id: str) -> ReceiptState | None:
        pk = receipt_pk(account, hold_id)
        item = await read_item(self._dynamo, self._clock, pk, hold_id)
        return None if item is None else verdict_of(item)

    async def _account_item(self, account: str) -> Item | None:
        return await read_item(self._dynamo, self._clock, account_pk(account), ACCOUNT_SK)

    async def _call(self, operation: str, payload: Item) -> Item:
        return await repeat(self._dynamo, self._clock, operation, payload)
