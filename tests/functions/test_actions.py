"""What each function does in AWS, by name: the template's roles are checked against this table.

`ACTIONS` is what the stories below really call, found by recording; a transaction is named by its
parts, as a policy names them. `KEYS` says which KMS key each function may use, and for what.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from phigate.aws.buffered import Buffered
from phigate.aws.catalog_sync import CatalogSync
from phigate.aws.chat import chat
from phigate.aws.directory import directory
from phigate.aws.math import math, math_extras
from phigate.aws.outside import Aws
from phigate.aws.settings import Function
from phigate.aws.sweeper import Sweeper
from phigate.core.errors import SandboxError
from tests.fakes import FakeClock
from tests.functions.actions import ACTIONS, KEYS, WRITTEN
from tests.functions.aws import moto_services
from tests.functions.test_sweeper import tomorrow
from tests.functions.world import CONTEXT, TASKS, World, hold_left_behind, rest, sync_event

ASKED = {"model": "gemma-4", "messages": [{"role": "user", "content": "Hello"}]}
CHAT = "/v1/chat/completions"


@contextmanager
def recorded(world: World, function: Function) -> Iterator[None]:
    """What is done inside is what stands in the tables for this function."""
    world.aws.actions.clear()
    world.aws.key_actions.clear()
    world.aws.written.clear()
    yield
    assert world.aws.actions == ACTIONS[function]
    assert world.aws.key_actions == KEYS[function]
    assert world.aws.written == WRITTEN[function]


def test_chat(world: World) -> None:
    with recorded(world, "chat"):
        handler = Buffered(lambda: chat(world.outside()))
        for body in (ASKED, {**ASKED, "stream": True}):
            assert handler(rest(CHAT, body, world.key, X_PHI="true"), CONTEXT)["statusCode"] == 200
        handler.close()


def test_directory(world: World) -> None:
    chatting = Buffered(lambda: chat(world.outside()))
    answer = chatting(rest(CHAT, ASKED, world.key), CONTEXT)
    chatting.close()
    receipt_id = answer["headers"]["x-phi-receipt"]
    with recorded(world, "directory"):
        handler = Buffered(lambda: directory(world.outside()))
        for path in (f"receipts/{receipt_id}", f"signature/{receipt_id}", "account", "models"):
            payload = rest(f"/v1/{path}", key=world.key)
            assert handler(payload, CONTEXT)["statusCode"] == 200, path
        assert handler(rest("/.well-known/jwks.json"), CONTEXT)["statusCode"] == 200
        assert handler(rest("/v1/route", ASKED, world.key), CONTEXT)["statusCode"] == 200
        handler.close()


def test_catalog_sync(world: World) -> None:
    with recorded(world, "catalog_sync"):
        CatalogSync(world.outside())(sync_event("Update", world.aws.url), CONTEXT)


def test_math_and_sweeper(world: World) -> None:
    world.aws.secrets["stack-ch/sandbox"] = "s" * 64
    with moto_services(world.aws) as named:
        variables: dict[str, Any] = {**TASKS, **named}
        with recorded(world, "sweeper"):
            world.ask(lambda dynamodb: hold_left_behind(dynamodb, world.key))
            clock = tomorrow()
            sweeper = Sweeper(world.outside(clock, **variables))
            sweeper({}, CONTEXT)
            clock.time_s += 86_400
            sweeper({}, CONTEXT)
        with recorded(world, "math"):
            handler = Buffered(lambda: math(world.outside(**variables)))
            path = "/v1/math/chat/completions"
            assert handler(rest(path, ASKED, world.key), CONTEXT)["statusCode"] == 200
            handler.close()
            now = FakeClock(time.time())
            asyncio.run(opened(Aws("math", world.outside(now, **variables))))


async def opened(aws: Aws) -> None:
    """A sandbox that is claimed from the pool, or started, and given up at once."""
    extras = await math_extras(aws)
    assert extras.sandboxes and extras.drained and extras.close
    for _ in range(2):
        with pytest.raises(SandboxError):
            await extras.sandboxes.open(
                account="clinic", request_id="r", region="CH", until_s=aws.clock.now_s() + 0.2
            )
        await extras.drained()
    await extras.close()
    await aws.close()
