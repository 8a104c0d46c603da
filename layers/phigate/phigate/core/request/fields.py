"""The request surface as one table: what becomes of every member of a request in every dialect.

The adapters, the gate's rule about parameters and the shapes' descriptions in the OpenAPI document
are read from it; the shapes (`wire.openai.chat_body`) say each member's type and what may go
upstream at all. A name with a dot is a member of a member.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from phigate.core.types import Json, Row

Handling = Literal["passed", "mapped", "own", "dropped", "ignored", "keyed"]

# What each handling says, for people.
HANDLINGS: Mapping[Handling, str] = {
    "passed": "goes upstream as it came",
    "mapped": "goes upstream in the dialect's own words",
    "own": "read by the gateway, never forwarded",
    "dropped": "not honoured; named in x-phi-dropped",
    "ignored": "asks for nothing",
    "keyed": "goes upstream as an HMAC",
}


@dataclass(frozen=True, slots=True)
class RequestField:
    """One row of the table: how the dialects `openai` and `anthropic` handle the member."""

    openai: Handling
    anthropic: Handling
    what: str


_HANDLED: Mapping[str, tuple[Handling, Handling, str]] = {
    "model": ("own", "own", "A row id, an upstream id, an alias or `auto`."),
    "messages": ("passed", "mapped", "The conversation; at least one message."),
    "system": ("mapped", "mapped", "Becomes a system message before all others."),
    "stream": ("own", "own", "Server-sent events instead of one JSON answer."),
    "stream_options": ("own", "own", "Needs `stream`."),
    "stream_options.include_usage": ("own", "own", "Adds the usage chunk."),
    "max_tokens": ("mapped", "mapped", "Greatest number of output tokens, at least 1."),
    "max_completion_tokens": ("mapped", "mapped", "Same as `max_tokens`."),
    "max_output_tokens": ("mapped", "mapped", "Same as `max_tokens`."),
    "temperature": ("passed", "passed", "0 to 2; Anthropic rows drop what is above 1."),
    "top_p": ("passed", "passed", "0 to 1; Anthropic rows drop it beside `temperature`."),
    "top_k": ("passed", "passed", "At least 1."),
    "frequency_penalty": ("passed", "dropped", "-2 to 2."),
    "presence_penalty": ("passed", "dropped", "-2 to 2."),
    "logit_bias": ("passed", "dropped", "Token id to bias, -100 to 100."),
    "logprobs": ("passed", "dropped", "Log probabilities of the output tokens."),
    "top_logprobs": ("passed", "dropped", "0 to 20."),
    "seed": ("passed", "dropped", "±9223372036854776000; beyond 64 bits it is dropped."),
    "stop": ("passed", "mapped", "One sequence or up to 16."),
    "n": ("dropped", "dropped", "One choice is served: several would break the hold."),
    "metadata": ("dropped", "dropped", "Nothing is stored that it could label."),
    "tools": ("passed", "mapped", "Functions, or `gateway:datetime`."),
    "tool_choice": ("passed", "mapped", "`auto`, `none`, `required` or one of the tools."),
    "parallel_tool_calls": ("passed", "mapped", "Several calls in one turn."),
    "max_tool_calls": ("own", "own", "Greatest number of server tool calls, at least 1."),
    "response_format": ("passed", "mapped", "`text`, `json_object` or `json_schema`."),
    "reasoning_effort": ("passed", "mapped", "Said over `reasoning` and `thinking`."),
    "reasoning": ("mapped", "mapped", "Said over `thinking`."),
    "reasoning.effort": ("mapped", "mapped", "As `reasoning_effort`."),
    "reasoning.enabled": ("mapped", "mapped", "`false` is the effort `none`."),
    "reasoning.max_tokens": ("dropped", "mapped", "Most tokens of reasoning, at least 1."),
    "reasoning.summary": ("dropped", "mapped", "How the reasoning is summed up."),
    "reasoning.include_thoughts": ("dropped", "mapped", "Show the reasoning."),
    "reasoning.includeThoughts": ("dropped", "mapped", "Same as `include_thoughts`."),
    "thinking": ("mapped", "mapped", "Another way to say `reasoning`."),
    "thinking.type": ("mapped", "mapped", "`enabled`, `disabled`, `adaptive` or `auto`."),
    "thinking.enabled": ("mapped", "mapped", "As `reasoning.enabled`."),
    "thinking.effort": ("mapped", "mapped", "As `reasoning_effort`."),
    "thinking.include_thoughts": ("dropped", "mapped", "As `reasoning.include_thoughts`."),
    "thinking.includeThoughts": ("dropped", "mapped", "As `reasoning.include_thoughts`."),
    "thinking.budget_tokens": ("dropped", "mapped", "As `reasoning.max_tokens`."),
    "thinking.budgetTokens": ("dropped", "mapped", "As `reasoning.max_tokens`."),
    "thinking.max_tokens": ("dropped", "mapped", "As `reasoning.max_tokens`."),
    "thinking.maxTokens": ("dropped", "mapped", "As `reasoning.max_tokens`."),
    "modalities": ("own", "own", "Only `text` is served."),
    "response_modalities": ("own", "own", "Same as `modalities`."),
    "responseModalities": ("own", "own", "Same as `modalities`."),
    "image_config": ("dropped", "dropped", "No row makes images. Snake case wins."),
    "image_config.aspect_ratio": ("dropped", "dropped", "Text."),
    "image_config.aspectRatio": ("dropped", "dropped", "Same as `aspect_ratio`."),
    "image_config.image_size": ("dropped", "dropped", "`0.5K`, `1K`, `2K` or `4K`."),
    "image_config.imageSize": ("dropped", "dropped", "Same as `image_size`."),
    "image_config.include_rai_reason": ("dropped", "dropped", "True or false."),
    "image_config.includeRaiReason": ("dropped", "dropped", "Same in camel case."),
    "image_config.font_inputs": ("dropped", "dropped", "Links: refused under PHI."),
    "image_config.fontInputs": ("dropped", "dropped", "Same as `font_inputs`."),
    "image_config.super_resolution_references": ("dropped", "dropped", "Refused under PHI."),
    "image_config.superResolutionReferences": ("dropped", "dropped", "Refused under PHI."),
    "image_config.reference_images": ("dropped", "dropped", "Refused under PHI."),
    "image_config.referenceImages": ("dropped", "dropped", "Refused under PHI."),
    "imageConfig": ("dropped", "dropped", "Same as `image_config`, which wins."),
    "usage": ("ignored", "ignored", "Usage is always reported."),
    "provider": ("own", "own", "Routing preferences: they reorder and remove rows."),
    "provider.order": ("own", "own", "Providers or rows to try first."),
    "provider.only": ("own", "own", "No other providers or rows."),
    "provider.ignore": ("own", "own", "Not these providers or rows."),
    "provider.include_alpha": ("own", "own", "Rows of status `alpha` too."),
    "provider.allow_fallbacks": ("own", "own", "`false`: the asked model or none."),
    "provider.confidential": (
        "own",
        "own",
        "`true`: rows in an attested enclave only; `false`: others too.",
    ),
    "provider.require_parameters": ("own", "own", "`true`: no row that drops a parameter."),
    "provider_options": ("mapped", "mapped", "By provider; its own part alone is sent."),
    "user": ("keyed", "keyed", "Names the caller's end user."),
    "user_id": ("keyed", "keyed", "Same as `user`."),
    "safety_identifier": ("keyed", "keyed", "Names the caller's end user."),
    "prompt_cache_key": ("keyed", "dropped", "Groups requests that share a prefix."),
    "cache_salt": ("keyed", "dropped", "Keeps their cache apart, at rows that can."),
    "service_tier": ("own", "own", "`auto`, `default`, `standard`: others have no price."),
    "speed": ("dropped", "dropped", "No row is sold by speed."),
    "store": ("own", "own", "Nothing is stored: `true` is refused."),
    "meta": ("own", "own", "Adds `meta.routing` to the answer."),
    "debug": ("own", "own", "Adds what went upstream and came back to the answer."),
    "debug.enabled": ("own", "own", "`false` turns all of it off."),
    "debug.return_upstream_request": ("own", "own", "Adds `upstream_request`."),
    "debug.return_upstream_response": ("own", "own", "Adds `upstream_response`."),
    "debug.trace": ("own", "own", "As `meta`."),
    "debug.trace_level": ("own", "own", "`summary` or `full`."),
    "echo_upstream_request": ("own", "own", "Adds `upstream_request`."),
}
FIELDS: Mapping[str, RequestField] = {
    name: RequestField(*handled) for name, handled in _HANDLED.items()
}
MEMBERS: Mapping[str, RequestField] = {
    name: field for name, field in FIELDS.items() if "." not in name
}
_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_SWITCH = frozenset({"reasoning.enabled"})  # an effort says it as well
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
# Members that a row may be said to drop (catalog field `drops`).
DROPPABLE = frozenset(
    {name for name in MEMBERS if FIELDS[name].openai == "passed"} - {"messages", *_TOOLS}
) | {"parallel_tool_calls"}
# Values that ask for nothing: whoever drops them takes nothing away.
_IDLE: Json = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "n": 1,
    "tools": [],
    "parallel_tool_calls": True,
    "image_config": {},
    "speed": "standard",
    "metadata": {},
}
_INT64_MAX = 2**63 - 1
# A value that one dialect does not take although it takes the member: the member's name with what
# is odd about it, and how it is seen.
_ODD: Mapping[str, tuple[tuple[str, Callable[[Json], bool]], ...]] = {
    "seed": (("seed beyond 64 bits", lambda body: abs(body["seed"]) > _INT64_MAX),),
    "temperature": (("temperature above 1", lambda body: body["temperature"] > 1),),
    "top_p": (("top_p beside temperature", lambda b: b.get("temperature") is not None),),
}
_ODD_REFUSED = {
    "openai": frozenset({"seed beyond 64 bits"}),
    "anthropic": frozenset({"temperature above 1", "top_p beside temperature"}),
}
_DROPPED = {
    "openai": frozenset(name for name, field in FIELDS.items() if field.openai == "dropped"),
    "anthropic": frozenset(name for name, field in FIELDS.items() if field.anthropic == "dropped"),
}
_KEEPS_UNKNOWN = frozenset({"openai"})
# Versions of an API that answer 400 to sampling members.
_NO_SAMPLING = frozenset({"2026-10-21"})
_NEVER_LOST = frozenset(
    name for name, field in MEMBERS.items() if field.openai in ("own", "ignored")
) | {"messages", "model", "system", "reasoning", "thinking", "imageConfig", "user_id"}
_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
_KEPT_QUIET = _NEVER_LOST | _LIMITS | {"provider_options"}


def parameters(body: Json) -> frozenset[str]:
    """The members of a canonical body that a row may fail to honour, by name.

    Members that ask for nothing are left out; those of `reasoning` have dotted names, and a value
    that some dialect does not take stands beside its member's name.
    """
    found: set[str] = set()
    for name in body.keys() - _KEPT_QUIET:
        value = body[name]
        if value is not None and value != _IDLE.get(name):
            found.add(name)
            found.update(odd for odd, is_odd in _ODD.get(name, ()) if is_odd(body))
    if body.get("reasoning") is not None:
        said = {f"reasoning.{name}" for name in body["reasoning"]}
        found |= said - _SWITCH if "reasoning_effort" in found else said
    return frozenset(found)


def unsupported(names: frozenset[str], row: Row) -> tuple[str, ...]:
    """The names out of `parameters` that a row does not honour, in the order of the table."""
    if not names:
        return ()
    lost = names & (_DROPPED[row.dialect] | row.drops)
    if "reasoning_effort" in row.drops:
        lost |= names & _SWITCH
    if not row.supports_tools:
        lost |= names & _TOOLS
    if row.api_version in _NO_SAMPLING:
        lost |= names & _SAMPLING
    if "cache_salt" in names and row.cache_key_name != "cache_salt":
        lost |= {"cache_salt"}
    if row.dialect not in _KEEPS_UNKNOWN:
        lost |= names - _KNOWN
    odd = names & _ODD_REFUSED[row.dialect]
    if not lost and not odd:
        return ()
    lost |= {name.partition(" ")[0] for name in odd}
    known = [name for name in FIELDS if name in lost]
    return (*known, *sorted(lost - FIELDS.keys()))


_KNOWN = frozenset(FIELDS) | {name for odds in _ODD.values() for name, _ in odds}
