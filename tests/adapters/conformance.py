"""What every dialect must do, as one table: the same things said in each dialect's own bytes.

A dialect that is added gets a Speaker at the end; test_conformance.py fails for each case that a
speaker leaves out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from phigate.core.types import Json

TRICKY = 'grün 漢字 \U0001d70b \u2028 "data: [DONE]" \ufeff'
TOKENS = {"prompt_tokens": 10, "completion_tokens": 4}
PNG = "data:image/png;base64,AAAA"


@dataclass(frozen=True, slots=True)
class Said:
    """What one answer comes to. `calls` are name and arguments; `raw` the provider's own reason."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: str | None = None
    usage: Json | None = field(default_factory=lambda: dict(TOKENS))
    ended: bool = True
    failed: str | None = None


# A stream each, and what has been said when it is over.
STREAMS: Mapping[str, Said] = {
    "text": Said("Hello you", finish="stop"),
    "unicode": Said(TRICKY, finish="stop"),
    "reasoning": Said("4", reasoning="2 and 2", finish="stop"),
    "parallel tool calls behind text": Said(
        "Let me see.", calls=(("f", '{"x": 1}'), ("g", '{"y": [2]}')), finish="tool_calls"
    ),
    "a tool without arguments": Said(calls=(("f", "{}"),), finish="tool_calls"),
    "refusal": Said("I", finish="content_filter"),
    "length stop": Said("Hel", finish="length"),
    "stop sequence": Said("Hel", finish="stop"),
    "missing usage": Said("Hi", finish="stop", usage=None),
    "usage in a chunk with choices": Said("Hi", finish="stop"),
    "nothing but an end": Said(finish="stop"),
    "empty choices": Said("Hi", finish="stop"),
    "CRLF": Said("Hi", finish="stop"),
    "CR": Said("Hi", finish="stop"),
    "data over several lines": Said("Hi", finish="stop"),
    "comments, ids and retry times": Said("Hi", finish="stop"),
    "nothing after the end counts": Said("Hi", finish="stop"),
    "closed early": Said("Hi", usage=None, ended=False),
    "closed inside an event": Said("Hi", usage=None, ended=False),
    "error first": Said(usage=None, ended=False, failed="error_event"),
    "error mid-stream": Said("Hi", usage=None, ended=False, failed="error_event"),
    "not JSON": Said("Hi", usage=None, ended=False, failed="malformed"),
    "not an object": Said(usage=None, ended=False, failed="malformed"),
}
# A whole answer each; None where it is malformed.
ANSWERS: Mapping[str, Said | None] = {
    "text": Said("Hello you", finish="stop"),
    "unicode": Said(TRICKY, finish="stop"),
    "reasoning": Said("4", reasoning="2 and 2", finish="stop"),
    "parallel tool calls behind text": Said(
        "Let me see.", calls=(("f", '{"x":1}'), ("g", '{"y":[2]}')), finish="tool_calls"
    ),
    "a tool without arguments": Said(calls=(("f", "{}"),), finish="tool_calls"),
    "refusal": Said("I", finish="content_filter"),
    "length stop": Said("Hel", finish="length"),
    "stop sequence": Said("Hel", finish="stop"),
    "missing usage": Said("Hi", finish="stop", usage=None),
    "an error in a 200": None,
    "empty choices": None,
    "not JSON": None,
    "not an object": None,
}

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
_CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
    {"id": "c2", "type": "function", "function": {"name": "f", "arguments": ""}},
]
_IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
# Members of a canonical request each.
REQUESTS: Mapping[str, Json] = {
    "text": {"messages": [{"role": "user", "content": "Hi"}]},
    "two-turn": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Again"},
        ]
    },
    "system": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ]
    },
    "tool results in order, with an image": {
        "messages": [
            {"role": "user", "content": "Look"},
            {"role": "assistant", "content": None, "tool_calls": _CALLS},
            {"role": "tool", "tool_call_id": "c1", "content": [_IMAGE]},
            {"role": "tool", "tool_call_id": "c2", "content": "7"},
        ],
        "tools": [TOOL],
    },
    "stop sequences": {"messages": [{"role": "user", "content": "Hi"}], "stop": ["END"]},
}
# Words and param of a refusal each.
REFUSALS: Mapping[str, str] = {
    "error body": "Too long",
    "not JSON": "no reason given",
    "a novel": "x" * 2_000,
}


