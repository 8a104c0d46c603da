"""What the Anthropic dialect's decoder and answers do beside what conformance.py asks of all."""

from typing import Any

import orjson
import pytest

from phigate.adapters import ADAPTERS
from phigate.core.limits import EVENT_BYTES_MAX
from phigate.core.types import Json
from phigate.wire.anthropic.answer import ANSWER_TOOL

ANTHROPIC = ADAPTERS["anthropic"]


def event(kind: str, **members: Any) -> bytes:
    data = orjson.dumps({"type": kind, **members})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def start(**usage: Any) -> bytes:
    message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    return event("message_start", message={**message, "usage": usage})


def opened(at: int, **block: Any) -> bytes:
    return event("content_block_start", index=at, content_block=block)


def delta(at: int, kind: str, **members: Any) -> bytes:
    return event("content_block_delta", index=at, delta={"type": kind, **members})


def closed(at: int) -> bytes:
    return event("content_block_stop", index=at)


def use(at: int, name: str = "f", **given: Any) -> bytes:
    return opened(at, type="tool_use", id=f"toolu_{at}", name=name, input=given)


def fragment(at: int, piece: str) -> bytes:
    return delta(at, "input_json_delta", partial_json=piece)


def end(reason: str = "end_turn", details: Json | None = None, **usage: Any) -> bytes:
    change = {"stop_reason": reason, "stop_details": details}
    return event("message_delta", delta=change, usage=usage) + event("message_stop")


HELD: Json = {"input_tokens": 10, "output_tokens": 1}
ROLE = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}


def said(**member: Any) -> Json:
    return {"delta": member, "finish_reason": None}


def finished(reason: str, raw: str, **member: Any) -> Json:
    return {"delta": member, "finish_reason": reason, "raw_finish_reason": raw}


def begun(index: int, at: int, name: str = "f") -> Json:
    call = {"index": index, "id": f"toolu_{at}", "type": "function"}
    return said(tool_calls=[{**call, "function": {"name": name, "arguments": ""}}])


def more(index: int, arguments: str) -> Json:
    return said(tool_calls=[{"index": index, "function": {"arguments": arguments}}])


def usage(tokens_in: int, tokens_out: int, read: int = 0, written: int = 0) -> Json:
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }


