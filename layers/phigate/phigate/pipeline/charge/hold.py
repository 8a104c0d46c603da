"""The hold of one request, from the ledger's answer to its settle.

Law 1: its state is one of the ledger's table, also while the outcome of a write is unknown, so that
whoever is interrupted there does nothing that the table does not hold.
Law 2: the settle runs to its end whatever becomes of the request, and is begun once.
"""

from dataclasses import replace

from phigate.core.errors import GatewayError, InvalidApiKey, RateLimited
from phigate.core.ledger.hold import OpenHold, State
from phigate.core.ledger.port import HoldRefused, HoldRequest
from phigate.core.limits import HOLD_GRACE_S
from phigate.pipeline.charge.context import RequestContext
from phigate.pipeline.charge.receipt import Receipt
from phigate.pipeline.plan import RequestPlan
from phigate.pipeline.refusals import hold_refused


class Hold:
    """A handle: `opened` is the newest value of the hold, and all that changes."""

    def __init__(self, context: RequestContext, opened: OpenHold) -> None:
        self.context = context
        self.opened = opened

    @property
    def state(self) -> State:
        """Where it stands in the ledger's table."""
        return self.opened.state

    @property
    def micros(self) -> int:
        """What is held."""
        return self.opened.micros

    @property
    def unused_micros(self) -> int:
        """What is held and not used yet."""
        charge = self.context.meter.charge
        return self.micros - (0 if charge is None else charge.computed_micros)

    @property
    def is_open(self) -> bool:
        """Whether no receipt of it is known to stand."""
        return self.state in ("held", "used", "writing")

    @property
    def is_receipted(self) -> bool:
        """Whether its receipt stands: what it costs is certain."""
        return self.state in ("done", "late", "settled")

    def charge_turn(self, reported: object, bytes_out: int) -> None:
        """Charge one more turn: what was reported if it can be true, else our estimate."""
        context = self.context
        is_believed = context.meter.add_turn(reported, bytes_out, held_micros=self.micros)
        if reported is not None and not is_believed:
            row = context.meter.row
            context.gateway.event_log.record(
                "usage_not_believed", id=context.id, row=row.id if row else ""
            )

    async def extend(self, next_micros: int) -> bool:
        """Hold what the next turn needs on top of what is used; False: credit does not cover it."""
        charge = self.context.meter.charge
        used_micros = 0 if charge is None else charge.charged_micros
        micros = max(self.micros, used_micros + next_micros)
        # Before it is sent: when its outcome stays unknown, usage may have been noted.
        self.opened = self.opened.noting(used_micros)
        ledger = self.context.gateway.ledger
        extended = await ledger.extend_hold(self.opened, micros, used_micros)
        if extended is not None:
            self.opened = extended
        return extended is not None

    async def write_receipt(self, receipt: Receipt) -> None:
        """Write the record; from here on the charge is certain. Raises Overloaded."""
        # Before it is sent: until the store has answered, nothing else may be written.
        self.opened = self.opened.writing(receipt.cost_micros)
        self.opened = await self.context.gateway.ledger.put_receipt(self.opened, receipt.signed)

    async def settle(self) -> None:
        """Charge what the receipt says and return the rest; shielded from cancellation."""
        if self.state == "done":
            done, self.opened = self.opened, self.opened.after("settle")
            await self.context.gateway.run_shielded(self._settle(done))

    async def _settle(self, done: OpenHold) -> None:
        gateway = self.context.gateway
        try:
            await gateway.ledger.settle(done)
            if done.expired:
                await gateway.ledger.sweep(done.account, int(gateway.clock.now_s()))
        except GatewayError as exc:
            # The answer stands; the sweeper settles by the receipt. The kind tells a bug from load.
            kind = type(exc).__name__
            gateway.event_log.record("settle_not_confirmed", id=done.id, kind=kind)


async def hold_plan(context: RequestContext, plan: RequestPlan) -> Hold:
    """Hold the greatest cost over the candidates. Raises 401, 402, 429."""
    policy = context.principal.policy
    held = await context.gateway.ledger.hold(
        replace(
            _hold_request(context, is_refusal=False),
            micros=plan.hold_micros,
            expires_at_s=int(plan.deadline_s) + HOLD_GRACE_S,
            spend_limit_micros=policy.spend_limit_micros,
        )
    )
    if isinstance(held, HoldRefused):
        raise hold_refused(plan, held, policy, context.started_s)
    return Hold(context, held)


async def hold_refusal(context: RequestContext) -> Hold | None:
    """A hold of nothing, for a refusal's receipt; None: the account is full. Raises 401, 429."""
    held = await context.gateway.ledger.hold(_hold_request(context, is_refusal=True))
    if not isinstance(held, HoldRefused):
        return Hold(context, held)
    if held.reason == "key":
        raise InvalidApiKey("The key is disabled.")
    context.gateway.count_refusal(context.principal.key_id)  # the next receipt tells it
    if held.reason == "holds":
        return None  # the refusal stands as it is
    raise RateLimited(
        "Too many refused calls with this key in this minute; mend the request first.",
        headers={"retry-after": str(60 - int(context.started_s) % 60)},
    )


def _hold_request(context: RequestContext, *, is_refusal: bool) -> HoldRequest:
    now_s = int(context.started_s)
    return HoldRequest(
        account=context.principal.account,
        key_id=context.principal.key_id,
        id=context.id,
        micros=0,
        expires_at_s=now_s + HOLD_GRACE_S,
        now_s=now_s,
        rpm=context.principal.policy.rpm,
        is_refusal=is_refusal,
    )
