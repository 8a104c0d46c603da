"""What the server and the supervisor make of bytes from the other side."""

import json
from typing import Any

import pytest

from sandbox_fargate.answers import Answer, read_answer
from sandbox_fargate.policy import load_policy
from sandbox_fargate.runner import wire
from sandbox_fargate.runner.capture import Kept
from sandbox_fargate.runner.child import read_done

CAPS = load_policy().caps
SIZES = {wire.WARM: 0, wire.RESULT: 100}

STREAMS = (
    ("one frame", wire.pack(wire.RESULT, b"abc"), [(wire.RESULT, b"abc")]),
    ("an empty frame", wire.pack(wire.WARM, b""), [(wire.WARM, b"")]),
    (
        "two frames",
        wire.pack(wire.WARM, b"") + wire.pack(wire.RESULT, b"x" * 100),
        [(wire.WARM, b""), (wire.RESULT, b"x" * 100)],
    ),
)


@pytest.mark.parametrize(("name", "stream", "frames"), STREAMS)
def test_frames_come_out_whole_or_one_byte_at_a_time_and_with_a_tail(
    name: str, stream: bytes, frames: list[tuple[bytes, bytes]]
) -> None:
    assert wire.FrameBuffer(SIZES).feed(stream) == frames
    buffer = wire.FrameBuffer(SIZES)
    pieces = [buffer.feed(stream[place : place + 1]) for place in range(len(stream))]
    assert [frame for found in pieces for frame in found] == frames
    assert wire.FrameBuffer(SIZES).feed(stream + wire.RESULT) == frames


GARBAGE = (
    ("an unknown kind", wire.pack(b"Z", b"")),
    ("a frame that is too long", wire.HEAD.pack(wire.RESULT, 101)),
    ("a payload where there is none", wire.pack(wire.WARM, b"x")),
    ("text", b"hello world"),
)


@pytest.mark.parametrize(("name", "stream"), GARBAGE)
def test_garbage_is_named(name: str, stream: bytes) -> None:
    with pytest.raises(wire.GarbageError):
        wire.FrameBuffer(SIZES).feed(stream)


GOOD: dict[str, Any] = {
    "exit_code": 0,
    "stdout": "a",
    "stderr": "",
    "value": None,
    "figures": ["<svg></svg>"],
    "limits": ["wall"],
}


def test_good_result_is_an_answer() -> None:
    assert read_answer(json.dumps(GOOD).encode(), CAPS) == Answer(
        exit_code=0, stdout="a", figures=("<svg></svg>",), limits=("wall",)
    )


def test_lone_surrogate_in_a_result_is_written_out() -> None:
    answer = read_answer(json.dumps({**GOOD, "value": "\ud800"}).encode("ascii"), CAPS)
    assert answer.value == "\\ud800"


# A supervisor that somebody took over may say anything.
FORGED: tuple[tuple[str, Any], ...] = (
    ("no object", []),
    ("nothing", {}),
    ("an exit code that is a text", {**GOOD, "exit_code": "0"}),
    ("an exit code that is a boolean", {**GOOD, "exit_code": True}),
    ("an exit code out of range", {**GOOD, "exit_code": 256}),
    ("a stream that is a list", {**GOOD, "stdout": ["a"]}),
    ("a stream that is too long", {**GOOD, "stdout": "x" * 70_000}),
    ("a value that is a number", {**GOOD, "value": 1}),
    ("a value that is too long", {**GOOD, "value": "x" * 70_000}),
    ("figures that are a text", {**GOOD, "figures": "<svg></svg>"}),
    ("a figure that is a number", {**GOOD, "figures": [1]}),
    ("a figure that is too large", {**GOOD, "figures": ["x" * 2_000_001]}),
    ("a figure with an image", {**GOOD, "figures": ["<svg><image/></svg>"]}),
    ("a figure that is no Unicode", {**GOOD, "figures": ["\ud800"]}),
    ("too many figures", {**GOOD, "figures": ["<svg/>"] * 11}),
    ("a limit without a name", {**GOOD, "limits": ["root"]}),
    ("a limit that is a list", {**GOOD, "limits": [["wall"]]}),
    ("limits that are a text", {**GOOD, "limits": "wall"}),
)


@pytest.mark.parametrize(("name", "forged"), FORGED)
def test_forged_result_is_garbage(name: str, forged: object) -> None:
    with pytest.raises(wire.GarbageError):
        read_answer(json.dumps(forged).encode("ascii"), CAPS)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[" * 100_000, b"1", b"null"])
def test_what_is_no_json_object_is_garbage(payload: bytes) -> None:
    with pytest.raises(wire.GarbageError):
        read_answer(payload, CAPS)
    with pytest.raises(wire.GarbageError):
        read_done(payload)


def test_head_is_kept_and_the_cut_is_said() -> None:
    kept = Kept(4, tail=False)
    for piece in (b"ab", b"cdef", b"g"):
        kept.feed(piece)
    assert kept.cut
    assert kept.text() == "abcd\n[3 bytes left out: output is cut at 4 bytes]\n"


def test_tail_is_kept_and_the_cut_is_said() -> None:
    kept = Kept(4, tail=True)
    for piece in (b"ab", b"cdef", b"ghijklm"):
        kept.feed(piece)
    assert kept.text() == "[9 bytes left out: output is cut at 4 bytes]\njklm"


@pytest.mark.parametrize("tail", [True, False])
def test_short_output_is_whole(tail: bool) -> None:
    kept = Kept(4, tail=tail)
    kept.feed(b"abcd")
    assert not kept.cut
    assert kept.text() == "abcd"
