"""One name for one thing: a checked body as the adapters read it.

What stands in a canonical body beside what the table calls `passed`:
`messages` begin with the caller's `system`, and hold nothing that clients merely echo;
`reasoning_effort` is the effort after the merge thinking < reasoning < reasoning_effort, and `none`
when reasoning is turned off; `reasoning` holds the rest of the merge, each where somebody said it:
`enabled` (bool; an effort implies it, and `reasoning_effort` sent alone leaves no `reasoning`),
`max_tokens` (tokens), `include_thoughts` (bool), `summary` (text);
`user` is also `user_id`; `image_config` is also `imageConfig`, in snake case;
`response_format` is an object; `tools` and `tool_choice` are absent where there are no tools.
Gone are `system`, `thinking`, `user_id`, `imageConfig` and the aliases of `modalities`.
Law: folding twice is folding once, and the body that came in is left as it is.
"""

from collections.abc import Mapping
from typing import Any

from phigate.core.types import Json
from phigate.wire.openai.chat_messages import CalledFunction, Message, ToolCall
from phigate.wire.openai.shape import Echo, marked

IMAGE_CONFIG_ALIASES: Mapping[str, str] = {
    "aspectRatio": "aspect_ratio",
    "imageSize": "image_size",
    "includeRaiReason": "include_rai_reason",
    "fontInputs": "font_inputs",
    "superResolutionReferences": "super_resolution_references",
    "referenceImages": "reference_images",
}
MODALITIES_NAMES = ("modalities", "response_modalities", "responseModalities")
_TOKENS_NAMES = ("budget_tokens", "budgetTokens", "max_tokens", "maxTokens")
_THOUGHTS_NAMES = ("include_thoughts", "includeThoughts")
_EFFORT_OFF = "none"
_GONE = frozenset({"system", "thinking", "user_id", "imageConfig", *MODALITIES_NAMES[1:]})
_FOLDED = _GONE | {"reasoning", "image_config", "tools", "tool_choice", "parallel_tool_calls"}
_ECHOED_MEMBERS = marked(Message, Echo)
_ECHOED_CALL_MEMBERS = marked(ToolCall, Echo)
_ECHOED_CALLED_MEMBERS = marked(CalledFunction, Echo)


def canonical(body: Json) -> Json:
    """The body with its aliases folded. `body` has passed the shape check."""
    messages = body.get("messages")
    said = _without_echoes(messages) if messages else messages
    if (
        said is messages
        and _FOLDED.isdisjoint(body)
        and not isinstance(body.get("response_format"), str)
    ):
        return body
    out = {name: value for name, value in body.items() if name not in _GONE}
    if said is not None:
        out["messages"] = said
    _fold_system(out, body)
    _fold_reasoning(out, body)
    _fold_tools(out)
    if body.get("user") is None and body.get("user_id") is not None:
        out["user"] = body["user_id"]
    if isinstance(body.get("response_format"), str):
        out["response_format"] = {"type": body["response_format"]}
    config = image_config(body)
    if config is not None:
        out["image_config"] = config
    return out


def image_config(body: Json) -> Json | None:
    """`image_config` and `imageConfig` as one, in snake case; snake case wins in both."""
    given = [body[name] for name in ("imageConfig", "image_config") if body.get(name) is not None]
    if not given:
        return None
    config: Json = {}
    for one in given:
        camel = {IMAGE_CONFIG_ALIASES[name]: one[name] for name in one.keys() & _CAMEL}
        config |= camel | {name: one[name] for name in one.keys() - _CAMEL}
    return {name: value for name, value in config.items() if value is not None}


def _without_echoes(messages: list[Json]) -> list[Json]:
    """The same list where no message holds an echo, which is seen in a plain loop."""
    for message in messages:
        if "tool_calls" in message or not _ECHOED_MEMBERS.isdisjoint(message):
            return [_plain(each) for each in messages]
    return messages


def _plain(message: Json) -> Json:
    plain = {name: value for name, value in message.items() if name not in _ECHOED_MEMBERS}
    if plain.get("tool_calls"):
        plain["tool_calls"] = [_plain_call(call) for call in plain["tool_calls"]]
    return plain


def _plain_call(call: Json) -> Json:
    called = {
        name: value
        for name, value in call["function"].items()
        if name not in _ECHOED_CALLED_MEMBERS
    }
    kept = {name: value for name, value in call.items() if name not in _ECHOED_CALL_MEMBERS}
    return {**kept, "function": called}


def _fold_system(out: Json, body: Json) -> None:
    if body.get("system"):
        leading = {"role": "system", "content": body["system"]}
        out["messages"] = [leading, *out.get("messages", ())]


def _fold_tools(out: Json) -> None:
    """Members about tools ask for nothing where there are none; some providers refuse them."""
    if not out.get("tools"):
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            out.pop(name, None)


def _fold_reasoning(out: Json, body: Json) -> None:
    merged: Json = {}
    for name in ("thinking", "reasoning"):
        merged |= _reasoning_of(body.get(name) or {})
    if body.get("reasoning_effort") is not None:
        merged |= _reasoning_of({"effort": body["reasoning_effort"]})
    effort = merged.pop("effort", None)
    if merged.get("enabled") is False:
        effort = _EFFORT_OFF
    elif effort == _EFFORT_OFF:
        effort = None
    out.pop("reasoning", None)
    out.pop("reasoning_effort", None)
    if effort is not None:
        out["reasoning_effort"] = effort
    if merged:
        out["reasoning"] = merged


def _reasoning_of(member: Mapping[str, Any]) -> Json:
    """What one of the three members says, under the canonical names."""
    reasoning: Json = {}
    if member.get("effort") is not None:
        reasoning["effort"] = member["effort"]
        reasoning["enabled"] = member["effort"] != _EFFORT_OFF
    if member.get("enabled") is not None:
        reasoning["enabled"] = member["enabled"]
    if member.get("type") is not None:
        reasoning["enabled"] = member["type"] != "disabled"
    if (tokens := _first(member, _TOKENS_NAMES)) is not None:
        reasoning["max_tokens"] = tokens
    if (thoughts := _first(member, _THOUGHTS_NAMES)) is not None:
        reasoning["include_thoughts"] = thoughts
    if member.get("summary") is not None:
        reasoning["summary"] = member["summary"]
    return reasoning


def _first(member: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((member[name] for name in names if member.get(name) is not None), None)


_CAMEL = IMAGE_CONFIG_ALIASES.keys()
