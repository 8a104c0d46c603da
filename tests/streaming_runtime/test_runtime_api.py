"""What comes from Lambda: events that are none, connections that die, answers that are refused."""

import json

import pytest

from streaming_runtime.errors import RuntimeApiGone
from tests.streaming_runtime.events import event
from tests.streaming_runtime.runtime_harness import answered, harness, hello, http

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"{", "Runtime.MalformedEvent"),
        (b'{"version":"2.0"}', "Runtime.UnsupportedEvent"),
    ],
)
async def test_event_that_is_no_request_is_reported_and_the_next_is_served(
    payload: bytes, kind: str
) -> None:
    async with harness(http(hello)) as story:
        post = await answered(story.api, payload)
        error = json.loads(await post.rest())
        assert post.path == "/invocation/r-1/error"
        assert (post.error_type, error["errorType"]) == (kind, kind)
        assert post.headers["content-type"] == "application/vnd.aws.lambda.error+json"
        assert (await (await answered(story.api, event())).streamed())[1] == b"hello"
        assert not story.task.done()


async def test_dead_connection_after_a_freeze_is_replaced_and_the_get_repeated() -> None:
    async with harness(http(hello)) as story:
        await story.api.asked()
        story.api.thaw()
        await story.api.asked()
        assert (await (await answered(story.api, event())).streamed())[1] == b"hello"
        assert story.api.connections == 2


async def test_connection_that_closes_after_each_answer_is_replaced() -> None:
    async with harness(http(hello)) as story:
        story.api.closes_after_each = True
        for _ in range(3):
            assert (await (await answered(story.api, event())).streamed())[1] == b"hello"


async def test_event_of_unknown_length_is_read() -> None:
    async with harness(http(hello)) as story:
        story.api.sends_chunked = True
        assert (await (await answered(story.api, event())).streamed())[1] == b"hello"


async def test_answer_refused_by_lambda_is_noted_and_the_next_event_served() -> None:
    async with harness(http(hello)) as story:
        story.api.status = 413
        await (await answered(story.api, event())).rest()
        await (await answered(story.api, event())).rest()
        assert story.journal.named("response_refused")[0]["status"] == 413


async def test_lambda_beyond_repair_ends_the_process() -> None:
    async with harness(http(hello)) as story:
        story.api.status = 500
        await (await answered(story.api, event())).rest()
        with pytest.raises(RuntimeApiGone):
            await story.task


@pytest.mark.parametrize("request_id", ["", "../../x", "a b", "x" * 200])
async def test_invocation_that_cannot_be_answered_ends_the_process(request_id: str) -> None:
    async with harness(http(hello)) as story:
        story.api.hand_out(event(), **{"Lambda-Runtime-Aws-Request-Id": request_id})
        with pytest.raises(RuntimeApiGone):
            await story.task


async def test_missing_deadline_is_no_deadline() -> None:
    async with harness(http(hello)) as story:
        story.api.hand_out(event(), **{"Lambda-Runtime-Deadline-Ms": ""})
        assert (await (await story.api.post()).streamed())[1] == b"hello"
        assert story.alarms.set[0].at_s == float("inf")
