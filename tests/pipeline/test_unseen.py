"""An answer nobody sees a byte of: a hang-up is the caller's act and is charged by the time that
its row worked; a timeout is the row's failure, free, and counted per key.
"""

import asyncio
import threading
from dataclasses import replace

import pytest

from phigate.core.ledger.cost import unseen_tokens
from phigate.core.limits import LIGHT_BODY_MARKS_MAX, UNSEEN_TIMEOUTS_PER_DAY
from phigate.core.types import Json
from phigate.verify.receipt import Evidence, verify
from tests.builders import DAY_S, make_body, make_row
from tests.fakes import Script
from tests.pipeline.await_points import at, watch
from tests.pipeline.gateway_harness import (
    PLAIN,
    ROWS,
    STREAM,
    GatewayHarness,
    answers,
    fails,
    streams,
)

SLOW = (make_row("acme-one", tokens_out_per_s=10),)
# Seconds of work before the hang-up, members of the body; tokens charged and milliseconds told.
WORKED: dict[str, tuple[float, Json, tuple[int, int]]] = {
    "at once": (0.0, {}, (6_000, 30_000)),
    "after 2.5 s": (2.5, {}, (6_500, 32_500)),
    "after a minute: the default is all that may be written": (60.0, {}, (8_192, 90_000)),
    "at most what was asked for": (60.0, {"max_tokens": 100}, (100, 90_000)),
}


