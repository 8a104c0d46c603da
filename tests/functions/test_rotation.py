"""A provider's key is replaced while environments run: the new one is used without a deployment."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from phigate.aws.buffered import Buffered
from phigate.aws.chat import chat
from phigate.effects.clock import WallClock
from phigate.effects.served_catalog import DOUBTED_AFTER_S, SECRETS_AGE_MAX_S, SECRETS_FRESH_S
from tests.functions.world import CONTEXT, World, rest

CHAT = "/v1/chat/completions"
ASKED = {"model": "gemma-4", "messages": [{"role": "user", "content": "Hi"}]}
SECRET = "stack-ch/provider/infomaniak"
OLD = "simulated"  # as the world has it
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "google/gemma-4-31B-it",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Provider(ThreadingHTTPServer):
    """Takes some keys, and answers 401 to any other. `asked` are the keys that came."""

    daemon_threads = True
    takes = frozenset({OLD})

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[str] = []


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """One call."""
        provider = cast(Provider, self.server)
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"].removeprefix("Bearer ")
        provider.asked.append(key)
        body = json.dumps(ANSWER).encode()
        self.send_response(200 if key in provider.takes else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Later(WallClock):
    """The wall clock, some seconds on."""

    def __init__(self) -> None:
        self.later_s = 0.0

    def now_s(self) -> float:
        """See Clock."""
        return super().now_s() + self.later_s


class Environment:
    """An execution environment of chat with a provider of its own."""

    def __init__(self, world: World) -> None:
        self.clock = Later()
        self.provider = Provider()
        self._key = world.key
        url = f"http://127.0.0.1:{self.provider.server_address[1]}/v1"
        outside = replace(world.outside(clock=self.clock), base_url=lambda _name: url)
        self.handler = Buffered(lambda: chat(outside))

    def call(self) -> int:
        """The status of one call."""
        answer = self.handler(rest(CHAT, ASKED, self._key), CONTEXT)
        status: int = answer["statusCode"]
        return status


@contextmanager
def running(world: World) -> Iterator[Environment]:
    """An environment that has answered once with the old key."""
    environment = Environment(world)
    thread = threading.Thread(target=environment.provider.serve_forever, args=(0.02,))
    thread.start()
    try:
        assert environment.call() == 200
        yield environment
    finally:
        environment.handler.close()
        environment.provider.shutdown()
        thread.join()
        environment.provider.server_close()
        world.aws.secrets[SECRET] = _secret(OLD)


def _secret(key: str) -> str:
    return json.dumps({"api_key": key, "product_id": "1"})


def test_a_replaced_key_is_used_once_secrets_are_due(world: World) -> None:
    with running(world) as environment:
        environment.provider.takes = frozenset({OLD, "new"})
        world.aws.secrets[SECRET] = _secret("new")
        environment.clock.later_s += SECRETS_FRESH_S
        # The first reads them in the background, the second lets that end.
        assert [environment.call() for _ in range(3)] == [200] * 3
        assert environment.provider.asked[-1] == "new"


def test_a_key_that_was_revoked_at_once_fails_a_minute_at_most(world: World) -> None:
    with running(world) as environment:
        environment.provider.takes = frozenset({"new"})
        world.aws.secrets[SECRET] = _secret("new")
        assert environment.call() == 502
        environment.clock.later_s += DOUBTED_AFTER_S
        assert [environment.call() for _ in range(3)][-1] == 200


def test_after_a_long_freeze_the_first_call_has_the_new_key(world: World) -> None:
    with running(world) as environment:
        environment.provider.takes = frozenset({"new"})
        world.aws.secrets[SECRET] = _secret("new")
        environment.clock.later_s += SECRETS_AGE_MAX_S
        assert environment.call() == 200
        assert environment.provider.asked == [OLD, "new"]


def test_without_its_key_a_provider_is_not_called(world: World) -> None:
    with running(world) as environment:
        world.aws.secrets[SECRET] = "{}"
        environment.clock.later_s += SECRETS_AGE_MAX_S
        assert environment.call() == 404
        assert environment.provider.asked == [OLD]
