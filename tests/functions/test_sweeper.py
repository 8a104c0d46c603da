"""What EventBridge has done: each part, and that one that fails does not stop the others."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from phigate.aws.sweeper import Sweeper, SweepFailed
from phigate.core.receipts.days import day_at
from tests.builders import repository_catalog
from tests.fakes import FakeClock
from tests.functions.aws import BUCKET, moto_services
from tests.functions.aws_stack import CONTEXT, TASKS, AwsStack, hold_left_behind

DAY_S = 86_400
EVENT = {"source": "aws.events"}


@pytest.fixture(scope="module")
def services(aws_stack: AwsStack) -> Iterator[dict[str, str]]:
    """ECS and S3, with what names them."""
    aws_stack.aws.secrets["stack-ch/sandbox"] = "s" * 64
    with moto_services(aws_stack.aws) as named:
        yield {**TASKS, **named}


def tomorrow() -> FakeClock:
    """Two hours after the day after today's end."""
    return FakeClock((int(time.time()) // DAY_S + 1) * DAY_S + 7_200.0)


def swept(aws_stack: AwsStack, clock: FakeClock, **changes: Any) -> None:
    Sweeper(aws_stack.lambda_environment("sweeper", clock, **changes))(EVENT, CONTEXT)


def test_everything_is_done(aws_stack: AwsStack, services: dict[str, str]) -> None:
    aws_stack.ask(lambda dynamodb: hold_left_behind(dynamodb, aws_stack.key))
    today, clock = day_at(time.time()), tomorrow()
    swept(aws_stack, clock, **services)
    assert aws_stack.lines("swept")[-1]["HoldsExpired"] == 1
    checked = aws_stack.lines("ledger_checked")[-1]
    assert (checked["accounts"], checked["LedgerBroken"]) == (1, 0)
    assert checked["HoldAgeS"] == 0
    assert aws_stack.lines("agreements_checked")[-1]["AgreementDaysLeft"] > 0
    assert aws_stack.lines("days_closed")[-1]["days"] == 1
    kept = boto3.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [item["Key"] for item in kept] == [f"stack-ch/clinic/{today}.jws"]
    tasks = boto3.client("ecs").list_tasks(cluster="phigate")["taskArns"]
    assert len(tasks) == 1  # the pool of one
    swept(aws_stack, clock, **services)
    assert boto3.client("ecs").list_tasks(cluster="phigate")["taskArns"] == tasks
    assert aws_stack.lines("swept")[-1]["correlation_id"] == CONTEXT.aws_request_id


def test_a_stale_task_is_stopped(aws_stack: AwsStack, services: dict[str, str]) -> None:
    clock = tomorrow()
    swept(aws_stack, clock, **services)
    clock.time_s += DAY_S
    swept(aws_stack, clock, **services)
    assert aws_stack.lines("sandboxes_swept")[-1]["SandboxesStopped"] == 1


@dataclass(frozen=True)
class Broken:
    """What is wrong, the part that fails of it, and lines of others that are done."""

    part: str
    others: tuple[str, ...]
    down: str = ""
    changes: dict[str, str] = field(default_factory=dict)


BROKEN = {
    "no cluster": Broken(
        "sandboxes", ("swept", "days_closed"), changes={"PHIGATE_CLUSTER": "nowhere"}
    ),
    "no secret": Broken("sandboxes", ("swept", "days_closed"), down="secretsmanager"),
    "no bucket": Broken(
        "days", ("swept", "sandboxes_swept"), changes={"PHIGATE_DIGEST_BUCKET": "nowhere"}
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_part_that_fails_stops_no_other_and_fails_the_invocation(
    broken: Broken, aws_stack: AwsStack, services: dict[str, str]
) -> None:
    before = {event: len(aws_stack.lines(event)) for event in broken.others}
    aws_stack.aws.down = {broken.down}
    with pytest.raises(SweepFailed, match=rf"^{broken.part}$"):
        swept(aws_stack, tomorrow(), **(services | broken.changes))
    aws_stack.aws.down = set()
    assert aws_stack.lines("part_failed")[-1]["part"] == broken.part
    for event in broken.others:
        assert len(aws_stack.lines(event)) == before[event] + 1, event


def test_without_the_table_every_part_fails(aws_stack: AwsStack) -> None:
    with pytest.raises(SweepFailed, match=r"^holds, ledger, agreements, days$"):
        swept(aws_stack, FakeClock(), PHIGATE_TABLE="another")


def test_an_agreement_that_ends_soon_is_told_by_its_row(aws_stack: AwsStack) -> None:
    row = repository_catalog().rows_by_id["infomaniak-gemma-4-31b"]
    assert row.agreement is not None
    clock = FakeClock(row.agreement.expires_at_s - 29.5 * DAY_S)
    swept(aws_stack, clock)
    told = [line for line in aws_stack.lines("agreement_ends") if line["row"] == row.id]
    assert [(line["level"], line["AgreementDaysLeft"]) for line in told] == [("WARNING", 29)]


def test_an_agreement_that_has_ended_is_counted_and_hides_no_other(aws_stack: AwsStack) -> None:
    row = repository_catalog().rows_by_id["infomaniak-gemma-4-31b"]
    assert row.agreement is not None
    before = len(aws_stack.lines("agreement_ends"))
    swept(aws_stack, FakeClock(row.agreement.expires_at_s + DAY_S))
    line = aws_stack.lines("agreements_checked")[-1]
    assert line["AgreementsEnded"] >= 1
    assert line.get("AgreementDaysLeft") != 0
    assert len(aws_stack.lines("agreement_ends")) == before


def test_a_hold_that_stands_is_counted_by_its_age(aws_stack: AwsStack) -> None:
    aws_stack.ask(lambda dynamodb: hold_left_behind(dynamodb, aws_stack.key))
    swept(aws_stack, FakeClock(time.time() + 60))
    assert 58 <= aws_stack.lines("ledger_checked")[-1]["HoldAgeS"] <= 75