STOP = finished("stop", "end_turn")
CALLS = finished("tool_calls", "tool_use")
# A stream; the choices of its chunks; the usage of its last chunk.
STREAMS: dict[str, tuple[bytes, list[Json], Json | None]] = {
    "text that a block starts with": (
        start(**HELD) + opened(0, type="text", text="Hi") + closed(0) + end(output_tokens=2),
        [ROLE, said(content="Hi"), STOP],
        usage(10, 2),
    ),
    "calls count apart from the blocks before them": (
        start(**HELD)
        + opened(0, type="thinking", thinking="", signature="")
        + delta(0, "thinking_delta", thinking="Hm")
        + delta(0, "signature_delta", signature="AA")
        + closed(0)
        + opened(1, type="text", text="")
        + delta(1, "text_delta", text="Look")
        + closed(1)
        + use(2)
        + fragment(2, "")
        + fragment(2, '{"x":')
        + fragment(2, "1}")
        + closed(2)
        + use(3, "g")
        + closed(3)
        + end("tool_use", output_tokens=9),
        [
            ROLE,
            said(reasoning_content="Hm"),
            said(content="Look"),
            begun(0, 2),
            more(0, '{"x":'),
            more(0, "1}"),
            begun(1, 3, "g"),
            more(1, "{}"),
            CALLS,
        ],
        usage(10, 9),
    ),
    "an input that comes whole": (
        start(**HELD) + use(0, x=1) + closed(0) + end("tool_use", output_tokens=9),
        [ROLE, begun(0, 0), more(0, '{"x":1}'), CALLS],
        usage(10, 9),
    ),
    "blocks that take turns": (
        start(**HELD)
        + use(0)
        + use(1, "g")
        + fragment(1, "{")
        + fragment(0, "{")
        + fragment(1, "}")
        + fragment(0, "}")
        + closed(0)
        + closed(1)
        + end("tool_use", output_tokens=9),
        [
            ROLE,
            begun(0, 0),
            begun(1, 1, "g"),
            more(1, "{"),
            more(0, "{"),
            more(1, "}"),
            more(0, "}"),
            CALLS,
        ],
        usage(10, 9),
    ),
    "the answer tool's input is content": (
        start(**HELD)
        + use(0, ANSWER_TOOL)
        + fragment(0, '{"x"')
        + fragment(0, ":1}")
        + closed(0)
        + end("tool_use", output_tokens=9),
        [ROLE, said(content='{"x"'), said(content=":1}"), finished("stop", "tool_use")],
        usage(10, 9),
    ),
    "an empty answer of the answer tool": (
        start(**HELD) + use(0, ANSWER_TOOL) + closed(0) + end("tool_use", output_tokens=9),
        [ROLE, said(content="{}"), finished("stop", "tool_use")],
        usage(10, 9),
    ),
    "a call, an answer and another answer": (
        start(**HELD)
        + use(0)
        + closed(0)
        + use(1, ANSWER_TOOL)
        + fragment(1, "{}")
        + closed(1)
        + use(2, ANSWER_TOOL)
        + fragment(2, '{"again":1}')
        + closed(2)
        + end("tool_use", output_tokens=9),
        [ROLE, begun(0, 0), more(0, "{}"), said(content="{}"), CALLS],
        usage(10, 9),
    ),
    "a refusal with its reason": (
        start(**HELD)
        + end("refusal", {"type": "refusal", "explanation": "Not this."}, output_tokens=2),
        [ROLE, finished("content_filter", "refusal", refusal="Not this.")],
        usage(10, 2),
    ),
    "a refusal without a reason": (
        start(**HELD) + end("refusal", {"type": "refusal", "explanation": None}, output_tokens=2),
        [ROLE, finished("content_filter", "refusal")],
        usage(10, 2),
    ),
    "a full context": (
        start(**HELD) + end("model_context_window_exceeded", output_tokens=2),
        [ROLE, finished("length", "model_context_window_exceeded")],
        usage(10, 2),
    ),
    "a reason of next year": (
        start(**HELD) + end("tired", output_tokens=2),
        [ROLE, finished("stop", "tired")],
        usage(10, 2),
    ),
    "kinds of next year are passed over": (
        start(**HELD)
        + event("weather", sun=True)
        + opened(0, type="dance", steps=[])
        + delta(0, "step_delta", step=1)
        + fragment(0, "{")
        + closed(0)
        + end(output_tokens=2),
        [ROLE, STOP],
        usage(10, 2),
    ),
    "usage comes in parts, the later one counts": (
        start(
            input_tokens=10,
            cache_creation_input_tokens=3,
            cache_read_input_tokens=5,
            output_tokens=1,
            inference_geo="us",
        )
        + end(
            output_tokens=20,
            input_tokens=11,
            cache_read_input_tokens=None,
            output_tokens_details={"thinking_tokens": 7},
        ),
        [ROLE, STOP],
        {
            **usage(19, 20, read=5, written=3),
            "completion_tokens_details": {"reasoning_tokens": 7},
            "inference_geo": "us",
        },
    ),
    "output that is counted at the start alone is not usage": (
        start(**HELD)
        + event("message_delta", delta={"stop_reason": "end_turn"})
        + event("message_stop"),
        [ROLE, STOP],
        None,
    ),
    "input that is not counted is not usage": (
        start() + end(output_tokens=2),
        [ROLE, STOP],
        None,
    ),
}


