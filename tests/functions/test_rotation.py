"""A provider's key is changed while an environment runs: the next calls carry the new one."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from phigate.aws.buffered import Buffered
from phigate.aws.chat import chat
from phigate.core.limits import RETRY_PAUSE_S
from phigate.effects.aws.provider_credentials import (
    RETRY_AFTER_S,
    SECRETS_AGE_MAX_S,
    SECRETS_FRESH_S,
)
from tests.fakes import FakeClock
from tests.functions.aws_stack import CONTEXT, AwsStack, rest

# Such as stand nowhere else.
OLD, NEW = "key-of-before-7f3a", "key-of-now-9c1e"
SECRET = "stack-ch/provider/infomaniak"
ONE_ROW = {
    "model": "infomaniak-gemma-4-31b",
    "provider": {"allow_fallbacks": False},
    "messages": [{"role": "user", "content": "Hello"}],
}
CALLS_MAX = 50  # a read of the secrets takes a few of them
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


@dataclass
class Provider:
    """Knows some keys; `seen` are those that it was shown."""

    keys: set[str]
    seen: list[str] = field(default_factory=list)
    url: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    provider: Provider


class _Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """One call."""
        provider = cast(_Server, self.server).provider
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"].removeprefix("Bearer ")
        provider.seen.append(key)
        content = json.dumps(ANSWER if key in provider.keys else {"error": {}}).encode()
        self.send_response(200 if key in provider.keys else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def providing(*keys: str) -> Iterator[Provider]:
    """A provider that knows these keys."""
    provider = Provider(set(keys))
    with _Server(("127.0.0.1", 0), _Endpoint) as server:
        server.provider = provider
        provider.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


class Log(io.StringIO):
    """What a function writes; `changed` when it has told of a new key."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def write(self, line: str) -> int:
        """One line."""
        if "provider_key_changed" in line:
            self.changed.set()
        return super().write(line)


class PausingClock(FakeClock):
    """A pause lasts until a new key was read; a real one would outlast the reading by far."""

    def __init__(self, now_s: float, log: Log) -> None:
        super().__init__(now_s)
        self._log = log

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await super().sleep(seconds)
        if seconds == RETRY_PAUSE_S:
            async with asyncio.timeout(10):
                await self._log.changed.wait()


class Environment:
    """One execution environment of chat, which stands still between its calls."""

    def __init__(self, aws_stack: AwsStack, provider: Provider) -> None:
        log = aws_stack.log = Log()
        self.clock = PausingClock(time.time(), log)
        self._world = aws_stack
        lambda_environment = replace(
            aws_stack.lambda_environment("chat", self.clock), base_url=lambda _name: provider.url
        )
        self.handler = Buffered(lambda: chat(lambda_environment))

    def call(self) -> tuple[int, str]:
        """One call: its status, and how many rows it was sent to."""
        answer = self.handler(rest("/v1/chat/completions", ONE_ROW, self._world.key), CONTEXT)
        headers = {name: values[-1] for name, values in answer["multiValueHeaders"].items()}
        return answer["statusCode"], (answer["headers"] | headers)["x-phi-attempts"]


@pytest.fixture
def story(aws_stack: AwsStack) -> Iterator[tuple[AwsStack, Provider, Environment]]:
    """An environment that has just read the key the old one, and its provider."""
    put(aws_stack, OLD)
    with providing(OLD, NEW) as provider:
        environment = Environment(aws_stack, provider)
        try:
            assert environment.call() == (200, "1")
            yield aws_stack, provider, environment
        finally:
            environment.handler.close()
    log = aws_stack.log.getvalue()
    assert OLD not in log and NEW not in log


def put(aws_stack: AwsStack, key: str) -> None:
    aws_stack.aws.secrets[SECRET] = json.dumps({"api_key": key, "product_id": "1"})


Story = tuple[AwsStack, Provider, Environment]


def test_a_key_that_was_replaced_is_used_within_minutes(story: Story) -> None:
    aws_stack, provider, environment = story
    put(aws_stack, NEW)
    assert environment.call() == (200, "1")
    assert provider.seen[-1] == OLD  # secrets are not read with every call
    environment.clock.time_s += SECRETS_FRESH_S
    # Read again beside the calls, so some are early: the old key still opens.
    assert NEW in (shown(environment, provider) for _ in range(CALLS_MAX))
    assert environment.call() == (200, "1")
    assert provider.seen[-1] == NEW
    (line,) = aws_stack.lines("provider_key_changed")
    assert line["provider"] == "infomaniak"


def test_a_key_that_was_revoked_at_once_costs_one_attempt(story: Story) -> None:
    aws_stack, provider, environment = story
    put(aws_stack, NEW)
    provider.keys.remove(OLD)
    provider.seen.clear()
    environment.clock.time_s += RETRY_AFTER_S
    assert environment.call() == (200, "1")
    assert provider.seen == [OLD, NEW]
    assert environment.call() == (200, "1")


def test_after_an_hour_in_the_ice_the_first_call_has_the_new_key(story: Story) -> None:
    aws_stack, provider, environment = story
    put(aws_stack, NEW)
    provider.keys.remove(OLD)
    provider.seen.clear()
    environment.clock.time_s += SECRETS_AGE_MAX_S
    assert environment.call() == (200, "1")
    assert provider.seen == [NEW]


def test_a_secret_that_was_emptied_leaves_its_provider_out(story: Story) -> None:
    aws_stack, provider, environment = story
    aws_stack.aws.secrets[SECRET] = "{}"
    environment.clock.time_s += SECRETS_AGE_MAX_S
    provider.seen.clear()
    status, _ = environment.call()
    assert (status, provider.seen) == (404, [])


def shown(environment: Environment, provider: Provider) -> Any:
    """The key that a call was made with."""
    assert environment.call() == (200, "1")
    return provider.seen[-1]
