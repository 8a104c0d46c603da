"""The only doubles: small real objects with the shapes of core.protocols and effects.

FakeDynamo executes the gateway's own DynamoDB calls in memory, so a FakeLedger is the ledger that
runs in production on another engine. tests/ledger proves both alike on the same state machine.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal

from phigate.core.account import ACCOUNT_SK, DIRECTORY_PK, account_pk
from phigate.core.attributes import binary, flag, mapping, number, text
from phigate.core.protocols import (
    AccountView,
    Clock,
    Held,
    HoldRefused,
    HoldRequest,
    StoredReceipt,
    Swept,
)
from phigate.effects.dynamodb import (
    ConditionFailed,
    Conflict,
    Dynamo,
    DynamoError,
    NotAccepted,
    Throttled,
    TransactionCanceled,
    Unavailable,
)
from phigate.effects.dynamodb_ledger import DynamoLedger
from tests.expressions import BadExpression, Expression

Item = dict[str, Any]

# What may happen to a call: lost before or after it was applied, or refused for the moment.
Fault = Literal["lost_before", "lost_after", "conflict", "throttle"]
FAULTS: tuple[Fault, ...] = ("lost_before", "lost_after", "conflict", "throttle")


class FakeClock:
    """Time stands until it is set or slept."""

    def __init__(self, now_s: float = 1_790_000_000.0) -> None:
        self.time_s = now_s

    def now_s(self) -> float:
        """The time that was set."""
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.time_s += seconds


class FakeDynamo:
    """One table in memory. Every call is atomic, as it is in DynamoDB."""

    def __init__(self) -> None:
        self.table = "phigate"
        self.items: dict[tuple[str, str], Item] = {}
        self.calls: dict[str, int] = {}

    async def call(self, operation: str, payload: Item) -> Item:
        """Execute one operation. Raises a DynamoError."""
        return self.execute(operation, payload)

    def execute(self, operation: str, payload: Item) -> Item:
        """The same without a coroutine."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        try:
            return _OPERATIONS[operation](self, copy.deepcopy(payload))
        except BadExpression as exc:
            raise NotAccepted(f"{operation}: {exc}") from exc

    def open_account(self, account: str, *, micros: int, key_ids: Iterable[str] = ("k1",)) -> None:
        """An account with credit and live keys, as `phigate keys create` leaves it."""
        numbers = {"avail": micros, "top": micros, "spent": 0, "seq": 0}
        keys = {key_id: flag(True) for key_id in key_ids}
        item: Item = {"pk": text(account_pk(account)), "sk": text(ACCOUNT_SK)}
        item |= {name: number(value) for name, value in numbers.items()}
        item |= {name: mapping({}) for name in ("h", "q", "w", "d")}
        item |= {"k": mapping(keys), "salt": binary(b"0123456789abcdef")}
        listed: Item = {"pk": text(DIRECTORY_PK), "sk": text(account)}
        for new in (item, listed):
            self.items[_name(new)] = new

    def _get(self, payload: Item) -> Item:
        found = self.items.get(_name(payload["Key"]))
        return {} if found is None else {"Item": copy.deepcopy(found)}

    def _put(self, payload: Item) -> Item:
        item = payload["Item"]
        self._check(_name(item), payload)
        self.items[_name(item)] = item
        return {}

    def _update(self, payload: Item) -> Item:
        name = _name(payload["Key"])
        used = self._check(name, payload)
        old = copy.deepcopy(self.items.get(name, payload["Key"]))
        expression = _expression(payload, "UpdateExpression", old)
        new = expression.update()
        if used | expression.used != _placeholders(payload):
            raise BadExpression("a name or value is not used")
        self.items[name] = new
        return {"Attributes": copy.deepcopy(new)} if "ReturnValues" in payload else {}

    def _transact(self, payload: Item) -> Item:
        """All or nothing: what fails puts the items back."""
        before = dict(self.items)
        reasons: list[tuple[str, Item | None]] = []
        for write in payload["TransactItems"]:
            ((kind, call),) = write.items()
            try:
                {"Put": self._put, "Update": self._update}[kind](call)
                reasons.append(("None", None))
            except ConditionFailed as exc:
                reasons.append(("ConditionalCheckFailed", exc.item))
        if any(code != "None" for code, _ in reasons):
            self.items = before
            raise TransactionCanceled(reasons)
        return {}

    def _query(self, payload: Item) -> Item:
        if payload["KeyConditionExpression"] != "pk = :pk":
            raise BadExpression("this double queries one partition")
        pk = payload["ExpressionAttributeValues"][":pk"]["S"]
        names = sorted(name for name in self.items if name[0] == pk)
        return {"Items": [copy.deepcopy(self.items[name]) for name in names]}

    def _describe(self, _: Item) -> Item:
        return {"Table": {"TableStatus": "ACTIVE"}}

    def _check(self, name: tuple[str, str], payload: Item) -> set[str]:
        if "ConditionExpression" not in payload:
            return set()
        stands = self.items.get(name)
        expression = _expression(payload, "ConditionExpression", stands or {})
        if not expression.condition():
            asked = payload.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            raise ConditionFailed(copy.deepcopy(stands) if asked else None)
        return expression.used


