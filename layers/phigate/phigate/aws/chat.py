"""The function that chats. Signs receipts; loads no web framework, and nothing that signs texts,
starts tasks or reads drawings.

Where a stack has no math function, its path leads here and is refused, with a receipt.
"""

import functools

from phigate.aws.environment import AwsClients, LambdaEnvironment
from phigate.aws.server import FunctionParts, FunctionServer
from phigate.aws.settings import ChatSettings
from phigate.core.types import Task
from phigate.http.asgi import chats

NO_MATH = "The math agent is switched off in this stack (MathEnabled=false)."
TASKS: tuple[Task, ...] = ("chat", "math")


def chat(lambda_environment: LambdaEnvironment | None = None) -> FunctionServer:
    """POST /v1/chat/completions. Raises SettingsRefused."""
    make_app = functools.partial(chats, tasks=TASKS)
    return FunctionServer(
        ChatSettings, lambda_environment or LambdaEnvironment(), make_app, _function_parts
    )


async def _function_parts(aws: AwsClients[ChatSettings]) -> FunctionParts:
    return FunctionParts(no_sandbox=NO_MATH)
