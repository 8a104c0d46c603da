"""The access that a request is sent with: the one of its moment, whatever was sent before."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from phigate.core.catalog.reach import overridden_row
from phigate.core.errors import NotSent
from phigate.core.types import Override, Row
from phigate.core.upstream import UpstreamFetch, UpstreamRequest
from phigate.effects.aws.provider_credentials import NOT_CALLED
from phigate.effects.upstream.credentials import ProviderAccess
from phigate.effects.upstream.http_upstream import HttpUpstream
from tests.builders import make_place, make_row

# How a key is sent, and what the provider sees of it.
HEADERS = {
    "bearer": ("authorization", "Bearer {}"),
    "x-api-key": ("x-api-key", "{}"),
    "api-key": ("api-key", "{}"),
}


class Provider:
    """Answers every path; `seen` are the paths and the headers as they came."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """One request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.path, headers))
        return web.json_response({})


@contextlib.asynccontextmanager
async def reached(
    access: dict[str, ProviderAccess],
) -> AsyncIterator[tuple[Provider, HttpUpstream, Row]]:
    """A provider, an upstream that has this access to it, and a row of the provider's."""
    provider = Provider()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    async with TestServer(app) as server:
        place = make_place(base_url=f"{server.make_url('/')}{{product_id}}/v1")
        upstream = HttpUpstream(access)
        try:
            yield provider, upstream, make_row("acme-one", places={"CH": place})
        finally:
            await upstream.close()


async def post(upstream: HttpUpstream, row: Row) -> None:
    exchange = upstream.open(UpstreamRequest(row, "CH", "/chat/completions", {}, b"{}"))
    try:
        assert await exchange.headers(5.0) is not None
    finally:
        exchange.close()


async def get(upstream: HttpUpstream, row: Row) -> None:
    await upstream.fetch(UpstreamFetch(row, "CH", "/signature/1", 5.0, 1_000))


Call = Callable[[HttpUpstream, Row], Awaitable[None]]
CALLS: dict[str, Call] = {"a call": post, "a small GET": get}


def access_of(key: str, product: str = "7") -> ProviderAccess:
    return ProviderAccess(key, variables={"product_id": product})


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("auth", HEADERS)
@pytest.mark.anyio
async def test_a_changed_key_is_sent_with_the_next_request(auth: str, call: Call) -> None:
    access = {"acme": access_of("old"), "bolt": access_of("other")}
    async with reached(access) as (provider, upstream, row):
        for key in ("old", "new", "new", "newer"):
            access["acme"] = access_of(key)
            await call(upstream, replace(row, auth=auth))
    name, form = HEADERS[auth]
    sent = [headers[name] for _, headers in provider.seen]
    assert sent == [form.format(key) for key in ("old", "new", "new", "newer")]


@pytest.mark.anyio
async def test_another_providers_key_is_another() -> None:
    access = {"acme": access_of("a"), "bolt": access_of("b")}
    async with reached(access) as (provider, upstream, row):
        for name in ("acme", "bolt", "acme"):
            await post(upstream, replace(row, provider=name))
    assert [headers["authorization"][-1] for _, headers in provider.seen] == ["a", "b", "a"]


@pytest.mark.anyio
async def test_a_changed_product_is_in_the_next_url_with_its_own_key() -> None:
    access = {"acme": access_of("old", "7")}
    async with reached(access) as (provider, upstream, row):
        await post(upstream, row)
        access["acme"] = access_of("new", "8")
        await post(upstream, row)
    assert [(path, headers["authorization"]) for path, headers in provider.seen] == [
        ("/7/v1/chat/completions", "Bearer old"),
        ("/8/v1/chat/completions", "Bearer new"),
    ]


OVERRIDE, TRUSTED = Override("x.example"), Override("x.example", phi_trusted=True)
# The override of the access, and the row as the order knows it.
STRANGERS: dict[str, tuple[Override | None, Row]] = {
    "an order that knows of none": (OVERRIDE, make_row()),
    "an order that knows of none, a trusted one": (TRUSTED, make_row()),
    "an order that trusts it": (OVERRIDE, overridden_row(make_row(), TRUSTED)),
    "an order that knows of another": (
        TRUSTED,
        overridden_row(make_row(), Override("y.example", phi_trusted=True)),
    ),
    "an order that knows of one where there is none": (None, overridden_row(make_row(), OVERRIDE)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("override", "row"), STRANGERS.values(), ids=STRANGERS)
@pytest.mark.anyio
async def test_nothing_goes_to_an_address_that_its_order_was_not_judged_by(
    override: Override | None, row: Row, call: Call
) -> None:
    access = {"acme": access_of("k")}
    async with reached(access) as (provider, upstream, known):
        url = known.places["CH"].base_url.replace("{product_id}", "7")
        access["acme"] = replace(access["acme"], base_url=url, override=override)
        with pytest.raises(NotSent) as raised:
            await call(upstream, row)
        assert raised.value.outcome == "overridden"
        assert provider.seen == []
        knowing = known if override is None else overridden_row(known, override)
        await call(upstream, knowing)
    assert len(provider.seen) == 1


# What became of an access between the route and the request.
GONE: dict[str, dict[str, ProviderAccess]] = {
    "of a provider that is not called here": {"acme": NOT_CALLED},
    "the secret was emptied": {},
    "the secret fits another URL": {"acme": ProviderAccess("k", variables={"project": "7"})},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("left", GONE.values(), ids=GONE)
@pytest.mark.anyio
async def test_with_an_access_that_is_gone_nothing_is_sent(
    left: dict[str, ProviderAccess], call: Call
) -> None:
    access = {"acme": access_of("k")}
    async with reached(access) as (provider, upstream, row):
        await call(upstream, row)
        access.clear()
        access |= left
        with pytest.raises(NotSent) as raised:
            await call(upstream, row)
        assert raised.value.outcome == "no_key"
        access["acme"] = access_of("back")
        await call(upstream, row)
    assert [headers["authorization"] for _, headers in provider.seen] == [
        "Bearer k",
        "Bearer back",
    ]
