"""The shapes of the calls to ECS, as moto checks them, and what is read of its answers."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.moto_api import state_manager

from phigate.core.sandbox.tasks import Task, failure_outcome, task_of
from phigate.effects.sandbox.ecs_tasks import EcsFailed, EcsTasks, Start, TaskPlacement, ecs_client

REGION = "eu-central-2"
NOW_S = 1_790_000_000

START = Start("nonce", "a" * 64, "phigate-run-r1", NOW_S)


@pytest.fixture
def place() -> Iterator[TaskPlacement]:
    """A cluster in a network of its own, in moto."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "test"))
    try:
        with mock_aws():
            # Else every look moves a task on, to STOPPED in the end.
            state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1000})
            yield _made()
    finally:
        state_manager.unset_transition("ecs::task")
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _made() -> TaskPlacement:
    ec2 = boto3.client("ec2", region_name=REGION)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    # Without it moto cannot name a task's interface.
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="sandbox", Description="none", VpcId=vpc)
    ecs = boto3.client("ecs", region_name=REGION)
    ecs.create_cluster(clusterName="phigate")
    ecs.register_task_definition(
        family="phigate-sandbox",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="1024",
        memory="4096",
        containerDefinitions=[{"name": "sandbox", "image": "sandbox", "memory": 4096}],
    )
    return TaskPlacement(
        aws_region=REGION,
        cluster="phigate",
        task_definition="phigate-sandbox",
        subnets=(subnet,),
        security_groups=(group["GroupId"],),
    )


@pytest.mark.anyio
async def test_a_task_is_started_described_listed_and_stopped(place: TaskPlacement) -> None:
    with ThreadPoolExecutor(1) as executor:
        tasks = EcsTasks(client=ecs_client(REGION), place=place, executor=executor)
        arn = await tasks.start(START)
        (task,) = await tasks.describe([arn])
        assert (task.arn, task.started_by) == (arn, START.started_by)
        assert task.expires_at_s == NOW_S
        assert task.address.startswith("10.")
        assert [each.arn for each in await tasks.living()] == [arn]
        assert [each.arn for each in await tasks.living(START.started_by)] == [arn]
        assert await tasks.living("phigate-run-r2") == []
        await tasks.stop(arn)
        (task,) = await tasks.describe([arn])
        assert task.phase == "over"
        assert await tasks.living() == []
        assert await tasks.describe([arn[:-1] + "x"]) == []


@pytest.mark.anyio
async def test_what_ecs_does_not_accept_is_never_tried_again(place: TaskPlacement) -> None:
    with ThreadPoolExecutor(1) as executor:
        wrong = TaskPlacement(REGION, "nowhere", place.task_definition, place.subnets, ())
        tasks = EcsTasks(client=ecs_client(REGION), place=wrong, executor=executor)
        with pytest.raises(EcsFailed, match="ClusterNotFoundException") as raised:
            await tasks.start(START)
        assert raised.value.outcome == "never"


@pytest.mark.anyio
async def test_a_parameter_of_the_wrong_type_is_not_sent(place: TaskPlacement) -> None:
    """botocore checks every call against the service's model, so a passing start is well formed."""
    with ThreadPoolExecutor(1) as executor:
        tasks = EcsTasks(client=ecs_client(REGION), place=place, executor=executor)
        wrong: Any = 7
        with pytest.raises(EcsFailed, match="ParamValidationError") as raised:
            await tasks.start(Start("nonce", wrong, "phigate-run-r1", NOW_S))
        assert raised.value.outcome == "never"


# A task as ECS describes it, and what is read of it.
READ: dict[str, tuple[dict[str, Any], Task]] = {
    "everything": (
        {
            "taskArn": "a",
            "lastStatus": "RUNNING",
            "desiredStatus": "RUNNING",
            "startedBy": "phigate-run-r",
            "createdAt": datetime.fromtimestamp(NOW_S, UTC),
            "tags": [{"key": "other", "value": "1"}, {"key": "phigate-expires", "value": "5"}],
            "attachments": [
                {"details": [{"name": "subnetId", "value": "s"}]},
                {"details": [{"name": "privateIPv4Address", "value": "10.0.0.1"}]},
            ],
            "containers": [{"imageDigest": "sha256:1"}],
        },
        Task("a", "running", "10.0.0.1", "sha256:1", "phigate-run-r", NOW_S, 5),
    ),
    "next to nothing": ({"taskArn": "a"}, Task("a", "over", "", "", "", 0, 0)),
    "a tag that is no number": (
        {
            "taskArn": "a",
            "lastStatus": "PENDING",
            "tags": [{"key": "phigate-expires", "value": "²"}],
        },
        Task("a", "waiting", "", "", "", 0, 0),
    ),
    "running, but to be stopped": (
        {"taskArn": "a", "lastStatus": "RUNNING", "desiredStatus": "STOPPED", "containers": []},
        Task("a", "over", "", "", "", 0, 0),
    ),
}


@pytest.mark.parametrize(("table", "task"), READ.values(), ids=READ)
def test_a_task_is_read(table: dict[str, Any], task: Task) -> None:
    assert task_of(table) == task


def test_what_a_failure_means() -> None:
    assert failure_outcome("Capacity is unavailable at this time. Please try again") == "again"
    assert failure_outcome("RESOURCE:MEMORY") == "again"
    assert failure_outcome("MISSING") == "never"
    assert failure_outcome("") == "again"
