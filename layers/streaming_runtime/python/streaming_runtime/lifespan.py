"""ASGI's lifespan: one long call of the application round all of its requests.

Specification: https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

import asyncio
from typing import Any

from streaming_runtime.errors import LifespanFailed
from streaming_runtime.types import App, Message


class Lifespan:
    """Startup and shutdown of one application."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Future[None] | None = None

    async def startup(self) -> None:
        """Start it; one that knows no lifespans is taken as started. Raises LifespanFailed."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        self._task = asyncio.ensure_future(self._app(scope, self._to_app.get, self._take))
        self._task.add_done_callback(_seen)
        if await self._ask("lifespan.startup") == "lifespan.startup.failed":
            raise LifespanFailed("The application refused to start.")

    async def shutdown(self, timeout_s: float) -> None:
        """Let the application end, within a limit."""
        if self._task is None or self._task.done():
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._ask("lifespan.shutdown")
                await asyncio.wait({self._task})
        except TimeoutError:
            pass
        finally:
            self._task.cancel()

    @property
    def unsupported(self) -> BaseException | None:
        """What an application raised instead of starting: it knows no lifespans, or has a bug."""
        task = self._task
        return task.exception() if task and task.done() and not task.cancelled() else None

    async def _ask(self, message_type: str) -> str | None:
        """Send one message; None when the application ended without an answer."""
        await self._to_app.put({"type": message_type})
        answer = asyncio.ensure_future(self._from_app.get())
        try:
            tasks: set[asyncio.Future[Any]] = {answer, *([self._task] if self._task else [])}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            # Answered and ended in one step.
            return None if self._from_app.empty() else self._from_app.get_nowait()
        finally:
            answer.cancel()

    async def _take(self, message: Message) -> None:
        self._from_app.put_nowait(str(message["type"]))


def _seen(task: asyncio.Future[None]) -> None:
    """Its exception is looked at, or is of no interest any more."""
    if not task.cancelled():
        task.exception()
