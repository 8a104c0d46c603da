"""The plan: what one call asks, where it may go, and the most that it can cost.

The same function answers `POST /v1/route`, so a dry run and a live call cannot differ.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from phigate.core.catalog.port import CatalogView
from phigate.core.errors import (
    RequestTimeout,
    RequestTooLarge,
    UnsupportedEncoding,
)
from phigate.core.ledger.cost import text_bytes, tokens_affordable, worst_case
from phigate.core.limits import BODY_BYTES_MAX, LAST_TOKENS_MIN
from phigate.core.request.debug import DebugOptions
from phigate.core.request.headers import RoutingHeaders, read_headers
from phigate.core.routing.route import Route, decide
from phigate.core.tools.tool_loop import ServerTools, Zones, offered, server_tools
from phigate.core.types import Catalog, Json, KeyPolicy, Requirements, Row
from phigate.formats.caller_format import CallerFormat, ReadBody
from phigate.pipeline.checks import CHECKS, CheckContext, Checks, rows_allowed, run_checks
from phigate.pipeline.gateway import Gateway, Stack
from phigate.pipeline.inbound_request import InboundRequest
from phigate.wire.json import is_heavy, marks_of
from phigate.wire.openai.canonical import canonical
from phigate.wire.openai.chat_body import ChatBody
from phigate.wire.openai.chat_tools import datetime_zone, function_names
from phigate.wire.openai.requirements import read_debug, read_requirements


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """A call that was read and routed. `route.code` is set when it is refused.

    `sent_tools`: the caller's own body had tools; `dropped` names what no row can honour;
    `is_heavy`: what is made of the body is made beside the event loop.
    """

    body: Json
    requirements: Requirements
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
    checks: Checks = CHECKS,
) -> RequestPlan:
    """Read the body, run the checks, decide the route, bound its cost. Raises CallerError.

    `marks` are the body's, where they are known; `checks` is a parameter so that a test can mutate
    their order.
    """
    chat_request = read(request.body.pop(), marks)
    chat, catalog, task = chat_request.chat, view.catalog, request.task
    has_sandbox = task == "math" and catalog.regions[routing.region].sandbox
    server = _server_tools(chat, programs=has_sandbox)
    context = CheckContext(
        task, chat_request, server, routing, policy, catalog, stack, zones, now_s
    )
    run_checks(context, checks)
    members = chat_request.members
    body = canonical(members if server is None else offered(members, server))
    route = decide(catalog, _requirements(context, body), stack.gate_context(view, now_s))
    stream, options = chat.stream is True, chat.stream_options
    return RequestPlan(
        body=body,
        requirements=route.requirements,
        stream=stream,
        with_usage=options is not None and options.include_usage is True,
        view=view,
        route=route,
        hold_micros=_dearest(route.candidates, route.requirements) if route.candidates else 0,
        deadline_s=now_s + (stack.stream_timeout_s if stream else stack.json_timeout_s),
        server=server,
        debug=read_debug(chat),
        sent_tools=bool(chat.tools),
        dropped=("sandbox",) if task == "math" and not has_sandbox else (),
        is_heavy=marks is not None and is_heavy(marks),
    )


def _requirements(context: CheckContext, body: Json) -> Requirements:
    policy = context.policy
    return read_requirements(
        context.chat,
        body,
        context.routing,
        context.task,
        has_server_tools=context.server is not None,
        models_allowed=rows_allowed(policy, context.catalog),
        confidential=None if policy.confidential is None else "policy",
    )


def _dearest(rows: Iterable[Row], requirements: Requirements) -> int:
    """The hold that covers each of the rows. There is one."""
    return max(worst_case(row, requirements).micros for row in rows)


def _server_tools(chat: ChatBody, *, programs: bool) -> ServerTools | None:
    tools = chat.tools or ()
    zone = datetime_zone(tools)
    return server_tools(function_names(tools), None if zone is None else zone[1], programs=programs)


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
    requirements = replace(
        plan.requirements,
        text_bytes=plan.requirements.text_bytes + text_bytes(added),
        messages=len(body["messages"]),
    )
    rows = plan.route.candidates
    candidates = tuple(sorted(rows, key=lambda candidate: candidate.id != row.id))
    return replace(
        plan,
        body=body,
        requirements=requirements,
        route=replace(plan.route, requirements=requirements, candidates=candidates),
        hold_micros=_dearest(rows, requirements),
    )


def fit_to_credit(plan: RequestPlan, room_micros: int) -> RequestPlan | None:
    """The plan at those of its candidates that `room_micros` covers, with as many output tokens as
    it covers at the first of them; None where that is too few to answer with."""
    requirements, rows = plan.requirements, plan.route.candidates

    def affordable(row: Row) -> int:
        wanted = (
            row.tokens_out_default if requirements.tokens_out is None else requirements.tokens_out
        )
        return min(tokens_affordable((row,), requirements, room_micros), wanted)

    least = (
        LAST_TOKENS_MIN
        if requirements.tokens_out is None
        else min(requirements.tokens_out, LAST_TOKENS_MIN)
    )
    first = next((row for row in rows if affordable(row) >= least), None)
    if first is None:
        return None
    tokens = affordable(first)
    requirements = replace(requirements, tokens_out=tokens)
    kept = tuple(row for row in rows if worst_case(row, requirements).micros <= room_micros)
    return replace(
        plan,
        requirements=requirements,
        route=replace(plan.route, requirements=requirements, candidates=kept),
        hold_micros=_dearest(kept, requirements),
    )


def decision(plan: RequestPlan) -> Json:
    """The plan as `POST /v1/route` shows it."""
    requirements, route = plan.requirements, plan.route
    rows = route.candidates
    default = rows[0].tokens_out_default if rows else None
    return {
        "region": requirements.region,
        "phi": requirements.phi,
        "decision": "routed" if rows else "refused",
        "code": route.code,
        "confidential": requirements.confidential,
        "candidates": [
            {
                "row": r.id,
                "region": requirements.region,
                "cost_max_micro": worst_case(r, requirements).micros,
                **({"override": r.override.host} if r.override else {}),
            }
            for r in rows
        ],
        "rejections": [{"row": r.row, "rule": r.rule} for r in route.rejections],
        "cost_max_micro": plan.hold_micros,
        "max_tokens": default if requirements.tokens_out is None else requirements.tokens_out,
    }
