"""Whatever becomes of a closer, a day ends with one digest, and the chain is sound."""

import asyncio
import random

import pytest

from bench.audit_plan import Traffic
from phigate.core.attributes import number
from phigate.core.ledger.account import account_pk
from phigate.core.receipts.days import DAY_S, begins_at_s
from phigate.core.receipts.ids import new_id
from phigate.effects.audit.day_closer import RETRY_AFTER_S, Closing, DayCloser
from phigate.effects.signing.key_files import LOCAL_STACK
from phigate.effects.signing.signer import Signer
from phigate.effects.store.dynamodb import Dynamo, NotAccepted
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.roots import DIGESTS
from phigate.wire.jwk import Jwk
from tests.fakes import FakeRoot, Fault, FaultyDynamo, Item
from tests.verify.account_fixture import AccountFixture, is_receipt, put_hold

TRAFFIC = Traffic("clinic", "2026-07-01", days=5, per_day=4)
HOUR_S = 3_600
OPEN = AccountFixture.kept(TRAFFIC, is_closed=False)
WRITES = frozenset({"PutItem", "UpdateItem", "TransactWriteItems"})


class Crash(Exception):  # named by what happened, like every error here
    """The process ends here."""


class CrashingDynamo:
    """Ends its process right after a write: the first, the second, …"""

    def __init__(self, inner: Dynamo, after: int) -> None:
        self.table = inner.table
        self._inner = inner
        self._left = after

    async def call(self, operation: str, payload: Item) -> Item:
        """Pass the call on; the answer to the last one is never seen."""
        answer = await self._inner.call(operation, payload)
        self._left -= operation in WRITES
        if operation in WRITES and self._left == 0:
            raise Crash
        return answer


class RefusingDynamo:
    """A store that does not accept calls about one partition."""

    def __init__(self, inner: Dynamo, pk: str) -> None:
        self.table = inner.table
        self._inner = inner
        self._pk = pk

    async def call(self, operation: str, payload: Item) -> Item:
        """Pass the call on, unless it is about that partition."""
        if payload.get("Key", {}).get("pk") == {"S": self._pk}:
            raise NotAccepted(operation)
        return await self._inner.call(operation, payload)


class YieldingDynamo:
    """Lets others run before every call, now longer, now shorter: processes overtake each other."""

    def __init__(self, inner: Dynamo, seed: int) -> None:
        self.table = inner.table
        self._inner = inner
        self._random = random.Random(seed)

    async def call(self, operation: str, payload: Item) -> Item:
        """Wait some turns, then pass the call on."""
        for _ in range(self._random.randrange(6)):
            await asyncio.sleep(0)
        return await self._inner.call(operation, payload)


class YieldingRoot:
    """A root that takes its time, as KMS does."""

    def __init__(self, inner: Signer) -> None:
        self._inner = inner

    async def jwk(self) -> Jwk:
        """As the Protocol says."""
        return await self._inner.jwk()

    async def sign(self, message: bytes) -> bytes:
        """As the Protocol says."""
        await asyncio.sleep(0)
        return await self._inner.sign(message)

    async def sign_digest(self, digest: bytes) -> bytes:
        """As the Protocol says."""
        return await self._inner.sign_digest(digest)


@pytest.fixture
def fixture() -> AccountFixture:
    """AccountFixture of which no day is closed, the morning after the last one."""
    copy = OPEN.copy()
    copy.operator.clock.time_s = begins_at_s(copy.day(4)) + DAY_S + HOUR_S
    return copy


def closer(
    fixture: AccountFixture, dynamo: Dynamo | None = None, root: Signer | None = None
) -> DayCloser:
    """A closer that remembers nothing, as a new process is."""
    dynamo = fixture.dynamo if dynamo is None else dynamo
    return DayCloser(
        ledger=DynamoLedger(dynamo, fixture.operator.clock),
        receipts=DynamoReceipts(dynamo, fixture.operator.clock),
        root=fixture.operator.signers[DIGESTS] if root is None else root,
        clock=fixture.operator.clock,
        stack=LOCAL_STACK,
    )


def closed_days(fixture: AccountFixture) -> list[str]:
    return sorted(name[1] for name in fixture.items if name[0] == f"D#{TRAFFIC.account}")


def is_sound(fixture: AccountFixture) -> bool:
    """All days are closed and the audit finds nothing."""
    report = fixture.audit()
    return report.found == [] and report.days_closed == TRAFFIC.days


def test_every_day_that_ended_is_closed_in_order(fixture: AccountFixture) -> None:
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert closing == Closing("clinic", tuple(fixture.day(n) for n in range(5)))
    assert is_sound(fixture)


