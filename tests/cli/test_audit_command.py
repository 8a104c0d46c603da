"""`phigate audit` and `phigate days` on a real engine."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from bench.audit_operator import Operator
from bench.audit_plan import PLANTS, Traffic, Written
from phigate.cli.audit_page import FINDINGS_SHOWN_MAX
from phigate.core.types import Json
from phigate.effects.audit.day_closer import Closing
from phigate.effects.audit.s3_digests import S3Digests
from phigate.effects.clock import WallClock
from phigate.effects.signing.key_files import file_signer
from phigate.effects.store.admin import create_table
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.roots import PURPOSES, Root, jwks
from tests.cli.conftest import Terminal
from tests.cli.test_keys import made

TRAFFIC = Traffic("clinic", "2026-03-01", days=8, per_day=12)
PLANTED = Traffic("clinic", "2026-03-01", days=12, per_day=8, plants=frozenset(PLANTS))
PERIOD = ("--account", "clinic", "--from", "2026-03-01", "--to", "2026-03-12")
AUDIT = ("audit", *PERIOD)
BUCKET = "kept-digests"


def kept(terminal: Terminal, traffic: Traffic = TRAFFIC) -> Written:
    """Leave an account's traffic in the engine, its days still open."""

    async def keep(dynamodb: DynamoDB) -> Written:
        await create_table(dynamodb, WallClock())
        operator = Operator(dynamodb, {s: file_signer(terminal.state, s) for s in PURPOSES})
        await operator.open(traffic)
        return await operator.write(traffic)

    return terminal.ask(keep)


def said(terminal: Terminal, *flags: str) -> Json:
    """The report as JSON."""
    ran = terminal(*AUDIT, "--json", *flags)
    told: Json = json.loads(ran.out)
    assert ran.status == (1 if told["findings"]["total"] else 0)
    return told


def close_again(terminal: Terminal, traffic: Traffic = TRAFFIC) -> None:
    """Sign every day anew, as who holds the root may."""

    async def close(dynamodb: DynamoDB) -> Closing:
        receipts = DynamoReceipts(dynamodb, WallClock())
        for day, _ in await receipts.digests("clinic"):
            key = {"pk": {"S": "D#clinic"}, "sk": {"S": day}}
            await dynamodb.call("DeleteItem", {"TableName": dynamodb.table, "Key": key})
        operator = Operator(dynamodb, {s: file_signer(terminal.state, s) for s in PURPOSES})
        return await operator.close(traffic)

    assert len(terminal.ask(close).days) == traffic.days


def test_close_says_which_days_it_closed_and_closes_them_once(terminal: Terminal) -> None:
    kept(terminal)
    ran = terminal("days", "close")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [f"closed 2026-03-0{n} of clinic" for n in range(1, 9)]
    again = terminal("days", "close", "--account", "clinic")
    assert (again.status, again.out) == (0, "")


def test_a_clean_period_is_status_0_and_one_page(terminal: Terminal) -> None:
    kept(terminal)
    terminal("days", "close")
    ran = terminal(*AUDIT)
    assert (ran.status, ran.err) == (0, "")
    assert len(ran.out.splitlines()) < 60
    for part in (
        "account      clinic",
        "period       2026-03-01 to 2026-03-12",
        "stack        local",
        "8 days closed",
        "from the table itself",
        "no saved digests were given",
        "infomaniak-dpa-2026",
        "0 findings",
    ):
        assert part in ran.out


def test_what_was_planted_is_found_and_nothing_else(terminal: Terminal) -> None:
    written = kept(terminal, PLANTED)
    close_again(terminal, PLANTED)
    found = said(terminal)["findings"]
    listed = sorted((each["subject"], each["rule"]) for each in found["listed"])
    assert listed == sorted(written.planted.values())
    page = terminal(*AUDIT)
    assert page.status == 1
    assert "5 findings (agreement 1, cost 1, gap 1, region 1, signature 1)" in page.out


def test_days_that_nobody_closed_are_findings(terminal: Terminal) -> None:
    kept(terminal)
    assert said(terminal)["findings"]["by_rule"] == {"digest": TRAFFIC.days}


