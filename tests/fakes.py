"""The only doubles: small real objects with the shapes of the ports of core and effects.

FakeDynamo executes the gateway's own DynamoDB calls in memory, so a FakeLedger is the ledger that
runs in production on another engine. tests/ledger proves both alike on the same state machine.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from phigate.core.attributes import binary, flag, mapping, number, text
from phigate.core.catalog.port import CatalogView
from phigate.core.clock import Clock
from phigate.core.ledger.account import ACCOUNT_SK, DIRECTORY_PK, account_pk
from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.port import (
    AccountView,
    CountRefusal,
    HoldRefused,
    HoldRequest,
    Swept,
)
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import Signed
from phigate.core.sandbox.port import RunResult
from phigate.core.sandbox.runs import Language
from phigate.core.types import Catalog, Principal
from phigate.core.upstream import Fetched, Head, UpstreamFetch, UpstreamRequest
from phigate.effects.signing.signer import P256, KeyFileSigner, SigningFailed
from phigate.effects.store.dynamodb import (
    ConditionFailed,
    Conflict,
    Dynamo,
    DynamoError,
    NotAccepted,
    Throttled,
    TransactionCanceled,
    Unavailable,
)
from phigate.effects.store.ledger import DynamoLedger
from phigate.wire.jwk import Jwk
from tests.expressions import BadExpression, Expression

Item = dict[str, Any]

# What may happen to a call: lost before or after it was applied, or refused for the moment.
Fault = Literal["lost_before", "lost_after", "conflict", "throttle"]
FAULTS: tuple[Fault, ...] = ("lost_before", "lost_after", "conflict", "throttle")


class FakeClock:
    """Time stands until it is set or slept."""

    def __init__(self, now_s: float = 1_790_000_000.0) -> None:
        self.time_s = now_s

    def now_s(self) -> float:
        """The time that was set."""
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.time_s += seconds

    async def back_off(self, at_most_s: float) -> None:
        """The longest pause, so that a story has one course."""
        await self.sleep(at_most_s)


class FakeDynamo:
    """One table in memory. Every call is atomic, as it is in DynamoDB."""

    def __init__(self) -> None:
        self.table = "phigate"
        self.items: dict[tuple[str, str], Item] = {}
        self.calls: dict[str, int] = {}

    async def call(self, operation: str, payload: Item) -> Item:
        """Execute one operation. Raises a DynamoError."""
        return self.execute(operation, payload)

    def execute(self, operation: str, payload: Item) -> Item:
        """The same without a coroutine."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        try:
            return _OPERATIONS[operation](self, _copy(payload))
        except BadExpression as exc:
            raise NotAccepted(f"{operation}: {exc}") from exc

    def open_account(self, account: str, *, micros: int, key_ids: Iterable[str] = ("k1",)) -> None:
        """An account with credit and live keys, as `phigate keys create` leaves it."""
        numbers = {"avail": micros, "top": micros, "spent": 0, "seq": 0}
        keys = {key_id: flag(True) for key_id in key_ids}
        item: Item = {"pk": text(account_pk(account)), "sk": text(ACCOUNT_SK)}
        item |= {name: number(value) for name, value in numbers.items()}
        item |= {name: mapping({}) for name in ("h", "q", "w", "d")}
        item |= {"k": mapping(keys), "salt": binary(b"0123456789abcdef")}
        listed: Item = {"pk": text(DIRECTORY_PK), "sk": text(account)}
        for new in (item, listed):
            self.items[_name(new)] = new

    def _get(self, payload: Item) -> Item:
        found = self.items.get(_name(payload["Key"]))
        return {} if found is None else {"Item": _copy(found)}

    def _put(self, payload: Item) -> Item:
        item = payload["Item"]
        self._check(_name(item), payload)
        self.items[_name(item)] = item
        return {}

    def _delete(self, payload: Item) -> Item:
        name = _name(payload["Key"])
        self._check(name, payload)
        self.items.pop(name, None)
        return {}

    def _update(self, payload: Item) -> Item:
        name = _name(payload["Key"])
        used = self._check(name, payload)
        stands = self.items.get(name)
        old: Item = _copy(payload["Key"] if stands is None else stands)
        expression = _expression(payload, "UpdateExpression", old)
        new = expression.update()
        if used | expression.used != _placeholders(payload):
            raise BadExpression("a name or value is not used")
        self.items[name] = new
        return {"Attributes": _copy(new)} if "ReturnValues" in payload else {}

    def _transact(self, payload: Item) -> Item:
        """All or nothing: what fails puts the items back."""
        before = dict(self.items)
        reasons: list[tuple[str, Item | None]] = []
        for write in payload["TransactItems"]:
            ((kind, call),) = write.items()
            try:
                {"Put": self._put, "Update": self._update}[kind](call)
                reasons.append(("None", None))
            except ConditionFailed as exc:
                reasons.append(("ConditionalCheckFailed", exc.item))
        if any(code != "None" for code, _ in reasons):
            self.items = before
            raise TransactionCanceled(reasons)
        return {}

    def _batch(self, payload: Item) -> Item:
        for write in payload["RequestItems"][self.table]:
            self._put({"Item": write["PutRequest"]["Item"]})
        return {}

    def _query(self, payload: Item) -> Item:
        if payload["KeyConditionExpression"] != "pk = :pk":
            raise BadExpression("this double queries one partition")
        pk = payload["ExpressionAttributeValues"][":pk"]["S"]
        names = sorted(name for name in self.items if name[0] == pk)
        return {"Items": [_copy(self.items[name]) for name in names]}

    def _describe(self, _: Item) -> Item:
        return {"Table": {"TableStatus": "ACTIVE"}}

    def _check(self, name: tuple[str, str], payload: Item) -> set[str]:
        if "ConditionExpression" not in payload:
            return set()
        stands = self.items.get(name)
        expression = _expression(payload, "ConditionExpression", stands or {})
        if not expression.condition():
            asked = payload.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            raise ConditionFailed(_copy(stands) if asked and stands else None)
        return expression.used


