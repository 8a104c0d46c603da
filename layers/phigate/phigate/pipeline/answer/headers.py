"""What the caller is told of an answer in its headers; docs/api.md lists them."""

import re

from phigate.core.routing.route import fallback_reason
from phigate.core.types import Row
from phigate.pipeline.charge.finalize import OutOfOrder, Ticket
from phigate.pipeline.plan import RequestPlan

_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
_DROPPED_CHARS_MAX = 1_024


def answer_headers(
    ticket: Ticket, order: RequestPlan, row: Row, dropped: tuple[str, ...]
) -> dict[str, str]:
    """What is known before the body: where it ran, what was tried, what was not honoured."""
    asked = order.asked
    tier = "phi" if asked.phi else "general"
    headers = {
        "x-request-id": ticket.id,
        "x-phi-routed": f"{row.id}/{asked.region}/{tier}",
        "x-phi-tier": tier,
        "x-phi-attempts": str(ticket.rows_sent),
        "x-phi-receipt": ticket.id,
        "x-ratelimit-limit-requests": str(ticket.principal.policy.rpm),
        "x-ratelimit-remaining-requests": str(ticket.calls_left),
        "x-ratelimit-reset-requests": f"{60 - int(ticket.started_s) % 60}s",
    }
    if order.sent_tools:
        headers["x-phi-tools"] = "supported" if row.supports_tools else "unsupported"
    if asked.tokens_out is None:
        headers["x-phi-max-tokens"] = str(row.tokens_out_default)
    reason = fallback_reason(order.catalog, order.route, row)
    if reason is not None:
        headers["x-phi-fallback"] = reason
    if asked.task == "math":
        headers["x-phi-sandbox-figures"] = str(ticket.figures)
    if dropped:
        headers["x-phi-dropped"] = _listed(dropped)
    return headers


def _listed(names: tuple[str, ...]) -> str:
    """Names of members in a header. An unknown member's name is the caller's text: what is no plain
    name is written `unknown`, and a long list is cut."""
    plain = [name if _NAME.fullmatch(name) else "unknown" for name in names]
    listed = ",".join(dict.fromkeys(plain))
    return listed if len(listed) <= _DROPPED_CHARS_MAX else listed[:_DROPPED_CHARS_MAX] + ",more"


def charge_headers(ticket: Ticket) -> dict[str, str]:
    """What the answer cost, for an answer whose head is written after its end."""
    if ticket.charge is None:
        raise OutOfOrder("what it cost is known after the last turn")
    return {
        "x-phi-usage": "estimated" if ticket.charge.usage_is_estimate else "verified",
        "x-phi-cost-micro": str(ticket.charge.charged_micros),
    }
