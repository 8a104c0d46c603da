"""Copies of digests in a bucket stand, whoever comes after; a reader sees every version."""

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from phigate.core.limits import RECEIPT_DAYS
from phigate.effects.audit.day_closer import KeepingFailed
from phigate.effects.audit.s3_digests import S3Digests
from tests.fakes import FakeClock

BUCKET = "kept-digests"
REGION = "eu-central-2"
DIGESTS = [("2026-07-01", "a.b.c"), ("2026-07-02", "d.e.f")]


@pytest.fixture
def client() -> Iterator[Any]:
    """S3 with a bucket whose objects can be locked."""
    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(
            Bucket=BUCKET,
            CreateBucketConfiguration={"LocationConstraint": REGION},
            ObjectLockEnabledForBucket=True,
        )
        yield s3


def kept(client: Any, bucket: str = BUCKET) -> S3Digests:
    return S3Digests(client, bucket, "stack-ch", FakeClock())


def versions(client: Any) -> list[Any]:
    found: list[Any] = client.list_object_versions(Bucket=BUCKET).get("Versions", [])
    return found


def test_a_copy_is_named_by_stack_account_and_day(client: Any) -> None:
    asyncio.run(kept(client).keep("clinic", DIGESTS))
    names = [version["Key"] for version in versions(client)]
    assert names == ["stack-ch/clinic/2026-07-01.jws", "stack-ch/clinic/2026-07-02.jws"]


def test_what_is_there_is_not_written_again(client: Any) -> None:
    asyncio.run(kept(client).keep("clinic", DIGESTS[:1]))
    asyncio.run(kept(client).keep("clinic", DIGESTS))
    asyncio.run(kept(client).keep("clinic", [("2026-07-01", "x.y.z")]))
    assert len(versions(client)) == 2
    saved = asyncio.run(kept(client).saved("clinic"))
    assert [text for _, text in saved] == ["a.b.c", "d.e.f"]
    assert saved[0][0] == f"s3://{BUCKET}/stack-ch/clinic/2026-07-01.jws"


class StaleClient:
    """S3 as it was before another process put its copies."""

    def __init__(self, client: Any) -> None:
        self.put_object = client.put_object

    def get_paginator(self, _: str) -> "StaleClient":
        """Lists nothing."""
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        """No page."""
        return []


def test_a_copy_that_another_process_has_just_put_stands(client: Any) -> None:
    asyncio.run(kept(client).keep("clinic", DIGESTS[:1]))
    asyncio.run(kept(StaleClient(client)).keep("clinic", [("2026-07-01", "x.y.z")]))
    assert [text for _, text in asyncio.run(kept(client).saved("clinic"))] == ["a.b.c"]


def test_a_copy_is_locked_for_as_long_as_receipts_are_kept(client: Any) -> None:
    asyncio.run(kept(client).keep("clinic", DIGESTS[:1]))
    head = client.head_object(Bucket=BUCKET, Key="stack-ch/clinic/2026-07-01.jws")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    locked_s = head["ObjectLockRetainUntilDate"].timestamp() - FakeClock().now_s()
    assert locked_s == RECEIPT_DAYS * 86_400
    (version,) = versions(client)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])


def test_a_version_that_somebody_put_over_a_copy_hides_nothing(client: Any) -> None:
    asyncio.run(kept(client).keep("clinic", DIGESTS[:1]))
    client.put_object(Bucket=BUCKET, Key="stack-ch/clinic/2026-07-01.jws", Body=b"x.y.z")
    texts = {text for _, text in asyncio.run(kept(client).saved("clinic"))}
    assert texts == {"a.b.c", "x.y.z"}


def test_a_copy_under_a_delete_marker_is_still_read(client: Any) -> None:
    asyncio.run(kept(client).keep("clinic", DIGESTS[:1]))
    client.delete_object(Bucket=BUCKET, Key="stack-ch/clinic/2026-07-01.jws")
    assert [text for _, text in asyncio.run(kept(client).saved("clinic"))] == ["a.b.c"]


def test_another_account_has_copies_of_its_own(client: Any) -> None:
    asyncio.run(kept(client).keep("clinic", DIGESTS))
    asyncio.run(kept(client).keep("clinic-2", DIGESTS[:1]))
    assert len(asyncio.run(kept(client).saved("clinic-2"))) == 1
    assert len(asyncio.run(kept(client).saved("clinic"))) == 2


def test_a_bucket_that_is_not_there_is_one_line(client: Any) -> None:
    with pytest.raises(KeepingFailed, match="no-such-bucket"):
        asyncio.run(kept(client, "no-such-bucket").keep("clinic", DIGESTS))
