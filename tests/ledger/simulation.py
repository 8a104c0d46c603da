"""A simulation in which every DynamoDB call waits to be let through, lost, or delivered much later.

The ledger under test runs unchanged: its client hands each call to the driver and sleeps until the
driver answers. So the driver decides the order of all writes of all processes, and where they end.
"""

import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, replace
from typing import Any

from phigate.core.attributes import int_at, map_at
from phigate.core.clock import Clock
from phigate.core.errors import Overloaded
from phigate.core.ledger.account import (
    ACCOUNT_SK,
    ReceiptState,
    account_pk,
    hold_at,
    holds,
    receipt_pk,
    state_of,
    verdict_of,
)
from phigate.core.ledger.hold import OpenHold, StoredHold
from phigate.core.ledger.port import HoldRefused, HoldRequest
from phigate.core.ledger.receipt_item import stored_receipt
from phigate.core.receipts.ids import new_id
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import Signed
from phigate.effects.store.admin import CreditRefUsed, DynamoAdmin
from phigate.effects.store.dynamodb import Dynamo, DynamoError, read_item
from phigate.effects.store.ledger import DynamoLedger
from tests.fakes import FakeClock, FakeDynamo, Fault, Item, fault_error

START_S = 1_790_000_000
HOLD_S = 100
RECORD = Signed(b'{"answer":"none"}', "k" * 42 + "A", bytes(64))
PLAIN_KEY = "k1"
LIMITED_KEY = "k2"
SPEND_LIMIT = 60
CREDITS = {"r1": 40, "r2": 25}

Execute = Callable[[str, Item], Item]
Mutation = Callable[[Dynamo], Dynamo]


@dataclass(frozen=True)
class CallPlan:
    """One call: what it holds, raises (more, used), costs in percent of its hold, and how it ends.

    `forgets`: every step is done by a process that knows of the hold what is stored of it.
    """

    micros: int
    raises: tuple[tuple[int, int], ...] = ()
    cost_percent: int = 50
    settles: int = 1
    voids: bool = False
    forgets: bool = False
    limited: bool = False


@dataclass(frozen=True)
class Request:
    """One DynamoDB call on its way."""

    operation: str
    payload: Item


@types.coroutine
def wait_for_driver(request: Request) -> Generator[Request, Item, Item]:
    answer = yield request
    return answer


class SteppedDynamo:
    """A client whose calls are answered by whoever drives the coroutine."""

    table = "phigate"

    async def call(self, operation: str, payload: Item) -> Item:
        """Wait for the driver."""
        return await wait_for_driver(Request(operation, payload))


