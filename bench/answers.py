"""The bytes that the fake upstream answers with, one `Shape` per dialect.

Everything that does not depend on the request is built once, so that an answer costs a write.
A content chunk carries a stamp, `T` and 19 digits: its number in a burst, its send time in
monotonic nanoseconds when paced. A dialect is one more row in SHAPES.
"""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

STAMP_DIGITS = 19
TEXT_END = "bench-end"
_WORDS = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed")
_TEXT = " ".join(_WORDS[i % len(_WORDS)] for i in range(150)) + f" {TEXT_END}"
# Within what a text of this length can take and under the request's max_tokens: a gateway that
# checks the reported usage finds nothing to correct.
_USAGE = {"prompt_tokens": 260, "completion_tokens": 400, "total_tokens": 660}
_ANTHROPIC_USAGE = {
    "input_tokens": 260,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 400,
    "service_tier": "standard",
}
_JSON_TYPE = b"application/json"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Shape:
    """One dialect's answers: `plain` whole; a stream as head, contents and one of two tails."""

    plain: bytes
    stream_head: bytes
    content: Callable[[int], bytes]
    tail: bytes
    tail_with_usage: bytes


def http_answer(body: bytes, content_type: bytes = _JSON_TYPE) -> bytes:
    """A whole HTTP/1.1 200 answer that keeps the connection open."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (content_type, len(body)) + body


def http_chunk(body: bytes) -> bytes:
    """One chunk of the chunked transfer coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def burst(shape: Shape, *, chunks: int, with_usage: bool) -> bytes:
    """A whole stream of `chunks` content chunks, numbered from 0, for one write."""
    tail = shape.tail_with_usage if with_usage else shape.tail
    contents = b"".join(shape.content(number) for number in range(chunks))
    return shape.stream_head + contents + tail + STREAM_END


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench-upstream",
        "system_fingerprint": "fp_bench",
        "choices": choices,
    }
    return http_chunk(b"data: " + orjson.dumps(chunk | more) + b"\n\n")


def _choice(delta: dict[str, object], finish_reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


def _stamped(event: Callable[[str], bytes]) -> Callable[[int], bytes]:
    """The events of one content chunk each, made from one event of a text."""
    blank = b"T" + b"0" * STAMP_DIGITS
    before, after = event(blank.decode() + " ").split(blank)
    return lambda stamp: b"%bT%019d%b" % (before, stamp, after)


def _openai() -> Shape:
    plain = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench-upstream",
        "system_fingerprint": "fp_bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _TEXT},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
    first = _event(_choice({"role": "assistant", "content": "", "refusal": None}))
    stop = _event(_choice({}, "stop"))
    done = http_chunk(b"data: [DONE]\n\n")
    return Shape(
        plain=http_answer(orjson.dumps(plain)),
        stream_head=_STREAM_HEAD + first,
        content=_stamped(lambda text: _event(_choice({"content": text}))),
        tail=stop + done,
        tail_with_usage=stop + _event([], usage=_USAGE) + done,
    )


def _anthropic_event(kind: str, **members: object) -> bytes:
    data = orjson.dumps({"type": kind, **members})
    return http_chunk(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))


def _anthropic_delta(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    return _anthropic_event("content_block_delta", index=0, delta=delta)


def _anthropic() -> Shape:
    """Usage comes unasked: most of it first, the tokens out again at the end."""
    message: dict[str, object] = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "bench-upstream",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _ANTHROPIC_USAGE | {"output_tokens": 1},
    }
    plain = message | {
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": "end_turn",
        "usage": _ANTHROPIC_USAGE,
    }
    change = {"stop_reason": "end_turn", "stop_sequence": None}
    block = {"type": "text", "text": ""}
    tail = (
        _anthropic_event("content_block_stop", index=0)
        + _anthropic_event("message_delta", delta=change, usage={"output_tokens": 400})
        + _anthropic_event("message_stop")
    )
    return Shape(
        plain=http_answer(orjson.dumps(plain)),
        stream_head=_STREAM_HEAD
        + _anthropic_event("message_start", message=message)
        + _anthropic_event("content_block_start", index=0, content_block=block)
        + _anthropic_event("ping"),
        content=_stamped(_anthropic_delta),
        tail=tail,
        tail_with_usage=tail,
    )


# Path of the endpoint to the shape of its answers.
SHAPES = {b"/v1/chat/completions": _openai(), b"/v1/messages": _anthropic()}
