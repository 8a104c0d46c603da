"""What a checked chat request needs of a row, and what its caller asks to be told.

Members are read from the validated body. Sizes are measured on what goes upstream, since the bound
of a hold has to cover exactly that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from phigate.core.ledger.cost import json_bytes, text_bytes
from phigate.core.request.debug import DebugOptions
from phigate.core.request.fields import parameters
from phigate.core.request.headers import RoutingHeaders
from phigate.core.types import ConfidentialBy, Json, Preferences, Requirements, Task
from phigate.wire.openai.chat_body import ChatBody
from phigate.wire.openai.chat_messages import images
from phigate.wire.openai.chat_options import ProviderPreferences, ResponseFormat

_TEXT_MEMBERS = frozenset({"role", "content", "name", "tool_call_id", "refusal"})
_TEXT_PART = frozenset({"type", "text", "refusal"})
_IMAGE_PART = frozenset({"type", "image_url"})


def read_requirements(
    chat: ChatBody,
    body: Json,
    routing: RoutingHeaders,
    task: Task,
    *,
    has_server_tools: bool = False,
    models_allowed: frozenset[str] | None = None,
    confidential: ConfidentialBy | None = None,
) -> Requirements:
    """The request as routing and pricing see it; `body` is its canonical body. The last two are the
    key's policy."""
    messages = body.get("messages", [])
    tools = body.get("tools") or []
    wanted = chat.response_format
    return Requirements(
        model=chat.model,
        region=routing.region,
        phi=routing.phi,
        model_tier=routing.model_tier,
        task=task,
        images=sum(1 for _ in images(chat.messages)),
        needs_tools=has_server_tools or chat.tool_choice not in (None, "none", "auto"),
        needs_json_schema=type(wanted) is ResponseFormat and wanted.type == "json_schema",
        has_tools=bool(tools),
        tokens_out=next(iter(chat.tokens_out_limits), None),
        text_bytes=_message_bytes(messages) + _schema_bytes(body, tools) + _unknown_bytes(chat),
        messages=len(messages),
        preferences=_preferences(chat.provider),
        models_allowed=models_allowed,
        parameters=parameters(body),
        confidential=confidential,
    )


def read_debug(chat: ChatBody) -> DebugOptions:
    """What the caller asks to be told. `debug.enabled: false` switches all of `debug` off."""
    debug = None if chat.debug is None or chat.debug.enabled is False else chat.debug
    return DebugOptions(
        meta=chat.meta is True,
        upstream_request=chat.echo_upstream_request is True
        or (debug is not None and debug.return_upstream_request is True),
        upstream_response=debug is not None and debug.return_upstream_response is True,
        trace=debug is not None and debug.trace is True,
    )


def _message_bytes(messages: Sequence[Mapping[str, Any]]) -> int:
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


def _schema_bytes(body: Json, tools: Sequence[Any]) -> int:
    """Tools and formats are put before the model as JSON, so their JSON is counted."""
    wanted = body.get("response_format")
    return (json_bytes(tools) if tools else 0) + (json_bytes(wanted) if wanted else 0)


def _unknown_bytes(chat: ChatBody) -> int:
    """Members that pass through unknown may be read by the model, so they count as text."""
    unknown = sum(map(json_bytes, (chat.__pydantic_extra__ or {}).values()))
    return unknown + (json_bytes(chat.provider_options) if chat.provider_options else 0)


def _preferences(wanted: ProviderPreferences | None) -> Preferences:
    if wanted is None:
        return Preferences()
    return Preferences(
        order=_names(wanted.order),
        only=_names(wanted.only),
        ignore=_names(wanted.ignore),
        allow_fallbacks=wanted.allow_fallbacks is not False,
        include_alpha=wanted.include_alpha is True,
        confidential=wanted.confidential,
        require_parameters=wanted.require_parameters is True,
    )


def _names(names: Sequence[str] | None) -> tuple[str, ...]:
    """Providers and rows, whose ids are lower case: `ignore: ["Acme"]` leaves acme out."""
    return tuple(name.casefold() for name in names or ())
