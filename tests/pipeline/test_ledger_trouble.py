"""A store that does not answer: what the caller is told, and that one request has one receipt."""

import asyncio
from collections.abc import Callable

import pytest

from phigate.core.errors import InternalError, Overloaded, PhigateError
from phigate.core.types import Json
from tests.fakes import Script
from tests.pipeline.await_points import at, failing, sweeps_at, watch
from tests.pipeline.gateway_harness import (
    DONE,
    GOOD_STREAM,
    PLAIN,
    STREAM,
    USAGE_MICROS,
    GatewayHarness,
    answers,
    fails,
)

BODIES = {"json": PLAIN, "stream": STREAM}
# A write that failed may have been made or not.
MADE = {"not written": "before", "written": "after"}
ERRORS: dict[str, Callable[[], PhigateError]] = {
    "overloaded": lambda: Overloaded("The account store did not answer in time."),
    "not accepted": lambda: InternalError("The account store did not accept it."),
}


def good(body: Json) -> Script:
    return GOOD_STREAM if body.get("stream") else answers()


def settled(harness: GatewayHarness, spent_micros: int) -> None:
    """After the sweeper came, every micro is in its place."""
    harness.account()
    harness.sweep()
    assert harness.account()["held"] == 0
    assert harness.account()["spent"] == spent_micros
    assert sum(cost for _, cost in harness.receipts().values()) == spent_micros


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("when", MADE.values(), ids=MADE)
def test_a_hold_without_an_answer_is_overloaded_and_calls_nobody(when: str, body: Json) -> None:
    harness = GatewayHarness()
    watch(harness, failing(f"{when} ledger.hold", ERRORS["overloaded"]))
    told = harness.chat(body)
    assert (told.status, told.error["code"]) == (503, "overloaded")
    assert harness.upstream.requests == []
    assert harness.event_log.fields("refusal_without_receipt") == [{"code": "overloaded"}]
    settled(harness, 0)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("when", MADE.values(), ids=MADE)
def test_a_json_answer_without_a_receipt_is_withheld_and_no_second_receipt_is_written(
    when: str, error: Callable[[], PhigateError]
) -> None:
    harness = GatewayHarness(answers("the answer"))
    points: list[str] = []
    watch(harness, failing(f"{when} ledger.put_receipt", error, seen=points))
    told = harness.chat(PLAIN)
    assert told.status == (503 if isinstance(error(), Overloaded) else 500)
    assert told.error["code"] == error().code
    assert told.headers["x-should-retry"] == "false"
    assert b"the answer" not in told.body
    assert points.count("before ledger.put_receipt") == 1
    assert "before ledger.settle" not in points
    # What stands in the store decides: the receipt with its charge, or the sweeper's nothing.
    settled(harness, USAGE_MICROS if when == "after" else 0)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("when", MADE.values(), ids=MADE)
def test_a_stream_without_a_receipt_ends_with_an_error_event(
    when: str, error: Callable[[], PhigateError]
) -> None:
    harness = GatewayHarness(GOOD_STREAM)
    points: list[str] = []
    watch(harness, failing(f"{when} ledger.put_receipt", error, seen=points))
    told = harness.chat(STREAM)
    *_, last = told.chunks
    assert last["error"]["code"] == error().code
    assert told.body.endswith(b"\n\n" + DONE)
    assert b": phi" not in told.body
    assert points.count("before ledger.put_receipt") == 1
    assert "before ledger.settle" not in points
    settled(harness, USAGE_MICROS if when == "after" else 0)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("when", MADE.values(), ids=MADE)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_answer_stands_when_its_settle_is_not_confirmed(
    body: Json, when: str, error: Callable[[], PhigateError]
) -> None:
    harness = GatewayHarness(good(body))
    watch(harness, failing(f"{when} ledger.settle", error))
    told = harness.chat(body)
    assert told.status == 200
    assert told.body.endswith(DONE) == (body is STREAM)
    noted = harness.event_log.fields("settle_not_confirmed")
    assert [fields["id"] for fields in noted] == [told.headers["x-phi-receipt"]]
    assert noted[0]["kind"] == type(error()).__name__
    settled(harness, USAGE_MICROS)


@pytest.mark.parametrize("when", MADE.values(), ids=MADE)
def test_a_refusal_stands_when_its_receipt_cannot_be_written(when: str) -> None:
    harness = GatewayHarness()
    watch(harness, failing(f"{when} ledger.put_receipt", ERRORS["overloaded"]))
    told = harness.chat(b"{")
    assert (told.status, told.error["code"]) == (400, "invalid_request")
    assert "x-phi-receipt" not in told.headers
    settled(harness, 0)


def test_a_failure_of_every_provider_stands_when_its_receipt_cannot_be_written() -> None:
    harness = GatewayHarness(*[fails(500)] * 3)
    watch(harness, failing("before ledger.put_receipt", ERRORS["overloaded"]))
    assert harness.chat(PLAIN).status == 502
    settled(harness, 0)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_receipt_that_comes_after_the_sweeper_is_charged_once(body: Json) -> None:
    harness = GatewayHarness(good(body))
    watch(harness, sweeps_at("before ledger.put_receipt", harness))
    told = harness.chat(body)
    assert told.status == 200
    assert [line for line in harness.log if line[0] != "hold"] == [
        ("receipt", USAGE_MICROS, "late")
    ]
    settled(harness, USAGE_MICROS)


def test_a_call_that_finds_holds_past_their_time_sweeps_them() -> None:
    harness = GatewayHarness(answers())
    watch(harness, failing("after ledger.hold", ERRORS["overloaded"], times=2))
    harness.chat(PLAIN)
    assert harness.account()["held"] > 0
    harness.pass_time(10_000)
    assert harness.chat(PLAIN).status == 200
    assert harness.account()["held"] == 0


@pytest.mark.parametrize("point", ["before ledger.settle", "after ledger.settle"])
def test_a_bug_after_a_failures_receipt_still_names_it(point: str) -> None:
    harness = GatewayHarness(*[fails(500)] * 3)
    watch(harness, failing(point, lambda: RuntimeError("a bug")))
    with pytest.raises(InternalError) as raised:
        asyncio.run(harness.serve(PLAIN))
    assert raised.value.headers == {"x-phi-receipt": harness.record["id"]}
    assert harness.event_log.fields("bug") == [{"kind": "RuntimeError"}]
    settled(harness, 0)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_who_is_cancelled_twice_after_the_settle_has_abandoned_nothing(body: Json) -> None:
    harness = GatewayHarness(good(body))

    async def cancelled_twice() -> None:
        serving = asyncio.create_task(harness.serve(body))

        def cancel_again() -> None:
            asyncio.get_running_loop().call_soon(_cancel, serving)

        def cancel() -> None:
            serving.cancel()
            asyncio.get_running_loop().call_soon(cancel_again)

        watch(harness, at("before ledger.settle", cancel))
        await asyncio.wait([serving])
        await harness.gateway.wait_idle()

    asyncio.run(cancelled_twice())
    assert harness.event_log.fields("abandoned_hold") == []
    settled(harness, USAGE_MICROS)


def _cancel(serving: asyncio.Task[None]) -> None:
    serving.cancel()
