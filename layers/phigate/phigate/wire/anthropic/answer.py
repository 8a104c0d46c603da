"""Anthropic's whole answers as canonical ones, and the tables that streams are read by as well.

Law 1: the input of a call to ANSWER_TOOL is what the caller asked for as content.
Law 2: content blocks of kinds that are not in the tables are passed over: the provider adds kinds
within one API version.
https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Mapping
from typing import Any

import orjson

from phigate.core.limits import INPUT_DEPTH_MAX
from phigate.core.types import Json
from phigate.wire.openai.answer_json import read_json

# The tool that a model is made to call where JSON is asked for and no schema can be enforced.
ANSWER_TOOL = "gateway_json_answer"

# Every error that a wrong shape causes below: a member that is missing, or of another type.
MISSHAPEN = (KeyError, TypeError, ValueError, AttributeError)

# From `stop_reason`. A reason that is not known here ends an answer like any other end.
FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# From a block's type: its member, and the canonical one.
WRITTEN_BLOCKS = {"text": ("text", "content"), "thinking": ("thinking", "reasoning_content")}
CALL_BLOCK = "tool_use"
# Redacted thinking is unreadable; the rest comes from server tools, which are never sent.
IGNORED_BLOCKS = frozenset(
    {
        "redacted_thinking",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "container_upload",
    }
)


def completion(body: bytes) -> Json | None:
    """A whole answer as a `chat.completion`, or None when it is not one."""
    try:
        value = read_json(body, INPUT_DEPTH_MAX)
        return _completion(value) if value["type"] == "message" else None
    except MISSHAPEN:
        return None


def _completion(message: Json) -> Json:
    written: dict[str, list[str]] = {}
    calls: list[Json] = []
    answers: list[str] = []
    for block in message["content"]:
        kind = block["type"]
        if kind in WRITTEN_BLOCKS:
            source, member = WRITTEN_BLOCKS[kind]
            written.setdefault(member, []).append(text_of(block[source]))
        elif kind == CALL_BLOCK and block["name"] == ANSWER_TOOL:
            answers.append(arguments_text(block["input"]))
        elif kind == CALL_BLOCK:
            calls.append(call(text_of(block["id"]), text_of(block["name"]), block["input"]))
    texts = answers[:1] or written.get("content", [])
    said: Json = {"role": "assistant", "content": None if calls and not texts else "".join(texts)}
    if "reasoning_content" in written:
        said["reasoning_content"] = "".join(written["reasoning_content"])
    if calls:
        said["tool_calls"] = calls
    reason = text_of(message["stop_reason"])
    if (refusal := refusal_text(message)) is not None:
        said["refusal"] = refusal
    answer: Json = {
        "object": "chat.completion",
        "created": 0,
        "choices": [{"index": 0, "message": said, **finish(reason, bool(calls))}],
    }
    usage = usage_of(message.get("usage") or {})
    return answer if usage is None else answer | {"usage": usage}


def usage_of(counted: Mapping[str, Any]) -> Json | None:
    """Usage in canonical names, or None when a count is missing. What it says may be absurd."""
    read = counted.get("cache_read_input_tokens") or 0
    written = counted.get("cache_creation_input_tokens") or 0
    tokens = (counted.get("input_tokens"), counted.get("output_tokens"), read, written)
    counts = [count for count in tokens if type(count) is int]
    if len(counts) != len(tokens):
        return None
    tokens_in = counts[0] + read + written
    usage: Json = {
        "prompt_tokens": tokens_in,
        "completion_tokens": counts[1],
        "total_tokens": tokens_in + counts[1],
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    details = counted.get("output_tokens_details") or {}
    if details.get("thinking_tokens") is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": details["thinking_tokens"]}
    if counted.get("inference_geo") is not None:
        usage["inference_geo"] = counted["inference_geo"]
    return usage


def refusal(body: bytes) -> str:
    """The provider's words in an error body."""
    try:
        return text_of(orjson.loads(body)["error"]["message"])
    except MISSHAPEN:
        return "no reason given"


def refusal_text(ending: Mapping[str, Any]) -> str | None:
    """Why the provider refused, where it says so; `ending` is a message or a message_delta."""
    details = ending.get("stop_details") or {}
    return text_of(details["explanation"]) if details.get("explanation") else None


def finish(reason: str, has_calls: bool) -> Json:
    # A model that called the answer tool alone has called nothing of the caller's.
    unified = FINISH_REASONS.get(reason, "stop")
    if unified == "tool_calls" and not has_calls:
        unified = "stop"
    return {"finish_reason": unified, "raw_finish_reason": reason}


def call(call_id: str, name: str, given: Any = None) -> Json:
    arguments = "" if given is None else arguments_text(given)
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def arguments_text(given: Any) -> str:
    if not isinstance(given, dict):
        raise TypeError("an input that is no object")
    return orjson.dumps(given).decode()


def text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text that is none")
    return value
