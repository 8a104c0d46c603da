"""Keys in the table: shown once, found by their hash, stopped at the next hold."""

import asyncio

import pytest

from phigate.core.errors import InternalError, Overloaded
from phigate.core.ledger.account import key_pk
from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.keys import key_id_of, key_sha256, parse_key
from phigate.core.ledger.port import HoldRequest
from phigate.core.limits import KEY_CACHE_ENTRIES_MAX, KEY_CACHE_S, KEY_FRESH_S
from phigate.core.types import KeyPolicy
from phigate.effects.store.admin import DynamoAdmin, NoSuchAccount, NoSuchKey, create_table
from phigate.effects.store.keys import DynamoKeys
from phigate.effects.store.ledger import DynamoLedger
from tests.fakes import FAULTS, FakeClock, FakeDynamo, Fault, FaultyDynamo, Item

pytestmark = pytest.mark.anyio

POLICY = KeyPolicy(phi="required", regions=frozenset({"CH"}), rpm=7, spend_limit_micros=9)


class Office:
    """An operator, a table and a gateway that reads it."""

    def __init__(self) -> None:
        self.dynamo = FakeDynamo()
        self.clock = FakeClock()
        self.admin = DynamoAdmin(self.dynamo, self.clock)
        self.keys = DynamoKeys(self.dynamo, self.clock)

    async def key(self, policy: KeyPolicy = POLICY) -> str:
        """A new live key of the account acme."""
        await self.admin.create_account("acme")
        return await self.admin.create_key("acme", "live", policy)

    async def may_hold(self, key: str) -> bool:
        """Whether the key can still make a hold."""
        request = HoldRequest(
            account="acme",
            key_id=key_id_of(key_sha256(key)),
            id=f"AGqxO4A{len(self.dynamo.items):09}",
            micros=0,
            expires_at_s=1_790_000_100,
            now_s=1_790_000_000,
            rpm=600,
        )
        held = await DynamoLedger(self.dynamo, self.clock).hold(request)
        return isinstance(held, OpenHold)

    def reads(self) -> int:
        """How often the table was read."""
        return self.dynamo.calls.get("GetItem", 0)


async def test_a_new_key_is_found_by_its_hash() -> None:
    office = Office()
    key = await office.key()
    principal = await office.keys.lookup(key_sha256(key))
    assert principal is not None
    assert (principal.account, principal.policy) == ("acme", POLICY)
    assert principal.key_id == key_id_of(key_sha256(key))
    assert (principal.created_at_s, principal.expires_at_s) == (1_790_000_000, None)
    assert len(principal.salt) == 16
    assert await office.may_hold(key)


async def test_keys_of_one_account_share_its_salt_and_accounts_do_not() -> None:
    office = Office()
    keys = [await office.key(), await office.key()]
    await office.admin.create_account("other")
    keys.append(await office.admin.create_key("other", "test", POLICY, expires_at_s=5))
    found = [await office.keys.lookup(key_sha256(key)) for key in keys]
    salts = [principal.salt for principal in found if principal]
    assert salts[0] == salts[1] != salts[2]
    assert found[2] is not None
    assert found[2].expires_at_s == 5


async def test_the_text_of_a_key_is_stored_nowhere() -> None:
    office = Office()
    key = await office.key()
    secret = key.removeprefix("phi_live_")
    assert secret not in str(office.dynamo.items)
    assert parse_key(key) is not None


async def test_an_unknown_key_is_nobody_and_fills_no_cache() -> None:
    office = Office()
    assert await office.keys.lookup("0" * 64) is None
    assert await office.keys.lookup("0" * 64) is None
    assert office.reads() == 2


# How old the knowledge may be, how old it is, and the reads it then takes.
AGES = {
    "at once": (KEY_FRESH_S, 0.0, 1),
    "for what does not hold, young": (KEY_FRESH_S, KEY_FRESH_S - 0.1, 1),
    "for what does not hold, old": (KEY_FRESH_S, KEY_FRESH_S, 2),
    "for a call that holds, young": (KEY_CACHE_S, KEY_CACHE_S - 0.1, 1),
    "for a call that holds, old": (KEY_CACHE_S, KEY_CACHE_S, 2),
    "longer than anybody may know": (KEY_CACHE_S * 9, KEY_CACHE_S, 2),
    "of a clock that was set back": (KEY_CACHE_S, -1.0, 2),
}


@pytest.mark.parametrize(("age_max_s", "passed_s", "reads"), AGES.values(), ids=AGES)
async def test_a_key_is_read_again_when_it_was_read_long_ago(
    age_max_s: float, passed_s: float, reads: int
) -> None:
    office = Office()
    sha256 = key_sha256(await office.key())
    before = office.reads()
    await office.keys.lookup(sha256)
    office.clock.time_s += passed_s
    await office.keys.lookup(sha256, age_max_s=age_max_s)
    assert office.reads() - before == reads


async def test_what_one_endpoint_learns_of_a_key_all_know() -> None:
    """A call that may know less is not left with what another has read to be over."""
    office = Office()
    key = key_sha256(await office.key())
    await office.keys.lookup(key)
    await office.admin.disable_key("acme", key_id_of(key))
    assert await office.keys.lookup(key, age_max_s=KEY_CACHE_S) is not None
    office.clock.time_s += KEY_FRESH_S
    assert await office.keys.lookup(key) is None
    assert await office.keys.lookup(key, age_max_s=KEY_CACHE_S) is None


class SlowDynamo:
    """Answers when the gate is opened."""

    def __init__(self, inner: FakeDynamo) -> None:
        self.table = inner.table
        self.gate = asyncio.Event()
        self._inner = inner

    async def call(self, operation: str, payload: Item) -> Item:
        """Wait for the gate."""
        await self.gate.wait()
        return await self._inner.call(operation, payload)


