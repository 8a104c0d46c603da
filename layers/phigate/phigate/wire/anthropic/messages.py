"""Canonical messages as Anthropic's: `system` lifted out, roles alternating, content as blocks.

Law 1: the order of what was said stays; only system and developer messages leave their place.
Law 2: results of tools come first in the user turn behind their calls, in the order they were sent.
Law 3: empty text is left out, as the provider refuses it; nothing else is.
https://platform.claude.com/docs/en/api/messages
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from phigate.core.errors import InvalidRequest
from phigate.core.limits import JSON_MEMBERS_MAX
from phigate.core.types import Json
from phigate.wire.anthropic.answer import ANSWER_TOOL
from phigate.wire.json import marks_of, members_within

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")
_SYSTEM_ROLES = frozenset({"system", "developer"})
_DATA_URL = re.compile(r"data:(image/[a-z]+);base64,")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in Anthropic's shape. `called` are the tools that they speak of, in order;
    `lost` what has no place in that shape."""

    system: list[Json]
    messages: list[Json]
    called: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def ends_with_results(self) -> bool:
        """True when the model is to go on after the results of its own calls."""
        return any(block["type"] == "tool_result" for block in self.messages[-1]["content"])


def conversation(messages: Sequence[Mapping[str, Any]]) -> Conversation:
    """The messages of a request. Raises InvalidRequest for what cannot be said in this dialect."""
    _check_arguments(messages)
    system: list[Json] = []
    turns: list[Json] = []
    for i, message in enumerate(messages):
        blocks = list(_blocks(message, f"messages.{i}"))
        if message["role"] in _SYSTEM_ROLES:
            system += blocks
        elif blocks:
            role = "assistant" if message["role"] == "assistant" else "user"
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += blocks
            else:
                turns.append({"role": role, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        raise InvalidRequest(
            "This model needs a conversation that begins with a user message that is not empty.",
            param="messages",
        )
    called = (call["function"]["name"] for m in messages for call in m.get("tool_calls") or ())
    return Conversation(system, turns, tuple(dict.fromkeys(called)), tuple(_lost(messages)))


def _check_arguments(messages: Sequence[Mapping[str, Any]]) -> None:
    """Arguments are JSON inside strings, which the body's own limits have not counted."""
    written = [
        call["function"]["arguments"].encode()
        for message in messages
        for call in message.get("tool_calls") or ()
    ]
    if sum(len(marks_of(text)) for text in written) <= JSON_MEMBERS_MAX:
        return
    if sum(map(members_within, written)) > JSON_MEMBERS_MAX:
        raise InvalidRequest(
            f"The arguments of the tool calls have more than {JSON_MEMBERS_MAX} members and items "
            "in them.",
            param="messages",
        )


def check_tool_name(name: str, param: str) -> None:
    """Raises InvalidRequest for a name that the provider does not take, or that is ours."""
    if TOOL_NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"{param}: this model takes letters, digits, '_' and '-' only in names of functions.",
            param=param,
        )
    if name == ANSWER_TOOL:
        raise InvalidRequest(f"{param}: {ANSWER_TOOL} is a name of the gateway's.", param=param)


def _blocks(message: Mapping[str, Any], path: str) -> Iterator[Json]:
    content = message.get("content")
    if message["role"] == "tool":
        result: Json = {"type": "tool_result", "tool_use_id": _id(message["tool_call_id"])}
        if inner := list(_parts(content)):
            result["content"] = inner
        yield result
        return
    yield from _parts(content)
    for j, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        where = f"{path}.tool_calls.{j}.function"
        check_tool_name(function["name"], f"{where}.name")
        yield {
            "type": "tool_use",
            "id": _id(call["id"]),
            "name": function["name"],
            "input": _input(function["arguments"], f"{where}.arguments"),
        }


def _parts(content: Any) -> Iterator[Json]:
    parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    for part in parts:
        if part["type"] == "image_url":
            yield {"type": "image", "source": _source(part["image_url"]["url"])}
        elif str(part[part["type"]]).strip():
            yield {"type": "text", "text": part[part["type"]]}


def _source(url: str) -> Json:
    head = _DATA_URL.match(url)
    if head is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": head[1], "data": url[head.end() :]}


def _id(call_id: str) -> str:
    """The id of a call as the provider takes it; another model may have made it. One to one but
    for ids that were written to collide."""
    return _NOT_IN_AN_ID.sub(lambda found: f"_{ord(found.group()):x}_", call_id) or "_"


def _input(arguments: str, param: str) -> Json:
    if not arguments.strip():
        return {}
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"{param} must be a JSON object: this model takes the arguments of a call as one.",
            param=param,
        )
    return value


def _lost(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if any(message.get("name") is not None for message in messages):
        yield "messages.name"
    parts = (p for m in messages if isinstance(m.get("content"), list) for p in m["content"])
    details = (part["image_url"].get("detail") for part in parts if part["type"] == "image_url")
    if any(detail not in (None, "auto") for detail in details):
        yield "messages.content.image_url.detail"
