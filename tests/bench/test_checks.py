"""Which answers the load client takes for right; every way to be wrong is a row."""

import orjson
import pytest

from bench.answers import SHAPES
from bench.checks import (
    ANTHROPIC,
    Answer,
    Check,
    check_burst,
    check_json,
    check_paced,
    first_chunk_ms,
)

SHAPE = SHAPES[b"/v1/chat/completions"]
CHUNKS = 5


def chunk(stamp: int) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"delta": {"content": f"T{stamp:019d} "}}]})


def stream(stamps: list[int], *, usage: bool = True, done: bool = True) -> bytes:
    events = [chunk(stamp) for stamp in stamps]
    if usage:
        events.append(b'data: {"choices":[],"usage":{"completion_tokens":400}}')
    if done:
        events.append(b"data: [DONE]")
    return b"\n\n".join(events) + b"\n\n"


def answer(body: bytes, status: int = 200) -> Answer:
    return Answer(status=status, sent_ns=0, done_ns=1, parts=[(1, body)])


def messages(stamps: list[int], *, usage: bool = True, done: bool = True) -> bytes:
    deltas = [{"type": "text_delta", "text": f"T{stamp:019d} "} for stamp in stamps]
    events: list[dict[str, object]] = [{"delta": delta} for delta in deltas]
    if usage:
        events.append({"usage": {"output_tokens": 400}})
    if done:
        events.append({"type": "message_stop"})
    return b"".join(b"event: x\ndata: " + orjson.dumps(event) + b"\n\n" for event in events)


NATIVE = check_burst(CHUNKS, ANTHROPIC)
BURST = check_burst(CHUNKS)
PACED = check_paced(CHUNKS)
PLAIN = SHAPE.plain.partition(b"\r\n\r\n")[2]

CASES: dict[str, tuple[Check, bytes, str | None]] = {
    "the whole JSON answer": (check_json, PLAIN, None),
    "JSON cut in its text": (check_json, PLAIN.replace(b"bench-end", b""), "the text is not whole"),
    "JSON without usage": (check_json, PLAIN.replace(b"completion_tokens", b"x"), "no usage"),
    "JSON with another usage": (check_json, PLAIN.replace(b":400", b":4000"), "no usage"),
    "the whole burst": (BURST, stream([0, 1, 2, 3, 4]), None),
    "a burst with a blank after colons": (
        BURST,
        stream([0, 1, 2, 3, 4]).replace(b'":', b'": '),
        None,
    ),
    "a burst with a chunk missing": (
        BURST,
        stream([0, 1, 3, 4]),
        "chunks missing or out of order: 4 came",
    ),
    "a burst with a chunk twice": (
        BURST,
        stream([0, 1, 2, 2, 3, 4]),
        "chunks missing or out of order: 6 came",
    ),
    "a burst with chunks swapped": (
        BURST,
        stream([0, 2, 1, 3, 4]),
        "chunks missing or out of order: 5 came",
    ),
    "a burst without usage": (BURST, stream([0, 1, 2, 3, 4], usage=False), "no usage"),
    "a burst without its end": (BURST, stream([0, 1, 2, 3, 4], done=False), "no end marker"),
    "the whole native burst": (NATIVE, messages([0, 1, 2, 3, 4]), None),
    "a native burst with a chunk missing": (
        NATIVE,
        messages([0, 1, 3, 4]),
        "chunks missing or out of order: 4 came",
    ),
    "a native burst without usage": (NATIVE, messages([0, 1, 2, 3, 4], usage=False), "no usage"),
    "a native burst without its end": (
        NATIVE,
        messages([0, 1, 2, 3, 4], done=False),
        "no end marker",
    ),
    "a burst in another dialect": (
        BURST,
        messages([0, 1, 2, 3, 4]),
        "chunks missing or out of order: 0 came",
    ),
    "the whole paced stream": (PACED, stream([10, 20, 30, 40, 50]), None),
    "a paced stream with a chunk twice": (
        PACED,
        stream([10, 20, 20, 40, 50]),
        "chunks missing or out of order: 5 came",
    ),
    "a paced stream that goes back": (
        PACED,
        stream([10, 30, 20, 40, 50]),
        "chunks missing or out of order: 5 came",
    ),
}


@pytest.mark.parametrize(("check", "body", "wrong"), CASES.values(), ids=CASES.keys())
def test_an_answer_is_right_only_when_all_of_it_is_there(
    check: Check, body: bytes, wrong: str | None
) -> None:
    assert check(answer(body)).wrong == wrong


REFUSALS = {
    "an error envelope gives its code": (
        b'{"error": {"code": "overloaded"}}',
        "status 503 overloaded",
    ),
    "a body that is no envelope stays out of the report": (b"canary text", "status 503"),
    "a code of another form stays out of the report": (b'{"code":"Canary text"}', "status 503"),
}


@pytest.mark.parametrize(("body", "wrong"), REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("check", [check_json, BURST, PACED], ids=["json", "burst", "paced"])
def test_a_refusal_is_wrong_and_named_by_status_and_code(
    check: Check, body: bytes, wrong: str
) -> None:
    assert check(answer(body, status=503)).wrong == wrong


def test_the_first_chunk_counts_from_the_send_to_the_part_that_ends_its_stamp() -> None:
    body = stream([7, 8])
    cut = body.index(b"T") + 5
    parts = [
        (2_000_000, body[:cut]),
        (5_000_000, body[cut : cut + 30]),
        (9_000_000, body[cut + 30 :]),
    ]
    late = Answer(status=200, sent_ns=1_000_000, done_ns=9_000_000, parts=parts)
    assert first_chunk_ms(late, body) == 4.0
