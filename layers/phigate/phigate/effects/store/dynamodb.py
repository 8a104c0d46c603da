"""A lean DynamoDB client: one POST a call, signed here, and every failure named by its outcome.

DynamoError
├── ConditionFailed       the condition did not hold; nothing was written; `item` as it stood
├── TransactionCanceled   a condition of the transaction did not hold; nothing was written
├── NotAccepted           the call itself is wrong or forbidden; repeating it cannot help
│   └── TableMissing      there is no such table
└── Transient             the same call may be sent again
    ├── Throttled         nothing was written
    ├── Conflict          another transaction was at the item; nothing was written
    └── Unavailable       not known whether it was written: timeout, connection, 5xx
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import orjson

from phigate.core.clock import Clock
from phigate.core.errors import InternalError, Overloaded
from phigate.core.limits import LEDGER_TRIES_MAX, SOCKET_UNUSED_MAX_S
from phigate.effects.aws.signed_posts import SignedPosts
from phigate.effects.aws.sigv4 import CredentialsSource
from phigate.effects.posts import Bounds

Json = dict[str, Any]

CONNECT_TIMEOUT_S = 1.0  # DynamoDB in the same region connects in a few milliseconds
CALL_TIMEOUT_S = 3.0  # its slowest calls take under 0.1 s; a lost packet costs a second
CONNECTIONS_MAX = 256  # more than the calls that one process has in flight
REPEAT_PAUSE_S = 0.05  # at most, and twice that after every try: 0.05, 0.1, 0.2, 0.4
BOUNDS = Bounds(
    connections_max=CONNECTIONS_MAX,
    connect_timeout_s=CONNECT_TIMEOUT_S,
    unused_max_s=SOCKET_UNUSED_MAX_S,
    answer_timeout_s=CALL_TIMEOUT_S,
)

_TARGET_PREFIX = "DynamoDB_20120810."


class DynamoError(Exception):
    """Base of the tree. The text holds names of errors and operations, never an item."""


class ConditionFailed(DynamoError):
    """`item` is what stood there (ALL_OLD), None where nothing stood or it was not asked for."""

    def __init__(self, item: Json | None) -> None:
        super().__init__("ConditionalCheckFailed")
        self.item = item


class TransactionCanceled(DynamoError):
    """`reasons` has one (code, item) for each write of the transaction, in order."""

    def __init__(self, reasons: Sequence[tuple[str, Json | None]]) -> None:
        super().__init__("TransactionCanceled: " + ", ".join(code for code, _ in reasons))
        self.reasons = tuple(reasons)

    def failed(self, position: int) -> bool:
        """Whether this write's own condition did not hold."""
        return self.reasons[position][0] == "ConditionalCheckFailed"


class NotAccepted(DynamoError):
    """The call is wrong or forbidden."""


class TableMissing(NotAccepted):
    """There is no such table, or it is not ready yet."""


class Transient(DynamoError):
    """May be repeated as it is."""


class Throttled(Transient):
    """Too many calls for now."""


class Conflict(Transient):
    """Another transaction was at work on the item."""


class Unavailable(Transient):
    """The outcome is unknown."""


class Dynamo(Protocol):
    """What the ledger and the keys need of a client; doubles have this shape."""

    @property
    def table(self) -> str: ...

    async def call(self, operation: str, payload: Json) -> Json:
        """One call. Raises a DynamoError."""
        ...


