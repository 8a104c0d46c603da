"""The custom resource that loads the catalog: validates, signs by KMS, writes, pointer last.

Law 1: every event is answered, whatever happens: CloudFormation would wait for an hour.
Law 2: a catalog that fails is refused and the one in use stays; Delete deletes nothing, because
receipts go on naming old snapshots and cards.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from phigate.adapters import ADAPTERS
from phigate.aws.environment import AwsClients, LambdaEnvironment
from phigate.aws.settings import CatalogSyncSettings, SettingsRefused
from phigate.core.catalog.check import check
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.errors import PhigateError
from phigate.effects.aws.cloudformation import Outcome, answer
from phigate.effects.aws.credentials import NoCredentials
from phigate.effects.aws.lambda_event_log import LambdaEventLog
from phigate.effects.loop_failures import record_loop_failures
from phigate.effects.signing.signer import SigningFailed
from phigate.effects.store.catalog_push import push_snapshot
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.roots import CATALOGS, CERTIFICATES, DIGESTS, REDPILL

WORK_TIMEOUT_S = 40.0  # a push takes under a second; the function has two minutes
PHYSICAL_ID = "phigate-catalog"  # the same for ever: another one would ask for a Delete
MISTAKES_MAX = 5  # told in a reason; phigate catalog check tells all


class CatalogSync:
    """A Lambda handler."""

    def __init__(self, lambda_environment: LambdaEnvironment | None = None) -> None:
        self._lambda_environment = lambda_environment or LambdaEnvironment()

    def __call__(self, event: Mapping[str, Any], context: Any) -> None:
        """One event of CloudFormation. Raises NotAnswered."""
        asyncio.run(self._answered(event, str(getattr(context, "aws_request_id", ""))))

    @cached_property
    def _event_log(self) -> LambdaEventLog:
        return self._lambda_environment.event_log("catalog_sync")

    async def _answered(self, event: Mapping[str, Any], request_id: str) -> None:
        outcome = await self._outcome(event, request_id)
        await answer(event, PHYSICAL_ID, outcome, self._lambda_environment.clock)

    async def _outcome(self, event: Mapping[str, Any], request_id: str) -> Outcome:
        if event.get("RequestType") == "Delete":
            return Outcome("SUCCESS", "nothing is deleted: receipts name what was loaded")
        try:
            async with asyncio.timeout(WORK_TIMEOUT_S):
                record_loop_failures(asyncio.get_running_loop(), self._event_log)
                with self._event_log.invocation(request_id):
                    return Outcome("SUCCESS", values={"Sha256": await self._synced()})
        except EXPECTED as exc:
            return Outcome("FAILED", f"{type(exc).__name__}: {exc}")
        except Exception as exc:  # also a bug is answered
            return Outcome("FAILED", f"a bug: {type(exc).__name__}")

    async def _synced(self) -> str:
        """Register the roots, then push; the snapshot's SHA-256."""
        aws = AwsClients(CatalogSyncSettings, self._lambda_environment, self._event_log)
        try:
            # First of all: what is wrong with the catalog costs no call.
            document = document_bytes(Path(aws.settings.catalog_folder))
            await aws.credentials.fresh()
            await register_roots(aws)
            now_s = int(aws.clock.now_s())
            signer = aws.kms(aws.settings.catalog_key)
            name = await push_snapshot(aws.dynamodb, document, signer, now_s)
            aws.event_log.record("catalog_pushed", sha256=name)
            return name
        finally:
            await aws.close()


def document_bytes(folder: Path) -> bytes:
    """The folder's catalog as canonical bytes, without mistakes. Raises CatalogInvalid, OSError."""
    texts = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in sorted(folder.rglob("*.toml"))
    }
    document = document_from_texts(texts)
    if mistakes := check(document, frozenset(ADAPTERS)):
        raise CatalogInvalid(mistakes[:MISTAKES_MAX])
    return canonical_bytes(document)


async def register_roots(aws: AwsClients[CatalogSyncSettings]) -> None:
    """Name every key of the stack in its list of roots. Raises SigningFailed, Overloaded."""
    settings = aws.settings
    receipts = DynamoReceipts(aws.dynamodb, aws.clock)
    for signs, key_id in (
        (CATALOGS, settings.catalog_key),
        (CERTIFICATES, settings.receipt_key),
        (DIGESTS, settings.day_key),
        (REDPILL, settings.redpill_key),
    ):
        jwk = await aws.kms(key_id).jwk()
        await receipts.use_root(jwk, signs, int(aws.clock.now_s()))


# Their texts hold names and outcomes, no secret; anything else is told by its class alone.
EXPECTED = (
    CatalogInvalid,
    NoCredentials,
    OSError,
    PhigateError,
    SettingsRefused,
    SigningFailed,
    TimeoutError,
    UnicodeDecodeError,
)
