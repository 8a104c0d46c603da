"""Work that outlives who began it: settling, stopping, telling others.

Law: work that was spawned runs to its end, whatever becomes of its caller, and is waited for before
a process is frozen or ends. Work of best effort is waited for a moment, then given up.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from phigate.core.limits import ADVICE_TIMEOUT_S


class BackgroundTasks:
    """One set of tasks. Use it from one event loop at a time."""

    def __init__(self) -> None:
        # The loop itself keeps no task alive.
        self._running: set[asyncio.Task[None]] = set()
        self._best_effort: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin `work`, which runs to its end whatever becomes of who began it."""
        return _kept(work, self._running)

    async def run_shielded(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end even when the caller of this method is cancelled."""
        await asyncio.shield(self.spawn(work))

    def spawn_best_effort(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin `work` that may be given up: nothing but advice is lost."""
        _kept(work, self._best_effort)

    async def wait_idle(self) -> None:
        """Wait for what was spawned, also by what is waited for, then for best effort a moment."""
        while self._running:
            await _finished(self._running)
        if self._best_effort:
            _, late = await asyncio.wait(self._best_effort, timeout=ADVICE_TIMEOUT_S)
            for work in late:
                work.cancel()


def _kept(
    work: Coroutine[Any, Any, None], among: "set[asyncio.Task[None]]"
) -> "asyncio.Task[None]":
    task = asyncio.ensure_future(work)
    among.add(task)
    task.add_done_callback(among.discard)
    return task


async def _finished(tasks: "set[asyncio.Task[None]]") -> None:
    """Wait without cancelling them; a failure of one is its own, and no other waits less."""
    done, _ = await asyncio.wait(tasks)
    for task in done:
        if not task.cancelled():
            task.exception()
