"""The ledger's pure part: steps, names, and the words that DynamoDB keeps for itself."""

import re
from importlib import resources
from typing import get_args

import pytest

from phigate.core.attributes import mapping, number, text
from phigate.core.ledger import writes
from phigate.core.ledger.account import (
    ReceiptState,
    check_account,
    stale_counters,
    state_of,
    swept_charge,
    verdict_of,
)
from phigate.core.ledger.hold import (
    STEPS,
    Event,
    IllegalTransition,
    State,
    StoredHold,
    transition,
)
from phigate.core.ledger.port import HoldRequest
from phigate.core.receipts.record import Signed

HOLD = StoredHold(id="AGqxO4AAAAAAAAAA", seq=7, micros=100, expires_at_s=1_790_000_100)
USED = StoredHold(id=HOLD.id, seq=7, micros=100, expires_at_s=HOLD.expires_at_s, used_micros=9)
LIMITED = StoredHold(
    id=HOLD.id,
    seq=7,
    micros=100,
    expires_at_s=HOLD.expires_at_s,
    day="k1:20260921",
    spend_limit_micros=500,
)
NOW_S = 1_790_000_000

DONE = ReceiptState("done", seq=7, cost_micros=48, swept_micros=0)
EXPIRED = ReceiptState("expired", seq=7, cost_micros=9, swept_micros=9)
LATE = ReceiptState("late", seq=7, cost_micros=48, swept_micros=9)
OF_ANOTHER_SEQ = ReceiptState("done", seq=6, cost_micros=48, swept_micros=0)

# (hold, verdict) -> the state, and what a sweeper charges where there is something to sweep.
STATES: dict[str, tuple[StoredHold | None, ReceiptState | None, State, int | None]] = {
    "nothing stands": (None, None, "absent", None),
    "a hold stands": (HOLD, None, "held", None),
    "a hold that notes usage": (USED, None, "used", None),
    "a receipt not yet settled": (HOLD, DONE, "done", 48),
    "a receipt that was settled": (None, DONE, "settled", None),
    "a tombstone": (USED, EXPIRED, "expired", 9),
    "a tombstone that was settled": (None, EXPIRED, "expired", None),
    "a late receipt before the sweeper settled": (USED, LATE, "late", 9),
    "a hold that a stray write put back": (HOLD, OF_ANOTHER_SEQ, "settled", 0),
}

# What a sweeper removes from `w` and `d` at NOW_S, 14:13:20 on 21 September 2026.
MINUTE = NOW_S // 60
COUNTERS = {
    "this minute": ("w", f"k1:{MINUTE}", False),
    "the minute before": ("w", f"k1:{MINUTE - 1}", False),
    "two minutes ago": ("w", f"k1:{MINUTE - 2}", True),
    "refusals of this minute": ("w", f"k1:{MINUTE}r", False),
    "refusals of two minutes ago": ("w", f"k1:{MINUTE - 2}r", True),
    "a minute to come": ("w", f"k1:{MINUTE + 5}", False),
    "today": ("d", "k1:20260921", False),
    "yesterday": ("d", "k1:20260920", False),
    "the day before yesterday": ("d", "k1:20260919", True),
    "last year": ("d", "k1:20251231", True),
}

NOT_ACCOUNTS = ("", "a#b", "#", "a b", "a/b", "-a", ".a", "a" * 65, "a\n", "ä", "a:b")

REQUEST = HoldRequest(
    account="acme",
    key_id="k1",
    id=HOLD.id,
    micros=100,
    expires_at_s=NOW_S + 100,
    now_s=NOW_S,
    rpm=600,
    spend_limit_micros=500,
)
SIGNED = Signed(b"{}", "k" * 42 + "A", bytes(64))
LATE_CALL = writes.late(
    "t", "acme", HOLD.id, cost_micros=1, swept_micros=0, record=SIGNED, day="k1:20260921"
)
EXPRESSIONS = {
    "hold": writes.hold("t", REQUEST),
    "extend": writes.extend_hold("t", "acme", LIMITED, 200, 9),
    "receipt": writes.receipt("t", "acme", HOLD, 48, SIGNED),
    "tombstone": writes.tombstone("t", "acme", HOLD),
    "stray": writes.stray("t", "acme", HOLD),
    "settle": writes.settle("t", "acme", LIMITED, 48),
    "late receipt": LATE_CALL["TransactItems"][0]["Update"],
    "late payment": LATE_CALL["TransactItems"][1]["Update"],
    "credit": writes.credit("t", "acme", 5, "r", 1)["TransactItems"][1]["Update"],
    "trim": writes.trim("t", "acme", {"w": ["k1:1"], "d": ["k1:20250101"]}),
}


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("event", get_args(Event))
def test_a_step_that_is_not_in_the_table_is_illegal(state: State, event: Event) -> None:
    if event in STEPS[state]:
        assert transition(state, event) in STEPS
    else:
        with pytest.raises(IllegalTransition, match=f"{state} does not take {event}"):
            transition(state, event)


@pytest.mark.parametrize("name", STATES)
def test_what_is_stored_tells_the_state(name: str) -> None:
    hold, verdict, state, _ = STATES[name]
    assert state_of(hold, verdict) == state


@pytest.mark.parametrize("name", [name for name, row in STATES.items() if row[3] is not None])
def test_a_sweeper_charges_what_the_verdict_says_of_this_very_hold(name: str) -> None:
    hold, verdict, _, charge = STATES[name]
    assert hold is not None
    assert verdict is not None
    assert swept_charge(hold, verdict) == charge


@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter_goes_when_nobody_needs_it(name: str) -> None:
    attribute, counter, is_stale = COUNTERS[name]
    item = {attribute: mapping({counter: number(1)})}
    assert (counter in stale_counters(item, NOW_S)[attribute]) is is_stale


def test_a_day_that_a_hold_will_pay_back_to_stays() -> None:
    entry = mapping({"a": number(1), "e": number(1), "d": text("k1:20260919")})
    item = {"d": mapping({"k1:20260919": number(1)}), "h": mapping({HOLD.id: entry})}
    assert stale_counters(item, NOW_S)["d"] == []


@pytest.mark.parametrize("account", NOT_ACCOUNTS)
def test_a_name_that_could_be_taken_for_a_part_of_a_key_is_no_account(account: str) -> None:
    with pytest.raises(ValueError, match="an account is"):
        check_account(account)


@pytest.mark.parametrize("account", ["a", "ACME-west_2.test", "a" * 64, "0"])
def test_an_account_is_letters_digits_and_three_signs(account: str) -> None:
    assert check_account(account) == account


def test_a_receipt_in_an_unknown_state_is_not_guessed_at() -> None:
    with pytest.raises(IllegalTransition):
        verdict_of({"st": text("refunded")})


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_no_expression_uses_a_word_that_dynamodb_reserves(name: str) -> None:
    listed = resources.files("moto.dynamodb.parsing") / "reserved_keywords.txt"
    reserved = set(listed.read_text(encoding="utf-8").upper().split())
    call = EXPRESSIONS[name]
    written = f"{call.get('UpdateExpression', '')} {call.get('ConditionExpression', '')}"
    bare = set(re.findall(r"(?<![:#\w])[A-Za-z_]\w*", written))
    grammar = {"SET", "REMOVE", "AND", "OR", "size"}
    assert len(reserved) > 500
    assert {word for word in bare - grammar if word.upper() in reserved} == set()
