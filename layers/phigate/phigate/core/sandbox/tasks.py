"""Sandbox tasks of one region: names, states, outcomes, the pool's records and their writes.

    T#<region>   sk <nonce>: st = starting|free|used, c = created, a = task ARN, e = expires,
                 by = claim, ttl

Law 1: a pooled task's record stands before the task is started, so a task without one is over.
Law 2: a task is claimed by one write, also by whoever means to stop it; nobody gets it back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phigate.core.attributes import Item, int_at, number, text, text_at

# Everything that a stack starts is found again by these; the rest of the name is a nonce or a
# request id, in letters that `startedBy` takes.
POOLED = "phigate-pool-"
COLD = "phigate-run-"
EXPIRES_TAG = "phigate-expires"

# A server gives itself 3,600 s without a program, and 300 s from the first one on.
POOLED_AGE_MAX_S = 3_000
LIFE_MAX_S = 3_900
# RunTask answers within seconds; a record that is still without its task was left by a crash.
STARTING_MAX_S = 120
RECORD_TTL_S = 86_400

# The nonce is new: a record that is put again after it was written does nothing.
RECORD_IS_NEW = "attribute_not_exists(pk)"
# The record still waits for its task: whoever gave the start up has forgotten it.
IS_STARTING = "st = :starting"
# Nobody has this task yet: neither a request nor the sweeper.
IS_FREE = "st = :free"

RecordState = Literal["starting", "free", "used"]
Phase = Literal["waiting", "running", "over"]
Outcome = Literal["again", "unknown", "never"]


@dataclass(frozen=True, slots=True)
class Record:
    """One pooled task as stored. `expires_at_s` stands once it is used."""

    region: str
    nonce: str
    state: RecordState
    created_at_s: int
    arn: str = ""
    expires_at_s: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One task as ECS describes it. `expires_at_s` is its tag's, 0 where it has none."""

    arn: str
    phase: Phase
    address: str
    image: str
    started_by: str
    created_at_s: int
    expires_at_s: int


def reserve(table: str, record: Record) -> dict[str, Any]:
    """PutItem: a task of this nonce is about to be started for the pool."""
    return {
        "TableName": table,
        "Item": _key(record)
        | {
            "st": text("starting"),
            "c": number(record.created_at_s),
            "ttl": number(record.created_at_s + RECORD_TTL_S),
        },
        "ConditionExpression": RECORD_IS_NEW,
    }


