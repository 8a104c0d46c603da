"""The sandboxes of a stack, as the settings of its math and sweeper functions describe them.

Law: one pool a stack, whichever of its jurisdictions a call is for: they share one AWS region, and
two pools in one cluster would each stop the other's tasks.
"""

from phigate.aws.environment import AwsClients
from phigate.aws.settings import SettingsRefused, Tasks
from phigate.core.sandbox.port import Sandbox
from phigate.effects.aws.secret_parameter import secret_parameter
from phigate.effects.sandbox.ecs_tasks import TaskPlacement
from phigate.effects.sandbox.fargate_sandbox import FargateSandboxes


async def fargate(aws: AwsClients, tasks: Tasks) -> FargateSandboxes:
    """Sandboxes on Fargate. Raises SecretUnread; SettingsRefused for a secret that is empty."""
    aws_region = aws.settings.aws_region
    secret = await secret_parameter(
        tasks.secret_name,
        aws_region=aws_region,
        endpoint=aws.outside.endpoint("secretsmanager", aws_region),
    )
    if secret is None:
        raise SettingsRefused(
            f"{aws.settings.function} does not start: the sandbox secret is empty"
        )
    place = TaskPlacement(
        aws_region=aws_region,
        cluster=tasks.cluster,
        task_definition=tasks.task_definition,
        subnets=tasks.subnets,
        security_groups=tasks.security_groups,
    )
    return FargateSandboxes(
        places={aws.settings.region: place},
        secret=secret.encode(),
        dynamo=aws.dynamodb,
        clock=aws.clock,
        event_log=aws.event_log,
        image=tasks.image,
        warm_pool_size=tasks.warm_pool,
    )


class OnePool:
    """Sandboxes that all come from the stack's own region."""

    def __init__(self, inner: FargateSandboxes, region: str) -> None:
        self._inner = inner
        self._region = region

    async def open(self, *, account: str, request_id: str, region: str, until_s: float) -> Sandbox:
        """See Sandboxes."""
        return await self._inner.open(
            account=account, request_id=request_id, region=self._region, until_s=until_s
        )
