"""A failure that nobody awaits is named by its class; nothing that it quotes is written."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from phigate.core.background_tasks import BackgroundTasks
from phigate.effects.loop_failures import record_loop_failures
from tests.fakes import RecordingEventLog

CANARY = "canary-prompt-left-knee"


class Quoting(Exception):
    """A failure that quotes the request."""


async def quoting() -> None:
    raise Quoting(CANARY)


async def unreadable() -> None:
    """Its text names one byte, its repr all of them."""
    f"{CANARY}\udcff".encode()


def callback(text: str) -> None:
    raise Quoting(text)


@pytest.fixture(autouse=True)
def asyncio_speaks() -> Iterator[None]:
    """The switch is the process's; whoever comes after this test finds it as it was."""
    logger = logging.getLogger("asyncio")
    was, logger.disabled = logger.disabled, False
    yield
    logger.disabled = was


async def unawaited(begin: Callable[[], Any]) -> None:
    begin()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()


BEGUN: dict[str, tuple[Callable[[], Any], str]] = {
    "spawned work": (lambda: BackgroundTasks().spawn(quoting()), "Quoting"),
    "best effort": (lambda: BackgroundTasks().spawn_best_effort(quoting()), "Quoting"),
    "a text that cannot be written": (
        lambda: BackgroundTasks().spawn(unreadable()),
        "UnicodeEncodeError",
    ),
    "a callback": (
        lambda: asyncio.get_running_loop().call_soon(callback, CANARY),
        "Quoting",
    ),
    "what has no failure": (
        lambda: asyncio.get_running_loop().call_exception_handler({"message": CANARY}),
        "",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", BEGUN)
async def test_asyncio_itself_would_quote_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.get_running_loop().set_exception_handler(None)
    await unawaited(BEGUN[name][0])
    assert CANARY in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize("name", BEGUN)
async def test_its_class_alone_is_recorded(name: str, caplog: pytest.LogCaptureFixture) -> None:
    event_log = RecordingEventLog()
    begin, kind = BEGUN[name]
    record_loop_failures(asyncio.get_running_loop(), event_log)
    await unawaited(begin)
    assert event_log.notes == [("loop_failure", {"kind": kind})]
    assert caplog.text == ""


@pytest.mark.anyio
async def test_a_log_that_cannot_be_written_makes_asyncio_quote_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def record(self, event: str, **fields: object) -> None:
            raise OSError("the stream is closed")

    record_loop_failures(asyncio.get_running_loop(), Broken())
    await unawaited(BEGUN["spawned work"][0])
    assert caplog.text == ""


@pytest.mark.anyio
async def test_debug_mode_writes_no_arguments(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    record_loop_failures(loop, RecordingEventLog())
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    try:
        loop.call_soon(len, CANARY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        loop.set_debug(False)
    assert CANARY not in caplog.text
