"""The application in this process: exact money through the SDK, older cards, other jurisdictions,
and what a bug of ours looks like from outside."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from local.__main__ import CATALOG
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.ledger.port import HoldRequest
from phigate.core.types import REGIONS, Json
from phigate.core.upstream import UpstreamRequest
from phigate.effects.signing.signer import load_or_create_key_file
from phigate.effects.store.catalog import DynamoCatalog
from phigate.effects.store.catalog_push import push_snapshot
from phigate.http.app import build_app
from phigate.pipeline.gateway import Gateway
from tests.builders import NOW_S, make_body
from tests.fakes import FakeDynamo, Script
from tests.http.calls import CHAT, HELLO
from tests.pipeline.gateway_harness import (
    ACCOUNT,
    CREDIT_MICROS,
    KEY,
    GatewayHarness,
    answers,
    event,
    streams,
)
from tests.pipeline.gateway_harness import chunk as make_chunk

T = TypeVar("T")
CANARY = "canary-of-the-prompt"
CH_PHI = {"X-Region": "CH", "X-PHI": "true"}
# A usage above what the request can hold would not be believed.
LONG = "The patient slept well. " * 10
USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


def _document() -> Json:
    texts = {str(p.relative_to(CATALOG)): p.read_text() for p in CATALOG.rglob("*.toml")}
    return document_from_texts(texts)


def _stage(*scripts: Script, regions: tuple[str, ...] = REGIONS) -> GatewayHarness:
    """The catalog of this repository on doubles."""
    catalog = checked_catalog(canonical_bytes(_document()))
    return GatewayHarness(*scripts, catalog=catalog, regions=regions)


def _sdk(harness: GatewayHarness, work: Callable[[AsyncOpenAI], Awaitable[T]], base: str = "") -> T:
    """Work with the SDK on the application, on an event loop of its own."""

    async def worked() -> T:
        transport = httpx2.ASGITransport(app=build_app(harness.gateway))
        async with (
            httpx2.AsyncClient(transport=transport) as http,
            AsyncOpenAI(
                base_url=f"http://phigate{base}/v1", api_key=KEY, http_client=http, max_retries=0
            ) as client,
        ):
            return await work(client)

    return asyncio.run(worked())


def _call(
    gateway: Gateway,
    method: str,
    path: str,
    *,
    body: Json | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """One plain call with the key."""

    async def called() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=build_app(gateway))
        async with httpx2.AsyncClient(transport=transport, base_url="http://phigate") as http:
            named = {"authorization": f"Bearer {KEY}", **(headers or {})}
            return await http.request(method, path, json=body, headers=named)

    return asyncio.run(called())


@pytest.mark.parametrize("base", ["", "/api"])
def test_a_hundred_tokens_in_and_fifty_out_cost_48_micros(base: str) -> None:
    harness = _stage(answers(usage=USAGE))

    async def asked(client: AsyncOpenAI) -> Mapping[str, str]:
        raw = await client.chat.completions.with_raw_response.create(
            model="gemma-4", messages=[{"role": "user", "content": LONG}], extra_headers=CH_PHI
        )
        assert raw.parse().choices[0].message.content == "Hi"
        return raw.headers

    headers = _sdk(harness, asked, base)
    assert headers["x-phi-routed"] == "infomaniak-gemma-4-31b/CH/phi"
    assert (headers["x-phi-usage"], headers["x-phi-cost-micro"]) == ("verified", "48")
    account = _call(harness.gateway, "GET", "/v1/account").json()
    assert account["spent_micro"] == 48
    assert account["available_micro"] == CREDIT_MICROS - 48
    assert account["held_micro"] == 0


@pytest.mark.parametrize("base", ["", "/api"])
def test_a_stream_costs_the_same_and_says_so_before_its_end(base: str) -> None:
    usage: Json = make_chunk(choices=[], usage=USAGE)
    harness = _stage(streams(make_chunk("Hel"), make_chunk("lo"), usage, b"data: [DONE]\n\n"))
    body = make_body(model="gemma-4", stream=True, messages=[{"role": "user", "content": LONG}])
    told = _call(harness.gateway, "POST", f"{base}{CHAT}", body=body, headers=CH_PHI)
    *events, comment, done = told.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    facts = json.loads(comment.removeprefix(": phi "))
    assert facts == {
        "usage": "verified",
        "cost_micro": 48,
        "receipt": told.headers["x-phi-receipt"],
    }
    assert len(events) == 2
    assert harness.account()["spent"] == 48


def test_a_jurisdiction_of_another_stack_is_421() -> None:
    harness = _stage(regions=("CH", "EU"))

    async def asked(client: AsyncOpenAI) -> None:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(
                model="auto",
                messages=[{"role": "user", "content": "Hi"}],
                extra_headers={"X-Region": "US"},
            )
        assert refused.value.status_code == 421
        assert (refused.value.code, refused.value.param) == ("region_not_served", "X-Region")
        assert "CH, EU" in refused.value.message

    _sdk(harness, asked)


def test_an_older_card_is_found_after_the_catalog_has_changed(tmp_path: Path) -> None:
    harness = _stage()
    signer = load_or_create_key_file(tmp_path / "key.pem")
    dynamo = FakeDynamo()
    harness.use(
        catalog=DynamoCatalog(
            dynamo, harness.clock, harness.event_log, {signer.kid: signer.public_key}
        )
    )
    document = _document()

    def prices(path: str = "/v1/pricing", **headers: str) -> httpx2.Response:
        return _call(harness.gateway, "GET", path, headers=headers)

    asyncio.run(push_snapshot(dynamo, canonical_bytes(document), signer, int(NOW_S)))
    old = prices().json()
    document["providers"]["infomaniak"]["rows"][0]["price"]["in_micros_per_mtok"] = 1_000_000
    asyncio.run(push_snapshot(dynamo, canonical_bytes(document), signer, int(NOW_S)))
    harness.pass_time(3_601)
    new = prices().json()
    assert new["card"] != old["card"]
    assert {row["row"]: row["in_usd_per_mtok"] for row in new["rows"]}[
        "infomaniak-gemma-4-31b"
    ] == "1.10"
    assert prices(f"/v1/pricing?card={old['card']}").json() == old
    page = prices(f"/v1/pricing?card={old['card']}", accept="text/html").text
    assert "<td>0.24</td>" in page
    assert "<td>1.10</td>" not in page
    assert prices("/v1/pricing?card=sha256:" + "1" * 64).status_code == 404


def test_markup_in_a_card_stays_text_on_the_page() -> None:
    harness = _stage()
    catalog = checked_catalog(canonical_bytes(_document()))
    row = replace(catalog.rows[0], model='<script>"&')
    harness.use(catalog=_Catalog(replace(catalog, rows=(row,), rows_by_id={row.id: row})))
    page = _call(harness.gateway, "GET", "/v1/pricing", headers={"accept": "text/html"}).text
    assert "<script" not in page
    assert "&lt;script&gt;&quot;&amp;" in page


class _Catalog:
    """A catalog source with one snapshot, or with a bug."""

    def __init__(self, catalog: Any = None) -> None:
        self._catalog = catalog

    async def current(self) -> Any:
        """The snapshot; a bug where there is none."""
        if self._catalog is None:
            raise RuntimeError(CANARY)
        return _View(self._catalog)

    async def card(self, card_sha256: str) -> bytes | None:
        """A bug."""
        raise RuntimeError(CANARY)


class _View:
    """A CatalogView that was read just now."""

    def __init__(self, catalog: Any) -> None:
        self.catalog = catalog
        self.read_at_s = NOW_S


class _Keys:
    """A key store with a bug."""

    async def lookup(self, key_sha256: str, *, age_max_s: float = 0) -> Any:
        """A bug."""
        raise RuntimeError(CANARY)


class _Ledger:
    """A ledger with a bug."""

    async def hold(self, request: HoldRequest) -> Any:
        """A bug."""
        raise RuntimeError(CANARY)

    async def account(self, account: str) -> Any:
        """A bug."""
        raise RuntimeError(CANARY)


class _Upstream:
    """An upstream with a bug."""

    def open(self, request: UpstreamRequest) -> Any:
        """A bug."""
        raise RuntimeError(CANARY)


# Which part of the gateway has the bug, and a call that meets it.
BUGS: dict[str, tuple[str, Any, str, str]] = {
    "models": ("catalog", _Catalog(), "GET", "/v1/models"),
    "one model": ("catalog", _Catalog(), "GET", "/api/v1/models/x"),
    "pricing": ("catalog", _Catalog(), "GET", "/v1/pricing"),
    "route": ("catalog", _Catalog(), "POST", "/v1/route"),
    "keys": ("keys", _Keys(), "GET", "/v1/account"),
    "account": ("ledger", _Ledger(), "GET", "/api/v1/account"),
    "health": ("counters", lambda: 1 // 0, "GET", "/healthz"),
    "chat, key": ("keys", _Keys(), "POST", CHAT),
    "chat, catalog": ("catalog", _Catalog(), "POST", CHAT),
    "chat, hold": ("ledger", _Ledger(), "POST", f"/api{CHAT}"),
    "chat, upstream": ("upstream", _Upstream(), "POST", CHAT),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_our_envelope_and_its_text_is_nowhere(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    part, broken, method, path = BUGS[name]
    harness = _stage()
    harness.use(**{part: broken})
    told = _call(harness.gateway, method, path, body=HELLO if method == "POST" else None)
    assert told.status_code == 500
    assert told.headers["content-type"] == "application/json"
    assert told.headers["x-request-id"]
    error = told.json()["error"]
    assert (error["code"], error["type"], error["param"]) == (
        "internal_error",
        "server_error",
        None,
    )
    out, err = capfd.readouterr()
    everything = told.text + str(dict(told.headers)) + repr(harness.event_log.notes) + out + err
    assert CANARY not in everything
    assert harness.event_log.notes


def test_a_bug_inside_a_stream_ends_the_connection_without_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    harness = _stage(streams(make_chunk("Hel"), RuntimeError(CANARY)))
    body = json.dumps(HELLO | {"stream": True}).encode()
    incoming = [{"type": "http.request", "body": body}]
    sent: list[Any] = []

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {KEY}".encode())]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
    asyncio.run(build_app(harness.gateway)(scope, receive, send))
    start, *pieces = sent
    assert start["status"] == 200
    # A server that is left without the last piece drops the connection.
    assert all(piece["more_body"] for piece in pieces)
    out, err = capfd.readouterr()
    assert CANARY not in repr(sent) + repr(harness.event_log.notes) + out + err
    # What was written is charged by estimate, and no hold is left to the sweeper.
    assert harness.account()["held"] == 0
    assert 0 < harness.account()["spent"] < CREDIT_MICROS


def test_every_first_byte_of_the_upstream_stays_an_event_of_ours() -> None:
    usage: Json = make_chunk(choices=[], usage=USAGE)
    script = streams(
        b": their comment\nevent: ping\nid: 7\nretry: 1\n",
        make_chunk("Hi"),
        usage,
        b"data: [DONE]\n\n",
    )
    harness = _stage(script)
    told = _call(harness.gateway, "POST", CHAT, body=HELLO | {"stream": True})
    names = {line.partition(":")[0] for line in told.text.splitlines() if line}
    assert names == {"data", ""}
    assert "their comment" not in told.text
    assert event(make_chunk("Hi")) not in told.content
    assert ACCOUNT not in told.text
