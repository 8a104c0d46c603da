"""What an earlier release has stored is read, audited and gone on with by this one.

Each folder beside this file is what that release wrote (`record`): its table, its snapshot, and
what its callers kept. Nothing that verified then is called false now.
"""

import asyncio
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from phigate.cli.audit_page import as_json
from phigate.core.attributes import text_at
from phigate.core.ledger.account import account_pk
from phigate.core.ledger.keys import key_sha256, policy_to_json
from phigate.core.limits import KEY_CACHE_S
from phigate.core.receipts.record import nonce
from phigate.core.types import Json
from phigate.effects.audit.auditor import Period, audit
from phigate.effects.store.catalog import DynamoCatalog
from phigate.effects.store.keys import DynamoKeys
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.receipt import Bundle, Evidence, verify
from phigate.verify.receipt_body import jws_of
from phigate.verify.roots import CATALOGS, CERTIFICATES, Roots, by_kid
from phigate.wire.jwk import ec_public_key
from tests.builders import make_body
from tests.fakes import FakeClock, FakeDynamo, RecordingEventLog
from tests.pipeline.gateway_harness import GatewayHarness, answers
from tests.releases.record import ACCOUNT, SIGNATURE

FOLDERS = sorted(path for path in Path(__file__).parent.iterdir() if (path / "items.json").exists())
PHI = {"x-phi": "true", "x-region": "CH"}


