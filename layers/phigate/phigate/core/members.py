"""Which members of a request may go where: one table, from which validation, the wire and the
OpenAPI text are read.

Law 1: under PHI nothing passes that the table does not name.
Law 2: a member that names a place, a model, a network tool or a stored object is refused always:
it could undo the gate's decision upstream. So is media outside its own part, where no rule sees it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json

Fate = Literal["passed", "own", "dropped", "ignored", "keyed"]


@dataclass(frozen=True, slots=True)
class Member:
    """What becomes of a member on its way to an OpenAI-dialect row.

    `passed` goes upstream; `own` is read by the gateway and rewritten or kept; `dropped` is not
    honoured and named in `x-phi-dropped`; `ignored` needs no action; `keyed` goes as an HMAC.
    """

    fate: Fate
    why: str


MEMBERS: Mapping[str, Member] = {
    "messages": Member("passed", "The conversation."),
    "model": Member("own", "A row id, an upstream id, an alias or `auto`."),
    "stream": Member("own", "Server-sent events instead of one JSON answer."),
    "stream_options": Member("own", "`include_usage` adds the usage chunk."),
    "max_tokens": Member("own", "Greatest number of output tokens."),
    "max_completion_tokens": Member("own", "Same as `max_tokens`."),
    "max_output_tokens": Member("own", "Same as `max_tokens`."),
    "temperature": Member("passed", "0 to 2."),
    "top_p": Member("passed", "0 to 1."),
    "top_k": Member("passed", "At least 1; where the provider knows it."),
    "frequency_penalty": Member("passed", "-2 to 2."),
    "presence_penalty": Member("passed", "-2 to 2."),
    "logit_bias": Member("passed", "Token id to bias, -100 to 100."),
    "logprobs": Member("passed", "Log probabilities of the output tokens."),
    "top_logprobs": Member("passed", "0 to 20."),
    "seed": Member("passed", "64-bit integer."),
    "stop": Member("passed", "Up to 16 sequences."),
    "tools": Member("passed", "Functions that the model may call."),
    "tool_choice": Member("passed", "`auto`, `none`, `required` or one function."),
    "parallel_tool_calls": Member("passed", "Several calls in one turn."),
    "response_format": Member("passed", "`text`, `json_object` or `json_schema`."),
    "reasoning_effort": Member("passed", "How much the model may reason."),
    "modalities": Member("own", "Only `text` is served."),
    "n": Member("dropped", "One choice is served: several would break one-answer billing."),
    "metadata": Member("dropped", "Nothing is stored that it could label."),
    "store": Member("own", "Nothing is stored: `true` is refused."),
    "service_tier": Member(
        "own", "`auto`, `default` and `standard` are the one tier with a price."
    ),
    "user": Member("keyed", "Names the caller's end user."),
    "user_id": Member("keyed", "Same as `user`."),
    "safety_identifier": Member("keyed", "Names the caller's end user."),
    "prompt_cache_key": Member("keyed", "Groups requests that share a prefix."),
    "provider": Member("own", "Routing preferences."),
    "usage": Member("ignored", "Usage is always reported."),
}

# Names a place, another model, a network tool, a stored object or media in some provider's dialect.
REFUSED = frozenset(
    {
        "inference_geo",
        "inference_region",
        "region",
        "location",
        "data_region",
        "geo",
        "endpoint",
        "base_url",
        "api_base",
        "deployment",
        "models",
        "model_id",
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
        "prompt",
        "prompt_id",
        "assistant_id",
        "thread_id",
        "vector_store_ids",
        "tool_resources",
        "background",
        "cached_content",
        "cachedContent",
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

MESSAGE_MEMBERS = frozenset(
    {
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "refusal",
        "annotations",
        "audio",
        "reasoning_content",
    }
)
PART_MEMBERS = {
    "text": frozenset({"type", "text"}),
    "image_url": frozenset({"type", "image_url"}),
    "refusal": frozenset({"type", "refusal"}),
}
IMAGE_MEMBERS = frozenset({"url", "detail"})
TOOL_MEMBERS = frozenset({"type", "function"})
FUNCTION_MEMBERS = frozenset({"name", "description", "parameters", "strict"})
CALL_MEMBERS = frozenset({"id", "type", "function", "index"})
CALLED_MEMBERS = frozenset({"name", "arguments"})
CHOICE_MEMBERS = frozenset({"type", "function"})
CHOSEN_MEMBERS = frozenset({"name"})
FORMAT_MEMBERS = frozenset({"type", "json_schema"})
SCHEMA_MEMBERS = frozenset({"name", "schema", "strict", "description"})
ANNOTATION_MEMBERS = frozenset({"type", "url_citation"})

Known = frozenset[str] | Mapping[str, Any]
Level = tuple[str, Mapping[str, Any], Known]


def check_members(body: Json, *, phi: bool) -> None:
    """Refuse what must not go upstream. Raises InvalidRequest; `param` is the member's path."""
    for path, members, known in _levels(body):
        for name in members:
            if name in known:
                continue
            where = f"{path}{name}"
            _refuse(where, name, members[name])
            if phi:
                raise InvalidRequest(
                    f"{where} is not on the list of members that may go to a provider under "
                    "X-PHI: true. Leave it out, or send general traffic without X-PHI.",
                    param=where,
                )


def _refuse(where: str, name: str, value: Any) -> None:
    """Refuse a name of REFUSED, here or anywhere inside a member that the table does not know."""
    if name in REFUSED:
        raise InvalidRequest(
            f"{where} is not accepted: where a request is processed, by which model and "
            "with which tools is decided by the gateway alone.",
            param=where,
        )
    for inner, child in _children(value):
        _refuse(f"{where}.{inner}", inner, child)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(i), child) for i, child in enumerate(value))


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