@pytest.mark.parametrize(("stream", "choices", "counted"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["byte by byte", "in sevens", "whole"])
def test_a_stream_decodes_to(
    stream: bytes, choices: list[Json], counted: Json | None, size: int
) -> None:
    decoder = ANTHROPIC.decoder()
    chunks = [c for at in range(0, len(stream), size) for c in decoder.feed(stream[at : at + size])]
    assert (decoder.ended, decoder.failed) == (True, None)
    if counted is not None:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"] == counted
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert not any("usage" in chunk for chunk in chunks)
    assert [chunk["choices"] for chunk in chunks] == [[{"index": 0, **one}] for one in choices]


MALFORMED: dict[str, bytes] = {
    "no type": b'data: {"index": 0}\n\n',
    "a type that is a list": b'data: {"type": []}\n\n',
    "a start without a message": event("message_start"),
    "a delta that is text": event("content_block_delta", index=0, delta="x"),
    "text that is a number": delta(0, "text_delta", text=1),
    "a fragment that is an object": use(0) + delta(0, "input_json_delta", partial_json={}),
    "a call without a name": opened(0, type="tool_use", id="1", input={}),
    "a call whose id is a number": opened(0, type="tool_use", id=1, name="f", input={}),
    "an input that is a list": opened(0, type="tool_use", id="1", name="f", input=[1]),
    "a change without a delta": event("message_delta"),
    "a reason that is a number": event("message_delta", delta={"stop_reason": 1}),
    "usage that is a list": event("message_delta", delta={}, usage=[1]),
    "an end without a reason": event("message_stop"),
    "not UTF-8": b'data: {"type": "ping", "x": "\xff"}\n\n',
}


@pytest.mark.parametrize("broken", MALFORMED.values(), ids=MALFORMED)
def test_a_misshapen_event_fails_the_stream_after_what_came_before(broken: bytes) -> None:
    decoder = ANTHROPIC.decoder()
    chunks = decoder.feed(start(**HELD) + broken + end(output_tokens=1))
    assert chunks[0]["choices"] == [{"index": 0, **ROLE}]
    assert (decoder.ended, decoder.failed) == (False, "malformed")
    assert decoder.feed(end(output_tokens=1)) == []


@pytest.mark.parametrize("kind", ["overloaded_error", "api_error"])
def test_an_error_event_is_a_failure_whatever_its_kind(kind: str) -> None:
    decoder = ANTHROPIC.decoder()
    error = {"type": kind, "message": "Overloaded"}
    assert decoder.feed(event("ping") + event("error", error=error) + start(**HELD)) == []
    assert (decoder.ended, decoder.failed) == (False, "error_event")


def test_an_oversized_event_fails_the_stream() -> None:
    decoder = ANTHROPIC.decoder()
    decoder.feed(start(**HELD))
    assert decoder.feed(b"data: " + b"x" * EVENT_BYTES_MAX + b"\n\n") == []
    assert (decoder.ended, decoder.failed) == (False, "oversized")


def test_each_decoder_starts_afresh() -> None:
    ANTHROPIC.decoder().feed(start(**HELD) + end(output_tokens=1))
    assert not ANTHROPIC.decoder().ended


# --- Whole answers ----------------------------------------------------------------------------


def body(*blocks: Json, reason: str = "end_turn", **members: Any) -> Json:
    held = {"input_tokens": 10, "output_tokens": 2}
    return {
        "type": "message",
        "content": list(blocks),
        "stop_reason": reason,
        "usage": held,
        **members,
    }


TEXT = {"type": "text", "text": "Hi", "citations": None}
ANSWERED = {"type": "tool_use", "id": "toolu_0", "name": ANSWER_TOOL, "input": {"x": 1}}
CALLED = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
A_CALL = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
# A body, the message it comes to, the two finish reasons.
ANSWERS: dict[str, tuple[Json, Json, tuple[str, str]]] = {
    "text": (body(TEXT), {"content": "Hi"}, ("stop", "end_turn")),
    "nothing": (body(), {"content": ""}, ("stop", "end_turn")),
    "a call": (
        body(CALLED, reason="tool_use"),
        {"content": None, "tool_calls": [A_CALL]},
        ("tool_calls", "tool_use"),
    ),
    "the answer tool": (
        body(ANSWERED, reason="tool_use"),
        {"content": '{"x":1}'},
        ("stop", "tool_use"),
    ),
    "the answer tool, twice, behind text": (
        body(TEXT, ANSWERED, {**ANSWERED, "input": {}}, reason="tool_use"),
        {"content": '{"x":1}'},
        ("stop", "tool_use"),
    ),
    "the answer tool beside a call": (
        body(ANSWERED, CALLED, reason="tool_use"),
        {"content": '{"x":1}', "tool_calls": [A_CALL]},
        ("tool_calls", "tool_use"),
    ),
    "a refusal with its reason": (
        body(reason="refusal", stop_details={"type": "refusal", "explanation": "Not this."}),
        {"content": "", "refusal": "Not this."},
        ("content_filter", "refusal"),
    ),
    "blocks of next year": (
        body({"type": "dance"}, TEXT),
        {"content": "Hi"},
        ("stop", "end_turn"),
    ),
}


@pytest.mark.parametrize(("came", "message", "reasons"), ANSWERS.values(), ids=ANSWERS)
def test_a_whole_answer_comes_to(came: Json, message: Json, reasons: tuple[str, str]) -> None:
    answer = ANTHROPIC.answer(orjson.dumps(came))
    assert answer is not None
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": reasons[0],
        "raw_finish_reason": reasons[1],
    }
    assert answer["choices"] == [choice]
    assert answer["usage"] == usage(10, 2)


NO_ANSWERS: dict[str, Any] = {
    "another type": {**body(TEXT), "type": "completion"},
    "no reason": body(TEXT, stop_reason=None),
    "content that is text": body(content="Hi"),
    "a block that is text": body(content=["Hi"]),
    "text that is a number": body({"type": "text", "text": 1}),
    "an input that is text": body({**CALLED, "input": "{}"}),
    "an input deeper than can be written": None,
}
DEEP = b'{"type":"message","stop_reason":"tool_use","content":[{"type":"tool_use","id":"1",'
DEEP += b'"name":"f","input":{"x":' + b"[" * 300 + b"]" * 300 + b"}}]}"


@pytest.mark.parametrize("came", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_a_misshapen_answer_is_none(came: Any) -> None:
    assert ANTHROPIC.answer(DEEP if came is None else orjson.dumps(came)) is None


@pytest.mark.parametrize("count", [-1, 10**12])
def test_absurd_counts_pass_so_that_the_meter_can_refuse_them(count: int) -> None:
    answer = ANTHROPIC.answer(orjson.dumps(body(TEXT, usage={**HELD, "input_tokens": count})))
    assert answer is not None
    assert answer["usage"]["prompt_tokens"] == count
