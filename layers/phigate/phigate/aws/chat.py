"""The function that chats. Signs receipts; loads no web framework, and nothing that signs texts or
starts tasks."""

import functools

from phigate.aws.outside import Outside
from phigate.aws.server import Server
from phigate.core.types import Task
from phigate.http.surface import chats

TASKS: tuple[Task, ...] = ("chat",)


def chat(outside: Outside | None = None) -> Server:
    """POST /v1/chat/completions. Raises SettingsRefused."""
    return Server("chat", outside or Outside(), functools.partial(chats, tasks=TASKS))
