"""What the processes of a stack tell each other of failing rows: one item, the last minute's.

    pk       sk   holds
    BREAKER  X    doc: JSON, by row id the times of its last failures in milliseconds

Law 1: it is advice. Nothing here raises, nothing is sent again because its outcome is unknown, and
what cannot be read counts as nothing. A table that does not answer is noted once until it does.
Law 2: the item is replaced only as it was seen. Who was second looks at what stands there now,
BREAKER_TRIES_MAX times at most.
Law 3: nothing is sent for a row that does not fail.
"""

import asyncio
from collections.abc import Callable

import orjson

from phigate.core.attributes import Item, text
from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.core.limits import BREAKER_TRIES_MAX, BREAKER_WINDOW_S
from phigate.core.routing.breaker import Counted, recent, with_failure, without
from phigate.effects.store.dynamodb import ConditionFailed, Dynamo, DynamoError

_KEY = {"pk": text("BREAKER"), "sk": text("X")}

# Nobody has counted anything yet.
COUNT_IS_NEW = "attribute_not_exists(doc)"
# Nobody has counted since it was read: what is written was made of what stands there.
COUNT_IS_AS_SEEN = "doc = :seen"


class DynamoBreaker:
    """Implements core.routing.breaker_port.SharedBreaker. One object per process."""

    def __init__(self, dynamo: Dynamo, clock: Clock, event_log: EventLog) -> None:
        self._dynamo = dynamo
        self._clock = clock
        self._event_log = event_log
        self._watched_until_s: dict[str, float] = {}
        self._in_turn = asyncio.Lock()  # a success is not told before the failure that it ends
        self._is_noted = False

    async def read(self) -> Counted:
        """See SharedBreaker."""
        counted = await self._replaced(lambda counted: counted)
        for row_id in counted:
            self._watch(row_id)
        return counted

    async def failed(self, row_id: str, at_s: float, succeeded_at_s: float) -> Counted:
        """See SharedBreaker."""
        self._watch(row_id)
        return await self._replaced(
            lambda counted: with_failure(counted, row_id, at_s, succeeded_at_s)
        )

    async def succeeded(self, row_id: str, at_s: float) -> None:
        """See SharedBreaker."""
        await self._replaced(lambda counted: without(counted, row_id, at_s))

    def watches(self, row_id: str, now_s: float) -> bool:
        """See SharedBreaker."""
        return now_s < self._watched_until_s.get(row_id, 0.0)

    def _watch(self, row_id: str) -> None:
        self._watched_until_s[row_id] = self._clock.now_s() + BREAKER_WINDOW_S

    async def _replaced(self, change: Callable[[Counted], Counted]) -> Counted:
        """The count as it stands after the change; nothing where the table does not answer."""
        try:
            async with self._in_turn:
                counted = await self._changed(change)
        except DynamoError as exc:
            if not self._is_noted:
                self._event_log.record("breaker_not_shared", kind=type(exc).__name__)
            self._is_noted = True
            self._watched_until_s.clear()  # else every success would knock again
            return {}
        self._is_noted = False
        return counted

    async def _changed(self, change: Callable[[Counted], Counted]) -> Counted:
        """Read, change, write; raises a DynamoError. Without a change nothing is written."""
        item = (await self._dynamo.call("GetItem", self._call(Key=_KEY))).get("Item")
        for _ in range(BREAKER_TRIES_MAX):
            counted = self._counted(item)
            changed = change(counted)
            if changed is counted:
                break
            try:
                await self._dynamo.call("PutItem", self._put(changed, item))
            except ConditionFailed as exc:
                item = exc.item
            else:
                return changed
        return self._counted(item)

    def _counted(self, item: Item | None) -> Counted:
        return recent(_read(item), self._clock.now_s())

    def _put(self, counted: Counted, seen: Item | None) -> Item:
        put = self._call(Item={**_KEY, "doc": text(_written(counted))})
        put["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if seen is None or "doc" not in seen:
            return put | {"ConditionExpression": COUNT_IS_NEW}
        values = {":seen": seen["doc"]}
        return put | {
            "ConditionExpression": COUNT_IS_AS_SEEN,
            "ExpressionAttributeValues": values,
        }

    def _call(self, **members: Item) -> Item:
        return {"TableName": self._dynamo.table, **members}


def _written(counted: Counted) -> str:
    # Rounded down: a success must not seem to come before the failure that it ends.
    rows = {row_id: [int(at * 1000) for at in at_s] for row_id, at_s in counted.items()}
    return orjson.dumps(rows).decode()


def _read(item: Item | None) -> Counted:
    """What an item says; nothing where somebody's hand has been at it."""
    try:
        rows = orjson.loads(item["doc"]["S"]) if item is not None else {}
    except (KeyError, TypeError, ValueError):
        return {}
    if not isinstance(rows, dict):
        return {}
    return {
        row_id: tuple(at / 1000 for at in at_ms)
        for row_id, at_ms in rows.items()
        if isinstance(at_ms, list) and all(isinstance(at, int) for at in at_ms)
    }
