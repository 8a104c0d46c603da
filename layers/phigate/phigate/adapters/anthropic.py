"""The Anthropic Messages dialect: what of a canonical request goes upstream, and as what.

Law 1: a member that the row's pinned API version, its model or another member rules out is left out
and named, never changed to something near it. So is one that `core.request.fields` does not name.
Law 2: the row's own pins are written last, so nothing that a caller sent can overwrite them.
https://platform.claude.com/docs/en/api/messages and .../api/versioning
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phigate.adapters.adapter import Adapter, WirePlan, WireRequest
from phigate.core.request.fields import MEMBERS
from phigate.core.types import Json, Place, Row
from phigate.wire.anthropic import answer as anthropic
from phigate.wire.anthropic.format import OPEN_OBJECT, write_format
from phigate.wire.anthropic.messages import Conversation, check_tool_name, conversation
from phigate.wire.anthropic.schema import narrowed
from phigate.wire.anthropic.stream import MessageDecoder

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
    dropped = list(_not_honoured(body, row))
    body = {name: value for name, value in body.items() if name not in dropped}
    body = {name: value for name, value in body.items() if value is not None}
    said = conversation(body["messages"])
    dropped += said.lost
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
    dropped += _write_options(out, body, row)
    if plan.stream:
        out["stream"] = True
    out.update(place.pins)
    names = tuple(dict.fromkeys(dropped))
    return WireRequest(out, names, headers={"anthropic-version": version}, fits=fits)


def _not_honoured(body: Json, row: Row) -> Iterator[str]:
    """The members that ask for something and have no place in the dialect, or at this row."""
    for name, value in body.items():
        if value is None or value == _IDLE.get(name):
            continue
        if name in row.drops or name not in MEMBERS or MEMBERS[name].anthropic == "dropped":
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
        functions = [tool["function"] for tool in tools]
        enforced = [_is_strict(function) for function in functions]
        out["tools"] = list(map(_tool, functions, enforced))
        if any(
            f.get("strict") and not is_kept for f, is_kept in zip(functions, enforced, strict=True)
        ):
            dropped.append("tools.function.strict")
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


def _tool(function: Mapping[str, Any], is_strict: bool) -> Json:
    parameters = function.get("parameters") or {}
    tool: Json = {"name": function["name"], "input_schema": {"type": "object", **parameters}}
    if function.get("description"):
        tool["description"] = function["description"]
    if is_strict:
        tool["strict"] = True
    return tool


def _is_strict(function: Mapping[str, Any]) -> bool:
    """Strict goes upstream where the provider can enforce the very schema that the caller sent."""
    parameters = function.get("parameters") or {}
    return function.get("strict") is True and narrowed(parameters) == parameters


def _choice(wanted: Any) -> Json:
    if isinstance(wanted, dict):
        return {"type": "tool", "name": wanted["function"]["name"]}
    return dict(_TOOL_CHOICES[wanted])


def _write_reasoning(out: Json, body: Json, said: Conversation) -> list[str]:
    """Reasoning as `wire.openai.canonical` merged it: an effort and the rest that was said."""
    effort, more = body.get("reasoning_effort"), body.get("reasoning") or {}
    if effort is None and not more:
        return []
    if effort == "none" or more.get("enabled") is False:
        out["thinking"] = {"type": "disabled"}
        return []
    budget = more.get("max_tokens")
    if not _can_reason(out, effort, budget, said):
        named = [] if effort is None else ["reasoning_effort"]
        # The fold says `enabled` of every effort.
        return named + [f"reasoning.{name}" for name in more if not named or name != "enabled"]
    thinking: Json = {"type": "adaptive"}
    if budget is not None:
        thinking = {"type": "enabled", "budget_tokens": budget}
    shown = more.get("include_thoughts")
    if shown is None and more.get("summary") is not None:
        shown = more["summary"] != "none"
    if shown is not None:
        thinking["display"] = "summarized" if shown else "omitted"
    out["thinking"] = thinking
    if effort is not None:
        out.setdefault("output_config", {})["effort"] = effort
    return []


def _can_reason(out: Json, effort: str | None, budget: int | None, said: Conversation) -> bool:
    """False for what the provider would answer 400 to."""
    if effort is not None and effort not in EFFORTS:
        return False
    if out.get("tool_choice", {}).get("type") in ("any", "tool"):
        return False
    if budget is None:
        return True
    # With a budget, a turn that goes on after results must begin with its own signed thinking.
    return _THINKING_TOKENS_MIN <= budget < out["max_tokens"] and not said.ends_with_results


def _write_sampling(out: Json, body: Json, version: Version) -> list[str]:
    sampling = {name: body[name] for name in _SAMPLING if name in body}
    if not version.takes_sampling:
        return list(sampling)
    thinks = out.get("thinking", {}).get("type") in ("adaptive", "enabled")
    dropped = [name for name, value in sampling.items() if not _takes(name, value, thinks=thinks)]
    kept = {name: value for name, value in sampling.items() if name not in dropped}
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
    stop = body.get("stop") or []
    stops = [stop] if isinstance(stop, str) else stop
    # The provider refuses a sequence of nothing but white space.
    kept = [stop for stop in stops if stop.strip()]
    if kept:
        out["stop_sequences"] = kept
    return ["stop"] if len(kept) < len(stops) else []


def _write_options(out: Json, body: Json, row: Row) -> list[str]:
    """The caller's own words to this provider, as far as the table knows what they cost."""
    part = (body.get("provider_options") or {}).get(row.provider) or {}
    known = {name: value for name, value in part.items() if OPTIONS.get(name) == value}
    out.update(known)
    return [f"provider_options.{row.provider}.{name}" for name in part if name not in known]


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
    "image_config": {},
    "speed": "standard",
}
# The one cache whose writes have a price in the catalog: it lives for five minutes.
OPTIONS: Mapping[str, Any] = {"cache_control": {"type": "ephemeral"}}
ADAPTER = Adapter(
    path="/v1/messages",
    headers={"anthropic-version": VERSION_DEFAULT},
    request=request,
    answer=anthropic.completion,
    decoder=MessageDecoder,
    refusal=refusal,
)
