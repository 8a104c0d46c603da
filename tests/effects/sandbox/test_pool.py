"""The pool of local sandboxes, with servers that are a few scripted lines: every way to fail."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from phigate.core.errors import SandboxError
from phigate.core.sandbox.port import Sandbox
from phigate.effects.clock import WallClock
from phigate.effects.sandbox.pool import AGE_MAX_S, LocalSandboxes
from phigate.effects.sandbox.server import Launch
from tests.effects.sandbox.sandboxes import (
    READY,
    ShiftedClock,
    is_alive,
    opened,
    pool_of,
    processes,
    scripted,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of the local stack, which alone has a pool; test_local.py runs on asyncio's."""
    return ("asyncio", {"use_uvloop": True})


# What a server does instead of becoming ready, and what the caller is told.
NEVER_READY: dict[str, tuple[str, str]] = {
    "nothing can be had here": (
        "sys.stderr.write('no sandbox: bubblewrap is not installed: make setup-sandbox\\n'); "
        "sys.exit(3)",
        "bubblewrap is not installed: make setup-sandbox",
    ),
    "the jail does not start": (
        "say('listening 127.0.0.1:9'); sys.stderr.write('no sandbox: no namespaces\\n'); "
        "sys.exit(3)",
        "no namespaces",
    ),
    "it exits without a word": ("sys.exit(7)", "it exited with 7"),
    "it is killed": ("os.kill(os.getpid(), 9)", "it exited with -9"),
    "it says something else": ("say('hello'); signal.pause()", "it exited with -15"),
    "it listens elsewhere": ("say('listening 0.0.0.0:80'); signal.pause()", "it exited with -15"),
    "a line without an end": ("say('x' * 10_000_000); signal.pause()", "it exited with -15"),
    "it is never ready": ("say('listening 127.0.0.1:9'); signal.pause()", "not ready after 0.5 s"),
    "it floods its log": (
        "sys.stderr.write('x' * 1_000_000 + '\\n\\x1b[31mlast\\n'); sys.exit(1)",
        "[31mlast",
    ),
}


def starts_in(folder: Path) -> int:
    """How many servers left their mark."""
    return len(list(folder.iterdir()))


class CancellingClock(WallClock):
    """The wall clock, at whose n-th look the caller is cancelled."""

    opening: asyncio.Future[Sandbox] | None = None

    def __init__(self, look: int) -> None:
        self._looks_left = look

    def now_s(self) -> float:
        """The time."""
        self._looks_left -= 1
        # A task that cancels itself in its last step would lose its own result.
        is_own = asyncio.current_task() is self.opening
        if self._looks_left <= 0 and self.opening is not None and not is_own:
            self.opening.cancel()
        return super().now_s()


@pytest.mark.parametrize(("script", "told"), NEVER_READY.values(), ids=NEVER_READY)
async def test_a_server_that_does_not_start_is_tried_once_more_and_then_told(
    tmp_path: Path, script: str, told: str
) -> None:
    counted = f"(flag / str(os.getpid())).touch(); {script}"
    async with pool_of(scripted(tmp_path, counted, 0.5 if "0.5" in told else 20.0), size=0) as pool:
        with pytest.raises(SandboxError, match="There is no sandbox") as raised:
            await opened(pool)
        assert told in raised.value.message
        assert starts_in(tmp_path) == (1 if "setup" in told else 2)
        assert processes(tmp_path) == set()


async def test_where_nothing_can_be_had_it_is_said_at_once_and_later_tried_again(
    tmp_path: Path,
) -> None:
    script = f"(flag / str(os.getpid())).touch(); {NEVER_READY['nothing can be had here'][0]}"
    clock = ShiftedClock()
    async with pool_of(
        scripted(tmp_path, script), size=0, clock=clock, tend_interval_s=0.02
    ) as pool:
        line = await pool.banner()
        assert line == "There is no sandbox: bubblewrap is not installed: make setup-sandbox."
        started = starts_in(tmp_path)
        for _ in range(3):
            with pytest.raises(SandboxError, match="bubblewrap"):
                await opened(pool)
        await asyncio.sleep(0.1)
        assert starts_in(tmp_path) == started, "nothing is started to hear it again"
        clock.by_s = 61.0
        with pytest.raises(SandboxError, match="bubblewrap"):
            await opened(pool)
        assert starts_in(tmp_path) > started