def test_a_second_time_changes_nothing(fixture: AccountFixture) -> None:
    asyncio.run(closer(fixture).close("clinic"))
    before = dict(fixture.items)
    assert asyncio.run(closer(fixture).close("clinic")).days == ()
    assert fixture.items == before


@pytest.mark.parametrize(
    ("after_midnight_s", "days"),
    [(-1, 3), (0, 3), (HOUR_S - 1, 3), (HOUR_S, 4), (DAY_S, 4), (DAY_S + HOUR_S, 5)],
)
def test_a_day_is_closed_an_hour_after_it_ended(
    fixture: AccountFixture, after_midnight_s: int, days: int
) -> None:
    fixture.operator.clock.time_s = begins_at_s(fixture.day(4)) + after_midnight_s
    asyncio.run(closer(fixture).close("clinic"))
    assert closed_days(fixture) == [fixture.day(n) for n in range(days)]


@pytest.mark.parametrize("after", range(1, 6))
def test_a_closer_that_crashes_after_a_write_leaves_a_sound_chain(
    fixture: AccountFixture, after: int
) -> None:
    with pytest.raises(Crash):
        asyncio.run(closer(fixture, CrashingDynamo(fixture.dynamo, after)).close("clinic"))
    assert len(closed_days(fixture)) == after
    asyncio.run(closer(fixture).close("clinic"))
    assert is_sound(fixture)


@pytest.mark.parametrize("fault", ["lost_before", "lost_after", "throttle"])
@pytest.mark.parametrize("place", range(20))
def test_whatever_happens_to_one_call_the_days_are_closed(
    fixture: AccountFixture, place: int, fault: Fault
) -> None:
    faults: list[Fault | None] = [None] * place + [fault]
    asyncio.run(closer(fixture, FaultyDynamo(fixture.dynamo, faults)).close("clinic"))
    assert is_sound(fixture)


@pytest.mark.parametrize("seed", range(20))
def test_two_closers_at_once_leave_one_chain(fixture: AccountFixture, seed: int) -> None:
    root = YieldingRoot(fixture.operator.signers[DIGESTS])
    one, other = (
        closer(fixture, YieldingDynamo(fixture.dynamo, seed * 2 + n), root) for n in range(2)
    )

    async def both() -> None:
        await asyncio.gather(one.close("clinic"), other.close("clinic"))

    asyncio.run(both())
    assert is_sound(fixture)


def test_days_without_receipts_are_skipped(fixture: AccountFixture) -> None:
    """The account was opened days before its first call, and idle after its last."""
    fixture.change(("ACCOUNTS", "clinic"), created=number(TRAFFIC.first_s - 9 * DAY_S))
    fixture.operator.clock.time_s += 3 * DAY_S
    asyncio.run(closer(fixture).close("clinic"))
    assert closed_days(fixture) == [fixture.day(n) for n in range(5)]


def _without(fixture: AccountFixture, day: int, place: int) -> int:
    """Delete the receipt at this place of a day; its number."""
    names = fixture.names(day=day)
    names.sort(key=lambda name: int(fixture.items[name]["s"]["N"]))
    return int(fixture.items.pop(names[place])["s"]["N"])


@pytest.mark.parametrize(("day", "place"), [(0, 0), (2, 0), (2, 1), (2, 2), (4, 1)])
def test_a_day_out_of_which_a_number_is_gone_is_left_open(
    fixture: AccountFixture, day: int, place: int
) -> None:
    seq = _without(fixture, day, place)
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert closing.left_open is not None
    assert f"number {seq};" in closing.left_open
    # Around midnight a number may be missed on the day before its own.
    assert len(closing.days) in (day, day - 1)


def test_a_whole_day_that_is_gone_leaves_the_next_one_open(fixture: AccountFixture) -> None:
    for name in fixture.names(day=2):
        del fixture.items[name]
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert (len(closing.days) in (1, 2), "nothing has number" in str(closing.left_open)) == (
        True,
        True,
    )


@pytest.mark.parametrize(
    ("began_s", "expires_s"), [(-30, 900), (4_000_000, 4_000_900), (-30, 4_000_000)]
)
def test_a_hold_of_now_does_not_excuse_a_number_of_days_ago(
    fixture: AccountFixture, began_s: int, expires_s: int
) -> None:
    seq, now_s = _without(fixture, 2, 1), int(fixture.operator.clock.time_s)
    put_hold(fixture, new_id(now_s + began_s, b"7 bytes"), str(seq), now_s + expires_s)
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert f"number {seq};" in str(closing.left_open)


@pytest.mark.parametrize("sk", ["junk", "junk.u", "AAAAAAAAAAAAAAAA"])
def test_junk_on_the_next_day_does_not_excuse_a_number(fixture: AccountFixture, sk: str) -> None:
    seq, pk, zero = _without(fixture, 2, 1), f"R#clinic#{fixture.day(3)}", number(0)
    item = {"pk": {"S": pk}, "sk": {"S": sk}, "s": number(seq), "c": zero, "p": zero}
    fixture.items[pk, sk] = {**item, "st": {"S": "expired"}}
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert f"number {seq};" in str(closing.left_open)


