"""What the caller is told of an answer in its headers; docs/api.md lists them."""

import re

from phigate.core.receipts.record import Charge
from phigate.core.routing.route import fallback_reason
from phigate.core.types import Row
from phigate.pipeline.answer.answer_writer import AnswerParts
from phigate.wire.openai.answer import Stamp

_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
_DROPPED_CHARS_MAX = 1_024


def answer_headers(
    parts: AnswerParts, row: Row, dropped: tuple[str, ...], figures: int = 0
) -> dict[str, str]:
    """What is known before the body: where it ran, what was tried, what was not honoured."""
    hold, plan = parts.hold, parts.plan
    context, requirements, rpm = hold.context, plan.requirements, hold.context.principal.policy.rpm
    tier = "phi" if requirements.phi else "general"
    headers = {
        "x-request-id": context.id,
        "x-phi-routed": f"{row.id}/{requirements.region}/{tier}",
        "x-phi-tier": tier,
        "x-phi-attempts": str(context.meter.rows_sent),
        "x-phi-receipt": context.id,
        "x-ratelimit-limit-requests": str(rpm),
        "x-ratelimit-remaining-requests": str(max(0, rpm - hold.opened.calls_this_minute)),
        "x-ratelimit-reset-requests": f"{60 - int(context.started_s) % 60}s",
    }
    if plan.sent_tools:
        headers["x-phi-tools"] = "supported" if row.supports_tools else "unsupported"
    if requirements.tokens_out is None:
        headers["x-phi-max-tokens"] = str(row.tokens_out_default)
    reason = fallback_reason(plan.catalog, plan.route, row)
    if reason is not None:
        headers["x-phi-fallback"] = reason
    if requirements.task == "math":
        headers["x-phi-sandbox-figures"] = str(figures)
    if dropped:
        headers["x-phi-dropped"] = _listed(dropped)
    return headers


def _listed(names: tuple[str, ...]) -> str:
    """Names of members in a header. An unknown member's name is the caller's text: what is no plain
    name is written `unknown`, and a long list is cut."""
    plain = [name if _NAME.fullmatch(name) else "unknown" for name in names]
    listed = ",".join(dict.fromkeys(plain))
    return listed if len(listed) <= _DROPPED_CHARS_MAX else listed[:_DROPPED_CHARS_MAX] + ",more"


def charge_headers(charge: Charge | None) -> dict[str, str]:
    """What the answer cost, for an answer whose head is written after its end."""
    if charge is None:
        raise RuntimeError("what it cost is known after the last turn")
    return {
        "x-phi-usage": "estimated" if charge.usage_is_estimate else "verified",
        "x-phi-cost-micro": str(charge.charged_micros),
    }


def stamp(parts: AnswerParts, row: Row) -> Stamp:
    """What of the answer's body is ours."""
    context = parts.hold.context
    return Stamp(f"{parts.caller_format.id_prefix}{context.id}", row.id, int(context.started_s))