class FaultyDynamo:
    """Lets things happen to another client's calls: one entry of `faults` a call, None for none."""

    def __init__(self, inner: Dynamo, faults: Iterable[Fault | None]) -> None:
        self.table = inner.table
        self._inner = inner
        self._faults = iter(faults)

    async def call(self, operation: str, payload: Item) -> Item:
        """Pass the call on, or not, and raise what the fault says."""
        fault = next(self._faults, None)
        if fault is None:
            return await self._inner.call(operation, payload)
        if fault == "lost_after":
            with contextlib.suppress(DynamoError):
                await self._inner.call(operation, payload)
        raise fault_error(fault)


class FakeLedger:
    """The ledger in memory. `log` has one line for each call that came back.

    `("hold", id, micros or reason)`, `("extend", id, new or False)`,
    `("receipt", id, cost, state)`, `("settle", id, cost)`. `records` are the signed records by id.
    """

    def __init__(
        self, clock: Clock, *, account: str = "acme", micros: int = 1_000_000, key_id: str = "k1"
    ) -> None:
        self.dynamo = FakeDynamo()
        self.dynamo.open_account(account, micros=micros, key_ids=[key_id])
        self.log: list[tuple[Any, ...]] = []
        self.records: dict[str, Signed] = {}
        self._ledger = DynamoLedger(self.dynamo, clock)

    async def hold(self, request: HoldRequest) -> OpenHold | HoldRefused:
        """As the Protocol says."""
        held = await self._ledger.hold(request)
        line = held.micros if isinstance(held, OpenHold) else held.reason
        self.log.append(("hold", request.id, line))
        return held

    async def count_call(
        self, *, account: str, key_id: str, now_s: int, rpm: int
    ) -> CountRefusal | None:
        """As the Protocol says."""
        refusal = await self._ledger.count_call(
            account=account, key_id=key_id, now_s=now_s, rpm=rpm
        )
        self.log.append(("count", key_id, refusal))
        return refusal

    async def extend_hold(self, hold: OpenHold, micros: int, used_micros: int) -> OpenHold | None:
        """As the Protocol says."""
        extended = await self._ledger.extend_hold(hold, micros, used_micros)
        self.log.append(("extend", hold.id, extended is not None and micros))
        return extended

    async def put_receipt(self, hold: OpenHold, record: Signed) -> OpenHold:
        """As the Protocol says."""
        written = await self._ledger.put_receipt(hold, record)
        self.log.append(("receipt", hold.id, hold.cost_micros, written.state))
        self.records[hold.id] = record
        return written

    async def settle(self, hold: OpenHold) -> None:
        """As the Protocol says."""
        await self._ledger.settle(hold)
        self.log.append(("settle", hold.id, hold.cost_micros))

    async def sweep(self, account: str, now_s: int) -> Swept:
        """As the Protocol says."""
        return await self._ledger.sweep(account, now_s)

    async def account(self, account: str) -> AccountView | None:
        """As the Protocol says."""
        return await self._ledger.account(account)

    async def receipt(self, account: str, hold_id: str) -> StoredReceipt | None:
        """As the Protocol says."""
        return await self._ledger.receipt(account, hold_id)


# What a sandbox does with a program: it comes back, raises, or something happens first.
SandboxScript = RunResult | Exception | Callable[[], object]


