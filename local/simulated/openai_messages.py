"""Checks the messages of an OpenAI chat request and reads from them what an answer needs.

Laws: a tool message answers a call of the assistant message before it, and every call is answered
before anybody else speaks. Nothing of a message is quoted in a refusal.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local.simulated.compose import TOKENS_PER_IMAGE, tokens
from local.simulated.images import image_of_data_url
from local.simulated.openai_members import only
from local.simulated.shapes import Image, Json, Refused


@dataclass(frozen=True, slots=True)
class Reading:
    """What the messages hold. `tool_results` are those since the last text of the user."""

    last_user_text: str
    tool_results: tuple[str, ...]
    images: tuple[Image | None, ...]
    tokens: int


def read_messages(messages: list[Any]) -> Reading:
    """Raises Refused at the first message that a provider would not take."""
    texts: list[str] = []
    images: list[Image | None] = []
    last_user_text = ""
    results: list[str] = []
    for i, message in enumerate(messages):
        path = f"messages[{i}]"
        role = _role(message, path)
        said = [_read_part(part, where) for part, where in _parts(message, role, path)]
        text = "\n".join(item for item in said if isinstance(item, str))
        images += [item for item in said if not isinstance(item, str)]
        texts += [text, *_called_texts(message, path)]
        results = [*results, text] if role == "tool" else [] if role == "user" else results
        last_user_text = text if role == "user" else last_user_text
    _check_order(messages)
    used = tokens("".join(texts)) + TOKENS_PER_IMAGE * len(images)
    return Reading(last_user_text, tuple(results), tuple(images), used)


def _role(message: Any, path: str) -> str:
    if not isinstance(message, dict):
        raise _wrong(path, "expected an object.")
    role = message.get("role")
    if not isinstance(role, str) or role not in PARTS_OF_ROLE:
        raise _wrong(f"{path}.role", f"supported values are {', '.join(PARTS_OF_ROLE)}.")
    only(message, _MESSAGE_MEMBERS, path)
    if not isinstance(message.get("name") or "", str):
        raise _wrong(f"{path}.name", "expected a string.")
    return role


def _parts(message: Json, role: str, path: str) -> Iterator[tuple[Json, str]]:
    content, path = message.get("content"), f"{path}.content"
    if (
        content is None
        and role == "assistant"
        and (message.get("tool_calls") or "refusal" in message)
    ):
        return
    if isinstance(content, str):
        yield {"type": "text", "text": content}, path
        return
    if not isinstance(content, list) or not content:
        raise _wrong(path, "expected a string or an array of content parts.")
    for j, part in enumerate(content):
        where = f"{path}[{j}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in PARTS_OF_ROLE[role]:
            kinds = ", ".join(PARTS_OF_ROLE[role])
            raise _wrong(f"{where}.type", f"supported values for this role are {kinds}.")
        only(part, frozenset({"type", kind}), where)
        yield part, where


def _read_part(part: Json, path: str) -> str | Image | None:
    kind = part["type"]
    value = part.get(kind)
    if kind == "image_url":
        return _read_image(value, f"{path}.image_url")
    if not isinstance(value, str):
        raise _wrong(f"{path}.{kind}", "expected a string.")
    return value


# An image cut short with three dots, as documentation prints it, is described as not looked at.
_EXAMPLE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+\.\.\.")


def _read_image(value: Any, path: str) -> Image | None:
    url = value.get("url") if isinstance(value, dict) else None
    if not isinstance(url, str):
        raise _wrong(f"{path}.url", "expected a URL.")
    only(value, frozenset({"url", "detail"}), path)
    if value.get("detail") not in (None, "auto", "low", "high", "original"):
        raise _wrong(f"{path}.detail", "supported values are auto, low, high, original.")
    if url.startswith("https://") or _EXAMPLE.fullmatch(url):
        return None
    image = image_of_data_url(url)
    if image is None:
        raise Refused(
            f"Invalid '{path}.url': expected a link or a base64-encoded data URL of a png, jpeg, "
            "gif or webp image.",
            param=f"{path}.url",
            code="invalid_image_format",
        )
    return image


def _called_texts(message: Json, path: str) -> list[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return []
    path = f"{path}.tool_calls"
    if message["role"] != "assistant" or not isinstance(calls, list) or not calls:
        raise _wrong(path, "expected an array with minimum length 1 in an assistant message.")
    texts: list[str] = []
    for j, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or call.get("type") != "function":
            raise _wrong(f"{path}[{j}]", "expected a function call.")
        for name, value in (("id", call.get("id")), *((n, function.get(n)) for n in _CALLED)):
            if not isinstance(value, str):
                raise _wrong(f"{path}[{j}].{name}", "expected a string.")
        texts += [function["name"], function["arguments"]]
    return texts


def _check_order(messages: list[Json]) -> None:
    waiting: set[str] = set()
    for i, message in enumerate(messages):
        if message["role"] == "tool":
            if message.get("tool_call_id") not in waiting:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceding message with 'tool_calls'.",
                    param=f"messages[{i}].role",
                )
            waiting.discard(message["tool_call_id"])
            continue
        _check_answered(waiting, i)
        waiting = {call["id"] for call in message.get("tool_calls") or ()}
    _check_answered(waiting, len(messages))


def _check_answered(waiting: set[str], i: int) -> None:
    if waiting:
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'.",
            param=f"messages[{i}].role",
        )


def _wrong(path: str, expected: str) -> Refused:
    return Refused(f"Invalid value for '{path}': {expected}", param=path, code="invalid_value")


_CALLED = ("name", "arguments")
_MESSAGE_MEMBERS = frozenset(
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
# Images in tool messages are not OpenAI's, but of other providers that speak its dialect.
PARTS_OF_ROLE: dict[str, tuple[str, ...]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "refusal"),
    "tool": ("text", "image_url"),
}
