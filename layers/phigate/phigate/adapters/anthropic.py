"""The Anthropic Messages dialect: what of a canonical request goes upstream, and as what.

Law 1: a member that the row's pinned API version, its model or another member rules out is left out
and named, never changed to something near it. The same goes for members that the table leaves out.
Law 2: the row's own pins are written last, so nothing that a caller sent can overwrite them.
https://platform.claude.com/docs/en/api/messages and .../api/versioning
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phigate.adapters.adapter import Adapter, WirePlan, WireRequest
from phigate.core.members import Member
from phigate.core.types import Json, Place, Row
from phigate.wire import anthropic
from phigate.wire.anthropic_format import OPEN_OBJECT, write_format
from phigate.wire.anthropic_messages import Conversation, check_tool_name, conversation
from phigate.wire.anthropic_reasoning import Reasoning, reasoning
from phigate.wire.anthropic_schema import narrowed
from phigate.wire.anthropic_stream import Decoder

_REFUSAL_CHARS_MAX = 2_000  # of a provider's error text handed to the caller
_THINKING_TOKENS_MIN = 1_024  # the least budget that the provider takes
_TOP_P_THINKING_MIN = 0.95  # less is refused while the model thinks
_TOOL_CHOICES: Mapping[str, Json] = {
    "auto": {"type": "auto"},
    "none": {"type": "none"},
    "required": {"type": "any"},
}


@dataclass(frozen=True, slots=True)
class Version:
    """What one version of the API takes."""

    takes_sampling: bool


VERSIONS: Mapping[str, Version] = {
    "2023-06-01": Version(takes_sampling=True),
    # 400 to temperature, top_p and top_k, even at their defaults.
    "2026-10-21": Version(takes_sampling=False),
}
VERSION_DEFAULT = "2023-06-01"


def request(body: Json, row: Row, place: Place, plan: WirePlan) -> WireRequest:
    """The upstream body for one turn. Raises InvalidRequest for what this dialect cannot say."""
    body = {name: value for name, value in body.items() if value is not None}
    said = conversation(body["messages"])
    dropped = [*_not_in_the_dialect(body), *said.lost]
    out: Json = {"model": row.model, "max_tokens": plan.tokens_out, "messages": said.messages}
    if said.system:
        out["system"] = said.system
    dropped += _write_tools(out, body, row, said)
    lost, fits = write_format(
        out,
        body,
        supports_tools=row.supports_tools,
        supports_json_schema=row.supports_json_schema,
    )
    dropped += lost
    dropped += _write_reasoning(out, body, said)
    version = row.api_version or VERSION_DEFAULT
    dropped += _write_sampling(out, body, VERSIONS[version])
    dropped += _write_stop(out, body)
    user = plan.keyed.get("safety_identifier") or plan.keyed.get("user")
    if user is not None:
        out["metadata"] = {"user_id": user}
    if plan.stream:
        out["stream"] = True
    out.update(place.pins)
    names = tuple(dict.fromkeys(dropped))
    return WireRequest(out, names, headers={"anthropic-version": version}, fits=fits)


def _not_in_the_dialect(body: Json) -> Iterator[str]:
    for name, value in body.items():
        if name not in MEMBERS or (MEMBERS[name].fate == "dropped" and value != _IDLE.get(name)):
            yield name


def _write_tools(out: Json, body: Json, row: Row, said: Conversation) -> list[str]:
    """Tools and the choice among them; the names of what this row cannot honour."""
    tools = body.get("tools") or []
    if not row.supports_tools:
        tools = []
        dropped = [name for name in _TOOL_MEMBERS if body.get(name) is not None]
    else:
        dropped = []
    for i, tool in enumerate(tools):
        check_tool_name(tool["function"]["name"], f"tools.{i}.function.name")
    if tools:
        out["tools"] = [_tool(tool["function"]) for tool in tools]
        dropped += _unenforced(tools)
        choice = _choice(body.get("tool_choice", "auto"))
        if body.get("parallel_tool_calls") is False and choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
        if choice != _TOOL_CHOICES["auto"]:
            out["tool_choice"] = choice
    elif said.called:
        # A conversation that speaks of tools is refused when it comes without any.
        out["tools"] = [{"name": name, "input_schema": OPEN_OBJECT} for name in said.called]
        out["tool_choice"] = {"type": "none"}
    return dropped


def _tool(function: Mapping[str, Any]) -> Json:
    parameters = function.get("parameters") or {}
    tool: Json = {"name": function["name"], "input_schema": {"type": "object", **parameters}}
    if function.get("description"):
        tool["description"] = function["description"]
    if _is_strict(function):
        tool["strict"] = True
    return tool


def _is_strict(function: Mapping[str, Any]) -> bool:
    """Strict goes upstream where the provider can enforce the very schema that the caller sent."""
    parameters = function.get("parameters") or {}
    return function.get("strict") is True and narrowed(parameters) == parameters


def _unenforced(tools: list[Json]) -> list[str]:
    functions = [tool["function"] for tool in tools]
    loses = any(function.get("strict") and not _is_strict(function) for function in functions)
    return ["tools.function.strict"] if loses else []


def _choice(wanted: Any) -> Json:
    if isinstance(wanted, dict):
        return {"type": "tool", "name": wanted["function"]["name"]}
    return dict(_TOOL_CHOICES[wanted])


def _write_reasoning(out: Json, body: Json, said: Conversation) -> list[str]:
    wanted = reasoning(body)
    if wanted is None:
        return []
    if not _can_reason(out, wanted, said):
        return list(wanted.named)
    thinking: Json = {"type": "adaptive" if wanted.enabled else "disabled"}
    if wanted.tokens_max is not None and wanted.enabled:
        thinking = {"type": "enabled", "budget_tokens": wanted.tokens_max}
    if wanted.shown is not None and wanted.enabled:
        thinking["display"] = "summarized" if wanted.shown else "omitted"
    out["thinking"] = thinking
    if wanted.effort is not None and wanted.enabled:
        out.setdefault("output_config", {})["effort"] = wanted.effort
    return []


def _can_reason(out: Json, wanted: Reasoning, said: Conversation) -> bool:
    """What the provider would answer 400 to."""
    if not wanted.enabled:
        return True
    if wanted.effort is not None and wanted.effort not in EFFORTS:
        return False
    if out.get("tool_choice", {}).get("type") in ("any", "tool"):
        return False
    budget = wanted.tokens_max
    if budget is None:
        return True
    # With a budget, a turn that goes on after results must begin with its own signed thinking.
    return _THINKING_TOKENS_MIN <= budget < out["max_tokens"] and not said.ends_with_results


def _write_sampling(out: Json, body: Json, version: Version) -> list[str]:
    asked = {name: body[name] for name in _SAMPLING if name in body}
    if not version.takes_sampling:
        return list(asked)
    thinks = out.get("thinking", {}).get("type") in ("adaptive", "enabled")
    dropped = [name for name, value in asked.items() if not _takes(name, value, thinks=thinks)]
    kept = {name: value for name, value in asked.items() if name not in dropped}
    if "temperature" in kept and "top_p" in kept:
        # The models refuse the two together.
        del kept["top_p"]
        dropped.append("top_p")
    out.update(kept)
    return dropped


def _takes(name: str, value: Any, *, thinks: bool) -> bool:
    if name == "temperature":
        return bool(value == 1 if thinks else value <= 1)
    if name == "top_p":
        return bool(value >= _TOP_P_THINKING_MIN or not thinks)
    return not thinks


def _write_stop(out: Json, body: Json) -> list[str]:
    asked = body.get("stop") or []
    stops = [asked] if isinstance(asked, str) else asked
    # The provider refuses a sequence of nothing but white space.
    kept = [stop for stop in stops if stop.strip()]
    if kept:
        out["stop_sequences"] = kept
    return ["stop"] if len(kept) < len(stops) else []


def refusal(body: bytes) -> tuple[str, str | None]:
    """The provider's words. Its paths are those of its own dialect, so no param is named."""
    return anthropic.refusal(body)[:_REFUSAL_CHARS_MAX], None


EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_SAMPLING = ("temperature", "top_p", "top_k")
_TOOL_MEMBERS = ("tools", "tool_choice", "parallel_tool_calls")
# Values of dropped members that ask for nothing.
_IDLE: Mapping[str, Any] = {
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "n": 1,
    "metadata": {},
}
MEMBERS: Mapping[str, Member] = {
    "messages": Member("passed", "`system` and `developer` lifted out, the rest as blocks."),
    "model": Member("own", "The row's."),
    "stream": Member("own", "As the gateway decides."),
    "stream_options": Member("own", "Usage always comes."),
    "max_tokens": Member("own", "Always sent."),
    "max_completion_tokens": Member("own", "Same as `max_tokens`."),
    "max_output_tokens": Member("own", "Same as `max_tokens`."),
    "temperature": Member("passed", "0 to 1, where the API version takes it; above 1 dropped."),
    "top_p": Member("passed", "Where the API version takes it; dropped beside `temperature`."),
    "top_k": Member("passed", "Where the API version takes it."),
    "frequency_penalty": Member("dropped", "Not in the dialect."),
    "presence_penalty": Member("dropped", "Not in the dialect."),
    "logit_bias": Member("dropped", "Not in the dialect."),
    "logprobs": Member("dropped", "Not in the dialect."),
    "top_logprobs": Member("dropped", "Not in the dialect."),
    "seed": Member("dropped", "Not in the dialect."),
    "stop": Member("passed", "As `stop_sequences`; one of white space alone is dropped."),
    "tools": Member("passed", "`strict` where the schema can be enforced as it stands."),
    "tool_choice": Member("passed", "`required` as `any`."),
    "parallel_tool_calls": Member("passed", "`false` as `disable_parallel_tool_use`."),
    "response_format": Member("passed", "As structured output, else as the input of a tool."),
    "reasoning_effort": Member("passed", "As adaptive thinking and `output_config.effort`."),
    "reasoning": Member("passed", "As `reasoning_effort`; `max_tokens` as a budget."),
    "thinking": Member("passed", "As `reasoning_effort`; a budget as `budget_tokens`."),
    "modalities": Member("own", "Only `text` is served."),
    "n": Member("dropped", "One choice is served."),
    "metadata": Member("dropped", "Nothing is stored that it could label."),
    "store": Member("own", "Nothing is stored."),
    "service_tier": Member("own", "One tier has a price."),
    "user": Member("keyed", "As `metadata.user_id`."),
    "user_id": Member("keyed", "As `metadata.user_id`."),
    "safety_identifier": Member("keyed", "As `metadata.user_id`, before `user`."),
    "prompt_cache_key": Member("dropped", "The provider's cache has no keys."),
    "provider": Member("own", "Routing preferences."),
    "usage": Member("ignored", "Usage is always reported."),
}
ADAPTER = Adapter(
    path="/v1/messages",
    headers={"anthropic-version": VERSION_DEFAULT},
    request=request,
    answer=anthropic.completion,
    decoder=Decoder,
    refusal=refusal,
)
