"""`python -m bench.streaming_runtime`: what the Lambda loop adds to a call of the application.

This process is the Runtime API, with blocking sockets; the loop runs in another, as on Lambda. An
invocation lasts from the event's last byte to the next GET. A chunk costs what the application is
held longer by the loop's `send` than by one that does nothing: its way to this process is not the
loop's. The exit code is 0 whatever the figures are, and 1 when an answer was wrong.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.runtime_app import CHUNKS

ROOT = Path(__file__).parents[1]
WRAPPER = ROOT / "layers" / "streaming_runtime" / "streaming-runtime"
WARM_UP = 300
CALLS = {"/json": 3000, "/stream": 300}
ADDED_US_MAX = 500.0
ADDED_PER_CHUNK_US_MAX = 10.0
READ_BYTES = 1 << 16
BODY = json.dumps({"messages": [{"role": "user", "content": "x" * 1000}]})


class Api:
    """One connection of the loop."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left = b""
        self._until(b"\r\n\r\n")  # the first GET

    def invoke(self, path: str) -> tuple[bytes, float, float]:
        """Answer of one invocation, microseconds to its end and to the next GET."""
        event = _event(path)
        head = (
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 60_000}\r\n"
            f"Content-Length: {len(event)}\r\n\r\n"
        )
        message = head.encode() + event
        start_ns = time.perf_counter_ns()
        self._connection.sendall(message)
        answer = self._until(b"\r\n0\r\n\r\n")
        ended_ns = time.perf_counter_ns()
        self._connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        self._until(b"\r\n\r\n")
        asked_ns = time.perf_counter_ns()
        return answer, (ended_ns - start_ns) / 1000, (asked_ns - start_ns) / 1000

    def _until(self, end: bytes) -> bytes:
        pieces, tail = [self._left], self._left
        while not tail.endswith(end):
            piece = self._connection.recv(READ_BYTES)
            if not piece:
                raise ConnectionError
            pieces.append(piece)
            tail = tail[-len(end) :] + piece
        return b"".join(pieces)


def main() -> int:
    """Measure and print; the exit code."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = _start(server.getsockname()[1])
        try:
            connection, _ = server.accept()
            with connection:
                return _measure(Api(connection))
        finally:
            child.terminate()
            child.wait()


def _measure(api: Api) -> int:
    direct = json.loads(_body(api.invoke("/direct")[0]))
    print("p50 in microseconds\n\n| answer | direct | held | to the end | to the next GET | CPU |")
    print("|---|---|---|---|---|---|")
    added, held, is_right = {}, {}, True
    for path, calls in CALLS.items():
        for _ in range(WARM_UP):
            api.invoke(path)
        before = _figures(api)
        rows = [api.invoke(path) for _ in range(calls)]
        after = _figures(api)
        cpu_us = (after["cpu_ns"] - before["cpu_ns"]) / 1000 / calls
        held[path] = after["held_us"]
        is_right &= all(_is_right(path, answer) for answer, _, _ in rows)
        ended, asked = [row[1] for row in rows], [row[2] for row in rows]
        added[path] = statistics.median(asked) - direct[path]
        print(
            f"| {path} | {direct[path]:.1f} | {held[path]:.1f} | {statistics.median(ended):.0f} "
            f"| {statistics.median(asked):.0f} | {cpu_us:.0f} |"
        )
    chunk_us = (held["/stream"] - direct["/stream"]) / CHUNKS
    print(f"\nadded by the loop: {added['/json']:.0f} us (budget {ADDED_US_MAX:.0f})")
    print(f"added a chunk: {chunk_us:.2f} us (budget {ADDED_PER_CHUNK_US_MAX:.0f})")
    return 0 if is_right else 1


def _is_right(path: str, answer: bytes) -> bool:
    return answer.count(b"data: {") == CHUNKS if path == "/stream" else b'{"text"' in answer


def _figures(api: Api) -> dict[str, float]:
    figures: dict[str, float] = json.loads(_body(api.invoke("/figures")[0]))
    return figures


def _body(answer: bytes) -> bytes:
    return answer.partition(b"\0" * 8)[2].removesuffix(b"\r\n0\r\n\r\n")


def _event(path: str) -> bytes:
    headers = {f"X-Header-{n}": ["value"] for n in range(20)}
    context = {"path": path, "protocol": "HTTP/1.1", "identity": {"sourceIp": "203.0.113.9"}}
    return json.dumps(
        {
            "httpMethod": "POST",
            "path": path,
            "multiValueHeaders": headers,
            "requestContext": context,
            "body": BODY,
            "isBase64Encoded": False,
        }
    ).encode()


def _start(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [WRAPPER, sys.executable, "bootstrap.py"],
        env={
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "LAMBDA_TASK_ROOT": str(ROOT),
            "_HANDLER": "bench.runtime_app.app",
        },
    )


if __name__ == "__main__":
    sys.exit(main())
