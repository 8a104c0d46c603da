"""The application that `bench.streaming_runtime` runs in the loop, and calls without it.

It does next to nothing, so that what is measured is the loop.
"""

import asyncio
import json
import statistics
import time
from typing import Any

CHUNKS = 200
DIRECT_CALLS = 2000
ANSWER = json.dumps({"text": "x" * 1200}).encode()
CHUNK = b"data: " + json.dumps({"text": "x" * 140}).encode() + b"\n\n"
JSON_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"x-request-id", b"a")],
}
STREAM_HEAD = {**JSON_HEAD, "headers": [(b"content-type", b"text/event-stream")]}


_took_ns: list[int] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """One of four answers, by path."""
    if scope["type"] == "http":
        start_ns = time.perf_counter_ns()
        await receive()
        await _ANSWERS[scope["path"]](send)
        _took_ns.append(time.perf_counter_ns() - start_ns)


async def _json(send: Any) -> None:
    await send(JSON_HEAD)
    await send({"type": "http.response.body", "body": ANSWER})


async def _stream(send: Any) -> None:
    """Chunks that arrive one by one: the loop turns between two of them."""
    await send(STREAM_HEAD)
    for _ in range(CHUNKS):
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _figures(send: Any) -> None:
    """CPU so far, and the median time that the application was held since it was asked last."""
    figures = {"cpu_ns": time.process_time_ns(), "held_us": statistics.median(_took_ns) / 1000}
    _took_ns.clear()
    await send(JSON_HEAD)
    await send({"type": "http.response.body", "body": json.dumps(figures).encode()})


async def _direct(send: Any) -> None:
    """The median of calls without the loop, in microseconds, as JSON."""
    figures = {path: await _median_us(path) for path in ("/json", "/stream")}
    await send(JSON_HEAD)
    await send({"type": "http.response.body", "body": json.dumps(figures).encode()})


async def _median_us(path: str) -> float:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    _took_ns.clear()
    for _ in range(DIRECT_CALLS if path == "/json" else DIRECT_CALLS // 10):
        await app({"type": "http", "path": path}, receive, send)
    return statistics.median(_took_ns) / 1000


_ANSWERS = {"/json": _json, "/stream": _stream, "/figures": _figures, "/direct": _direct}
