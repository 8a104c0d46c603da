"""The local engines: ready when started, ended with their parent, and honest about durability."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from local import engine
from local.engine import Engine, EngineFailed
from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.port import HoldRequest
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import DynamoAdmin, create_table
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.ledger import DynamoLedger

T = TypeVar("T")

ENDED_TIMEOUT_S = 10.0
CLIENTS = 16
STARTER = """
import sys
from pathlib import Path
from local import engine
running = engine.start(Path(sys.argv[1]))
print(running.pid, flush=True)
sys.stdin.read()
"""


def on(running: Engine, work: Callable[[DynamoDB], Coroutine[Any, Any, T]]) -> T:
    """Do something with a client of the engine."""

    async def session() -> T:
        dynamo = DynamoDB(
            table="phigate",
            endpoint=running.url,
            region="eu-central-2",
            credentials=lambda: Credentials("local", "local"),
            clock=WallClock(),
        )
        try:
            await create_table(dynamo, WallClock())
            return await work(dynamo)
        finally:
            await dynamo.close()

    return asyncio.run(session())


async def top_up(dynamo: DynamoDB) -> None:
    """Make the account acme with credit for three holds of 10, and a key."""
    admin = DynamoAdmin(dynamo, WallClock())
    await admin.create_account("acme")
    await admin.add_credit("acme", 39, "opening")
    key = {"pk": {"S": "A#acme#S0"}, "sk": {"S": "A"}}
    await dynamo.call(
        "UpdateItem",
        {
            "TableName": "phigate",
            "Key": key,
            "UpdateExpression": "SET k.k1 = :on",
            "ExpressionAttributeValues": {":on": {"BOOL": True}},
        },
    )


async def holds_at_once(dynamo: DynamoDB) -> int:
    """How many of many holds of 10 succeed."""

    async def hold(number: int) -> bool:
        request = HoldRequest("acme", "k1", f"AAAAAAAAAAAA{number:04}", 10, 100, 1, 600)
        return isinstance(await DynamoLedger(dynamo, WallClock()).hold(request), OpenHold)

    return sum(await asyncio.gather(*(hold(number) for number in range(CLIENTS))))


async def available(dynamo: DynamoDB) -> int | None:
    """What acme has."""
    view = await DynamoLedger(dynamo, WallClock()).account("acme")
    return None if view is None else view.available_micros


def wait_for_end(pid: int) -> bool:
    """Whether a process that is not our child ends in time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], ENDED_TIMEOUT_S)[0])
    finally:
        os.close(descriptor)


def test_dynoxide_keeps_what_it_answered_over_kill_9(tmp_path: Path) -> None:
    first = engine.start(tmp_path / "state")
    try:
        assert (first.name, first.durable) == ("dynoxide", True)
        on(first, top_up)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.stop()
    second = engine.start(tmp_path / "state")
    try:
        assert on(second, available) == 39
    finally:
        second.stop()


def test_moto_answers_the_same_calls_and_says_that_it_keeps_nothing(tmp_path: Path) -> None:
    running = engine.start(tmp_path, tmp_path / "no binary here")
    try:
        assert (running.name, running.durable) == ("moto", False)
        on(running, top_up)
        assert on(running, holds_at_once) == 3
        assert on(running, available) == 9
    finally:
        running.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_engine_is_gone_and_may_be_stopped_again(tmp_path: Path) -> None:
    running = engine.start(tmp_path)
    running.stop()
    running.stop()
    assert wait_for_end(running.pid)


def test_an_engine_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert wait_for_end(pid)


def test_a_binary_that_ends_at_once_is_a_failure_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "dynoxide"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(EngineFailed, match=r"^the local DynamoDB \(dynoxide\) did not start$"):
        engine.start(tmp_path / "state", broken)
