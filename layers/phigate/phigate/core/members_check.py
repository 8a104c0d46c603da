"""Which members of a request may go upstream at all.

Law 1: under PHI nothing passes that a table does not name.
Law 2: a member that names a place, a model, a network tool or a stored object is refused always:
it could undo the gate's decision upstream. So is media outside its own part, where no rule sees it.
Law 3: no spelling is a way around a table: names are compared as `plain` makes them, and what is
a known member but for its spelling is refused, since upstream might read it.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from phigate.core.errors import InvalidRequest
from phigate.core.members import MEMBERS
from phigate.core.types import Json

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

# What clients send back with an answer's message; `core.canonical` takes it out again.
ECHOED_MEMBERS = frozenset({"annotations", "provider_specific_fields", "images", "audios"})
ECHOED_CALLED_MEMBERS = frozenset({"description", "parameters"})
MESSAGE_MEMBERS = ECHOED_MEMBERS | {
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "audio",
    "reasoning_content",
}
PART_MEMBERS = {
    "text": frozenset({"type", "text"}),
    "image_url": frozenset({"type", "image_url"}),
    "refusal": frozenset({"type", "refusal"}),
}
IMAGE_MEMBERS = frozenset({"url", "detail"})
TOOL_MEMBERS = frozenset({"type", "function"})
FUNCTION_MEMBERS = frozenset({"name", "description", "parameters", "strict"})
CALL_MEMBERS = frozenset({"id", "type", "function", "index"})
CALLED_MEMBERS = ECHOED_CALLED_MEMBERS | {"name", "arguments"}
CHOICE_MEMBERS = frozenset({"type", "function"})
CHOSEN_MEMBERS = frozenset({"name"})
FORMAT_MEMBERS = frozenset({"type", "json_schema"})
SCHEMA_MEMBERS = frozenset({"name", "schema", "strict", "description"})
ANNOTATION_MEMBERS = frozenset({"type", "url_citation"})
STREAM_MEMBERS = frozenset({"include_usage"})

Known = frozenset[str] | Mapping[str, Any]
Level = tuple[str, Mapping[str, Any], Known]


def check_members(body: Json, *, phi: bool) -> None:
    """Refuse what must not go upstream. Raises InvalidRequest; `param` is the member's path."""
    for path, members, known in _levels(body):
        unknown = [name for name in members if name not in known]
        _check_spellings(path, unknown, known)
        for name in unknown:
            where = f"{path}{name}"
            _refuse(where, name, members[name])
            if phi:
                raise InvalidRequest(
                    f"{where} is not on the list of members that may go to a provider under "
                    "X-PHI: true. Leave it out, or send general traffic without X-PHI.",
                    param=where,
                )
    # Never forwarded, so a member that nobody knows may stay; a slip would be overheard.
    options = (body.get("stream_options") or {}).keys() - STREAM_MEMBERS
    _check_spellings("stream_options.", options, STREAM_MEMBERS)
    _check_options(body, phi=phi)


def plain(name: str) -> str:
    """A member's name without what spellings differ in: case, `_`, `-` and dots."""
    return name.casefold().replace("_", "").replace("-", "").replace(".", "")


def _check_spellings(path: str, unknown: Collection[str], known: Known) -> None:
    if not unknown:
        return
    spellings = {plain(right): right for right in reversed(tuple(known))}
    for name in unknown:
        right = spellings.get(plain(name))
        if right is not None:
            raise InvalidRequest(
                f"{path}{name} is not how the member is spelled. Write it as {right}.",
                param=f"{path}{name}",
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
            where = f"provider_options.{provider}.{name}"
            if plain(name) in _MEMBERS_PLAIN:
                raise InvalidRequest(
                    f"{where} is a member of the request itself; send it there.", param=where
                )
            _refuse(where, name, value)


def _refuse(where: str, name: str, value: Any) -> None:
    """Refuse a name of REFUSED, here or anywhere inside a member that the table does not know."""
    why = _REFUSED_PLAIN.get(plain(name))
    if why is not None:
        raise InvalidRequest(f"{where} is not accepted: {why}.", param=where)
    if isinstance(value, dict):
        for inner, child in value.items():
            _refuse(f"{where}.{inner}", inner, child)
    elif isinstance(value, list):
        for i, child in enumerate(value):
            if isinstance(child, dict | list):
                _refuse(f"{where}.{i}", "", child)


def _levels(body: Json) -> Iterator[Level]:
    """Every object of the request whose members a table knows: path, members, table."""
    yield "", _without_nulls(body), MEMBERS
    yield from _pair(body, "tool_choice", CHOICE_MEMBERS, "function", CHOSEN_MEMBERS)
    yield from _pair(body, "response_format", FORMAT_MEMBERS, "json_schema", SCHEMA_MEMBERS)
    for path, message in _objects("", body, "messages"):
        yield path, _without_nulls(message), MESSAGE_MEMBERS
        yield from _parts(path, message)
        for call_path, call in _objects(path, message, "tool_calls"):
            yield call_path, call, CALL_MEMBERS
            yield f"{call_path}function.", call["function"], CALLED_MEMBERS
        for note_path, note in _objects(path, message, "annotations"):
            yield note_path, note, ANNOTATION_MEMBERS
    for path, tool in _objects("", body, "tools"):
        if tool["type"] == "function":
            yield path, tool, TOOL_MEMBERS
            yield f"{path}function.", tool["function"], FUNCTION_MEMBERS


def _parts(path: str, message: Mapping[str, Any]) -> Iterator[Level]:
    for part_path, part in _objects(path, message, "content"):
        yield part_path, part, PART_MEMBERS[part["type"]]
        if part["type"] == "image_url":
            yield f"{part_path}image_url.", part["image_url"], IMAGE_MEMBERS


def _pair(body: Json, name: str, known: Known, inner: str, inner_known: Known) -> Iterator[Level]:
    """A member that may be an object, and the object that may be inside it."""
    value = body.get(name)
    if isinstance(value, dict):
        yield f"{name}.", value, known
        if isinstance(value.get(inner), dict):
            yield f"{name}.{inner}.", value[inner], inner_known


def _objects(
    path: str, holder: Mapping[str, Any], name: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a list, each with its path; nothing where there is no list."""
    value = holder.get(name)
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield f"{path}{name}.{i}.", item


def _without_nulls(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """A null member of the body or of a message never goes upstream, so none is refused."""
    if None not in members.values():
        return members
    return {name: value for name, value in members.items() if value is not None}


_GATEWAYS_ALONE = (
    "where a request is processed, by which model and with which tools is decided by the gateway "
    "alone"
)
_REFUSED_PLAIN: Mapping[str, str] = {
    **{plain(name): _GATEWAYS_ALONE for name in REFUSED},
    **{plain(name): "send it as a header: X-PHI, X-Region, X-Model-Tier" for name in HEADER_NAMES},
    **{plain(name): "functions are called with tools and tool_choice" for name in LEGACY_NAMES},
}
_MEMBERS_PLAIN = frozenset(map(plain, MEMBERS))
