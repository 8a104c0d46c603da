"""Ledgers with one mistake each, made on the wire: the machine has to find every one of them.

A mutant stands between the ledger and its client and changes what the ledger sends or is told.
"""

import copy
import re
from collections.abc import Callable
from typing import Any, Literal

from phigate.core.ledger import writes
from phigate.effects.store.dynamodb import ConditionFailed, Dynamo, TransactionCanceled, Unavailable
from tests.fakes import Item
from tests.ledger.simulation import Mutation

Rewrite = Callable[[str, Item], Item]


class Rewriting:
    """Sends something else than it was given."""

    def __init__(self, inner: Dynamo, rewrite: Rewrite) -> None:
        self.table = inner.table
        self._inner = inner
        self._rewrite = rewrite

    async def call(self, operation: str, payload: Item) -> Item:
        """Rewrite, then call."""
        return await self._inner.call(operation, self._rewrite(operation, copy.deepcopy(payload)))


class NoTombstone:
    """The sweeper settles at once, by what the hold noted."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Pretend that the tombstone was put."""
        if is_tombstone(payload):
            return {}
        return await self._inner.call(operation, payload)


class SweeperIgnoresReceipt:
    """The sweeper finds a receipt and charges by what the hold noted all the same."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Pretend that nothing stood there."""
        try:
            return await self._inner.call(operation, payload)
        except ConditionFailed:
            if is_tombstone(payload):
                return {}
            raise


class CheckThenWrite:
    """The hold looks whether there is enough credit, and then writes without asking again."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """A read, and a write without the condition."""
        if not is_hold(payload) or writes.CREDIT_COVERS not in payload["ConditionExpression"]:
            return await self._inner.call(operation, payload)
        key = {"TableName": self.table, "Key": payload["Key"]}
        item = (await self._inner.call("GetItem", key))["Item"]
        wanted = int(payload["ExpressionAttributeValues"][":x"]["N"])
        if int(item["avail"]["N"]) < wanted:
            raise ConditionFailed(item)
        return await self._inner.call(operation, without(payload, writes.CREDIT_COVERS))


class InTwoWrites:
    """A transaction as one write after the other."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Each write of the transaction by itself; the first one that fails ends it."""
        if operation != "TransactWriteItems":
            return await self._inner.call(operation, payload)
        reasons: list[tuple[str, Item | None]] = [("None", None) for _ in payload["TransactItems"]]
        for position, write in enumerate(payload["TransactItems"]):
            ((kind, call),) = write.items()
            try:
                await self._inner.call(f"{kind}Item", call)
            except ConditionFailed as exc:
                reasons[position] = ("ConditionalCheckFailed", exc.item)
                raise TransactionCanceled(reasons) from exc
        return {}


class RepeatsUnderNewId:
    """A hold of unknown outcome is repeated as another hold."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner
        self._tries: dict[str, int] = {}

    async def call(self, operation: str, payload: Item) -> Item:
        """Another id on every try; the ledger is told its own."""
        if not is_hold(payload):
            return await self._inner.call(operation, payload)
        hold_id = payload["ExpressionAttributeNames"]["#id"]
        tries = self._tries.get(hold_id, 0)
        self._tries[hold_id] = tries + 1
        other_id = hold_id if tries == 0 else f"{hold_id[:-2]}-{tries % 10}"
        changed = copy.deepcopy(payload)
        changed["ExpressionAttributeNames"]["#id"] = other_id
        answer = await self._inner.call(operation, changed)
        for name in ("h", "q"):
            entries = answer["Attributes"][name]["M"]
            entries[hold_id] = entries.pop(other_id)
        return answer


def without(payload: Item, clause: str) -> Item:
    """A call without one clause of its condition, and without what only that clause used."""
    call = copy.deepcopy(payload)
    clauses = call["ConditionExpression"].split(" AND ")
    kept = [each for each in clauses if each not in clause.split(" AND ")]
    del call["ConditionExpression"]
    if kept:
        call["ConditionExpression"] = " AND ".join(kept)
    return pruned(call)


def pruned(call: Item) -> Item:
    """A call without placeholders that nothing uses."""
    used = set(re.findall(r"[:#]\w+", " ".join(v for v in call.values() if isinstance(v, str))))
    for member in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
        kept = {name: value for name, value in call.get(member, {}).items() if name in used}
        call.pop(member, None)
        if kept:
            call[member] = kept
    return call


def is_hold(payload: Item) -> bool:
    """Whether the call makes a hold."""
    return ":hold" in payload.get("ExpressionAttributeValues", {})


def is_raise(payload: Item) -> bool:
    """Whether the call raises a hold."""
    return ":new" in payload.get("ExpressionAttributeValues", {})


def is_settle(payload: Item) -> bool:
    """Whether the call ends a hold."""
    return ":refund" in payload.get("ExpressionAttributeValues", {})


def is_receipt(payload: Item) -> bool:
    """Whether the call puts a receipt."""
    return bool(payload.get("Item", {}).get("st") == {"S": "done"})


def is_tombstone(payload: Item) -> bool:
    """Whether the call puts a tombstone."""
    return bool(payload.get("Item", {}).get("st") == {"S": "expired"}) and not is_stray(payload)


def is_stray(payload: Item) -> bool:
    """Whether the call writes a stray hold's number down."""
    return "." in payload.get("Item", {}).get("sk", {}).get("S", "")


def drops(applies: Callable[[Item], bool], clause: str) -> Mutation:
    """A ledger one of whose writes lacks a condition."""

    def rewrite(_: str, payload: Item) -> Item:
        if applies(payload) and clause in payload.get("ConditionExpression", ""):
            return without(payload, clause)
        return payload

    return lambda inner: Rewriting(inner, rewrite)


