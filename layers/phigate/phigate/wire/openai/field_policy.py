"""Which members of a request may go upstream at all.

Law 1: under PHI nothing passes that a table does not name.
Law 2: a member that names a place, a model, a network tool or a stored object is refused always:
it could undo the gate's decision upstream. So is media outside its own part, where no rule sees it.
Law 3: no spelling is a way around a table: names are compared as `plain` makes them, and what is
a known member but for its spelling is refused, since upstream might read it.
Law 4: the members of an object inside the body are those that its shape declares.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phigate.core.errors import InvalidRequest, member_path
from phigate.core.request.fields import MEMBERS
from phigate.core.types import Json
from phigate.wire.openai.chat_messages import (
    CalledFunction,
    ImagePart,
    ImageUrl,
    Message,
    RefusalPart,
    TextPart,
    ToolCall,
)
from phigate.wire.openai.chat_options import JsonSchema, ResponseFormat, StreamOptions
from phigate.wire.openai.chat_tools import Function, FunctionTool, NamedFunction, NamedTool
from phigate.wire.openai.shape import Shape

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


@dataclass(frozen=True, slots=True)
class Table:
    """Names that one kind of object may have, and each as spellings are compared."""

    names: frozenset[str]
    spelled: Mapping[str, str]


Steps = tuple[str | int, ...]
Level = tuple[Steps, Mapping[str, Any], Table]


def check_members(body: Json, *, phi: bool) -> None:
    """Refuse what must not go upstream. Raises InvalidRequest; `param` is the member's path."""
    for steps, members, table in _levels(body):
        if not members.keys() <= table.names:
            _check_unknown(steps, members, table, phi=phi)
    # Never forwarded, so a member that nobody knows may stay; a slip would be overheard.
    options = (body.get("stream_options") or {}).keys() - _STREAM.names
    _check_spellings(("stream_options",), options, _STREAM)
    _check_options(body, phi=phi)


def plain(name: str) -> str:
    """A member's name without what spellings differ in: case, `_`, `-` and dots."""
    return name.casefold().replace("_", "").replace("-", "").replace(".", "")


def _check_unknown(steps: Steps, members: Mapping[str, Any], table: Table, *, phi: bool) -> None:
    unknown = [name for name in members if name not in table.names]
    if table is _BODY or table is _MESSAGE:
        # A null member of the body or of a message never goes upstream, so none is refused.
        unknown = [name for name in unknown if members[name] is not None]
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


def _check_options(body: Json, *, phi: bool) -> None:
    """`provider_options` may not say again what the gateway reads, prices or decides."""
    options = body.get("provider_options")
    if not options:
        return
    if phi:
        raise InvalidRequest(
            "provider_options are not sent under X-PHI: true: nobody has looked at what they ask.",
            param="provider_options",
        )
    for provider, part in options.items():
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


def _levels(body: Json) -> Iterator[Level]:
    """Every object of the request whose members a table knows: its way, its members, the table."""
    yield (), body, _BODY
    yield from _pair(body, "tool_choice", _CHOICE, "function", _CHOSEN)
    yield from _pair(body, "response_format", _FORMAT, "json_schema", _SCHEMA)
    for i, message in enumerate(body.get("messages") or ()):
        yield ("messages", i), message, _MESSAGE
        if isinstance(message.get("content"), list):
            yield from _parts(("messages", i, "content"), message["content"])
        for j, call in enumerate(message.get("tool_calls") or ()):
            yield ("messages", i, "tool_calls", j), call, _CALL
            yield ("messages", i, "tool_calls", j, "function"), call["function"], _CALLED
        for j, note in enumerate(message.get("annotations") or ()):
            yield ("messages", i, "annotations", j), note, _ANNOTATION
    for i, tool in enumerate(body.get("tools") or ()):
        if tool["type"] == "function":
            yield ("tools", i), tool, _TOOL
            yield ("tools", i, "function"), tool["function"], _FUNCTION


def _parts(steps: Steps, content: list[Mapping[str, Any]]) -> Iterator[Level]:
    for j, part in enumerate(content):
        yield (*steps, j), part, _PARTS[part["type"]]
        if part["type"] == "image_url":
            yield (*steps, j, "image_url"), part["image_url"], _IMAGE


def _pair(body: Json, name: str, table: Table, inner: str, inner_table: Table) -> Iterator[Level]:
    """A member that may be an object, and the object that may be inside it."""
    value = body.get(name)
    if isinstance(value, dict):
        yield (name,), value, table
        if isinstance(value.get(inner), dict):
            yield (name, inner), value[inner], inner_table


def _table(names: Collection[str]) -> Table:
    # Of two names that are spelled alike the first one is the right one.
    return Table(frozenset(names), {plain(name): name for name in reversed(tuple(names))})


def _table_of(shape: type[Shape], *more: str) -> Table:
    """The names that a shape declares, as they stand on the wire."""
    fields = shape.model_fields.items()
    return _table((*(field.alias or name for name, field in fields), *more))


_BODY = _table(MEMBERS)
_MESSAGE = _table_of(Message)
_PARTS = {
    "text": _table_of(TextPart),
    "image_url": _table_of(ImagePart),
    "refusal": _table_of(RefusalPart),
}
_IMAGE = _table_of(ImageUrl)
_TOOL = _table_of(FunctionTool)
_FUNCTION = _table_of(Function)
# `index` is what clients send back of a streamed call; nobody reads it, so no shape names it.
_CALL = _table_of(ToolCall, "index")
_CALLED = _table_of(CalledFunction)
_CHOICE = _table_of(NamedTool)
_CHOSEN = _table_of(NamedFunction)
_FORMAT = _table_of(ResponseFormat)
_SCHEMA = _table_of(JsonSchema)
_ANNOTATION = _table(("type", "url_citation"))
_STREAM = _table_of(StreamOptions)
_GATEWAYS_ALONE = (
    "where a request is processed, by which model and with which tools is decided by the gateway "
    "alone"
)
_REFUSED_PLAIN: Mapping[str, str] = {
    **{plain(name): _GATEWAYS_ALONE for name in REFUSED},
    **{plain(name): "send it as a header: X-PHI, X-Region, X-Model-Tier" for name in HEADER_NAMES},
    **{plain(name): "functions are called with tools and tool_choice" for name in LEGACY_NAMES},
}
