"""The checks of one chat request by itself, each a function that raises InvalidRequest or does
nothing. `pipeline.checks` has their order; `wire.openai.field_policy` is the check of members.

Law: nothing is clamped; what cannot be honoured is refused here, or named as dropped later.
"""

from typing import Any

from phigate.core import limits
from phigate.core.errors import InvalidRequest
from phigate.core.ledger.cost import json_bytes
from phigate.core.request.counts import at_most
from phigate.core.request.media import check_image
from phigate.core.tools.tool_loop import DATETIME
from phigate.core.types import Json
from phigate.wire.openai.canonical import MODALITIES_NAMES
from phigate.wire.openai.chat_body import ChatBody
from phigate.wire.openai.chat_messages import images
from phigate.wire.openai.chat_tools import NamedServerTool
from phigate.wire.openai.field_policy import refuse_under_phi

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_STANDARD_SERVICE_TIERS = frozenset({"auto", "default", "standard"})


def check_store(chat: ChatBody) -> None:
    """Nothing is stored."""
    if chat.store:
        raise InvalidRequest("store: true is refused: the gateway stores nothing.", param="store")


def check_service_tier(chat: ChatBody) -> None:
    """One service tier has prices."""
    if chat.service_tier not in (None, *_STANDARD_SERVICE_TIERS):
        raise InvalidRequest(
            "service_tier must be auto, default or standard: no other has a price.",
            param="service_tier",
        )


def check_modalities(chat: ChatBody) -> None:
    """Answers are text."""
    for name in MODALITIES_NAMES:
        wanted = getattr(chat, name)
        if wanted and any(modality.lower() != "text" for modality in wanted):
            raise InvalidRequest(f"{name}: no row answers in anything but text.", param=name)


def check_stream_options(chat: ChatBody) -> None:
    """Options of a stream need one."""
    if chat.stream_options is not None and not chat.stream:
        raise InvalidRequest("stream_options needs stream: true.", param="stream_options")


def check_tool_choice(chat: ChatBody, *, has_server_tools: bool) -> None:
    """A choice among tools needs tools, the caller's or the gateway's."""
    choice = chat.tool_choice
    if choice in (None, "none", "auto") or has_server_tools:
        return
    if not chat.tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
    if choice == DATETIME or isinstance(choice, NamedServerTool):
        raise InvalidRequest(f"tool_choice names {DATETIME}, no tool does.", param="tool_choice")


def check_user(chat: ChatBody) -> None:
    """Two names for the caller's end user say the same."""
    if chat.user is not None and chat.user_id not in (None, chat.user):
        raise InvalidRequest("user and user_id mean the same and differ.", param="user_id")


def check_images(chat: ChatBody, *, phi: bool) -> None:
    """Each image may go upstream, and there are not too many."""
    count = 0
    for path, url in images(chat.messages):
        check_image(path, url, phi=phi)
        count += 1
    at_most("messages", count, limits.IMAGES_MAX, what="images")


def check_image_config(chat: ChatBody, *, phi: bool) -> None:
    """Under PHI nothing may name media outside a message."""
    if phi:
        for name, config in (
            ("image_config", chat.image_config),
            ("imageConfig", chat.imageConfig),
        ):
            if config is not None:
                refuse_under_phi(config, (name,))


def check_tokens_out(chat: ChatBody) -> None:
    """Three names for the greatest number of output tokens say the same."""
    if len(chat.tokens_out_limits) > 1:
        raise InvalidRequest(
            "max_tokens, max_completion_tokens and max_output_tokens mean the same and differ.",
            param="max_tokens",
        )


def check_schemas(members: Json) -> None:
    """JSON schemas are whole in themselves, and not too large. Their JSON is what is measured."""
    for i, tool in enumerate(members.get("tools") or ()):
        _check_schema(f"tools.{i}.function.parameters", tool)
    wanted = members.get("response_format")
    if isinstance(wanted, dict):
        _check_schema("response_format", wanted)


def _check_schema(param: str, schema: Any) -> None:
    _check_references(param, schema)
    size = json_bytes(schema)
    if size > limits.SCHEMA_BYTES_MAX:
        raise InvalidRequest(
            f"{param} has {size} bytes; at most {limits.SCHEMA_BYTES_MAX} are taken.", param=param
        )


def _check_references(param: str, schema: Any) -> None:
    """A link in a schema would make the provider fetch from somewhere."""
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
