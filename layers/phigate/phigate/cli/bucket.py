"""A bucket with saved digests, by the usual AWS credentials. Loaded only where one is named."""

import boto3
from botocore.exceptions import BotoCoreError

from phigate.cli.command import CommandFailed
from phigate.core.clock import Clock
from phigate.effects.audit.s3_digests import S3Digests


def digests_in(bucket: str, stack: str, clock: Clock, region: str | None) -> S3Digests:
    """The digests of a stack in a bucket. Raises CommandFailed."""
    try:
        client = boto3.client("s3", region_name=region)
    except BotoCoreError as exc:
        raise CommandFailed(f"AWS cannot be reached: {exc}") from exc
    return S3Digests(client, bucket, stack, clock)