def drops_in_transaction(member: str, clause: str) -> Mutation:
    """A ledger whose transaction lacks a condition, where its first write has the member."""

    def rewrite(_: str, payload: Item) -> Item:
        for write in payload.get("TransactItems", ()):
            for kind, call in write.items():
                if call.get("ConditionExpression") == clause and member in str(call):
                    write[kind] = without(call, clause)
        return payload

    return lambda inner: Rewriting(inner, rewrite)


def replaces(applies: Callable[[Item], bool], old: str, new: str) -> Mutation:
    """A ledger one of whose updates has another expression."""

    def rewrite(_: str, payload: Item) -> Item:
        if applies(payload) and old in payload["UpdateExpression"]:
            payload["UpdateExpression"] = payload["UpdateExpression"].replace(old, new)
            return pruned(payload)
        return payload

    return lambda inner: Rewriting(inner, rewrite)


class WithoutSeq:
    """Holds are known by their id alone: one that a stray write puts back looks like the first."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Blank out every seq, both ways."""
        call = copy.deepcopy(payload)
        if "s" in call.get("Item", {}):
            call["Item"]["s"] = {"N": "0"}
        if ":seq" in call.get("ExpressionAttributeValues", {}):
            call = without(call, "q.#id = :seq")
        try:
            return _blank(await self._inner.call(operation, call))
        except ConditionFailed as exc:
            raise ConditionFailed(_blank({"Item": exc.item})["Item"]) from exc


def _blank(answer: Item) -> Item:
    for item in (answer.get("Item"), answer.get("Attributes")):
        entries: dict[str, Any] = (item or {}).get("q", {}).get("M", {})
        for name in entries:
            entries[name] = {"N": "0"}
    return answer


def asks_as_usual(inner: Dynamo) -> Dynamo:
    """A hold that is over the day's limit by itself asks like any other."""

    def rewrite(_: str, payload: Item) -> Item:
        asked = payload.get("ConditionExpression", "").split(" AND ")
        if is_hold(payload) and writes.DAY_CANNOT_ALLOW in asked:
            asked.remove(writes.DAY_CANNOT_ALLOW)
            payload["ConditionExpression"] = " AND ".join((*asked, writes.DAY_ALLOWS))
        return payload

    return Rewriting(inner, rewrite)


class UnknownIsDone:
    """A receipt whose outcome is unknown counts as written."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Take silence for consent."""
        try:
            return await self._inner.call(operation, payload)
        except Unavailable:
            if is_receipt(payload):
                return {}
            raise


class NoStray:
    """The sweeper settles a hold that was put back and leaves its number without a receipt."""

    def __init__(self, inner: Dynamo) -> None:
        self.table = inner.table
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Pretend that it was put."""
        if is_stray(payload):
            return {}
        return await self._inner.call(operation, payload)


# What is wrong, how to make it so, and which of the two tests has to find it.
MUTANTS: dict[str, tuple[Mutation, Literal["schedules", "machine"]]] = {
    "hold without the credit condition": (drops(is_hold, writes.CREDIT_COVERS), "machine"),
    "hold looks first and writes then": (CheckThenWrite, "machine"),
    "hold does not ask whether its id is new": (drops(is_hold, writes.HOLD_IS_NEW), "schedules"),
    "hold of unknown outcome is repeated under a new id": (RepeatsUnderNewId, "schedules"),
    "hold without the day's limit": (drops(is_hold, writes.DAY_ALLOWS), "machine"),
    "hold over the day's limit by itself passes": (asks_as_usual, "machine"),
    "raise without the credit condition": (drops(is_raise, writes.RAISE_COVERS), "machine"),
    "raise without asking what the hold was": (drops(is_raise, writes.HOLD_STANDS), "machine"),
    "raise takes noted usage back": (drops(is_raise, writes.USE_GROWS), "machine"),
    "raise without the day's limit": (drops(is_raise, writes.DAY_ALLOWS), "machine"),
    "receipt overwrites the tombstone": (drops(is_receipt, writes.VERDICT_IS_OPEN), "schedules"),
    "receipt of unknown outcome counts as written": (UnknownIsDone, "schedules"),
    "tombstone overwrites the receipt": (drops(is_tombstone, writes.VERDICT_IS_OPEN), "schedules"),
    "sweeper puts no tombstone": (NoTombstone, "schedules"),
    "sweeper ignores the receipt": (SweeperIgnoresReceipt, "schedules"),
    "sweeper leaves a stray hold's number out": (NoStray, "schedules"),
    "settle without condition": (drops(is_settle, writes.HOLD_STANDS), "schedules"),
    "settle does not ask for the amount": (drops(is_settle, "h.#id.a = :held"), "schedules"),
    "settle keeps the rest": (
        replaces(is_settle, "avail = avail + :refund, ", ""),
        "schedules",
    ),
    "settle leaves the day as it was": (
        replaces(is_settle, ", d.#day = if_not_exists(d.#day, :zero) - :refund", ""),
        "schedules",
    ),
    "holds are known by their id alone": (WithoutSeq, "schedules"),
    "late receipt in two writes": (InTwoWrites, "schedules"),
    "late receipt does not ask for the tombstone": (
        drops_in_transaction(":late", writes.IS_TOMBSTONE),
        "schedules",
    ),
    "credit does not ask whether its reference is new": (
        drops_in_transaction("'at'", writes.REF_IS_NEW),
        "machine",
    ),
}
