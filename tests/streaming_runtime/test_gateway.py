"""The gateway itself in the loop: a chat call as API Gateway hands it over, whole and streamed."""

import json
from typing import Any

import pytest

from phigate.http.app import build_app
from tests.fakes import Script
from tests.pipeline.gateway_harness import GOOD_STREAM, KEY, PLAIN, STREAM, GatewayHarness, answers
from tests.streaming_runtime.events import event
from tests.streaming_runtime.runtime_harness import harness

pytestmark = pytest.mark.anyio


async def called(script: Script | None, path: str, body: Any) -> tuple[dict[str, Any], bytes]:
    """Prelude and body of one call."""
    gateway = GatewayHarness(*([script] if script else [])).gateway
    headers = {"Authorization": [f"Bearer {KEY}"], "X-PHI": ["false"]}
    payload = event(
        path=path,
        context={"path": f"/api{path}"},
        multiValueHeaders=headers,
        body=json.dumps(body),
    )
    async with harness(build_app(gateway)) as story:
        story.api.hand_out(payload)
        return await (await story.api.post()).streamed()


async def test_chat_call_is_answered() -> None:
    prelude, body = await called(answers("Hello"), "/v1/chat/completions", PLAIN)
    assert prelude["statusCode"] == 200, body
    assert json.loads(body)["choices"][0]["message"]["content"] == "Hello"
    assert prelude["headers"]["x-phi-receipt"]


async def test_chat_call_is_streamed() -> None:
    prelude, body = await called(GOOD_STREAM, "/v1/chat/completions", STREAM)
    assert prelude["headers"]["content-type"].startswith("text/event-stream")
    assert (b"Hel" in body, body.endswith(b"data: [DONE]\n\n")) == (True, True)


async def test_unknown_endpoint_below_the_stage_is_our_envelope() -> None:
    prelude, body = await called(None, "/v1/nowhere", {})
    assert (prelude["statusCode"], json.loads(body)["error"]["code"]) == (404, "not_found")