class FakeSandboxes:
    """Hands out scripted sandboxes: each program gets the next play. `opened` are the requests,
    `programs` what was run, `closed` counts; `refuses` is raised instead of opening."""

    def __init__(self, clock: FakeClock, plays: Iterable[SandboxScript] = ()) -> None:
        self.opened: list[dict[str, Any]] = []
        self.programs: list[tuple[str, str, float]] = []
        self.closed = 0
        self.refuses: Exception | None = None
        self._clock = clock
        self._plays = list(plays)

    async def open(
        self, *, account: str, request_id: str, region: str, until_s: float
    ) -> "FakeSandbox":
        """As the Protocol says."""
        if self.refuses is not None:
            raise self.refuses
        self.opened.append({"account": account, "id": request_id, "region": region})
        self.opened[-1]["until_s"] = until_s
        return FakeSandbox(self)

    def play(self, program: tuple[str, str, float]) -> RunResult:
        """What becomes of one program."""
        self.programs.append(program)
        step = self._plays.pop(0)
        while not isinstance(step, RunResult):
            if isinstance(step, Exception):
                raise step
            step()
            step = self._plays.pop(0)
        self._clock.time_s += step.wall_ms / 1000
        return step


class FakeSandbox:
    """One of them."""

    image = "sha256:simulated"

    def __init__(self, sandboxes: FakeSandboxes) -> None:
        self._sandboxes = sandboxes
        self._is_open = True

    async def run(self, language: Language, code: str, timeout_s: float) -> RunResult:
        """As the Protocol says."""
        assert self._is_open, "a sandbox is not used after its end"
        return self._sandboxes.play((language, code, timeout_s))

    async def close(self) -> None:
        """As the Protocol says."""
        self._sandboxes.closed += self._is_open
        self._is_open = False


class FakeRoot:
    """A root in memory; while it `fails` or `hangs` it answers as a KMS that is down."""

    def __init__(self, curve: ec.EllipticCurve = P256) -> None:
        self.signer = KeyFileSigner(ec.generate_private_key(curve))
        self.asked = 0
        self.fails = False
        self.hangs = False

    async def jwk(self) -> Jwk:
        """As the Protocol says."""
        return await self.signer.jwk()

    async def sign(self, message: bytes) -> bytes:
        """As the Protocol says."""
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise SigningFailed("unreachable")
        return await self.signer.sign(message)

    async def sign_digest(self, digest: bytes) -> bytes:
        """As the Protocol says."""
        self.asked += 1
        if self.fails:
            raise SigningFailed("unreachable")
        return await self.signer.sign_digest(digest)


def fault_error(fault: Fault) -> DynamoError:
    """What the client raises for a fault."""
    return _FAULT_ERRORS[fault](fault)


def _copy(item: Item) -> Item:
    """What a network between two programs does; far cheaper than deepcopy."""
    copied: Item = orjson.loads(orjson.dumps(item))
    return copied


