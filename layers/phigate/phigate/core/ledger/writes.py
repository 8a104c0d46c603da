"""The ledger's writes as DynamoDB calls: each condition has a name and a sentence, nothing is sent.

A call is sent again byte for byte until its outcome is known, so every one of them is conditional
and finds, when it comes second, that it has been done.
"""

from typing import Any

from phigate.core.attributes import Item, flag, mapping, number, text
from phigate.core.ledger.account import (
    ACCOUNT_SK,
    DAY_S,
    account_pk,
    calls_name,
    credit_pk,
    day_name,
    receipt_pk,
)
from phigate.core.ledger.hold import StoredHold
from phigate.core.ledger.port import HoldRequest
from phigate.core.ledger.receipt_item import signed_members
from phigate.core.limits import HOLDS_MAX, RECEIPT_DAYS, REFUSALS_PER_MINUTE_MAX
from phigate.core.receipts.ids import seconds_of
from phigate.core.receipts.record import Signed

Call = dict[str, Any]

# Credit covers the hold: avail never goes below zero by a hold.
CREDIT_COVERS = "avail >= :x"
# The id is new: a hold that is sent again after it was written does nothing.
HOLD_IS_NEW = "attribute_not_exists(h.#id)"
# The item stays small: DynamoDB refuses one over 400 KB, and charges every write by its size.
HOLDS_ARE_FEW = "size(h) < :holds_max"
# A disabled key stops at its next hold, whatever is cached.
KEY_IS_ON = "k.#key = :true"
# The key's calls in this minute stay within its rate.
RATE_ALLOWS = "(attribute_not_exists(w.#now) OR w.#now < :rpm)"
# The key's holds and charges of this UTC day stay within its spend limit.
DAY_ALLOWS = "(attribute_not_exists(d.#day) OR d.#day <= :room)"
# The same where the hold alone is over the limit: a day without an entry must not let it pass.
DAY_CANNOT_ALLOW = "d.#day <= :room"
# The hold is the one we mean: same amount, and not one that a stray write put back.
HOLD_STANDS = "h.#id.a = :held AND q.#id = :seq"
# Notes of usage only grow: a raise that comes late must not take one back.
USE_GROWS = "h.#id.p <= :used"
# Nothing has decided yet what the hold costs: neither the call nor the sweeper.
VERDICT_IS_OPEN = "attribute_not_exists(pk)"
# The sweeper was first, and its tombstone has not been answered yet.
IS_TOMBSTONE = "st = :expired"
# The account is there: an update would otherwise make one out of nothing.
ACCOUNT_EXISTS = "attribute_exists(pk)"
# There is no account of this name yet: a second one would wipe the first one's credit.
ACCOUNT_IS_NEW = "attribute_not_exists(pk)"
# Nobody has this key: what stands there, an earlier try has put.
KEY_IS_NEW = "attribute_not_exists(pk)"
# What is switched off is there.
ITEM_EXISTS = "attribute_exists(pk)"
# This reference has not been credited before.
REF_IS_NEW = "attribute_not_exists(pk)"
# Credit covers what a raise adds.
RAISE_COVERS = "avail >= :d"

# Counters of one map that a trim removes at once; an expression holds 4 KB at most.
TRIM_MAX = 100

_ZERO = number(0)
_ONE = number(1)


def account_key(account: str) -> Item:
    """The primary key of an account's item."""
    return {"pk": text(account_pk(account)), "sk": text(ACCOUNT_SK)}


def receipt_key(account: str, hold_id: str) -> Item:
    """The primary key of a receipt, and of the tombstone in its place."""
    return {"pk": text(receipt_pk(account, hold_id)), "sk": text(hold_id)}


