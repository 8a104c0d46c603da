"""What a stack serves of its catalog: by its region, and by the secrets that it has."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from phigate.core.errors import Overloaded
from phigate.core.types import Catalog, Row
from phigate.effects.aws.provider_credentials import (
    NOT_CALLED,
    RETRY_AFTER_S,
    SECRETS_AGE_MAX_S,
    SECRETS_FRESH_S,
    ProviderCredentials,
)
from phigate.effects.aws.secrets_manager import SecretUnread
from phigate.effects.aws.stack_catalog import StackCatalog
from phigate.effects.upstream.credentials import ProviderAccess
from tests.builders import make_catalog, make_place, make_row
from tests.fakes import FakeClock, RecordingEventLog, StaticCatalog

PRODUCT = make_place(base_url="https://api.example.com/{product_id}/v1")
CATALOG = make_catalog([make_row("acme-one"), make_row("bolt-two", places={"CH": PRODUCT})])
ACME = {"api_key": "k"}
BOLT = {"api_key": "b", "product_id": "7"}


class Secrets:
    """What lies where; None cannot be read. `read` are the names asked for; nothing is answered
    until it is `open`."""

    def __init__(self, **texts: Any) -> None:
        self.texts = texts
        self.read: list[str] = []
        self.looked_at: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def text(self, name: str) -> str | None:
        """See provider_credentials.Secrets."""
        self.read.append(name)
        await asyncio.sleep(0)
        await self.open.wait()
        found = self.texts.get(name.rpartition("/")[2], "")
        if found is None:
            raise SecretUnread("timeout")
        return (found if isinstance(found, str) else json.dumps(found)) or None

    async def is_filled(self, name: str) -> bool:
        """See provider_credentials.Secrets."""
        self.looked_at.append(name)
        return self.texts.get(name.rpartition("/")[2]) is not None


class CatalogHarness:
    """A served catalog and everything round it."""

    def __init__(
        self,
        secrets: Secrets,
        fault: str | None = None,
        calls: Callable[[Row], bool] = lambda _row: True,
    ) -> None:
        self.clock, self.event_log = FakeClock(), RecordingEventLog()
        self.secrets = secrets
        self.fault = fault
        self.inner = StaticCatalog(CATALOG, self.clock.now_s())
        self.credentials = ProviderCredentials(
            secrets,
            prefix="stack/provider",
            clock=self.clock,
            event_log=self.event_log,
            calls=calls,
        )
        self.served = StackCatalog(
            self.inner,
            providers_without_key=self.credentials.providers_without_key,
            fault_of=lambda catalog: self.fault,
            event_log=self.event_log,
        )

    @property
    def access(self) -> dict[str, ProviderAccess]:
        """By provider how it is reached, where it can be."""
        found = {name: self.credentials.get(name) for name in ("acme", "bolt")}
        return {name: access for name, access in found.items() if access is not None}

    async def statuses(self) -> dict[str, str]:
        """Status by row."""
        catalog: Catalog = (await self.served.current()).catalog
        return {row.id: row.status for row in catalog.rows}


CASES: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, ProviderAccess]]] = {
    "both": (
        {"acme": ACME, "bolt": BOLT},
        {"acme-one": "live", "bolt-two": "live"},
        {"acme": ProviderAccess("k"), "bolt": ProviderAccess("b", variables={"product_id": "7"})},
    ),
    "a missing one": (
        {"acme": ACME},
        {"acme-one": "live", "bolt-two": "no_key"},
        {"acme": ProviderAccess("k")},
    ),
    "an empty key": ({"acme": {"api_key": ""}}, {"acme-one": "no_key", "bolt-two": "no_key"}, {}),
    "no JSON": ({"acme": "k"}, {"acme-one": "no_key", "bolt-two": "no_key"}, {}),
    "a list": ({"acme": ["k"]}, {"acme-one": "no_key", "bolt-two": "no_key"}, {}),
    "without its product": (
        {"bolt": {"api_key": "b"}},
        {"acme-one": "no_key", "bolt-two": "no_key"},
        {},
    ),
    "a service account as an object": (
        {"acme": {"api_key": {"type": "service_account"}}},
        {"acme-one": "live", "bolt-two": "no_key"},
        {"acme": ProviderAccess('{"type":"service_account"}')},
    ),
    "one that cannot be read": (
        {"acme": None, "bolt": BOLT},
        {"acme-one": "no_key", "bolt-two": "live"},
        {"bolt": ProviderAccess("b", variables={"product_id": "7"})},
    ),
}


@pytest.mark.parametrize("texts, statuses, access", CASES.values(), ids=CASES)
@pytest.mark.anyio
async def test_a_provider_is_served_by_its_secret(
    texts: dict[str, Any], statuses: dict[str, str], access: dict[str, ProviderAccess]
) -> None:
    harness = CatalogHarness(Secrets(**texts))
    assert await harness.statuses() == statuses
    assert harness.access == access


@pytest.mark.anyio
async def test_the_key_of_a_provider_that_is_not_called_is_not_read() -> None:
    secrets = Secrets(acme=ACME, bolt=BOLT)
    harness = CatalogHarness(secrets, calls=lambda row: row.provider == "bolt")
    assert await harness.statuses() == {"acme-one": "live", "bolt-two": "live"}
    assert (secrets.read, secrets.looked_at) == (["stack/provider/bolt"], ["stack/provider/acme"])
    assert harness.access["acme"] == NOT_CALLED
    del secrets.texts["acme"]
    harness.clock.time_s += SECRETS_AGE_MAX_S
    assert (await harness.statuses())["acme-one"] == "no_key"


@pytest.mark.anyio
async def test_nothing_is_read_before_the_first_call_and_each_once_then() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    assert harness.secrets.read == []
    await asyncio.gather(*(harness.statuses() for _ in range(5)))
    assert sorted(harness.secrets.read) == ["stack/provider/acme", "stack/provider/bolt"]


@pytest.mark.anyio
async def test_a_secret_that_was_filled_is_seen_after_a_while() -> None:
    harness = CatalogHarness(Secrets(acme=ACME))
    await harness.statuses()
    harness.secrets.texts["bolt"] = BOLT
    harness.clock.time_s += SECRETS_FRESH_S
    assert (await harness.statuses())["bolt-two"] == "no_key"  # the call does not wait
    await turns()
    assert (await harness.statuses())["bolt-two"] == "live"


@pytest.mark.anyio
async def test_a_secret_that_cannot_be_read_leaves_the_provider_as_it_was() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.secrets.texts["acme"] = None
    harness.clock.time_s += SECRETS_FRESH_S
    await harness.statuses()
    await turns()
    assert (await harness.statuses())["acme-one"] == "live"
    assert harness.access["acme"] == ProviderAccess("k")
    harness.secrets.texts["acme"] = {"api_key": "new"}
    harness.clock.time_s += RETRY_AFTER_S
    await harness.statuses()
    await turns()
    assert harness.access["acme"] == ProviderAccess("new")


@pytest.mark.anyio
async def test_only_the_secret_that_could_not_be_read_is_read_again_soon() -> None:
    harness = CatalogHarness(Secrets(acme=None, bolt=BOLT))
    await harness.statuses()
    harness.secrets.read.clear()
    harness.clock.time_s += RETRY_AFTER_S
    await harness.statuses()
    await turns()
    assert harness.secrets.read == ["stack/provider/acme"]


@pytest.mark.anyio
async def test_a_refused_key_is_read_again_beside_the_calls_and_no_other_is() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.secrets.read.clear()
    harness.secrets.texts["acme"] = {"api_key": "new"}
    harness.clock.time_s += RETRY_AFTER_S
    harness.credentials.key_refused("acme")
    assert harness.secrets.read == []  # who was refused does not wait
    await turns()
    assert harness.secrets.read == ["stack/provider/acme"]
    assert harness.access["acme"] == ProviderAccess("new")
    assert harness.event_log.fields("provider_key_changed") == [{"provider": "acme"}]
    harness.clock.time_s += RETRY_AFTER_S
    await harness.statuses()
    await turns()
    assert len(harness.secrets.read) == 1  # it is fresh again


@pytest.mark.anyio
async def test_a_key_that_stays_refused_is_not_read_for_each_refusal() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.secrets.read.clear()
    for _ in range(20):
        harness.clock.time_s += RETRY_AFTER_S / 4
        await harness.statuses()
        harness.credentials.key_refused("acme")
        await turns()
    assert harness.secrets.read == ["stack/provider/acme"] * 5


@pytest.mark.anyio
async def test_a_key_that_is_refused_just_after_it_was_read_is_read_by_a_later_call() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.secrets.read.clear()
    harness.credentials.key_refused("acme")
    await turns()
    assert harness.secrets.read == []
    harness.clock.time_s += RETRY_AFTER_S
    await harness.statuses()
    await turns()
    assert harness.secrets.read == ["stack/provider/acme"]


@pytest.mark.anyio
async def test_a_key_that_is_refused_while_another_is_read_is_read_after_it() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.clock.time_s += RETRY_AFTER_S
    harness.secrets.open.clear()
    harness.credentials.key_refused("bolt")
    await turns()
    harness.secrets.texts["acme"] = {"api_key": "new"}
    harness.credentials.key_refused("acme")
    harness.secrets.open.set()
    await turns()
    await turns()
    assert harness.access["acme"] == ProviderAccess("new")


@pytest.mark.anyio
async def test_a_key_that_is_refused_while_it_is_read_is_read_once_more() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.clock.time_s += SECRETS_FRESH_S
    await asked_again(harness)
    harness.credentials.key_refused("acme")
    harness.secrets.open.set()
    await turns()
    harness.secrets.read.clear()
    harness.clock.time_s += RETRY_AFTER_S
    await harness.statuses()
    await turns()
    assert harness.secrets.read == ["stack/provider/acme"]


# How long an environment was frozen, and whose key its first call then carries.
FROZEN = {
    "shortly": (SECRETS_FRESH_S - 1, "k"),
    "for a while": (SECRETS_AGE_MAX_S - 1, "k"),
    "for an hour": (SECRETS_AGE_MAX_S, "new"),
    "and woke before it slept": (-SECRETS_AGE_MAX_S, "new"),
}


@pytest.mark.parametrize("frozen_s, key", FROZEN.values(), ids=FROZEN)
@pytest.mark.anyio
async def test_the_first_call_after_a_freeze_waits_when_the_copy_is_too_old(
    frozen_s: float, key: str
) -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.secrets.texts["acme"] = {"api_key": "new"}
    harness.clock.time_s += frozen_s
    await harness.statuses()
    assert harness.access["acme"] == ProviderAccess(key)


@pytest.mark.anyio
async def test_after_a_freeze_secrets_that_cannot_be_read_are_waited_for_once() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.secrets.texts |= {"acme": None, "bolt": None}
    harness.clock.time_s += SECRETS_AGE_MAX_S
    harness.secrets.read.clear()
    assert await harness.statuses() == {"acme-one": "live", "bolt-two": "live"}
    harness.clock.time_s += RETRY_AFTER_S - 1
    await harness.statuses()
    await turns()
    assert sorted(harness.secrets.read) == ["stack/provider/acme", "stack/provider/bolt"]


@pytest.mark.anyio
async def test_an_answer_that_was_asked_for_before_a_freeze_is_as_old_as_its_question() -> None:
    harness = CatalogHarness(Secrets(acme=ACME, bolt=BOLT))
    await harness.statuses()
    harness.clock.time_s += SECRETS_FRESH_S
    await asked_again(harness)
    harness.secrets.read.clear()  # it freezes before the answers are looked at
    harness.clock.time_s += SECRETS_AGE_MAX_S
    harness.secrets.open.set()
    await harness.statuses()
    assert sorted(harness.secrets.read) == ["stack/provider/acme", "stack/provider/bolt"]


@pytest.mark.anyio
async def test_a_catalog_that_may_not_be_served_here_is_refused_also_later() -> None:
    harness = CatalogHarness(Secrets(acme=ACME))
    await harness.statuses()
    harness.fault = "CH is served from elsewhere"
    with pytest.raises(Overloaded, match="CH is served from elsewhere"):
        await harness.served.current()
    assert harness.event_log.fields("catalog_not_served") == [{"reason": harness.fault}]


@pytest.mark.anyio
async def test_no_secret_reaches_the_journal() -> None:
    harness = CatalogHarness(Secrets(acme={"api_key": "hidden-1"}))
    await harness.statuses()
    harness.secrets.texts["acme"] = {"api_key": "hidden-2"}
    harness.clock.time_s += SECRETS_AGE_MAX_S
    await harness.statuses()
    assert "hidden" not in str(harness.event_log.notes)
    harness = CatalogHarness(Secrets(acme={"key": "hidden"}, bolt={"api_key": "hidden"}))
    await harness.statuses()
    assert "hidden" not in str(harness.event_log.notes)
    assert [fields["reason"] for fields in harness.event_log.fields("secret_unusable")] == [
        "no api_key",
        "no product_id",
    ]


async def asked_again(harness: CatalogHarness) -> None:
    """A call beside which the secrets are asked for, and not answered until they are `open`."""
    harness.secrets.open.clear()
    await harness.statuses()
    await turns()


async def turns() -> None:
    """Let what runs in the background come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_a_snapshot_that_comes_meanwhile_hides_no_missing_key_of_the_one_before() -> None:
    harness = CatalogHarness(Secrets(acme=ACME))
    harness.secrets.open.clear()
    before = asyncio.ensure_future(harness.statuses())
    await asyncio.sleep(0)
    harness.inner = harness.served.inner = StaticCatalog(
        replace(make_catalog([make_row("acme-one")]), sha256="2" * 64), harness.clock.now_s()
    )
    after = asyncio.ensure_future(harness.statuses())
    await asyncio.sleep(0)
    harness.secrets.open.set()
    assert await after == {"acme-one": "live"}
    assert await before == {"acme-one": "live", "bolt-two": "no_key"}
