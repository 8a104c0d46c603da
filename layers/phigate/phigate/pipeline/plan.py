"""The order: what one call asks, where it may go, and the most that it can cost.

The same function answers `POST /v1/route`, so a dry run and a live call cannot differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from phigate.core.catalog.port import CatalogView
from phigate.core.errors import (
    CallerError,
    InsufficientCredit,
    InvalidApiKey,
    InvalidRequest,
    KeyPolicyViolated,
    ModelNotFound,
    NoRoute,
    PhiBlocked,
    RateLimited,
    RegionNotServed,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedEncoding,
)
from phigate.core.ledger.cost import text_bytes, tokens_affordable, worst_case
from phigate.core.ledger.port import CountRefusal, HoldRefused
from phigate.core.limits import BODY_BYTES_MAX, LAST_TOKENS_MIN
from phigate.core.request.canonical import canonical
from phigate.core.request.debug import DebugOptions, wanted
from phigate.core.request.read import RoutingHeaders, check_policy, read_headers, read_requirements
from phigate.core.routing.gate import Code
from phigate.core.routing.route import AUTO, Route, decide, rows_of_model
from phigate.core.tools.tool_loop import ServerTools, Zones, offered, server_tools
from phigate.core.types import Catalog, ConfidentialBy, Json, KeyPolicy, Requirements, Row
from phigate.pipeline.gateway import InboundRequest, Stack
from phigate.wire.json import is_heavy, parse_object
from phigate.wire.openai.chat_body import ChatBody, check_shape


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """A call that was read and routed. `route.code` is set when it is refused.

    `sent_tools`: the caller's own body had tools; `dropped` names what no row can honour;
    `is_heavy`: what is made of the body is made beside the event loop.
    """

    body: Json
    asked: Requirements
    stream: bool
    with_usage: bool
    view: CatalogView
    route: Route
    hold_micros: int
    deadline_s: float
    server: ServerTools | None = None
    wanted: DebugOptions = field(default_factory=DebugOptions)
    sent_tools: bool = False
    dropped: tuple[str, ...] = ()
    is_heavy: bool = False

    @property
    def catalog(self) -> Catalog:
        """The snapshot that the order was routed by."""
        return self.view.catalog


def read_pinned(call: InboundRequest, policy: KeyPolicy, stack: Stack) -> RoutingHeaders:
    """The headers, once the body is known to be one that can be read. Raises 415, 413,
    408, 400."""
    if call.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedEncoding(
            "Content-Encoding must be identity or absent: bodies are not decompressed."
        )
    if call.body is None:
        raise RequestTooLarge(f"The body is over {BODY_BYTES_MAX} bytes.")
    if call.is_late:
        raise RequestTimeout(
            f"The body was not whole within {stack.body_timeout_s:g} s; send it again.",
            headers={"connection": "close"},
        )
    return read_headers(call.headers, policy, stack.region)


def plan_request(
    call: InboundRequest,
    pinned: RoutingHeaders,
    policy: KeyPolicy,
    *,
    view: CatalogView,
    stack: Stack,
    zones: Zones,
    now_s: float,
    shape: type[ChatBody] = ChatBody,
    marks: bytes | None = None,
) -> RequestPlan:
    """Body, policy, route and bound, in the order of docs/api.md; `marks` are the body's, where
    they are known. Raises CallerError."""
    body = parse_object(call.pop_body(), marks)
    check_shape(shape, body)
    catalog = view.catalog
    is_math = call.task == "math"
    has_sandbox = is_math and _may_run_programs(body, pinned, catalog)
    sent_tools = bool(body.get("tools"))
    server = server_tools(body, zones, now_s, programs=has_sandbox)
    if server is not None:
        body = offered(body, server)
    asked = read_requirements(body, pinned, call.task)
    body = canonical(body)
    if server is not None:
        asked = replace(asked, needs_tools=True)
    _check_tokens_out(asked, catalog)
    check_policy(pinned, policy)
    asks = _check_debug(wanted(body), pinned, policy)
    asked = _as_confidential(_within_policy(asked, policy, catalog), policy)
    _check_known(asked, catalog, stack)
    stream = body.get("stream") is True
    options = body.get("stream_options") or {}
    route = decide(catalog, asked, stack.stand(view, now_s))
    asked = route.asked
    return RequestPlan(
        body=body,
        asked=asked,
        stream=stream,
        with_usage=options.get("include_usage") is True,
        view=view,
        route=route,
        hold_micros=max((worst_case(row, asked).micros for row in route.candidates), default=0),
        deadline_s=now_s + (stack.stream_timeout_s if stream else stack.json_timeout_s),
        server=server,
        wanted=asks,
        sent_tools=sent_tools,
        dropped=("sandbox",) if is_math and not has_sandbox else (),
        is_heavy=marks is not None and is_heavy(marks),
    )


def plan_next_turn(order: RequestPlan, body: Json, row: Row) -> RequestPlan:
    """The order of a further turn: more text, the row that answered first in the list."""
    added = body["messages"][len(order.body["messages"]) :]
    asked = replace(
        order.asked,
        text_bytes=order.asked.text_bytes + text_bytes(added),
        messages=len(body["messages"]),
    )
    rows = order.route.candidates
    candidates = tuple(sorted(rows, key=lambda candidate: candidate.id != row.id))
    return replace(
        order,
        body=body,
        asked=asked,
        route=replace(order.route, asked=asked, candidates=candidates),
        hold_micros=max(worst_case(candidate, asked).micros for candidate in rows),
    )


def within(order: RequestPlan, room_micros: int) -> RequestPlan | None:
    """The order at those of its candidates that `room_micros` covers, with as many output tokens as
    it covers at the first of them; None where that is too few to answer with."""
    asked, rows = order.asked, order.route.candidates

    def affordable(row: Row) -> int:
        wanted = row.tokens_out_default if asked.tokens_out is None else asked.tokens_out
        return min(tokens_affordable((row,), asked, room_micros), wanted)

    least = LAST_TOKENS_MIN if asked.tokens_out is None else min(asked.tokens_out, LAST_TOKENS_MIN)
    first = next((row for row in rows if affordable(row) >= least), None)
    if first is None:
        return None
    tokens = affordable(first)
    asked = replace(asked, tokens_out=tokens)
    kept = tuple(row for row in rows if worst_case(row, asked).micros <= room_micros)
    return replace(
        order,
        asked=asked,
        route=replace(order.route, asked=asked, candidates=kept),
        hold_micros=max(worst_case(row, asked).micros for row in kept),
    )


def refused(code: Code, asked: Requirements) -> CallerError:
    """The refusal of a route without candidates."""
    kind, message = _REFUSALS[code]
    never = asked.phi and asked.task == "math"  # whatever else were asked
    why = _NEVER_PHI if never else _CONFIDENTIAL.get(asked.confidential, "")
    return kind(message.format(region=asked.region) + why)


def decision(order: RequestPlan) -> Json:
    """The order as `POST /v1/route` shows it."""
    asked, route = order.asked, order.route
    rows = route.candidates
    default = rows[0].tokens_out_default if rows else None
    return {
        "region": asked.region,
        "phi": asked.phi,
        "decision": "routed" if rows else "refused",
        "code": route.code,
        "confidential": asked.confidential,
        "candidates": [
            {
                "row": r.id,
                "region": asked.region,
                "cost_max_micro": worst_case(r, asked).micros,
                **({"override": r.override.host} if r.override else {}),
            }
            for r in rows
        ],
        "rejections": [{"row": r.row, "rule": r.rule} for r in route.rejections],
        "cost_max_micro": order.hold_micros,
        "max_tokens": default if asked.tokens_out is None else asked.tokens_out,
    }


def hold_refused(
    order: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    """The answer to a hold that was not written."""
    return _HOLD_REFUSALS[refused.reason](order, refused, policy, now_s)


def count_refused(reason: CountRefusal, policy: KeyPolicy, now_s: float) -> CallerError:
    """The answer to a call that was not counted."""
    return _disabled_key() if reason == "key" else _over_rate(policy, now_s)


def _may_run_programs(body: Json, pinned: RoutingHeaders, catalog: Catalog) -> bool:
    """Whether the region has a sandbox for a math agent. Raises InvalidRequest for a stream."""
    if body.get("stream") is True:
        raise InvalidRequest(
            "The math endpoint answers in one piece: leave stream out.", param="stream"
        )
    return catalog.regions[pinned.region].sandbox


def _check_known(asked: Requirements, catalog: Catalog, stack: Stack) -> None:
    if asked.region not in stack.regions:
        raise RegionNotServed(
            f"This stack does not serve region {asked.region}; it serves "
            f"{', '.join(stack.regions)}. Requests are never forwarded to another stack.",
            param="X-Region",
        )
    if not rows_of_model(catalog, asked.model):
        raise ModelNotFound(
            "The model is no row, upstream id or alias of this gateway; GET /v1/models lists them.",
            param="model",
        )


def _check_debug(asks: DebugOptions, pinned: RoutingHeaders, policy: KeyPolicy) -> DebugOptions:
    """PHI that went upstream is shown again only to a key whose policy says so."""
    if asks.is_debug and pinned.phi and not policy.debug_phi:
        raise KeyPolicyViolated(
            "debug and echo_upstream_request show what went upstream; with PHI they need a key "
            "whose policy has debug_phi.",
            param="debug",
        )
    return asks


def _check_tokens_out(asked: Requirements, catalog: Catalog) -> None:
    most = max((row.tokens_out_max for row in catalog.rows), default=0)
    if asked.tokens_out is not None and asked.tokens_out > most:
        raise InvalidRequest(
            f"max_tokens is {asked.tokens_out}; no model writes more than {most}.",
            param="max_tokens",
        )


def _within_policy(asked: Requirements, policy: KeyPolicy, catalog: Catalog) -> Requirements:
    """The request limited to the policy's models. A model named outside them is refused."""
    if policy.models is None:
        return asked
    allowed = frozenset(row.id for name in policy.models for row in rows_of_model(catalog, name))
    named = {row.id for row in rows_of_model(catalog, asked.model)}
    if asked.model != AUTO and not named & allowed:
        raise KeyPolicyViolated(
            f"This key may use {', '.join(sorted(policy.models))} only.", param="model"
        )
    return replace(asked, models_allowed=allowed)


