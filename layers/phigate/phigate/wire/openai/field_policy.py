"""Which members of a request may go upstream at all.

Law 1: under PHI nothing passes that a table does not name.
Law 2: a member that names a place, a model, a network tool or a stored object is refused always:
it could undo the gate's decision upstream. So is media outside its own part, where no rule sees it.
Law 3: no spelling is a way around a table: names are compared as `plain` makes them, and what is
a known member but for its spelling is refused, since upstream might read it.
Law 4: the members of an object are those that its shape declares (`wire.openai.member_tables`).
"""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel

from phigate.core.errors import InvalidRequest, member_path
from phigate.wire.openai.chat_body import ChatBody, RouteBody
from phigate.wire.openai.chat_options import StreamOptions
from phigate.wire.openai.member_tables import (
    Steps,
    Table,
    has_unknown,
    levels,
    not_under_phi,
    plain,
    tables_of,
)

# What headers say; in a body nobody would read it, so the caller would be wrong about the tier.
HEADER_NAMES = frozenset(
    {"phi", "x_phi", "region", "regions", "x_region", "model_tier", "x_model_tier"}
)
# OpenAI's way to call functions before `tools`.
LEGACY_NAMES = frozenset({"functions", "function_call"})
# Names a place, another model, a network tool, a stored object or media in some provider's dialect.
REFUSED = frozenset(
    {
        *HEADER_NAMES,
        *LEGACY_NAMES,
        "inference_geo",
        "inference_region",
        "location",
        "data_region",
        "geo",
        "endpoint",
        "base_url",
        "api_base",
        "remote_host",
        "deployment",
        "models",
        "model_id",
        "safety_model",
        "fallback_models",
        "lora_request",
        "route",
        "routes",
        "router",
        "fallbacks",
        "fallback",
        "preset",
        "transforms",
        "plugins",
        "mcp_servers",
        "web_search",
        "web_search_options",
        "search_parameters",
        "enable_search",
        "search_domain_filter",
        "container",
        "file_id",
        "file_ids",
        "file",
        "file_url",
        "files",
        "attachments",
        "previous_response_id",
        "conversation",
        "google",
        "google_search",
        "prompt",
        "prompt_id",
        "assistant_id",
        "thread_id",
        "vector_store_ids",
        "tool_resources",
        "background",
        "cached_content",
        "kv_transfer_params",
        "chat_template",
        "mm_processor_kwargs",
        "guided_decoding_backend",
        "extra_body",
        "extra_headers",
        "extra_query",
        "webhook",
        "callback_url",
        "data_sources",
        "image_url",
        "input_image",
        "input_audio",
        "audio_url",
        "video_url",
    }
)


def check_members(chat: ChatBody, *, phi: bool) -> None:
    """Refuse what must not go upstream. Raises InvalidRequest; `param` is the member's path."""
    tables = _TABLES[type(chat)]
    if has_unknown(chat, tables):
        for steps, unknown, table in levels(chat, tables):
            _check_unknown(steps, unknown, table, phi=phi)
    if chat.stream_options is not None:
        # Never forwarded, so a member that nobody knows may stay; a slip would be overheard.
        unknown = chat.stream_options.__pydantic_extra__ or {}
        _check_spellings(("stream_options",), unknown, _STREAM)
    _check_options(chat, phi=phi)


def refuse_under_phi(shape: BaseModel, steps: Steps = ()) -> None:
    """Refuse the first member, by its name, that is marked as refused under PHI and asks for
    anything. Raises InvalidRequest."""
    for attribute, name, why in not_under_phi(type(shape)):
        if getattr(shape, attribute):
            where = member_path(*steps, name)
            raise InvalidRequest(f"{where} {why}", param=where)


def _check_unknown(steps: Steps, members: Mapping[str, Any], table: Table, *, phi: bool) -> None:
    unknown = [name for name in members if table.sends_nulls or members[name] is not None]
    _check_spellings(steps, unknown, table)
    for name in unknown:
        _refuse(steps, name, members[name])
        if phi:
            where = member_path(*steps, name)
            raise InvalidRequest(
                f"{where} is not on the list of members that may go to a provider under "
                "X-PHI: true. Leave it out, or send general traffic without X-PHI.",
                param=where,
            )


def _check_spellings(steps: Steps, unknown: Collection[str], table: Table) -> None:
    for name in unknown:
        right = table.spelled.get(plain(name))
        if right is not None:
            where = member_path(*steps, name)
            raise InvalidRequest(
                f"{where} is not how the member is spelled. Write it as {right}.", param=where
            )


def _check_options(chat: ChatBody, *, phi: bool) -> None:
    """`provider_options` may not say again what the gateway reads, prices or decides."""
    if phi:
        refuse_under_phi(chat)
    for provider, part in (chat.provider_options or {}).items():
        for name, value in part.items():
            steps = ("provider_options", provider)
            if plain(name) in _BODY.spelled:
                where = member_path(*steps, name)
                raise InvalidRequest(
                    f"{where} is a member of the request itself; send it there.", param=where
                )
            _refuse(steps, name, value)


def _refuse(steps: Steps, name: str, value: Any) -> None:
    """Refuse a name of REFUSED, here or anywhere inside a member that the table does not know."""
    found = _find_refused(name, value)
    if found is not None:
        inner, why = found
        where = member_path(*steps, name, *inner)
        raise InvalidRequest(f"{where} is not accepted: {why}.", param=where)


def _find_refused(name: str, value: Any) -> tuple[Steps, str] | None:
    """The way from a member to the first refused name, made from its end, and why it is refused."""
    why = _REFUSED_PLAIN.get(plain(name))
    if why is not None:
        return (), why
    if isinstance(value, dict):
        for inner, child in value.items():
            if (found := _find_refused(inner, child)) is not None:
                return (inner, *found[0]), found[1]
    elif isinstance(value, list):
        for i, child in enumerate(value):
            if isinstance(child, dict | list) and (found := _find_refused("", child)) is not None:
                return (i, *found[0]), found[1]
    return None


_TABLES = {body: tables_of(body) for body in (ChatBody, RouteBody)}
_BODY = _TABLES[ChatBody][ChatBody]
_STREAM = tables_of(StreamOptions)[StreamOptions]
_GATEWAYS_ALONE = (
    "where a request is processed, by which model and with which tools is decided by the gateway "
    "alone"
)
_REFUSED_PLAIN: Mapping[str, str] = {
    **{plain(name): _GATEWAYS_ALONE for name in REFUSED},
    **{plain(name): "send it as a header: X-PHI, X-Region, X-Model-Tier" for name in HEADER_NAMES},
    **{plain(name): "functions are called with tools and tool_choice" for name in LEGACY_NAMES},
}
