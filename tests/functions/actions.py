"""The actions of each function in AWS (see test_actions), which its role in the template has."""

from collections.abc import Mapping

from phigate.aws.settings import Function

_KEYS_OF_CHATS = {
    ("catalog-key", "GetPublicKey"),
    ("receipt-key", "GetPublicKey"),
    ("receipt-key", "Sign"),
}
_CHAT = {
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "kms:GetPublicKey",
    "kms:Sign",
    "secretsmanager:GetSecretValue",
}
_TASKS = {
    "dynamodb:DeleteItem",
    "dynamodb:Query",
    "ecs:DescribeTasks",
    "ecs:ListTasks",
    "ecs:RunTask",
    "ecs:StopTask",
}
# As API calls; `ALLOWED_BY` names what a policy has to say for those that are called otherwise.
ACTIONS: Mapping[Function, set[str]] = {
    "chat": _CHAT,
    "math": _CHAT | _TASKS - {"ecs:ListTasks"},
    # It writes what was signed for RedPill's verifiers, and how much of it a key has asked for.
    "directory": {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "kms:GetPublicKey",
        "kms:Sign",
        # Whether a provider has a key; of those with an attestation the key.
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
    },
    "catalog_sync": {"dynamodb:PutItem", "dynamodb:Query", "kms:GetPublicKey", "kms:Sign"},
    "sweeper": {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "kms:GetPublicKey",
        "kms:Sign",
        "s3:ListObjectVersions",
        "s3:PutObject",
        "secretsmanager:GetSecretValue",
    }
    | _TASKS,
}
# What stands in the table, one key of each kind. A kind is its partition key up to what names one.
KINDS: Mapping[str, str] = {
    "A#": "A#clinic#S0",
    "ACCOUNTS": "ACCOUNTS",
    "BREAKER": "BREAKER",
    "C#": "C#clinic",
    "CARD": "CARD",
    "CATALOG": "CATALOG",
    "CERT#": "CERT#kid",
    "D#": "D#clinic",
    "K#": "K#0123abcd",
    "KEYS#": "KEYS#clinic",
    "R#": "R#clinic#2026-11-26",
    "ROOTS": "ROOTS",
    "T#": "T#CH",
    "X#": "X#A#clinic",
}
# By action, the kinds that each function was seen to do it with; its role allows these alone.
ITEMS: Mapping[Function, Mapping[str, str]] = {
    "chat": {
        "GetItem": "A# BREAKER CATALOG K#",
        "PutItem": "BREAKER CERT# R#",
        "UpdateItem": "A# R#",
    },
    "math": {
        "DeleteItem": "T#",
        "GetItem": "A# BREAKER CATALOG K#",
        "PutItem": "BREAKER CERT# R# T#",
        "Query": "T#",
        "UpdateItem": "A# R# T# X#",
    },
    "directory": {
        "GetItem": "A# CARD CATALOG CERT# K# R#",
        "PutItem": "R#",
        "Query": "ROOTS",
        "UpdateItem": "A#",
    },
    "catalog_sync": {"PutItem": "CARD CATALOG ROOTS", "Query": "ROOTS"},
    "sweeper": {
        "DeleteItem": "T#",
        "GetItem": "A# ACCOUNTS CATALOG",
        "PutItem": "D# R# T#",
        "Query": "ACCOUNTS D# R# ROOTS T#",
        "UpdateItem": "A# T#",
    },
}


# The attributes of what a function puts under the key of another's items: these alone it may put.
ATTRIBUTES: Mapping[tuple[Function, str], str] = {("directory", "PutItem"): "e pk sk ttl"}


def kind_of(key: str) -> str:
    """`R#` of R#clinic#2026-11-26, `ROOTS` of ROOTS."""
    name, mark, _ = key.partition("#")
    return name + mark


def items_of(function: Function) -> set[tuple[str, str]]:
    """ITEMS as pairs of an action and a kind."""
    return {(action, kind) for action, kinds in ITEMS[function].items() for kind in kinds.split()}


ALLOWED_BY: Mapping[str, set[str]] = {
    "s3:ListObjectVersions": {"s3:ListBucketVersions"},
    # A copy is put with its time of retention.
    "s3:PutObject": {"s3:PutObject", "s3:PutObjectRetention"},
    # A task is started with a tag, and under the execution role of its definition.
    "ecs:RunTask": {"ecs:RunTask", "ecs:TagResource", "iam:PassRole"},
}
KEYS: Mapping[Function, set[tuple[str, str]]] = {
    "chat": _KEYS_OF_CHATS,
    "math": _KEYS_OF_CHATS,
    "directory": {
        ("catalog-key", "GetPublicKey"),
        ("redpill-key", "GetPublicKey"),
        ("redpill-key", "Sign"),
    },
    "catalog_sync": {
        ("catalog-key", "GetPublicKey"),
        ("catalog-key", "Sign"),
        ("receipt-key", "GetPublicKey"),
        ("day-key", "GetPublicKey"),
        ("redpill-key", "GetPublicKey"),
    },
    "sweeper": {("day-key", "GetPublicKey"), ("day-key", "Sign")},
}
