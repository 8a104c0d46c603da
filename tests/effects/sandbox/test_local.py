"""The local pool with the real server in bubblewrap: results, bursts, and nothing left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from phigate.core.errors import SandboxError
from phigate.core.sandbox.port import Sandbox
from phigate.effects.sandbox.pool import LocalSandboxes
from phigate.effects.sandbox.session import HttpSandbox
from tests.effects.sandbox.sandboxes import (
    ROOT,
    descendants,
    is_alive,
    nothing_left_after,
    opened,
    orphaned_groups,
    pool_of,
    processes,
    real_launch,
    two,
    until,
    why_not,
)

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(bool(why_not()), reason=why_not() or "it runs")]

# A gateway that keeps one warm sandbox and one in the middle of a program, and then is killed.
GATEWAY = """
import asyncio, sys
from tests.effects.sandbox.sandboxes import opened, pool_of, real_launch, until
async def main():
    async with pool_of(real_launch(), size=1) as pool:
        sandbox = await opened(pool)
        await until(lambda: len(pool.pids) == 1)
        running = asyncio.ensure_future(sandbox.run("python", "while True: pass", 60))
        await asyncio.sleep(0.3)
        print("running", flush=True)
        await running
asyncio.run(main())
"""


async def test_a_session_keeps_its_variables_and_another_has_none_of_them() -> None:
    async with pool_of(real_launch()) as pool:
        first, second = await opened(pool), await opened(pool)
        await first.run("python", "secret = 41", 20.0)
        ran = await first.run("python", "secret + 1", 20.0)
        assert (ran.value, ran.exit_code, ran.figures) == ("42", 0, ())
        ran = await second.run("python", "secret", 20.0)
        assert ran.exit_code == 1
        assert "NameError" in ran.stderr
        await first.close()
        await second.close()
        await first.close()
        with pytest.raises(SandboxError, match="has ended"):
            await first.run("python", "1", 20.0)
    assert processes() == set()


async def test_a_program_that_fails_is_a_result() -> None:
    async with pool_of(real_launch(), size=1) as pool:
        sandbox = await opened(pool)
        ran = await sandbox.run("python", "import os; os._exit(3)", 20.0)
        assert ran.exit_code != 0
        ran = await sandbox.run("python", "while True: pass", 0.3)
        assert "wall" in ran.limits
        ran = await sandbox.run("python", "'\ud800'", 20.0)
        assert ran.exit_code == 1
        await two(sandbox)


async def test_a_figure_arrives_as_svg() -> None:
    async with pool_of(real_launch(), size=1) as pool:
        sandbox = await opened(pool)
        plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
        (svg,) = (await sandbox.run("python", plot, 60.0)).figures
        assert "<svg" in svg


async def test_with_the_wrong_token_nothing_runs() -> None:
    async with pool_of(real_launch(), size=1) as pool:
        right = await opened(pool)
        assert isinstance(right, HttpSandbox)
        wrong = HttpSandbox(
            base_url=right.base_url, token="0" * 64, image="i", end=lambda: asyncio.sleep(0)
        )
        with pytest.raises(SandboxError):
            await wrong.run("python", "1 + 1", 5.0)
        await wrong.close()
        await two(right)


async def test_eight_requests_at_once() -> None:
    async def request(pool: LocalSandboxes) -> None:
        sandbox = await opened(pool)
        for _ in range(2):
            await two(sandbox)
        await sandbox.close()

    async with pool_of(real_launch()) as pool:
        pool.begin()
        await asyncio.gather(*(request(pool) for _ in range(8)))
        await until(lambda: len(pool.pids) == 2)
        assert processes() == set(pool.pids)
    assert processes() == set()


async def test_nothing_is_left_after_a_few_sessions() -> None:
    """Fifty of them are `make test-sandbox`."""
    await nothing_left_after(4)


async def killed(sandbox: Sandbox) -> None:
    """The server is killed while a program runs."""
    running = asyncio.ensure_future(sandbox.run("python", "while True: pass", 30.0))
    await asyncio.sleep(0.2)
    for pid in processes():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(SandboxError):
        await running


async def cancelled(sandbox: Sandbox) -> None:
    """The caller leaves while a program runs."""
    running = asyncio.ensure_future(sandbox.run("python", "while True: pass", 30.0))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def cancelled_at_once(sandbox: Sandbox) -> None:
    """The caller leaves before the program was sent."""
    running = asyncio.ensure_future(sandbox.run("python", "1", 30.0))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def left(sandbox: Sandbox) -> None:
    """The caller leaves between two programs."""
    await two(sandbox)


ENDS: tuple[Callable[[Sandbox], Awaitable[None]], ...] = (
    killed,
    cancelled,
    cancelled_at_once,
    left,
)


@pytest.mark.parametrize("end", ENDS)
async def test_nothing_is_left_however_a_request_ends(
    end: Callable[[Sandbox], Awaitable[None]],
) -> None:
    before = orphaned_groups()
    others = descendants(os.getpid())  # engines and stacks of other tests
    async with pool_of(real_launch(), size=0) as pool:
        sandbox = await opened(pool)
        below = descendants(os.getpid()) - others
        assert len(below) > 2
        await end(sandbox)
        await sandbox.close()
        await until(lambda: not any(is_alive(pid) for pid in below))
        # The next request works.
        await two(await opened(pool))
    assert processes() == set()
    assert orphaned_groups() <= before


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3, 1.0])
async def test_a_caller_who_leaves_during_a_cold_start(after_s: float) -> None:
    others = descendants(os.getpid())
    async with pool_of(real_launch(), size=0) as pool:
        opening = asyncio.ensure_future(opened(pool))
        await asyncio.sleep(after_s)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert processes() == set()
    assert descendants(os.getpid()) <= others


async def test_a_gateway_that_is_killed_takes_its_sandboxes_along() -> None:
    gateway = subprocess.Popen(  # noqa: ASYNC220  # it is waited for in a thread
        [sys.executable, "-c", GATEWAY], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert gateway.stdout is not None
    assert await asyncio.to_thread(gateway.stdout.readline) == "running\n"
    below = descendants(gateway.pid)
    assert len(below) > 6, json.dumps(sorted(below))
    gateway.kill()
    await asyncio.to_thread(gateway.wait)
    gateway.stdout.close()
    await until(lambda: not any(is_alive(pid) for pid in below), 10.0)
