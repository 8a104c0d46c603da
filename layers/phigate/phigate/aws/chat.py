"""The function that chats. Signs receipts; loads no web framework, and nothing that signs texts,
starts tasks or reads drawings.

Where a stack has no math function, its path leads here and is refused, with a receipt.
"""

import functools

from phigate.aws.environment import Aws, Outside
from phigate.aws.server import Extras, Server
from phigate.core.types import Task
from phigate.http.asgi import chats

NO_MATH = "The math agent is switched off in this stack (MathEnabled=false)."
TASKS: tuple[Task, ...] = ("chat", "math")


def chat(outside: Outside | None = None) -> Server:
    """POST /v1/chat/completions. Raises SettingsRefused."""
    surface = functools.partial(chats, tasks=TASKS)
    return Server("chat", outside or Outside(), surface, _extras)


async def _extras(aws: Aws) -> Extras:
    return Extras(no_sandbox=NO_MATH)
