"""The event-stream decoder by the standard: whole, byte by byte, and with a tail."""

import time

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.limits import EVENT_BYTES_MAX
from phigate.wire import sse
from phigate.wire.sse import Event, EventDecoder

# Bytes, and the events in them.
STREAMS: dict[str, tuple[bytes, list[Event]]] = {
    "nothing": (b"", []),
    "LF": (b"data: a\n\ndata: b\n\n", [Event(b"", b"a"), Event(b"", b"b")]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [Event(b"", b"a"), Event(b"", b"b")]),
    "CR": (b"data: a\r\rdata: b\r\r", [Event(b"", b"a"), Event(b"", b"b")]),
    "CR at the very end": (b"data: [DONE]\r\r", [Event(b"", b"[DONE]")]),
    "all three mixed": (
        b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\r",
        [Event(b"", b"a"), Event(b"", b"b"), Event(b"", b"c")],
    ),
    "CRLF after a CR is one more line end, not two": (
        b"data: a\r\r\ndata: b\n\n",
        [Event(b"", b"a"), Event(b"", b"b")],
    ),
    "no blank line, no event": (b"data: a\n", []),
    "data over several lines": (
        b"data: a\ndata: b\ndata:\ndata: c\n\n",
        [Event(b"", b"a\nb\n\nc")],
    ),
    "no space after the colon": (b"data:a\n\n", [Event(b"", b"a")]),
    "only the first space goes": (b"data:  a \n\n", [Event(b"", b" a ")]),
    "a tab stays": (b"data:\ta\n\n", [Event(b"", b"\ta")]),
    "a line without colon": (b"data\n\n", [Event(b"", b"")]),
    "colons in the data": (b'data: {"a": "b: c"}\n\n', [Event(b"", b'{"a": "b: c"}')]),
    "the event's name": (b"event: ping\ndata: a\n\n", [Event(b"ping", b"a")]),
    "the name does not stay": (
        b"event: x\ndata: a\n\ndata: b\n\n",
        [Event(b"x", b"a"), Event(b"", b"b")],
    ),
    "the last name counts": (b"event: x\nevent: y\ndata: a\n\n", [Event(b"y", b"a")]),
    "a name without data is no event": (b"event: x\n\ndata: a\n\n", [Event(b"", b"a")]),
    "comments": (b": ping\n\n:\n: phi {}\ndata: a\n: in between\n\n", [Event(b"", b"a")]),
    "id and retry": (b"id: 7\nretry: 10\ndata: a\n\n", [Event(b"", b"a")]),
    "unknown fields": (b"Data: a\n data: b\ndata : c\nx: y\ndata: d\n\n", [Event(b"", b"d")]),
    "many blank lines": (b"\n\n\ndata: a\n\n\n\n", [Event(b"", b"a")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [Event(b"", b"a")]),
    "only the first byte order mark goes": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
        [Event(b"", b"b")],
    ),
    "a stream that begins like a byte order mark": (
        b"\xef\xbbdata: a\n\ndata: b\n\n",
        [Event(b"", b"b")],
    ),
    "a byte order mark in the data": (
        "data: \ufeffa\ufeff\n\n".encode(),
        [Event(b"", "\ufeffa\ufeff".encode())],
    ),
    "separators that are no line ends": (
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n".encode(),
        [Event(b"", "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg".encode())],
    ),
    "a literal [DONE] inside JSON text": (
        b'data: {"content": "say data: [DONE]"}\n\n',
        [Event(b"", b'{"content": "say data: [DONE]"}')],
    ),
    "an escaped line end inside JSON text": (
        rb'data: {"content": "\n\ndata: [DONE]\n\n"}' + b"\n\n",
        [Event(b"", rb'{"content": "\n\ndata: [DONE]\n\n"}')],
    ),
    "bytes that are not UTF-8": (b"data: \xff\xfe\n\n", [Event(b"", b"\xff\xfe")]),
}


def decoded(pieces: list[bytes]) -> list[Event]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
def test_a_stream_fed_whole(stream: bytes, events: list[Event]) -> None:
    assert decoded([stream]) == events


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
def test_a_stream_fed_byte_by_byte(stream: bytes, events: list[Event]) -> None:
    assert decoded([bytes([byte]) for byte in stream]) == events


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
def test_a_stream_fed_in_two_pieces_however_cut(stream: bytes, events: list[Event]) -> None:
    for cut in range(len(stream) + 1):
        assert decoded([stream[:cut], b"", stream[cut:]]) == events


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
def test_a_tail_is_no_event_until_its_blank_line(stream: bytes, events: list[Event]) -> None:
    decoder = EventDecoder()
    assert decoder.feed(stream + b"\n\ndata: tail") == [*events, *_held(stream)]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\n") == [Event(b"", b"tail")]


def _held(stream: bytes) -> list[Event]:
    """The event that only the blank line before the tail completes."""
    return [Event(b"", b"a")] if stream == b"data: a\n" else []


def test_an_event_comes_with_the_byte_that_completes_it() -> None:
    decoder = EventDecoder()
    came = [bool(decoder.feed(bytes([byte]))) for byte in b"data: a\r\n\r\n"]
    assert came == [False] * 9 + [True, False]


# Pieces that together are over the limit of one event.
OVERSIZED: dict[str, list[bytes]] = {
    "one line in one piece": [b"data: " + b"x" * EVENT_BYTES_MAX + b"\n\n"],
    "a line that never ends": [b"data: "] + [b"x" * 65_536] * 17,
    "one line in 1 KB pieces": [b"data: "] + [b"x" * 1_024] * 1_025,
    "many lines of one event": [b"data: " + b"x" * 1_000 + b"\n"] * 1_100,
    "empty lines of data": [b"data:\n" * 1_000] * 1_100,
    "a comment that never ends": [b": "] + [b"x" * 65_536] * 17,
}


@pytest.mark.parametrize("pieces", OVERSIZED.values(), ids=OVERSIZED)
def test_an_event_over_the_limit_fails_the_attempt(pieces: list[bytes]) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        decoded(pieces)
    assert caught.value.outcome == "oversized"


def test_an_event_just_under_the_limit_passes() -> None:
    data = b"x" * (EVENT_BYTES_MAX - 1)
    assert decoded([b"data: " + data + b"\n\n"]) == [Event(b"", data)]


def test_many_events_together_may_be_over_the_limit_of_one() -> None:
    stream = (b"data: " + b"x" * 1_000 + b"\n\n") * 2_000
    assert len(decoded([stream])) == 2_000


def test_a_megabyte_may_come_in_single_bytes() -> None:
    data = b"x" * (EVENT_BYTES_MAX - 10)
    assert decoded([b"data: ", *([b"x"] * len(data)), b"\n\n"]) == [Event(b"", data)]


def cpu_s(size: int) -> float:
    pieces = [b"data: ", *([b"x"] * size), b"\n\n"]
    started_s = time.process_time()
    decoded(pieces)
    return time.process_time() - started_s


def test_single_bytes_do_not_cost_the_square() -> None:
    """Four times the bytes take four times as long; if all were read again, sixteen times."""
    quarter, whole = (min(cpu_s(size) for _ in range(3)) for size in (65_536, 262_144))
    assert whole < 8 * quarter


def test_what_we_write_is_read_as_written() -> None:
    written = sse.comment("phi", b'{"cost_micro":1}') + sse.PING + sse.data_event(b'{"a":1}')
    assert decoded([written + sse.DONE]) == [Event(b"", b'{"a":1}'), Event(b"", b"[DONE]")]
    assert sse.comment("phi", b"{}") == b": phi {}\n\n"