async def test_a_command_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    async with pool_of(Launch((str(tmp_path / "python"),), tmp_path)) as pool:
        with pytest.raises(SandboxError, match="No such file"):
            await opened(pool)


async def test_a_start_that_fails_once_is_no_failure(tmp_path: Path) -> None:
    script = f"f = flag / 'x'\nif not f.exists(): f.touch(); sys.exit(1)\n{READY}"
    async with pool_of(scripted(tmp_path, script), size=0) as pool:
        await opened(pool)


async def test_a_failed_refill_is_not_repeated_until_somebody_asks(tmp_path: Path) -> None:
    script = "(flag / str(os.getpid())).touch(); sys.exit(1)"
    async with pool_of(scripted(tmp_path, script), tend_interval_s=0.02) as pool:
        pool.begin()
        await until(lambda: starts_in(tmp_path) >= 4)
        await asyncio.sleep(0.3)
        assert starts_in(tmp_path) == 4, "two starts, each tried twice"
        with pytest.raises(SandboxError):
            await opened(pool)


async def test_the_banner_says_that_sandboxes_are_warm(tmp_path: Path) -> None:
    async with pool_of(scripted(tmp_path, READY)) as pool:
        pool.begin()
        assert await pool.banner() == "2 kept warm, one a request"
        await until(lambda: len(pool.pids) == 2)


async def test_each_server_serves_one_request_and_is_replaced(tmp_path: Path) -> None:
    async with pool_of(scripted(tmp_path, READY)) as pool:
        pool.begin()
        seen: set[int] = set()
        for _ in range(4):
            await until(lambda: len(pool.pids) == 2)
            warm = set(pool.pids)
            assert not warm & seen
            sandbox = await opened(pool)
            (used,) = warm - set(pool.pids)
            seen.add(used)
            await sandbox.close()
            assert not is_alive(used)
        await until(lambda: len(pool.pids) == 2)
        assert processes(tmp_path) == set(pool.pids)
    assert processes(tmp_path) == set()


async def test_a_pooled_server_that_died_is_not_handed_out_and_replaced(tmp_path: Path) -> None:
    async with pool_of(scripted(tmp_path, READY), tend_interval_s=0.05) as pool:
        pool.begin()
        await until(lambda: len(pool.pids) == 2)
        dead = pool.pids[0]
        os.kill(dead, signal.SIGKILL)
        await until(lambda: dead not in pool.pids and len(pool.pids) == 2)
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        await opened(pool)


async def test_a_pooled_server_that_is_too_old_is_replaced(tmp_path: Path) -> None:
    clock = ShiftedClock()
    async with pool_of(scripted(tmp_path, READY), clock=clock, tend_interval_s=0.05) as pool:
        pool.begin()
        await until(lambda: len(pool.pids) == 2)
        old = set(pool.pids)
        clock.by_s = AGE_MAX_S + 1
        await until(lambda: len(pool.pids) == 2 and not set(pool.pids) & old)
        await until(lambda: processes(tmp_path) == set(pool.pids))


async def test_an_old_server_is_not_handed_out_either(tmp_path: Path) -> None:
    clock = ShiftedClock()
    async with pool_of(scripted(tmp_path, READY), clock=clock, tend_interval_s=60) as pool:
        pool.begin()
        await until(lambda: len(pool.pids) == 2)
        old = set(pool.pids)
        clock.by_s = AGE_MAX_S + 1
        await pool.open(account="a", request_id="r", region="CH", until_s=clock.now_s() + 60)
        await until(lambda: not any(is_alive(pid) for pid in old))


async def test_a_sandbox_that_nobody_closes_ends_after_its_time(tmp_path: Path) -> None:
    clock = ShiftedClock()
    async with pool_of(
        scripted(tmp_path, READY), size=0, clock=clock, tend_interval_s=0.05
    ) as pool:
        await opened(pool, live_s=5.0)
        (pid,) = processes(tmp_path)
        clock.by_s = 14.0
        await asyncio.sleep(0.2)
        assert is_alive(pid)
        clock.by_s = 16.0
        await until(lambda: not is_alive(pid))


