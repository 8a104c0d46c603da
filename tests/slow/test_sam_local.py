"""OpenAI's SDK through `sam local start-api`: the built functions in Lambda's emulator.

`make test-sam-local` sets PHIGATE_SAM. Behind the API a streamed answer comes in one piece: SAM's
knows buffered answers only, and has Streaming=off. What streams is called without it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import boto3
import httpx
import pytest
from openai import APIStatusError, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from tests.builders import repository_catalog
from tests.functions.actions import ACTIONS
from tests.functions.aws_stack import hold_left_behind, rest
from tests.slow.sam_local import ANSWER_TIMEOUT_S, Stack, made, sam_local

pytestmark = pytest.mark.skipif("PHIGATE_SAM" not in os.environ, reason="make test-sam-local")
# What EventBridge sends on a schedule.
SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-07-01T00:00:00Z",
    "region": "eu-central-2",
    "resources": ["arn:aws:events:eu-central-2:123456789012:rule/every-minute"],
    "detail": {},
}
ASKED = [ChatCompletionUserMessageParam(role="user", content="Is this thing on?")]


@dataclass(frozen=True)
class Caller:
    """One caller of the API, and the stack behind it."""

    url: str
    key: str
    stack: Stack

    def sdk(self, **headers: str) -> OpenAI:
        """OpenAI's own client, without its retries."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return OpenAI(
            base_url=f"{self.url}/v1",
            api_key=self.key,
            default_headers=named,
            max_retries=0,
            timeout=ANSWER_TIMEOUT_S,
        )

    def get(self, path: str) -> httpx.Response:
        """A plain GET."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.get(self.url + path, headers=headers, timeout=ANSWER_TIMEOUT_S)


def free_port() -> int:
    """Nobody's yet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A key with credit."""
    folder: Path = tmp_path_factory.mktemp("sam")
    with sam_local(folder, free_port()) as (stack, url):
        yield Caller(url, stack.aws_stack.key, stack)


# Before the others: one stack can be served at a time.
def test_ctrl_c_leaves_nothing_behind() -> None:
    port = free_port()
    command = [sys.executable, "-m", "tests.slow.sam_local", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        told = [line.partition("=")[0] for line in islice(process.stdout, 4)]
        assert told[2:] == ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
        assert made()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all
        assert process.stdout.read().split() == ["removing", "what", "was", "started"]
        assert process.wait() == 0
    assert made() == []
    socket.create_server(("127.0.0.1", port)).close()


def test_the_catalog_was_loaded_by_its_function(caller: Caller) -> None:
    (told,) = caller.stack.aws_stack.aws.told
    assert (told["Status"], told["Data"]) == ("SUCCESS", {"Sha256": repository_catalog().sha256})


def test_the_directory_answers(caller: Caller) -> None:
    assert caller.get("/healthz").status_code == 200
    assert "infomaniak-gemma-4-31b" in {model.id for model in caller.sdk().models.list()}
    assert caller.get("/.well-known/jwks.json").json()["keys"]


@pytest.mark.parametrize("phi", ["true", "false"])
def test_a_chat_is_answered_and_its_receipt_is_found(caller: Caller, phi: str) -> None:
    completions = caller.sdk(X_PHI=phi).chat.completions.with_raw_response
    raw = completions.create(model="gemma-4", messages=ASKED)
    assert raw.parse().choices[0].message.content
    tier = "phi" if phi == "true" else "general"
    assert raw.headers["x-phi-routed"] == f"infomaniak-gemma-4-31b/CH/{tier}"
    receipt = caller.get(f"/v1/receipts/{raw.headers['x-phi-receipt']}")
    assert receipt.status_code == 200, receipt.text


def test_a_stream_comes_in_one_piece(caller: Caller) -> None:
    chunks = list(
        caller.sdk().chat.completions.create(model="gemma-4", messages=ASKED, stream=True)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_region_that_is_not_served_is_refused(caller: Caller) -> None:
    with pytest.raises(APIStatusError) as refused:
        caller.sdk(X_Region="US").chat.completions.create(model="gemma-4", messages=ASKED)
    assert (refused.value.status_code, refused.value.code) == (421, "region_not_served")


def test_math_is_refused_with_the_reason_and_a_receipt(caller: Caller) -> None:
    math = OpenAI(base_url=f"{caller.url}/v1/math", api_key=caller.key, max_retries=0)
    with pytest.raises(APIStatusError) as refused:
        math.chat.completions.create(model="gemma-4", messages=ASKED)
    assert (refused.value.status_code, refused.value.code) == (503, "sandbox_error")
    assert "Streaming=on" in refused.value.message
    receipt = caller.get(f"/v1/receipts/{refused.value.response.headers['x-phi-receipt']}")
    assert receipt.status_code == 200, receipt.text


def test_chat_streams_through_the_layer(caller: Caller) -> None:
    asked = {"model": "gemma-4", "messages": ASKED, "stream": True}
    event = rest("/v1/chat/completions", asked, caller.key)
    prelude, body = caller.stack.stream("Chat", event)
    assert (prelude["statusCode"], body.strip()[-12:]) == (200, "data: [DONE]")
    receipt = caller.get(f"/v1/receipts/{prelude['headers']['x-phi-receipt']}")
    assert receipt.status_code == 200, receipt.text


def test_math_answers_through_the_layer(caller: Caller) -> None:
    event = rest("/v1/math/chat/completions", {"model": "auto", "messages": ASKED}, caller.key)
    prelude, body = caller.stack.stream("Math", event)
    assert prelude["statusCode"] == 200
    assert json.loads(body)["choices"][0]["message"]["content"]


def test_the_sweeper_settles_what_a_process_left_behind_and_fills_the_pool(caller: Caller) -> None:
    aws_stack = caller.stack.aws_stack
    aws_stack.ask(lambda dynamodb: hold_left_behind(dynamodb, aws_stack.key, left_s=-1))
    assert caller.get("/v1/account").json()["held_micro"] == 100
    aws_stack.aws.actions.clear()
    lines = {line["event"]: line for line in caller.stack.invoke("Sweeper", SCHEDULED)}
    called = set(aws_stack.aws.actions)
    assert (lines["swept"]["expired"], lines["ledger_checked"]["broken"]) == (1, 0)
    assert lines["agreements_checked"]["AgreementDaysLeft"] > 0
    assert (lines["sandboxes_swept"]["stopped"], lines["days_closed"]["days"]) == (0, 0)
    # What its role lets it do, and no more.
    assert {"ecs:ListTasks", "ecs:RunTask"} < called < ACTIONS["sweeper"]
    assert caller.get("/v1/account").json()["held_micro"] == 0
    assert len(boto3.client("ecs").list_tasks(cluster="phigate")["taskArns"]) == 1
