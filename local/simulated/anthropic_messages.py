"""Checks the messages of an Anthropic request and reads from them what an answer needs.

Laws: the user speaks first; every tool_use is answered in the very next message, before anything
else is said there, and nothing else is answered. Nothing of a message is quoted in a refusal.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from local.simulated.anthropic_members import EXTRA, only, wrong
from local.simulated.compose import TOKENS_PER_IMAGE, tokens
from local.simulated.images import image_of_data_url
from local.simulated.shapes import Image, Json, Refused

_ID = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True)
class Reading:
    """What the messages hold. `tool_results` are those since the last text of the user."""

    last_user_text: str = ""
    tool_results: list[str] = field(default_factory=list)
    images: list[Image | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    has_tool_blocks: bool = False

    @property
    def tokens(self) -> int:
        """As the simulated provider counts."""
        return tokens("".join(self.texts)) + TOKENS_PER_IMAGE * len(self.images)


def read_messages(messages: list[Any]) -> Reading:
    """Raises Refused at the first message that a provider would not take."""
    reading = Reading()
    waiting: list[str] = []
    for i, message in enumerate(messages):
        path = f"messages.{i}"
        blocks = _blocks(message, path)
        if i == 0 and message["role"] != "user":
            raise wrong(path, 'first message must use the "user" role')
        _check_results(blocks, waiting, path)
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        said = [
            _READERS[block["type"]](block, f"{path}.content.{j}", reading)
            for j, block in enumerate(blocks)
        ]
        results = [
            text for block, text in zip(blocks, said, strict=True) if block["type"] == "tool_result"
        ]
        words = [text for block, text in zip(blocks, said, strict=True) if block["type"] == "text"]
        if message["role"] == "user" and words:
            reading.last_user_text = "\n".join(words)
        is_user = message["role"] == "user"
        reading.tool_results = [] if is_user and words else [*reading.tool_results, *results]
    if waiting:
        raise _unanswered(len(messages) - 1)
    return reading


def _blocks(message: Any, path: str) -> list[Json]:
    if not isinstance(message, dict):
        raise wrong(path, "Input should be an object")
    only(message, ("role", "content"), f"{path}.")
    role = message.get("role")
    if role == "system":
        raise wrong(
            f"{path}.role",
            'Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            'not "system" as an input message role.',
        )
    if not isinstance(role, str) or role not in BLOCKS_OF_ROLE:
        raise wrong(f"{path}.role", "Input should be 'user' or 'assistant'")
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not blocks:
        raise wrong(path, "all messages must have non-empty content")
    for j, block in enumerate(blocks):
        _check_kind(block, BLOCKS_OF_ROLE[role], f"{path}.content.{j}")
    return blocks


def _check_kind(block: Any, kinds: tuple[str, ...], path: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise wrong(path, f"Input tag does not match any of the expected tags: {', '.join(kinds)}")
    only(block, _BLOCK_MEMBERS[kind], f"{path}.")


def _check_results(blocks: list[Json], waiting: list[str], path: str) -> None:
    results = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
    for result in results:
        if result not in waiting:
            raise wrong(
                path,
                "unexpected `tool_use_id` found in `tool_result` blocks. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
            )
    first = [block["type"] == "tool_result" for block in blocks[: len(results)]]
    if len(set(results)) < len(results) or not all(first) or set(waiting) - set(results):
        raise _unanswered(int(path.rpartition(".")[2]) - 1)


def _unanswered(i: int) -> Refused:
    return wrong(
        f"messages.{i}",
        "`tool_use` ids were found without `tool_result` blocks immediately after. Each `tool_use` "
        "block must have one corresponding `tool_result` block in the next message.",
    )


def _text(block: Json, path: str, reading: Reading) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise wrong(f"{path}.text", "Input should be a valid string")
    if not text.strip():
        raise wrong(path, "text content blocks must contain non-whitespace text")
    reading.texts.append(text)
    return text


def _image(block: Json, path: str, reading: Reading) -> str:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind not in ("base64", "url"):
        raise wrong(f"{path}.source", "Input should be base64 or url")
    if kind == "url":
        only(source, ("type", "url"), f"{path}.source.")
        if not str(source.get("url", "")).startswith("https://"):
            raise wrong(f"{path}.source", "Only HTTPS URLs are supported")
        reading.images.append(None)
        return ""
    only(source, ("type", "media_type", "data"), f"{path}.source.")
    image = image_of_data_url(f"data:{source.get('media_type')};base64,{source.get('data')}")
    if image is None:
        raise wrong(f"{path}.source", "Could not process image")
    reading.images.append(image)
    return ""


def _use(block: Json, path: str, reading: Reading) -> str:
    reading.has_tool_blocks = True
    if _ID.fullmatch(str(block.get("id", ""))) is None:
        raise wrong(f"{path}.id", f"String should match pattern '^{_ID.pattern}$'")
    if _ID.fullmatch(str(block.get("name", ""))) is None:
        raise wrong(f"{path}.name", f"String should match pattern '^{_ID.pattern}$'")
    if not isinstance(block.get("input"), dict):
        raise wrong(f"{path}.input", "Input should be an object")
    reading.texts += (block["name"], orjson.dumps(block["input"]).decode())
    return ""


def _result(block: Json, path: str, reading: Reading) -> str:
    reading.has_tool_blocks = True
    if not isinstance(block.get("is_error", False), bool):
        raise wrong(f"{path}.is_error", "Input should be a valid boolean")
    content = block.get("content", [])
    if isinstance(content, str):
        reading.texts.append(content)
        return content
    if not isinstance(content, list):
        raise wrong(f"{path}.content", "Input should be a valid list")
    said: list[str] = []
    for j, part in enumerate(content):
        where = f"{path}.content.{j}"
        _check_kind(part, ("text", "image"), where)
        said.append(_READERS[part["type"]](part, where, reading))
    return "".join(said)


def _thought(block: Json, path: str, _: Reading) -> str:
    if not isinstance(block.get("signature"), str) or not isinstance(block.get("thinking"), str):
        raise wrong(path, EXTRA)
    return ""


_READERS: dict[str, Callable[[Json, str, Reading], str]] = {
    "text": _text,
    "image": _image,
    "tool_use": _use,
    "tool_result": _result,
    "thinking": _thought,
}
BLOCKS_OF_ROLE: dict[str, tuple[str, ...]] = {
    "user": ("text", "image", "tool_result"),
    "assistant": ("text", "tool_use", "thinking"),
}
_BLOCK_MEMBERS: dict[str, tuple[str, ...]] = {
    "text": ("type", "text", "cache_control"),
    "image": ("type", "source", "cache_control"),
    "tool_use": ("type", "id", "name", "input", "cache_control"),
    "tool_result": ("type", "tool_use_id", "content", "is_error", "cache_control"),
    "thinking": ("type", "thinking", "signature"),
}
