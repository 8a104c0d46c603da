"""Tasks that somebody here has started, or may have: each is stopped by whoever holds its lease.

Laws: a start is never cancelled half-way, its holder gives it up and it is stopped when it is
there; a start whose outcome stays unknown is looked for by name. Every retry is bounded; what
cannot be stopped is left to the sweeper, which finds it by the same name.
"""

import asyncio
from dataclasses import dataclass, replace

from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.core.sandbox.tasks import Outcome, Record, Task
from phigate.effects.sandbox.ecs_tasks import EcsFailed, EcsTasks, Start

START_TRIES_MAX = 4
STOP_TRIES_MAX = 5
PAUSE_S = 0.5  # at most, doubled after every try; RunTask refills 20 tokens a second
POLL_INTERVAL_S = 1.0  # DescribeTasks allows 20 a second; 50 sandboxes do not start at once
UNLISTED_MAX_S = 15.0  # a task that was just started may not be described yet


class TaskLost(Exception):  # named by what happened
    """A task did not become a sandbox; another one may."""


@dataclass(slots=True)
class Over:
    """Whether a task is still wanted, as its start sees it."""

    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """One task; `record` where it is the pool's."""

    nonce: str
    started_by: str
    starting: asyncio.Task[str]
    over: Over
    record: Record | None = None


class Leases:
    """Starts, watches and stops tasks in one place."""

    def __init__(self, *, tasks: EcsTasks, clock: Clock, event_log: EventLog) -> None:
        self.tasks = tasks
        self._clock = clock
        self._event_log = event_log

    def begin(self, nonce: str, start: Start) -> Lease:
        """Start a task; does not wait."""
        over = Over()
        starting = asyncio.ensure_future(self._start(nonce, over, start))
        return Lease(nonce, start.started_by, starting, over)

    def of_record(self, record: Record, started_by: str) -> Lease:
        """The lease of a task that was claimed."""
        arrived = asyncio.ensure_future(_arrived(record.arn))
        return Lease(record.nonce, started_by, arrived, Over(), record)

    async def running(self, lease: Lease, until_s: float) -> Task:
        """The task when it runs and has an address. Raises TaskLost, EcsFailed."""
        arn = await asyncio.shield(lease.starting)
        listed_by_s = self._clock.now_s() + UNLISTED_MAX_S
        while self._clock.now_s() < until_s:
            task = await self._look(arn)
            if task is not None and task.phase == "running" and task.address:
                return task
            if task is not None and task.phase == "over":
                raise TaskLost("it died before it ran")
            if task is None and self._clock.now_s() > listed_by_s:
                raise TaskLost("it is not known")
            await self._clock.sleep(POLL_INTERVAL_S)
        raise TaskLost("it did not run in time")

    async def give_up(self, lease: Lease) -> None:
        """Stop it, also where it is still being started. Never raises EcsFailed."""
        lease.over.is_over = True
        await asyncio.wait((lease.starting,))
        failure = None if lease.starting.cancelled() else lease.starting.exception()
        if failure is None:
            await self.stop(lease.starting.result())
        elif isinstance(failure, EcsFailed) and failure.outcome == "unknown":
            await self.stop_all(lease.started_by)

    async def stop(self, arn: str) -> bool:
        """Stop a task; whether that was accepted."""
        pause_s = PAUSE_S
        for _ in range(STOP_TRIES_MAX):
            try:
                await self.tasks.stop(arn)
            except EcsFailed as exc:
                if exc.outcome == "never":
                    break
                await self._clock.back_off(pause_s)
                pause_s *= 2
            else:
                return True
        self._event_log.record("sandbox_stop_failed", task=arn.rpartition("/")[2])
        return False

    async def stop_all(self, started_by: str) -> None:
        """Stop what one start may have left."""
        try:
            found = await self.tasks.living(started_by)
        except EcsFailed:
            self._event_log.record("sandbox_stop_failed", task=started_by)
            return
        for task in found:
            await self.stop(task.arn)

    async def _start(self, nonce: str, over: Over, start: Start) -> str:
        """RunTask until its outcome is known or its tries are used up."""
        may_have_started = False
        pause_s = PAUSE_S
        for number in range(START_TRIES_MAX):
            try:
                return await self.tasks.start(start)
            except EcsFailed as exc:
                may_have_started = may_have_started or exc.outcome == "unknown"
                self._event_log.record("sandbox_start_failed", reason=str(exc))
                if exc.outcome == "never" or over.is_over:
                    raise EcsFailed(str(exc), _final(exc, may_have_started)) from exc
                failure = exc
            if not may_have_started:
                # What certainly started nothing is asked for anew, not repeated to the same end.
                start = replace(start, client_token=f"{nonce}-{number + 1}")
            await self._clock.back_off(pause_s)
            pause_s *= 2
        raise EcsFailed(str(failure), _final(failure, may_have_started))

    async def _look(self, arn: str) -> Task | None:
        """The task as it is now; None where it cannot be told for the moment."""
        try:
            found = await self.tasks.describe([arn])
        except EcsFailed as exc:
            if exc.outcome == "never":
                raise
            return None
        return found[0] if found else None


def _final(exc: EcsFailed, may_have_started: bool) -> Outcome:
    return "unknown" if may_have_started else exc.outcome


async def _arrived(arn: str) -> str:
    return arn