def _name(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _expression(payload: Item, member: str, item: Item) -> Expression:
    return Expression(
        payload[member],
        payload.get("ExpressionAttributeNames", {}),
        payload.get("ExpressionAttributeValues", {}),
        item,
    )


def _placeholders(payload: Item) -> set[str]:
    names = payload.get("ExpressionAttributeNames", {})
    return {*names, *payload.get("ExpressionAttributeValues", {})}


_FAULT_ERRORS: dict[Fault, Callable[[str], DynamoError]] = {
    "lost_before": Unavailable,
    "lost_after": Unavailable,
    "conflict": Conflict,
    "throttle": Throttled,
}

_OPERATIONS: dict[str, Callable[[FakeDynamo, Item], Item]] = {
    "GetItem": FakeDynamo._get,
    "PutItem": FakeDynamo._put,
    "DeleteItem": FakeDynamo._delete,
    "UpdateItem": FakeDynamo._update,
    "TransactWriteItems": FakeDynamo._transact,
    "BatchWriteItem": FakeDynamo._batch,
    "Query": FakeDynamo._query,
    "DescribeTable": FakeDynamo._describe,
}


# One step of an upstream: bytes come, a number is so many seconds of silence, an error is raised,
# and a function is called (somebody hangs up, an agreement ends).
Step = bytes | float | Exception | Callable[[], object]


# What a GET brings, or raises; a function is called for it.
Get = Fetched | Exception | Callable[[], Fetched | Exception]


@dataclass(frozen=True)
class Script:
    """What one upstream answer is: the steps before its head, the head, the steps of its body."""

    body: Sequence[Step] = ()
    status: int = 200
    content_type: str = "application/json"
    before: Sequence[Step] = ()


class FakeUpstream:
    """Answers by script: the first call gets the first script, and a call too many is a bug.

    `requests` are the calls as they came, `exchanges` what was answered; each counts its closes.
    `fetches` are the GETs as they came; `gets` answers them in turn, then there is nothing.
    """

    def __init__(self, clock: FakeClock, scripts: Iterable[Script]) -> None:
        self.requests: list[UpstreamRequest] = []
        self.fetches: list[UpstreamFetch] = []
        self.gets: list[Get] = []
        self.exchanges: list[FakeExchange] = []
        self._clock = clock
        self._scripts = list(scripts)

    def open(self, request: UpstreamRequest) -> "FakeExchange":
        """As the Protocol says."""
        self.requests.append(request)
        exchange = FakeExchange(self._clock, self._scripts[len(self.requests) - 1])
        self.exchanges.append(exchange)
        return exchange

    async def fetch(self, request: UpstreamFetch) -> Fetched:
        """As the Protocol says."""
        self.fetches.append(request)
        if not self.gets:
            return Fetched(404, b"{}")
        answer = self.gets.pop(0)
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def rows(self) -> list[str]:
        """The rows that were called, in order."""
        return [request.row.id for request in self.requests]

    @property
    def bodies(self) -> list[Item]:
        """The bodies that were sent, in order."""
        return [json.loads(request.body) for request in self.requests]


class FakeExchange:
    """One scripted exchange; a silence passes in slices, as long as the pipeline waits."""

    def __init__(self, clock: FakeClock, script: Script) -> None:
        self.closed = 0
        self._clock = clock
        self._script = script
        self._before = list(script.before)
        self._body = list(script.body)

    async def headers(self, wait_s: float) -> Head | None:
        """As the Protocol says; others have their turn, as while a real one waits."""
        await asyncio.sleep(0)
        while self._before:
            if await self._next(self._before, wait_s) is not None:
                return None
        return Head(self._script.status, self._script.content_type)

    async def next_chunk(self, wait_s: float) -> bytes | None:
        """As the Protocol says."""
        while self._body:
            piece = await self._next(self._body, wait_s)
            if piece is not None:
                return piece
        return None

    def close(self) -> None:
        """As the Protocol says."""
        self.closed += 1

    async def _next(self, steps: list[Step], wait_s: float) -> bytes | None:
        """Do one step: its bytes, empty bytes when the wait is over, None when there is more."""
        step = steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, bytes):
            return step
        if isinstance(step, float | int):
            await self._clock.sleep(min(step, wait_s))
            if step >= wait_s:
                steps.insert(0, step - wait_s)
                return b""
            return None
        step()
        return None


class RecordingResponseWriter:
    """The way back to the caller, who hangs up after `hang_up_after` writes, if that is given.

    `starts` are (status, headers), `writes` the bytes of each write, `last_at` the position of
    the write that was marked as the last.
    """

    def __init__(self, clock: Clock, *, hang_up_after: int | None = None) -> None:
        self.gone_at_s: float | None = None
        self.starts: list[tuple[int, dict[str, str]]] = []
        self.writes: list[bytes] = []
        self.last_at: int | None = None
        self.on_last: Callable[[], object] = lambda: None
        self._clock = clock
        self._hang_up_after = hang_up_after

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """As the Protocol says."""
        self.starts.append((status, dict(headers)))

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """As the Protocol says."""
        self.writes.append(body)
        if last:
            self.last_at = len(self.writes) - 1
            self.on_last()
        if len(self.writes) == self._hang_up_after:
            self.hang_up()

    def hang_up(self) -> None:
        """The caller goes, once."""
        if self.gone_at_s is None:
            self.gone_at_s = self._clock.now_s()


class RecordingEventLog:
    """`notes` are (event, fields) in order."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, str | int | float | bool]]] = []

    def record(self, event: str, **fields: str | int | float | bool) -> None:
        """As the Protocol says."""
        self.notes.append((event, fields))

    def fields(self, event: str) -> list[dict[str, str | int | float | bool]]:
        """The fields of every note of an event."""
        return [fields for name, fields in self.notes if name == event]


class StaticKeys:
    """Known keys by their SHA-256."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._principals = principals

    async def lookup(self, key_sha256: str, *, age_max_s: float = 0) -> Principal | None:
        """As the Protocol says."""
        return self._principals.get(key_sha256)


class StaticCatalog:
    """One snapshot that was read at one time."""

    def __init__(self, catalog: Catalog, read_at_s: float) -> None:
        self._view = CatalogView(catalog, read_at_s)

    async def current(self) -> CatalogView:
        """As the Protocol says."""
        return self._view

    async def card(self, card_sha256: str) -> bytes | None:
        """As the Protocol says: there is no older card."""
        return None