def test_json_has_what_the_page_has(terminal: Terminal) -> None:
    written = kept(terminal)
    terminal("days", "close")
    told = said(terminal)
    assert told["charged_micro"] == written.charged_micros
    assert told["receipts"] + told["tombstones"] == TRAFFIC.numbers
    assert told["numbers"] == [1, TRAFFIC.numbers]
    assert told["digests"] == {"days_closed": 8, "days_open": [], "saved": 0}
    assert told["uncertified"] == {"count": 0, "accepted_max": 0, "ids": []}
    assert told["roots"]["from"] == "the table itself"
    assert {key["signs"] for key in told["roots"]["keys"]} == set(PURPOSES)
    answered = sum(answer["count"] for answer in told["answers"])
    assert answered + sum(told["refusals"].values()) == told["receipts"]


def test_a_long_list_of_findings_is_cut_with_its_total(terminal: Terminal) -> None:
    traffic = Traffic("clinic", "2026-03-01", days=3, per_day=40)
    kept(terminal, traffic)

    async def forget(dynamodb: DynamoDB) -> None:
        query = {
            "TableName": dynamodb.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": "R#clinic#2026-03-02"}},
        }
        for item in (await dynamodb.call("Query", query))["Items"]:
            call = {"TableName": dynamodb.table, "Item": {**item, "st": {"S": "gone"}}}
            await dynamodb.call("PutItem", call)

    terminal.ask(forget)
    ran = terminal(*AUDIT)
    assert ran.status == 1
    # 40 items that cannot be read, and three days without a digest.
    assert f"and {43 - FINDINGS_SHOWN_MAX} more" in ran.out


def test_saved_digests_show_a_day_that_was_signed_anew(terminal: Terminal, tmp_path: Path) -> None:
    kept(terminal)
    terminal("days", "close")
    folder = tmp_path / "saved"
    ran = terminal("days", "save", *PERIOD, str(folder))
    assert (ran.status, ran.out) == (0, f"saved 8 digests in {folder}; 0 were there before\n")
    assert "saved 0 digests" in terminal("days", "save", *PERIOD, str(folder)).out
    files = sorted(map(str, folder.iterdir()))
    assert Path(files[0]).name == "clinic-2026-03-01.jws"
    assert said(terminal, "--digest", *files)["digests"]["saved"] == 8
    close_again(terminal)
    assert said(terminal)["findings"]["total"] == 0
    found = said(terminal, "--digest", *files)["findings"]
    assert found["by_rule"] == {"saved": 8}
    refused = terminal("days", "save", *PERIOD, str(folder))
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "signed anew" in refused.err


def test_nothing_to_save_is_one_line(terminal: Terminal, tmp_path: Path) -> None:
    made(terminal)
    ran = terminal("days", "save", *PERIOD, str(tmp_path / "saved"))
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert not (tmp_path / "saved").exists()


def test_a_bucket_shows_a_day_that_was_signed_anew(terminal: Terminal) -> None:
    kept(terminal)
    terminal("days", "close")
    environ = {"PHIGATE_STATE": str(terminal.state), "AWS_REGION": "eu-central-2"}
    flags = (*AUDIT, "--json", "--bucket", BUCKET, "--stack", "stack-ch")
    with mock_aws():
        client = boto3.client("s3", region_name="eu-central-2")
        client.create_bucket(
            Bucket=BUCKET,
            CreateBucketConfiguration={"LocationConstraint": "eu-central-2"},
            ObjectLockEnabledForBucket=True,
        )
        empty = terminal(*flags, environ=environ)
        assert (empty.status, empty.err.count("\n")) == (1, 1)
        bucket = S3Digests(client, BUCKET, "stack-ch", WallClock())
        digests = terminal.ask(lambda db: DynamoReceipts(db, WallClock()).digests("clinic"))
        asyncio.run(bucket.keep("clinic", digests))
        assert terminal(*flags, environ=environ).status == 0
        close_again(terminal)
        ran = terminal(*flags, environ=environ)
        missing = terminal(*AUDIT, "--bucket", "no-such-bucket", environ=environ)
    assert ran.status == 1
    assert json.loads(ran.out)["findings"]["by_rule"] == {"saved": 8}
    assert (missing.status, missing.out, missing.err.count("\n")) == (1, "", 1)


