"""The custom resource: what is loaded, what is refused, and that every path is answered."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from phigate.aws.catalog_sync import PHYSICAL_ID, CatalogSync
from phigate.core.types import Json
from phigate.effects.aws.cloudformation import TRIES_MAX, NotAnswered
from phigate.effects.clock import WallClock
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.roots import PURPOSES
from tests.builders import CATALOG_FOLDER, repository_catalog
from tests.fakes import FakeClock
from tests.functions.aws_stack import CONTEXT, AwsStack, sync_event


def synced(aws_stack: AwsStack, kind: str = "Update", **changes: Any) -> Json:
    """What CloudFormation was told."""
    lambda_environment = aws_stack.lambda_environment("catalog_sync", **changes)
    CatalogSync(lambda_environment)(sync_event(kind, aws_stack.aws.url), CONTEXT)
    return aws_stack.aws.told[-1]


async def pointer(dynamodb: DynamoDB) -> str:
    key = {"pk": {"S": "CATALOG"}, "sk": {"S": "current"}}
    found = await dynamodb.call("GetItem", {"TableName": "phigate", "Key": key})
    return str(found["Item"]["sha256"]["S"])


async def count(dynamodb: DynamoDB) -> int:
    return len((await dynamodb.call("Scan", {"TableName": "phigate"}))["Items"])


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_the_catalog_is_loaded(kind: str, aws_stack: AwsStack) -> None:
    told = synced(aws_stack, kind)
    assert told["Status"] == "SUCCESS"
    assert told["Data"] == {"Sha256": repository_catalog().sha256}
    assert aws_stack.ask(pointer) == repository_catalog().sha256
    assert told["PhysicalResourceId"] == PHYSICAL_ID
    assert (told["StackId"], told["RequestId"]) == ("stack", "request")


def test_every_purpose_has_one_root(aws_stack: AwsStack) -> None:
    roots = aws_stack.ask(lambda dynamodb: DynamoReceipts(dynamodb, WallClock()).roots())
    assert sorted(root.signs for root in roots) == sorted(PURPOSES)


def test_a_delete_deletes_nothing(aws_stack: AwsStack) -> None:
    before = aws_stack.ask(count)
    event = sync_event("Delete", aws_stack.aws.url, PhysicalResourceId="an-older-one")
    CatalogSync(aws_stack.lambda_environment("catalog_sync"))(event, CONTEXT)
    told = aws_stack.aws.told[-1]
    assert (told["Status"], told["PhysicalResourceId"]) == ("SUCCESS", "an-older-one")
    assert aws_stack.ask(count) == before


def test_a_catalog_that_fails_is_refused_and_the_old_one_stays(
    aws_stack: AwsStack, tmp_path: Path
) -> None:
    folder = tmp_path / "catalog"
    shutil.copytree(CATALOG_FOLDER, folder)
    (folder / "aliases.toml").write_text('[gemma-4]\nrows = ["no-such-row"]\n')
    told = synced(aws_stack, PHIGATE_CATALOG_FOLDER=str(folder))
    assert told["Status"] == "FAILED"
    assert told["Reason"].startswith("CatalogInvalid: ")
    assert aws_stack.ask(pointer) == repository_catalog().sha256


@pytest.mark.parametrize(
    "changes, down, reason",
    [
        ({"PHIGATE_TABLE": None}, "", "SettingsRefused: catalog_sync does not start"),
        ({"AWS_ACCESS_KEY_ID": None}, "", "NoCredentials: "),
        ({"PHIGATE_CATALOG_FOLDER": "/nowhere"}, "", "CatalogInvalid: "),
        ({}, "kms", "SigningFailed: unreachable"),
        ({"PHIGATE_TABLE": "another"}, "", "InternalError: "),
        # What nobody has thought of: the key's name is no key, and the stand-in breaks off.
        ({"PHIGATE_DAY_KEY": "no-key"}, "", "SigningFailed: "),
    ],
)
def test_every_failure_is_told(
    changes: dict[str, Any], down: str, reason: str, aws_stack: AwsStack
) -> None:
    aws_stack.aws.down = {down}
    told = synced(aws_stack, **changes)
    aws_stack.aws.down = set()
    assert told["Status"] == "FAILED"
    assert told["Reason"].startswith(reason)


def test_an_answer_that_is_not_taken_is_given_again(aws_stack: AwsStack) -> None:
    aws_stack.aws.refused_puts = TRIES_MAX - 1
    clock = FakeClock()
    CatalogSync(aws_stack.lambda_environment("catalog_sync", clock))(
        sync_event("Delete", aws_stack.aws.url), CONTEXT
    )
    assert aws_stack.aws.refused_puts == 0
    assert aws_stack.aws.told[-1]["Status"] == "SUCCESS"


def test_an_answer_that_nobody_takes_fails_the_invocation(aws_stack: AwsStack) -> None:
    aws_stack.aws.refused_puts = TRIES_MAX
    with pytest.raises(NotAnswered):
        CatalogSync(aws_stack.lambda_environment("catalog_sync", FakeClock()))(
            sync_event("Delete", aws_stack.aws.url), CONTEXT
        )
    assert aws_stack.aws.refused_puts == 0


def test_a_rollback_brings_the_old_snapshot_back(aws_stack: AwsStack, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    shutil.copytree(CATALOG_FOLDER, folder)
    regions = folder / "regions.toml"
    regions.write_text(regions.read_text().replace('"us-east-1", ', "", 1))
    newer = synced(aws_stack, PHIGATE_CATALOG_FOLDER=str(folder))
    assert newer["Status"] == "SUCCESS", newer["Reason"]
    assert aws_stack.ask(pointer) == newer["Data"]["Sha256"] != repository_catalog().sha256
    synced(aws_stack)
    assert aws_stack.ask(pointer) == repository_catalog().sha256
