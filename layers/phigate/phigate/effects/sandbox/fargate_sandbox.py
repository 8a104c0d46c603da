"""Sandboxes on Fargate: one task a request, claimed from the pool or started, stopped at the end.

Laws: whatever was started or claimed for a request is stopped, in every path; a task that is lost
on the way is replaced, STARTS_MAX times at most; no task learns more of its token than the hash.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from phigate.core.background_tasks import BackgroundTasks
from phigate.core.clock import Clock
from phigate.core.errors import GatewayError, SandboxError
from phigate.core.event_log import EventLog
from phigate.core.sandbox.port import Sandbox
from phigate.core.sandbox.tasks import COLD, Task
from phigate.effects.sandbox.ecs_tasks import (
    EcsClient,
    EcsFailed,
    EcsTasks,
    Start,
    TaskPlacement,
    ecs_client,
)
from phigate.effects.sandbox.fargate_lease import Lease, Leases, TaskLost
from phigate.effects.sandbox.fargate_pool import NONCE_BYTES, PoolSweep, WarmPool
from phigate.effects.sandbox.session import HttpSandbox, token_of, token_sha256, wait_until_ready
from phigate.effects.store.dynamodb import Dynamo

STARTS_MAX = 3
OPEN_TIMEOUT_S = 150.0  # RunTask to RUNNING takes 15 to 60 s, and the first one may be lost
ANSWER_TIMEOUT_S = 30.0  # libraries are loaded in 2 s here; a quarter of a processor takes four
LATE_S = 60  # the sweeper stops a task so long after its request's time
THREADS_MAX = 8  # calls of boto3 at once; each takes 20 to 100 ms


class FargateSandboxes:
    """Implements core.sandbox.port.Sandboxes: all of them in one place, whatever region a call is
    for, since a stack's jurisdictions share its AWS region, and two pools in one cluster would each
    stop the other's tasks. `region` names the pool's records."""

    def __init__(
        self,
        *,
        place: TaskPlacement,
        region: str,
        secret: bytes,
        dynamo: Dynamo,
        clock: Clock,
        event_log: EventLog,
        image: str,
        warm_pool_size: int = 0,
        make_client: Callable[[str], EcsClient] = ecs_client,
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._event_log = event_log
        self._image = image
        self._executor = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="ecs")
        self._background = BackgroundTasks()
        self._port = place.port
        self._region = region
        client = make_client(place.aws_region)
        tasks = EcsTasks(client=client, place=place, executor=self._executor)
        self._leases = Leases(tasks=tasks, clock=clock, event_log=event_log)
        self._pool = WarmPool(
            region=region,
            size=warm_pool_size,
            leases=self._leases,
            dynamo=dynamo,
            clock=clock,
            secret=secret,
        )

    async def open(self, *, account: str, request_id: str, region: str, until_s: float) -> Sandbox:
        """See Sandboxes."""
        give_up_at_s = min(until_s, self._clock.now_s() + OPEN_TIMEOUT_S)
        lease = await self._claimed(request_id, until_s)
        self._background.spawn(self._refill())
        for _ in range(STARTS_MAX):
            lease = lease or self._begin(request_id, until_s)
            try:
                return await self._opened(lease, give_up_at_s)
            except (TaskLost, EcsFailed) as exc:
                self._background.spawn(self._end(lease))
                self._event_log.record("sandbox_lost", reason=str(exc))
                if isinstance(exc, EcsFailed) or self._clock.now_s() >= give_up_at_s:
                    break
                lease = None
            except BaseException:
                self._background.spawn(self._end(lease))
                raise
        raise SandboxError("No sandbox could be started in time.")

    async def refill(self) -> None:
        """Start what the pool lacks. Raises Overloaded."""
        await self._pool.refill()

    async def sweep(self, now_s: int) -> PoolSweep:
        """Stop every task past its time. Raises SandboxError, Overloaded."""
        try:
            return await self._pool.sweep(now_s)
        except EcsFailed as exc:
            raise SandboxError(f"Tasks cannot be listed in {self._region}: {exc}.") from exc

    async def wait_idle(self) -> None:
        """Wait for every stop and refill under way; before a function's environment is frozen."""
        await self._background.wait_idle()

    async def close(self) -> None:
        """The same, and the threads end."""
        await self.wait_idle()
        self._executor.shutdown(wait=False)

    async def _claimed(self, request_id: str, until_s: float) -> Lease | None:
        """A pooled task. Cancelled, or without the table, it is as if there was none."""
        claim_id = f"{request_id}-{secrets.token_hex(4)}"
        claiming = asyncio.ensure_future(self._pool.claim(claim_id, int(until_s) + LATE_S))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self._background.spawn(self._end_claimed(claiming))
            raise
        except GatewayError:
            # A task can be started without the table.
            self._event_log.record("sandbox_claim_failed")
            return None

    def _begin(self, request_id: str, until_s: float) -> Lease:
        nonce = secrets.token_hex(NONCE_BYTES)
        token_hash = token_sha256(token_of(self._secret, nonce))
        start = Start(nonce, token_hash, COLD + request_id, int(until_s) + LATE_S)
        return self._leases.begin(nonce, start)

    async def _opened(self, lease: Lease, give_up_at_s: float) -> Sandbox:
        task: Task = await self._leases.running(lease, give_up_at_s)
        base_url = f"http://{task.address}:{self._port}"
        answers_by_s = min(give_up_at_s, self._clock.now_s() + ANSWER_TIMEOUT_S)
        if not await wait_until_ready(base_url, self._clock, answers_by_s):
            raise TaskLost("it does not answer")
        return HttpSandbox(
            base_url=base_url,
            token=token_of(self._secret, lease.nonce),
            image=task.image or self._image,
            end=partial(self._end, lease),
        )

    async def _end(self, lease: Lease) -> None:
        """Stop the task, then forget it."""
        await self._leases.give_up(lease)
        if lease.record is not None:
            await self._unless_down(self._pool.forget(lease.record))

    async def _end_claimed(self, claiming: asyncio.Task[Lease | None]) -> None:
        await asyncio.wait((claiming,))
        if not claiming.cancelled() and claiming.exception() is None:
            lease = claiming.result()
            if lease is not None:
                await self._end(lease)

    async def _refill(self) -> None:
        await self._unless_down(self._pool.refill())

    async def _unless_down(self, work: Coroutine[Any, Any, None]) -> None:
        """The table may be out of reach; the sweeper does what is left then."""
        try:
            await work
        except GatewayError:
            self._event_log.record("sandbox_records_failed")
