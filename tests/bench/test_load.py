"""The load client against the real fake upstream and the real floor, on loopback sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import httptools
import orjson
import pytest

from bench.answers import SHAPES, http_answer
from bench.bodies import Endpoint, anthropic_body, image_body, text_body
from bench.checks import ANTHROPIC, Check, check_burst, check_json, check_paced
from bench.client import CLIENTS_PER_KEY, Load, Measured, key_of, run_load
from bench.fake_upstream import Connection, Pace, Upstream, is_set, searched_part
from bench.floor_proxy import rename_events
from phigate.wire.anthropic.stream import MessageDecoder

MAKE = Callable[[], asyncio.Protocol]


@asynccontextmanager
async def listening(make: MAKE) -> AsyncIterator[Endpoint]:
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


async def load(
    make: MAKE,
    body: bytes,
    check: Check,
    *,
    clients: int,
    requests: int,
    path: str = "/v1/chat/completions",
) -> Measured:
    async with listening(make) as endpoint:
        there = replace(endpoint, path=path)
        wanted = Load(there, body, check, clients, requests_max=requests, seconds_max=20)
        return await run_load(wanted)


def dechunked(coded: bytes) -> bytes:
    """The bytes of a few chunks of the chunked transfer coding."""
    plain = b""
    while coded:
        size, _, coded = coded.partition(b"\r\n")
        plain, coded = plain + coded[: int(size, 16)], coded[int(size, 16) + 2 :]
    return plain


STREAM = text_body(stream=True)
PACED = Pace(chunks=4, first_ms=2, gap_ms=1)
STORIES: dict[str, tuple[Pace, bytes, Check, int]] = {
    "JSON": (Pace(), text_body(stream=False), check_json, 0),
    "an image of 4 MB": (Pace(), image_body(), check_json, 0),
    "a stream in a burst": (Pace(chunks=7), STREAM, check_burst(7), 10),
    "a paced stream": (PACED, STREAM, check_paced(4), 10),
}


@pytest.mark.parametrize(("pace", "body", "check", "first_chunks"), STORIES.values(), ids=STORIES)
def test_every_answer_of_the_upstream_is_right_and_measured(
    pace: Pace, body: bytes, check: Check, first_chunks: int
) -> None:
    upstream = Upstream(pace=pace)
    make = partial(Connection, upstream)
    measured = asyncio.run(load(make, body, check, clients=2, requests=10))
    assert not measured.wrong
    assert len(measured.latencies_ms) == 10
    assert len(measured.first_chunks_ms) == first_chunks
    assert upstream.counters.requests == 10
    assert upstream.counters.connections == 2
    assert upstream.counters.streams_open == 0


MESSAGES = anthropic_body(stream=True)
NATIVE: dict[str, tuple[Pace, bytes, Check, int]] = {
    "JSON": (Pace(), anthropic_body(stream=False), partial(check_json, wording=ANTHROPIC), 0),
    "a stream in a burst": (Pace(chunks=7), MESSAGES, check_burst(7, ANTHROPIC), 10),
    "a paced stream": (PACED, MESSAGES, check_paced(4, ANTHROPIC), 10),
}


@pytest.mark.parametrize(("pace", "body", "check", "first_chunks"), NATIVE.values(), ids=NATIVE)
def test_the_upstream_speaks_anthropics_dialect_at_its_path(
    pace: Pace, body: bytes, check: Check, first_chunks: int
) -> None:
    make = partial(Connection, Upstream(pace=pace))
    told = load(make, body, check, clients=2, requests=10, path="/v1/messages")
    measured = asyncio.run(told)
    assert not measured.wrong
    assert len(measured.first_chunks_ms) == first_chunks


MESSAGES_SHAPE = SHAPES[b"/v1/messages"]


def test_the_gateways_own_decoder_reads_the_upstreams_stream_without_a_fault() -> None:
    decoder = MessageDecoder()
    stream = b"".join(
        dechunked(part)
        for part in (
            MESSAGES_SHAPE.stream_head.partition(b"\r\n\r\n")[2],
            MESSAGES_SHAPE.content(7),
            MESSAGES_SHAPE.tail,
        )
    )
    chunks = decoder.feed(stream)
    assert decoder.ended
    assert decoder.failed is None
    assert chunks[1]["choices"][0]["delta"]["content"] == "T0000000000000000007 "
    assert chunks[-1]["usage"]["completion_tokens"] == 400


def test_paced_streams_stand_open_at_once_and_the_upstream_counts_them() -> None:
    upstream = Upstream(pace=Pace(chunks=3, first_ms=30, gap_ms=30))
    done = load(partial(Connection, upstream), STREAM, check_paced(3), clients=20, requests=20)
    assert len(asyncio.run(done).latencies_ms) == 20
    assert upstream.counters.streams_open_max == 20


def test_control_sets_the_pace_and_begins_the_high_water_mark_again() -> None:
    upstream = Upstream()
    upstream.counters.streams_open_max = 9
    counters = orjson.loads(upstream.control(b"chunks=3&first_ms=5&gap_ms=2").split(b"\r\n\r\n")[1])
    assert upstream.pace == Pace(chunks=3, first_ms=5, gap_ms=2)
    assert counters["streams_open_max"] == 0


class Lying(asyncio.Protocol):
    """Answers every request with the same bytes, and hangs up where it is told to."""

    def __init__(self, answer: bytes, *, hangs_up: bool) -> None:
        self._answer = answer
        self._hangs_up = hangs_up
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(self._answer)
        if self._hangs_up:
            self._transport.close()


SHAPE = SHAPES[b"/v1/chat/completions"]
LIES = {
    "a wrong text": (http_answer(b"{}"), False, "the text is not whole"),
    "a cut answer": (SHAPE.plain[:-9], True, "ConnectionError"),
    "no HTTP": (b"canary\r\n\r\n", False, "HttpParserError"),
}


@pytest.mark.parametrize(("answer", "hangs_up", "wrong"), LIES.values(), ids=LIES.keys())
def test_a_lying_target_is_counted_by_kind_and_never_measured(
    answer: bytes, hangs_up: bool, wrong: str
) -> None:
    body = text_body(stream=False)
    make = partial(Lying, answer, hangs_up=hangs_up)
    measured = asyncio.run(load(make, body, check_json, clients=1, requests=3))
    assert measured.latencies_ms == []
    assert list(measured.wrong) == [wrong]
    assert measured.requests == 3


def test_clients_share_one_key_until_its_account_holds_enough() -> None:
    keys = ("a", "b")
    chosen = [key_of(keys, client) for client in range(3 * CLIENTS_PER_KEY)]
    assert chosen == ["a"] * CLIENTS_PER_KEY + ["b"] * CLIENTS_PER_KEY + ["a"] * CLIENTS_PER_KEY


FLAGS = {
    "set": (b'{"stream":true}', True),
    "set with a blank": (b'{"stream": true}', True),
    "false": (b'{"stream":false}', False),
    "only the options": (b'{"stream_options":{"include_usage":true}}', False),
}


@pytest.mark.parametrize(("body", "stream"), FLAGS.values(), ids=FLAGS.keys())
def test_a_flag_is_set_only_when_it_says_true(body: bytes, stream: bool) -> None:
    assert is_set(body, b"stream") is stream


def test_a_flag_is_found_at_either_end_of_a_long_body() -> None:
    filling = b"x" * 100_000
    assert is_set(searched_part(b'{"stream":true,' + filling), b"stream")
    assert is_set(searched_part(filling + b'"stream":true}'), b"stream")


async def through_floor(parts: list[bytes]) -> bytes:
    async def source() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return b"".join([part async for part in rename_events(source())])


def test_the_floor_renames_every_event_however_the_stream_is_cut() -> None:
    events = [b'data: {"model":"bench-upstream","n":%d}\n\n' % number for number in range(3)]
    whole = b"".join(events) + b"data: [DONE]\n\n"
    wanted = whole.replace(b"bench-upstream", b"gemma-4")
    assert asyncio.run(through_floor([whole])) == wanted
    assert asyncio.run(through_floor([whole[i : i + 1] for i in range(len(whole))])) == wanted
    assert asyncio.run(through_floor([whole, b"data: {"])) == wanted
