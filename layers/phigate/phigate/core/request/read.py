"""Reads what a chat call asks: headers and members, against the limits and the key's policy.

Law 1: a header that contradicts the policy is refused, never changed.
Law 2: nothing is clamped; what cannot be honoured is refused here or named as dropped later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phigate.core import limits
from phigate.core.errors import InvalidRequest, KeyPolicyViolated
from phigate.core.ledger.cost import json_bytes, text_bytes
from phigate.core.request.canonical import MODALITIES_NAMES, canonical
from phigate.core.request.counts import at_most
from phigate.core.request.fields import MEMBERS, parameters
from phigate.core.request.media import check_image, check_image_config, images
from phigate.core.tools.tool_loop import DATETIME
from phigate.core.types import (
    MODEL_TIERS,
    REGIONS,
    Json,
    KeyPolicy,
    Preferences,
    Requirements,
    Task,
)

_PHI_VALUES = {"true": True, "1": True, "false": False, "0": False}
_TOKENS_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_TEXT_MEMBERS = frozenset({"role", "content", "name", "tool_call_id", "refusal"})
_TEXT_PART = frozenset({"type", "text", "refusal"})
_IMAGE_PART = frozenset({"type", "image_url"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_STANDARD_SERVICE_TIERS = frozenset({"auto", "default", "standard"})


@dataclass(frozen=True, slots=True)
class RoutingHeaders:
    """The three headers after the policy: where, under which tier, how strong a model."""

    region: str
    phi: bool
    model_tier: str | None


def read_headers(
    headers: Mapping[str, str], policy: KeyPolicy, stack_region: str
) -> RoutingHeaders:
    """X-Region, X-PHI and X-Model-Tier, else the key's defaults. Names in lower case."""
    region = _one_of(headers.get("x-region"), "X-Region", REGIONS, upper=True)
    model_tier = _one_of(headers.get("x-model-tier"), "X-Model-Tier", MODEL_TIERS)
    return RoutingHeaders(
        region=region or policy.default_region or stack_region,
        phi=_phi(headers.get("x-phi"), policy),
        model_tier=model_tier or policy.default_model_tier,
    )


def check_policy(pinned: RoutingHeaders, policy: KeyPolicy) -> None:
    """Refuse headers that contradict the key's policy. Raises KeyPolicyViolated."""
    if policy.regions is not None and pinned.region not in policy.regions:
        raise KeyPolicyViolated(
            f"This key may not send to region {pinned.region}; it may send to "
            f"{', '.join(sorted(policy.regions))}.",
            param="X-Region",
        )
    if policy.phi == ("forbidden" if pinned.phi else "required"):
        raise KeyPolicyViolated(
            f"This key's policy is phi = {policy.phi}, which X-PHI: "
            f"{str(pinned.phi).lower()} contradicts.",
            param="X-PHI",
        )


def read_requirements(body: Json, pinned: RoutingHeaders, task: Task) -> tuple[Json, Requirements]:
    """The folded body, and the request as routing and pricing see it.

    `body` has passed the checks of its shape and of its members.
    """
    _check_served(body)
    _check_together(body)
    images_asked = _check_images(body, phi=pinned.phi)
    body = canonical(body)
    messages = body.get("messages", [])
    tools = body.get("tools") or []
    return body, Requirements(
        model=body["model"],
        region=pinned.region,
        phi=pinned.phi,
        model_tier=pinned.model_tier,
        task=task,
        images=images_asked,
        needs_tools=body.get("tool_choice") not in (None, "none", "auto"),
        needs_json_schema=_format(body) == "json_schema",
        has_tools=bool(tools),
        tokens_out=_tokens_out(body),
        text_bytes=_message_bytes(messages) + _schema_bytes(body, tools) + _unknown_bytes(body),
        messages=len(messages),
        preferences=_preferences(body.get("provider") or {}),
        parameters=parameters(body),
    )


def _one_of(
    value: str | None, name: str, values: tuple[str, ...], *, upper: bool = False
) -> str | None:
    if value is None:
        return None
    known = value.strip().upper() if upper else value.strip().lower()
    if known not in values:
        raise InvalidRequest(f"{name} must be one of {', '.join(values)}.", param=name)
    return known


def _phi(value: str | None, policy: KeyPolicy) -> bool:
    if value is None:
        return policy.phi == "required"
    phi = _PHI_VALUES.get(value.strip().lower())
    if phi is None:
        raise InvalidRequest("X-PHI must be true, false, 1 or 0.", param="X-PHI")
    return phi


def _check_served(body: Json) -> None:
    """Members that are understood and cannot be served."""
    if body.get("store"):
        raise InvalidRequest("store: true is refused: the gateway stores nothing.", param="store")
    if body.get("service_tier") not in (None, *_STANDARD_SERVICE_TIERS):
        raise InvalidRequest(
            "service_tier must be auto, default or standard: no other has a price.",
            param="service_tier",
        )
    for name in MODALITIES_NAMES:
        if name in body and any(modality.lower() != "text" for modality in body.get(name) or ()):
            raise InvalidRequest(f"{name}: no row answers in anything but text.", param=name)


