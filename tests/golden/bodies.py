"""What the requests of the golden table are made of: bodies, and what upstreams and sandboxes
answer them."""

import json
from collections.abc import Mapping
from typing import Any

from tests.golden.harness import Json, RunResult, Script, answers, chunk, streams

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
USAGE_CHUNK: Json = {"id": "up-1", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
CH: Mapping[str, str] = {"x-region": "CH"}
PHI: Mapping[str, str] = {"x-region": "CH", "x-phi": "true"}
US: Mapping[str, str] = {"x-region": "US"}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
LOOK_UP: Json = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA: Json = {
    "type": "json_schema",
    "json_schema": {
        "name": "reply",
        "schema": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CALL: Json = {
    "id": "c1",
    "type": "function",
    "function": {"name": "look_up", "arguments": "{}"},
}
TIME: Json = {"type": "gateway:datetime"}
TWO = (answers(), answers())
GOOD_STREAM = (chunk("Hel"), chunk("lo"), USAGE_CHUNK, DONE)


def asks(**members: Any) -> Json:
    """A body of gemma-4, which CH serves under an agreement."""
    return says(user("Hello"), **members)


def says(*messages: Any, **members: Any) -> Json:
    """A body of these messages."""
    return {"model": "gemma-4", "messages": list(messages), **members}


def user(content: Any) -> Json:
    """A user's message."""
    return {"role": "user", "content": content}


def image(url: Any, **members: Any) -> Json:
    """A body with an image."""
    part = {"type": "image_url", "image_url": {"url": url, **members}}
    return says(user([{"type": "text", "text": "What is it?"}, part]))


def calls(*tool_calls: Json, text: str | None = None) -> Script:
    """An upstream's answer that calls tools."""
    message = {"role": "assistant", "content": text, "tool_calls": list(tool_calls)}
    return answers(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])


def called(name: str, arguments: Json, call_id: str = "c1") -> Json:
    """A call of a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": function}


def streamed_call(call: Json) -> Script:
    """A stream that calls a tool."""
    delta = {"tool_calls": [{"index": 0, **call}]}
    choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls"}
    return streams(chunk(choices=[choice]), USAGE_CHUNK, DONE)


def says_choice(message: Json, finish_reason: str | None = "stop") -> Script:
    """An upstream's answer of this message."""
    said = {"role": "assistant", **message}
    return answers(choices=[{"index": 0, "message": said, "finish_reason": finish_reason}])


def ran(**changes: Any) -> RunResult:
    """A program that printed 42."""
    members: dict[str, Any] = {
        "language": "python",
        "exit_code": 0,
        "stdout": "42\n",
        "stderr": "",
        "value": None,
        "figures": (),
        "limits": (),
        "wall_ms": 12,
    }
    return RunResult(**{**members, **changes})


def anthropic(text: str = "Hi", **members: Any) -> Script:
    """An answer of Anthropic's."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 5},
        **members,
    }
    return Script([json.dumps(body).encode()])


def anthropic_stream(*events: Json) -> Script:
    """A stream of Anthropic's: its events as they are named."""
    lines = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events]
    return Script(lines, content_type="text/event-stream")
