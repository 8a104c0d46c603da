"""One stack of functions: its table, its keys, its providers, and a caller's key."""

import asyncio
import io
import json
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from local import engine
from phigate.aws.environment import LambdaEnvironment
from phigate.aws.settings import Function
from phigate.core.clock import Clock
from phigate.core.ledger.keys import key_sha256
from phigate.core.ledger.port import HoldRequest
from phigate.core.receipts.ids import new_id
from phigate.core.types import KeyPolicy
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import DynamoAdmin, create_table
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.keys import DynamoKeys
from phigate.effects.store.ledger import DynamoLedger
from tests.builders import CATALOG_FOLDER
from tests.functions.aws import AWS_REGION, Aws, serving
from tests.streaming_runtime.events import event

T = TypeVar("T")
REQUEST_ID = "lambda-1"
CONTEXT = SimpleNamespace(aws_request_id=REQUEST_ID)
ENVIRONMENT = {
    "AWS_REGION": AWS_REGION,
    "AWS_ACCESS_KEY_ID": "made",
    "AWS_SECRET_ACCESS_KEY": "up",
    "AWS_SESSION_TOKEN": "token",
    "PHIGATE_TABLE": "phigate",
    "PHIGATE_STACK": "stack-ch",
    "PHIGATE_ISSUER": "https://x.execute-api.eu-central-2.amazonaws.com/api",
    "PHIGATE_REGION": "CH",
    "PHIGATE_JURISDICTIONS": "CH",
    "PHIGATE_ALLOW_UNPROVEN": "",
    "PHIGATE_RECEIPTS_REQUIRED": "phi",
    "PHIGATE_RECEIPT_KEY": "receipt-key",
    "PHIGATE_CATALOG_KEY": "catalog-key",
    "PHIGATE_DAY_KEY": "day-key",
    "PHIGATE_REDPILL_KEY": "redpill-key",
    "PHIGATE_SECRETS": "stack-ch/provider",
    "PHIGATE_STREAMING": "on",
    "PHIGATE_DIGEST_BUCKET": "",
    "PHIGATE_CATALOG_FOLDER": str(CATALOG_FOLDER),
}
TASKS = {
    "PHIGATE_CLUSTER": "phigate",
    "PHIGATE_TASK_DEFINITION": "phigate-sandbox",
    "PHIGATE_SUBNETS": "subnet-1,subnet-2",
    "PHIGATE_SECURITY_GROUPS": "sg-1",
    "PHIGATE_SANDBOX_IMAGE": "registry/sandbox@sha256:0",
    "PHIGATE_WARM_POOL": "1",
    "PHIGATE_SANDBOXES_PER_ACCOUNT": "4",
    "PHIGATE_SANDBOXES_PER_STACK": "50",
    "PHIGATE_SANDBOX_SECRET": "stack-ch/sandbox",
}
INFOMANIAK = json.dumps({"api_key": "simulated", "product_id": "1"})


class AwsStack:
    """One stack. `log` is what its functions wrote."""

    def __init__(self, dynamo_url: str, simulated_url: str) -> None:
        self.aws = Aws(dynamo_url)
        self.aws.secrets["stack-ch/provider/infomaniak"] = INFOMANIAK
        self.log = io.StringIO()
        self.key = ""
        self._dynamo_url = dynamo_url
        self._simulated_url = simulated_url

    def lambda_environment(
        self, function: Function, clock: Clock | None = None, **changes: str | None
    ) -> LambdaEnvironment:
        """What a function of this stack finds outside, with what its role allows; None takes a
        variable away."""
        variables = {**ENVIRONMENT, "AWS_ACCESS_KEY_ID": function, **changes}
        kept = {name: value for name, value in variables.items() if value is not None}
        return LambdaEnvironment(
            environ=lambda: kept,
            endpoint=self.aws.endpoint,
            clock=clock or WallClock(),
            log=self.log,
            base_url=lambda name: f"{self._simulated_url}/{name}/v1",
        )

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]

    def ask(self, work: Callable[[DynamoDB], Awaitable[T]]) -> T:
        """Do something with the table, unrecorded."""

        async def done() -> T:
            dynamodb = DynamoDB(
                table="phigate",
                endpoint=self._dynamo_url,
                region="local",
                credentials=lambda: Credentials("local", "local"),
                clock=WallClock(),
            )
            try:
                return await work(dynamodb)
            finally:
                await dynamodb.close()

        return asyncio.run(done())


def sync_event(kind: str, url: str, **more: str) -> dict[str, Any]:
    """An event of CloudFormation."""
    return {
        "RequestType": kind,
        "ResponseURL": f"{url}/signed?X-Amz-Signature=a%2Fb",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "CatalogSync",
        **more,
    }


def rest(path: str, body: Any = None, key: str = "", **headers: str) -> dict[str, Any]:
    """An event of the REST API; underscores in header names are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if key:
        named["Authorization"] = f"Bearer {key}"
    payload: dict[str, Any] = json.loads(
        event(
            path=path,
            httpMethod="GET" if body is None else "POST",
            context={"path": f"/api{path}"},
            headers=named,
            multiValueHeaders={name: [value] for name, value in named.items()},
            body=None if body is None else json.dumps(body),
        )
    )
    return payload


async def prepared(dynamodb: DynamoDB) -> str:
    """The table, and a key with credit."""
    await create_table(dynamodb, WallClock())
    admin = DynamoAdmin(dynamodb, WallClock())
    await admin.create_account("clinic")
    await admin.add_credit("clinic", 10_000_000, "first credit")
    return await admin.create_key("clinic", "test", KeyPolicy())


async def hold_left_behind(dynamodb: DynamoDB, key: str, left_s: int = 120) -> None:
    """A hold whose process has died, so many seconds before it expires."""
    clock = WallClock()
    principal = await DynamoKeys(dynamodb, clock).lookup(key_sha256(key))
    assert principal is not None
    now_s = int(clock.now_s())
    await DynamoLedger(dynamodb, clock).hold(
        HoldRequest(
            account=principal.account,
            key_id=principal.key_id,
            id=new_id(now_s, secrets.token_bytes(7)),
            micros=100,
            expires_at_s=now_s + left_s,
            now_s=now_s,
            rpm=600,
        )
    )


@contextmanager
def simulated() -> Iterator[str]:
    """The simulated providers."""
    command = [sys.executable, "-m", "local.simulated"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().partition(": ")[2].strip()
        finally:
            process.terminate()


@contextmanager
def aws_stack_in(folder: Path) -> Iterator[AwsStack]:
    """A stack whose table stands, without a catalog."""
    running = engine.start(folder)
    try:
        assert running.name == "dynoxide", "run local/install_dynoxide.py"
        with simulated() as simulated_url:
            aws_stack = AwsStack(running.url, simulated_url)
            with serving(aws_stack.aws):
                aws_stack.key = aws_stack.ask(prepared)
                yield aws_stack
    finally:
        running.stop()