def key_set(terminal: Terminal) -> bytes:
    """The roots as `/.well-known/jwks.json` shows them."""
    signers = {signs: file_signer(terminal.state, signs) for signs in PURPOSES}
    roots = [Root(signer.public_jwk, signs, 0) for signs, signer in signers.items()]
    return json.dumps(jwks(roots)).encode()


def test_a_key_set_in_a_file_takes_the_place_of_the_tables_roots(
    terminal: Terminal, tmp_path: Path
) -> None:
    kept(terminal)
    terminal("days", "close")
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(terminal))
    assert said(terminal, "--jwks", str(path))["roots"]["from"] == str(path)
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = Terminal(other, terminal.url, terminal.table, terminal._capsys)
    path.write_bytes(key_set(elsewhere))
    rules = said(terminal, "--jwks", str(path))["findings"]["by_rule"]
    assert rules.keys() == {"certificate", "catalog", "digest"}


@pytest.fixture
def served() -> Iterator[tuple[str, list[bytes]]]:
    """A URL, and what it answers with."""
    answers: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        """Answers every GET."""

        def do_GET(self) -> None:
            """Send it."""
            self.send_response(200 if answers else 404)
            self.end_headers()
            self.wfile.write(answers[0] if answers else b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/.well-known/jwks.json", answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_set_may_be_a_url(terminal: Terminal, served: tuple[str, list[bytes]]) -> None:
    url, answers = served
    kept(terminal)
    terminal("days", "close")
    refused = terminal(*AUDIT, "--jwks", url)
    assert (refused.status, refused.err) == (1, f"phigate: {url} answers 404\n")
    answers.append(key_set(terminal))
    assert said(terminal, "--jwks", url)["findings"]["total"] == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"not JSON", b"{}", b'{"keys": []}', b'{"keys": [], "keys": []}', b"x" * 300_000],
    ids=["empty", "text", "no keys", "none", "twice", "large"],
)
def test_a_key_set_that_is_none_is_one_line(
    terminal: Terminal, tmp_path: Path, content: bytes
) -> None:
    made(terminal)
    path = tmp_path / "jwks.json"
    path.write_bytes(content)
    ran = terminal(*AUDIT, "--jwks", str(path))
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)


def test_an_account_without_traffic_is_clean_also_today(terminal: Terminal) -> None:
    made(terminal)
    today = datetime.now(UTC).date().isoformat()
    ran = terminal("audit", "--account", "clinic", "--from", "2026-03-01", "--to", today)
    assert ran.status == 0
    assert "0 findings" in ran.out


@pytest.mark.parametrize(
    "flags",
    [
        ("--account", "nobody", "--from", "2026-03-01", "--to", "2026-03-02"),
        (*PERIOD, "--digest", "no-such-file.jws"),
        (*PERIOD, "--jwks", "no-such-file.json"),
        (*PERIOD, "--jwks", "http://127.0.0.1:1/jwks.json"),
    ],
    ids=["unknown account", "no digest file", "no key set", "nobody at the URL"],
)
def test_what_is_not_there_is_one_line(terminal: Terminal, flags: tuple[str, ...]) -> None:
    made(terminal)
    ran = terminal("audit", *flags)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "flags",
    [
        ("--account", "clinic", "--from", "2026-03-02", "--to", "2026-03-01"),
        ("--account", "clinic", "--from", "2026-03-02"),
        ("--account", "clinic", "--from", "yesterday", "--to", "2026-03-01"),
        ("--account", "clinic", "--from", "2001-01-01", "--to", "2026-03-01"),
        ("--from", "2026-03-02", "--to", "2026-03-03"),
        (*PERIOD, "--digest"),
        ("--account", "clinic", "--from", "9999-12-30", "--to", "9999-12-31"),
        ("--account", "clinic", "--from", "0001-01-01", "--to", "0001-01-02"),
    ],
    ids=[
        "backwards",
        "no end",
        "no day",
        "25 years",
        "no account",
        "no file",
        "the last day",
        "the first day",
    ],
)
def test_wrong_usage_is_status_2(terminal: Terminal, flags: tuple[str, ...]) -> None:
    ran = terminal("audit", *flags)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
