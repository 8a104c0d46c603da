"""The function that runs programs. Loads boto3, which starts the tasks."""

import functools

from phigate.aws.environment import AwsClients, LambdaEnvironment
from phigate.aws.fargate import fargate
from phigate.aws.server import FunctionParts, FunctionServer
from phigate.aws.settings import MathSettings
from phigate.core.sandbox.slots import SlotLimits
from phigate.core.types import Task
from phigate.effects.sandbox.slots import DynamoSlots, LimitedSandboxes
from phigate.http.asgi import chats
from phigate.pipeline.tools.figures import ANSWER_CLEANER

NEEDS_STREAMING = (
    "The math agent needs a stack with Streaming=on: without it an answer must be there within "
    "29 seconds."
)
TASKS: tuple[Task, ...] = ("math",)


def math(lambda_environment: LambdaEnvironment | None = None) -> FunctionServer:
    """POST /v1/math/chat/completions. Raises SettingsRefused."""
    make_app = functools.partial(chats, tasks=TASKS)
    return FunctionServer(
        MathSettings, lambda_environment or LambdaEnvironment(), make_app, math_parts
    )


async def math_parts(aws: AwsClients[MathSettings]) -> FunctionParts:
    """Its sandboxes; none without streaming. Raises SecretUnread, SettingsRefused."""
    settings = aws.settings.sandboxes
    if not aws.settings.is_streaming:
        return FunctionParts(no_sandbox=NEEDS_STREAMING)
    sandboxes = await fargate(aws, settings, aws.settings.server.residency.region)
    limits = SlotLimits(stack=settings.per_stack, account=settings.per_account)
    limited = LimitedSandboxes(
        inner=sandboxes,
        slots=DynamoSlots(aws.dynamodb, aws.clock, limits),
    )

    async def wait_idle() -> None:
        await sandboxes.wait_idle()
        await limited.wait_idle()

    return FunctionParts(
        limited, answer_cleaner=ANSWER_CLEANER, wait_idle=wait_idle, close=sandboxes.close
    )
