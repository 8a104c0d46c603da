"""The runtime loop under AWS's own Runtime Interface Emulator: the independent protocol check.

The emulator buffers a streamed answer and hides its trailers; when bytes leave is shown by
tests/streaming_runtime. `make test-rie` installs it and names it in PHIGATE_RIE; without that
variable, and where it cannot run, these tests are skipped.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.streaming_runtime.events import event
from tests.streaming_runtime.fake_api import split

RIE = os.environ.get("PHIGATE_RIE", "")
WRAPPER = Path(__file__).parents[2] / "layers" / "streaming_runtime" / "streaming-runtime"
INVOKE = "/2015-03-31/functions/function/invocations"
CONNECTS_MAX = 6  # with httpx's pauses, 15 s for the emulator to listen
TIMEOUT_S = 2  # the function's; only the story of the deadline waits for it

pytestmark = pytest.mark.skipif(not RIE, reason="run `make test-rie`")

APP = """
import asyncio

background = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = (await receive())["body"]
    path = scope["path"].removeprefix("/api")
    if path == "/bug":
        raise KeyError
    sse = [(b"content-type", b"text/event-stream"), (b"set-cookie", b"a=1")]
    await send({"type": "http.response.start", "status": 200, "headers": sse})
    if path == "/hang":
        await send({"type": "http.response.body", "body": b"data: 0\\n\\n", "more_body": True})
        await asyncio.Event().wait()
    if path == "/echo":
        await send({"type": "http.response.body", "body": body})
        return
    for n in range(200):
        await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % n, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % len(background)})
    background.append(scope["extensions"]["aws.lambda"]["request_id"])
"""


class Emulator:
    """One function in the emulator."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def invoke(self, payload: bytes) -> bytes:
        """What the function answered, as the emulator shows it."""
        return self._client.post(INVOKE, content=payload).content

    def answer(self, path: str, **changes: Any) -> tuple[dict[str, Any], bytes]:
        """Prelude and body for a request."""
        return split(self.invoke(event(path=path, context={"path": f"/api{path}"}, **changes)))


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator with our wrapper in place of the managed runtime."""
    folder = tmp_path_factory.mktemp("task")
    (folder / "app.py").write_text(APP)
    bootstrap = folder / "bootstrap"
    # What the managed runtime's bootstrap does with AWS_LAMBDA_EXEC_WRAPPER.
    bootstrap.write_text(
        f'#!/bin/sh\nexec "{WRAPPER}" "{sys.executable}" /var/runtime/bootstrap.py\n'
    )
    bootstrap.chmod(0o755)
    ports = [free_port(), free_port()]
    child = subprocess.Popen(
        [
            RIE,
            "--runtime-interface-emulator-address",
            f"127.0.0.1:{ports[0]}",
            "--runtime-api-address",
            f"127.0.0.1:{ports[1]}",
            str(bootstrap),
            "app.app",
        ],
        cwd=folder,
        env={
            "PATH": os.defpath,
            "LAMBDA_TASK_ROOT": str(folder),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT_S),
        },
    )
    try:
        url = f"http://127.0.0.1:{ports[0]}"
        transport = httpx.HTTPTransport(retries=CONNECTS_MAX, trust_env=False)
        with httpx.Client(base_url=url, timeout=60, transport=transport) as client:
            yield Emulator(client)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(10)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def test_stream_comes_whole_and_the_process_is_kept(emulator: Emulator) -> None:
    chunks = b"".join(b"data: %d\n\n" % n for n in range(200))
    for calls in range(3):
        prelude, content = emulator.answer("/stream")
        assert prelude["headers"] == {"content-type": "text/event-stream"}
        assert prelude["cookies"] == ["a=1"]
        assert content == chunks + b"data: %d\n\n" % calls


def test_body_of_binary_data_arrives(emulator: Emulator) -> None:
    data = bytes(range(256)) * 4000
    encoded = base64.b64encode(data).decode()
    assert emulator.answer("/echo", body=encoded, isBase64Encoded=True)[1] == data


def test_malformed_event_is_an_error_and_the_process_lives_on(emulator: Emulator) -> None:
    error = json.loads(emulator.invoke(b'{"key1":"value1"}'))
    assert error["errorType"] == "Runtime.MalformedEvent"
    assert emulator.answer("/echo")[1] == b'{"model":"auto"}'


def test_bug_is_a_500(emulator: Emulator) -> None:
    prelude, content = emulator.answer("/bug")
    assert (prelude["statusCode"], json.loads(content)["error"]["code"]) == (500, "app_failed")


def test_deadline_ends_a_stream_before_the_emulator_does(emulator: Emulator) -> None:
    data = emulator.invoke(event(path="/hang", context={"path": "/api/hang"}))
    _, content = split(data)
    assert content.startswith(b"data: 0\n\n")
    assert b'"code": "deadline"' in content
    assert emulator.answer("/echo")[1] == b'{"model":"auto"}'
