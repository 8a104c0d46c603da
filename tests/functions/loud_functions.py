"""`python -m tests.functions.loud_functions FOLDER`: every function of a stack, in a process of its
own, since Powertools reads some variables when it is imported.

What the functions write goes to this process' own streams. Where no word of it may stand there, it
is kept in FOLDER/canaries.json: the caller's key and what the models answered.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from phigate.aws.buffered import Buffered
from phigate.aws.catalog_sync import CatalogSync
from phigate.aws.chat import chat
from phigate.aws.directory import directory
from phigate.aws.environment import LambdaEnvironment
from phigate.aws.error_responses import FAILURES
from phigate.aws.math import math
from phigate.aws.settings import Function
from phigate.aws.sweeper import Sweeper, SweepFailed
from phigate.effects.signing.signer import SigningFailed
from streaming_runtime.journal import StderrJournal
from tests.functions.aws import moto_services
from tests.functions.aws_stack import CONTEXT, TASKS, AwsStack, aws_stack_in, rest, sync_event
from tests.streaming_runtime.runtime_harness import harness

CHAT, MATH = "/v1/chat/completions", "/v1/math/chat/completions"
PROMPT = "canary-prompt-left-knee"
PROVIDER_KEY = "canary-provider-key"
SANDBOX_SECRET = "canary-sandbox-secret" * 4
# Each must be named in no line; what is made anew with each run is added to them.
CANARIES = {
    "prompt": PROMPT,
    "provider's key": PROVIDER_KEY,
    "sandboxes' secret": SANDBOX_SECRET,
    "AWS secret": "canary-aws-secret",
    "AWS token": "canary-aws-token",
}
CREDENTIALS = {
    "AWS_SECRET_ACCESS_KEY": CANARIES["AWS secret"],
    "AWS_SESSION_TOKEN": CANARIES["AWS token"],
}
ASKED = {"model": "gemma-4", "messages": [{"role": "user", "content": PROMPT}]}
BROKEN = {**ASKED, "messages": [{"role": "user", "content": f"{PROMPT} simulate:garbage"}]}


class Stack:
    """A stack whose functions write to this process' standard output."""

    def __init__(self, aws_stack: AwsStack, variables: dict[str, Any]) -> None:
        self.aws_stack = aws_stack
        self.answers: list[str] = []
        self._variables = variables

    def lambda_environment(self, function: Function) -> LambdaEnvironment:
        """What a function finds outside."""
        loud = {name: text for name, text in os.environ.items() if name.startswith("POWERTOOLS_")}
        variables = {**TASKS, **self._variables, **CREDENTIALS, **loud}
        return replace(self.aws_stack.lambda_environment(function, **variables), log=sys.stdout)

    def rest(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """An event, with the caller's key."""
        return rest(path, body, self.aws_stack.key, **headers)

    def keep(self, body: str) -> None:
        """What a model answered."""
        if body.startswith("{"):
            self.answers.append(json.loads(body)["choices"][0]["message"]["content"])
            return
        events = [line.removeprefix("data: ") for line in body.splitlines() if '"choices"' in line]
        deltas = [choice["delta"] for each in events for choice in json.loads(each)["choices"]]
        self.answers.append("".join(delta.get("content") or "" for delta in deltas))


@contextlib.contextmanager
def ready(folder: Path) -> Iterator[Stack]:
    """With its secrets, its tasks and its bucket."""
    with aws_stack_in(folder / "state") as aws_stack, moto_services(aws_stack.aws) as named:
        aws_stack.aws.secrets |= {
            "stack-ch/provider/infomaniak": json.dumps(
                {"api_key": PROVIDER_KEY, "product_id": "1"}
            ),
            "stack-ch/sandbox": SANDBOX_SECRET,
        }
        yield Stack(aws_stack, named)


def run(stack: Stack) -> None:
    """Each function by its handler: answers, refusals, failures, and starts that are refused."""
    sync = CatalogSync(stack.lambda_environment("catalog_sync"))
    sync(sync_event("Create", stack.aws_stack.aws.url), CONTEXT)
    asyncio.run(streamed(stack))
    chats(stack)
    maths(stack)
    told(stack)
    sweeper = Sweeper(stack.lambda_environment("sweeper"))
    sweeper({"source": "aws.events"}, CONTEXT)
    stack.aws_stack.aws.down = {"secretsmanager"}
    with contextlib.suppress(SweepFailed):
        sweeper({"source": "aws.events"}, CONTEXT)


async def quoting() -> None:
    """A failure that nobody awaits."""
    raise ValueError(PROMPT)


async def streamed(stack: Stack) -> None:
    """chat behind the runtime, whose own lines are written as it writes them on Lambda."""
    async with harness(lambda: chat(stack.lambda_environment("chat")), failures=FAILURES) as story:
        for stream in (False, True):
            for phi in ("false", "true"):
                payload = stack.rest(CHAT, {**ASKED, "stream": stream}, X_PHI=phi)
                story.api.hand_out(json.dumps(payload).encode())
                prelude, body = await (await story.api.post()).streamed()
                assert prelude["statusCode"] == 200, body
                stack.keep(body.decode())
        asyncio.get_running_loop().create_task(quoting())
        story.api.hand_out(f'{{"{PROMPT}'.encode())  # no event
        assert (await story.api.post()).path.endswith("/error")
    for line in story.journal.lines:
        StderrJournal(os.environ).note(str(line.pop("event")), **line)


def chats(stack: Stack) -> None:
    """chat behind Mangum: an answer, a provider that answers garbage, a refusal, a bug."""
    handler = Buffered(lambda: chat(stack.lambda_environment("chat")))
    answer = handler(stack.rest(CHAT, ASKED), CONTEXT)
    stack.keep(answer["body"])
    assert handler(stack.rest(CHAT, BROKEN), CONTEXT)["statusCode"] == 502
    assert handler(stack.rest(CHAT, ASKED, X_Region="US"), CONTEXT)["statusCode"] == 421
    assert handler(stack.rest(CHAT, {**ASKED, PROMPT: 1}), CONTEXT)["statusCode"] == 400
    stack.aws_stack.aws.down = {"dynamodb"}
    assert handler(stack.rest(CHAT, ASKED), CONTEXT)["statusCode"] >= 500
    stack.aws_stack.aws.down = set()
    handler.close()


def maths(stack: Stack) -> None:
    handler = Buffered(lambda: math(stack.lambda_environment("math")))
    answer = handler(stack.rest(MATH, ASKED), CONTEXT)
    assert answer["statusCode"] == 200, answer["body"]
    stack.keep(answer["body"])
    handler.close()


def told(stack: Stack) -> None:
    handler = Buffered(lambda: directory(stack.lambda_environment("directory")))
    stack.aws_stack.aws.down = {"kms"}
    with contextlib.suppress(SigningFailed):
        handler(stack.rest("/v1/models"), CONTEXT)
    stack.aws_stack.aws.down = set()
    for path in ("/v1/models", "/v1/account", "/.well-known/jwks.json"):
        assert handler(stack.rest(path), CONTEXT)["statusCode"] == 200, path
    assert handler(stack.rest("/v1/route", ASKED), CONTEXT)["statusCode"] == 200
    stack.aws_stack.aws.down = {"dynamodb"}
    assert handler(stack.rest("/v1/account"), CONTEXT)["statusCode"] >= 500
    stack.aws_stack.aws.down = set()
    handler.close()


def main(folder: Path) -> int:
    """The exit status."""
    os.environ |= CREDENTIALS
    with ready(folder) as stack:
        # As the managed runtime does where AWS_LAMBDA_LOG_LEVEL is at its loudest.
        logging.basicConfig(stream=sys.stdout, level=logging.NOTSET)
        run(stack)
        kept = {"caller's key": stack.aws_stack.key}
        kept |= {f"answer {number}": text for number, text in enumerate(stack.answers)}
        (folder / "canaries.json").write_text(json.dumps(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