class FaultyDynamo:
    """Lets things happen to another client's calls: one entry of `faults` a call, None for none."""

    def __init__(self, inner: Dynamo, faults: Iterable[Fault | None]) -> None:
        self.table = inner.table
        self._inner = inner
        self._faults = iter(faults)

    async def call(self, operation: str, payload: Item) -> Item:
        """Pass the call on, or not, and raise what the fault says."""
        fault = next(self._faults, None)
        if fault is None or fault == "lost_after":
            answer = await self._inner.call(operation, payload)
            if fault is None:
                return answer
        raise fault_error(fault or "lost_after")


class FakeLedger:
    """The ledger in memory. `log` has one line for each call that came back.

    `("hold", id, micros or reason)`, `("raise", id, new or False)`, `("receipt", id, cost, state)`,
    `("settle", id, cost)`. `records` are the receipts' JSON bytes by id.
    """

    def __init__(
        self, clock: Clock, *, account: str = "acme", micros: int = 1_000_000, key_id: str = "k1"
    ) -> None:
        self.dynamo = FakeDynamo()
        self.dynamo.open_account(account, micros=micros, key_ids=[key_id])
        self.log: list[tuple[Any, ...]] = []
        self.records: dict[str, bytes] = {}
        self._ledger = DynamoLedger(self.dynamo, clock)

    async def hold(self, request: HoldRequest) -> Held | HoldRefused:
        """As the Protocol says."""
        held = await self._ledger.hold(request)
        line = held.micros if isinstance(held, Held) else held.reason
        self.log.append(("hold", request.id, line))
        return held

    async def raise_hold(
        self, *, account: str, hold_id: str, old_micros: int, new_micros: int, used_micros: int
    ) -> bool:
        """As the Protocol says."""
        raised = await self._ledger.raise_hold(
            account=account,
            hold_id=hold_id,
            old_micros=old_micros,
            new_micros=new_micros,
            used_micros=used_micros,
        )
        self.log.append(("raise", hold_id, raised and new_micros))
        return raised

    async def put_receipt(
        self, *, account: str, hold_id: str, cost_micros: int, record: bytes
    ) -> Literal["done", "late"]:
        """As the Protocol says."""
        state = await self._ledger.put_receipt(
            account=account, hold_id=hold_id, cost_micros=cost_micros, record=record
        )
        self.log.append(("receipt", hold_id, cost_micros, state))
        self.records[hold_id] = record
        return state

    async def settle(
        self, *, account: str, hold_id: str, held_micros: int, cost_micros: int
    ) -> None:
        """As the Protocol says."""
        await self._ledger.settle(
            account=account, hold_id=hold_id, held_micros=held_micros, cost_micros=cost_micros
        )
        self.log.append(("settle", hold_id, cost_micros))

    async def sweep(self, account: str, now_s: int) -> Swept:
        """As the Protocol says."""
        return await self._ledger.sweep(account, now_s)

    async def account(self, account: str) -> AccountView | None:
        """As the Protocol says."""
        return await self._ledger.account(account)

    async def receipt(self, account: str, hold_id: str) -> StoredReceipt | None:
        """As the Protocol says."""
        return await self._ledger.receipt(account, hold_id)


def fault_error(fault: Fault) -> DynamoError:
    """What the client raises for a fault."""
    return _FAULT_ERRORS[fault](fault)


def _name(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _expression(payload: Item, member: str, item: Item) -> Expression:
    return Expression(
        payload[member],
        payload.get("ExpressionAttributeNames", {}),
        payload.get("ExpressionAttributeValues", {}),
        item,
    )


def _placeholders(payload: Item) -> set[str]:
    names = payload.get("ExpressionAttributeNames", {})
    return {*names, *payload.get("ExpressionAttributeValues", {})}


_FAULT_ERRORS: dict[Fault, Callable[[str], DynamoError]] = {
    "lost_before": Unavailable,
    "lost_after": Unavailable,
    "conflict": Conflict,
    "throttle": Throttled,
}

_OPERATIONS: dict[str, Callable[[FakeDynamo, Item], Item]] = {
    "GetItem": FakeDynamo._get,
    "PutItem": FakeDynamo._put,
    "UpdateItem": FakeDynamo._update,
    "TransactWriteItems": FakeDynamo._transact,
    "Query": FakeDynamo._query,
    "DescribeTable": FakeDynamo._describe,
}
