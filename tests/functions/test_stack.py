"""The functions as API Gateway calls them, buffered and streamed, on a whole stack."""

import asyncio
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from phigate.aws.buffered import Buffered
from phigate.aws.chat import chat
from phigate.aws.directory import directory
from phigate.aws.error_responses import FAILURES
from phigate.aws.math import math
from phigate.aws.server import FunctionServer, RegionRefused
from phigate.aws.settings import Function, SettingsRefused
from phigate.core.receipts.record import nonce
from phigate.effects.signing.signer import SigningFailed
from phigate.verify.receipt import Evidence, read_bundle, verify
from phigate.verify.roots import read_jwks
from streaming_runtime.event import to_request
from streaming_runtime.types import Invocation
from tests.functions.aws_stack import CONTEXT, TASKS, AwsStack, rest
from tests.streaming_runtime.runtime_harness import harness

CHAT = "/v1/chat/completions"
MATH = "/v1/math/chat/completions"
SECRET_WORDS = "the patient's left knee"
ASKED = {"model": "gemma-4", "messages": [{"role": "user", "content": SECRET_WORDS}]}


@dataclass(frozen=True)
class Got:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Call = Callable[[dict[str, Any]], Got]


@pytest.fixture(scope="module")
def buffered(aws_stack: AwsStack) -> Iterator[Call]:
    """chat with Streaming=off: Mangum's handler."""
    handler = Buffered(lambda: chat(aws_stack.lambda_environment("chat", PHIGATE_STREAMING="off")))
    yield lambda payload: got(handler(payload, CONTEXT))
    handler.close()


@pytest.fixture(scope="module")
def told(aws_stack: AwsStack) -> Iterator[Call]:
    """directory."""
    handler = Buffered(lambda: directory(aws_stack.lambda_environment("directory")))
    yield lambda payload: got(handler(payload, CONTEXT))
    handler.close()


@pytest.fixture(scope="module")
def streamed(aws_stack: AwsStack) -> Call:
    """chat with Streaming=on: the runtime loop, after a restore."""

    async def called(payload: dict[str, Any]) -> Got:
        async with harness(
            lambda: chat(aws_stack.lambda_environment("chat")), snap_start=True, failures=FAILURES
        ) as story:
            await story.api.restore_asked.wait()
            story.api.restored.set()
            story.api.hand_out(json.dumps(payload).encode())
            prelude, body = await (await story.api.post()).streamed()
            return Got(prelude["statusCode"], prelude["headers"], body)

    return lambda payload: asyncio.run(called(payload))


@pytest.fixture(params=["buffered", "streamed"])
def call(request: pytest.FixtureRequest) -> Call:
    """chat, either way."""
    found: Call = request.getfixturevalue(request.param)
    return found


