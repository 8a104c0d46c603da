"""A clock that is wrong: AWS refuses the signature, and the call is signed by its time, once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from phigate.effects.aws.json_service import AwsJson
from phigate.effects.aws.signed_posts import SKEW_ERRORS, SKEW_LEAST_S
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.store.dynamodb import ConditionFailed, DynamoDB, NotAccepted, Unavailable
from tests.fakes import FakeClock

TOLERANCE_S = 300.0  # what AWS accepts
PREFIX = "com.amazon.coral.service#"

pytestmark = pytest.mark.anyio


class Aws:
    """Refuses a signature that is not of its time; `stamps` are those of the calls it was sent."""

    def __init__(self, now_s: float) -> None:
        self.url = ""
        self.now_s = now_s
        self.stamps: list[float] = []
        self.error = "InvalidSignatureException"
        self.date: str | None = None
        self.trusts_nobody = False
        self.answers: list[tuple[int, bytes]] = []

    async def answered(self, request: web.Request) -> web.Response:
        """One call."""
        told = request.headers["X-Amz-Date"].replace("Z", "+0000")
        self.stamps.append(datetime.strptime(told, "%Y%m%dT%H%M%S%z").timestamp())
        await request.read()
        told = format_datetime(datetime.fromtimestamp(self.now_s, UTC), usegmt=True)
        headers = {"Date": told if self.date is None else self.date}
        if self.trusts_nobody or abs(self.stamps[-1] - self.now_s) > TOLERANCE_S:
            refusal = orjson.dumps({"__type": PREFIX + self.error, "message": "Signature expired"})
            return web.Response(status=400, headers=headers, body=refusal)
        status, body = self.answers.pop(0) if self.answers else (200, b"{}")
        return web.Response(status=status, headers=headers, body=body)


@asynccontextmanager
async def dynamodb(clock: FakeClock, skew_s: float) -> AsyncIterator[tuple[Aws, DynamoDB]]:
    """An AWS whose clock is ahead by so much, and our client of it."""
    aws = Aws(clock.now_s() + skew_s)
    app = web.Application()
    app.router.add_post("/", aws.answered)
    async with TestServer(app) as server:
        aws.url = str(server.make_url("")).rstrip("/")
        client = DynamoDB(
            table="phigate",
            endpoint=aws.url,
            region="eu-central-2",
            credentials=lambda: Credentials("id", "secret"),
            clock=clock,
        )
        try:
            yield aws, client
        finally:
            await client.close()


@pytest.mark.parametrize("skew_s", [-86_400.0, -301.0, 301.0, 86_400.0])
async def test_a_call_by_a_wrong_clock_is_signed_again_by_the_services_own(skew_s: float) -> None:
    clock = FakeClock()
    async with dynamodb(clock, skew_s) as (aws, client):
        assert await client.call("UpdateItem", {}) == {}
        assert [stamp - aws.now_s for stamp in aws.stamps] == pytest.approx([-skew_s, 0], abs=2)
        assert await client.call("UpdateItem", {}) == {}
        assert len(aws.stamps) == 3  # what was learned is kept


async def test_a_clock_that_was_put_right_is_learned_again() -> None:
    clock = FakeClock()
    async with dynamodb(clock, 3_600.0) as (aws, client):
        await client.call("GetItem", {})
        clock.time_s += 3_600.0
        assert await client.call("GetItem", {}) == {}
        assert len(aws.stamps) == 4


@pytest.mark.parametrize("error", sorted(SKEW_ERRORS))
async def test_every_name_of_that_refusal_is_known(error: str) -> None:
    async with dynamodb(FakeClock(), 3_600.0) as (aws, client):
        aws.error = error
        assert await client.call("UpdateItem", {}) == {}


async def test_it_is_sent_again_once() -> None:
    async with dynamodb(FakeClock(), 3_600.0) as (aws, client):
        aws.trusts_nobody = True
        with pytest.raises(NotAccepted):
            await client.call("UpdateItem", {})
        assert len(aws.stamps) == 2
        with pytest.raises(NotAccepted):
            await client.call("UpdateItem", {})
        assert len(aws.stamps) == 3


NOT_THE_CLOCKS: dict[str, tuple[float, str, str | None]] = {
    "clocks that agree": (0.0, "InvalidSignatureException", None),
    "clocks nearly apart enough": (SKEW_LEAST_S - 2, "InvalidSignatureException", None),
    "another refusal": (3_600.0, "AccessDeniedException", None),
    "no date": (3_600.0, "InvalidSignatureException", ""),
    "a date that is none": (3_600.0, "InvalidSignatureException", "yesterday"),
}


@pytest.mark.parametrize("name", NOT_THE_CLOCKS)
async def test_a_refusal_that_is_not_the_clocks_doing_is_not_sent_again(name: str) -> None:
    skew_s, error, date = NOT_THE_CLOCKS[name]
    async with dynamodb(FakeClock(), skew_s) as (aws, client):
        aws.trusts_nobody, aws.error, aws.date = True, error, date
        with pytest.raises(NotAccepted):
            await client.call("UpdateItem", {})
        assert len(aws.stamps) == 1


NOT_REFUSED: dict[str, tuple[tuple[int, bytes], type[Exception]]] = {
    "a condition": (
        (400, b'{"__type":"x#ConditionalCheckFailedException"}'),
        ConditionFailed,
    ),
    "an item that is called like it": (
        (400, b'{"__type":"x#ConditionalCheckFailedException","Item":{"__type":"RequestExpired"}}'),
        ConditionFailed,
    ),
    "what may have been done": ((500, b'{"__type":"x#RequestExpired"}'), Unavailable),
}


@pytest.mark.parametrize("name", NOT_REFUSED)
async def test_what_may_have_been_done_is_never_sent_again(name: str) -> None:
    """Whatever the clocks say."""
    answer, expected = NOT_REFUSED[name]
    clock = FakeClock()
    async with dynamodb(clock, 290.0) as (aws, client):
        aws.answers = [answer]
        with pytest.raises(expected):
            await client.call("UpdateItem", {})
        assert len(aws.stamps) == 1


async def test_kms_and_the_secrets_survive_it_too() -> None:
    clock = FakeClock()
    async with dynamodb(clock, -7_200.0) as (aws, _):
        service = AwsJson(
            service="kms",
            endpoint=aws.url,
            region="eu-central-2",
            credentials=lambda: Credentials("id", "secret"),
            clock=clock,
        )
        assert (await service.call("TrentService.Sign", {})).status == 200
        assert len(aws.stamps) == 2
        await service.close()
