"""Counts what a key asks of RedPill's surface, in the account's item, as its calls are.

Law: nothing is signed and no upstream is asked before the count stands, so a key that was disabled
gets nothing, whatever is cached. A count whose outcome was unknown may count twice.

    A#<account>#S0       w{"key:proofs:minute": signatures and reports}
"""

from collections.abc import Mapping
from typing import Any, Literal

from phigate.core.account_writes import KEY_IS_ON, RATE_ALLOWS, Call, account_key
from phigate.core.attributes import flag, flag_at, map_at, number
from phigate.core.limits import PROOFS_PER_MINUTE_MAX

ProofRefusal = Literal["key", "rate"]


def count(table: str, account: str, key_id: str, now_s: int) -> Call:
    """UpdateItem: one more in this minute. Those of the two minutes before go, as a hold's do."""
    minute = now_s // 60
    names = {"#now": minute, "#prev": minute - 1, "#prev2": minute - 2}
    return {
        "TableName": table,
        "Key": account_key(account),
        "UpdateExpression": "SET w.#now = if_not_exists(w.#now, :zero) + :one "
        "REMOVE w.#prev, w.#prev2",
        "ConditionExpression": f"{KEY_IS_ON} AND {RATE_ALLOWS}",
        "ExpressionAttributeNames": {
            "#key": key_id,
            **{name: f"{key_id}:proofs:{at}" for name, at in names.items()},
        },
        "ExpressionAttributeValues": {
            ":true": flag(True),
            ":zero": number(0),
            ":one": number(1),
            ":rpm": number(PROOFS_PER_MINUTE_MAX),
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def refusal(item: Mapping[str, Any] | None, key_id: str) -> ProofRefusal:
    """Why it was not counted, by the account as it stood (ALL_OLD)."""
    is_on = item is not None and flag_at(map_at(item, "k"), key_id)
    return "rate" if is_on else "key"
