"""The checks of a plan: what is refused before anything is routed, in their order.

Law 1: the checks run in the order of CHECKS, and the first that refuses is the answer.
Law 2: a check changes nothing. It raises a CallerError or does nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phigate.core.errors import InvalidRequest, KeyPolicyViolated, ModelNotFound, RegionNotServed
from phigate.core.request.headers import RoutingHeaders, check_key_phi, check_key_region
from phigate.core.routing.route import AUTO, rows_of_model
from phigate.core.tools.tool_loop import ServerTools, Zones
from phigate.core.types import Catalog, KeyPolicy, Task
from phigate.pipeline.gateway import Stack
from phigate.wire.openai.chat_body import ChatBody, ChatRequest
from phigate.wire.openai.chat_checks import (
    check_image_config,
    check_images,
    check_modalities,
    check_schemas,
    check_service_tier,
    check_store,
    check_stream_options,
    check_tokens_out,
    check_tool_choice,
    check_user,
)
from phigate.wire.openai.chat_tools import datetime_zone
from phigate.wire.openai.field_policy import check_members
from phigate.wire.openai.requirements import read_debug


@dataclass(frozen=True, slots=True)
class CheckContext:
    """One request and what it is held against. `server`: the gateway's tools in it."""

    task: Task
    request: ChatRequest
    server: ServerTools | None
    routing: RoutingHeaders
    policy: KeyPolicy
    catalog: Catalog
    stack: Stack
    zones: Zones
    now_s: float

    @property
    def chat(self) -> ChatBody:
        """The validated body."""
        return self.request.chat


Check = Callable[[CheckContext], None]
Checks = Sequence[tuple[str, Check]]


def run_checks(context: CheckContext, checks: Checks) -> None:
    """Raises the CallerError of the first check that refuses."""
    for _, check in checks:
        check(context)


def rows_allowed(policy: KeyPolicy, catalog: Catalog) -> frozenset[str] | None:
    """The rows of the models that a key may use; None: all."""
    if policy.models is None:
        return None
    return frozenset(row.id for name in policy.models for row in rows_of_model(catalog, name))


def _math_stream(context: CheckContext) -> None:
    if context.task == "math" and context.chat.stream is True:
        raise InvalidRequest(
            "The math endpoint answers in one piece: leave stream out.", param="stream"
        )


def _time_zone(context: CheckContext) -> None:
    found = datetime_zone(context.chat.tools or ())
    if found is None:
        return
    param, timezone = found
    if context.zones.local(timezone, context.now_s) is None:
        raise InvalidRequest(
            "There is no such time zone; send an IANA name such as Europe/London.", param=param
        )


def _tokens_out_max(context: CheckContext) -> None:
    most = max((row.tokens_out_max for row in context.catalog.rows), default=0)
    for tokens in context.chat.tokens_out_limits:
        if tokens > most:
            raise InvalidRequest(
                f"max_tokens is {tokens}; no model writes more than {most}.", param="max_tokens"
            )


def _debug(context: CheckContext) -> None:
    """PHI that went upstream is shown again only to a key whose policy says so."""
    routing, policy = context.routing, context.policy
    if routing.phi and not policy.debug_phi and read_debug(context.chat).is_debug:
        raise KeyPolicyViolated(
            "debug and echo_upstream_request show what went upstream; with PHI they need a key "
            "whose policy has debug_phi.",
            param="debug",
        )


def _key_models(context: CheckContext) -> None:
    """A model outside the key's models."""
    policy, catalog, model = context.policy, context.catalog, context.chat.model
    allowed = rows_allowed(policy, catalog)
    if allowed is None or policy.models is None or model == AUTO:
        return
    if not allowed & {row.id for row in rows_of_model(catalog, model)}:
        raise KeyPolicyViolated(
            f"This key may use {', '.join(sorted(policy.models))} only.", param="model"
        )


def _key_confidential(context: CheckContext) -> None:
    """A wish against a key that requires confidential rows."""
    wanted = context.chat.provider
    if context.policy.confidential is None or wanted is None or wanted.confidential is not False:
        return
    raise KeyPolicyViolated(
        "This key's policy is confidential = required, which provider.confidential: false "
        "contradicts.",
        param="provider.confidential",
    )


def _region_served(context: CheckContext) -> None:
    region, served = context.routing.region, context.stack.regions
    if region not in served:
        raise RegionNotServed(
            f"This stack does not serve region {region}; it serves "
            f"{', '.join(served)}. Requests are never forwarded to another stack.",
            param="X-Region",
        )


def _model_known(context: CheckContext) -> None:
    if not rows_of_model(context.catalog, context.chat.model):
        raise ModelNotFound(
            "The model is no row, upstream id or alias of this gateway; GET /v1/models lists them.",
            param="model",
        )


CHECKS: Checks = (
    ("math_stream", _math_stream),
    ("time_zone", _time_zone),
    ("members", lambda c: check_members(c.chat, phi=c.routing.phi)),
    ("store", lambda c: check_store(c.chat)),
    ("service_tier", lambda c: check_service_tier(c.chat)),
    ("modalities", lambda c: check_modalities(c.chat)),
    ("stream_options", lambda c: check_stream_options(c.chat)),
    ("tool_choice", lambda c: check_tool_choice(c.chat, has_server_tools=c.server is not None)),
    ("user", lambda c: check_user(c.chat)),
    ("images", lambda c: check_images(c.chat, phi=c.routing.phi)),
    ("image_config", lambda c: check_image_config(c.chat, phi=c.routing.phi)),
    ("tokens_out", lambda c: check_tokens_out(c.chat)),
    ("schemas", lambda c: check_schemas(c.request.members)),
    ("tokens_out_max", _tokens_out_max),
    ("key_region", lambda c: check_key_region(c.routing, c.policy)),
    ("key_phi", lambda c: check_key_phi(c.routing, c.policy)),
    ("debug", _debug),
    ("key_models", _key_models),
    ("key_confidential", _key_confidential),
    ("region_served", _region_served),
    ("model_known", _model_known),
)