class Process:
    """A coroutine of the gateway, stopped before its next DynamoDB call; `request` is that call."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self.request: Request | None = None
        self.resume(None)

    def resume(self, answer: Item | DynamoError | None) -> None:
        """Let it run to its next call, or to its end."""
        try:
            if isinstance(answer, DynamoError):
                self.request = self._work.throw(answer)
            else:
                self.request = self._work.send(answer)
        except StopIteration:
            self.request = None

    def crash(self) -> None:
        """It ends here."""
        self._work.close()
        self.request = None


class LedgerSimulation:
    """One account, the processes that work on it, and the calls that were lost on the way."""

    def __init__(self, execute: Execute, *, account: str, mutation: Mutation | None = None) -> None:
        self.account = account
        self.clock = FakeClock(START_S)
        self.processes: list[Process] = []
        self.lost: list[Request] = []
        self.ids: dict[str, CallPlan] = {}
        self.told: dict[str, int] = {}
        self.late_micros = 0
        self.late_day_unknown_micros = 0
        self._execute = execute
        self._mutation = mutation
        self._used: dict[tuple[str, int], int] = {}
        self._voided: set[int] = set()
        _open(execute, account)

    def ledger(self) -> DynamoLedger:
        """The ledger of a process."""
        return DynamoLedger(self._dynamo(), self.clock)

    def start_call(self, plan: CallPlan) -> None:
        """A request comes in."""
        hold_id = new_id(int(self.clock.time_s), len(self.ids).to_bytes(7, "big"))
        self.ids[hold_id] = plan
        self._start(self._life(hold_id, plan))

    def start_sweep(self, skew_s: int) -> None:
        """A sweeper whose clock is off by so much looks at the account."""
        self._start(self._sweep(int(self.clock.time_s) + skew_s))

    def start_credit(self, ref: str) -> None:
        """The operator tops up."""
        self._start(self._credit(ref))

    def process(self, who: int) -> Process:
        """One of the living, by a number that may be too large."""
        return self.processes[who % len(self.processes)]

    def step(self, process: Process, fault: Fault | None = None) -> None:
        """Let a process's next call through, or not."""
        request = process.request
        assert request is not None
        answer: Item | DynamoError
        if fault == "lost_before" and request.operation != "GetItem":
            self.lost.append(request)
        if fault is None or fault == "lost_after":
            answer = self._run(request)
        if fault is not None:
            answer = fault_error(fault)
        process.resume(answer)
        self.processes = [each for each in self.processes if each.request is not None]

    def finish(self, process: Process) -> None:
        """Let everything of a process through."""
        while process.request is not None:
            self.step(process)

    def crash(self, process: Process, *, sent: bool) -> None:
        """A process ends; its next call may be on its way already."""
        if sent and process.request is not None and process.request.operation != "GetItem":
            self.lost.append(process.request)
        process.crash()
        self.processes.remove(process)

    def deliver(self, index: int) -> None:
        """A call that everybody had given up arrives."""
        self._run(self.lost.pop(index))

    def check(self) -> None:
        """The invariants of every instant."""
        item = self._account_item()
        standing = list(holds(item))
        avail, spent, top = (int_at(item, name) for name in ("avail", "spent", "top"))
        held = sum(hold.micros for hold in standing)
        assert avail + held + spent == top, "avail + Σ holds + spent = top"
        assert avail >= -max(0, self.late_micros), "avail >= 0 but for late receipts"
        assert {hold.id for hold in standing} == set(map_at(item, "q")), "each hold has its seq"
        for hold in standing:
            assert hold.micros >= 0
            last = self._used.get((hold.id, hold.seq), 0)
            assert hold.used_micros >= last, "what was used is not taken back"
            self._used[hold.id, hold.seq] = hold.used_micros
        for name in map_at(item, "d"):
            day_micros = int_at(map_at(item, "d"), name)
            assert day_micros <= SPEND_LIMIT + max(0, self.late_micros), "the day's spend limit"

    def end(self) -> None:
        """Everything stops, time passes, the sweeper comes: then every micro must be in its place.

        What is still lost may arrive before or after: here it arrives before, one call after
        another, because a hold that is put back has to be swept as well.
        """
        for process in list(self.processes):
            self.crash(process, sent=True)
        while self.lost:
            self.deliver(0)
        self.clock.time_s += 10 * HOLD_S
        for _ in range(2):
            self.start_sweep(0)
            self.finish(self.processes[-1]) if self.processes else None
        self.check()
        item = self._account_item()
        verdicts = {hold_id: self._verdict(hold_id) for hold_id in self.ids}
        costs = {hold_id: found.cost_micros for hold_id, found in verdicts.items() if found}
        assert list(holds(item)) == [], "no hold is stuck"
        assert int_at(item, "spent") == sum(costs.values()), "each receipt is charged exactly once"
        for hold_id, cost in self.told.items():
            assert costs[hold_id] == cost, "a receipt that was confirmed stands as confirmed"
        self._check_numbers(item)
        self._check_credit(item)
        self._check_days(item, costs)

    def _check_numbers(self, item: Item) -> None:
        """Every number that a hold took stands in a receipt or a tombstone, once; what stands as a
        receipt can be checked as it was signed."""
        stored = [receipt for hold_id in self.ids for receipt in self._stored(hold_id)]
        numbers = sorted(receipt.seq for receipt in stored)
        assert len(set(numbers)) == len(numbers), "no two receipts have one number"
        missing = set(range(1, int_at(item, "seq") + 1)) - set(numbers)
        assert missing <= self._voided, "every number is accounted for"
        assert set(numbers) <= set(range(1, int_at(item, "seq") + 1))
        for receipt in stored:
            assert receipt.signed == (None if receipt.state == "expired" else RECORD)

    def _stored(self, hold_id: str) -> list[StoredReceipt]:
        """The receipt or tombstone of an id, and those of stray holds under the same id."""
        query = {
            "TableName": "phigate",
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": receipt_pk(self.account, hold_id)}},
            "ConsistentRead": True,
        }
        items = self._execute("Query", query)["Items"]
        names = [item["sk"]["S"] for item in items]
        return [
            stored_receipt(self.account, item)
            for name, item in zip(names, items, strict=True)
            if name.partition(".")[0] == hold_id
        ]

    def _check_credit(self, item: Item) -> None:
        credited = 0
        for ref, micros in CREDITS.items():
            key = {"pk": {"S": f"C#{self.account}"}, "sk": {"S": ref}}
            if "Item" in self._execute("GetItem", {"TableName": "phigate", "Key": key}):
                credited += micros
        assert int_at(item, "top") == OPENING_MICROS + credited, "each reference counts once"

    def _check_days(self, item: Item, costs: dict[str, int]) -> None:
        spent = sum(cost for hold_id, cost in costs.items() if self.ids[hold_id].limited)
        counted = sum(int(entry["N"]) for entry in map_at(item, "d").values())
        assert counted == spent - self.late_day_unknown_micros, "a day counts what was charged"

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        process = Process(work)
        if process.request is not None:
            self.processes.append(process)

    def _dynamo(self) -> Dynamo:
        dynamo = SteppedDynamo()
        return dynamo if self._mutation is None else self._mutation(dynamo)

    async def _life(self, hold_id: str, plan: CallPlan) -> None:
        """What the pipeline does with the ledger for one request."""
        try:
            await self._live(hold_id, plan)
        except Overloaded:
            return  # whatever stands is the sweeper's

    async def _live(self, hold_id: str, plan: CallPlan) -> None:
        ledger = self.ledger()
        held = await ledger.hold(self._request(hold_id, plan))
        if isinstance(held, HoldRefused):
            refused = replace(self._request(hold_id, plan), is_refusal=True)
            held = await ledger.hold(refused)
            plan = replace(plan, raises=(), cost_percent=0, voids=False)
        if isinstance(held, HoldRefused):
            return
        if plan.voids:
            # Nothing in the pipeline voids a hold without a receipt; its number would be a gap.
            self._voided.add(held.seq)
            await ledger.settle(await self._known(held, plan))
            return
        held = await self._extend(ledger, held, plan)
        cost = held.micros * plan.cost_percent // 100
        writing = (await self._known(held, plan)).writing(cost)
        written = await ledger.put_receipt(writing, RECORD)
        self.told[hold_id] = cost
        for _ in range(plan.settles if written.state == "done" else 0):
            await ledger.settle(await self._known(written, plan))

    async def _extend(self, ledger: DynamoLedger, held: OpenHold, plan: CallPlan) -> OpenHold:
        """Extend until one is refused or gets no answer; the hold after it, as far as known."""
        for more, used in plan.raises:
            noted = min(used, held.micros)
            held = (await self._known(held, plan)).noting(noted)
            try:
                extended = await ledger.extend_hold(held, held.micros + more, noted)
            except Overloaded:
                return held
            if extended is None:
                return held
            held = extended
        return held

    async def _known(self, held: OpenHold, plan: CallPlan) -> OpenHold:
        """The hold as its process knows it, or as one that knows only what is stored."""
        return await stored_of(self._dynamo(), self.clock, held) if plan.forgets else held

    async def _sweep(self, now_s: int) -> None:
        try:
            await self.ledger().sweep(self.account, now_s)
        except Overloaded:
            return

    async def _credit(self, ref: str) -> None:
        try:
            await DynamoAdmin(self._dynamo(), self.clock).add_credit(
                self.account, CREDITS[ref], ref
            )
        except Overloaded:
            return
        except CreditRefUsed as exc:
            raise AssertionError("a reference has one amount here") from exc

    def _request(self, hold_id: str, plan: CallPlan) -> HoldRequest:
        now_s = int(self.clock.time_s)
        return HoldRequest(
            account=self.account,
            key_id=LIMITED_KEY if plan.limited else PLAIN_KEY,
            id=hold_id,
            micros=plan.micros,
            expires_at_s=now_s + HOLD_S,
            now_s=now_s,
            rpm=600,
            spend_limit_micros=SPEND_LIMIT if plan.limited else None,
        )

    def _run(self, request: Request) -> Item | DynamoError:
        try:
            answer = self._execute(request.operation, request.payload)
        except DynamoError as exc:
            return exc
        self._note_late(request)
        return answer

    def _note_late(self, request: Request) -> None:
        """A late receipt is the one write that may overdraw the account."""
        for write in request.payload.get("TransactItems", ()):
            call = write.get("Update", {})
            values = call.get("ExpressionAttributeValues", {})
            if ":more" in values:
                more = int(values[":more"]["N"])
                self.late_micros += more
                hold_id = request.payload["TransactItems"][0]["Update"]["Key"]["sk"]["S"]
                if self.ids[hold_id].limited and "ExpressionAttributeNames" not in call:
                    self.late_day_unknown_micros += more

    def _account_item(self) -> Item:
        key = {"pk": {"S": account_pk(self.account)}, "sk": {"S": "A"}}
        item: Item = self._execute(
            "GetItem", {"TableName": "phigate", "Key": key, "ConsistentRead": True}
        )["Item"]
        return item

    def _verdict(self, hold_id: str) -> ReceiptState | None:
        key = {"pk": {"S": receipt_pk(self.account, hold_id)}, "sk": {"S": hold_id}}
        found = self._execute(
            "GetItem", {"TableName": "phigate", "Key": key, "ConsistentRead": True}
        ).get("Item")
        return None if found is None else verdict_of(found)


OPENING_MICROS = 100


async def stored_of(dynamo: Dynamo, clock: Clock, held: OpenHold) -> OpenHold:
    """A hold by what is stored of it alone."""
    item = await read_item(dynamo, clock, account_pk(held.account), ACCOUNT_SK)
    found = await read_item(dynamo, clock, receipt_pk(held.account, held.id), held.id)
    verdict = None if found is None else verdict_of(found)
    stored = hold_at(item or {}, held.id)
    if stored is not None and verdict is not None and stored.seq != verdict.seq:
        stored = None
    seq = held.seq if verdict is None else verdict.seq
    return OpenHold(
        account=held.account,
        stored=stored or StoredHold(held.id, seq, held.micros, held.stored.expires_at_s),
        state=state_of(stored, verdict),
        cost_micros=0 if verdict is None else verdict.cost_micros,
    )


def _open(execute: Execute, account: str) -> None:
    fake = FakeDynamo()
    fake.open_account(account, micros=OPENING_MICROS, key_ids=(PLAIN_KEY, LIMITED_KEY))
    for item in fake.items.values():
        execute("PutItem", {"TableName": "phigate", "Item": item})
