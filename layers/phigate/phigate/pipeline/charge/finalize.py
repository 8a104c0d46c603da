"""The ticket of one request: its hold, its record and its settle, each written once.

Law 1: the receipt is durable before the last byte leaves; the settle comes right after it.
Law 2: whatever happens in between, the hold is settled here or swept by the receipt; a request
that never reached a receipt is voided by timeout.
Law 3: what was used is counted in `tally`, which never charges above what is held.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from phigate.core.errors import (
    GatewayError,
    InvalidApiKey,
    Overloaded,
    PhigateError,
    RateLimited,
)
from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.port import HoldRefused, HoldRequest
from phigate.core.limits import DRAIN_TIMEOUT_S, HOLD_GRACE_S, UNSEEN_TIMEOUTS_PER_DAY
from phigate.core.receipts.ids import new_id
from phigate.core.receipts.record import Charge, Digest, Ended, Facts, digest, nonce, sandbox_told
from phigate.core.request.read import RoutingHeaders
from phigate.core.sandbox.runs import Run
from phigate.core.types import Attempt, Json, Principal, Requirements, Row
from phigate.core.upstream import HashedExchange
from phigate.pipeline.charge.receipt import agreements, overrides, signed, simulated, uncertified
from phigate.pipeline.charge.usage import UsageMeter
from phigate.pipeline.gateway import Gateway, InboundRequest
from phigate.pipeline.plan import RequestPlan, hold_refused
from phigate.wire.openai.answer import Stamp


class OutOfOrder(RuntimeError):
    """A step of a ticket before the step that it stands on: a bug."""


class Ticket:
    """State of one request of a known key, from its id to its settle."""

    def __init__(self, gateway: Gateway, call: InboundRequest, principal: Principal) -> None:
        now_s = gateway.clock.now_s()
        self.gateway = gateway
        self.principal = principal
        self.id = new_id(int(now_s), gateway.random_bytes(7))
        self.started_s = now_s
        self.attempts: list[Attempt] = []
        self.rows_sent = 0  # the distinct rows that were sent a request, in the turn with most
        self.pinned: RoutingHeaders | None = None
        self._request_sha256: str | None = None
        self.order: RequestPlan | None = None
        self.held: OpenHold | None = None
        self.tally = UsageMeter()
        self.image: str | None = None  # of the sandbox, once there is one
        self.runs: list[Run] = []
        self.figures = 0
        self.leaving: asyncio.Future[None] | None = None  # the sandbox on its way to its end
        self._call = call
        self._charged_micros: int | None = None
        self._settled = False
        self._in_doubt = False
        self._noted_micros = 0  # what the hold itself says was used
        self._nonce = nonce(call.key, self.id)
        self._response: Digest | None = None

    def stamp(self, row: Row) -> Stamp:
        """What of the answer's body is ours."""
        return Stamp(f"chatcmpl-{self.id}", row.id, int(self.started_s))

    @property
    def calls_left(self) -> int:
        """How many more calls the key may make in this minute."""
        calls = self.held.calls_this_minute if self.held is not None else 0
        return max(0, self.principal.policy.rpm - calls)

    @property
    def charge(self) -> Charge | None:
        """What the turns until now cost; None before the first has answered."""
        return self.tally.charge

    @property
    def room_micros(self) -> int:
        """What is held and not used yet."""
        held, _ = self._standing()
        return held.micros - (0 if self.charge is None else self.charge.computed_micros)

    @property
    def sandbox(self) -> Json | None:
        """What is told of the sandbox; None without one."""
        return None if self.image is None else sandbox_told(self.image, self.runs)

    @property
    def is_open(self) -> bool:
        """True while a hold stands that no receipt has been written for."""
        return self.held is not None and self._charged_micros is None

    @property
    def response(self) -> Digest:
        """The running hash of every byte that is handed to the transport."""
        if self._response is None:
            self._response = digest(self._phi, self._nonce)
        return self._response

    @property
    def _phi(self) -> bool:
        # A request whose headers could not be read is hashed as if it were PHI.
        return self.pinned is None or self.pinned.phi

    def pin(self, pinned: RoutingHeaders) -> None:
        """What the headers say; now the request can be hashed, before its body is given away."""
        self.pinned = pinned
        self._request_sha256 = self._hash_request()

    def _hash_request(self) -> str:
        request = digest(self._phi, self._nonce)
        request.update(self._call.body or b"")
        return request.hexdigest()

    async def vouch(self, order: RequestPlan) -> None:
        """Ask for a key that can sign this call's receipt to its end. Where the stack requires one
        it is waited for, so that nothing is sent that could not be accounted for. Raises
        Overloaded."""
        signer = self.gateway.signer
        until_s = order.deadline_s + DRAIN_TIMEOUT_S
        if not self._needs_certificate:
            signer.begin(until_s)
            return
        key = await signer.key(until_s)
        if key.expires_at_s is None or key.expires_at_s <= until_s:
            raise uncertified()

    async def hold(self, order: RequestPlan) -> None:
        """Hold the greatest cost over the candidates. Raises 401, 402, 429."""
        policy = self.principal.policy
        held = await self.gateway.ledger.hold(
            replace(
                self._hold_request(is_refusal=False),
                micros=order.hold_micros,
                expires_at_s=int(order.deadline_s) + HOLD_GRACE_S,
                rpm=policy.rpm,
                spend_limit_micros=policy.spend_limit_micros,
            )
        )
        if isinstance(held, HoldRefused):
            raise hold_refused(order, held, policy, self.started_s)
        self.held = held

    def used(self, row: Row, reported: object, bytes_out: int) -> None:
        """Charge one more turn: what was reported if it can be true, else our estimate."""
        held, asked = self._standing()
        is_believed = self.tally.used(
            row, reported, bytes_out, asked=asked, held_micros=held.micros
        )
        if reported is not None and not is_believed:
            self.gateway.event_log.record("usage_not_believed", id=self.id, row=row.id)

    def signed_upstream(self) -> tuple[HashedExchange, str] | None:
        """The exchange that the upstream signs and its id of it, once the receipt stands."""
        return None if self._charged_micros is None else self.tally.signed_upstream

    def receipt_headers(self) -> dict[str, str]:
        """What an error names once its receipt stands, or may stand: what is charged, and that a
        repeat would be charged again."""
        micros = self._charged_micros
        if micros is None:
            return self._doubtful_headers()
        named = {"x-phi-receipt": self.id}
        return named if self.charge is None else named | _charged_again(micros)

    def _doubtful_headers(self) -> dict[str, str]:
        """The sweeper settles by a receipt that may stand, else by what the hold says was used."""
        if self._in_doubt and self.charge is not None:
            return {"x-phi-receipt": self.id} | _charged_again(self.charge.charged_micros)
        if self._noted_micros:
            return {"x-phi-receipt": self.id} | _charged_again(self._noted_micros)
        return {}

    def count_timeout(self, row: Row) -> None:
        """An attempt timed out, which is free. Who causes it again and again is told of."""
        key_id, gateway = self.principal.key_id, self.gateway
        count = gateway.count_timeout(key_id, gateway.clock.now_s())
        gateway.event_log.record(
            "attempt_timed_out", id=self.id, row=row.id, key=key_id, count=count
        )
        if count > UNSEEN_TIMEOUTS_PER_DAY:
            gateway.event_log.record("key_times_out", key=key_id, count=count)

    async def left(self) -> None:
        """Wait until nothing that stood for this request alone is left."""
        if self.leaving is not None:
            await asyncio.shield(self.leaving)

    def ran(self, run: Run) -> None:
        """One program ran; the operator's line names its language, exit and time."""
        self.runs.append(run)
        self.gateway.event_log.record(
            "program", id=self.id, language=run.language, exit=run.exit_code, ms=run.wall_ms
        )

    async def raise_for(self, order: RequestPlan) -> bool:
        """Hold what the next turn needs on top of what is used; False: credit does not cover it."""
        held, _ = self._standing()
        used = self.charge.charged_micros if self.charge is not None else 0
        needed = max(held.micros, used + order.hold_micros)
        self.order = order
        # Before it is sent: when its outcome stays unknown, usage may have been noted.
        self.held = noting = held.noting(used)
        extended = await self.gateway.ledger.extend_hold(noting, needed, used)
        if extended is not None:
            self.held = extended
            self._noted_micros = used
        return extended is not None

    async def receipt(self, verdict: str, ended: Ended, row: Row | None) -> None:
        """Sign and write the record; from here on the charge is certain. Raises Overloaded."""
        if self.held is None:
            raise OutOfOrder("a receipt needs a hold")
        key = await self.gateway.signer.key(self.gateway.clock.now_s())
        if key.expires_at_s is None and ended != "refused" and self._needs_certificate:
            raise Overloaded("The receipt could not be certified, so the answer is withheld.")
        micros = self.charge.charged_micros if self.charge is not None else 0
        facts = self._facts(
            self.held, verdict, ended, row, is_certified=key.expires_at_s is not None
        )
        self._in_doubt = True  # until the store has answered, nothing else may be written
        self.held = writing = self.held.writing(micros)
        self.held = await self.gateway.ledger.put_receipt(writing, signed(facts, key))
        self._in_doubt = False
        self._charged_micros = micros
        self._settled = self.held.state == "late"

    async def settle(self) -> None:
        """Charge what the receipt says and return the rest; shielded from cancellation."""
        if self.held is not None and self._charged_micros is not None and not self._settled:
            self._settled = True
            await self.gateway.run_shielded(self._settle(self.held))

    async def refuse(self, error: PhigateError, body: bytes) -> Mapping[str, str]:
        """The receipt of a refusal or failure, which is answered with `body`; the headers that name
        it. Only turns that were answered before it cost something."""
        if self._charged_micros is not None:
            return self.receipt_headers()
        if self._in_doubt:
            return self.receipt_headers()
        try:
            if self.held is None and not await self._hold_refusal():
                return {}
            self._response = None  # an answer that was withheld is not what is sent
            self.response.update(body)
            await self.receipt(error.code, "refused", self.tally.last_row)
        except Overloaded:
            # The refusal stands; that it has no receipt is the operator's to see.
            self.gateway.event_log.record("refusal_without_receipt", code=error.code)
            return self.receipt_headers()
        await self.settle()
        return self.receipt_headers()

    async def abandon(self, verdict: str = "routed", ended: Ended = "hang_up") -> None:
        """The request was cancelled. An upstream that had begun is charged by estimate."""
        if self.is_open:
            tally = self.tally
            if not tally.is_counted:
                held, asked = self._standing()
                tally.abandoned(asked, held.micros, self.gateway.clock.now_s())
            await self.receipt(verdict, ended, tally.row)
            await self.settle()
            self.note("abandoned", tally.row)

    def note(self, event: str, row: Row | None, **fields: str | int) -> None:
        """One line for the operator: ids, names, counts and micros."""
        pinned, charge = self.pinned, self.charge
        if row is not None and pinned is not None:
            fields["routed"] = f"{row.id}/{pinned.region}/{'phi' if pinned.phi else 'general'}"
        if charge is not None:
            fields["tokens_in"] = charge.usage.tokens_in
            fields["tokens_out"] = charge.usage.tokens_out
            fields["cost_micros"] = charge.charged_micros
            if charge.charged_micros < charge.computed_micros:
                self.gateway.event_log.record(
                    "cost_above_hold", id=self.id, row=row.id if row else ""
                )
        ms = round((self.gateway.clock.now_s() - self.started_s) * 1000)
        self.gateway.event_log.record(
            event, id=self.id, attempts=len(self.attempts), **fields, ms=max(0, ms)
        )

    def _standing(self) -> tuple[OpenHold, Requirements]:
        if self.held is None or self.order is None:
            raise OutOfOrder("a charge needs a hold")
        return self.held, self.order.asked

    async def _settle(self, held: OpenHold) -> None:
        ledger = self.gateway.ledger
        try:
            await ledger.settle(held)
            if held.expired:
                await ledger.sweep(held.account, int(self.gateway.clock.now_s()))
        except GatewayError as exc:
            # The answer stands; the sweeper settles by the receipt. The kind tells a bug from load.
            kind = type(exc).__name__
            self.gateway.event_log.record("settle_not_confirmed", id=held.id, kind=kind)

    async def _hold_refusal(self) -> bool:
        """Whether a hold of 0 stands for the refusal's receipt. Raises 401, 429."""
        held = await self.gateway.ledger.hold(self._hold_request(is_refusal=True))
        if isinstance(held, HoldRefused):
            if held.reason == "key":
                raise InvalidApiKey("The key is disabled.")
            self.gateway.count_refusal(self.principal.key_id)  # the next receipt tells it
            if held.reason == "holds":
                return False  # the account is full; the refusal stands as it is
            raise RateLimited(
                "Too many refused calls with this key in this minute; mend the request first.",
                headers={"retry-after": str(60 - int(self.started_s) % 60)},
            )
        self.held = held
        return True

    def _hold_request(self, *, is_refusal: bool) -> HoldRequest:
        now_s = int(self.started_s)
        return HoldRequest(
            account=self.principal.account,
            key_id=self.principal.key_id,
            id=self.id,
            micros=0,
            expires_at_s=now_s + HOLD_GRACE_S,
            now_s=now_s,
            rpm=self.principal.policy.rpm,
            is_refusal=is_refusal,
        )

    @property
    def _needs_certificate(self) -> bool:
        pinned = self.pinned
        return pinned is not None and self.gateway.stack.requires_receipt(pinned.phi)

    def _facts(
        self, held: OpenHold, verdict: str, ended: Ended, row: Row | None, *, is_certified: bool
    ) -> Facts:
        order, pinned = self.order, self.pinned
        return Facts(
            id=self.id,
            account=held.account,
            key_id=self.principal.key_id,
            seq=held.seq,
            time_s=int(self.started_s),
            signed_at_s=int(self.gateway.clock.now_s()),
            stack=self.gateway.stack.name,
            region=pinned.region if pinned else None,
            phi=pinned.phi if pinned else None,
            verdict=verdict,
            rejections=order.route.rejections if order else (),
            attempts=self.attempts,
            catalog_sha256=order.catalog.sha256 if order else None,
            card_sha256=order.catalog.card_sha256 if order else None,
            request_sha256=self._request_sha256 or self._hash_request(),
            response_sha256=self.response.hexdigest(),
            ended=ended,
            row=row,
            charge=self.charge,
            agreements=agreements(order, self.attempts),
            overrides=overrides(order, self.attempts),
            simulated=simulated(order, self.attempts),
            is_certified=is_certified,
            image=self.image,
            runs=self.runs,
            confidential=order.asked.confidential if order else None,
            upstream_id=self.tally.upstream_id(row),
            upstream_hashes=self.tally.upstream_hashes(row),
            refusals_without_receipt=self.gateway.take_refusals(self.principal.key_id),
        )


def _charged_again(micros: int) -> dict[str, str]:
    return {"x-should-retry": "false", "x-phi-cost-micro": str(micros)}


class CallerGone(Exception):
    """The caller hung up, and nothing more is done for them."""


async def cancelled_to_the_end(
    ticket: Ticket, verdict: str = "routed", ended: Ended = "hang_up"
) -> None:
    """Close a cancelled request's ticket although the task that held it is being cancelled."""
    try:
        await ticket.gateway.run_shielded(ticket.abandon(verdict, ended))
    except (GatewayError, asyncio.CancelledError):
        ticket.gateway.event_log.record("abandoned_hold", id=ticket.id)
