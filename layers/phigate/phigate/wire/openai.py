"""OpenAI's answers as the caller gets them: our id and model, usage when asked for, and nothing in
them that could be taken for a statement of the gateway.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from phigate.core.meter import text_bytes
from phigate.core.types import Json
from phigate.wire.sse import data_event

# Our own names in an upstream's answer are forgeries (DESIGN 6.7). The written-out JSON is
# searched, where no escape can hide a name.
_FORGED = re.compile(rb'"(?:x[_-])?phi', re.IGNORECASE)
_FORGED_NAMES = ("x_phi", "x-phi", "phi")
_OUTPUT_MEMBERS = frozenset({"content", "reasoning_content", "reasoning", "refusal", "tool_calls"})


@dataclass(frozen=True, slots=True)
class Stamp:
    """What of an answer is the gateway's. `created_s` stands in where a dialect has no time."""

    completion_id: str
    model: str
    created_s: int


def completion(answer: Json, stamp: Stamp) -> bytes:
    """The body of a whole answer."""
    ours = {"id": stamp.completion_id, "object": "chat.completion", "model": stamp.model}
    created_s = answer.get("created") or stamp.created_s
    return _dump({**answer, **ours, "created": created_s})


def message(answer: Json) -> Json:
    """The one message of a whole answer."""
    first: Json = answer["choices"][0]["message"]
    return first


def chunk_event(chunk: Json, stamp: Stamp, *, with_usage: bool) -> bytes:
    """One chunk as an event; empty when it held nothing but usage that nobody asked for."""
    if not with_usage and "usage" in chunk:
        del chunk["usage"]
        if not chunk.get("choices"):
            return b""
    chunk["id"] = stamp.completion_id
    chunk["model"] = stamp.model
    if not chunk.get("created"):
        chunk["created"] = stamp.created_s
    return data_event(_dump(chunk))


def output_bytes(choices: Iterable[Json], member: str) -> int:
    """UTF-8 bytes of what the model wrote; `member` is `message` or `delta`."""
    total = 0
    for choice in choices:
        written = choice.get(member)
        if isinstance(written, dict):
            for name, value in written.items():
                if value and name in _OUTPUT_MEMBERS:
                    # Once a chunk, and nearly always plain text.
                    is_plain = type(value) is str and value.isascii()
                    total += len(value) if is_plain else text_bytes(value)
    return total


def _dump(value: Json) -> bytes:
    written = orjson.dumps(value)
    # Most chunks have no such letters at all, which is cheaper to see than the pattern.
    if b"phi" in written.lower() and _FORGED.search(written) is not None:
        return orjson.dumps(_without_forgeries(value))
    return written


def _without_forgeries(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_forgeries(member)
            for name, member in value.items()
            if not name.lower().startswith(_FORGED_NAMES)
        }
    if isinstance(value, list):
        return [_without_forgeries(member) for member in value]
    return value