@dataclass(frozen=True, slots=True)
class Speaker:
    """One dialect's own bytes for each case of the tables above."""

    streams: Mapping[str, bytes]
    answers: Mapping[str, bytes]
    requests: Mapping[str, Json]
    refusals: Mapping[str, bytes]


def said_in_chunks(chunks: list[Json]) -> Said:
    """What a client makes of chunks; asserts what holds for chunks of any dialect."""
    written = {"content": "", "reasoning_content": ""}
    calls: list[list[str]] = []
    finish = usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or ():
            assert choice["index"] == 0
            finish = choice.get("finish_reason") or finish
            for name in written:
                written[name] += choice["delta"].get(name) or ""
            for call in choice["delta"].get("tool_calls") or ():
                _hear(call, calls)
    named = tuple((name, arguments) for name, arguments in calls)
    return Said(written["content"], written["reasoning_content"], named, finish, _counts(usage))


def _hear(call: Json, calls: list[list[str]]) -> None:
    """Index, id, type and name come once, in order; after them only arguments."""
    if call["index"] == len(calls):
        assert call["id"] and call["type"] == "function"
        calls.append([call["function"]["name"], call["function"]["arguments"]])
        return
    assert call.keys() == {"index", "function"}
    assert call["function"].keys() == {"arguments"}
    calls[call["index"]][1] += call["function"]["arguments"]


def said_in_answer(answer: Json) -> Said:
    """What a client makes of a whole answer."""
    (choice,) = answer["choices"]
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return Said(
        message["content"] or "",
        message.get("reasoning_content") or "",
        tuple((call["name"], call["arguments"]) for call in calls),
        choice["finish_reason"],
        _counts(answer.get("usage")),
    )


def _counts(usage: Json | None) -> Json | None:
    return None if usage is None else {name: usage[name] for name in TOKENS}


def _event(value: object, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + orjson.dumps(value) + b"\n\n"


def _over_lines(value: object, name: str = "") -> bytes:
    """Indented JSON has line ends between its tokens only, so every line may be a data line."""
    head = f"event: {name}\n".encode() if name else b""
    lines = orjson.dumps(value, option=orjson.OPT_INDENT_2).split(b"\n")
    return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


# --- OpenAI -----------------------------------------------------------------------------------


def _o(delta: Json, finish: str | None = None, **members: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "choices": [choice], **members}


def _o_call(index: int, fragment: str, name: str = "") -> Json:
    function = {"name": name, "arguments": fragment} if name else {"arguments": fragment}
    first = {"id": f"c{index}", "type": "function"} if name else {}
    return _o({"tool_calls": [{"index": index, **first, "function": function}]})


_O_DONE = b"data: [DONE]\n\n"
_O_USAGE = _event({"id": "1", "choices": [], "usage": TOKENS})
_O_HI = _event(_o({"role": "assistant", "content": ""})) + _event(_o({"content": "Hi"}))
_O_ERROR = _event({"error": {"message": "busy"}})


def _o_stream(*deltas: Json, finish: str = "stop") -> bytes:
    chunks = (_o({"role": "assistant", "content": ""}), *deltas, _o({}, finish))
    return b"".join(_event(chunk) for chunk in chunks) + _O_USAGE + _O_DONE


def _o_answer(message: Json, finish: str, usage: Json | None = TOKENS) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, **message},
        "finish_reason": finish,
    }
    body: Json = {"id": "1", "object": "chat.completion", "choices": [choice]}
    return orjson.dumps(body if usage is None else body | {"usage": usage})


def _o_calls(*calls: tuple[str, str]) -> list[Json]:
    functions = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return [
        {"id": f"c{i}", "type": "function", "function": function}
        for i, function in enumerate(functions)
    ]