def _as_confidential(asked: Requirements, policy: KeyPolicy) -> Requirements:
    """The request under a key that requires confidential rows; a wish against that is refused."""
    if policy.confidential is None:
        return asked
    if asked.preferences.confidential is False:
        raise KeyPolicyViolated(
            "This key's policy is confidential = required, which provider.confidential: false "
            "contradicts.",
            param="provider.confidential",
        )
    return replace(asked, confidential="policy")


_NEVER_PHI = (
    " No agreement covers the math agent's sandbox, so /v1/math takes general traffic only."
)
# What else a refusal says, by what makes an enclave necessary.
_CONFIDENTIAL: Mapping[ConfidentialBy | None, str] = {
    "name": " Every row of this model is confidential, so no other may answer for it, unless "
    "provider.confidential is false.",
    "policy": " This key's policy allows confidential rows only.",
    "preference": " provider.confidential allows confidential rows only.",
}
_REFUSALS: Mapping[Code, tuple[type[CallerError], str]] = {
    "phi_blocked": (
        PhiBlocked,
        "No provider in region {region} has an agreement in force that permits PHI for this "
        "request. It was not sent anywhere. POST /v1/route shows every row and its rule.",
    ),
    "key_policy": (
        KeyPolicyViolated,
        "None of the models that this key may use serves this request in region {region}.",
    ),
    "no_route": (
        NoRoute,
        "No live model serves this request in region {region} within what was asked. "
        "POST /v1/route shows every row and the rule that removed it.",
    ),
}