@pytest.mark.parametrize(("seconds", "members", "worked"), WORKED.values(), ids=WORKED)
def test_a_hang_up_is_charged_by_the_time_worked_drain_included(
    seconds: float, members: Json, worked: tuple[int, int]
) -> None:
    harness = GatewayHarness()
    harness.plays(Script(before=[seconds, harness.hang_up, 100.0]))
    harness.chat_gone({**PLAIN, **members})
    harness.check_receipts()
    tokens, ms = worked
    record = harness.record
    assert record["usage"]["out"] == tokens
    assert record["usage"]["in"] == 6
    assert record["usage"]["source"] == "estimated"
    assert record["worked"] == [ms, 200, members.get("max_tokens", 8_192)]
    assert record["ended"] == "hang_up"
    micros = -(-(6 * 240_000 + tokens * 480_000) // 1_000_000)
    assert harness.account()["spent"] == micros <= record["cost"]["held"]


def test_a_rows_own_speed_counts() -> None:
    harness = GatewayHarness(rows=SLOW)
    harness.plays(Script(before=[harness.hang_up, 100.0]))
    harness.chat_gone(PLAIN)
    assert harness.record["usage"]["out"] == 300
    assert harness.record["worked"] == [30_000, 10, 8_192]


def test_only_the_attempt_under_way_counts() -> None:
    harness = GatewayHarness()
    harness.plays(Script(before=[100.0], status=500), Script(before=[harness.hang_up, 100.0]))
    harness.chat_gone(PLAIN)
    assert harness.record["row"] == "bolt-two"
    assert harness.record["worked"][0] == 30_000


def test_a_cancelled_call_is_charged_by_the_time_worked() -> None:
    async def cancelled(harness: GatewayHarness) -> None:
        serving = asyncio.create_task(harness.serve(PLAIN))

        def cancel() -> None:
            serving.cancel()

        harness.plays(Script(before=[5.0, cancel, 100.0]))
        with pytest.raises(asyncio.CancelledError):
            await serving
        await harness.gateway.wait_idle()

    harness = GatewayHarness()
    asyncio.run(cancelled(harness))
    assert harness.record["worked"][0] >= 5_000
    assert harness.account()["held"] == 0


def test_the_receipt_of_it_is_recomputed_by_a_stranger() -> None:
    harness = GatewayHarness()
    harness.plays(Script(before=[harness.hang_up, 100.0]))
    harness.chat_gone(PLAIN)
    (receipt_id,) = harness.ledger.records
    verified = verify(harness.bundle(receipt_id), Evidence(roots=harness.roots))
    assert not verified.fails
    assert verified.record is not None
    assert unseen_tokens(*verified.record["worked"]) == verified.record["usage"]["out"]


TIMEOUTS: dict[str, tuple[Json, Script]] = {
    "json, no head": (PLAIN, Script(before=[1_000.0])),
    "json, no body": (PLAIN, Script([1_000.0])),
    "stream, no first event": (STREAM, streams(1_000.0)),
}


@pytest.mark.parametrize(("body", "script"), TIMEOUTS.values(), ids=TIMEOUTS)
def test_a_timeout_is_free_and_told_of_by_key_above_five_a_day(body: Json, script: Script) -> None:
    harness = GatewayHarness(rows=ROWS[:1])
    told: list[int] = []
    for _ in range(UNSEEN_TIMEOUTS_PER_DAY + 1):
        harness.plays(script, fails(500))
        harness.chat(body)
        told.append(len(harness.event_log.fields("key_times_out")))
        harness.pass_time(61)
    assert told == [0, 0, 0, 0, 0, 1]
    assert harness.event_log.fields("key_times_out") == [{"key": "k1", "count": 6}]
    assert harness.account()["spent"] == 0
    assert {line["key"] for line in harness.event_log.fields("attempt_timed_out")} == {"k1"}
    assert harness.event_log.fields("attempt_failed")


def test_the_count_is_a_days_and_a_keys() -> None:
    gateway = GatewayHarness().gateway
    counts = [gateway.count_timeout(key, 1.0) for key in ("a", "a", "b")]
    assert counts == [1, 2, 1]
    assert gateway.count_timeout("a", DAY_S + 1.0) == 1


def test_an_answer_in_time_is_no_timeout() -> None:
    harness = GatewayHarness(answers())
    harness.chat(make_body(model="acme-one"))
    assert harness.event_log.fields("attempt_timed_out") == []


def test_of_several_turns_the_last_is_charged_by_its_time() -> None:
    named = {"name": "gateway_datetime", "arguments": "{}"}
    call = {"id": "1", "type": "function", "function": named}
    calls = answers(choices=[{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}])
    harness = GatewayHarness(rows=[replace(ROWS[0], tokens_out_per_s=1)])
    harness.plays(calls, Script(before=[harness.hang_up, 100.0]))
    harness.chat_gone(
        make_body(model="acme-one", max_tokens=100, tools=[{"type": "gateway:datetime"}])
    )
    harness.check_receipts()
    assert [turn[2] for turn in harness.record["turns"]] == [5, 30]
    assert harness.record["worked"] == [30_000, 1, 100]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_call_that_is_cancelled_while_its_request_waits_to_be_written_is_free(
    stream: bool,
) -> None:
    """A heavy request is written beside the loop, after those of others; nothing was sent yet."""
    harness = GatewayHarness(answers())
    words = "a," * (LIGHT_BODY_MARKS_MAX + 1)
    body = make_body(model="acme-one", stream=stream, messages=[{"role": "user", "content": words}])
    others_done = threading.Event()

    async def call() -> None:
        loop = asyncio.get_running_loop()

        def occupied() -> None:
            others = harness.gateway.beside(others_done.wait, heavy=True)
            loop.call_soon(serving.cancel)
            waiting.append(asyncio.ensure_future(others))

        waiting: list[asyncio.Future[bool]] = []
        watch(harness, at("after ledger.hold", occupied))
        serving = asyncio.ensure_future(harness.serve(body))
        with pytest.raises(asyncio.CancelledError):
            await serving
        others_done.set()
        assert await waiting[0]

    asyncio.run(call())
    harness.check_receipts()
    assert harness.upstream.requests == []
    assert harness.record["ended"] == "hang_up"
    assert harness.account()["spent"] == harness.account()["held"] == 0