class DynamoDB:
    """The client. `calls` counts by operation. Use it from one event loop, then `close` it.

    `endpoint` is a URL, or `unix:` and a path (see Posts)."""

    def __init__(
        self,
        *,
        table: str,
        endpoint: str,
        region: str,
        credentials: CredentialsSource,
        clock: Clock,
    ) -> None:
        self.table = table
        self.calls: dict[str, int] = {}
        self._posts = SignedPosts(
            service="dynamodb",
            endpoint=endpoint,
            region=region,
            credentials=credentials,
            clock=clock,
            bounds=BOUNDS,
        )

    async def call(self, operation: str, payload: Json) -> Json:
        """POST one operation and return its answer. Raises a DynamoError."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        try:
            reply = await self._posts.post(_TARGET_PREFIX + operation, orjson.dumps(payload))
        except (TimeoutError, OSError) as exc:
            raise Unavailable(f"{operation}: {type(exc).__name__}") from exc
        return _read(operation, reply.status, reply.body)

    async def close(self) -> None:
        """Close the sockets; a later call opens new ones."""
        await self._posts.close()


async def repeat(dynamo: Dynamo, clock: Clock, operation: str, payload: Json) -> Json:
    """Send a call until its outcome is known: the same bytes each time, LEDGER_TRIES_MAX at most.

    Raises ConditionFailed, TransactionCanceled, Overloaded, or InternalError for NotAccepted.
    """
    pause_s = REPEAT_PAUSE_S
    for tries_left in reversed(range(LEDGER_TRIES_MAX)):
        try:
            return await dynamo.call(operation, payload)
        except Transient as exc:
            if tries_left == 0:
                raise Overloaded("The account store did not answer in time; try again.") from exc
        except NotAccepted as exc:
            raise InternalError(f"The account store did not accept {operation}.") from exc
        await clock.back_off(pause_s)
        pause_s *= 2
    raise AssertionError("LEDGER_TRIES_MAX is positive")


async def read_item(dynamo: Dynamo, clock: Clock, pk: str, sk: str) -> Json | None:
    """One item as it stands now; None where there is none. Raises what `repeat` raises."""
    key = {"pk": {"S": pk}, "sk": {"S": sk}}
    call = {"TableName": dynamo.table, "Key": key, "ConsistentRead": True}
    item: Json | None = (await repeat(dynamo, clock, "GetItem", call)).get("Item")
    return item


async def pages(dynamo: Dynamo, clock: Clock, query: Json) -> AsyncIterator[Json]:
    """Every item of a Query, page by page; a page ends at 1 MB."""
    start: Json = {}
    while True:
        answer = await repeat(dynamo, clock, "Query", query | start)
        for item in answer.get("Items", ()):
            yield item
        if "LastEvaluatedKey" not in answer:
            return
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def _read(operation: str, status: int, content: bytes) -> Json:
    try:
        answer = orjson.loads(content)
    except ValueError as exc:
        raise Unavailable(f"{operation}: HTTP {status} without JSON") from exc
    if not isinstance(answer, dict):
        raise Unavailable(f"{operation}: HTTP {status} without an object")
    if status == 200:
        return answer
    code = str(answer.get("__type", "")).rpartition("#")[2]
    if status >= 500:
        raise Unavailable(f"{operation}: HTTP {status} {code}")
    if code == "TransactionCanceledException":
        raise _canceled(operation, answer)
    raise ERRORS.get(code, _not_accepted)(f"{operation}: {code}", answer)


def _canceled(operation: str, answer: Json) -> DynamoError:
    """A condition that did not hold outweighs a conflict: repeating cannot mend it."""
    reasons = [
        (str(reason.get("Code", "None")), reason.get("Item"))
        for reason in answer.get("CancellationReasons", ())
    ]
    codes = {code for code, _ in reasons}
    for code, error in CANCELLATIONS:
        if code in codes:
            return error(f"{operation}: {code}", reasons)
    return NotAccepted(f"{operation}: {', '.join(sorted(codes))}")


def _condition_failed(_text: str, answer: Json) -> DynamoError:
    return ConditionFailed(answer.get("Item"))


def _throttled(text: str, _: Any) -> DynamoError:
    return Throttled(text)


def _conflict(text: str, _: Any) -> DynamoError:
    return Conflict(text)


def _unavailable(text: str, _: Any) -> DynamoError:
    return Unavailable(text)


def _not_accepted(text: str, _: Any) -> DynamoError:
    return NotAccepted(text)


def _table_missing(text: str, _: Any) -> DynamoError:
    return TableMissing(text)


def _transaction_canceled(_text: str, reasons: Sequence[tuple[str, Json | None]]) -> DynamoError:
    return TransactionCanceled(reasons)


# Every error that DynamoDB documents for the operations used here; the test walks its model.
ERRORS: dict[str, Callable[[str, Any], DynamoError]] = {
    "ConditionalCheckFailedException": _condition_failed,
    "TransactionConflictException": _conflict,
    "TransactionInProgressException": _conflict,
    "ReplicatedWriteConflictException": _conflict,
    "ProvisionedThroughputExceededException": _throttled,
    "RequestLimitExceeded": _throttled,
    "ThrottlingException": _throttled,
    "InternalServerError": _unavailable,
    "ServiceUnavailable": _unavailable,
    "AccessDeniedException": _not_accepted,
    "ExpiredTokenException": _not_accepted,
    "IdempotentParameterMismatchException": _not_accepted,
    "InvalidSignatureException": _not_accepted,
    "ItemCollectionSizeLimitExceededException": _not_accepted,
    "LimitExceededException": _not_accepted,
    "ResourceInUseException": _not_accepted,
    "ResourceNotFoundException": _table_missing,
    "UnrecognizedClientException": _not_accepted,
    "ValidationException": _not_accepted,
}

# Why a transaction was cancelled, the weightiest first.
CANCELLATIONS: tuple[tuple[str, Callable[[str, Any], DynamoError]], ...] = (
    ("ConditionalCheckFailed", _transaction_canceled),
    ("ItemCollectionSizeLimitExceeded", _not_accepted),
    ("ValidationError", _not_accepted),
    ("TransactionConflict", _conflict),
    ("ThrottlingError", _throttled),
    ("ProvisionedThroughputExceeded", _throttled),
)
