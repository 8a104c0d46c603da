"""Which members of a request may go where: one table, from which validation, the wire and the
OpenAPI text are read.

Law 1: under PHI nothing passes that the table does not name.
Law 2: a member that names a place, a model, a network tool or a stored object is refused always:
it could undo the gate's decision upstream.
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

# Names a place, another model, a network tool or a stored object in some provider's dialect.
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
PART_MEMBERS = frozenset({"type", "text", "image_url", "refusal"})
IMAGE_MEMBERS = frozenset({"url", "detail"})
TOOL_MEMBERS = frozenset({"type", "function"})
FUNCTION_MEMBERS = frozenset({"name", "description", "parameters", "strict"})
CALL_MEMBERS = frozenset({"id", "type", "function", "index"})
CALLED_MEMBERS = frozenset({"name", "arguments"})


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


def _levels(
    body: Json,
) -> Iterator[tuple[str, Mapping[str, Any], frozenset[str] | Mapping[str, Any]]]:
    """Every object of the request whose members a table knows: path, members, table."""
    yield "", body, MEMBERS
    for i, message in enumerate(body.get("messages", ())):
        path = f"messages.{i}."
        yield path, message, MESSAGE_MEMBERS
        yield from _parts(path, message)
        for j, call in enumerate(message.get("tool_calls") or ()):
            yield f"{path}tool_calls.{j}.", call, CALL_MEMBERS
            yield f"{path}tool_calls.{j}.function.", call.get("function", {}), CALLED_MEMBERS
    for i, tool in enumerate(body.get("tools") or ()):
        yield f"tools.{i}.", tool, TOOL_MEMBERS
        yield f"tools.{i}.function.", tool.get("function", {}), FUNCTION_MEMBERS


def _parts(
    path: str, message: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], frozenset[str]]]:
    content = message.get("content")
    if not isinstance(content, list):
        return
    for i, part in enumerate(content):
        yield f"{path}content.{i}.", part, PART_MEMBERS
        if "image_url" in part:
            yield f"{path}content.{i}.image_url.", part["image_url"], IMAGE_MEMBERS