_O_WHOLE = _o_stream(_o({"content": "Hi"}))
OPENAI = Speaker(
    streams={
        "text": _o_stream(_o({"content": "Hello"}), _o({"content": " you"})),
        "unicode": _o_stream(_o({"content": TRICKY})),
        "reasoning": _o_stream(
            _o({"reasoning_content": "2 and 2"}),
            _o({"content": "4"}),
        ),
        "parallel tool calls behind text": _o_stream(
            _o({"content": "Let me see."}),
            _o_call(0, "", "f"),
            _o_call(0, '{"x"'),
            _o_call(0, ": 1}"),
            _o_call(1, "", "g"),
            _o_call(1, '{"y": [2]}'),
            finish="tool_calls",
        ),
        "a tool without arguments": _o_stream(_o_call(0, "{}", "f"), finish="tool_calls"),
        "refusal": _o_stream(_o({"content": "I"}), finish="content_filter"),
        "length stop": _o_stream(_o({"content": "Hel"}), finish="length"),
        "stop sequence": _o_stream(_o({"content": "Hel"})),
        "missing usage": _O_HI + _event(_o({}, "stop")) + _O_DONE,
        "usage in a chunk with choices": _O_HI + _event(_o({}, "stop", usage=TOKENS)) + _O_DONE,
        "nothing but an end": _o_stream(),
        "empty choices": _event({"choices": [], "prompt_filter_results": []}) + _O_WHOLE,
        "CRLF": _O_WHOLE.replace(b"\n", b"\r\n"),
        "CR": _O_WHOLE.replace(b"\n", b"\r"),
        "data over several lines": _O_HI + _over_lines(_o({}, "stop", usage=TOKENS)) + _O_DONE,
        "comments, ids and retry times": b": hello\n\nid: 1\nretry: 5\n" + _O_WHOLE,
        "nothing after the end counts": _O_WHOLE + _event(_o({"content": "x"})) + _O_ERROR,
        "closed early": _O_HI,
        "closed inside an event": _O_HI + _event(_o({"content": "x"}))[:-1],
        "error first": _O_ERROR,
        "error mid-stream": _O_HI + _O_ERROR + _O_WHOLE,
        "not JSON": _O_HI + b"data: busy\n\n" + _O_WHOLE,
        "not an object": b"data: [1]\n\n",
    },
    answers={
        "text": _o_answer({"content": "Hello you"}, "stop"),
        "unicode": _o_answer({"content": TRICKY}, "stop"),
        "reasoning": _o_answer({"content": "4", "reasoning_content": "2 and 2"}, "stop"),
        "parallel tool calls behind text": _o_answer(
            {
                "content": "Let me see.",
                "tool_calls": _o_calls(("f", '{"x":1}'), ("g", '{"y":[2]}')),
            },
            "tool_calls",
        ),
        "a tool without arguments": _o_answer({"tool_calls": _o_calls(("f", "{}"))}, "tool_calls"),
        "refusal": _o_answer({"content": "I"}, "content_filter"),
        "length stop": _o_answer({"content": "Hel"}, "length"),
        "stop sequence": _o_answer({"content": "Hel"}, "stop"),
        "missing usage": _o_answer({"content": "Hi"}, "stop", None),
        "an error in a 200": b'{"error": {"message": "busy"}}',
        "empty choices": b'{"choices": []}',
        "not JSON": b"<html>",
        "not an object": b"[1]",
    },
    requests={
        **{name: REQUESTS[name] for name in ("text", "two-turn", "system", "stop sequences")},
        "tool results in order, with an image": REQUESTS["tool results in order, with an image"],
    },
    refusals={
        "error body": b'{"error": {"message": "Too long"}}',
        "not JSON": b"<html>",
        "a novel": orjson.dumps({"error": {"message": "x" * 9_000}}),
    },
)


# --- Anthropic --------------------------------------------------------------------------------


