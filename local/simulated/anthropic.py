"""The Anthropic Messages dialect, from the provider's side.

https://platform.claude.com/docs/en/api/messages and .../build-with-claude/streaming
"""

from collections.abc import Iterator, Mapping

import orjson

from local.simulated.anthropic_members import check_members, check_version, thinks, wrong
from local.simulated.anthropic_messages import read_messages
from local.simulated.compose import fragments, tokens
from local.simulated.shapes import (
    Answer,
    Ask,
    Call,
    Data,
    Dialect,
    Json,
    Part,
    Refused,
    Stamp,
    Tool,
)

THOUGHT = "[simulated] No model ran, so nothing was thought."
SIGNATURE = "c2ltdWxhdGVk"
THOUGHT_PIECE_CHARS = 16


def authorized(headers: Mapping[str, str]) -> bool:
    """Whether a key was sent: `x-api-key`, or a bearer token as the newer SDKs do."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return (scheme.lower() == "bearer" and bool(token.strip())) or bool(headers.get("x-api-key"))


def read(data: bytes, headers: Mapping[str, str]) -> Ask:
    """The checked request. Raises Refused."""
    removed = check_version(headers.get("anthropic-version"))
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise Refused("The request body is not valid JSON.") from exc
    if not isinstance(body, dict):
        raise Refused("Input should be a valid dictionary or object")
    check_members(body, removed)
    reading = read_messages(body["messages"])
    if reading.has_tool_blocks and not body.get("tools"):
        raise wrong(
            "tools",
            "Requests which include `tool_use` or `tool_result` blocks must define tools.",
        )
    offered, forced = _tools(body)
    wanted = body.get("output_config", {}).get("format")
    choice = body.get("tool_choice", {})
    return Ask(
        model=body["model"],
        messages=len(body["messages"]),
        last_user_text=reading.last_user_text,
        tool_results=tuple(reading.tool_results),
        images=tuple(reading.images),
        prompt_tokens=max(1, reading.tokens + _other_tokens(body)),
        offered=offered,
        forced=forced,
        parallel_calls=not choice.get("disable_parallel_tool_use"),
        format="text" if wanted is None else "json_schema",
        schema=None if wanted is None else wanted["schema"],
        stop=tuple(body.get("stop_sequences", ())),
        tokens_out_max=body["max_tokens"],
        stream=body.get("stream") is True,
        thinking=_thinking(body),
    )


def parts(ask: Ask, answer: Answer, stamp: Stamp) -> tuple[Part, ...]:
    """The body, or the events."""
    message: Json = {
        "id": f"msg_simulated_{stamp.provider}_{stamp.serial}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    thought = _thought(ask, answer)
    if ask.stream:
        return tuple(_events(ask, answer, message, thought))
    whole = message | {
        "content": list(_blocks(ask, answer, thought)),
        "stop_reason": STOP_REASONS[answer.finish],
    }
    return (Data("whole", whole | _usage(answer, thought)),)


def error(status: int, message: str, param: str | None, code: str | None) -> Json:
    """The error object; this dialect names neither param nor code."""
    kind = ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_simulated",
    }


def _tools(body: Json) -> tuple[tuple[Tool, ...], tuple[Tool, ...]]:
    """The tools that may be called, and those of which one must be."""
    choice = body.get("tool_choice", {"type": "auto"})
    kind = choice["type"]
    tools = tuple(Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools", ()))
    if kind == "none":
        return (), ()
    if kind == "any":
        return tools, tools
    if kind == "tool":
        named = tuple(_speaking(tool) for tool in tools if tool.name == choice["name"])
        return named, named
    return tools, ()


def _speaking(tool: Tool) -> Tool:
    """A forced tool that takes any object gets one that says where it comes from."""
    if tool.schema != {"type": "object"}:
        return tool
    properties = {"simulated": {"const": True}}
    return Tool(tool.name, {"type": "object", "properties": properties, "required": ["simulated"]})


def _other_tokens(body: Json) -> int:
    others = [body[name] for name in ("system", "tools", "output_config") if body.get(name)]
    return tokens(orjson.dumps(others).decode()) if others else 0


def _thinking(body: Json) -> str | None:
    if not thinks(body):
        return None
    return "" if body["thinking"].get("display") == "omitted" else THOUGHT


def _thought(ask: Ask, answer: Answer) -> str | None:
    """What is shown as thought; None when nothing is, or when it would not fit."""
    if ask.thinking is None or ask.tokens_out_max is None:
        return None
    used = tokens(answer.text) + sum(tokens(c.name) + tokens(c.arguments) for c in answer.calls)
    return ask.thinking if used + tokens(THOUGHT) <= ask.tokens_out_max else None


def _usage(answer: Answer, thought: str | None) -> Json:
    if answer.usage is None:
        return {}
    thinking = 0 if thought is None else tokens(THOUGHT)
    usage: Json = {
        "input_tokens": answer.usage.prompt,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": answer.usage.completion + thinking,
        "output_tokens_details": {"thinking_tokens": thinking},
        "service_tier": "standard",
    }
    return {"usage": usage}


def _blocks(ask: Ask, answer: Answer, thought: str | None) -> Iterator[Json]:
    if thought is not None:
        yield {"type": "thinking", "thinking": thought, "signature": SIGNATURE}
    if answer.text or not answer.calls:
        yield {"type": "text", "text": answer.text}
    for call in answer.calls:
        yield {**_use(call), "input": _input(call)}


def _use(call: Call) -> Json:
    return {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": {}}


def _input(call: Call) -> Json:
    """An input that was cut at max_tokens is not shown."""
    try:
        value: Json = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        return {}
    return value


def _event(kind: str, name: str, **members: object) -> Data:
    return Data(kind, {"type": name, **members}, name)


def _events(ask: Ask, answer: Answer, message: Json, thought: str | None) -> Iterator[Data]:
    usage = _usage(answer, thought)
    started = {"usage": {**usage["usage"], "output_tokens": 1}} if usage else {}
    yield _event("open", "message_start", message=message | started)
    yield _event("open", "ping")
    for at, block in enumerate(_blocks(ask, answer, thought)):
        kind = block["type"]
        yield _event(
            "block",
            "content_block_start",
            index=at,
            content_block=_START[kind]
            | {name: block[name] for name in ("id", "name") if name in block},
        )
        for part, delta in _deltas(block, answer, at):
            yield _event(part, "content_block_delta", index=at, delta=delta)
        yield _event("block", "content_block_stop", index=at)
    change = {"stop_reason": STOP_REASONS[answer.finish], "stop_sequence": None}
    counted = {"usage": {"output_tokens": usage["usage"]["output_tokens"]}} if usage else {}
    if thought is not None and counted:
        counted["usage"]["output_tokens_details"] = usage["usage"]["output_tokens_details"]
    yield _event("finish", "message_delta", delta=change, **counted)
    yield _event("done", "message_stop")


def _deltas(block: Json, answer: Answer, at: int) -> Iterator[tuple[str, Json]]:
    """What kind of part each delta of a block is, and the delta."""
    if block["type"] == "text":
        for piece in answer.pieces:
            yield "content", {"type": "text_delta", "text": piece}
    elif block["type"] == "thinking":
        for start in range(0, len(block["thinking"]), THOUGHT_PIECE_CHARS):
            piece = block["thinking"][start : start + THOUGHT_PIECE_CHARS]
            yield "block", {"type": "thinking_delta", "thinking": piece}
        yield "block", {"type": "signature_delta", "signature": SIGNATURE}
    else:
        call = next(call for call in answer.calls if block["id"] == f"toolu_{call.id}")
        yield "call", {"type": "input_json_delta", "partial_json": ""}
        # A tool that takes nothing is called without a fragment.
        for fragment in fragments(call.arguments) if call.arguments != "{}" else ():
            yield "call", {"type": "input_json_delta", "partial_json": fragment}


_START: dict[str, Json] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
    "tool_use": {"type": "tool_use", "input": {}},
}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
DIALECT = Dialect(authorized=authorized, read=read, parts=parts, error=error, error_event="error")
