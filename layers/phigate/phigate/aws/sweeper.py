"""The function on a schedule: expired holds, stale sandboxes, days to be closed, alarms' figures.

Law: each part is done whatever becomes of the others; when one failed the invocation fails at the
end, so that an alarm sees it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import boto3

from phigate.aws.environment import AwsClients, LambdaEnvironment
from phigate.aws.fargate import fargate
from phigate.aws.settings import SweeperSettings
from phigate.core.ledger.account import DAY_S
from phigate.core.receipts.ids import MalformedId, seconds_of
from phigate.effects.audit.day_closer import DayCloser
from phigate.effects.audit.s3_digests import S3Digests
from phigate.effects.aws.lambda_event_log import LambdaEventLog
from phigate.effects.loop_failures import record_loop_failures
from phigate.effects.store.catalog import DynamoCatalog
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.roots import CATALOGS
from phigate.wire.jwk import ec_public_key

AGREEMENT_ENDS_S = 30 * DAY_S  # a new one takes weeks to be signed

Part = Callable[[], Awaitable[None]]


class SweepFailed(Exception):
    """The parts that failed, by name."""


class Sweeper:
    """A Lambda handler."""

    def __init__(self, lambda_environment: LambdaEnvironment | None = None) -> None:
        self._lambda_environment = lambda_environment or LambdaEnvironment()

    def __call__(self, event: Any, context: Any) -> None:
        """One sweep. Raises SettingsRefused, NoCredentials, SweepFailed."""
        with self._event_log.invocation(str(getattr(context, "aws_request_id", ""))):
            asyncio.run(self._swept())

    @cached_property
    def _event_log(self) -> LambdaEventLog:
        return self._lambda_environment.event_log("sweeper")

    async def _swept(self) -> None:
        record_loop_failures(asyncio.get_running_loop(), self._event_log)
        aws = AwsClients(SweeperSettings, self._lambda_environment, self._event_log)
        try:
            await aws.credentials.fresh()
            work = Sweep(aws)
            parts: list[tuple[str, Part]] = [
                ("holds", work.holds),
                ("ledger", work.ledger),
                ("agreements", work.agreements),
            ]
            if aws.settings.sandboxes is not None:
                parts.append(("sandboxes", work.sandboxes))
            parts.append(("days", work.days))
            if failed := [name for name, part in parts if not await _done(aws, name, part)]:
                raise SweepFailed(", ".join(failed))
        finally:
            await aws.close()


async def _done(aws: AwsClients[SweeperSettings], name: str, part: Part) -> bool:
    try:
        await part()
    except Exception as exc:  # the parts after it are to be done; the invocation fails at the end
        aws.event_log.record("part_failed", part=name, kind=type(exc).__name__)
        return False
    return True


class AccountsFailed(Exception):
    """Some accounts could not be worked on; their number."""


class Sweep:
    """The parts of one sweep."""

    def __init__(self, aws: AwsClients[SweeperSettings]) -> None:
        self._aws = aws
        self._ledger = DynamoLedger(aws.dynamodb, aws.clock)
        self._receipts = DynamoReceipts(aws.dynamodb, aws.clock)

    async def holds(self) -> None:
        """Settle what was left behind. Raises AccountsFailed, Overloaded."""
        swept, failed = await self._ledger.sweep_all(int(self._aws.clock.now_s()))
        expired = sum(done.expired for done in swept)
        settled = sum(done.settled for done in swept)
        self._aws.event_log.record("swept", accounts=len(swept), expired=expired, settled=settled)
        if failed:
            raise AccountsFailed(len(failed))

    async def ledger(self) -> None:
        """Whether available + held + spent is what was topped up, in every account, and how old
        the oldest hold is."""
        accounts = await self._ledger.accounts()
        oldest_s = now_s = int(self._aws.clock.now_s())
        broken = 0
        for account in accounts:
            view = await self._ledger.account(account)
            if view is not None:
                total = view.available_micros + view.held_micros + view.spent_micros
                broken += total != view.topped_up_micros
            standing = await self._receipts.standing(account)
            if standing is not None:
                oldest_s = min([oldest_s, *(_begun_s(hold.id) for hold in standing.holds)])
        self._aws.event_log.record(
            "ledger_checked", accounts=len(accounts), broken=broken, hold_age_s=now_s - oldest_s
        )

    async def agreements(self) -> None:
        """How many days the agreements of the rows served here are still in force, the shortest and
        each that ends within AGREEMENT_ENDS_S; one that has ended is counted, and hides no other.
        Raises Overloaded where there is no catalog."""
        aws = self._aws
        trusted = {
            root.kid: ec_public_key(root.jwk)
            for root in await self._receipts.roots()
            if root.vouches(CATALOGS, int(aws.clock.now_s()))
        }
        catalog = (
            await DynamoCatalog(aws.dynamodb, aws.clock, aws.event_log, trusted).current()
        ).catalog
        left_s = {
            row.id: int(row.agreement.expires_at_s - aws.clock.now_s())
            for row in catalog.rows
            if row.status == "live" and row.agreement is not None
            if row.agreement.regions & set(aws.settings.residency.jurisdictions)
        }
        in_force_s = {row_id: seconds for row_id, seconds in left_s.items() if seconds > 0}
        for row_id, seconds in in_force_s.items():
            if seconds < AGREEMENT_ENDS_S:
                aws.event_log.record("agreement_ends", row=row_id, days_left=seconds // DAY_S)
        days_left = {"days_left": min(in_force_s.values()) // DAY_S} if in_force_s else {}
        ended = len(left_s) - len(in_force_s)
        aws.event_log.record("agreements_checked", rows=len(in_force_s), ended=ended, **days_left)

    async def sandboxes(self) -> None:
        """Stop tasks past their time, and start what the pool lacks."""
        settings = self._aws.settings
        if settings.sandboxes is None:
            return
        sandboxes = await fargate(self._aws, settings.sandboxes, settings.residency.region)
        try:
            swept = await sandboxes.sweep(int(self._aws.clock.now_s()))
            self._aws.event_log.record(
                "sandboxes_swept", stopped=swept.stopped, forgotten=swept.forgotten
            )
            await sandboxes.refill()
        finally:
            await sandboxes.close()

    async def days(self) -> None:
        """Close the days that have ended. Raises AccountsFailed, Overloaded."""
        aws, settings = self._aws, self._aws.settings
        bucket = settings.digest_bucket
        closer = DayCloser(
            ledger=self._ledger,
            receipts=self._receipts,
            root=aws.kms(settings.day_key),
            clock=aws.clock,
            stack=settings.common.stack,
            keeper=S3Digests(
                _s3(settings.common.aws_region), bucket, settings.common.stack, aws.clock
            )
            if bucket
            else None,
        )
        closings, failed = await closer.close_due()
        left_open = sum(closing.left_open is not None for closing in closings)
        aws.event_log.record("days_closed", days=sum(len(closing.days) for closing in closings))
        if left_open:
            aws.event_log.record("days_left_open", accounts=left_open)
        if failed:
            raise AccountsFailed(len(failed))


def _begun_s(hold_id: str) -> int:
    """When a hold began, by its id; one that is no id of ours is as old as can be."""
    try:
        return seconds_of(hold_id)
    except MalformedId:
        return 0


def _s3(aws_region: str) -> Any:
    return boto3.client("s3", region_name=aws_region)
