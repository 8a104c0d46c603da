"""The OpenAI Chat Completions dialect, from the provider's side.

https://platform.openai.com/docs/api-reference/chat and .../chat-streaming
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from local.simulated.compose import fragments, tokens
from local.simulated.openai_members import check_members
from local.simulated.openai_messages import read_messages
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


def authorized(headers: Mapping[str, str]) -> bool:
    """Whether a key was sent: a bearer token, or `api-key` as on Azure. Any key will do."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return (scheme.lower() == "bearer" and bool(token.strip())) or bool(headers.get("api-key"))


def read(data: bytes, _: Mapping[str, str]) -> Ask:
    """The checked request. Raises Refused."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise Refused("We could not parse the JSON body of your request.") from exc
    if not isinstance(body, dict):
        raise Refused("We could not parse the JSON body of your request: expected an object.")
    check_members(body)
    reading = read_messages(body["messages"])
    offered, forced = _tools(body)
    shape = body.get("response_format") or {"type": "text"}
    stop = body.get("stop") or ()
    return Ask(
        model=body["model"],
        messages=len(body["messages"]),
        last_user_text=reading.last_user_text,
        tool_results=reading.tool_results,
        images=reading.images,
        prompt_tokens=max(1, reading.tokens + _schema_tokens(body)),
        offered=offered,
        forced=forced,
        parallel_calls=body.get("parallel_tool_calls") is not False,
        format=shape["type"],
        schema=shape.get("json_schema", {}).get("schema"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        tokens_out_max=body.get("max_completion_tokens") or body.get("max_tokens"),
        stream=body.get("stream") is True,
        with_usage=_with_usage(body),
        choices=body.get("n") or 1,
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )


def parts(ask: Ask, answer: Answer, stamp: Stamp) -> tuple[Part, ...]:
    """The body, or the events."""
    base: Json = {
        "id": answer_id(stamp.provider, stamp.serial),
        "object": "chat.completion.chunk" if ask.stream else "chat.completion",
        "created": stamp.created,
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    usage = _usage(answer)
    if ask.stream:
        return tuple(_events(ask, answer, base, usage))
    body = base | {"choices": [_choice(ask, answer, i) for i in range(ask.choices)]}
    return (Data("whole", body if usage is None else body | {"usage": usage}),)


def answer_id(provider: str, serial: int) -> str:
    """The provider's name of its answer to one call."""
    return f"chatcmpl-simulated-{provider}-{serial}"


def error(status: int, message: str, param: str | None, code: str | None) -> Json:
    """The error object."""
    kind = ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _with_usage(body: Json) -> bool:
    options = body.get("stream_options") or {}
    return not body.get("stream") or options.get("include_usage") is True


def _tools(body: Json) -> tuple[tuple[Tool, ...], tuple[Tool, ...]]:
    """The tools that may be called, and those of which one must be."""
    choice = body.get("tool_choice")
    functions = [tool["function"] for tool in body.get("tools") or ()]
    tools = tuple(
        Tool(function["name"], function.get("parameters") or {"type": "object"})
        for function in functions
    )
    if choice == "none":
        return (), ()
    if choice == "required":
        return tools, tools
    if isinstance(choice, dict):
        named = tuple(tool for tool in tools if tool.name == choice["function"]["name"])
        return named, named
    return tools, ()


def _schema_tokens(body: Json) -> int:
    schemas = [body[name] for name in ("tools", "response_format") if body.get(name)]
    return tokens(orjson.dumps(schemas).decode()) if schemas else 0


def _usage(answer: Answer) -> Json | None:
    if answer.usage is None:
        return None
    prompt, completion = answer.usage.prompt, answer.usage.completion
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _choice(ask: Ask, answer: Answer, index: int) -> Json:
    content = None if answer.calls else answer.text
    message: Json = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if answer.calls:
        message["tool_calls"] = [_whole_call(call) for call in answer.calls]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(ask, answer.pieces),
        "finish_reason": answer.finish,
    }


def _whole_call(call: Call) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _events(ask: Ask, answer: Answer, base: Json, usage: Json | None) -> Iterator[Data]:
    # With include_usage every chunk names usage: null until the one that holds it.
    empty: Json = {"usage": None} if ask.with_usage else {}
    for index in range(ask.choices):
        for kind, delta, logprobs, finish in _deltas(ask, answer):
            choice = {
                "index": index,
                "delta": delta,
                "logprobs": logprobs,
                "finish_reason": finish,
            }
            chunk = base | {"choices": [choice]} | empty
            if finish and answer.usage_with_choices and ask.with_usage:
                chunk["usage"] = usage
            yield Data(kind, chunk)
    if ask.with_usage and usage is not None and not answer.usage_with_choices:
        yield Data("usage", base | {"choices": [], "usage": usage})
    yield Data("done", "[DONE]")


def _deltas(ask: Ask, answer: Answer) -> Iterator[tuple[str, Json, Json | None, str | None]]:
    """Kind, delta, logprobs and finish reason of each chunk of one choice."""
    content = None if answer.calls else ""
    yield "open", {"role": "assistant", "content": content, "refusal": None}, None, None
    for piece in answer.pieces:
        yield "content", {"content": piece}, _logprobs(ask, (piece,)), None
    for i, call in enumerate(answer.calls):
        first = {"index": i, **_whole_call(Call(call.id, call.name, ""))}
        yield "call", {"tool_calls": [first]}, None, None
        for fragment in fragments(call.arguments):
            function = {"arguments": fragment}
            yield "call", {"tool_calls": [{"index": i, "function": function}]}, None, None
    yield "finish", {}, None, answer.finish


def _logprobs(ask: Ask, pieces: tuple[str, ...]) -> Json | None:
    """Certain, and the same for every alternative: no model ran."""
    if ask.top_logprobs is None:
        return None
    content: list[Json] = []
    for piece in pieces:
        one: dict[str, Any] = {"token": piece, "logprob": 0.0, "bytes": list(piece.encode())}
        content.append(one | {"top_logprobs": [one] if ask.top_logprobs else []})
    return {"content": content, "refusal": None}


ERROR_TYPES = {
    429: "rate_limit_error",
}
DIALECT = Dialect(authorized=authorized, read=read, parts=parts, error=error)
