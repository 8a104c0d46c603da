"""Two environments of chat on one table: a row that fails in one is tried last in the other."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from phigate.aws.buffered import Buffered
from phigate.aws.chat import chat
from phigate.core.limits import BREAKER_OPEN_S
from phigate.effects.store.breaker import DynamoBreaker
from phigate.effects.store.dynamodb import DynamoDB
from tests.fakes import FakeClock, RecordingJournal
from tests.functions.actions import ACTIONS
from tests.functions.world import CONTEXT, World, rest

GEMMA, QWEN = "infomaniak-gemma-4-31b", "infomaniak-qwen3.5"
NOWHERE = "http://127.0.0.1:1/v1"
Environment = Callable[..., Buffered]


@pytest.fixture
def clock() -> FakeClock:
    """One clock for all of them."""
    return FakeClock(time.time())


@pytest.fixture
def environment(world: World, clock: FakeClock) -> Iterator[Environment]:
    """Starts an environment of chat; `down`: one that cannot reach the provider."""
    started: list[Buffered] = []

    def start(*, down: bool = False) -> Buffered:
        outside = world.outside("chat", clock)
        if down:
            outside = replace(outside, base_url=lambda _provider: NOWHERE)
        started.append(Buffered(lambda: chat(outside)))
        return started[-1]

    yield start
    for each in started:
        each.close()


def asked(world: World, handler: Buffered, model: str, **members: Any) -> tuple[int, str]:
    """Status, and the row that answered."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **members}
    answer = handler(rest("/v1/chat/completions", body, world.key), CONTEXT)
    routed = {**answer["headers"]}.get("x-phi-routed", "")
    return answer["statusCode"], routed.partition("/")[0]


def counted(world: World, clock: FakeClock) -> dict[str, int]:
    """The failures that stand in the table, by row."""

    async def read(dynamodb: DynamoDB) -> dict[str, int]:
        found = await DynamoBreaker(dynamodb, clock, RecordingJournal()).read()
        return {row_id: len(at_s) for row_id, at_s in found.items()}

    return world.ask(read)


def test_what_fails_in_one_environment_is_tried_last_in_another_until_it_succeeds(
    world: World, environment: Environment, clock: FakeClock
) -> None:
    world.aws.actions.clear()
    failing, other = environment(down=True), environment()
    alone = {"provider": {"allow_fallbacks": False}}
    for _ in range(3):  # a row that has no other is tried twice
        assert asked(world, failing, GEMMA, **alone) == (502, "")
    assert counted(world, clock) == {GEMMA: 5}
    assert asked(world, other, QWEN) == (200, QWEN)  # its first call reads the count
    assert asked(world, other, GEMMA) == (200, QWEN)
    assert world.lines("breaker_heard")
    clock.time_s += BREAKER_OPEN_S
    assert asked(world, other, GEMMA) == (200, GEMMA)
    assert counted(world, clock) == {}
    assert asked(world, environment(), GEMMA) == (200, GEMMA)
    assert world.aws.actions <= ACTIONS["chat"]
    assert world.lines("breaker_not_shared") == []
