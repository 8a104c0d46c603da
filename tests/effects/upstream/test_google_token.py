"""A service account's key becomes a token: asked for once, kept, renewed, and refused cleanly.

The token endpoint is a real server on loopback that checks the signature as Google does.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from phigate.core.catalog import vocabulary
from phigate.core.errors import UpstreamFailed
from phigate.core.upstream import UpstreamRequest
from phigate.effects.upstream.credentials import AUTH_SCHEMES, ProviderAccess
from phigate.effects.upstream.google_token import (
    GRANT,
    RENEW_BEFORE_S,
    SCOPE,
    GoogleTokens,
    ServiceAccount,
    ServiceAccountUnusable,
)
from phigate.effects.upstream.http_upstream import HttpUpstream
from tests.builders import NOW_S, make_place, make_row

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EMAIL = "gateway@project.iam.gserviceaccount.com"
PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_json(url: str, **changes: Any) -> str:
    fields = {
        "type": "service_account",
        "private_key_id": "key-1",
        "private_key": KEY.private_bytes(*PRIVATE).decode(),
        "client_email": EMAIL,
        "token_uri": f"{url}/token",
    }
    return json.dumps({**fields, **changes})


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at_s = NOW_S

    def now_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds

    async def back_off(self, at_most_s: float) -> None:
        self.at_s += at_most_s


class Google:
    """The token endpoint, and a provider behind it that says which key it was given."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.given: list[str] = []
        self.status = 200
        self.answer: Any = None
        self.lasts_s = 3_600
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["grant_type"] == GRANT
        header, claims, signature = str(form["assertion"]).split(".")
        KEY.public_key().verify(
            decoded(signature), f"{header}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        assert json.loads(decoded(header)) == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
        self.asked.append(json.loads(decoded(claims)))
        self.arrived.set()
        await self.open.wait()
        answer = self.answer
        if answer is None:
            token = f"token-{len(self.asked)}"
            answer = json.dumps({"access_token": token, "expires_in": self.lasts_s})
        return web.Response(status=self.status, text=answer)

    async def chat(self, request: web.Request) -> web.Response:
        self.given.append(request.headers["authorization"])
        return web.json_response({})


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


Story = Callable[[Google, str], Awaitable[None]]


def told(story: Story) -> None:
    """Runs a story with the server up."""

    async def run() -> None:
        google = Google()
        app = web.Application()
        app.add_routes(
            [web.post("/token", google.token), web.post("/v1/chat/completions", google.chat)]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            await story(google, f"http://127.0.0.1:{port}")
        finally:
            google.open.set()
            await runner.cleanup()

    asyncio.run(run())


def test_a_token_is_asked_for_with_the_accounts_signature_and_kept() -> None:
    async def story(google: Google, url: str) -> None:
        clock = SetClock()
        async with aiohttp.ClientSession() as session:
            tokens = GoogleTokens(ServiceAccount(key_json(url)), session, clock)
            assert [await tokens.token() for _ in range(3)] == ["token-1"] * 3
        [claims] = google.asked
        assert claims == {
            "iss": EMAIL,
            "scope": SCOPE,
            "aud": f"{url}/token",
            "iat": int(NOW_S),
            "exp": int(NOW_S) + 3_600,
        }

    told(story)


def test_a_token_is_renewed_five_minutes_before_it_expires() -> None:
    async def story(google: Google, url: str) -> None:
        clock = SetClock()
        async with aiohttp.ClientSession() as session:
            tokens = GoogleTokens(ServiceAccount(key_json(url)), session, clock)
            assert await tokens.token() == "token-1"
            clock.at_s = NOW_S + 3_600 - RENEW_BEFORE_S - 1
            assert await tokens.token() == "token-1"
            clock.at_s += 1
            assert await tokens.token() == "token-2"

    told(story)


def test_of_many_who_wait_one_asks_and_who_leaves_takes_nobody_along() -> None:
    async def story(google: Google, url: str) -> None:
        google.open.clear()
        async with aiohttp.ClientSession() as session:
            tokens = GoogleTokens(ServiceAccount(key_json(url)), session, SetClock())
            waiting = [asyncio.ensure_future(tokens.token()) for _ in range(5)]
            await google.arrived.wait()
            waiting[0].cancel()
            google.open.set()
            assert await asyncio.gather(*waiting[1:]) == ["token-1"] * 4
        assert len(google.asked) == 1

    told(story)


# Status and body of the endpoint, and the attempt's outcome.
FAILURES: dict[str, tuple[int, str | None, str]] = {
    "the key is refused": (400, '{"error": "invalid_grant"}', "http_401"),
    "the account is forbidden": (403, "", "http_401"),
    "the endpoint is down": (503, "", "connect"),
    "a redirect": (302, "", "connect"),
    "no JSON": (200, "<html>", "malformed"),
    "no token": (200, '{"expires_in": 3600}', "malformed"),
    "no end": (200, '{"access_token": "t"}', "malformed"),
    "a list": (200, "[]", "malformed"),
    "a token that is a number": (200, '{"access_token": 1, "expires_in": 3600}', "malformed"),
    "a token with a line end": (
        200,
        '{"access_token": "a\\r\\nb", "expires_in": 3600}',
        "malformed",
    ),
    "too much": (200, " " * 70_000, "malformed"),
}


@pytest.mark.parametrize(("status", "answer", "outcome"), FAILURES.values(), ids=FAILURES)
def test_a_failed_exchange_is_an_outcome_and_the_next_one_asks_again(
    status: int, answer: str | None, outcome: str
) -> None:
    async def story(google: Google, url: str) -> None:
        google.status, google.answer = status, answer
        async with aiohttp.ClientSession() as session:
            tokens = GoogleTokens(ServiceAccount(key_json(url)), session, SetClock())
            with pytest.raises(UpstreamFailed) as caught:
                await tokens.token()
            assert caught.value.outcome == outcome
            google.status, google.answer = 200, None
            assert await tokens.token() == "token-2"

    told(story)


def test_an_endpoint_that_nobody_listens_at_is_a_connect_failure() -> None:
    async def story(google: Google, url: str) -> None:
        async with aiohttp.ClientSession() as session:
            account = ServiceAccount(key_json("http://127.0.0.1:1"))
            with pytest.raises(UpstreamFailed) as caught:
                await GoogleTokens(account, session, SetClock()).token()
        assert caught.value.outcome == "connect"

    told(story)


def test_a_short_token_serves_those_who_wait_and_is_not_kept() -> None:
    async def story(google: Google, url: str) -> None:
        google.lasts_s = 60
        async with aiohttp.ClientSession() as session:
            tokens = GoogleTokens(ServiceAccount(key_json(url)), session, SetClock())
            assert [await tokens.token() for _ in range(2)] == ["token-1", "token-2"]

    told(story)


EC_PEM = ec.generate_private_key(ec.SECP256R1()).private_bytes(*PRIVATE).decode()
UNUSABLE = {
    "no JSON": "{",
    "a list": "[]",
    "no key": '{"client_email": "a", "token_uri": "b"}',
    "a key that is none": key_json("http://a", private_key="canary"),
    "another kind of key": key_json("http://a", private_key=EC_PEM),
    "a number for a key": key_json("http://a", private_key=1),
}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ServiceAccountUnusable) as caught:
        ServiceAccount(text)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- The header that an upstream call carries -------------------------------------------------


async def posted(url: str, auth: str, key: str, google: Google) -> str | None:
    """The authorization header of one call, or the outcome of one that failed."""
    row = make_row("acme-one", auth=auth, places={"CH": make_place(base_url=f"{url}/v1")})
    upstream = HttpUpstream({"acme": ProviderAccess(api_key=key)}, SetClock())
    exchange = upstream.open(UpstreamRequest(row, "CH", "/chat/completions", {}, b"{}"))
    try:
        await exchange.headers(5.0)
    except UpstreamFailed as failed:
        return failed.outcome
    finally:
        exchange.close()
        await upstream.close()
    return google.given[-1]


def test_a_service_account_sends_its_token_as_bearer() -> None:
    async def story(google: Google, url: str) -> None:
        sent = await posted(url, "google_service_account", key_json(url), google)
        assert sent == "Bearer token-1"

    told(story)


def test_a_changed_service_account_drops_its_token_and_the_same_one_keeps_it() -> None:
    async def story(google: Google, url: str) -> None:
        place = make_place(base_url=f"{url}/v1")
        row = make_row("acme-one", auth="google_service_account", places={"CH": place})
        access: dict[str, ProviderAccess] = {}
        upstream = HttpUpstream(access, SetClock())
        request = UpstreamRequest(row, "CH", "/chat/completions", {}, b"{}")
        for account in ("one", "one", "two"):
            # Read anew each time, as the secret is.
            access["acme"] = ProviderAccess(key_json(url, client_email=f"{account}@example.com"))
            exchange = upstream.open(request)
            await exchange.headers(5.0)
            exchange.close()
        await upstream.close()
        assert google.given == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
        assert [claims["iss"] for claims in google.asked] == ["one@example.com", "two@example.com"]

    told(story)


def test_a_key_that_is_no_json_object_is_a_token_already() -> None:
    async def story(google: Google, url: str) -> None:
        assert await posted(url, "google_service_account", "ya29.x", google) == "Bearer ya29.x"
        assert google.asked == []

    told(story)


def test_an_unusable_account_fails_as_a_refused_key_does() -> None:
    async def story(google: Google, url: str) -> None:
        assert await posted(url, "google_service_account", "{}", google) == "http_401"
        google.status = 400
        assert await posted(url, "google_service_account", key_json(url), google) == "http_401"
        assert google.given == []

    told(story)


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ("bearer", ("authorization", "Bearer k")),
        ("x-api-key", ("x-api-key", "k")),
        ("api-key", ("api-key", "k")),
    ],
)
def test_a_fixed_key_has_its_header_ready(auth: str, header: tuple[str, str]) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            credential = AUTH_SCHEMES[auth]("k", session, SetClock())
            assert credential.ready == header
            assert await credential.header() == header

    asyncio.run(run())


def test_every_way_to_send_a_key_that_a_catalog_may_name_is_known() -> None:
    assert set(AUTH_SCHEMES) == set(vocabulary.AUTH_SCHEMES)
