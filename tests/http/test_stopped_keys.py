"""A key that was stopped is refused on every endpoint within KEY_FRESH_S.

The endpoints are those of the router, so that a new one is looked at by itself. The table is the
real engine's; only the time is made up.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from local.__main__ import CATALOG
from local.engine import Engine, running
from local.stack import local_dynamodb
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.ledger.account import KEY_SK, key_pk, keys_pk
from phigate.core.ledger.keys import key_id_of, key_sha256
from phigate.core.limits import BODY_BYTES_MAX, KEY_FRESH_S
from phigate.core.types import KeyPolicy
from phigate.effects.signing.key_files import file_signer
from phigate.effects.store.admin import DynamoAdmin, create_table
from phigate.effects.store.catalog_push import push_snapshot
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.ledger import DynamoLedger
from phigate.http.app import ENDPOINTS, build_app
from phigate.http.asgi import BASE_PATHS, PATHS, GatewayApp
from phigate.pipeline.gateway import Stack
from phigate.verify.roots import CATALOGS, CERTIFICATES
from phigate.wiring import Parts, build_gateway, local_access, local_catalog
from tests.builders import make_body
from tests.fakes import FakeClock, RecordingEventLog

pytestmark = pytest.mark.anyio

# What tells nothing of a caller, and looks at no key.
OPEN = {
    "GET /v1/models",
    "GET /v1/models/{row_id:path}",
    "GET /v1/pricing",
    "GET /.well-known/jwks.json",
    "GET /.well-known/receipt.schema.json",
    "GET /healthz",
}
EXPIRES_AT_S = 1_790_000_050
GOOD = make_body(model="gemma-4")
# Every way in which a chat call ends before it holds credit for an answer: its body and headers.
CHATS: dict[str, tuple[bytes, dict[str, str]]] = {
    "an answer": (orjson.dumps(GOOD), {"x-region": "CH"}),
    "a stream": (orjson.dumps(GOOD | {"stream": True}), {"x-region": "CH"}),
    "no JSON": (b"{", {}),
    "a body over the limit": (b" " * (BODY_BYTES_MAX + 1), {}),
    "a wrong field": (orjson.dumps(GOOD | {"temperature": "hot"}), {}),
    "an unknown region": (orjson.dumps(GOOD), {"x-region": "MARS"}),
    "an unknown flag": (orjson.dumps(GOOD), {"x-phi": "perhaps"}),
    "an unknown model": (orjson.dumps(GOOD | {"model": "nobody's"}), {}),
    "against its policy": (orjson.dumps(GOOD), {"x-region": "US"}),
    "PHI without an agreement": (orjson.dumps(GOOD), {"x-region": "EU", "x-phi": "true"}),
    "more than its credit": (orjson.dumps(GOOD | {"max_tokens": 8192}), {"x-region": "CH"}),
}


@dataclass(frozen=True, slots=True)
class KeyHarness:
    """One gateway on a table, and the operator beside it."""

    app: GatewayApp
    dynamodb: DynamoDB
    admin: DynamoAdmin
    clock: FakeClock
    endpoints: list[tuple[str, str]]

    async def key(self, account: str, *, micros: int = 1_000_000, expires: bool = False) -> str:
        """A key that the gateway has just seen to work."""
        await self.admin.create_account(account)
        await self.admin.add_credit(account, micros, "opening")
        key = await self.admin.create_key(
            account,
            "test",
            KeyPolicy(regions=frozenset({"CH", "EU"})),
            expires_at_s=EXPIRES_AT_S if expires else None,
        )
        assert await self.status("GET", "/v1/account", key) == 200
        return key

    async def status(
        self, method: str, path: str, key: str, body: bytes = b"{}", **headers: str
    ) -> int:
        """One call."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            named = {"authorization": f"Bearer {key}"} | headers
            content = None if method == "GET" else body
            return (await client.request(method, path, content=content, headers=named)).status_code


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine of all tests here."""
    with running(tmp_path_factory.mktemp("engine")) as started:
        assert started.name == "dynoxide", "run local/install_dynoxide.py"
        yield started


@contextlib.asynccontextmanager
async def world_on(engine: Engine, folder: Path) -> AsyncIterator[KeyHarness]:
    """A gateway whose table is the engine's; no provider is there to be reached."""
    clock = FakeClock()
    dynamodb = local_dynamodb(engine.url, clock)
    await create_table(dynamodb, clock)
    texts = {str(p.relative_to(CATALOG)): p.read_text() for p in CATALOG.rglob("*.toml")}
    catalog_bytes = canonical_bytes(document_from_texts(texts))
    signer = file_signer(folder, CATALOGS)
    await push_snapshot(dynamodb, catalog_bytes, signer, int(clock.now_s()))
    event_log = RecordingEventLog()
    access = local_access(checked_catalog(catalog_bytes), "http://127.0.0.1:1", {})
    gateway, upstream = build_gateway(
        Parts(
            stack=Stack(name="local", region="CH", unproven_allowed=frozenset({"*"})),
            dynamodb=dynamodb,
            ledger=DynamoLedger(dynamodb, clock),
            clock=clock,
            event_log=event_log,
            catalog=local_catalog(
                dynamodb, clock, event_log, {signer.kid: signer.public_key}, access
            ),
            access=access,
            receipt_root=file_signer(folder, CERTIFICATES),
            issuer="http://gateway",
        )
    )
    endpoints: list[tuple[str, str]] = [("POST", path) for path in PATHS.values()]
    for route in ENDPOINTS:
        endpoints += [
            (method, route.path) for method in sorted((route.methods or set()) - {"HEAD"})
        ]
    try:
        yield KeyHarness(
            build_app(gateway), dynamodb, DynamoAdmin(dynamodb, clock), clock, endpoints
        )
    finally:
        await gateway.wait_idle()
        await upstream.close()
        await dynamodb.close()


