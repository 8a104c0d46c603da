"""The ledger's promises one by one, each told on the fake and on a real engine."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from phigate.core.errors import Overloaded
from phigate.core.ledger.hold import IllegalTransition, OpenHold, StoredHold
from phigate.core.ledger.port import HoldRefused, HoldRequest, Swept
from phigate.core.limits import HOLDS_MAX, LEDGER_TRIES_MAX, REFUSALS_PER_MINUTE_MAX
from phigate.core.receipts.record import Signed
from phigate.effects.store.admin import CreditRefUsed, NoSuchAccount
from phigate.effects.store.ledger import DynamoLedger
from tests.fakes import FAULTS, FakeDynamo, Fault
from tests.ledger.conftest import RealStore
from tests.ledger.ledger_harness import NOW_S, LedgerHarness, drive
from tests.ledger.simulation import stored_of

RECORD = Signed(
    payload=b'{"row":"simulated","tokens_in":100,"tokens_out":50}' * 8,
    kid="kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    signature=bytes(range(64)),
    text_signature=bytes(range(64, 128)),
)


@pytest.fixture(params=["fake", "real"])
def harness(request: pytest.FixtureRequest) -> LedgerHarness:
    """The same stories on both engines."""
    if request.param == "fake":
        return LedgerHarness(FakeDynamo().execute, "acme")
    store: RealStore = request.getfixturevalue("real_store")
    return LedgerHarness(store.execute, store.account())


def held_by(ledger: DynamoLedger, request: HoldRequest) -> OpenHold:
    """A hold that stands."""
    held = drive(ledger.hold(request))
    assert isinstance(held, OpenHold), held
    return held


def hold(harness: LedgerHarness, **changes: Any) -> OpenHold:
    """A hold of a process that is not heard of again."""
    return held_by(harness.ledger(), harness.request(**changes))


def write(ledger: DynamoLedger, held: OpenHold, cost_micros: int) -> OpenHold:
    """The hold once its receipt is written."""
    return drive(ledger.put_receipt(held.writing(cost_micros), RECORD))


def extend(ledger: DynamoLedger, held: OpenHold, micros: int, used_micros: int) -> OpenHold | None:
    """The hold once it is extended; None where it is not."""
    return drive(ledger.extend_hold(held.noting(used_micros), micros, used_micros))


def test_a_call_costs_what_its_receipt_says_and_the_rest_comes_back(harness: LedgerHarness) -> None:
    harness.open(1_000)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(400))
    stored = StoredHold(held.id, 1, 400, NOW_S + 100)
    assert held == OpenHold(
        harness.account, stored, "held", 0, calls_this_minute=1, available_micros=600
    )
    written = write(ledger, held, 48)
    assert (written.state, written.cost_micros) == ("done", 48)
    drive(ledger.settle(written))
    view = harness.view()
    assert (view.available_micros, view.held_micros, view.spent_micros) == (952, 0, 48)
    receipt = drive(harness.ledger().receipt(harness.account, held.id))
    assert receipt is not None
    assert (receipt.state, receipt.cost_micros, receipt.signed) == ("done", 48, RECORD)


def test_a_call_takes_three_writes_and_no_read(harness: LedgerHarness) -> None:
    harness.open(1_000)
    ledger = harness.ledger()
    harness.sent.clear()
    held = held_by(ledger, harness.request(400))
    drive(ledger.settle(write(ledger, held, 48)))
    assert len(harness.sent) == 3


def test_the_reason_of_a_refusal_is_the_first_in_the_table(harness: LedgerHarness) -> None:
    harness.open(50)
    bad: dict[str, Any] = {"key_id": "k2", "micros": 40, "rpm": 0, "spend_limit_micros": 5}
    drive(harness.ledger().hold(harness.request(30)))

    def reason(**mended: Any) -> str:
        refused = drive(harness.ledger().hold(harness.request(**(bad | mended))))
        assert isinstance(refused, HoldRefused)
        return refused.reason

    assert reason() == "key"
    assert reason(key_id="k1") == "credit"
    assert reason(key_id="k1", micros=6) == "spend_limit"
    assert reason(key_id="k1", micros=5) == "rate"
    assert harness.view().holds == 1
    assert harness.view().seq == 1


def test_a_refusal_for_credit_says_what_there_is(harness: LedgerHarness) -> None:
    harness.open(50)
    refused = drive(harness.ledger().hold(harness.request(51)))
    assert refused == HoldRefused("credit", available_micros=50)


def test_exactly_all_credit_can_be_held(harness: LedgerHarness) -> None:
    harness.open(50)
    assert hold(harness, micros=50).available_micros == 0


def test_an_unknown_account_has_no_key(harness: LedgerHarness) -> None:
    harness.open(50)
    request = replace(harness.request(), account="nobody")
    assert drive(harness.ledger().hold(request)) == HoldRefused("key")
    assert drive(harness.ledger().account("nobody")) is None
    assert drive(harness.ledger().sweep("nobody", NOW_S)) == Swept("nobody", 0, 0, 0)


def test_a_key_that_is_switched_off_holds_nothing_more(harness: LedgerHarness) -> None:
    harness.open(50)
    harness.switch("k1", on=False)
    assert drive(harness.ledger().hold(harness.request())) == HoldRefused("key", 50)
    refusal = harness.request(is_refusal=True)
    assert drive(harness.ledger().hold(refusal)) == HoldRefused("key", 50)


def test_holds_have_a_greatest_number(harness: LedgerHarness) -> None:
    harness.open(10_000)
    for _ in range(HOLDS_MAX):
        hold(harness, micros=1)
    refused = drive(harness.ledger().hold(harness.request(1)))
    assert refused == HoldRefused("holds", 10_000 - HOLDS_MAX)


def test_the_rate_is_per_key_and_minute(harness: LedgerHarness) -> None:
    harness.open(1_000)
    harness.switch("k2", on=True)
    assert [hold(harness, rpm=2).calls_this_minute for _ in range(2)] == [1, 2]
    refused = drive(harness.ledger().hold(harness.request(rpm=2)))
    assert isinstance(refused, HoldRefused)
    assert refused.reason == "rate"
    assert hold(harness, rpm=2, key_id="k2").calls_this_minute == 1
    harness.clock.time_s += 60
    assert hold(harness, rpm=2).calls_this_minute == 1


def test_refusals_need_no_credit_and_have_a_counter_of_their_own(harness: LedgerHarness) -> None:
    harness.open(0)
    for _ in range(REFUSALS_PER_MINUTE_MAX):
        assert hold(harness, micros=7, rpm=0, is_refusal=True).micros == 0
    refused = drive(harness.ledger().hold(harness.request(is_refusal=True)))
    assert refused == HoldRefused("refusals")
    view = harness.view()
    assert (view.held_micros, view.holds) == (0, REFUSALS_PER_MINUTE_MAX)
    harness.clock.time_s += 60
    assert hold(harness, is_refusal=True).calls_this_minute == 0


def test_every_hold_has_the_next_number(harness: LedgerHarness) -> None:
    harness.open(100)
    assert hold(harness).seq == 1
    assert isinstance(drive(harness.ledger().hold(harness.request(1_000))), HoldRefused)
    assert hold(harness, is_refusal=True).seq == 2
    assert hold(harness).seq == 3


def test_the_spend_limit_counts_holds_and_charges_of_the_utc_day(harness: LedgerHarness) -> None:
    harness.open(1_000)
    ledger = harness.ledger()
    limit = {"spend_limit_micros": 100}
    held = held_by(ledger, harness.request(60, **limit))
    over = drive(harness.ledger().hold(harness.request(50, **limit)))
    assert isinstance(over, HoldRefused)
    assert over.reason == "spend_limit"
    drive(ledger.settle(write(ledger, held, 45)))
    assert hold(harness, micros=55, **limit).micros == 55
    assert isinstance(drive(harness.ledger().hold(harness.request(1, **limit))), HoldRefused)
    harness.clock.time_s += 86_400
    assert hold(harness, micros=100, **limit).micros == 100


def test_a_hold_settled_after_midnight_pays_back_to_its_own_day(harness: LedgerHarness) -> None:
    harness.open(1_000)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60, spend_limit_micros=100))
    harness.clock.time_s += 86_400
    hold(harness, micros=100, spend_limit_micros=100)
    drive(ledger.settle(write(ledger, held, 45)))
    days = {name[-8:]: entry["N"] for name, entry in harness.item()["d"]["M"].items()}
    assert days == {"20260921": "45", "20260922": "100"}


def test_a_raise_past_the_spend_limit_is_refused(harness: LedgerHarness) -> None:
    harness.open(1_000)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60, spend_limit_micros=100))
    assert extend(ledger, held, 101, 5) is None
    extended = extend(ledger, held, 100, 5)
    assert extended is not None
    assert (extended.state, extended.micros, extended.stored.used_micros) == ("used", 100, 5)
    # Once more by what was known before, and by what is known now.
    assert extend(ledger, held, 100, 5) == extended
    assert extend(ledger, extended, 100, 5) == extended
    assert harness.view().held_micros == 100


def test_a_raise_that_credit_does_not_cover_leaves_the_hold(harness: LedgerHarness) -> None:
    harness.open(100)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60))
    assert extend(ledger, held, 101, 5) is None
    assert (harness.view().held_micros, harness.view().available_micros) == (60, 40)


def test_a_hold_past_its_time_costs_what_it_noted(harness: LedgerHarness) -> None:
    harness.open(100)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60))
    extend(ledger, held, 80, 5)
    assert drive(harness.ledger().sweep(harness.account, NOW_S + 99)) == Swept(
        harness.account, 0, 0, 0
    )
    swept = drive(harness.ledger().sweep(harness.account, NOW_S + 100))
    assert swept == Swept(harness.account, expired=1, settled=0, charged_micros=5)
    assert (harness.view().spent_micros, harness.view().available_micros) == (5, 95)
    tombstone = drive(harness.ledger().receipt(harness.account, held.id))
    assert tombstone is not None
    assert (tombstone.state, tombstone.cost_micros, tombstone.signed) == ("expired", 5, None)


def test_a_call_that_ended_before_its_settle_is_settled_by_its_receipt(
    harness: LedgerHarness,
) -> None:
    harness.open(100)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60))
    written = write(ledger, held, 48)
    swept = drive(harness.ledger().sweep(harness.account, NOW_S + 100))
    assert swept == Swept(harness.account, expired=0, settled=1, charged_micros=48)
    drive(ledger.settle(written))
    assert harness.view().spent_micros == 48


def test_a_late_call_pays_the_difference_once(harness: LedgerHarness) -> None:
    harness.open(60)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60))
    drive(harness.ledger().sweep(harness.account, NOW_S + 100))
    hold(harness, micros=60)
    for _ in range(2):
        assert write(ledger, held, 48).state == "late"
    view = harness.view()
    assert (view.available_micros, view.held_micros, view.spent_micros) == (-48, 60, 48)
    receipt = drive(harness.ledger().receipt(harness.account, held.id))
    assert receipt is not None
    assert (receipt.state, receipt.cost_micros, receipt.signed) == ("late", 48, RECORD)


def test_a_hold_names_the_others_that_are_past_their_time(harness: LedgerHarness) -> None:
    harness.open(100)
    old = hold(harness, expires_at_s=NOW_S + 5)
    harness.clock.time_s += 6
    assert hold(harness).expired == (old.id,)


def test_a_sweep_removes_counters_that_a_pause_has_left(harness: LedgerHarness) -> None:
    harness.open(1_000)
    for _ in range(3):
        hold(harness, spend_limit_micros=500)
        harness.clock.time_s += 5 * 86_400
    hold(harness, spend_limit_micros=500)
    assert len(harness.item()["w"]["M"]) == 4
    drive(harness.ledger().sweep(harness.account, int(harness.clock.time_s)))
    assert len(harness.item()["w"]["M"]) == 1
    drive(harness.ledger().sweep(harness.account, int(harness.clock.time_s)))
    assert len(harness.item()["d"]["M"]) == 1
    assert harness.view().spent_micros == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_bytes_are_sent_until_the_outcome_is_known(
    harness: LedgerHarness, fault: Fault
) -> None:
    harness.open(100)
    harness.sent.clear()
    ledger = harness.ledger([fault] * (LEDGER_TRIES_MAX - 1))
    held = held_by(ledger, harness.request(60))
    assert (held.micros, held.seq, held.available_micros) == (60, 1, 40)
    assert all(payload == harness.sent[0] for payload in harness.sent)
    assert harness.view().seq == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_tries_have_an_end(harness: LedgerHarness, fault: Fault) -> None:
    harness.open(100)
    started_s = harness.clock.time_s
    with pytest.raises(Overloaded):
        drive(harness.ledger([fault] * LEDGER_TRIES_MAX).hold(harness.request(60)))
    assert 0 < harness.clock.time_s - started_s < 2
    drive(harness.ledger().sweep(harness.account, NOW_S + 1_000))
    assert (harness.view().available_micros, harness.view().holds) == (100, 0)


def test_a_refusal_may_follow_a_hold_of_unknown_outcome_under_the_same_id(
    harness: LedgerHarness,
) -> None:
    harness.open(100)
    request = harness.request(60)
    ledger = harness.ledger(["lost_after"] * LEDGER_TRIES_MAX)
    with pytest.raises(Overloaded):
        drive(ledger.hold(request))
    held = held_by(ledger, replace(request, micros=0, is_refusal=True))
    drive(ledger.settle(write(ledger, held, 0)))
    assert (harness.view().available_micros, harness.view().holds) == (100, 0)


def settle_by_sweeper(harness: LedgerHarness, written: OpenHold) -> None:
    """The sweeper comes."""
    drive(harness.ledger().sweep(harness.account, NOW_S + 100))


def settle_by_what_is_stored(harness: LedgerHarness, written: OpenHold) -> None:
    """A process settles that knows of the hold what is stored of it."""
    stored = drive(stored_of(harness, harness.clock, written))
    drive(harness.ledger().settle(stored))


def settle_first_after_sweeper(harness: LedgerHarness, written: OpenHold) -> None:
    """The process that made the hold settles for the first time, by what it knows."""
    drive(harness.ledger().settle(written))


@pytest.mark.parametrize(
    "then",
    [settle_by_sweeper, settle_by_what_is_stored, settle_first_after_sweeper],
    ids=lambda f: f.__name__,
)
def test_a_settled_hold_that_a_stray_write_puts_back_is_not_charged_again(
    harness: LedgerHarness, then: Callable[[LedgerHarness, OpenHold], None]
) -> None:
    harness.open(200)
    ledger = harness.ledger()
    request = harness.request(60)
    harness.sent.clear()
    held = held_by(ledger, request)
    stray = harness.sent[0]
    written = write(ledger, held, 48)
    drive(harness.ledger().sweep(harness.account, NOW_S + 100))
    harness.execute("UpdateItem", stray)
    assert harness.view().held_micros == 60
    then(harness, written)
    drive(harness.ledger().sweep(harness.account, NOW_S + 100))
    view = harness.view()
    assert (view.spent_micros, view.held_micros, view.available_micros) == (48, 0, 152)


def test_a_raise_of_unknown_outcome_may_have_noted_usage(harness: LedgerHarness) -> None:
    harness.open(100)
    lost: list[Fault | None] = ["lost_after"] * LEDGER_TRIES_MAX
    ledger = harness.ledger([None, *lost])
    held = held_by(ledger, harness.request(60))
    noting = held.noting(5)
    with pytest.raises(Overloaded):
        drive(ledger.extend_hold(noting, 80, 5))
    with pytest.raises(IllegalTransition):
        drive(ledger.settle(noting))
    drive(ledger.settle(write(ledger, noting, 7)))
    assert (harness.view().available_micros, harness.view().held_micros) == (93, 0)


def test_a_receipt_above_its_hold_is_not_charged_but_named(harness: LedgerHarness) -> None:
    harness.open(100)
    held = hold(harness, micros=60)
    receipt = {
        "pk": {"S": f"R#{harness.account}#2026-09-21"},
        "sk": {"S": held.id},
        "st": {"S": "done"},
        "c": {"N": "61"},
        "p": {"N": "0"},
        "s": {"N": str(held.seq)},
    }
    harness.execute("PutItem", {"TableName": "phigate", "Item": receipt})
    with pytest.raises(IllegalTransition, match="above its hold"):
        drive(harness.ledger().sweep(harness.account, NOW_S + 100))
    assert (harness.view().spent_micros, harness.view().held_micros) == (0, 60)


Wrong = Callable[[DynamoLedger, OpenHold], Any]
ILLEGAL: dict[str, Wrong] = {
    "a charge without a receipt": lambda ledger, held: ledger.settle(replace(held, cost_micros=1)),
    "a receipt above the hold": lambda ledger, held: ledger.put_receipt(held.writing(61), RECORD),
    "a receipt that pays the caller": lambda ledger, held: ledger.put_receipt(
        held.writing(-1), RECORD
    ),
    "a receipt without a hold": lambda ledger, held: ledger.put_receipt(
        replace(held, state="absent").writing(0), RECORD
    ),
    "a receipt that nobody knows of": lambda ledger, held: ledger.put_receipt(held, RECORD),
    "a charge without a hold": lambda ledger, held: ledger.settle(
        replace(held, state="absent", cost_micros=5)
    ),
    "a raise that lowers": lambda ledger, held: ledger.extend_hold(held.noting(0), 59, 0),
    "a raise whose usage nobody knows of": lambda ledger, held: ledger.extend_hold(held, 70, 5),
    "usage above what is held": lambda ledger, held: ledger.extend_hold(held.noting(71), 70, 71),
}


@pytest.mark.parametrize("name", ILLEGAL)
@pytest.mark.parametrize("remembers", [True, False])
def test_an_illegal_step_is_named_and_writes_nothing(
    harness: LedgerHarness, name: str, remembers: bool
) -> None:
    harness.open(100)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60))
    before = harness.item()
    known = held if remembers else drive(stored_of(harness, harness.clock, held))
    with pytest.raises(IllegalTransition):
        drive(ILLEGAL[name](ledger, known))
    assert harness.item() == before
    assert drive(harness.ledger().receipt(harness.account, held.id)) is None


def test_a_raise_of_another_amount_is_refused_and_writes_nothing(harness: LedgerHarness) -> None:
    harness.open(100)
    ledger = harness.ledger()
    held = held_by(ledger, harness.request(60))
    before = harness.item()
    other = replace(held, stored=replace(held.stored, micros=50))
    assert extend(ledger, other, 70, 0) is None
    assert harness.item() == before


def test_a_hold_that_notes_usage_is_not_voided(harness: LedgerHarness) -> None:
    harness.open(100)
    ledger = harness.ledger()
    extended = extend(ledger, held_by(ledger, harness.request(60)), 60, 5)
    assert extended is not None
    with pytest.raises(IllegalTransition):
        drive(ledger.settle(extended))


def test_a_hold_is_not_voided_while_its_receipt_is_in_doubt(harness: LedgerHarness) -> None:
    harness.open(100)
    lost: list[Fault | None] = ["lost_after"] * LEDGER_TRIES_MAX
    ledger = harness.ledger([None, *lost])
    writing = held_by(ledger, harness.request(60)).writing(48)
    with pytest.raises(Overloaded):
        drive(ledger.put_receipt(writing, RECORD))
    with pytest.raises(IllegalTransition):
        drive(ledger.settle(writing))
    drive(harness.ledger().sweep(harness.account, NOW_S + 100))
    assert (harness.view().spent_micros, harness.view().available_micros) == (48, 52)


def test_a_receipt_keeps_its_cost(harness: LedgerHarness) -> None:
    harness.open(100)
    ledger = harness.ledger()
    other = write(ledger, held_by(ledger, harness.request(60)), 48).writing(20)
    with pytest.raises(IllegalTransition):
        drive(ledger.put_receipt(other, RECORD))
    with pytest.raises(IllegalTransition):
        drive(ledger.settle(other))


def test_credit_comes_once_per_reference(harness: LedgerHarness) -> None:
    harness.open(0)
    admin = harness.admin()
    assert drive(admin.add_credit(harness.account, 40, "invoice 7")) is True
    assert drive(admin.add_credit(harness.account, 40, "invoice 7")) is False
    with pytest.raises(CreditRefUsed):
        drive(admin.add_credit(harness.account, 41, "invoice 7"))
    assert drive(admin.add_credit(harness.account, 2, "invoice 8")) is True
    assert (harness.view().available_micros, harness.view().topped_up_micros) == (42, 42)


def test_credit_makes_no_account(harness: LedgerHarness) -> None:
    harness.open(0)
    with pytest.raises(NoSuchAccount):
        drive(harness.admin().add_credit("nobody", 40, "invoice 7"))
    assert drive(harness.ledger().account("nobody")) is None


@pytest.mark.parametrize(("micros", "ref"), [(0, "r"), (-5, "r"), (5, ""), (5, "x" * 257)])
def test_credit_is_above_zero_and_has_a_reference(
    harness: LedgerHarness, micros: int, ref: str
) -> None:
    harness.open(0)
    with pytest.raises(ValueError, match="a credit is above 0"):
        drive(harness.admin().add_credit(harness.account, micros, ref))


def test_an_account_is_made_once(harness: LedgerHarness) -> None:
    harness.open(40)
    assert drive(harness.admin().create_account(harness.account)) is False
    assert harness.view().available_micros == 40
    assert harness.account in drive(harness.ledger().accounts())


def test_every_account_is_swept_although_one_cannot_be(harness: LedgerHarness) -> None:
    harness.open(40)
    hold(harness)
    request: HoldRequest = harness.request()
    broken = LedgerHarness(harness.execute, harness.account + "-broken")
    broken.open(40)
    held = hold(broken)
    harness.execute(
        "PutItem",
        {
            "TableName": "phigate",
            "Item": {
                "pk": {"S": f"R#{broken.account}#2026-09-21"},
                "sk": {"S": held.id},
                "st": {"S": "from a later version"},
            },
        },
    )
    swept, failed = drive(harness.ledger().sweep_all(request.expires_at_s))
    assert broken.account in failed
    assert harness.account not in failed
    assert Swept(harness.account, 1, 0, 0) in swept
