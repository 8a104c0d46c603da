"""Records what this release stores: `python -m tests.releases.record 0.1.0` writes the folder
`0.1.0` beside this file, which every later release has to read and audit (`test_reading`).

It is run once, on the tree that is released, and what it wrote is never made anew: the fixture is
evidence of what stood in tables then. The keys that signed are thrown away, and the API keys are of
an account that nobody has.
"""

import asyncio
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from phigate import attestation as redpill
from phigate.cli.audit_page import as_json
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.keys import key_sha256, policy_to_json
from phigate.core.ledger.port import HoldRequest
from phigate.core.receipts.ids import new_id
from phigate.core.receipts.record import Signed
from phigate.core.routing.gate import EVERY_UNPROVEN
from phigate.core.types import Json, KeyPolicy, Task
from phigate.core.upstream import Fetched
from phigate.effects.audit.auditor import Period, audit
from phigate.effects.audit.day_closer import DayCloser
from phigate.effects.signing.signer import KeyFileSigner
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.catalog import DynamoCatalog
from phigate.effects.store.catalog_push import push_snapshot
from phigate.effects.store.keys import DynamoKeys
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.audit import Report
from phigate.verify.roots import CATALOGS, CERTIFICATES, DIGESTS, REDPILL
from tests.builders import CATALOG_FOLDER, make_body
from tests.fakes import FakeClock, FakeSandboxes, Script
from tests.pipeline.gateway_harness import GOOD_STREAM, GatewayHarness, answers, fails
from tests.pipeline.test_math import calls as programs_called
from tests.pipeline.test_math import program, ran
from tests.pipeline.test_server_tool import called
from tests.pipeline.test_server_tool import calls as tools_called

FOLDER = Path(__file__).parent
DAY = "2026-11-30"
BEGINS_AT_S = 1_796_034_600.0  # 2026-11-30T10:30:00Z
DAY_S = 86_400
ACCOUNT = "clinic"
SIGNATURE = {
    "text": f"{'a' * 64}:{'b' * 64}",
    "signature": "0x" + "c" * 130,
    "signing_address": "0x" + "D" * 40,
    "signing_algo": "ecdsa",
}
POLICIES = {
    "plain": KeyPolicy(),
    "ward": KeyPolicy(
        phi="required",
        regions=frozenset({"CH", "EU"}),
        models=frozenset({"gemma-4", "qwen3.5"}),
        rpm=60,
        spend_limit_micros=5_000_000,
        debug_phi=True,
        default_region="CH",
        default_model_tier="baseline",
    ),
    "research": KeyPolicy(phi="forbidden", default_region="WORLD"),
    "disabled": KeyPolicy(),
}
MATH: Json = make_body(model="auto", max_tokens=100)
DATETIME: Json = make_body(model="qwen3.5", tools=[{"type": "gateway:datetime"}], max_tokens=50)


class Release:
    """A stack that stores what this release stores, on a clock of its own."""

    def __init__(self) -> None:
        self.clock = FakeClock(BEGINS_AT_S)
        self.harness = GatewayHarness(regions=("CH", "EU", "US", "WORLD"), clock=self.clock)
        self.dynamo = self.harness.ledger.dynamo
        self.dynamo.items.clear()
        self.signers = {
            signs: KeyFileSigner(ec.generate_private_key(ec.SECP256R1()))
            for signs in (CATALOGS, DIGESTS)
        }
        self.keys: dict[str, str] = {}
        self.calls: list[Json] = []

    async def open(self) -> None:
        """The table as a first deployment leaves it: roots, catalog, an account and its keys."""
        receipts = DynamoReceipts(self.dynamo, self.clock)
        now_s = int(self.clock.now_s())
        roots: dict[str, Any] = {
            CATALOGS: self.signers[CATALOGS],
            DIGESTS: self.signers[DIGESTS],
            CERTIFICATES: self.harness.root,
            REDPILL: self.harness.text_root,
        }
        for signs, signer in roots.items():
            await receipts.use_root(await signer.jwk(), signs, now_s)
        await push_snapshot(self.dynamo, document_bytes(), self.signers[CATALOGS], now_s)
        admin = DynamoAdmin(self.dynamo, self.clock)
        await admin.create_account(ACCOUNT)
        await admin.add_credit(ACCOUNT, 50_000_000, "invoice-1")
        for name, policy in POLICIES.items():
            ends = now_s + 300 * DAY_S if name == "research" else None
            self.keys[name] = await admin.create_key(ACCOUNT, "test", policy, expires_at_s=ends)
        sha256 = key_sha256(self.keys["disabled"])
        await admin.disable_key(ACCOUNT, sha256[:12])
        signer = self.signers[CATALOGS]
        self.harness.use(
            stack=replace(self.harness.gateway.stack, unproven_allowed=EVERY_UNPROVEN),
            keys=DynamoKeys(self.dynamo, self.clock),
            catalog=DynamoCatalog(
                self.dynamo, self.clock, self.harness.event_log, {signer.kid: signer.public_key}
            ),
        )

    def call(
        self,
        what: str,
        body: Json,
        *scripts: Script,
        key: str = "plain",
        gets: tuple[Fetched, ...] = (),
        task: Task = "chat",
        region: str | None = "CH",
        phi: bool = False,
    ) -> None:
        """One call; what went in and came out is kept, as its caller could have kept it."""
        self.harness.plays(*scripts)
        self.harness.upstream.gets = list(gets)
        sent = json.dumps(body).encode()
        named = {"x-phi": "true"} if phi else {}
        if region is not None:
            named["x-region"] = region
        told = self.harness.chat(sent, named, key=self.keys[key], task=task)
        self.calls.append(
            {
                "what": what,
                "key": key,
                "receipt": told.headers.get("x-phi-receipt"),
                "status": told.status,
                "sent": sent.decode(),
                "got": told.body.decode(),
            }
        )
        self.clock.time_s += 60

    async def sweep(self) -> None:
        """Another process sweeps."""
        await DynamoLedger(self.dynamo, self.clock).sweep(ACCOUNT, int(self.clock.time_s))

    async def leave_holds(self) -> None:
        """Two processes die: one hold is swept into a tombstone, one still stands at the end."""
        await self._hold()
        self.clock.time_s += 2_000
        await self.sweep()

    async def close_day(self) -> None:
        """The next morning: the day is closed, and a hold of the new day stands."""
        receipts = DynamoReceipts(self.dynamo, self.clock)
        record = next(call["receipt"] for call in self.calls if call["what"] == "confidential")
        stored = await self.harness.ledger.receipt(ACCOUNT, record)
        assert stored is not None
        await redpill.signature(self.harness.gateway, stored, None, "ecdsa")
        self.clock.time_s = BEGINS_AT_S + DAY_S
        closer = DayCloser(
            ledger=DynamoLedger(self.dynamo, self.clock),
            receipts=receipts,
            root=self.signers[DIGESTS],
            clock=self.clock,
            stack="stack-1",
        )
        closing = await closer.close(ACCOUNT)
        assert closing.days == (DAY,), closing
        await self._hold()

    async def audited(self) -> Report | None:
        """The audit of the day by this release."""
        return await audit(self.dynamo, self.clock, Period(ACCOUNT, DAY, DAY))

    async def _hold(self) -> None:
        now_s = int(self.clock.now_s())
        held = await self.harness.ledger.hold(
            HoldRequest(
                account=ACCOUNT,
                key_id=key_sha256(self.keys["plain"])[:12],
                id=new_id(now_s, len(self.calls).to_bytes(7, "big")),
                micros=100,
                expires_at_s=now_s + 960,
                now_s=now_s,
                rpm=600,
            )
        )
        assert isinstance(held, OpenHold)


