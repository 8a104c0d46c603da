"""ECS in one region, by boto3 in threads: start, describe, stop and list sandbox tasks.

Laws: nothing else imports boto3; a call is sent once, and whether it may be sent again is told by
its outcome; a start that is sent again carries the same client token and starts nothing twice.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected

from phigate.core.sandbox.tasks import ERRORS, EXPIRES_TAG, Outcome, Task, failure_outcome, task_of

HASH_VARIABLE = "PHIGATE_SANDBOX_TOKEN_SHA256"
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 10.0  # RunTask's slowest answers take two seconds
DESCRIBED_MAX = 100  # what one DescribeTasks takes
PAGES_MAX = 20  # 2,000 tasks; a stack has 50 at most


@dataclass(frozen=True, slots=True)
class TaskPlacement:
    """Where the sandboxes of one region run: subnets without a route out, one container a task."""

    aws_region: str
    cluster: str
    task_definition: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    container: str = "sandbox"
    port: int = 8080


@dataclass(frozen=True, slots=True)
class Start:
    """One task to start. Two with one client token are one task."""

    client_token: str
    token_sha256: str
    started_by: str
    expires_at_s: int


class EcsFailed(Exception):  # named by what happened
    """A call without a result. The text holds names of errors and operations."""

    def __init__(self, text: str, outcome: Outcome) -> None:
        super().__init__(text)
        self.outcome = outcome


class EcsClient(Protocol):
    """The four calls of a boto3 client; doubles have this shape."""

    def run_task(self, **call: Any) -> Mapping[str, Any]: ...

    def describe_tasks(self, **call: Any) -> Mapping[str, Any]: ...

    def stop_task(self, **call: Any) -> Mapping[str, Any]: ...

    def list_tasks(self, **call: Any) -> Mapping[str, Any]: ...


def ecs_client(aws_region: str) -> EcsClient:
    """A client that sends each call once, with bounds on its time."""
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    client: Any = boto3.client("ecs", region_name=aws_region, config=config)
    named: EcsClient = client
    return named


class EcsTasks:
    """The tasks of one place. Every method raises EcsFailed."""

    def __init__(self, *, client: EcsClient, place: TaskPlacement, executor: Executor) -> None:
        self.place = place
        self._client = client
        self._executor = executor

    async def start(self, start: Start) -> str:
        """Its ARN."""
        answer = await self._call("RunTask", self._client.run_task, _run_task(self.place, start))
        tasks = answer.get("tasks") or ()
        if tasks:
            return str(tasks[0]["taskArn"])
        failures = [str(each.get("reason", "")) for each in answer.get("failures", ())]
        reason = failures[0] if failures else ""
        raise EcsFailed(f"RunTask: {reason[:80]}", failure_outcome(reason))

    async def describe(self, arns: Sequence[str]) -> list[Task]:
        """Those that ECS knows, of 100 at most."""
        call = {"cluster": self.place.cluster, "tasks": list(arns), "include": ["TAGS"]}
        answer = await self._call("DescribeTasks", self._client.describe_tasks, call)
        return [task_of(table) for table in answer.get("tasks") or ()]

    async def stop(self, arn: str) -> None:
        """End it; one that has ended stays ended."""
        call = {"cluster": self.place.cluster, "task": arn, "reason": "the sandbox is over"}
        await self._call("StopTask", self._client.stop_task, call)

    async def living(self, started_by: str | None = None) -> list[Task]:
        """Every task that is to run, of anybody or of one start."""
        call: dict[str, Any] = {"cluster": self.place.cluster, "desiredStatus": "RUNNING"}
        if started_by is not None:
            call["startedBy"] = started_by
        arns: list[str] = []
        for _ in range(PAGES_MAX):
            answer = await self._call("ListTasks", self._client.list_tasks, call)
            arns += answer.get("taskArns") or ()
            if not answer.get("nextToken"):
                break
            call["nextToken"] = answer["nextToken"]
        found: list[Task] = []
        for first in range(0, len(arns), DESCRIBED_MAX):
            found += await self.describe(arns[first : first + DESCRIBED_MAX])
        return found

    async def _call(
        self, operation: str, method: Callable[..., Mapping[str, Any]], call: dict[str, Any]
    ) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, partial(method, **call))
        except ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            raise EcsFailed(f"{operation}: {code}", ERRORS.get(code, "unknown")) from exc
        except NotConnected as exc:
            raise EcsFailed(f"{operation}: {type(exc).__name__}", "again") from exc
        except HTTPClientError as exc:
            raise EcsFailed(f"{operation}: {type(exc).__name__}", "unknown") from exc
        except BotoCoreError as exc:
            # Nothing was sent: no credentials, no region, a parameter of the wrong type.
            raise EcsFailed(f"{operation}: {type(exc).__name__}", "never") from exc


def _run_task(place: TaskPlacement, start: Start) -> dict[str, Any]:
    variable = {"name": HASH_VARIABLE, "value": start.token_sha256}
    return {
        "cluster": place.cluster,
        "taskDefinition": place.task_definition,
        "launchType": "FARGATE",
        "count": 1,
        "clientToken": start.client_token,
        "startedBy": start.started_by,
        "enableExecuteCommand": False,
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(place.subnets),
                "securityGroups": list(place.security_groups),
                "assignPublicIp": "DISABLED",
            }
        },
        # The hash is all that the task, and whoever may describe it, learns of its token.
        "overrides": {"containerOverrides": [{"name": place.container, "environment": [variable]}]},
        "tags": [{"key": EXPIRES_TAG, "value": str(start.expires_at_s)}],
    }
