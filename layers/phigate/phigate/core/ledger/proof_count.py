"""Counts what a key asks of RedPill's surface, in the account's item, as its calls are.

Law: nothing is signed and no upstream is asked before the count stands, so a key that was disabled
gets nothing, whatever is cached. A count whose outcome was unknown may count twice.

    A#<account>#S0       w{"key:proofs:minute": signatures and reports}
"""

from phigate.core.ledger.account import count_refusal
from phigate.core.ledger.port import CountRefusal
from phigate.core.ledger.writes import Call, count_call
from phigate.core.limits import PROOFS_PER_MINUTE_MAX

ProofRefusal = CountRefusal
refusal = count_refusal


def count(table: str, account: str, key_id: str, now_s: int) -> Call:
    """UpdateItem: one more in this minute."""
    return count_call(
        table, account, key_id, now_s=now_s, rpm=PROOFS_PER_MINUTE_MAX, kind="proofs:"
    )
