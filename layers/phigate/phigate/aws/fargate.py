"""The sandboxes of a stack, as the settings of its math and sweeper functions describe them.

Law: one pool a stack, whichever of its jurisdictions a call is for: they share one AWS region, and
two pools in one cluster would each stop the other's tasks.
"""

from phigate.aws.environment import AwsClients
from phigate.aws.settings import (
    MathSettings,
    SandboxSettings,
    SettingsRefused,
    SweeperSettings,
)
from phigate.effects.aws.secret_parameter import secret_parameter
from phigate.effects.sandbox.ecs_tasks import TaskPlacement
from phigate.effects.sandbox.fargate_sandbox import FargateSandboxes


async def fargate(
    aws: AwsClients[MathSettings | SweeperSettings], settings: SandboxSettings, region: str
) -> FargateSandboxes:
    """Sandboxes on Fargate; the pool's records name the stack's region.

    Raises SecretUnread; SettingsRefused for a secret that is empty.
    """
    aws_region = aws.settings.common.aws_region
    secret = await secret_parameter(
        settings.secret_name,
        aws_region=aws_region,
        endpoint=aws.endpoint("secretsmanager"),
    )
    if secret is None:
        raise SettingsRefused(f"{aws.function} does not start: the sandbox secret is empty")
    place = TaskPlacement(
        aws_region=aws_region,
        cluster=settings.cluster,
        task_definition=settings.task_definition,
        subnets=settings.subnets,
        security_groups=settings.security_groups,
    )
    return FargateSandboxes(
        place=place,
        region=region,
        secret=secret.encode(),
        dynamo=aws.dynamodb,
        clock=aws.clock,
        event_log=aws.event_log,
        image=settings.image,
        warm_pool_size=settings.warm_pool,
    )