class SweptFirst:
    """A ledger whose sweeper is quicker: it ends the hold just before the call's receipt comes."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._ledger = release.harness.ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def put_receipt(self, hold: OpenHold, record: Signed) -> OpenHold:
        """As the Protocol says, too late."""
        self._release.clock.time_s += 2_000
        await self._release.sweep()
        written: OpenHold = await self._ledger.put_receipt(hold, record)
        return written


def tell(release: Release) -> None:
    """One of each kind of thing that a table holds at the end of a day."""
    asyncio.run(release.open())
    harness = release.harness
    gemma = make_body(model="gemma-4", max_tokens=100)
    stream = make_body(model="gemma-4", stream=True, max_tokens=100)
    release.call("general", gemma, answers("Guten Tag"))
    release.call("phi", gemma, answers("Der Befund"), key="ward", phi=True)
    release.call("phi stream", stream, GOOD_STREAM, key="ward", phi=True)
    release.call("estimated", gemma, answers("ohne Zahlen", usage=...), region="EU")
    release.call("failover", gemma, fails(503), answers("zweiter"))
    release.call("refused by the gate", gemma, region="US", phi=True)
    release.call("refused by its shape", make_body(model="gemma-4", max_tokens=-1), region=None)
    release.call("refused by the provider", gemma, fails(400))
    release.call("every row failed", gemma, *[fails(500)] * 4)
    signed = Fetched(200, json.dumps(SIGNATURE).encode())
    vault = make_body(model="phala/qwen3.5-27b", max_tokens=100)
    release.call("confidential", vault, answers("Im Tresor"), gets=(signed,), region="WORLD")
    release.call("tool loop", DATETIME, tools_called(called()), answers("Montag"), region="EU")
    harness.sandboxes = FakeSandboxes(release.clock, [ran()])
    harness.use(sandboxes=harness.sandboxes)
    turns = programs_called(program()), answers("42")
    release.call("math", MATH, *turns, task="math")
    harness.use(ledger=SweptFirst(release))
    release.call("late", gemma, answers("spät"))
    harness.use(ledger=harness.ledger)
    asyncio.run(release.leave_holds())
    asyncio.run(release.close_day())


def expected(release: Release) -> Json:
    """What a reader of the table has to find: receipts by what was called, the account, its keys,
    and an audit without findings."""
    view = asyncio.run(release.harness.ledger.account(ACCOUNT))
    report = asyncio.run(release.audited())
    assert view is not None
    assert report is not None
    assert report.findings == 0, report.found
    return {
        "account": asdict(view),
        "now_s": release.clock.now_s(),
        "first_day": DAY,
        "last_day": DAY,
        "keys": release.keys,
        "policies": {name: json.loads(policy_to_json(p)) for name, p in POLICIES.items()},
        "calls": release.calls,
        "audit": as_json(report, "the table itself"),
    }


def write(folder: Path) -> None:
    """The folder of a release. Raises FileExistsError: a fixture is never made anew."""
    release = Release()
    tell(release)
    items = [release.dynamo.items[name] for name in sorted(release.dynamo.items)]
    documents = {"items.json": items, "expected.json": expected(release)}
    folder.mkdir()
    for name, document in documents.items():
        text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
        (folder / name).write_text(text + "\n", "utf-8")
    (folder / "snapshot.json").write_bytes(document_bytes())


def document_bytes() -> bytes:
    """This release's own catalog."""
    texts = {
        path.relative_to(CATALOG_FOLDER).as_posix(): path.read_text("utf-8")
        for path in CATALOG_FOLDER.rglob("*.toml")
    }
    return canonical_bytes(document_from_texts(texts))


if __name__ == "__main__":
    write(FOLDER / sys.argv[1])
