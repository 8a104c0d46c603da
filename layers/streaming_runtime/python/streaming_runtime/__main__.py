"""Started by the wrapper script in the managed runtime's place. Alone reads the environment.

AWS_LAMBDA_RUNTIME_API, _HANDLER, LAMBDA_TASK_ROOT, AWS_LAMBDA_INITIALIZATION_TYPE are Lambda's;
STREAMING_RUNTIME_RESPONSE=buffered and STREAMING_RUNTIME_FAILURES=module.attribute are ours.
"""

import asyncio
import contextlib
import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from streaming_runtime import handler, loop
from streaming_runtime.errors import HandlerNotFound, RuntimeApiGone, start_report
from streaming_runtime.failures import PlainFailures
from streaming_runtime.invocation import MakeSink, Parts
from streaming_runtime.journal import StderrJournal
from streaming_runtime.runtime_api import RuntimeApi
from streaming_runtime.sinks import BufferSink, StreamSink
from streaming_runtime.types import Failures, Journal, Timer

_LAYERS = Path(__file__).resolve().parents[1]  # all layers are laid into the same folder
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_SINKS: Mapping[str, MakeSink] = {"streaming": StreamSink, "buffered": BufferSink}


def main(environment: MutableMapping[str, str]) -> int:
    """Run the function that the environment names."""
    journal = StderrJournal(environment)
    # The function's own code first, as in the managed runtime; PYTHONPATH names the layers.
    sys.path.insert(0, environment.get("LAMBDA_TASK_ROOT", "/var/task"))
    sys.path.append(str(_LAYERS / f"lib/python{_VERSION}/site-packages"))
    api = RuntimeApi(environment["AWS_LAMBDA_RUNTIME_API"], journal)
    # What is imported stays: to look through it for garbage takes 7 % of a cold start.
    gc.disable()
    try:
        # Before the event loop runs: a module may use one of its own while it is imported.
        found = handler.find(environment.get("_HANDLER", ""))
        parts = Parts(
            api=api,
            make_sink=_SINKS[environment.get("STREAMING_RUNTIME_RESPONSE", "streaming")],
            failures=_failures(environment.get("STREAMING_RUNTIME_FAILURES", "")),
            journal=journal,
            alarm=alarm,
            trace=journal.begin,
        )
    except (HandlerNotFound, KeyError) as error:
        report = start_report("Runtime.InitFailed", error)
        journal.note(report.type, error=report.message, where=report.frames)
        with contextlib.suppress(RuntimeApiGone):
            asyncio.run(api.init_error(report))
        return 1
    gc.freeze()
    gc.enable()
    snap_start = environment.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    return asyncio.run(_until_stopped(found, parts, journal, snap_start=snap_start))


async def _until_stopped(found: Any, parts: Parts, journal: Journal, *, snap_start: bool) -> int:
    asyncio.get_running_loop().set_exception_handler(functools.partial(_note_failure, journal))
    running = asyncio.ensure_future(loop.run(found, parts, snap_start=snap_start))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        return await running
    except RuntimeApiGone as gone:
        journal.note("runtime_api_gone", reason=str(gone))
        return 1
    except asyncio.CancelledError:  # stopped before the start was over
        return 0


def _note_failure(journal: Journal, _loop: object, context: Mapping[str, Any]) -> None:
    """A failure that nobody awaits, by its class: asyncio would write its text, which may quote a
    request. An application may have a handler of its own."""
    failure = context.get("exception")
    journal.note("loop_failure", error=type(failure).__name__ if failure else "")


def alarm(at_s: float, ring: Callable[[], None]) -> Timer:
    """See types.Alarm."""
    if at_s == float("inf"):
        return asyncio.get_running_loop().call_later(_NEVER_S, ring)
    return asyncio.get_running_loop().call_later(max(0.0, at_s - time.time()), ring)


# Lambda always names a deadline; an event loop refuses to wait for ever.
_NEVER_S = 24 * 3600.0


def _failures(name: str) -> Failures:
    found: Failures = handler.find(name) if name else PlainFailures()
    return found


if __name__ == "__main__":
    sys.exit(main(os.environ))
