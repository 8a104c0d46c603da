"""How many sandboxes are at work, of the stack and of each account: facts and writes, nothing sent.

    X#S             sk X: s{slot id: expires}     the stack
    X#A#<account>   sk X: s{slot id: expires}     one account

Law 1: a sandbox is opened when its slot stands in both items, the account's first. A transaction
would make every other request of a busy stack conflict; a crash between the two writes leaves what
a crash after them leaves, a slot that its expiry frees.
Law 2: a slot is never extended, so past its expiry nobody uses it and whoever finds it frees it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phigate.core.attributes import Item, int_at, map_at, mapping, number, text

SK = "X"
STACK_PK = "X#S"

# There is room: entries past their time count until somebody frees them.
SLOTS_ARE_FEW = "size(s) < :most"
# The slot is new: a write that is sent again after it was written does nothing.
SLOT_IS_NEW = "attribute_not_exists(s.#id)"
# The item has no map yet: a second one would wipe the slots in the first one.
MAP_IS_NEW = "attribute_not_exists(s)"
# There is something to free; an update would otherwise make an item out of nothing.
MAP_EXISTS = "attribute_exists(s)"

# Slots freed at once; an expression holds 4 KB.
FREE_MAX = 50

Scope = Literal["account", "stack"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One sandbox at work, or about to be."""

    account: str
    id: str
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """SandboxesPerStack and SandboxesPerAccount."""

    stack: int = 50
    account: int = 4


def pk_of(scope: Scope, account: str) -> str:
    """The partition of the stack's slots, or of an account's."""
    return STACK_PK if scope == "stack" else f"X#A#{account}"


def take(table: str, pk: str, slot: Slot, most: int) -> dict[str, Any]:
    """UpdateItem: the slot is at work, if there is room."""
    return {
        "TableName": table,
        "Key": _key(pk),
        "UpdateExpression": "SET s.#id = :expires",
        "ConditionExpression": f"{SLOT_IS_NEW} AND {SLOTS_ARE_FEW}",
        "ExpressionAttributeNames": {"#id": slot.id},
        "ExpressionAttributeValues": {
            ":expires": number(slot.expires_at_s),
            ":most": number(most),
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def make(table: str, pk: str) -> dict[str, Any]:
    """UpdateItem: an empty map, the first time."""
    return {
        "TableName": table,
        "Key": _key(pk),
        "UpdateExpression": "SET s = :none",
        "ConditionExpression": MAP_IS_NEW,
        "ExpressionAttributeValues": {":none": mapping({})},
    }


def free(table: str, pk: str, slot_ids: tuple[str, ...]) -> dict[str, Any]:
    """UpdateItem: these slots are free. An id is never taken twice, so what is gone stays gone."""
    names = {f"#n{place}": slot_id for place, slot_id in enumerate(slot_ids[:FREE_MAX])}
    return {
        "TableName": table,
        "Key": _key(pk),
        "UpdateExpression": "REMOVE " + ", ".join(f"s.{name}" for name in names),
        "ConditionExpression": MAP_EXISTS,
        "ExpressionAttributeNames": names,
    }


def holds(item: Mapping[str, Any] | None, slot: Slot) -> bool:
    """Whether an item, as it stood, has the slot: an earlier try of the same write took it."""
    return slot.id in map_at(item or {}, "s")


def expired(item: Mapping[str, Any] | None, now_s: int) -> tuple[str, ...]:
    """The slots whose time is over."""
    slots = map_at(item or {}, "s")
    return tuple(slot_id for slot_id in slots if int_at(slots, slot_id) <= now_s)


def retry_after_s(item: Mapping[str, Any], now_s: int, most_s: int) -> int:
    """When to come again: when the first slot ends by itself, but soon, for most end earlier."""
    slots = map_at(item, "s")
    left_s = [int_at(slots, slot_id) - now_s for slot_id in slots]
    return max(1, min(most_s, *left_s)) if left_s else 1


def _key(pk: str) -> Item:
    return {"pk": text(pk), "sk": text(SK)}
