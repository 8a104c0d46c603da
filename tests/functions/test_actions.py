"""What each function does in AWS, by name: the template's roles are checked against this table.

`ACTIONS` is what the stories below really call, found by recording; a transaction is named by its
parts, as a policy names them. `ITEMS` says with which kinds of items, `KEYS` which KMS key each
function may use, and for what. Each story has the credentials of its function's role.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from phigate.aws.buffered import Buffered
from phigate.aws.catalog_sync import CatalogSync
from phigate.aws.chat import chat
from phigate.aws.directory import directory
from phigate.aws.environment import AwsClients, LambdaEnvironment
from phigate.aws.math import math, math_parts
from phigate.aws.server import FunctionServer
from phigate.aws.settings import FUNCTIONS, SETTINGS, Function, MathSettings
from phigate.aws.sweeper import Sweeper
from phigate.core.errors import SandboxError
from phigate.core.ledger.account import ACCOUNT_SK, account_pk, stale_counters
from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.keys import key_sha256
from phigate.core.ledger.port import HoldRequest
from phigate.core.receipts.ids import new_id
from phigate.core.receipts.record import Signed
from phigate.core.receipts.upstream_signature import UpstreamSignature
from phigate.core.types import KeyPolicy
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.dynamodb import DynamoDB, NotAccepted, read_item
from phigate.effects.store.keys import DynamoKeys
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from tests.fakes import FakeClock
from tests.functions.actions import ACTIONS, ATTRIBUTES, KEYS, KINDS, items_of, kind_of
from tests.functions.aws import moto_services
from tests.functions.aws_stack import CONTEXT, TASKS, AwsStack, hold_left_behind, rest, sync_event
from tests.functions.test_sweeper import tomorrow

ASKED = {"model": "gemma-4", "messages": [{"role": "user", "content": "Hello"}]}
CHAT = "/v1/chat/completions"
RECORD = Signed(b'{"answer":"none"}', "k" * 42 + "A", bytes(64))


@contextmanager
def recorded(aws_stack: AwsStack, function: Function) -> Iterator[None]:
    """What is done inside is what stands in the tables for this function."""
    aws_stack.aws.actions.clear()
    aws_stack.aws.key_actions.clear()
    aws_stack.aws.items.clear()
    aws_stack.aws.attributes.clear()
    yield
    assert aws_stack.aws.refused == []
    assert aws_stack.aws.actions == ACTIONS[function]
    assert aws_stack.aws.key_actions == KEYS[function]
    assert aws_stack.aws.items == items_of(function)


def test_chat(aws_stack: AwsStack) -> None:
    with recorded(aws_stack, "chat"):
        handler = Buffered(lambda: chat(aws_stack.lambda_environment("chat")))
        for body in (ASKED, {**ASKED, "stream": True}):
            assert (
                handler(rest(CHAT, body, aws_stack.key, X_PHI="true"), CONTEXT)["statusCode"] == 200
            )
        handler.close()
        holds_are_raised_and_swept(aws_stack, "chat")
        a_row_fails(aws_stack, "chat", chat)


def test_directory(aws_stack: AwsStack) -> None:
    chatting = Buffered(lambda: chat(aws_stack.lambda_environment("chat")))
    answer = chatting(rest(CHAT, ASKED, aws_stack.key), CONTEXT)
    chatting.close()
    receipt_id = answer["headers"]["x-phi-receipt"]
    with recorded(aws_stack, "directory"):
        handler = Buffered(lambda: directory(aws_stack.lambda_environment("directory")))
        signature = f"signature/{receipt_id}"
        for path in (
            f"receipts/{receipt_id}",
            signature,
            f"{signature}?signing_algo=ed25519",
            signature,  # the one that is kept
            "account",
            "models",
            "pricing",
        ):
            named, _, query = path.partition("?")
            payload = rest(f"/v1/{named}", key=aws_stack.key)
            payload["multiValueQueryStringParameters"] = parse_qs(query)
            assert handler(payload, CONTEXT)["statusCode"] == 200, path
        assert handler(rest("/.well-known/jwks.json"), CONTEXT)["statusCode"] == 200
        payload = rest("/v1/pricing")
        payload["multiValueQueryStringParameters"] = {"card": ["0" * 64]}  # none that is in use
        assert handler(payload, CONTEXT)["statusCode"] == 404
        assert handler(rest("/v1/route", ASKED, aws_stack.key), CONTEXT)["statusCode"] == 200
        handler.close()
        assert aws_stack.aws.attributes == set(ATTRIBUTES["directory", "PutItem"].split())


def test_catalog_sync(aws_stack: AwsStack) -> None:
    """With a root that was replaced: the one before ends, the new one begins."""
    aws_stack.aws.keys["day-key"] = ec.generate_private_key(ec.SECP256R1())
    with recorded(aws_stack, "catalog_sync"):
        CatalogSync(aws_stack.lambda_environment("catalog_sync"))(
            sync_event("Update", aws_stack.aws.url), CONTEXT
        )


def test_math_and_sweeper(aws_stack: AwsStack) -> None:
    aws_stack.aws.secrets["stack-ch/sandbox"] = "s" * 64
    with moto_services(aws_stack.aws) as named:
        variables: dict[str, Any] = {**TASKS, **named}
        with recorded(aws_stack, "sweeper"):
            aws_stack.ask(lambda dynamodb: hold_left_behind(dynamodb, aws_stack.key))
            clock = tomorrow()
            assert aws_stack.ask(stale)
            sweeper = Sweeper(aws_stack.lambda_environment("sweeper", clock, **variables))
            sweeper({}, CONTEXT)
            clock.time_s += 86_400
            sweeper({}, CONTEXT)
            assert aws_stack.lines("days_closed")[-2]["days"] == 1
            assert not aws_stack.ask(stale)
        with recorded(aws_stack, "math"):
            handler = Buffered(lambda: math(aws_stack.lambda_environment("math", **variables)))
            path = "/v1/math/chat/completions"
            assert handler(rest(path, ASKED, aws_stack.key), CONTEXT)["statusCode"] == 200
            handler.close()
            now = FakeClock(time.time())
            asyncio.run(
                opened(
                    AwsClients(MathSettings, aws_stack.lambda_environment("math", now, **variables))
                )
            )
            holds_are_raised_and_swept(aws_stack, "math")
            a_row_fails(aws_stack, "math", math)


def test_every_item_of_the_table_is_of_a_known_kind(aws_stack: AwsStack) -> None:
    """Else a function could write a kind that no check asks about."""

    async def keys(dynamodb: DynamoDB) -> set[str]:
        found = await dynamodb.call("Scan", {"TableName": "phigate"})
        return {item["pk"]["S"] for item in found["Items"]}

    assert {kind_of(key) for key in aws_stack.ask(keys)} <= set(KINDS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_refuses_what_was_not_recorded(function: Function, aws_stack: AwsStack) -> None:
    """The stand-in asks the template, so that a story fails whose write is not allowed."""
    call = {"TableName": "phigate", "Key": {"pk": {"S": "A#clinic#S0"}, "sk": {"S": "S"}}}

    async def deleted() -> None:
        aws = AwsClients(
            SETTINGS[function], aws_stack.lambda_environment(function, WallClock(), **TASKS)
        )
        try:
            with pytest.raises(NotAccepted, match="AccessDenied"):
                await aws.dynamodb.call("DeleteItem", call)
        finally:
            await aws.close()

    asyncio.run(deleted())
    assert aws_stack.aws.refused == [(function, "DeleteItem", "A#")]
    aws_stack.aws.refused.clear()


def holds_are_raised_and_swept(aws_stack: AwsStack, function: Function) -> None:
    """A hold is extended, swept while its call is under way, and answered late, by a call that then
    sweeps what others left; what a confidential upstream has signed is kept beside."""
    key, now_s = aws_stack.ask(another_account), int(time.time())
    hold = asyncio.run(extended(aws_stack, function, key, now_s))
    swept = aws_stack.ask(lambda db: DynamoLedger(db, WallClock()).sweep(hold.account, now_s + 61))
    assert swept.expired == 1
    asyncio.run(answered_late(aws_stack, function, hold))


async def extended(aws_stack: AwsStack, function: Function, key: str, now_s: int) -> OpenHold:
    aws = AwsClients(
        SETTINGS[function], aws_stack.lambda_environment(function, WallClock(), **TASKS)
    )
    principal = await DynamoKeys(aws.dynamodb, aws.clock).lookup(key_sha256(key))
    assert principal is not None
    account, ledger = principal.account, DynamoLedger(aws.dynamodb, aws.clock)
    hold_id = new_id(now_s, secrets.token_bytes(7))
    asked = HoldRequest(account, principal.key_id, hold_id, 100, now_s + 60, now_s, 600)
    held = await ledger.hold(asked)
    assert isinstance(held, OpenHold)
    hold = await ledger.extend_hold(held.noting(50), 200, 50)
    assert hold is not None
    await aws.close()
    return hold


async def answered_late(aws_stack: AwsStack, function: Function, hold: OpenHold) -> None:
    aws = AwsClients(
        SETTINGS[function], aws_stack.lambda_environment(function, WallClock(), **TASKS)
    )
    ledger = DynamoLedger(aws.dynamodb, aws.clock)
    receipts = DynamoReceipts(aws.dynamodb, aws.clock)
    written = await ledger.put_receipt(hold.writing(80), RECORD)
    assert written.state == "late"
    await ledger.sweep(hold.account, int(time.time()))
    signature = UpstreamSignature("a:b", "0x1", "0x2", "ecdsa")
    await receipts.put_upstream(hold.account, hold.id, signature)
    await aws.close()


def a_row_fails(
    aws_stack: AwsStack, function: Function, make: Callable[[LambdaEnvironment], FunctionServer]
) -> None:
    """One that cannot be reached is counted, so that others see it."""
    path = {"chat": CHAT, "math": "/v1/math/chat/completions"}[function]
    lambda_environment = aws_stack.lambda_environment(function, FakeClock(time.time()), **TASKS)
    failing = Buffered(
        lambda: make(
            replace(lambda_environment, base_url=lambda _provider: "http://127.0.0.1:1/v1")
        )
    )
    assert failing(rest(path, ASKED, aws_stack.key), CONTEXT)["statusCode"] == 502
    failing.close()


async def stale(dynamodb: DynamoDB) -> bool:
    """Whether the account still counts calls of minutes that are long past."""
    item = await read_item(dynamodb, WallClock(), account_pk("clinic"), ACCOUNT_SK)
    return any(stale_counters(item or {}, int(tomorrow().now_s())).values())


async def another_account(dynamodb: DynamoDB) -> str:
    """With a key: what stands in its receipts no day can be closed over."""
    admin, account = DynamoAdmin(dynamodb, WallClock()), f"lab-{secrets.token_hex(4)}"
    await admin.create_account(account)
    await admin.add_credit(account, 1_000, "first credit")
    return await admin.create_key(account, "test", KeyPolicy())


async def opened(aws: AwsClients[MathSettings]) -> None:
    """A sandbox that is claimed from the pool, or started, and given up at once."""
    parts = await math_parts(aws)
    assert parts.sandboxes and parts.wait_idle and parts.close
    for _ in range(2):
        with pytest.raises(SandboxError):
            await parts.sandboxes.open(
                account="clinic", request_id="r", region="CH", until_s=aws.clock.now_s() + 0.2
            )
        await parts.wait_idle()
    await parts.close()
    await aws.close()
