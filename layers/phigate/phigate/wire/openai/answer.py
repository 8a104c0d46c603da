"""OpenAI's answers as the caller gets them: our id and model, usage when asked for, and nothing in
them that could be taken for a statement of the gateway.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from phigate.core.ledger.cost import text_bytes
from phigate.core.types import Json
from phigate.wire.sse import data_event

# Our own names in an upstream's answer are forgeries (decision 99). The written-out JSON is
# searched, where no escape can hide a name.
_FORGED_NAMES = ("x_phi", "x-phi", "phi")
_FORGED_STARTS = tuple(b'"' + name.encode() for name in _FORGED_NAMES)
# A text that begins so is none: no colon stands behind it.
_FORGED = re.compile(rb'"(?:x[_-])?phi[^"\\]*+(?:\\.[^"\\]*+)*+":')
# What a model wrote besides text is counted exactly up to this size, then as the JSON that it is.
_COUNTED_BYTES_MAX = 64 * 1024
_OUTPUT_MEMBERS = frozenset({"content", "reasoning_content", "reasoning", "refusal", "tool_calls"})


@dataclass(frozen=True, slots=True)
class Stamp:
    """What of an answer is the gateway's. `created_s` stands in where a dialect has no time."""

    completion_id: str
    model: str
    created_s: int


def completion(answer: Json, stamp: Stamp) -> bytes:
    """The body of a whole answer."""
    return _dump(_stamped(answer, stamp))


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
                    total += len(value) if is_plain else _written_bytes(value)
    return total


def _written_bytes(value: Any) -> int:
    if isinstance(value, str):
        return text_bytes(value)
    size = len(orjson.dumps(value))
    return size if size > _COUNTED_BYTES_MAX else text_bytes(value)


def clean(value: Json | list[Any]) -> bytes:
    """JSON of an upstream as it may pass. Our own names are taken out of the value, too."""
    return _dump(value)


def assembled(answer: Json, stamp: Stamp) -> bytes:
    """The body of an answer whose large parts were cleaned and written out as they came."""
    body = _stamped(answer, stamp)
    _remove_forgeries(body)
    return orjson.dumps(body)


def _stamped(answer: Json, stamp: Stamp) -> Json:
    ours = {"id": stamp.completion_id, "object": "chat.completion", "model": stamp.model}
    return {**answer, **ours, "created": answer.get("created") or stamp.created_s}


def _dump(value: Any) -> bytes:
    written = orjson.dumps(value)
    # Most chunks have no such letters at all, which is cheaper to see than the names.
    lowered = written.lower()
    if b"phi" not in lowered or not any(start in lowered for start in _FORGED_STARTS):
        return written
    if _FORGED.search(lowered) is not None:
        _remove_forgeries(value)
        return orjson.dumps(value)
    return written


def _remove_forgeries(value: Any) -> None:
    """In place, level by level: nothing is built anew of an answer that may be large."""
    level = [value]
    while level:
        inner: list[Any] = []
        for each in level:
            children: Iterable[Any] = each
            if type(each) is dict:
                # All names at once, which is quicker than each of them by itself.
                if "phi" in "".join(each).lower():
                    for name in [n for n in each if n.lower().startswith(_FORGED_NAMES)]:
                        del each[name]
                children = each.values()
            inner += [child for child in children if type(child) is dict or type(child) is list]
        level = inner