def _check_together(body: Json) -> None:
    """Members that need one another, or that say one thing twice."""
    if body.get("stream_options") is not None and not body.get("stream"):
        raise InvalidRequest("stream_options needs stream: true.", param="stream_options")
    choice, tools = body.get("tool_choice"), body.get("tools")
    if choice not in (None, "none", "auto") and not tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
    kind = choice["type"] if isinstance(choice, dict) else choice
    if kind == DATETIME and all(tool["type"] != DATETIME for tool in tools or ()):
        raise InvalidRequest(f"tool_choice names {DATETIME}, no tool does.", param="tool_choice")
    if body.get("user") is not None and body.get("user_id") not in (None, body["user"]):
        raise InvalidRequest("user and user_id mean the same and differ.", param="user_id")


def _check_images(body: Json, *, phi: bool) -> int:
    count = 0
    for path, url in images(body.get("messages", [])):
        check_image(path, url, phi=phi)
        count += 1
    at_most("messages", count, limits.IMAGES_MAX, what="images")
    if phi:
        check_image_config(body)
    return count


def _format(body: Json) -> str | None:
    wanted = body.get("response_format")
    return wanted.get("type") if isinstance(wanted, dict) else None


def _tokens_out(body: Json) -> int | None:
    asked = {body[name] for name in _TOKENS_NAMES if body.get(name) is not None}
    if len(asked) > 1:
        raise InvalidRequest(
            "max_tokens, max_completion_tokens and max_output_tokens mean the same and differ.",
            param="max_tokens",
        )
    return asked.pop() if asked else None


def _message_bytes(messages: list[Mapping[str, Any]]) -> int:
    """Text of all messages. An image is priced by its row, so its URL is not text."""
    total = 0
    for message in messages:
        for name, value in message.items():
            if name == "content" and isinstance(value, list):
                total += len(name) + sum(map(_part_bytes, value))
            elif name in _TEXT_MEMBERS:
                total += len(name) + text_bytes(value)
            else:
                # Rendered as JSON, if it is rendered at all.
                total += len(name) + json_bytes(value)
    return total


def _part_bytes(part: Mapping[str, Any]) -> int:
    is_image = part.get("type") == "image_url"
    known = _IMAGE_PART if is_image else _TEXT_PART
    more = {name: value for name, value in part.items() if name not in known}
    text = {} if is_image else {name: value for name, value in part.items() if name in known}
    return text_bytes(text) + (json_bytes(more) if more else 0)


def _schema_bytes(body: Json, tools: list[Any]) -> int:
    """Tools and formats are put before the model as JSON, so their JSON is counted."""
    wanted = body.get("response_format")
    for i, tool in enumerate(tools):
        _check_schema(f"tools.{i}.function.parameters", tool)
    if isinstance(wanted, dict):
        _check_schema("response_format", wanted)
    return (json_bytes(tools) if tools else 0) + (json_bytes(wanted) if wanted else 0)


def _unknown_bytes(body: Json) -> int:
    """Members that pass through unknown may be read by the model, so they count as text."""
    unknown = sum(json_bytes(value) for name, value in body.items() if name not in MEMBERS)
    options = body.get("provider_options")
    return unknown + (json_bytes(options) if options else 0)


def _check_schema(param: str, schema: Any) -> None:
    _check_references(param, schema)
    size = json_bytes(schema)
    if size > limits.SCHEMA_BYTES_MAX:
        raise InvalidRequest(
            f"{param} has {size} bytes; at most {limits.SCHEMA_BYTES_MAX} are taken.", param=param
        )


def _check_references(param: str, schema: Any) -> None:
    """A schema is whole in itself: a link in it would make the provider fetch from somewhere."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name in _REFERENCES:
                target = value.get(name)
                if isinstance(target, str) and not target.startswith("#"):
                    raise InvalidRequest(
                        f"{param} has a {name} that is not local; put what it names under $defs.",
                        param=param,
                    )
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _preferences(wanted: Mapping[str, Any]) -> Preferences:
    return Preferences(
        order=_names(wanted, "order"),
        only=_names(wanted, "only"),
        ignore=_names(wanted, "ignore"),
        allow_fallbacks=wanted.get("allow_fallbacks") is not False,
        include_alpha=wanted.get("include_alpha") is True,
        confidential=wanted.get("confidential"),
        require_parameters=wanted.get("require_parameters") is True,
    )


def _names(wanted: Mapping[str, Any], member: str) -> tuple[str, ...]:
    """Providers and rows, whose ids are lower case: `ignore: ["Acme"]` leaves acme out."""
    return tuple(name.casefold() for name in wanted.get(member) or ())
