"""The stack whose traffic is simulated: its table, its roots, its catalogs, its days."""

from collections.abc import Mapping
from pathlib import Path

from bench.audit_plan import SetClock, Traffic, Written, catalogs
from bench.audit_traffic import Item, Simulation
from phigate.core.attributes import number
from phigate.core.catalog.files import document_from_texts
from phigate.core.ledger.account import ACCOUNT_SK, DIRECTORY_PK, account_pk
from phigate.core.receipts.days import DAY_S, begins_at_s, closes_at_s
from phigate.core.types import Json
from phigate.effects.audit.day_closer import Closing, DayCloser
from phigate.effects.signing.key_files import LOCAL_STACK, publish
from phigate.effects.signing.receipt_signer import EphemeralKeySigner
from phigate.effects.signing.signer import KeyFileSigner
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.catalog_push import push_snapshot
from phigate.effects.store.dynamodb import Dynamo, read_item, repeat
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.roots import CATALOGS, CERTIFICATES, DIGESTS

BATCH_ITEMS = 25  # the most that BatchWriteItem takes
CATALOG_FOLDER = Path(__file__).resolve().parents[1] / "catalog"
# The roots are older than the traffic.
ROOTS_S = begins_at_s("2026-01-01")


class Silent:
    """A EventLog that nobody reads."""

    def record(self, event: str, **fields: str | int | float | bool) -> None:
        """See core.event_log.EventLog."""


class Obliging(DayCloser):
    """Believes of every number that the next day has it: it closes a day although one is gone."""

    async def numbers(self, account: str, day: str) -> list[int]:
        """Every number that was given out."""
        standing = await self._receipts.standing(account)
        return [] if standing is None else list(range(1, standing.seq + 1))


class Operator:
    """One stack on one table. `signers` are its roots by what they sign."""

    def __init__(self, dynamo: Dynamo, signers: Mapping[str, KeyFileSigner]) -> None:
        self.dynamo = dynamo
        self.clock = SetClock(ROOTS_S)
        self.signers = signers
        self.receipts = DynamoReceipts(dynamo, self.clock)
        self._document = repository_document()

    async def open(self, traffic: Traffic) -> None:
        """Roots, catalogs, and an account that has given out its numbers."""
        await publish(self.signers, self.receipts, ROOTS_S)
        for snapshot in catalogs(self._document, traffic):
            await push_snapshot(self.dynamo, snapshot, self.signers[CATALOGS], ROOTS_S)
        await DynamoAdmin(self.dynamo, self.clock).create_account(traffic.account)
        await self._change(account_pk(traffic.account), ACCOUNT_SK, seq=traffic.numbers)
        await self._change(DIRECTORY_PK, traffic.account, created=traffic.first_s)

    async def write(self, traffic: Traffic) -> Written:
        """Write every item of the traffic; what was charged, and what was planted."""
        signer = EphemeralKeySigner(
            root=self.signers[CERTIFICATES],
            store=self.receipts.put_certificate,
            clock=self.clock,
            event_log=Silent(),
            issuer="http://127.0.0.1:8080",
            stack=LOCAL_STACK,
        )
        simulation = Simulation(traffic, catalogs(self._document, traffic), signer, self.clock)
        batch: list[Item] = []
        async for item in simulation.items():
            batch.append(item)
            if len(batch) == BATCH_ITEMS:
                await self._put(batch)
                batch = []
        if batch:
            await self._put(batch)
        charged = simulation.written.charged_micros
        await self._change(
            account_pk(traffic.account), ACCOUNT_SK, top=charged, spent=charged, avail=0
        )
        return simulation.written

    async def close(self, traffic: Traffic, *, after_day: str | None = None) -> Closing:
        """Close the days up to this one (default: all), as the sweeper would the night after."""
        self.clock.time_s = closes_at_s(after_day or traffic.last_day) + 60
        closer = self.closer(is_obliging="gap" in traffic.plants)
        return await closer.close(traffic.account)

    def closer(self, *, is_obliging: bool = False) -> DayCloser:
        """A closer of this stack, which remembers nothing. An obliging one is what an operator uses
        who closes a day although a number is gone."""
        kind = Obliging if is_obliging else DayCloser
        return kind(
            ledger=DynamoLedger(self.dynamo, self.clock),
            receipts=self.receipts,
            root=self.signers[DIGESTS],
            clock=self.clock,
            stack=LOCAL_STACK,
        )

    async def _put(self, items: list[Item]) -> None:
        writes = {self.dynamo.table: [{"PutRequest": {"Item": item}} for item in items]}
        while writes:
            answer = await repeat(
                self.dynamo, self.clock, "BatchWriteItem", {"RequestItems": writes}
            )
            writes = answer.get("UnprocessedItems") or {}

    async def _change(self, pk: str, sk: str, **numbers: int) -> None:
        item = await read_item(self.dynamo, self.clock, pk, sk) or {}
        item |= {name: number(value) for name, value in numbers.items()}
        call = {"TableName": self.dynamo.table, "Item": item}
        await repeat(self.dynamo, self.clock, "PutItem", call)


def repository_document() -> Json:
    """The catalog that lies in the repository."""
    texts = {
        path.relative_to(CATALOG_FOLDER).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(CATALOG_FOLDER.rglob("*.toml"))
    }
    return document_from_texts(texts)


def audited_at_s(traffic: Traffic) -> float:
    """The day after the period, when all of it is closed."""
    return float(begins_at_s(traffic.last_day) + 2 * DAY_S)
