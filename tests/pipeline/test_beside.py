"""What waits beside the loop for others' bodies was sent to nobody: it costs nothing, no row is
blamed for the wait, and what came meanwhile counts."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from phigate.core.limits import JSON_TIMEOUT_S
from phigate.core.types import Json
from tests.builders import NOW_S, make_agreement, make_row
from tests.fakes import Script
from tests.pipeline.gateway_harness import (
    DONE,
    PLAIN,
    USAGE_CHUNK,
    GatewayHarness,
    answers,
    chunk,
    streams,
)

HEAVY: Json = {**PLAIN, "messages": [{"role": "user", "content": "a," * 5_000}]}
READ, WRITTEN = 1, 2  # what is made of a heavy request beside the loop, in order


class Queue(Executor):
    """The thread beside the loop, busy with others: before the n-th work `meanwhile` happens. Where
    `ends` is false that work never gets its turn."""

    def __init__(self, nth: int, meanwhile: Callable[[], object], *, ends: bool = True) -> None:
        self._left = nth
        self._meanwhile = meanwhile
        self._ends = ends

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._left -= 1
        if self._left == 0:
            self._meanwhile()
            if not self._ends:
                return future
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("nth", [READ, WRITTEN])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_who_is_cancelled_while_waiting_pays_nothing(nth: int, stream: bool) -> None:
    harness = GatewayHarness(answers())

    async def cancelled() -> None:
        waits = asyncio.Event()
        harness.use(_beside=Queue(nth, waits.set, ends=False))
        serving = asyncio.ensure_future(harness.serve({**HEAVY, "stream": stream}))
        await waits.wait()
        await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving])
        await harness.gateway.wait_idle()

    asyncio.run(cancelled())
    assert harness.upstream.requests == []
    assert harness.account()["spent"] == harness.account()["held"] == 0
    harness.check_receipts()


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_who_goes_while_waiting_is_sent_nowhere_and_pays_nothing(stream: bool) -> None:
    harness = GatewayHarness(streams(chunk(), USAGE_CHUNK, DONE) if stream else answers())
    harness.use(_beside=Queue(WRITTEN, harness.hang_up))
    harness.chat_gone({**HEAVY, "stream": stream})
    assert harness.record["ended"] == "hang_up"
    assert harness.upstream.requests == []
    assert harness.account()["spent"] == harness.account()["held"] == 0
    harness.check_receipts()


def test_the_wait_is_no_work_of_the_rows() -> None:
    harness = GatewayHarness()
    harness.plays(Script([2.0, harness.hang_up, 31.0]))
    harness.use(_beside=Queue(WRITTEN, lambda: harness.pass_time(100)))
    harness.chat_gone(HEAVY)
    worked_ms, _, _ = harness.record["worked"]
    assert worked_ms < 40_000


def test_an_agreement_that_lapses_in_the_wait_stops_what_waited() -> None:
    agreement = make_agreement(expires_at_s=int(NOW_S) + 50)
    harness = GatewayHarness(answers(), rows=[make_row("acme-one", agreement=agreement)])
    harness.use(_beside=Queue(WRITTEN, lambda: harness.pass_time(60)))
    told = harness.chat(HEAVY, {"x-phi": "true"})
    assert told.status in (403, 502)
    assert harness.upstream.requests == []
    assert harness.account()["spent"] == 0


def test_a_wait_until_the_deadline_is_no_timeout_of_the_rows() -> None:
    harness = GatewayHarness()
    harness.use(_beside=Queue(WRITTEN, lambda: harness.pass_time(JSON_TIMEOUT_S + 1)))
    assert harness.chat(HEAVY).status == 504
    assert harness.upstream.requests == []
    assert harness.account()["spent"] == 0
    assert not harness.event_log.fields("attempt_timed_out")
    assert not harness.event_log.fields("attempt_failed")


def test_a_wait_takes_nothing_of_the_time_for_a_first_byte() -> None:
    harness = GatewayHarness(streams(60.0, chunk(), USAGE_CHUNK, DONE))
    harness.use(_beside=Queue(WRITTEN, lambda: harness.pass_time(100)))
    told = harness.chat({**HEAVY, "stream": True})
    assert told.status == 200
    assert len(harness.upstream.requests) == 1
