"""A fast, deterministic upstream on loopback: it decides nothing but JSON or stream.

Laws: a body is searched, never parsed, so that an answer costs tens of microseconds. With a gap
or a first delay a stream is paced by timers; without, it leaves in one write.

    POST <a path of answers.SHAPES>                       an answer
    POST /control?chunks=200&first_ms=0&gap_ms=0          the pace of all later streams
    GET  /counters                                        what it counted since its start
"""

import argparse
import asyncio
import time
from dataclasses import asdict, dataclass, field
from typing import cast
from urllib.parse import parse_qsl

import httptools
import orjson
import uvloop

from bench.answers import NOT_FOUND, SHAPES, STREAM_END, Shape, burst, http_answer

# The flags of a request stand near one end of its body; an image is not searched through.
SEARCH_WHOLE_BYTES_MAX = 65_536
SEARCH_END_BYTES = 4_096
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Pace:
    """How a stream leaves: so many content chunks, the first after a delay, then with a gap."""

    chunks: int = 200
    first_ms: float = 0.0
    gap_ms: float = 0.0

    @property
    def is_burst(self) -> bool:
        """Whether the whole stream leaves in one write."""
        return self.first_ms == 0 and self.gap_ms == 0


@dataclass(slots=True)
class Counters:
    """What happened since the start; `streams_open_max` since the last control request."""

    requests: int = 0
    connections: int = 0
    streams_open: int = 0
    streams_open_max: int = 0
    streams_cut: int = 0


@dataclass(slots=True)
class Upstream:
    """The state that all connections share."""

    pace: Pace = field(default_factory=Pace)
    counters: Counters = field(default_factory=Counters)
    bursts: dict[tuple[bytes, int, bool], bytes] = field(default_factory=dict)

    def burst(self, path: bytes, *, with_usage: bool) -> bytes:
        """The whole stream of one endpoint at the present pace, built once."""
        key = (path, self.pace.chunks, with_usage)
        if key not in self.bursts:
            self.bursts[key] = burst(SHAPES[path], chunks=key[1], with_usage=with_usage)
        return self.bursts[key]

    def control(self, query: bytes) -> bytes:
        """Set the pace of later streams and start the high-water mark again; the counters."""
        wanted = dict(parse_qsl(query.decode()))
        self.pace = Pace(
            chunks=int(wanted.get("chunks", 200)),
            first_ms=float(wanted.get("first_ms", 0)),
            gap_ms=float(wanted.get("gap_ms", 0)),
        )
        self.counters.streams_open_max = self.counters.streams_open
        return self.count()

    def count(self) -> bytes:
        """The counters as an HTTP answer."""
        return http_answer(orjson.dumps(asdict(self.counters)))


class PacedStream:
    """One stream on timers; every content chunk carries its own send time."""

    def __init__(self, upstream: Upstream, transport: asyncio.Transport, shape: Shape) -> None:
        self._upstream = upstream
        self._transport = transport
        self._shape = shape
        self._pace = upstream.pace
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._start_s = 0.0
        self._tail = b""

    def start(self, tail: bytes) -> None:
        """Send the head now and the rest on time."""
        counters = self._upstream.counters
        counters.streams_open += 1
        counters.streams_open_max = max(counters.streams_open_max, counters.streams_open)
        self._tail = tail
        self._start_s = self._loop.time() + self._pace.first_ms / 1000
        self._transport.write(self._shape.stream_head)
        self._timer = self._loop.call_at(self._start_s, self._step, 0)

    def cut(self) -> None:
        """Forget the rest; called when the peer has gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._upstream.counters.streams_cut += 1
            self._upstream.counters.streams_open -= 1

    def _step(self, number: int) -> None:
        if number == self._pace.chunks:
            self._timer = None
            self._upstream.counters.streams_open -= 1
            self._transport.write(self._tail + STREAM_END)
            return
        self._transport.write(self._shape.content(time.monotonic_ns()))
        due_s = self._start_s + self._pace.gap_ms / 1000 * (number + 1)
        self._timer = self._loop.call_at(due_s, self._step, number + 1)


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one after the other."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._parser = httptools.HttpRequestParser(self)
        self._stream: PacedStream | None = None
        self._transport: asyncio.Transport
        self._target = b""
        self._parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # A TCP transport of uvloop writes, but is no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.counters.connections += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        """Called by the event loop."""
        if self._stream is not None:
            self._stream.cut()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, part: bytes) -> None:
        """Called by the parser."""
        self._target += part

    def on_header(self, name: bytes, _value: bytes) -> None:
        """Called by the parser."""
        if name.lower() == b"expect":
            self._transport.write(_CONTINUE)

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Called by the parser: answer."""
        target, body = self._target, b"".join(self._parts)
        self._target, self._parts = b"", []
        path, _, query = target.partition(b"?")
        if path == b"/control":
            self._transport.write(self._upstream.control(query))
        elif path == b"/counters":
            self._transport.write(self._upstream.count())
        elif path in SHAPES:
            self._upstream.counters.requests += 1
            self._answer(path, body)
        else:
            self._transport.write(NOT_FOUND)

    def _answer(self, path: bytes, body: bytes) -> None:
        ends = searched_part(body)
        if not is_set(ends, b"stream"):
            self._transport.write(SHAPES[path].plain)
            return
        with_usage = is_set(ends, b"include_usage")
        if self._upstream.pace.is_burst:
            self._transport.write(self._upstream.burst(path, with_usage=with_usage))
            return
        shape = SHAPES[path]
        self._stream = PacedStream(self._upstream, self._transport, shape)
        self._stream.start(shape.tail_with_usage if with_usage else shape.tail)


def searched_part(body: bytes) -> bytes:
    """The bytes in which the flags of a request stand."""
    if len(body) <= SEARCH_WHOLE_BYTES_MAX:
        return body
    return body[:SEARCH_END_BYTES] + body[-SEARCH_END_BYTES:]


def is_set(body: bytes, name: bytes) -> bool:
    """Whether a JSON text has the member `name: true`, with or without the usual blank."""
    return b'"%b":true' % name in body or b'"%b": true' % name in body


async def serve(port: int) -> None:
    """Listen on loopback until the process ends."""
    loop, upstream = asyncio.get_running_loop(), Upstream()
    server = await loop.create_server(
        lambda: Connection(upstream), "127.0.0.1", port, backlog=2_048
    )
    async with server:
        await server.serve_forever()


def main() -> None:
    """Entry point of `python -m bench.fake_upstream --port N`."""
    parser = argparse.ArgumentParser(description="Fast deterministic upstream on loopback.")
    parser.add_argument("--port", type=int, required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