async def test_a_server_that_ignores_its_end_is_ended_by_force(tmp_path: Path) -> None:
    script = (
        f"signal.signal(15, signal.SIG_IGN)\n{READY.replace('signal.pause()', 'time.sleep(99)')}"
    )
    async with pool_of(scripted(tmp_path, script, stop_timeout_s=0.2), size=0) as pool:
        sandbox = await opened(pool)
        await sandbox.close()
        assert processes(tmp_path) == set()


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13])
async def test_a_caller_who_leaves_while_it_starts_leaves_a_warm_server(
    tmp_path: Path, turns: int
) -> None:
    async with pool_of(scripted(tmp_path, READY), size=1) as pool:
        opening = asyncio.ensure_future(opened(pool))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        outcome, *_ = await asyncio.gather(opening, return_exceptions=True)
        # So many turns may be enough for it to arrive.
        if not isinstance(outcome, BaseException):
            await outcome.close()
        await until(lambda: len(pool.pids) == 1 and processes(tmp_path) == set(pool.pids))
    assert processes(tmp_path) == set()


@pytest.mark.parametrize("look", range(2, 10))
async def test_a_caller_who_leaves_when_the_pool_looks_at_its_clock_loses_no_server(
    tmp_path: Path, look: int
) -> None:
    """One of the looks lies between the server's arrival and its caller's next turn."""
    clock = CancellingClock(look)
    async with pool_of(scripted(tmp_path, READY), size=1, clock=clock) as pool:
        clock.opening = asyncio.ensure_future(opened(pool))
        outcome, *_ = await asyncio.gather(clock.opening, return_exceptions=True)
        kept = 1 if isinstance(outcome, asyncio.CancelledError) else 2
        await until(lambda: len(pool.pids) == 1 and len(processes(tmp_path)) == kept)


async def test_who_waits_is_served_in_turn_and_before_the_pool(tmp_path: Path) -> None:
    async with pool_of(scripted(tmp_path, READY), size=2) as pool:
        order: list[int] = []

        async def one(number: int) -> None:
            await opened(pool)
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(6)))
        assert order == sorted(order)
        await until(lambda: len(pool.pids) == 2)
        assert len(processes(tmp_path)) == 8


async def test_patience_ends_with_the_request(tmp_path: Path) -> None:
    async with pool_of(scripted(tmp_path, "signal.pause()"), size=0) as pool:
        with pytest.raises(SandboxError, match="in time"):
            await opened(pool, live_s=0.3)


@pytest.mark.parametrize("phase", ["starting", "warm", "out", "waiting"])
async def test_closing_the_pool_ends_everything(tmp_path: Path, phase: str) -> None:
    script = "signal.pause()" if phase in ("starting", "waiting") else READY
    pool: LocalSandboxes
    async with pool_of(scripted(tmp_path, script)) as pool:
        pool.begin()
        await until(lambda: len(processes(tmp_path)) == 2)
        if phase == "out":
            await opened(pool)
        opening = asyncio.ensure_future(opened(pool)) if phase == "waiting" else None
        await asyncio.sleep(0.05)
        await pool.close()
        assert processes(tmp_path) == set()
        if opening is not None:
            with pytest.raises(SandboxError, match="ends"):
                await opening
        with pytest.raises(SandboxError):
            await opened(pool)
        assert processes(tmp_path) == set()


async def test_a_server_learns_the_hash_of_its_token_and_nothing_of_ours(tmp_path: Path) -> None:
    script = f"(flag / 'environment').write_text(repr(dict(os.environ)))\n{READY}"
    async with pool_of(scripted(tmp_path, script), size=0) as pool:
        await opened(pool)
        told = (tmp_path / "environment").read_text()
    names = {name for name in os.environ if f"'{name}'" in told}
    assert names <= {"PATH", "LANG", "LC_CTYPE"}
    assert "PHIGATE_SANDBOX_TOKEN_SHA256" in told
