"""At most so many sandboxes at once, of an account and of the stack, over all processes.

Laws: a slot is taken before a sandbox is opened and freed after it has ended, whatever happens to
the caller; what a crash leaves is free at its expiry, which is later than the sandbox's own end.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from phigate.core.attributes import Item
from phigate.core.background_tasks import BackgroundTasks
from phigate.core.clock import Clock
from phigate.core.errors import GatewayError, Overloaded, RateLimited
from phigate.core.limits import LEDGER_TRIES_MAX
from phigate.core.sandbox import slots
from phigate.core.sandbox.port import RunResult, Sandbox, Sandboxes
from phigate.core.sandbox.runs import Language
from phigate.core.sandbox.slots import Scope, Slot, SlotLimits
from phigate.effects.store.dynamodb import ConditionFailed, Dynamo, repeat

# A sandbox ends by itself soon after its time: a local one 10 s, a task is swept within a minute.
GRACE_S = 120
SCOPES: tuple[Scope, ...] = ("account", "stack")
RETRY_AFTER_MAX_S = 10  # most sandboxes work for a few seconds


def new_nonce() -> str:
    """What makes a slot's id new where one request opens a second sandbox."""
    return secrets.token_hex(4)


class DynamoSlots:
    """Slots in the stack's table. Each method is idempotent for one Slot."""

    def __init__(self, dynamo: Dynamo, clock: Clock, limits: SlotLimits) -> None:
        self._dynamo = dynamo
        self._clock = clock
        self._limits = limits

    async def take(self, slot: Slot) -> None:
        """Take it of the account and of the stack, or of none. Raises RateLimited, Overloaded."""
        await self._take("account", slot, self._limits.account)
        try:
            await self._take("stack", slot, self._limits.stack)
        except RateLimited:
            with contextlib.suppress(GatewayError):
                await self.free(slot)
            raise

    async def free(self, slot: Slot) -> None:
        """It is free of both. Raises Overloaded; its expiry frees it then."""
        for scope in SCOPES:
            await self._free(slots.pk_of(scope, slot.account), (slot.id,))

    async def _take(self, scope: Scope, slot: Slot, most: int) -> None:
        pk = slots.pk_of(scope, slot.account)
        for _ in range(LEDGER_TRIES_MAX):
            try:
                await self._call("UpdateItem", slots.take(self._dynamo.table, pk, slot, most))
            except ConditionFailed as exc:
                if slots.holds(exc.item, slot):
                    return
                await self._make_room(scope, pk, exc.item)
            else:
                return
        raise Overloaded("The sandboxes at work could not be counted in time; try again.")

    async def _make_room(self, scope: Scope, pk: str, item: Item | None) -> None:
        """Do what lets the next try succeed. Raises RateLimited where nothing does."""
        now_s = int(self._clock.now_s())
        if item is None:
            await self._make(pk)
        elif gone := slots.expired(item, now_s):
            await self._free(pk, gone)
        else:
            raise self._refused(scope, slots.retry_after_s(item, now_s, RETRY_AFTER_MAX_S))

    async def _make(self, pk: str) -> None:
        try:
            await self._call("UpdateItem", slots.make(self._dynamo.table, pk))
        except ConditionFailed:
            return  # somebody was first

    async def _free(self, pk: str, slot_ids: tuple[str, ...]) -> None:
        try:
            await self._call("UpdateItem", slots.free(self._dynamo.table, pk, slot_ids))
        except ConditionFailed:
            return  # nothing was ever taken there

    def _refused(self, scope: Scope, after_s: int) -> RateLimited:
        return RateLimited(
            {
                "account": f"This account has {self._limits.account} sandboxes at work, which is "
                "the most at once; try again when one of its requests has ended.",
                "stack": f"All {self._limits.stack} sandboxes of this stack are at work; try "
                "again in a few seconds.",
            }[scope],
            headers={"retry-after": str(after_s)},
        )

    async def _call(self, operation: str, payload: dict[str, Any]) -> None:
        await repeat(self._dynamo, self._clock, operation, payload)


class LimitedSandboxes:
    """Sandboxes of another kind, each with a slot for as long as it lives."""

    def __init__(
        self, *, inner: Sandboxes, slots: DynamoSlots, nonce: Callable[[], str] = new_nonce
    ) -> None:
        self._inner = inner
        self._slots = slots
        self._nonce = nonce
        self._background = BackgroundTasks()

    async def open(self, *, account: str, request_id: str, region: str, until_s: float) -> Sandbox:
        """See Sandboxes."""
        slot = Slot(account, f"{request_id}.{self._nonce()}", int(until_s) + GRACE_S)
        taking = asyncio.ensure_future(self._slots.take(slot))
        try:
            await asyncio.shield(taking)
            sandbox = await self._inner.open(
                account=account, request_id=request_id, region=region, until_s=until_s
            )
        except BaseException:
            self._background.spawn(self._undo(taking, slot))
            raise
        return _Limited(sandbox, lambda: self._free(slot))

    async def wait_idle(self) -> None:
        """Wait until every slot that was given up is free."""
        await self._background.wait_idle()

    async def _undo(self, taking: asyncio.Task[None], slot: Slot) -> None:
        """Free a slot whose caller has gone, also one that is just being taken."""
        await asyncio.wait((taking,))
        if not taking.cancelled() and not isinstance(taking.exception(), RateLimited):
            await self._free(slot)

    async def _free(self, slot: Slot) -> None:
        try:
            await self._slots.free(slot)
        except GatewayError:
            return  # its expiry does it


class _Limited:
    """A sandbox whose slot is freed after its end."""

    def __init__(self, inner: Sandbox, free: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._inner = inner
        self._free = free
        self._closing: asyncio.Task[None] | None = None

    @property
    def image(self) -> str:
        """See Sandbox."""
        return self._inner.image

    async def run(self, language: Language, code: str, timeout_s: float) -> RunResult:
        """See Sandbox."""
        return await self._inner.run(language, code, timeout_s)

    async def close(self) -> None:
        """See Sandbox."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._inner.close()
        finally:
            await self._free()
