"""A local stack as a person starts it: a process of its own, a free port, a state directory."""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from local.stack import local_dynamodb
from local.state import read_env
from phigate.core.types import Json, KeyPolicy
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.dynamodb import DynamoDB

T = TypeVar("T")
Headers = Sequence[tuple[str | bytes, str | bytes]]

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0  # a start takes one second on an idle machine
STOP_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 30.0
SETTLED_S = 10.0
CREDIT_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body of a JSON answer."""
        value: Json = json.loads(self.body)
        return value

    @property
    def error(self) -> Json:
        """The error of an envelope."""
        error: Json = self.json["error"]
        return error


class RunningStack:
    """One stack that has said `ready`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, state: Path) -> None:
        self.process = process
        self.port = port
        self.state = state
        self.url = f"http://{HOST}:{port}"
        self.base_url = f"{self.url}/v1"
        self._lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._ready = threading.Event()
        self._reader.start()

    @property
    def key(self) -> str:
        """The key that the start printed."""
        return read_env(self.state)["OPENAI_API_KEY"]

    @property
    def output(self) -> bytes:
        """Everything that the gateway has written so far, both outputs."""
        return b"".join(self._lines)

    def wait_until_ready(self) -> None:
        """Return once it serves. Raises AssertionError with its output when it does not."""
        self._ready.wait(START_TIMEOUT_S)
        assert b"ready\n" in self._lines, self.output.decode()

    def ended(self) -> int:
        """Wait for the end of the gateway and of its output; its exit status."""
        status = self.process.wait(STOP_TIMEOUT_S)
        self._reader.join(STOP_TIMEOUT_S)
        return status

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Json | bytes | None = None,
        key: str | None = None,
        headers: Headers = (),
        chunks: Sequence[bytes] | None = None,
    ) -> HttpAnswer:
        """One HTTP call on a connection of its own, with exactly these headers and bytes.

        `chunks` are the pieces of a body without a content length.
        """
        connection = http.client.HTTPConnection(HOST, self.port, timeout=CALL_TIMEOUT_S)
        with contextlib.closing(connection):
            sent = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if key is not None:
                connection.putheader("authorization", f"Bearer {key}")
            if chunks is not None:
                connection.putheader("transfer-encoding", "chunked")
            elif sent is not None:
                connection.putheader("content-length", str(len(sent)))
            # The server may answer, and close, before it has read a body that is too large.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(chunks or sent, encode_chunked=chunks is not None)
            answer = connection.getresponse()
            received = {name.lower(): value for name, value in answer.getheaders()}
            return HttpAnswer(answer.status, received, answer.read())

    def chat(self, body: Json, key: str, **headers: str) -> HttpAnswer:
        """One chat call; underscores in header names are hyphens."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self.call("POST", "/v1/chat/completions", body=body, key=key, headers=named)

    def ask(self, work: Callable[[DynamoDB], Awaitable[T]]) -> T:
        """Look into the stack's engine, or write to it as a command of the operator would."""
        return asyncio.run(_ask(json.loads((self.state / "engine.json").read_text())["url"], work))

    def new_key(
        self,
        account: str,
        policy: KeyPolicy | None = None,
        *,
        micros: int = CREDIT_MICROS,
        expires_at_s: int | None = None,
    ) -> str:
        """A key that was printed nowhere, of an account with credit."""

        async def made(dynamodb: DynamoDB) -> str:
            admin = DynamoAdmin(dynamodb, WallClock())
            await admin.create_account(account)
            if micros:
                await admin.add_credit(account, micros, "first credit")
            return await admin.create_key(
                account, "test", policy or KeyPolicy(), expires_at_s=expires_at_s
            )

        return self.ask(made)

    def items(self) -> list[Json]:
        """Every item of the table."""

        async def scanned(dynamodb: DynamoDB) -> list[Json]:
            found: list[Json] = []
            start: Json = {}
            while True:
                answer = await dynamodb.call("Scan", {"TableName": dynamodb.table, **start})
                found += answer["Items"]
                if "LastEvaluatedKey" not in answer:
                    return found
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

        return self.ask(scanned)

    def account(self, key: str) -> Json:
        """GET /v1/account."""
        return self.call("GET", "/v1/account", key=key).json

    def settled_account(self, key: str) -> Json:
        """The account once no hold stands: a call is settled after its answer was sent."""
        ends = time.monotonic() + SETTLED_S
        while (view := self.account(key))["held_micro"]:
            assert time.monotonic() < ends, f"still held: {view}"
        return view

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            if line == b"ready\n":
                self._ready.set()
        self._ready.set()
        self.process.stdout.close()


def command(state: Path, port: int, *more: str) -> list[str]:
    """The command line of a local stack."""
    # Nothing kept warm: two sandboxes a stack would slow every test down.
    flags = ["--port", str(port), "--state", str(state), "--sandboxes", "0"]
    return [sys.executable, "-P", "-m", "local", *flags, *more]


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's variables without any of ours, and these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PHIGATE_")}
    return {**kept, **(variables or {})}


@contextlib.contextmanager
def started(
    state: Path, *more: str, port: int | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[RunningStack]:
    """A stack that serves; ended by SIGTERM, when it has not ended by itself."""
    port = port or free_port()
    process = subprocess.Popen(
        command(state, port, *more),
        cwd=state.parent,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    stack = RunningStack(process, port, state)
    try:
        stack.wait_until_ready()
        yield stack
    finally:
        process.terminate()
        try:
            stack.ended()
        except subprocess.TimeoutExpired:
            process.kill()
            stack.ended()


def refused(
    state: Path, port: int, *more: str, variables: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """A start that must end by itself: exit status and both outputs."""
    ran = subprocess.run(
        command(state, port, *more),
        cwd=state.parent,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _ask(url: str, work: Callable[[DynamoDB], Awaitable[T]]) -> T:
    dynamodb = local_dynamodb(url, WallClock())
    try:
        return await work(dynamodb)
    finally:
        await dynamodb.close()
