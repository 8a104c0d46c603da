"""Copies of digests in an S3 bucket with Object Lock, where also the operator cannot change them.

A copy is `<stack>/<account>/<day>.jws`, locked in compliance mode for as long as receipts are kept.
Law: a copy is written once; where somebody has put another version under its name, all are read.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from phigate.core.clock import Clock
from phigate.core.limits import RECEIPT_DAYS
from phigate.effects.audit.day_closer import KeepingFailed
from phigate.wire.jws import JWS_BYTES_MAX

_SUFFIX = ".jws"
_STANDS = "PreconditionFailed"

T = TypeVar("T")


class S3Digests:
    """Implements day_closer.Keeper. `client` is boto3's for S3; it is used off the event loop."""

    def __init__(self, client: Any, bucket: str, stack: str, clock: Clock) -> None:
        self._client = client
        self._bucket = bucket
        self._stack = stack
        self._clock = clock

    async def keep(self, account: str, digests: Sequence[tuple[str, str]]) -> None:
        """Put the copies that are not there yet. Raises KeepingFailed."""
        await self._done(lambda: self._keep(account, digests))

    async def saved(self, account: str) -> list[tuple[str, str]]:
        """Every version of every copy, each with its place. Raises KeepingFailed."""
        return await self._done(lambda: list(self._saved(account)))

    async def _done(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except (BotoCoreError, ClientError) as exc:
            raise KeepingFailed(f"the bucket {self._bucket} cannot be used: {exc}") from exc

    def _keep(self, account: str, digests: Sequence[tuple[str, str]]) -> None:
        there = {version["Key"] for version in self._versions(account)}
        now = datetime.fromtimestamp(self._clock.now_s(), UTC)
        for day, jws in digests:
            key = f"{self._prefix(account)}{day}{_SUFFIX}"
            if key not in there:
                self._put(key, jws, now + timedelta(days=RECEIPT_DAYS))

    def _put(self, key: str, jws: str, until: datetime) -> None:
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=jws.encode(),
                ContentType="application/jose",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
                IfNoneMatch="*",
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] != _STANDS:
                raise

    def _saved(self, account: str) -> Iterator[tuple[str, str]]:
        for version in self._versions(account):
            name = {"Key": version["Key"], "VersionId": version["VersionId"]}
            body = self._client.get_object(Bucket=self._bucket, **name)["Body"]
            text = body.read(JWS_BYTES_MAX + 1).decode("ascii", "replace")
            yield f"s3://{self._bucket}/{version['Key']}", text

    def _versions(self, account: str) -> Iterator[dict[str, Any]]:
        """Also those under a delete marker."""
        pages = self._client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix(account)):
            yield from page.get("Versions", ())

    def _prefix(self, account: str) -> str:
        return f"{self._stack}/{account}/"