def _a(kind: str, **members: Any) -> bytes:
    return _event({"type": kind, **members}, kind)


_A_MESSAGE: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "upstream/acme-one",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
}
_A_START = _a(
    "message_start", message={**_A_MESSAGE, "usage": {"input_tokens": 10, "output_tokens": 1}}
)
_A_STOP = _a("message_stop")
_A_ERROR = _a("error", error={"type": "overloaded_error", "message": "Overloaded"})
_A_OPEN: Mapping[str, Json] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def _a_delta(at: int, kind: str, **members: str) -> bytes:
    return _a("content_block_delta", index=at, delta={"type": kind, **members})


def _a_block(at: int, block: Json, *deltas: bytes) -> bytes:
    start = _a("content_block_start", index=at, content_block=block)
    return start + b"".join(deltas) + _a("content_block_stop", index=at)


def _a_text(at: int, *pieces: str) -> bytes:
    deltas = (_a_delta(at, "text_delta", text=piece) for piece in pieces)
    return _a_block(at, _A_OPEN["text"], *deltas)


def _a_call(at: int, name: str, *fragments: str) -> bytes:
    block = {"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": {}}
    deltas = (_a_delta(at, "input_json_delta", partial_json=piece) for piece in ("", *fragments))
    return _a_block(at, block, *deltas)


def _a_change(reason: str | None = "end_turn") -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return _a("message_delta", delta=delta, usage={"output_tokens": 4})


def _a_stream(*blocks: bytes, reason: str = "end_turn") -> bytes:
    return _A_START + _a("ping") + b"".join(blocks) + _a_change(reason) + _A_STOP


def _a_answer(*blocks: Json, reason: str = "end_turn", usage: bool = True) -> bytes:
    body = {**_A_MESSAGE, "content": list(blocks), "stop_reason": reason}
    counts = {"usage": {"input_tokens": 10, "output_tokens": 4}} if usage else {}
    return orjson.dumps({**body, **counts})


def _a_said(text: str) -> Json:
    return {"type": "text", "text": text}


def _a_called(at: int, name: str, given: Json) -> Json:
    return {"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": given}


def _a_body(*messages: tuple[str, list[Json]], **members: Any) -> Json:
    return {"messages": [{"role": r, "content": blocks} for r, blocks in messages], **members}