async def _disabled(harness: KeyHarness, account: str, key: str) -> None:
    await harness.admin.disable_key(account, key_id_of(key_sha256(key)))
    harness.clock.time_s += KEY_FRESH_S


async def _expired(harness: KeyHarness, account: str, key: str) -> None:
    harness.clock.time_s = EXPIRES_AT_S


async def _deleted(harness: KeyHarness, account: str, key: str) -> None:
    """As an operator does by hand in an emergency, whatever else stands."""
    sha256 = key_sha256(key)
    await harness.admin.disable_key(account, key_id_of(sha256))
    for pk, sk in ((key_pk(sha256), KEY_SK), (keys_pk(account), key_id_of(sha256))):
        found = {"pk": {"S": pk}, "sk": {"S": sk}}
        await harness.dynamodb.call(
            "DeleteItem", {"TableName": harness.dynamodb.table, "Key": found}
        )
    harness.clock.time_s += KEY_FRESH_S


STOPS: dict[str, Callable[[KeyHarness, str, str], Awaitable[None]]] = {
    "disabled": _disabled,
    "expired": _expired,
    "deleted": _deleted,
}


@pytest.mark.parametrize("base", BASE_PATHS)
@pytest.mark.parametrize("stop", STOPS)
async def test_a_stopped_key_is_refused_on_every_endpoint(
    engine: Engine, tmp_path: Path, stop: str, base: str
) -> None:
    async with world_on(engine, tmp_path) as harness:
        told: dict[str, int] = {}
        for number, (method, path) in enumerate(harness.endpoints):
            account = f"{stop}{len(base)}-{number}"
            key = await harness.key(account, expires=stop == "expired")
            await STOPS[stop](harness, account, key)
            filled = path.replace("{row_id:path}", "auto").replace("{receipt_id}", "A" * 16)
            told[f"{method} {path}"] = await harness.status(method, base + filled, key)
            harness.clock.time_s = FakeClock().time_s
        refused = {name for name, status in told.items() if status == 401}
        assert set(told) - refused == OPEN, told
        assert len(refused) >= 7, "the router was read"


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("path", PATHS.values())
async def test_a_disabled_key_is_refused_at_once_however_a_chat_call_ends(
    engine: Engine, tmp_path: Path, chat: str, path: str
) -> None:
    """Before it was disabled each ends in another way; the hold looks at the key in its own write,
    so no time need pass."""
    body, headers = CHATS[chat]
    account = f"chat-{list(CHATS).index(chat)}-{len(path)}"
    async with world_on(engine, tmp_path) as harness:
        key = await harness.key(account, micros=1)
        before = harness.dynamodb.calls.get("GetItem", 0)
        assert await harness.status("POST", path, key, body, **headers) not in (200, 401)
        reads = harness.dynamodb.calls.get("GetItem", 0) - before
        await harness.admin.disable_key(account, key_id_of(key_sha256(key)))
        before = harness.dynamodb.calls.get("GetItem", 0)
        assert await harness.status("POST", path, key, body, **headers) == 401
        assert reads <= 2, "the catalog's version and snapshot; no key is read again"
        assert harness.dynamodb.calls.get("GetItem", 0) == before


async def test_a_call_that_holds_reads_no_key_while_the_cache_lasts(
    engine: Engine, tmp_path: Path
) -> None:
    async with world_on(engine, tmp_path) as harness:
        key = await harness.key("steady", micros=1)
        body, headers = CHATS["an answer"]
        assert await harness.status("POST", PATHS["chat"], key, body, **headers) == 402
        before = harness.dynamodb.calls["GetItem"]
        harness.clock.time_s += 9 * KEY_FRESH_S
        assert await harness.status("POST", PATHS["chat"], key, body, **headers) == 402
        assert harness.dynamodb.calls["GetItem"] == before