def _disabled(
    order: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    return _disabled_key()


def _disabled_key() -> CallerError:
    return InvalidApiKey("The key is disabled.")


def _no_credit(
    order: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    available = refused.available_micros
    affordable = tokens_affordable(order.route.candidates, order.asked, available)
    what = "credit" if refused.reason == "credit" else "of this key's spending limit for today"
    extra = {"needed_micro": order.hold_micros, "available_micro": available}
    advice = "not even one token of an answer is covered; add credit, or send a shorter prompt."
    if affordable:
        extra["max_tokens_affordable"] = affordable
        advice = f"add credit, or ask for at most {affordable} output tokens with max_tokens."
    return InsufficientCredit(
        f"The request may cost up to {order.hold_micros} micro-USD and {available} {what} "
        f"{'is' if refused.reason == 'credit' else 'are'} left: {advice}",
        extra=extra,
    )


def _too_fast(
    order: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    return _over_rate(policy, now_s)


def _over_rate(policy: KeyPolicy, now_s: float) -> CallerError:
    return RateLimited(
        f"This key may call {policy.rpm} times a minute.",
        headers={"retry-after": str(60 - int(now_s) % 60)},
    )


def _too_many(
    order: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    return RateLimited(
        "The account has too many requests under way; wait for some to end.",
        headers={"retry-after": "1"},
    )


_HOLD_REFUSALS = {
    "key": _disabled,
    "credit": _no_credit,
    "spend_limit": _no_credit,
    "rate": _too_fast,
    "holds": _too_many,
    "refusals": _too_fast,
}
