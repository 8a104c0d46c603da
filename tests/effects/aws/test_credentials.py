"""Where a role's credentials come from, and that they are renewed before they end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from phigate.effects.aws.credentials import (
    RENEW_BEFORE_S,
    RETRY_AFTER_S,
    ContainerCredentials,
    NoCredentials,
    credentials_of,
)
from phigate.effects.aws.sigv4 import Credentials
from tests.fakes import FakeClock, RecordingEventLog

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
LIFE_S = 6 * 3_600


class Endpoint:
    """The container endpoint: hands out credentials with a number, when the token is right."""

    def __init__(self, clock: FakeClock) -> None:
        self.count = 0
        self.status = 200
        self.body: bytes | None = None
        self._clock = clock

    async def answered(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "the-token"
        self.count += 1
        if self.status != 200 or self.body is not None:
            return web.Response(status=self.status, body=self.body)
        expires = datetime.fromtimestamp(self._clock.now_s() + LIFE_S, UTC)
        return web.json_response(
            {
                "AccessKeyId": f"id-{self.count}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )


@asynccontextmanager
async def container(
    clock: FakeClock, event_log: RecordingEventLog
) -> AsyncIterator[tuple[Endpoint, Any]]:
    """An endpoint, and the credentials that come from it."""
    endpoint = Endpoint(clock)
    app = web.Application()
    app.router.add_get("/v1/credentials", endpoint.answered)
    async with TestServer(app) as server:
        environ = {
            **KEYS,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": str(server.make_url("/v1/credentials")),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-token",
        }
        yield endpoint, credentials_of(environ, clock, event_log)


@pytest.mark.parametrize(
    "more, token",
    [({}, None), ({"AWS_SESSION_TOKEN": ""}, None), ({"AWS_SESSION_TOKEN": "t"}, "t")],
)
@pytest.mark.anyio
async def test_those_of_the_environment_stay(more: dict[str, str], token: str | None) -> None:
    source = credentials_of(KEYS | more, FakeClock(), RecordingEventLog())
    await source.fresh()
    assert source() == Credentials("id", "secret", token)


WRONG = {
    "none": {},
    "no secret": {"AWS_ACCESS_KEY_ID": "id"},
    "an endpoint elsewhere": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://elsewhere.example/"},
}


@pytest.mark.parametrize("environ", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(NoCredentials):
        credentials_of(environ, FakeClock(), RecordingEventLog())


@pytest.mark.anyio
async def test_nothing_is_fetched_before_it_is_asked_for_and_once_then() -> None:
    clock = FakeClock()
    async with container(clock, RecordingEventLog()) as (endpoint, source):
        with pytest.raises(NoCredentials):
            source()
        assert endpoint.count == 0
        await source.fresh()
        await source.fresh()
        assert (source(), endpoint.count) == (Credentials("id-1", "secret", "token"), 1)


@pytest.mark.anyio
async def test_they_are_renewed_before_they_end_also_after_a_long_freeze() -> None:
    clock = FakeClock()
    async with container(clock, RecordingEventLog()) as (endpoint, source):
        await source.fresh()
        clock.time_s += LIFE_S - RENEW_BEFORE_S - 1
        await source.fresh()
        assert source().access_key == "id-1"
        clock.time_s += 2
        await source.fresh()
        assert source().access_key == "id-2"
        clock.time_s += 10 * LIFE_S
        await source.fresh()
        assert (source().access_key, endpoint.count) == ("id-3", 3)


@pytest.mark.parametrize(
    "status, body", [(500, b""), (200, b"{}"), (200, b"no JSON"), (200, b"[]"), (302, b"")]
)
@pytest.mark.anyio
async def test_a_renewal_that_fails_leaves_the_old_ones(status: int, body: bytes) -> None:
    clock, event_log = FakeClock(), RecordingEventLog()
    async with container(clock, event_log) as (endpoint, source):
        await source.fresh()
        clock.time_s += LIFE_S - RENEW_BEFORE_S + 1
        endpoint.status, endpoint.body = status, body
        await source.fresh()
        await source.fresh()  # not asked again at once
        assert (source().access_key, endpoint.count) == ("id-1", 2)
        assert len(event_log.fields("credentials_not_renewed")) == 1
        endpoint.status, endpoint.body = 200, None
        clock.time_s += RETRY_AFTER_S
        await source.fresh()
        assert source().access_key == "id-3"


@pytest.mark.anyio
async def test_a_first_fetch_that_fails_is_raised() -> None:
    source = ContainerCredentials(
        url="http://127.0.0.1:9/", token="", clock=FakeClock(), event_log=RecordingEventLog()
    )
    with pytest.raises(NoCredentials, match="cannot be reached"):
        await source.fresh()
