"""The warm tasks of one region that nobody has used: records in DynamoDB, refilled and swept.

Laws: the record comes before the task and goes after it; whoever stops a free task claims it first,
so that no request holds what the sweeper is stopping.
"""

import secrets
from dataclasses import dataclass

from phigate.core.attributes import Item, text_at
from phigate.core.clock import Clock
from phigate.core.sandbox import tasks as facts
from phigate.core.sandbox.tasks import POOLED, Record
from phigate.effects.sandbox.ecs_tasks import EcsFailed, Start
from phigate.effects.sandbox.fargate_lease import Lease, Leases
from phigate.effects.sandbox.session import token_of, token_sha256
from phigate.effects.store.dynamodb import ConditionFailed, Dynamo, pages, repeat

NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class PoolSweep:
    """What one sweep did: tasks stopped, records removed."""

    stopped: int
    forgotten: int


class WarmPool:
    """The pool of one region. Methods raise Overloaded when the table cannot be reached."""

    def __init__(
        self, *, region: str, size: int, leases: Leases, dynamo: Dynamo, clock: Clock, secret: bytes
    ) -> None:
        self._region = region
        self._size = size
        self._leases = leases
        self._dynamo = dynamo
        self._clock = clock
        self._secret = secret

    async def claim(self, claim_id: str, expires_at_s: int) -> Lease | None:
        """A task of its own, never used; None where the pool has none."""
        if self._size == 0:
            return None
        for record in facts.claimable(await self._records(), int(self._clock.now_s())):
            if await self._claim(record, claim_id, expires_at_s):
                return self._leases.of_record(record, POOLED + record.nonce)
        return None

    async def refill(self) -> None:
        """Start what the pool lacks; does not wait until it runs."""
        now_s = int(self._clock.now_s())
        if self._size == 0:
            return
        for _ in range(facts.missing(await self._records(), now_s, self._size)):
            if not await self._start(now_s):
                return

    async def forget(self, record: Record) -> None:
        """Its task is stopped."""
        await self._call("DeleteItem", facts.forget(self._dynamo.table, record))

    async def sweep(self, now_s: int) -> PoolSweep:
        """Stop every task of ours past its time, and remove records without one. Raises EcsFailed
        when tasks cannot be listed."""
        # In this order: a record stands before its task, so a listed task without one is over.
        living = await self._leases.tasks.living()
        records = await self._records()
        by_name = {POOLED + record.nonce: record for record in records}
        over = [
            task.arn
            for task in living
            if facts.is_task_over(task, by_name.get(task.started_by), now_s)
        ]
        for record in self._superfluous(records, now_s):
            if await self._claim(record, f"sweep-{secrets.token_hex(NONCE_BYTES)}", now_s):
                over.append(record.arn)
        stopped = [arn for arn in over if await self._leases.stop(arn)]
        left = frozenset(task.arn for task in living) - frozenset(stopped)
        gone = [each for each in records if facts.is_record_over(each, now_s, left)]
        for record in gone:
            await self.forget(record)
        return PoolSweep(len(stopped), len(gone))

    def _superfluous(self, records: list[Record], now_s: int) -> list[Record]:
        """Free tasks that are too old, and the oldest of those that are too many."""
        young = facts.claimable(records, now_s)
        old = [each for each in records if each.state == "free" and each not in young]
        return old + young[: max(0, -facts.missing(records, now_s, self._size))]

    async def _start(self, now_s: int) -> bool:
        nonce = secrets.token_hex(NONCE_BYTES)
        record = Record(self._region, nonce, "starting", now_s)
        await self._call("PutItem", facts.reserve(self._dynamo.table, record))
        token = token_of(self._secret, nonce)
        expires_at_s = now_s + facts.LIFE_MAX_S
        start = Start(nonce, token_sha256(token), POOLED + nonce, expires_at_s)
        lease = self._leases.begin(nonce, start)
        try:
            arn = await lease.starting
        except EcsFailed:
            await self._leases.give_up(lease)
            await self.forget(record)
            return False
        if not await self._note_started(record, arn):
            await self._leases.give_up(lease)
        return True

    async def _note_started(self, record: Record, arn: str) -> bool:
        """False where the record was given up meanwhile."""
        try:
            await self._call("UpdateItem", facts.note_started(self._dynamo.table, record, arn))
        except ConditionFailed as exc:
            return text_at(exc.item or {}, "a") == arn
        return True

    async def _claim(self, record: Record, claim_id: str, expires_at_s: int) -> bool:
        call = facts.claim(self._dynamo.table, record, claim_id, expires_at_s)
        try:
            await self._call("UpdateItem", call)
        except ConditionFailed as exc:
            return facts.is_claimed_by(exc.item, claim_id)
        return True

    async def _records(self) -> list[Record]:
        query = facts.all_records(self._dynamo.table, self._region)
        found = pages(self._dynamo, self._clock, query)
        return [facts.record_of(self._region, item) async for item in found]

    async def _call(self, operation: str, payload: Item) -> None:
        await repeat(self._dynamo, self._clock, operation, payload)