def test_a_digest_that_cannot_be_read_leaves_the_next_day_open(fixture: AccountFixture) -> None:
    fixture.operator.clock.time_s -= DAY_S
    asyncio.run(closer(fixture).close("clinic"))
    fixture.operator.clock.time_s += DAY_S
    fixture.change(fixture.digest(3), jws={"S": "x"})
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert (closing.days, "cannot be read" in str(closing.left_open)) == ((), True)


def _hold(fixture: AccountFixture, day: int, expires_at_s: int) -> None:
    """A call of that day, its second, whose process crashed."""
    hold_id = new_id(begins_at_s(fixture.day(day)) + 7, b"crashed")
    entry = {"a": number(0), "e": number(expires_at_s), "p": number(0)}
    fixture.change(
        (account_pk("clinic"), "A"),
        h={"M": {hold_id: {"M": entry}}},
        q={"M": {hold_id: number(_without(fixture, day, 1))}},
    )


def test_a_hold_past_its_time_is_swept_first_and_its_tombstone_is_in_the_digest(
    fixture: AccountFixture,
) -> None:
    _hold(fixture, day=2, expires_at_s=0)
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert closing.left_open is None
    report = fixture.audit()
    assert (report.found, report.numbers) == ([], (1, TRAFFIC.numbers))


def test_a_day_whose_hold_still_stands_is_left_open_and_so_are_those_after_it(
    fixture: AccountFixture,
) -> None:
    _hold(fixture, day=2, expires_at_s=4_000_000_000)
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert closing.days == (fixture.day(0), fixture.day(1))
    assert closing.left_open is not None
    assert closing.left_open.startswith(f"{fixture.day(2)}: a hold")


def test_a_day_with_an_item_that_cannot_be_read_is_left_open(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt, day=3)[0]
    fixture.change(name, z={"B": "AAAA"})
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert closing.days == tuple(fixture.day(n) for n in range(3))
    assert closing.left_open is not None
    assert name[1] in closing.left_open


def test_an_account_without_traffic_costs_a_few_reads(fixture: AccountFixture) -> None:
    fixture.dynamo.open_account("idle", micros=1)
    before = dict(fixture.dynamo.calls)
    assert asyncio.run(closer(fixture).close("idle")) == Closing("idle")
    made = {name: n - before.get(name, 0) for name, n in fixture.dynamo.calls.items()}
    assert sum(made.values()) <= 4


def test_the_loop_works_once_a_day(fixture: AccountFixture) -> None:
    clock, running = fixture.operator.clock, closer(fixture)
    closings, failed = asyncio.run(running.close_due())
    assert ([len(closing.days) for closing in closings], failed) == ([5], [])
    for later_s in (30, 3_600, DAY_S - 1):
        before = dict(fixture.dynamo.calls)
        clock.time_s = begins_at_s(fixture.day(4)) + DAY_S + HOUR_S + later_s
        assert asyncio.run(running.close_due()) == ([], [])
        assert fixture.dynamo.calls == before
    clock.time_s += 1
    assert asyncio.run(running.close_due()) == ([Closing("clinic")], [])


def test_the_loop_tries_again_after_a_failure(fixture: AccountFixture) -> None:
    root = FakeRoot()
    root.fails = True
    running = closer(fixture, root=root)
    assert asyncio.run(running.close_due()) == ([], ["clinic"])
    assert asyncio.run(running.close_due()) == ([], [])
    root.fails = False
    fixture.operator.clock.time_s += RETRY_AFTER_S
    closings, failed = asyncio.run(running.close_due())
    assert ([len(closing.days) for closing in closings], failed) == ([5], [])


def test_one_account_that_fails_does_not_keep_the_others_open(fixture: AccountFixture) -> None:
    fixture.dynamo.open_account("broken", micros=1)
    dynamo = RefusingDynamo(fixture.dynamo, account_pk("broken"))
    closings, failed = asyncio.run(closer(fixture, dynamo).close_all())
    assert [len(closing.days) for closing in closings] == [5]
    assert failed == ["broken"]


def test_a_digest_under_a_key_that_is_no_day_keeps_the_days_open(fixture: AccountFixture) -> None:
    name = "D#clinic", "no day"
    fixture.items[name] = {"pk": {"S": name[0]}, "sk": {"S": name[1]}, "jws": {"S": "x"}}
    closing = asyncio.run(closer(fixture).close("clinic"))
    assert (closing.days, "no day" in str(closing.left_open)) == ((), True)
