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
# The kinds of items in the table that each function was seen to write. The breaker's comes with a
# failure (effects/dynamodb_breaker.py).
WRITTEN: Mapping[Function, set[str]] = {
    "chat": {"A#", "CERT#", "R#"},
    "math": {"A#", "CERT#", "R#", "T#", "X#"},
    "directory": {"A#", "R#"},
    # Roots too, in a first deployment.
    "catalog_sync": {"CARD", "CATALOG"},
    "sweeper": {"A#", "D#", "R#", "T#"},
}
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