_A_HI = _A_START + _a("content_block_start", index=0, content_block=_A_OPEN["text"])
_A_HI += _a_delta(0, "text_delta", text="Hi")
_A_WHOLE = _a_stream(_a_text(0, "Hi"))
_A_SILENT = {**_A_MESSAGE}
_A_SOURCE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
ANTHROPIC = Speaker(
    streams={
        "text": _a_stream(_a_text(0, "Hello", " you")),
        "unicode": _a_stream(_a_text(0, TRICKY)),
        "reasoning": _a_stream(
            _a_block(
                0,
                _A_OPEN["thinking"],
                _a_delta(0, "thinking_delta", thinking="2 and"),
                _a_delta(0, "thinking_delta", thinking=" 2"),
                _a_delta(0, "signature_delta", signature="AAAA"),
            ),
            _a_block(1, {"type": "redacted_thinking", "data": "AAAA"}),
            _a_text(2, "4"),
        ),
        "parallel tool calls behind text": _a_stream(
            _a_text(0, "Let me see."),
            _a_call(1, "f", '{"x"', ": 1}"),
            _a_call(2, "g", '{"y": [2]}'),
            reason="tool_use",
        ),
        "a tool without arguments": _a_stream(_a_call(0, "f"), reason="tool_use"),
        "refusal": _a_stream(_a_text(0, "I"), reason="refusal"),
        "length stop": _a_stream(_a_text(0, "Hel"), reason="max_tokens"),
        "stop sequence": _a_stream(_a_text(0, "Hel"), reason="stop_sequence"),
        "missing usage": _a("message_start", message=_A_SILENT)
        + _a_text(0, "Hi")
        + _a("message_delta", delta={"stop_reason": "end_turn"})
        + _A_STOP,
        # All counts come with the reason.
        "usage in a chunk with choices": _a("message_start", message=_A_SILENT)
        + _a_text(0, "Hi")
        + _a(
            "message_delta",
            delta={"stop_reason": "end_turn"},
            usage={"input_tokens": 10, "output_tokens": 4},
        )
        + _A_STOP,
        "nothing but an end": _a_stream(),
        # A change that changes nothing.
        "empty choices": _A_START + _a_text(0, "Hi") + _a_change(None) + _a_change() + _A_STOP,
        "CRLF": _A_WHOLE.replace(b"\n", b"\r\n"),
        "CR": _A_WHOLE.replace(b"\n", b"\r"),
        "data over several lines": _A_HI
        + _over_lines(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 4},
            },
            "message_delta",
        )
        + _A_STOP,
        "comments, ids and retry times": b": hello\n\nid: 1\nretry: 5\n" + _A_WHOLE,
        "nothing after the end counts": _A_WHOLE + _a_text(1, "x") + _A_ERROR,
        "closed early": _A_HI,
        "closed inside an event": _A_HI + _a_delta(0, "text_delta", text="x")[:-1],
        "error first": _A_ERROR,
        "error mid-stream": _A_HI + _A_ERROR + _a_change() + _A_STOP,
        "not JSON": _A_HI + b"data: busy\n\n" + _a_change() + _A_STOP,
        "not an object": b"data: [1]\n\n",
    },
    answers={
        "text": _a_answer(_a_said("Hello"), _a_said(" you")),
        "unicode": _a_answer(_a_said(TRICKY)),
        "reasoning": _a_answer(
            {"type": "thinking", "thinking": "2 and 2", "signature": "AAAA"},
            {"type": "redacted_thinking", "data": "AAAA"},
            _a_said("4"),
        ),
        "parallel tool calls behind text": _a_answer(
            _a_said("Let me see."),
            _a_called(1, "f", {"x": 1}),
            _a_called(2, "g", {"y": [2]}),
            reason="tool_use",
        ),
        "a tool without arguments": _a_answer(_a_called(0, "f", {}), reason="tool_use"),
        "refusal": _a_answer(_a_said("I"), reason="refusal"),
        "length stop": _a_answer(_a_said("Hel"), reason="max_tokens"),
        "stop sequence": _a_answer(_a_said("Hel"), reason="stop_sequence"),
        "missing usage": _a_answer(_a_said("Hi"), usage=False),
        "an error in a 200": b'{"type": "error", "error": {"message": "busy"}}',
        "empty choices": b'{"type": "message", "stop_reason": "end_turn"}',
        "not JSON": b"<html>",
        "not an object": b"[1]",
    },
    requests={
        "text": _a_body(("user", [_a_said("Hi")])),
        "two-turn": _a_body(
            ("user", [_a_said("Hi")]),
            ("assistant", [_a_said("Hello")]),
            ("user", [_a_said("Again")]),
        ),
        "system": _a_body(("user", [_a_said("Hi")]), system=[_a_said("Be brief.")]),
        "tool results in order, with an image": _a_body(
            ("user", [_a_said("Look")]),
            (
                "assistant",
                [
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": "c2", "name": "f", "input": {}},
                ],
            ),
            (
                "user",
                [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "image", "source": _A_SOURCE}],
                    },
                    {"type": "tool_result", "tool_use_id": "c2", "content": [_a_said("7")]},
                ],
            ),
            tools=[{"name": "f", "input_schema": {"type": "object"}}],
        ),
        "stop sequences": _a_body(("user", [_a_said("Hi")]), stop_sequences=["END"]),
    },
    refusals={
        "error body": b'{"type": "error", "error": {"type": "x", "message": "Too long"}}',
        "not JSON": b"<html>",
        "a novel": orjson.dumps({"type": "error", "error": {"message": "x" * 9_000}}),
    },
)
SPEAKERS: Mapping[str, Speaker] = {"openai": OPENAI, "anthropic": ANTHROPIC}
