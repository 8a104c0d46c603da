"""The function that chats. Signs receipts; loads nothing that signs texts or starts tasks."""

from phigate.aws.outside import Outside
from phigate.aws.server import Server
from phigate.core.types import Task

TASKS: tuple[Task, ...] = ("chat",)


def chat(outside: Outside | None = None) -> Server:
    """POST /v1/chat/completions. Raises SettingsRefused."""
    return Server("chat", outside or Outside(), TASKS)
