"""The Ledger on DynamoDB: holds, receipts, settlement and the sweeper.

Law: a write whose outcome is unknown is repeated with the same condition, never with a new one.
Nothing is kept between calls: what has to be known of a hold stands in its value.
"""

from dataclasses import replace

from phigate.core.attributes import Item, int_at, map_at, text, text_at
from phigate.core.clock import Clock
from phigate.core.errors import GatewayError
from phigate.core.ledger import writes
from phigate.core.ledger.account import (
    ACCOUNT_SK,
    DIRECTORY_PK,
    ReceiptState,
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
    verdict_of,
    view,
)
from phigate.core.ledger.hold import IllegalTransition, OpenHold, StoredHold, transition
from phigate.core.ledger.port import (
    AccountView,
    CountRefusal,
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


class DynamoLedger:
    """Implements core.ledger.port.Ledger; one object may serve every account."""

    def __init__(self, dynamo: Dynamo, clock: Clock) -> None:
        self._dynamo = dynamo
        self._clock = clock

    async def hold(self, request: HoldRequest) -> OpenHold | HoldRefused:
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
        return OpenHold(
            account=request.account,
            stored=hold,
            state=transition("absent", "hold"),
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

    async def extend_hold(self, hold: OpenHold, micros: int, used_micros: int) -> OpenHold | None:
        """See Ledger.extend_hold."""
        stored = hold.stored
        if hold.noting(used_micros) != hold:
            raise IllegalTransition("a hold notes what is used before it is extended")
        if not 0 <= used_micros <= micros or micros < stored.micros:
            raise IllegalTransition("a hold is extended to at least what it was and what was used")
        if hold.state == "expired":
            return None
        extended = replace(stored, micros=micros, used_micros=used_micros)
        call = writes.extend_hold(self._dynamo.table, hold.account, stored, micros, used_micros)
        try:
            await self._call("UpdateItem", call)
        except ConditionFailed as exc:
            if hold_at(exc.item or {}, hold.id) != extended:
                return None
        return replace(hold, stored=extended)

    async def put_receipt(self, hold: OpenHold, record: Signed) -> OpenHold:
        """Write the record and the cost once, or pay the difference where the sweeper was first."""
        if hold.state != "writing":
            raise IllegalTransition("a hold says that its receipt is written before it is")
        table, stored, cost_micros = self._dynamo.table, hold.stored, hold.cost_micros
        verdict = await self._put(writes.receipt(table, hold.account, stored, cost_micros, record))
        if verdict is not None and verdict.state == "expired":
            call = writes.late(
                table,
                hold.account,
                hold.id,
                cost_micros=cost_micros,
                swept_micros=verdict.swept_micros,
                record=record,
                day=stored.day,
            )
            verdict = await self._answer(call) or replace(
                verdict, state="late", cost_micros=cost_micros
            )
        if verdict is not None and verdict.cost_micros != cost_micros:
            raise IllegalTransition("a receipt stands with another cost")
        is_late = verdict is not None and verdict.state == "late"
        return hold.after("late" if is_late else "done")

    async def settle(self, hold: OpenHold) -> None:
        """Charge what the receipt says, or void (cost 0, no receipt, nothing used). Idempotent."""
        is_written = hold.state in ("done", "settled")
        transition(hold.state, "settle" if is_written else "void")
        if hold.cost_micros and not is_written:
            raise IllegalTransition("a hold without a receipt costs nothing")
        await self._settle(hold.account, hold.stored, hold.cost_micros)

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

    async def _settle(self, account: str, hold: StoredHold, cost_micros: int) -> bool:
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

    async def _account_item(self, account: str) -> Item | None:
        return await read_item(self._dynamo, self._clock, account_pk(account), ACCOUNT_SK)

    async def _call(self, operation: str, payload: Item) -> Item:
        return await repeat(self._dynamo, self._clock, operation, payload)
