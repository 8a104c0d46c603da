"""The catalog comes out of the table as it was pushed, or not at all."""

import asyncio
import base64
import json
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.catalog.price import pricing_card
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.errors import Overloaded
from phigate.core.limits import CATALOG_FRESH_S, CATALOG_PHI_AGE_MAX_S
from phigate.core.types import Override
from phigate.effects.signing.signer import KeyFileSigner
from phigate.effects.store.catalog import RETRY_AFTER_S, DynamoCatalog
from phigate.effects.store.catalog_push import push_snapshot
from phigate.effects.store.dynamodb import NotAccepted, Unavailable

CATALOG = Path(__file__).parents[3] / "catalog"
POINTER = ("CATALOG", "current")
Item = dict[str, Any]


class DictTable:
    """A table that keeps its items in a dict and can be told to be out of reach."""

    table = "phigate"

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.order: list[tuple[str, str]] = []
        self.gets = 0
        self.is_up = True
        self.is_allowed = True
        self.puts_left: int | None = None
        self.gate: asyncio.Event | None = None

    async def call(self, operation: str, payload: dict[str, Any]) -> dict[str, Any]:
        assert payload["TableName"] == self.table
        if not self.is_allowed:
            raise NotAccepted("AccessDenied")
        return await {"GetItem": self._get, "PutItem": self._put}[operation](payload)

    async def _get(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.gets += 1
        if self.gate is not None:
            await self.gate.wait()
        if not self.is_up:
            raise Unavailable("down")
        key = (payload["Key"]["pk"]["S"], payload["Key"]["sk"]["S"])
        return {"Item": dict(self.items[key])} if key in self.items else {}

    async def _put(self, payload: dict[str, Any]) -> dict[str, Any]:
        if self.puts_left is not None:
            if self.puts_left == 0:
                raise Unavailable("down")
            self.puts_left -= 1
        item = payload["Item"]
        json.dumps(item)
        key = (item["pk"]["S"], item["sk"]["S"])
        self.items[key] = item
        self.order.append(key)
        return {}


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time_s = 1_800_000_000.0

    def now_s(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        self.time_s += seconds

    async def back_off(self, at_most_s: float) -> None:
        self.time_s += at_most_s


class ListJournal:
    """An event log that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, str | int | float | bool]]] = []

    def record(self, event: str, **fields: str | int | float | bool) -> None:
        self.notes.append((event, fields))


class Stack:
    """A table, a loader's key and a reader that trusts it."""

    def __init__(self, **options: Any) -> None:
        self.db = DictTable()
        self.clock = HandClock()
        self.event_log = ListJournal()
        self.signer = new_signer()
        trusted = {self.signer.kid: self.signer.public_key}
        self.source = DynamoCatalog(self.db, self.clock, self.event_log, trusted, **options)

    async def push(self, document_bytes: bytes) -> str:
        now_s = int(self.clock.now_s())
        return await push_snapshot(self.db, document_bytes, self.signer, now_s)

    def reasons(self) -> list[str]:
        return [
            str(fields["reason"]) for event, fields in self.event_log.notes if "reason" in fields
        ]


def new_signer() -> KeyFileSigner:
    return KeyFileSigner(ec.generate_private_key(ec.SECP256R1()))


def document_bytes(**statuses: str) -> bytes:
    """The repository's catalog; `together="alpha"` gives the provider's rows another status."""
    texts = {str(p.relative_to(CATALOG)): p.read_text() for p in CATALOG.rglob("*.toml")}
    document = document_from_texts(texts)
    for provider, status in statuses.items():
        for row in document["providers"][provider]["rows"]:
            row["status"] = status
    return canonical_bytes(document)


async def settled(source: DynamoCatalog) -> None:
    """Let a refresh that runs in the background come to its end."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await story()

    asyncio.run(bounded())


def test_what_was_pushed_is_what_is_read() -> None:
    async def story() -> None:
        stack = Stack()
        pushed = await stack.push(document_bytes())
        view = await stack.source.current()
        assert view.catalog == checked_catalog(document_bytes())
        assert view.catalog.sha256 == pushed
        assert view.read_at_s == stack.clock.time_s

    run(story)


def test_the_pointer_is_written_last() -> None:
    async def story() -> None:
        stack = Stack()
        pushed = await stack.push(document_bytes())
        card = checked_catalog(document_bytes()).card_sha256
        assert stack.db.order == [("CATALOG", f"S#{pushed}"), ("CARD", card), POINTER]

    run(story)


@pytest.mark.parametrize("puts", [0, 1, 2])
def test_a_push_that_breaks_off_leaves_the_old_snapshot_current(puts: int) -> None:
    async def story() -> None:
        stack = Stack()
        old = await stack.push(document_bytes())
        stack.db.puts_left = puts
        with pytest.raises(Overloaded):
            await stack.push(document_bytes(together="alpha"))
        assert (await stack.source.current()).catalog.sha256 == old

    run(story)


def test_an_invalid_document_writes_nothing() -> None:
    async def story() -> None:
        stack = Stack()
        with pytest.raises(CatalogInvalid):
            await stack.push(document_bytes(together="beta"))
        assert stack.db.items == {}

    run(story)


def test_providers_without_a_key_are_marked_when_read() -> None:
    async def story() -> None:
        stack = Stack(providers_without_key=frozenset({"together"}))
        pushed = await stack.push(document_bytes())
        view = await stack.source.current()
        assert view.catalog.rows_by_id["together-glm-5.2"].status == "no_key"
        assert view.catalog.sha256 == pushed

    run(story)


def test_overrides_and_simulators_are_marked_in_every_snapshot_that_is_read() -> None:
    async def story() -> None:
        stack = Stack(overrides={"infomaniak": Override("x.example")}, simulated=["scaleway"])
        for status in ("live", "alpha"):
            pushed = await stack.push(document_bytes(infomaniak=status))
            stack.clock.time_s += CATALOG_PHI_AGE_MAX_S + 1  # so old that the reading is waited for
            view = await stack.source.current()
            assert view.catalog.sha256 == pushed
            row = view.catalog.rows_by_id["infomaniak-gemma-4-31b"]
            assert (row.status, row.agreement) == ("overridden", None)
            assert row.reviewed.status == status
            assert view.catalog.rows_by_id["scaleway-gemma-4-26b"].is_simulated
            assert not view.catalog.rows_by_id["together-glm-5.2"].is_simulated

    run(story)


def _repacked(stack: Stack, name: str, content: bytes) -> None:
    packed = base64.b64encode(zlib.compress(content)).decode()
    stack.db.items["CATALOG", f"S#{name}"]["doc"] = {"B": packed}


def _other_content(stack: Stack, name: str) -> None:
    _repacked(stack, name, document_bytes(together="alpha"))


def _other_content_under_its_own_name(stack: Stack, name: str) -> None:
    """What somebody who may write the table but holds no key can do."""
    forged = document_bytes(together="alpha")
    forged_name = checked_catalog(forged).sha256
    item = dict(stack.db.items["CATALOG", f"S#{name}"])
    stack.db.items["CATALOG", f"S#{forged_name}"] = item
    _repacked(stack, forged_name, forged)
    stack.db.items[POINTER]["sha256"] = {"S": forged_name}


def _signed_by_a_stranger(stack: Stack, name: str) -> None:
    stranger = new_signer()
    signature = stranger.signature(b"phigate catalog snapshot\0" + name.encode())
    item = stack.db.items["CATALOG", f"S#{name}"]
    item["sig"] = {"B": base64.b64encode(signature).decode()}


def _key_that_nobody_trusts(stack: Stack, name: str) -> None:
    _signed_by_a_stranger(stack, name)
    stack.db.items["CATALOG", f"S#{name}"]["kid"] = {"S": new_signer().kid}


def _signed_for_another_purpose(stack: Stack, name: str) -> None:
    item = stack.db.items["CATALOG", f"S#{name}"]
    item["sig"] = {"B": base64.b64encode(stack.signer.signature(name.encode())).decode()}


def _without_signature(stack: Stack, name: str) -> None:
    del stack.db.items["CATALOG", f"S#{name}"]["sig"]


def _without_snapshot(stack: Stack, name: str) -> None:
    del stack.db.items["CATALOG", f"S#{name}"]


def _without_pointer(stack: Stack, name: str) -> None:
    del stack.db.items[POINTER]


def _garbled(stack: Stack, name: str) -> None:
    stack.db.items["CATALOG", f"S#{name}"]["doc"] = {"B": "%%%"}


def _not_deflated(stack: Stack, name: str) -> None:
    packed = base64.b64encode(document_bytes()).decode()
    stack.db.items["CATALOG", f"S#{name}"]["doc"] = {"B": packed}


def _bomb(stack: Stack, name: str) -> None:
    _repacked(stack, name, bytes(64 * 1024 * 1024))


def _out_of_reach(stack: Stack, name: str) -> None:
    stack.db.is_up = False


def _forbidden(stack: Stack, name: str) -> None:
    stack.db.is_allowed = False


TAMPERED = {
    "hash of other content": (_other_content, "hash"),
    "other content under its own name": (_other_content_under_its_own_name, "signature"),
    "signed by a stranger under our key's id": (_signed_by_a_stranger, "signature"),
    "a key that nobody trusts": (_key_that_nobody_trusts, "key"),
    "our key for another purpose": (_signed_for_another_purpose, "signature"),
    "no signature": (_without_signature, "signature"),
    "no snapshot": (_without_snapshot, "missing"),
    "no pointer": (_without_pointer, "missing"),
    "no base64": (_garbled, "garbled"),
    "not deflated": (_not_deflated, "garbled"),
    "a bomb": (_bomb, "garbled"),
    "table out of reach": (_out_of_reach, "overloaded"),
    "table forbidden": (_forbidden, "internal_error"),
}


@pytest.mark.parametrize("tamper, reason", TAMPERED.values(), ids=TAMPERED.keys())
def test_what_cannot_be_verified_is_refused_when_there_is_nothing_else(
    tamper: Callable[[Stack, str], None], reason: str
) -> None:
    async def story() -> None:
        stack = Stack()
        tamper(stack, await stack.push(document_bytes()))
        with pytest.raises(Overloaded):
            await stack.source.current()
        assert stack.reasons() == [reason]

    run(story)


@pytest.mark.parametrize("tamper, reason", TAMPERED.values(), ids=TAMPERED.keys())
def test_what_cannot_be_verified_leaves_the_old_copy_with_its_old_age(
    tamper: Callable[[Stack, str], None], reason: str
) -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        old = await stack.source.current()
        tamper(stack, await stack.push(document_bytes(google="alpha")))
        stack.clock.time_s += CATALOG_PHI_AGE_MAX_S
        assert await stack.source.current() == old
        assert stack.reasons() == [reason]

    run(story)


def test_a_fresh_copy_asks_the_table_nothing() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        first = await stack.source.current()
        gets = stack.db.gets
        stack.clock.time_s += CATALOG_FRESH_S - 1
        assert await stack.source.current() is first
        assert stack.db.gets == gets

    run(story)


def test_a_stale_copy_answers_at_once_and_is_renewed_in_the_background() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        old = await stack.source.current()
        new = await stack.push(document_bytes(together="alpha"))
        stack.db.gate = asyncio.Event()
        stack.clock.time_s += CATALOG_FRESH_S
        assert await stack.source.current() is old
        stack.db.gate.set()
        await settled(stack.source)
        view = await stack.source.current()
        assert (view.catalog.sha256, view.read_at_s) == (new, stack.clock.time_s)

    run(story)


def test_an_unchanged_snapshot_is_renewed_by_the_pointer_alone() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        old = await stack.source.current()
        stack.clock.time_s += CATALOG_PHI_AGE_MAX_S
        gets = stack.db.gets
        renewed = await stack.source.current()
        assert renewed.catalog is old.catalog
        assert renewed.read_at_s == stack.clock.time_s
        assert stack.db.gets == gets + 1

    run(story)


def test_a_copy_too_old_for_phi_waits_for_the_renewal() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        await stack.source.current()
        new = await stack.push(document_bytes(together="alpha"))
        stack.clock.time_s += CATALOG_PHI_AGE_MAX_S
        assert (await stack.source.current()).catalog.sha256 == new

    run(story)


def test_a_clock_that_went_back_counts_as_too_old() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        await stack.source.current()
        stack.clock.time_s -= 1
        assert (await stack.source.current()).read_at_s == stack.clock.time_s

    run(story)


def test_many_requests_cause_one_read() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        views = await asyncio.gather(*(stack.source.current() for _ in range(50)))
        assert all(view is views[0] for view in views)
        assert stack.db.gets == 2

    run(story)


def test_a_caller_who_hangs_up_does_not_end_the_read_of_the_others() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        stack.db.gate = asyncio.Event()
        leaving = asyncio.create_task(stack.source.current())
        staying = asyncio.create_task(stack.source.current())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        stack.db.gate.set()
        assert (await staying).catalog.rows
        assert leaving.cancelled()

    run(story)


def test_a_table_that_is_down_is_asked_again_only_after_a_while() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        old = await stack.source.current()
        stack.db.is_up = False
        stack.clock.time_s += CATALOG_FRESH_S
        for _ in range(5):
            assert await stack.source.current() is old
            await settled(stack.source)
        assert stack.reasons() == ["overloaded"]
        # An alarm looks at the age: PHI stops when it is an hour.
        age_s = stack.event_log.notes[-1][1]["age_s"]
        assert isinstance(age_s, int) and age_s >= CATALOG_FRESH_S
        stack.db.is_up = True
        stack.clock.time_s += RETRY_AFTER_S
        await stack.source.current()
        await settled(stack.source)
        assert (await stack.source.current()).read_at_s == stack.clock.time_s

    run(story)


def test_older_cards_are_found_by_their_hash() -> None:
    async def story() -> None:
        stack = Stack()
        document = json.loads(document_bytes())
        document["providers"]["google"]["rows"][0]["price"]["in_micros_per_mtok"] = 290_000
        older = canonical_bytes(document)
        await stack.push(older)
        await stack.push(document_bytes())
        for pushed in (older, document_bytes()):
            card = pricing_card(checked_catalog(pushed))
            body = await stack.source.card(card["card"])
            assert body is not None and json.loads(body) == card
            assert await stack.source.card(card["card"].removeprefix("sha256:")) == body

    run(story)


@pytest.mark.parametrize("name", ["", "0" * 64, "sha256:", "../current", "F" * 64])
def test_an_unknown_card_is_none(name: str) -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        assert await stack.source.card(name) is None

    run(story)


def test_a_card_that_was_altered_is_none() -> None:
    async def story() -> None:
        stack = Stack()
        await stack.push(document_bytes())
        card = pricing_card(checked_catalog(document_bytes()))
        card["rows"][0]["in_usd_per_mtok"] = "0.01"
        name = card["card"].removeprefix("sha256:")
        packed = base64.b64encode(zlib.compress(json.dumps(card).encode())).decode()
        stack.db.items["CARD", name]["doc"] = {"B": packed}
        assert await stack.source.card(name) is None
        assert stack.event_log.notes == [("card_refused", {"card": name})]

    run(story)
