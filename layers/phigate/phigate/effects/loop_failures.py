"""What an event loop is told of: failures that nobody awaits, and those of sockets.

Law: a failure is named by its class alone. asyncio's own handler writes its text and its `repr`,
where a UnicodeError holds all that it could not read, and the arguments of callbacks; so would
asyncio's logger in debug mode.
"""

import asyncio
import logging
from functools import partial
from typing import Any

from phigate.core.event_log import EventLog


def record_loop_failures(loop: asyncio.AbstractEventLoop, event_log: EventLog) -> None:
    """Record them from now on, in place of what asyncio would write."""
    loop.set_exception_handler(partial(_record, event_log))
    # Also where the line above cannot be written: asyncio would then write what it was about.
    logging.getLogger("asyncio").disabled = True


def _record(event_log: EventLog, _loop: object, context: dict[str, Any]) -> None:
    failure = context.get("exception")
    event_log.record("loop_failure", kind="" if failure is None else type(failure).__name__)
