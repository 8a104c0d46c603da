"""The plan: what one call asks, where it may go, and the most that it can cost.

The same function answers `POST /v1/route`, so a dry run and a live call cannot differ.
"""

import functools
from dataclasses import dataclass, field, replace

from phigate.core.catalog.port import CatalogView
from phigate.core.errors import (
    InvalidRequest,
    KeyPolicyViolated,
    ModelNotFound,
    RegionNotServed,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedEncoding,
)
from phigate.core.ledger.cost import text_bytes, tokens_affordable, worst_case
from phigate.core.limits import BODY_BYTES_MAX, LAST_TOKENS_MIN
from phigate.core.request.debug import DebugOptions, debug_options
from phigate.core.request.read import RoutingHeaders, check_policy, read_headers, read_requirements
from phigate.core.routing.route import AUTO, Route, decide, rows_of_model
from phigate.core.tools.tool_loop import ServerTools, Zones, offered, server_tools
from phigate.core.types import Catalog, Json, KeyPolicy, Requirements, Row
from phigate.formats.caller_format import CallerFormat, ReadBody
from phigate.pipeline.gateway import Gateway, Stack
from phigate.pipeline.inbound_request import InboundRequest
from phigate.wire.json import is_heavy, marks_of
from phigate.wire.openai.field_policy import check_members


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
    debug: DebugOptions = field(default_factory=DebugOptions)
    sent_tools: bool = False
    dropped: tuple[str, ...] = ()
    is_heavy: bool = False

    @property
    def catalog(self) -> Catalog:
        """The snapshot that it was routed by."""
        return self.view.catalog


def read_routing_headers(
    request: InboundRequest, policy: KeyPolicy, stack: Stack
) -> RoutingHeaders:
    """The headers, once the body is known to be one that can be read. Raises 415, 413,
    408, 400."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedEncoding(
            "Content-Encoding must be identity or absent: bodies are not decompressed."
        )
    if request.body.content is None:
        raise RequestTooLarge(f"The body is over {BODY_BYTES_MAX} bytes.")
    if request.body.is_late:
        raise RequestTimeout(
            f"The body was not whole within {stack.body_timeout_s:g} s; send it again.",
            headers={"connection": "close"},
        )
    return read_headers(request.headers, policy, stack.region)


def plan_request(
    request: InboundRequest,
    routing: RoutingHeaders,
    policy: KeyPolicy,
    *,
    read: ReadBody,
    view: CatalogView,
    stack: Stack,
    zones: Zones,
    now_s: float,
    marks: bytes | None = None,
) -> RequestPlan:
    """Body, policy, route and bound, in the order of docs/api.md; `marks` are the body's, where
    they are known. Raises CallerError."""
    body = read(request.body.pop(), marks)
    catalog = view.catalog
    is_math = request.task == "math"
    has_sandbox = is_math and _may_run_programs(body, routing, catalog)
    sent_tools = bool(body.get("tools"))
    server = server_tools(body, zones, now_s, programs=has_sandbox)
    if server is not None:
        body = offered(body, server)
    check_members(body, phi=routing.phi)
    body, asked = read_requirements(body, routing, request.task)
    if server is not None:
        asked = replace(asked, needs_tools=True)
    _check_tokens_out(asked, catalog)
    check_policy(routing, policy)
    debug = _check_debug(debug_options(body), routing, policy)
    asked = _as_confidential(_within_policy(asked, policy, catalog), policy)
    _check_known(asked, catalog, stack)
    stream = body.get("stream") is True
    options = body.get("stream_options") or {}
    route = decide(catalog, asked, stack.gate_context(view, now_s))
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
        debug=debug,
        sent_tools=sent_tools,
        dropped=("sandbox",) if is_math and not has_sandbox else (),
        is_heavy=marks is not None and is_heavy(marks),
    )


async def read_plan(
    gateway: Gateway,
    caller_format: CallerFormat,
    request: InboundRequest,
    policy: KeyPolicy,
    routing: RoutingHeaders,
) -> RequestPlan:
    """The plan of a request whose body is there, by the catalog of now. A heavy body is read beside
    the event loop. Raises CallerError."""
    view = await gateway.catalog.current()
    marks = marks_of(request.body.content or b"")
    read = functools.partial(
        plan_request,
        request,
        routing,
        policy,
        read=caller_format.read,
        view=view,
        stack=gateway.stack,
        zones=gateway.zones,
        # After the catalog: a snapshot from the future would be refused under PHI.
        now_s=gateway.clock.now_s(),
        marks=marks,
    )
    return await gateway.beside(read, heavy=is_heavy(marks))


def plan_next_turn(plan: RequestPlan, body: Json, row: Row) -> RequestPlan:
    """The plan of a further turn: more text, the row that answered first in the list."""
    added = body["messages"][len(plan.body["messages"]) :]
    asked = replace(
        plan.asked,
        text_bytes=plan.asked.text_bytes + text_bytes(added),
        messages=len(body["messages"]),
    )
    rows = plan.route.candidates
    candidates = tuple(sorted(rows, key=lambda candidate: candidate.id != row.id))
    return replace(
        plan,
        body=body,
        asked=asked,
        route=replace(plan.route, asked=asked, candidates=candidates),
        hold_micros=max(worst_case(candidate, asked).micros for candidate in rows),
    )


def fit_to_credit(plan: RequestPlan, room_micros: int) -> RequestPlan | None:
    """The plan at those of its candidates that `room_micros` covers, with as many output tokens as
    it covers at the first of them; None where that is too few to answer with."""
    asked, rows = plan.asked, plan.route.candidates

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
        plan,
        asked=asked,
        route=replace(plan.route, asked=asked, candidates=kept),
        hold_micros=max(worst_case(row, asked).micros for row in kept),
    )


def decision(plan: RequestPlan) -> Json:
    """The plan as `POST /v1/route` shows it."""
    asked, route = plan.asked, plan.route
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
        "cost_max_micro": plan.hold_micros,
        "max_tokens": default if asked.tokens_out is None else asked.tokens_out,
    }


def _may_run_programs(body: Json, routing: RoutingHeaders, catalog: Catalog) -> bool:
    """Whether the region has a sandbox for a math agent. Raises InvalidRequest for a stream."""
    if body.get("stream") is True:
        raise InvalidRequest(
            "The math endpoint answers in one piece: leave stream out.", param="stream"
        )
    return catalog.regions[routing.region].sandbox


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


def _check_debug(asks: DebugOptions, routing: RoutingHeaders, policy: KeyPolicy) -> DebugOptions:
    """PHI that went upstream is shown again only to a key whose policy says so."""
    if asks.is_debug and routing.phi and not policy.debug_phi:
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