def note_started(table: str, record: Record, arn: str) -> dict[str, Any]:
    """UpdateItem: the task is on its way and may be claimed."""
    return {
        "TableName": table,
        "Key": _key(record),
        "UpdateExpression": "SET st = :free, a = :arn",
        "ConditionExpression": IS_STARTING,
        "ExpressionAttributeValues": {
            ":starting": text("starting"),
            ":free": text("free"),
            ":arn": text(arn),
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def claim(table: str, record: Record, claim_id: str, expires_at_s: int) -> dict[str, Any]:
    """UpdateItem: the task is taken until then."""
    return {
        "TableName": table,
        "Key": _key(record),
        "UpdateExpression": "SET st = :used, e = :expires, #by = :by",
        "ConditionExpression": IS_FREE,
        "ExpressionAttributeNames": {"#by": "by"},
        "ExpressionAttributeValues": {
            ":free": text("free"),
            ":used": text("used"),
            ":expires": number(expires_at_s),
            ":by": text(claim_id),
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def forget(table: str, record: Record) -> dict[str, Any]:
    """DeleteItem: the task was stopped or never came; without condition, as it has one owner."""
    return {"TableName": table, "Key": _key(record)}


def all_records(table: str, region: str) -> dict[str, Any]:
    """Query: the pool of a region."""
    return {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": text(_pk(region))},
        "ConsistentRead": True,
    }


def record_of(region: str, item: Mapping[str, Any]) -> Record:
    """A record as stored."""
    state = text_at(item, "st")
    return Record(
        region=region,
        nonce=text_at(item, "sk") or "",
        state="free" if state == "free" else "starting" if state == "starting" else "used",
        created_at_s=int_at(item, "c"),
        arn=text_at(item, "a") or "",
        expires_at_s=int_at(item, "e"),
    )


def is_claimed_by(item: Mapping[str, Any] | None, claim_id: str) -> bool:
    """Whether an earlier try of the same write claimed it."""
    return item is not None and text_at(item, "by") == claim_id


def claimable(records: Iterable[Record], now_s: int) -> list[Record]:
    """Free and young enough, the oldest first: the others last longer."""
    young = [each for each in records if each.created_at_s > now_s - POOLED_AGE_MAX_S]
    return sorted((r for r in young if r.state == "free"), key=lambda r: r.created_at_s)


def missing(records: Iterable[Record], now_s: int, wanted: int) -> int:
    """How many tasks the pool lacks; negative when it has too many."""
    known = list(records)
    on_their_way = [
        each
        for each in known
        if each.state == "starting" and each.created_at_s > now_s - STARTING_MAX_S
    ]
    return wanted - len(claimable(known, now_s)) - len(on_their_way)


def is_record_over(record: Record, now_s: int, living_arns: frozenset[str]) -> bool:
    """Whether a record can be forgotten: its task never came, or is there no longer."""
    if record.created_at_s > now_s - STARTING_MAX_S:
        return False  # a task that was just started is not listed yet
    return record.state == "starting" or record.arn not in living_arns


def is_task_over(task: Task, record: Record | None, now_s: int) -> bool:
    """Whether a task of ours has to be stopped without a claim."""
    if task.started_by.startswith(POOLED):
        return record is None or (record.state == "used" and record.expires_at_s <= now_s)
    if not task.started_by.startswith(COLD):
        return False  # not one of ours
    return (task.expires_at_s or task.created_at_s + LIFE_MAX_S) <= now_s


def task_of(table: Mapping[str, Any]) -> Task:
    """A task as ECS describes it; what is missing is empty, what is unknown counts as over."""
    created = table.get("createdAt")
    tags = {tag.get("key"): tag.get("value", "") for tag in table.get("tags", ())}
    expires = str(tags.get(EXPIRES_TAG, ""))
    containers = table.get("containers") or [{}]
    is_ending = table.get("desiredStatus") == "STOPPED"
    return Task(
        arn=str(table["taskArn"]),
        phase="over" if is_ending else PHASES.get(str(table.get("lastStatus")), "over"),
        address=_address(table),
        image=str(containers[0].get("imageDigest") or ""),
        started_by=str(table.get("startedBy", "")),
        created_at_s=0 if created is None else int(created.timestamp()),
        expires_at_s=int(expires) if expires.isascii() and expires.isdigit() else 0,
    )


def failure_outcome(reason: str) -> Outcome:
    """What an entry of `failures[]` means; a reason that nobody knows is tried again."""
    for beginning, outcome in FAILURES:
        if reason.startswith(beginning):
            return outcome
    return "again"


def _address(table: Mapping[str, Any]) -> str:
    """The private IPv4 address of the task's network interface."""
    for attachment in table.get("attachments", ()):
        for detail in attachment.get("details", ()):
            if detail.get("name") == "privateIPv4Address":
                return str(detail.get("value", ""))
    return ""


def _pk(region: str) -> str:
    return f"T#{region}"


def _key(record: Record) -> Item:
    return {"pk": text(_pk(record.region)), "sk": text(record.nonce)}


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
PHASES: dict[str, Phase] = {
    "PROVISIONING": "waiting",
    "PENDING": "waiting",
    "ACTIVATING": "waiting",
    "RUNNING": "running",
    "DEACTIVATING": "over",
    "STOPPING": "over",
    "DEPROVISIONING": "over",
    "STOPPED": "over",
    "DELETED": "over",
}

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
FAILURES: tuple[tuple[str, Outcome], ...] = (
    ("Capacity is unavailable", "again"),
    ("RESOURCE", "again"),
    ("AGENT", "again"),
    ("ATTRIBUTE", "never"),
    ("INACTIVE", "never"),
    ("MISSING", "never"),
)

# Every error that ECS documents for the four calls used here, and those common to all of AWS: may
# the same call be sent again, and may it have done something. The test walks botocore's model.
ERRORS: dict[str, Outcome] = {
    "ThrottlingException": "again",
    "ThrottledException": "again",
    "Throttling": "again",
    "RequestLimitExceeded": "again",
    "TooManyRequestsException": "again",
    "ConflictException": "again",
    "ServerException": "unknown",
    "InternalFailure": "unknown",
    "ServiceUnavailable": "unknown",
    "ServiceUnavailableException": "unknown",
    "AccessDeniedException": "never",
    "BlockedException": "never",
    "ClientException": "never",
    "ClusterNotFoundException": "never",
    "ExpiredTokenException": "never",
    "InvalidParameterException": "never",
    "PlatformTaskDefinitionIncompatibilityException": "never",
    "PlatformUnknownException": "never",
    "ServiceNotFoundException": "never",
    "UnrecognizedClientException": "never",
    "UnsupportedFeatureException": "never",
}
