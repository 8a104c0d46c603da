"""Who reaches the local table: its owner, through the state directory, and nobody else.

The strangers are real: a process of another user, and HTTP as a page in a browser would send it.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import engine
from local.engine import Engine
from phigate.core.ledger.account import ACCOUNT_SK, account_pk
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.ledger import DynamoLedger
from tests.local.test_engine import on

NOBODY = 65534
CREDIT_MICROS = 39
# What anybody on the machine can try: DynamoDB's own protocol at every TCP port that listens, and
# the engine's address. It prints which of them let it in.
STRANGER = """
import http.client, json, os, socket, sys
told = json.loads(sys.stdin.read())
"localhost".encode("idna")  # loads what cannot be loaded as another user
if told["uid"]:
    os.setgroups([])
    os.setgid(told["uid"])
    os.setuid(told["uid"])
doors = []
try:
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(told["address"].removeprefix("unix:"))
    doors.append("the socket")
except OSError:
    pass
ports = {
    int(line.split()[1].rpartition(":")[2], 16)
    for table in ("tcp", "tcp6")
    for line in open(f"/proc/net/{table}").readlines()[1:]
    if line.split()[3] == "0A"
}
for port in ports:
    for method in ("OPTIONS", "POST"):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request(method, "/", json.dumps(told["body"]), told["headers"])
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            continue
        if method == "POST" and answer.status == 200:
            grant = answer.getheader("access-control-allow-origin")
            doors.append(f"a port, with the grant {grant}")
print(json.dumps(doors))
"""
HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.UpdateItem",
    "Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/any/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=none",
    "X-Amz-Date": "20260101T000000Z",
}
PAGES = {
    "of another site": {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    "with a name that was rebound": {"Host": "evil.example:8000", "Origin": "http://evil.example"},
    "in a sandboxed frame": {"Origin": "null"},
}


@pytest.fixture
def account() -> str:
    """A name that no other engine of this machine has."""
    return f"a{secrets.token_hex(8)}"


@pytest.fixture(params=["dynoxide", "moto"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Both engines, in a directory that others may look into: its mode alone must not matter."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    started = engine.start(state, tmp_path / "none" if request.param == "moto" else None)
    try:
        assert started.name == request.param
        yield started
    finally:
        started.stop()


def opened(running: Engine, account: str) -> None:
    """An account with some credit."""

    async def work(dynamo: DynamoDB) -> None:
        admin = DynamoAdmin(dynamo, WallClock())
        await admin.create_account(account)
        await admin.add_credit(account, CREDIT_MICROS, "opening")

    on(running, work)


def available(running: Engine, account: str) -> int | None:
    """What the account has."""

    async def work(dynamo: DynamoDB) -> int | None:
        view = await DynamoLedger(dynamo, WallClock()).account(account)
        return None if view is None else view.available_micros

    return on(running, work)


def doors_to(
    running: Engine, account: str, *, uid: int = 0, headers: dict[str, str] | None = None
) -> list[str]:
    """ReceiptFactory credit as a stranger; what let them in."""
    body = {
        "TableName": "phigate",
        "Key": {"pk": {"S": account_pk(account)}, "sk": {"S": ACCOUNT_SK}},
        "UpdateExpression": "SET avail = :much",
        # Other engines of this machine are left alone: they have no such account.
        "ConditionExpression": "attribute_exists(pk)",
        "ExpressionAttributeValues": {":much": {"N": "1000000000"}},
    }
    told = {"uid": uid, "address": running.url, "body": body, "headers": HEADERS | (headers or {})}
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", STRANGER],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    doors: list[str] = json.loads(ran.stdout)
    return doors


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_mints_no_credit(running: Engine, account: str) -> None:
    opened(running, account)
    assert doors_to(running, account, uid=NOBODY) == []
    assert available(running, account) == CREDIT_MICROS


@pytest.mark.parametrize("page", PAGES)
def test_a_page_in_a_browser_gets_no_grant_and_no_data(
    running: Engine, account: str, page: str
) -> None:
    """A page cannot speak to a socket in a directory, so that one door is not counted."""
    opened(running, account)
    doors = doors_to(running, account, headers=PAGES[page])
    assert [door for door in doors if door != "the socket"] == []
    assert available(running, account) == CREDIT_MICROS


# A user namespace in which no other namespace may be made, as root of a plain container has it.
WITHOUT_NAMESPACES = (
    "echo 0 > /proc/sys/user/max_net_namespaces && echo 0 > /proc/sys/user/max_user_namespaces "
    '&& exec "$@"'
)
STARTER = """
import sys
from pathlib import Path
from local import engine
try:
    running = engine.start(Path(sys.argv[1]))
except engine.EngineFailed as failed:
    print(failed)
else:
    print(running.name, running.durable, running.why)
    running.stop()
"""


def started_without_namespaces(state: Path) -> str:
    """What a start says where the system refuses every namespace."""
    shell = ["unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT_NAMESPACES, "sh"]
    ran = subprocess.run(
        [*shell, sys.executable, "-P", "-c", STARTER, str(state)],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_where_the_engine_cannot_be_shut_off_another_one_serves(tmp_path: Path) -> None:
    told = started_without_namespaces(tmp_path / "state")
    assert told.startswith("moto False this system refuses the network namespace")


def test_a_database_that_cannot_be_shut_off_is_not_opened_and_not_set_aside(tmp_path: Path) -> None:
    """An empty one in its place would make a new key and lose the old one."""
    engine.start(tmp_path).stop()
    told = started_without_namespaces(tmp_path)
    assert str(tmp_path) in told and "network namespace" in told and "--state" in told
    assert told.count("\n") == 1
    engine.start(tmp_path).stop()


def test_a_state_that_lies_deep_is_reached_too(tmp_path: Path, account: str) -> None:
    """A socket's address has 107 bytes."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    running = engine.start(deep)
    try:
        opened(running, account)
        assert available(running, account) == CREDIT_MICROS
    finally:
        running.stop()


def test_an_engine_sees_no_interface_but_its_own_loopback(tmp_path: Path) -> None:
    running = engine.start(tmp_path)
    try:
        lines = Path(f"/proc/{running.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.partition(":")[0].strip() for line in lines] == ["lo"]
        ours, its = (os.readlink(f"/proc/{pid}/ns/net") for pid in ("self", running.pid))
        assert ours != its
    finally:
        running.stop()
