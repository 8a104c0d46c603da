"""The life of one execution environment: restore, start, serve invocations in turn, stop.

Laws: under SnapStart nothing but imports happens before the restore: the factory is called and the
lifespan started behind it. One event loop and one application live over all invocations. Whatever
fails before the first invocation is reported to Lambda, and the process ends.
"""

import asyncio
import sys
from typing import Any

from streaming_runtime.errors import start_report
from streaming_runtime.handler import app_of
from streaming_runtime.invocation import Parts, serve
from streaming_runtime.lifespan import Lifespan
from streaming_runtime.types import App

RESTORE_S = 9.0  # Lambda ends a restore after 10 s; one is left to say why
SHUTDOWN_S = 0.2  # SIGKILL follows 0.3 s behind SIGTERM when an extension is there, else at once


async def run(found: Any, parts: Parts, *, snap_start: bool, restore_s: float = RESTORE_S) -> int:
    """Serve until cancelled (0), or until the start fails (1). Raises RuntimeApiGone."""
    try:
        if snap_start:
            await parts.api.restore_next()
            _reseed()
        try:
            async with asyncio.timeout(restore_s if snap_start else None):
                app = app_of(found)
                lifespan = Lifespan(app)
                await lifespan.startup()
        except (Exception, SystemExit) as error:
            await _report(error, parts, snap_start=snap_start)
            return 1
        return await _serve_all(app, lifespan, parts)
    finally:
        parts.api.close()


async def _report(error: BaseException, parts: Parts, *, snap_start: bool) -> None:
    kind = "Runtime.RestoreFailed" if snap_start else "Runtime.InitFailed"
    report = start_report(kind, error)
    parts.journal.note(kind, error=report.message, where=report.frames)
    await (parts.api.restore_error if snap_start else parts.api.init_error)(report)


async def _serve_all(app: App, lifespan: Lifespan, parts: Parts) -> int:
    if lifespan.unsupported is not None:
        parts.journal.note("no_lifespan", error=type(lifespan.unsupported).__name__)
    try:
        while True:
            await serve(app, await parts.api.next(), parts, lifespan.state)
    except asyncio.CancelledError:
        parts.journal.note("stopped")
        return 0
    finally:
        await lifespan.shutdown(SHUTDOWN_S)


def _reseed() -> None:
    """A snapshot holds one state of the generator for all environments that come of it."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