def hold(table: str, request: HoldRequest) -> Call:
    """UpdateItem: move micros from avail into a new hold and count the call."""
    entry = {"a": number(_held(request)), "e": number(request.expires_at_s), "p": _ZERO}
    names = {
        "#id": request.id,
        "#key": request.key_id,
        "#now": calls_name(request),
        "#prev": calls_name(request, 1),
        "#prev2": calls_name(request, 2),
    }
    values = {
        ":x": number(_held(request)),
        ":one": _ONE,
        ":zero": _ZERO,
        ":true": flag(True),
        ":holds_max": number(HOLDS_MAX),
        ":rpm": number(REFUSALS_PER_MINUTE_MAX if request.is_refusal else request.rpm),
    }
    sets = _HOLD_SET
    removes = "REMOVE w.#prev, w.#prev2"
    conditions = [KEY_IS_ON, HOLD_IS_NEW, HOLDS_ARE_FEW, RATE_ALLOWS]
    if not request.is_refusal:
        conditions.append(CREDIT_COVERS)
        if request.spend_limit_micros is not None:
            room = request.spend_limit_micros - request.micros
            entry["d"] = text(day_name(request))
            entry["l"] = number(request.spend_limit_micros)
            names |= {"#day": day_name(request), "#old": day_name(request, 2)}
            values[":room"] = number(room)
            sets += ", d.#day = if_not_exists(d.#day, :zero) + :x"
            removes += ", d.#old"
            conditions.append(DAY_ALLOWS if room >= 0 else DAY_CANNOT_ALLOW)
    values[":hold"] = mapping(entry)
    return {
        "TableName": table,
        "Key": account_key(request.account),
        "UpdateExpression": f"{sets} {removes}",
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def count_call(
    table: str, account: str, key_id: str, *, now_s: int, rpm: int, kind: str = ""
) -> Call:
    """UpdateItem: count a call that holds nothing, among the key's holds of this minute, or by a
    kind of its own. Those of the two minutes before go, as a hold's do."""
    minute = now_s // 60
    at = {"#now": minute, "#prev": minute - 1, "#prev2": minute - 2}
    return {
        "TableName": table,
        "Key": account_key(account),
        "UpdateExpression": f"SET {_COUNTED} REMOVE w.#prev, w.#prev2",
        "ConditionExpression": f"{KEY_IS_ON} AND {RATE_ALLOWS}",
        "ExpressionAttributeNames": {
            "#key": key_id,
            **{name: f"{key_id}:{kind}{each}" for name, each in at.items()},
        },
        "ExpressionAttributeValues": {
            ":true": flag(True),
            ":zero": _ZERO,
            ":one": _ONE,
            ":rpm": number(rpm),
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def extend_hold(
    table: str, account: str, old: StoredHold, new_micros: int, used_micros: int
) -> Call:
    """UpdateItem: move more micros into a hold and note what is used so far."""
    more = new_micros - old.micros
    names = {"#id": old.id}
    values = {
        ":d": number(more),
        ":held": number(old.micros),
        ":seq": number(old.seq),
        ":new": number(new_micros),
        ":used": number(used_micros),
    }
    sets = "SET avail = avail - :d, h.#id.a = :new, h.#id.p = :used"
    conditions = [RAISE_COVERS, HOLD_STANDS, USE_GROWS]
    if old.day is not None:
        room = (old.spend_limit_micros or 0) - more
        names["#day"] = old.day
        values |= {":room": number(room), ":zero": _ZERO}
        sets += ", d.#day = if_not_exists(d.#day, :zero) + :d"
        conditions.append(DAY_ALLOWS if room >= 0 else DAY_CANNOT_ALLOW)
    return {
        "TableName": table,
        "Key": account_key(account),
        "UpdateExpression": sets,
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def receipt(table: str, account: str, hold: StoredHold, cost_micros: int, record: Signed) -> Call:
    """PutItem: the record, and with it the cost, unless the sweeper has decided already."""
    return _verdict(table, account, hold, ("done", cost_micros, 0), signed_members(record))


def tombstone(table: str, account: str, hold: StoredHold) -> Call:
    """PutItem: the hold's time is over and it costs what it noted, unless a receipt stands."""
    return _verdict(table, account, hold, ("expired", hold.used_micros, hold.used_micros), {})


def stray(table: str, account: str, hold: StoredHold) -> Call:
    """PutItem: the number of a hold that a late write put back beside its settled receipt. It costs
    nothing, and without it the account's numbers would seem to have a gap."""
    call = _verdict(table, account, hold, ("expired", 0, 0), {})
    call["Item"]["sk"] = text(f"{hold.id}.{hold.seq}")
    return call


def settle(table: str, account: str, hold: StoredHold, cost_micros: int) -> Call:
    """UpdateItem: end a hold; the cost is spent, the rest is available again."""
    names = {"#id": hold.id}
    values = {
        ":refund": number(hold.micros - cost_micros),
        ":cost": number(cost_micros),
        ":held": number(hold.micros),
        ":seq": number(hold.seq),
    }
    sets = "SET avail = avail + :refund, spent = spent + :cost"
    if hold.day is not None:
        names["#day"] = hold.day
        values[":zero"] = _ZERO
        sets += ", d.#day = if_not_exists(d.#day, :zero) - :refund"
    return {
        "TableName": table,
        "Key": account_key(account),
        "UpdateExpression": f"{sets} REMOVE h.#id, q.#id",
        "ConditionExpression": HOLD_STANDS,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def late(
    table: str,
    account: str,
    hold_id: str,
    *,
    cost_micros: int,
    swept_micros: int,
    record: Signed,
    day: str | None,
) -> Call:
    """TransactWriteItems: the record takes the tombstone's place, the account pays the difference.

    The one write that may leave avail below zero: the call was answered, so it is owed.
    """
    signed = signed_members(record)
    answer = {
        "TableName": table,
        "Key": receipt_key(account, hold_id),
        "UpdateExpression": "SET st = :late, c = :cost, "
        + ", ".join(f"{name} = :{name}" for name in signed),
        "ConditionExpression": IS_TOMBSTONE,
        "ExpressionAttributeValues": {
            ":late": text("late"),
            ":expired": text("expired"),
            ":cost": number(cost_micros),
            **{f":{name}": value for name, value in signed.items()},
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    pay: Item = {
        "TableName": table,
        "Key": account_key(account),
        "UpdateExpression": "SET avail = avail - :more, spent = spent + :more",
        "ConditionExpression": ACCOUNT_EXISTS,
        "ExpressionAttributeValues": {":more": number(cost_micros - swept_micros)},
    }
    if day is not None:
        pay["UpdateExpression"] += ", d.#day = if_not_exists(d.#day, :zero) + :more"
        pay["ExpressionAttributeNames"] = {"#day": day}
        pay["ExpressionAttributeValues"][":zero"] = _ZERO
    return {"TransactItems": [{"Update": answer}, {"Update": pay}]}


def credit(table: str, account: str, micros: int, ref: str, now_s: int) -> Call:
    """TransactWriteItems: top up once per reference."""
    reference = {
        "TableName": table,
        "Item": {
            "pk": text(credit_pk(account)),
            "sk": text(ref),
            "c": number(micros),
            "at": number(now_s),
        },
        "ConditionExpression": REF_IS_NEW,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    top_up = {
        "TableName": table,
        "Key": account_key(account),
        "UpdateExpression": "SET avail = avail + :micros, top = top + :micros",
        "ConditionExpression": ACCOUNT_EXISTS,
        "ExpressionAttributeValues": {":micros": number(micros)},
    }
    return {"TransactItems": [{"Put": reference}, {"Update": top_up}]}


def trim(table: str, account: str, counters: dict[str, list[str]]) -> Call:
    """UpdateItem: remove counters that nobody needs; they only grow old, so without condition."""
    names: dict[str, str] = {}
    paths = []
    for attribute, entries in counters.items():
        for entry in entries[:TRIM_MAX]:
            names[f"#n{len(names)}"] = entry
            paths.append(f"{attribute}.#n{len(names) - 1}")
    return {
        "TableName": table,
        "Key": account_key(account),
        "UpdateExpression": "REMOVE " + ", ".join(paths),
        "ConditionExpression": ACCOUNT_EXISTS,
        "ExpressionAttributeNames": names,
    }


def _held(request: HoldRequest) -> int:
    return 0 if request.is_refusal else request.micros


def _verdict(
    table: str, account: str, hold: StoredHold, decided: tuple[str, int, int], signed: Item
) -> Call:
    state, cost_micros, swept_micros = decided
    item = receipt_key(account, hold.id) | {
        "st": text(state),
        "c": number(cost_micros),
        "p": number(swept_micros),
        "s": number(hold.seq),
        "ttl": number(seconds_of(hold.id) + RECEIPT_DAYS * DAY_S),
        **signed,
    }
    return {
        "TableName": table,
        "Item": item,
        "ConditionExpression": VERDICT_IS_OPEN,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


_COUNTED = "w.#now = if_not_exists(w.#now, :zero) + :one"
_HOLD_SET = (
    "SET avail = avail - :x, seq = seq + :one, h.#id = :hold, q.#id = seq + :one, " + _COUNTED
)
