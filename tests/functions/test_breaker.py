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
from tests.fakes import FakeClock, RecordingEventLog
from tests.functions.actions import ACTIONS
from tests.functions.aws_stack import CONTEXT, AwsStack, rest

GEMMA, QWEN = "infomaniak-gemma-4-31b", "infomaniak-qwen3.5"
NOWHERE = "http://127.0.0.1:1/v1"
Environment = Callable[..., Buffered]


@pytest.fixture
def clock() -> FakeClock:
    """One clock for all of them."""
    return FakeClock(time.time())


@pytest.fixture
def environment(aws_stack: AwsStack, clock: FakeClock) -> Iterator[Environment]:
    """Starts an environment of chat; `down`: one that cannot reach the provider."""
    started: list[Buffered] = []

    def start(*, down: bool = False) -> Buffered:
        lambda_environment = aws_stack.lambda_environment("chat", clock)
        if down:
            lambda_environment = replace(lambda_environment, base_url=lambda _provider: NOWHERE)
        started.append(Buffered(lambda: chat(lambda_environment)))
        return started[-1]

    yield start
    for each in started:
        each.close()


def asked(aws_stack: AwsStack, handler: Buffered, model: str, **members: Any) -> tuple[int, str]:
    """Status, and the row that answered."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **members}
    answer = handler(rest("/v1/chat/completions", body, aws_stack.key), CONTEXT)
    routed = {**answer["headers"]}.get("x-phi-routed", "")
    return answer["statusCode"], routed.partition("/")[0]


def counted(aws_stack: AwsStack, clock: FakeClock) -> dict[str, int]:
    """The failures that stand in the table, by row."""

    async def read(dynamodb: DynamoDB) -> dict[str, int]:
        found = await DynamoBreaker(dynamodb, clock, RecordingEventLog()).read()
        return {row_id: len(at_s) for row_id, at_s in found.items()}

    return aws_stack.ask(read)


def test_what_fails_in_one_environment_is_tried_last_in_another_until_it_succeeds(
    aws_stack: AwsStack, environment: Environment, clock: FakeClock
) -> None:
    aws_stack.aws.actions.clear()
    failing, other = environment(down=True), environment()
    alone = {"provider": {"allow_fallbacks": False}}
    for _ in range(3):  # a row that has no other is tried twice
        assert asked(aws_stack, failing, GEMMA, **alone) == (502, "")
    assert counted(aws_stack, clock) == {GEMMA: 5}
    assert asked(aws_stack, other, QWEN) == (200, QWEN)  # its first call reads the count
    assert asked(aws_stack, other, GEMMA) == (200, QWEN)
    assert aws_stack.lines("breaker_heard")
    clock.time_s += BREAKER_OPEN_S
    assert asked(aws_stack, other, GEMMA) == (200, GEMMA)
    assert counted(aws_stack, clock) == {}
    assert asked(aws_stack, environment(), GEMMA) == (200, GEMMA)
    assert aws_stack.aws.actions <= ACTIONS["chat"]
    assert aws_stack.lines("breaker_not_shared") == []
