"""`phigate route`: what `POST /v1/route` answers, in the terminal and by the same code.

No key takes part: the policy is the one that restricts nothing.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from phigate.cli import values
from phigate.cli.catalog_source import document_bytes, stored_view
from phigate.cli.command import Command, Environment, WrongUsage
from phigate.cli.overrides import as_reached
from phigate.cli.store import Store, StoreAddress, on_store, place_flags, place_of
from phigate.cli.tables import amount, columns, facts, usd
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.port import CatalogView
from phigate.core.limits import BODY_BYTES_MAX, IMAGES_MAX
from phigate.core.routing.gate import EVERY_UNPROVEN
from phigate.core.types import ConfidentialBy, Json, KeyPolicy
from phigate.effects.clock import WallClock
from phigate.effects.zones import SystemZones
from phigate.formats.chat import ROUTE
from phigate.pipeline.gateway import Stack
from phigate.pipeline.inbound_request import InboundBody, InboundRequest
from phigate.pipeline.plan import RequestPlan, decision, plan_request, read_routing_headers
from phigate.pipeline.refusals import refused

_STDIN = Path("-")
_COST = "GREATEST COST USD"
_MANY = IMAGES_MAX + 1
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
_FUNCTION = {"type": "function", "function": {"name": "any", "parameters": {"type": "object"}}}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "any", "schema": {"type": "object"}}}


def _flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", nargs="?", type=values.model, metavar="MODEL", help="row, upstream id or alias")
    add("--region", type=values.region, help="as X-Region (default: CH)")
    add("--phi", action="store_true", help="as X-PHI: true")
    add("--model-tier", type=values.model_tier, metavar="T", help="fast, baseline or thinking")
    add("--images", type=values.count, metavar="N", help="a call with N images")
    add("--tools", action="store_true", help="a call that requires a tool call")
    add("--json-schema", action="store_true", help="a call that requires a JSON schema")
    add("--max-tokens", type=values.count, metavar="N", help="the most output tokens")
    add("--body", type=Path, metavar="FILE", help="a chat call's JSON body; - is standard input")
    add("--catalog", type=Path, metavar="DIR", help="this folder instead of the loaded catalog")
    add("--json", action="store_true", help="print what POST /v1/route answers")
    place_flags(parser)


def _run(flags: argparse.Namespace, environ: Environment) -> int:
    place = place_of(flags, environ)
    call, stack = _call(flags), _stack(place, flags.region)

    def reached(view: CatalogView) -> CatalogView:
        return view if place.state is None else as_reached(view, place.state, environ)

    async def on_stored(store: Store, flags: argparse.Namespace) -> int:
        return _answer(call, stack, reached(await stored_view(store)), flags)

    if flags.catalog is None:
        return on_store(on_stored)(flags, environ)
    catalog = checked_catalog(document_bytes(flags.catalog))
    return _answer(call, stack, reached(CatalogView(catalog, WallClock().now_s())), flags)


def _stack(place: StoreAddress, region: str | None) -> Stack:
    """The local stack serves rows whose residency is unproven (never PHI), one on AWS does not."""
    if place.table is None:
        return Stack(name="local", region="CH", unproven_allowed=EVERY_UNPROVEN)
    if region is None:
        raise WrongUsage("--region is needed: this command does not know the AWS stack's own")
    return Stack(name=place.table, region=region)


def _call(flags: argparse.Namespace) -> InboundRequest:
    headers = {}
    if flags.region is not None:
        headers["x-region"] = flags.region
    if flags.phi:
        headers["x-phi"] = "true"
    if flags.model_tier is not None:
        headers["x-model-tier"] = flags.model_tier
    return InboundRequest("chat", headers, InboundBody(_body(flags)))


def _body(flags: argparse.Namespace) -> bytes | None:
    """The body as given, else one that asks what the flags say; None when it is too large."""
    described = (flags.model, flags.images, flags.max_tokens, flags.tools, flags.json_schema)
    if flags.body is None:
        if flags.model is None:
            raise WrongUsage("name a model, or give a call with --body FILE")
        return json.dumps(_described(flags)).encode()
    if any(described):
        raise WrongUsage("--body says all; leave MODEL and the flags that describe a body out")
    with sys.stdin.buffer if flags.body == _STDIN else flags.body.open("rb") as file:
        body: bytes = file.read(BODY_BYTES_MAX + 1)
    return body if len(body) <= BODY_BYTES_MAX else None


def _described(flags: argparse.Namespace) -> Json:
    body: Json = {"model": flags.model}
    if flags.images is not None:
        # One more than the limit says all that a million would.
        body["messages"] = [{"role": "user", "content": [_IMAGE] * min(flags.images, _MANY)}]
    if flags.tools:
        body |= {"tools": [_FUNCTION], "tool_choice": "required"}
    if flags.json_schema:
        body["response_format"] = _SCHEMA
    if flags.max_tokens is not None:
        body["max_tokens"] = flags.max_tokens
    return body


def _answer(
    call: InboundRequest, stack: Stack, view: CatalogView, flags: argparse.Namespace
) -> int:
    policy = KeyPolicy()
    routing = read_routing_headers(call, policy, stack)
    plan = plan_request(
        call,
        routing,
        policy,
        read=ROUTE.read,
        view=view,
        stack=stack,
        zones=SystemZones(),
        now_s=WallClock().now_s(),
    )
    print(json.dumps(decision(plan)) if flags.json else _shown(plan))
    return 0


def _shown(plan: RequestPlan) -> str:
    """The decision for a person: what and why, the candidates in plan, the rejections."""
    decided, code = decision(plan), plan.route.code
    lines = [
        ("decision", "routed" if code is None else f"refused: {code}"),
        ("region", plan.requirements.region),
        ("tier", "phi" if plan.requirements.phi else "general"),
    ]
    if plan.requirements.confidential is not None:
        lines.append(("confidential", _CONFIDENTIAL[plan.requirements.confidential]))
    if code is None:
        lines.append(("max tokens", str(decided["max_tokens"])))
        lines.append(("greatest cost", amount(plan.hold_micros)))
    else:
        lines.append(("why", refused(code, plan.requirements).message))
    tables = [facts(lines)]
    if decided["candidates"]:
        ordered = enumerate(decided["candidates"], start=1)
        rows = [(str(i), _candidate(c), usd(c["cost_max_micro"])) for i, c in ordered]
        tables.append(columns(("", "CANDIDATE", _COST), rows, right=frozenset({"", _COST})))
    if decided["rejections"]:
        rejected = [(r["row"], r["rule"]) for r in decided["rejections"]]
        tables.append(columns(("REJECTED", "RULE"), rejected))
    return "\n\n".join(tables)


_CONFIDENTIAL: Mapping[ConfidentialBy, str] = {
    "name": "required: every row of the name is",
    "preference": "required by provider.confidential",
    "policy": "required by the key's policy",
    "lifted": "not required: provider.confidential lifts it",
}


def _candidate(candidate: Json) -> str:
    row, host = candidate["row"], candidate.get("override")
    return str(row) if host is None else f"{row} at {host}"


COMMANDS = (
    Command(
        words="route",
        summary="Show where a call would go and why, without sending or charging anything.",
        example="phigate route gemma-4 --region CH --phi",
        flags=_flags,
        run=_run,
    ),
)