async def test_one_read_serves_everybody_who_waits() -> None:
    office = Office()
    sha256 = key_sha256(await office.key())
    slow = SlowDynamo(office.dynamo)
    keys = DynamoKeys(slow, office.clock)
    before = office.reads()
    waiting = [asyncio.create_task(keys.lookup(sha256)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    slow.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {getattr(principal, "account", None) for principal in found[1:]} == {"acme"}
    assert office.reads() - before == 1


async def test_the_cache_has_a_bound() -> None:
    office = Office()
    first = key_sha256(await office.key())
    await office.keys.lookup(first)
    item = office.dynamo.items[key_pk(first), "K"]
    for number in range(KEY_CACHE_ENTRIES_MAX):
        office.dynamo.items[key_pk(f"{number:064}"), "K"] = item
        await office.keys.lookup(f"{number:064}")
    before = office.reads()
    await office.keys.lookup(first)
    assert office.reads() - before == 1


async def test_a_store_that_does_not_answer_is_overloaded_and_not_unknown() -> None:
    office = Office()
    sha256 = key_sha256(await office.key())
    faulty = FaultyDynamo(office.dynamo, ["lost_before"] * 5)
    keys = DynamoKeys(faulty, office.clock)
    with pytest.raises(Overloaded):
        await keys.lookup(sha256)
    assert await keys.lookup(sha256) is not None


async def test_a_policy_that_an_earlier_release_has_stored_still_serves() -> None:
    office = Office()
    sha256 = key_sha256(await office.key())
    stored = (
        '{"debug_phi":false,"default_model_tier":null,"default_region":null,"models":null,'
        '"phi":"required","regions":["CH"],"rpm":7,"spend_limit_micros":9}'
    )
    office.dynamo.items[key_pk(sha256), "K"]["policy"] = {"S": stored}
    principal = await office.keys.lookup(sha256)
    assert principal is not None
    assert principal.policy == POLICY


async def test_a_policy_that_cannot_be_read_serves_nobody() -> None:
    office = Office()
    sha256 = key_sha256(await office.key())
    office.dynamo.items[key_pk(sha256), "K"]["policy"] = {"S": '{"phi":"required","later":1}'}
    with pytest.raises(InternalError):
        await office.keys.lookup(sha256)


async def test_a_disabled_key_stops_at_its_next_hold_whatever_is_cached() -> None:
    office = Office()
    key = await office.key()
    sha256 = key_sha256(key)
    await office.keys.lookup(sha256)
    await office.admin.disable_key("acme", key_id_of(sha256))
    assert not await office.may_hold(key)
    assert await DynamoKeys(office.dynamo, office.clock).lookup(sha256) is None
    assert [view.is_live for view in await office.admin.list_keys("acme")] == [False]


async def test_a_key_that_is_half_disabled_makes_no_hold() -> None:
    office = Office()
    key = await office.key()
    lost: list[Fault | None] = ["lost_before"] * 5
    faulty = FaultyDynamo(office.dynamo, [None, None, *lost])
    with pytest.raises(Overloaded):
        await DynamoAdmin(faulty, office.clock).disable_key("acme", key_id_of(key_sha256(key)))
    assert not await office.may_hold(key)
    await office.admin.disable_key("acme", key_id_of(key_sha256(key)))
    assert await office.keys.lookup(key_sha256(key)) is None


async def test_a_rotated_key_has_the_same_policy_and_the_old_one_stops() -> None:
    office = Office()
    await office.admin.create_account("acme")
    old = await office.admin.create_key("acme", "test", POLICY, expires_at_s=1_800_000_000)
    office.clock.time_s += 10
    new = await office.admin.rotate_key("acme", key_id_of(key_sha256(old)))
    assert new.startswith("phi_test_")
    assert await office.keys.lookup(key_sha256(old)) is None
    principal = await office.keys.lookup(key_sha256(new))
    assert principal is not None
    assert (principal.policy, principal.expires_at_s) == (POLICY, 1_800_000_000)
    views = await office.admin.list_keys("acme")
    assert [view.is_live for view in views] == [False, True]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_key_is_made_once_although_its_write_was_lost(fault: Fault) -> None:
    office = Office()
    await office.admin.create_account("acme")
    faulty = FaultyDynamo(office.dynamo, [None, fault])
    key = await DynamoAdmin(faulty, office.clock).create_key("acme", "live", POLICY)
    assert await office.may_hold(key)
    assert len(await office.admin.list_keys("acme")) == 1


async def test_a_key_needs_an_account() -> None:
    office = Office()
    with pytest.raises(NoSuchAccount):
        await office.admin.create_key("nobody", "live", POLICY)
    with pytest.raises(NoSuchAccount):
        await office.admin.list_keys("nobody")
    await office.key()
    with pytest.raises(NoSuchKey):
        await office.admin.disable_key("acme", "000000000000")
    with pytest.raises(NoSuchKey):
        await office.admin.rotate_key("acme", "000000000000")


async def test_a_key_is_found_by_its_id_among_accounts() -> None:
    office = Office()
    key = await office.key()
    await office.admin.create_account("other")
    found = await office.admin.find_key(key_id_of(key_sha256(key)), ["other", "acme"])
    assert found is not None
    assert (found.account, found.kind, found.policy) == ("acme", "live", POLICY)
    assert await office.admin.find_key(found.key_id, ["other"]) is None


async def test_the_table_is_there_already() -> None:
    office = Office()
    await create_table(office.dynamo, office.clock)
    assert office.dynamo.calls == {"DescribeTable": 1}