def got(answer: dict[str, Any]) -> Got:
    """Mangum's answer."""
    assert not answer["isBase64Encoded"]
    many = {name: values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
    return Got(answer["statusCode"], {**many, **answer["headers"]}, answer["body"].encode())


@pytest.mark.parametrize("phi", [False, True], ids=["general", "phi"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_a_call_is_answered_and_its_receipt_holds(
    call: Call, phi: bool, stream: bool, aws_stack: AwsStack, told: Call
) -> None:
    payload = rest(CHAT, {**ASKED, "stream": stream}, aws_stack.key, X_PHI=str(phi).lower())
    answer = call(payload)
    assert answer.status == 200, answer.body
    tier = "phi" if phi else "general"
    assert answer.headers["x-phi-routed"] == f"infomaniak-gemma-4-31b/CH/{tier}"
    if stream:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.body.endswith(b"data: [DONE]\n\n")
    else:
        assert answer.json["choices"][0]["message"]["content"]
    receipt_id = answer.headers["x-phi-receipt"]
    receipt = told(rest(f"/v1/receipts/{receipt_id}", key=aws_stack.key))
    assert receipt.status == 200, receipt.body
    jwks = told(rest("/.well-known/jwks.json"))
    verified = verify(
        read_bundle(receipt.body),
        Evidence(
            roots=read_jwks(jwks.body),
            request=payload["body"].encode(),
            response=answer.body,
            nonce=nonce(aws_stack.key, receipt_id) if phi else None,
        ),
    )
    outcomes = {check.name: check.outcome for check in verified.checks}
    assert verified.is_anchored and not verified.fails, verified.checks
    assert (outcomes["request"], outcomes["response"]) == ("holds", "holds")


def test_a_refusal_is_our_envelope_with_a_receipt(call: Call, aws_stack: AwsStack) -> None:
    answer = call(rest(CHAT, ASKED, aws_stack.key, X_Region="US", X_PHI="true"))
    assert (answer.status, answer.json["error"]["code"]) == (421, "region_not_served")
    assert answer.headers["x-phi-receipt"]
    unknown = call(rest(CHAT, ASKED, "phi_live_nobody"))
    assert (unknown.status, unknown.json["error"]["code"]) == (401, "invalid_api_key")


def test_chat_refuses_math_with_the_reason_and_a_receipt(call: Call, aws_stack: AwsStack) -> None:
    """Its path leads here where the stack has no math function."""
    answer = call(rest(MATH, ASKED, aws_stack.key))
    assert (answer.status, answer.json["error"]["code"]) == (503, "sandbox_error")
    assert "MathEnabled=false" in answer.json["error"]["message"]
    assert answer.headers["x-phi-receipt"]
    assert answer.headers["x-phi-attempts"] == "0"
    unknown = call(rest(MATH, ASKED, "phi_live_nobody"))
    assert (unknown.status, unknown.json["error"]["code"]) == (401, "invalid_api_key")
    phi = call(rest(MATH, ASKED, aws_stack.key, X_PHI="true"))
    assert (phi.status, phi.json["error"]["code"]) == (403, "phi_blocked")


def test_directory_has_no_chats(told: Call, aws_stack: AwsStack) -> None:
    assert [told(rest(path, ASKED, aws_stack.key)).status for path in (CHAT, MATH)] == [404, 404]


@pytest.mark.parametrize(
    "path, within",
    [
        ("/v1/models", b"infomaniak-gemma-4-31b"),
        ("/v1/pricing", b'"currency"'),
        ("/healthz", b"stack-ch"),
        ("/openapi.json", b"/v1/chat/completions"),
        ("/.well-known/jwks.json", b"redpill-ecdsa"),
    ],
)
def test_the_directory_tells(path: str, within: bytes, told: Call) -> None:
    answer = told(rest(path))
    assert (answer.status, within in answer.body) == (200, True)


def test_the_directory_signs_for_redpills_verifiers(
    aws_stack: AwsStack, told: Call, buffered: Call
) -> None:
    answer = buffered(rest(CHAT, ASKED, aws_stack.key))
    signature = told(rest(f"/v1/signature/{answer.headers['x-phi-receipt']}", key=aws_stack.key))
    assert signature.status == 200, signature.body
    assert signature.json["signature"].startswith("0x")


def test_a_provider_without_a_secret_has_no_key(told: Call) -> None:
    rows = {row["id"]: row["status"] for row in told(rest("/v1/models")).json["data"]}
    assert rows["infomaniak-gemma-4-31b"] == "live"
    assert {status for row, status in rows.items() if row.startswith("together-")} <= {
        "no_key",
        "staged",
    }


def test_no_content_and_no_key_reaches_the_log(aws_stack: AwsStack, buffered: Call) -> None:
    buffered(rest(CHAT, ASKED, aws_stack.key))
    log = aws_stack.log.getvalue()
    assert SECRET_WORDS not in log
    assert aws_stack.key not in log
    line = aws_stack.lines("answered")[-1]
    assert line["row"] == "infomaniak-gemma-4-31b"
    assert (line["region"], line["tier"]) == ("CH", "general")
    assert line["correlation_id"] == CONTEXT.aws_request_id
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["stack", "row"], ["stack"]]
    assert line["CostMicros"] == line["cost_micros"]


def test_fifty_calls_at_once_name_their_own_invocation(aws_stack: AwsStack) -> None:
    """Lambda hands out one event at a time, but for Managed Instances."""
    event = json.dumps(rest(CHAT, ASKED, aws_stack.key)).encode()

    async def call(server: FunctionServer, number: int) -> str:
        """The id of its receipt."""
        invocation = Invocation(
            f"request-{number}", float("inf"), event, "", f"Root=trace-{number}"
        )
        request, sent = to_request(invocation, {}), list[Any]()
        messages = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not messages:
                await asyncio.Event().wait()  # nobody hangs up
            return messages.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        await server(request.scope, receive, send)
        assert sent[0]["status"] == 200, sent
        return str(dict(sent[0]["headers"])[b"x-phi-receipt"], "ascii")

    async def story() -> list[str]:
        server = chat(aws_stack.lambda_environment("chat"))
        await server.start()
        try:
            return await asyncio.gather(*(call(server, number) for number in range(50)))
        finally:
            await server.stop()

    receipts = asyncio.run(story())
    lines = {line["id"]: line for line in aws_stack.lines("answered")}
    keys = ("function_request_id", "correlation_id", "xray_trace_id")
    found = [[lines[receipt][key] for key in keys] for receipt in receipts]
    assert found == [[f"request-{n}", f"request-{n}", f"trace-{n}"] for n in range(50)]


def test_math_without_streaming_refuses_with_the_reason(aws_stack: AwsStack) -> None:
    environment: dict[str, Any] = {**TASKS, "PHIGATE_STREAMING": "off"}
    handler = Buffered(lambda: math(aws_stack.lambda_environment("math", **environment)))
    answer = got(handler(rest(MATH, ASKED, aws_stack.key), CONTEXT))
    handler.close()
    assert (answer.status, answer.json["error"]["code"]) == (503, "sandbox_error")
    assert "Streaming=on" in answer.json["error"]["message"]
    assert answer.headers["x-phi-receipt"]


def test_a_stack_in_a_region_of_another_jurisdiction_does_not_start(aws_stack: AwsStack) -> None:
    handler = Buffered(
        lambda: chat(aws_stack.lambda_environment("chat", PHIGATE_JURISDICTIONS="CH,US"))
    )
    with pytest.raises(RegionRefused, match=r"US is served from us-east-1.*eu-central-2"):
        handler(rest(CHAT, ASKED, aws_stack.key), CONTEXT)
    handler.close()


def test_a_start_without_kms_fails_and_the_next_one_succeeds(aws_stack: AwsStack) -> None:
    handler = Buffered(lambda: chat(aws_stack.lambda_environment("chat")))
    aws_stack.aws.down.add("kms")
    with pytest.raises(SigningFailed):
        handler(rest(CHAT, ASKED, aws_stack.key), CONTEXT)
    aws_stack.aws.down.clear()
    assert got(handler(rest(CHAT, ASKED, aws_stack.key), CONTEXT)).status == 200
    handler.close()


@pytest.mark.anyio
async def test_after_a_restore_the_container_endpoint_gives_the_credentials(
    aws_stack: AwsStack,
) -> None:
    async def credentials(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "container-token"
        return web.json_response(
            {
                "AccessKeyId": "chat",  # the role stays its own
                "SecretAccessKey": "s",
                "Token": "restored-token",
                "Expiration": "2099-01-01T00:00:00Z",
            }
        )

    app = web.Application()
    app.router.add_get("/credentials", credentials)
    aws_stack.aws.tokens.clear()
    async with TestServer(app) as server:
        changes: dict[str, Any] = {
            "AWS_ACCESS_KEY_ID": None,
            "AWS_SECRET_ACCESS_KEY": None,
            "AWS_SESSION_TOKEN": None,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": str(server.make_url("/credentials")),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token",
        }
        async with harness(
            lambda: chat(aws_stack.lambda_environment("chat", **changes)), snap_start=True
        ) as story:
            await story.api.restore_asked.wait()
            assert aws_stack.aws.tokens == set()  # nothing was fetched before it
            story.api.restored.set()
            story.api.hand_out(json.dumps(rest(CHAT, ASKED, aws_stack.key)).encode())
            prelude, _ = await (await story.api.post()).streamed()
            for _ in range(2):  # for this event, and for the one after it
                await story.api.asked()
    assert prelude["statusCode"] == 200
    assert aws_stack.aws.tokens == {"restored-token"}
    assert aws_stack.lines("answered")[-1]["correlation_id"] == "r-1"


REFUSED_STARTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no KMS": ({}, "kms", "unreachable"),
    "another region's": (
        {"PHIGATE_JURISDICTIONS": "CH,UK"},
        "",
        "chat does not start: UK is served from eu-west-2, and this stack stands in eu-central-2",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("snap_start", [False, True], ids=["init", "restore"])
@pytest.mark.parametrize("changes, down, reason", REFUSED_STARTS.values(), ids=REFUSED_STARTS)
async def test_a_start_that_fails_is_reported_and_ends_the_environment(
    changes: dict[str, Any], down: str, reason: str, snap_start: bool, aws_stack: AwsStack
) -> None:
    aws_stack.aws.down = {down}
    found = functools.partial(chat, aws_stack.lambda_environment("chat", **changes))
    async with harness(found, snap_start=snap_start) as story:
        story.api.restored.set()
        post = await story.api.post()
        assert post.path == ("/restore/error" if snap_start else "/init/error")
        assert await story.task == 1
    aws_stack.aws.down = set()
    line = aws_stack.lines("start_failed")[-1]
    assert (line["level"], line["reason"]) == ("ERROR", reason)


@pytest.mark.anyio
async def test_settings_that_are_wrong_are_reported_by_their_line(aws_stack: AwsStack) -> None:
    found = functools.partial(chat, aws_stack.lambda_environment("chat", PHIGATE_TABLE=None))
    async with harness(found) as story:
        told = json.loads(await (await story.api.post()).rest())
        assert await story.task == 1
    assert "chat does not start: PHIGATE_TABLE is missing" in told["errorMessage"]


@pytest.mark.parametrize(
    ("function", "make"), [("chat", chat), ("math", math), ("directory", directory)]
)
def test_a_start_that_fails_behind_mangum_is_told_in_a_line_too(
    function: Function, make: Callable[..., FunctionServer], aws_stack: AwsStack
) -> None:
    """The alarm counts these lines."""
    environment: dict[str, Any] = {**TASKS, "PHIGATE_STREAMING": "off"}
    handler = Buffered(lambda: make(aws_stack.lambda_environment(function, **environment)))
    aws_stack.aws.down.add("kms")
    with pytest.raises(SigningFailed):
        handler(rest("/healthz"), CONTEXT)
    aws_stack.aws.down.clear()
    handler.close()
    assert aws_stack.lines("start_failed")[-1]["StartFailures"] == 1
    wrong = Buffered(
        lambda: make(aws_stack.lambda_environment(function, **environment, PHIGATE_TABLE=None))
    )
    with pytest.raises(SettingsRefused):
        wrong(rest("/healthz"), CONTEXT)
    wrong.close()
    line = aws_stack.lines("start_failed")[-1]
    assert (line["stack"], line["kind"]) == ("stack-ch", "SettingsRefused")
    assert "PHIGATE_TABLE is missing" in line["reason"]
