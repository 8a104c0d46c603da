"""The receipt of one request: what its record says, and the key that signs it.

Law: where the stack requires certified receipts, nothing is sent before there is a key whose
certificate lasts to the end of the request.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from phigate.core.errors import Overloaded
from phigate.core.ledger.hold import OpenHold
from phigate.core.limits import DRAIN_TIMEOUT_S
from phigate.core.receipts.members import record
from phigate.core.receipts.port import SigningKey
from phigate.core.receipts.record import (
    RECEIPT_ALG,
    RECEIPT_TYP,
    Digest,
    Ended,
    Facts,
    Signed,
    hash_text,
)
from phigate.core.types import Agreement, Attempt, Row
from phigate.pipeline.charge.context import RequestContext
from phigate.pipeline.plan import RequestPlan
from phigate.wire.jws import signing_input


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: `routed` or the code of its refusal, in which way, and at which row."""

    verdict: str
    ended: Ended
    row: Row | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A signed record, and what it says that the request costs."""

    signed: Signed
    cost_micros: int


async def ensure_signing_key(context: RequestContext, plan: RequestPlan) -> None:
    """Ask for a key that can sign this request's receipt to its end. Where the stack requires one
    it is waited for, so that nothing is sent that could not be accounted for. Raises Overloaded."""
    signer = context.gateway.signer
    until_s = plan.deadline_s + DRAIN_TIMEOUT_S
    if not context.needs_certificate:
        signer.begin(until_s)
        return
    key = await signer.key(until_s)
    if key.expires_at_s is None or key.expires_at_s <= until_s:
        raise Overloaded(
            "Receipts cannot be certified at the moment, and this traffic is not served without "
            "them. Nothing was sent to a provider; try again in a few seconds."
        )


async def make_receipt(
    context: RequestContext, held: OpenHold, outcome: Outcome, response: Digest
) -> Receipt:
    """The receipt of a request that has ended; `response` has hashed every byte that is handed to
    the transport. Raises Overloaded."""
    gateway, charge = context.gateway, context.meter.charge
    key = await gateway.signer.key(gateway.clock.now_s())
    is_certified = key.expires_at_s is not None
    if not is_certified and outcome.ended != "refused" and context.needs_certificate:
        raise Overloaded("The receipt could not be certified, so the answer is withheld.")
    facts = _facts(context, held, outcome, response, is_certified=is_certified)
    return Receipt(sign_record(facts, key), 0 if charge is None else charge.charged_micros)


def sign_record(facts: Facts, key: SigningKey) -> Signed:
    """The record of these facts under this key. A general answer's hashes are signed once more as
    the text that RedPill's verifiers know."""
    payload = orjson.dumps(record(facts), option=orjson.OPT_SORT_KEYS)
    message = signing_input(alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=key.kid, payload=payload)
    text_signature = b""
    if facts.phi is False and facts.charge is not None:
        text = hash_text(facts.request_sha256, facts.response_sha256)
        text_signature = key.sign(text.encode("ascii"))
    return Signed(payload, key.kid, key.sign(message), text_signature)


def _facts(
    context: RequestContext,
    held: OpenHold,
    outcome: Outcome,
    response: Digest,
    *,
    is_certified: bool,
) -> Facts:
    gateway, meter, plan, routing = (
        context.gateway,
        context.meter,
        context.plan,
        context.routing,
    )
    tried = _rows_tried(plan, meter.attempts)
    return Facts(
        id=context.id,
        account=held.account,
        key_id=context.principal.key_id,
        seq=held.seq,
        time_s=int(context.started_s),
        signed_at_s=int(gateway.clock.now_s()),
        stack=gateway.stack.name,
        region=routing.region if routing else None,
        phi=routing.phi if routing else None,
        verdict=outcome.verdict,
        rejections=plan.route.rejections if plan else (),
        attempts=meter.attempts,
        catalog_sha256=plan.catalog.sha256 if plan else None,
        card_sha256=plan.catalog.card_sha256 if plan else None,
        request_sha256=context.hash_request(),
        response_sha256=response.hexdigest(),
        ended=outcome.ended,
        row=outcome.row,
        charge=meter.charge,
        agreements=_agreements(tried),
        overrides={row.id: row.override.host for row in tried if row.override},
        simulated=sorted({row.id for row in tried if row.is_simulated}),
        is_certified=is_certified,
        image=meter.image,
        runs=meter.runs,
        confidential=plan.requirements.confidential if plan else None,
        upstream_id=meter.upstream_id(outcome.row),
        upstream_hashes=meter.upstream_hashes(outcome.row),
        refusals_without_receipt=gateway.take_refusals(context.principal.key_id),
    )


def _agreements(tried: Iterable[Row]) -> dict[str, Agreement]:
    return {row.id: row.agreement for row in tried if row.agreement is not None}


def _rows_tried(plan: RequestPlan | None, attempts: Iterable[Attempt]) -> list[Row]:
    rows = {} if plan is None else plan.catalog.rows_by_id
    return [rows[attempt.row] for attempt in attempts if attempt.row in rows]