@cache
def loaded(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


class Stored:
    """The table of a release, an hour after its last write."""

    def __init__(self, folder: Path) -> None:
        self.expected: Json = loaded(folder / "expected.json")
        self.snapshot = (folder / "snapshot.json").read_bytes()
        self.clock = FakeClock(self.expected["now_s"] + 60)
        self.dynamo = FakeDynamo()
        for item in json.loads((folder / "items.json").read_text("utf-8")):
            self.dynamo.items[text_at(item, "pk") or "", text_at(item, "sk") or ""] = item
        self.receipts = DynamoReceipts(self.dynamo, self.clock)
        self.ledger = DynamoLedger(self.dynamo, self.clock)
        self.roots: Roots = by_kid(asyncio.run(self.receipts.roots()))
        self.event_log = RecordingEventLog()

    def catalog(self) -> DynamoCatalog:
        """The catalog as a function reads it."""
        trusted = {
            kid: ec_public_key(root.jwk)
            for kid, root in self.roots.items()
            if root.signs == CATALOGS
        }
        return DynamoCatalog(self.dynamo, self.clock, self.event_log, trusted)

    def audited(self, last_day: str | None = None) -> Json:
        """This release's audit of what the other has stored."""
        period = Period(ACCOUNT, self.expected["first_day"], last_day or self.expected["last_day"])
        report = asyncio.run(audit(self.dynamo, self.clock, period))
        assert report is not None
        told: Json = json.loads(json.dumps(as_json(report, "the table itself")))
        return told


@pytest.fixture(params=FOLDERS, ids=[folder.name for folder in FOLDERS])
def stored(request: pytest.FixtureRequest) -> Stored:
    return Stored(request.param)


def test_there_are_releases_to_read() -> None:
    assert "0.1.0" in [folder.name for folder in FOLDERS]


def test_an_audit_finds_what_it_found_then(stored: Stored) -> None:
    now = stored.audited()
    then = stored.expected["audit"]
    assert now["findings"]["total"] == 0
    assert {name: now.get(name) for name in then} == then


def test_every_receipt_verifies_with_the_bytes_that_its_caller_kept(stored: Stored) -> None:
    verified = 0
    for call in stored.expected["calls"]:
        found = asyncio.run(stored.ledger.receipt(ACCOUNT, call["receipt"]))
        assert found is not None
        assert found.signed is not None
        certificate = asyncio.run(stored.receipts.certificate(found.signed.kid))
        evidence = Evidence(
            roots=stored.roots,
            request=call["sent"].encode(),
            response=call["got"].encode(),
            nonce=nonce(stored.expected["keys"][call["key"]], call["receipt"]),
        )
        told = verify(Bundle(jws_of(found.signed), certificate), evidence)
        assert [check for check in told.checks if check.outcome == "fails"] == [], call["what"]
        assert told.is_anchored
        held = {check.name for check in told.checks if check.outcome == "holds"}
        assert {"request", "response"} <= held, call["what"]
        changed = Evidence(
            roots=stored.roots,
            request=evidence.request,
            response=call["got"].encode() + b" ",
            nonce=evidence.nonce,
        )
        assert verify(Bundle(jws_of(found.signed), certificate), changed).fails
        verified += 1
    assert verified == len(stored.expected["calls"]) > 10


def test_the_snapshot_is_served_as_it_was_signed(stored: Stored) -> None:
    view = asyncio.run(stored.catalog().current())
    assert view.catalog.sha256 == hashlib.sha256(stored.snapshot).hexdigest()
    document = json.loads(stored.snapshot)
    rows = [
        row for name in sorted(document["providers"]) for row in document["providers"][name]["rows"]
    ]
    assert [row.id for row in view.catalog.rows] == [row["id"] for row in rows]
    for row, said in zip(view.catalog.rows, rows, strict=True):
        assert (row.agreement is None) == ("agreement" not in said), row.id
        assert row.base.out_micros_per_mtok == said["price"]["out_micros_per_mtok"]
    card = asyncio.run(stored.catalog().card(view.catalog.card_sha256))
    assert card is not None, "the card that receipts name is the one that was stored"
    assert stored.event_log.notes == []


def test_a_key_may_what_it_might(stored: Stored) -> None:
    keys = DynamoKeys(stored.dynamo, stored.clock)
    for name, key in stored.expected["keys"].items():
        principal = asyncio.run(keys.lookup(key_sha256(key)))
        if name == "disabled":
            assert principal is None
            continue
        assert principal is not None
        now = json.loads(policy_to_json(principal.policy))
        then = stored.expected["policies"][name]
        assert {member: now[member] for member in then} == then


def test_the_account_goes_on_where_it_stood(stored: Stored) -> None:
    then = stored.expected["account"]
    view = asyncio.run(stored.ledger.account(ACCOUNT))
    assert view is not None
    assert {name: getattr(view, name) for name in then} == then
    stored.clock.time_s += 2_000
    asyncio.run(stored.ledger.sweep(ACCOUNT, int(stored.clock.time_s)))
    view = asyncio.run(stored.ledger.account(ACCOUNT))
    assert view is not None
    assert (view.held_micros, view.spent_micros) == (0, then["spent_micros"])
    assert view.available_micros + view.spent_micros == view.topped_up_micros


def test_what_stands_beside_a_receipt_is_read(stored: Stored) -> None:
    (call,) = [c for c in stored.expected["calls"] if c["what"] == "confidential"]
    upstream = asyncio.run(stored.receipts.upstream(ACCOUNT, call["receipt"]))
    assert upstream is not None
    assert upstream.signature == SIGNATURE["signature"]
    assert asyncio.run(stored.receipts.text(ACCOUNT, call["receipt"])) is not None


def test_calls_go_on_under_the_old_snapshot_and_an_audit_of_both_days_is_clean(
    stored: Stored,
) -> None:
    harness = GatewayHarness(
        answers("heute"), answers("heute"), clock=stored.clock, regions=("CH", "US")
    )
    harness.ledger.dynamo.items = stored.dynamo.items
    harness.use(keys=DynamoKeys(stored.dynamo, stored.clock), catalog=stored.catalog())
    asyncio.run(
        stored.receipts.use_root(
            asyncio.run(harness.root.jwk()), CERTIFICATES, int(stored.clock.time_s)
        )
    )
    key = stored.expected["keys"]["plain"]
    body = make_body(model="gemma-4", max_tokens=100)
    told = harness.chat(body, PHI, key=key)
    assert (told.status, told.headers["x-phi-tier"]) == (200, "phi")
    refused = harness.chat(body, {**PHI, "x-region": "US"}, key=key)
    assert (refused.status, refused.error["code"]) == (403, "phi_blocked")
    stored.clock.time_s += KEY_CACHE_S
    today = "2026-12-01"
    now = stored.audited(today)
    assert now["findings"]["listed"] == []
    assert now["receipts"] == stored.expected["audit"]["receipts"] + 2
    assert account_pk(ACCOUNT) in {pk for pk, _ in stored.dynamo.items}
