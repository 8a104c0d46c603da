"""Decides as IAM does whether a policy allows one request: a denial first, then an allowance, else
nothing is allowed. What is not known here is an error, never a guess.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from tests.template.cloudformation import Json, listed

Decision = Literal["denied", "allowed", "not allowed"]
Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One action on one resource. `context` has the values of every condition key that the request
    has; a key that it lacks is not there."""

    action: str
    resource: Any = "*"
    context: Mapping[str, Values] = field(default_factory=dict)


def decide(statements: Iterable[Json], request: Request) -> Decision:
    """What all statements say together."""
    effects = {each["Effect"] for each in statements if is_of(each, request)}
    if "Deny" in effects:
        return "denied"
    return "allowed" if "Allow" in effects else "not allowed"


def is_of(statement: Json, request: Request) -> bool:
    """Whether a statement is about this request: action, resource, and every condition."""
    if unknown := set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}:
        raise ValueError(f"a statement with {sorted(unknown)}")
    return (
        any(_like(each, request.action.lower()) for each in _lower(statement["Action"]))
        and any(_is_resource(each, request.resource) for each in listed(statement["Resource"]))
        and all(
            _holds(operator, listed(wanted), request.context.get(key))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _lower(actions: Any) -> list[str]:
    """The names of actions are the same in capitals."""
    return [each.lower() for each in listed(actions)]


def _is_resource(pattern: Any, resource: Any) -> bool:
    """An intrinsic function stands for one resource, and equals itself."""
    if isinstance(pattern, str) and isinstance(resource, str):
        return _like(pattern, resource)
    return pattern in ("*", resource)


def _holds(operator: str, wanted: Sequence[Any], values: Values | None) -> bool:
    """One condition; `values` is None where the request has no such key."""
    if operator == "Null":
        # Only an absent key is null.
        return {"true": values is None, "false": values is not None}[str(wanted[0]).lower()]
    quantifier, _, plain = operator.rpartition(":")
    matches = OPERATORS[plain]
    return QUANTIFIERS[quantifier](
        [any(matches(each, value) for each in wanted) for value in values or ()]
    )


def _like(pattern: str, text: str) -> bool:
    """`*` is any text, `?` any character; nothing else has a meaning."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    meaning = {"*": ".*", "?": "."}
    return re.compile("".join(meaning.get(each, re.escape(each)) for each in pattern), re.DOTALL)


def _one(matches: list[bool]) -> bool:
    """Of a key with one value at most."""
    if len(matches) > 1:
        raise ValueError("a key of many values needs ForAllValues or ForAnyValue")
    return any(matches)


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
QUANTIFIERS: Mapping[str, Callable[[list[bool]], bool]] = {
    "": _one,
    "ForAllValues": all,  # of no values all match: true where the key is absent
    "ForAnyValue": any,
}
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
OPERATORS: Mapping[str, Callable[[Any, str], bool]] = {
    "StringEquals": lambda pattern, value: bool(pattern == value),
    "StringLike": _like,
}

# A transaction is judged by what it is made of, item by item:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
PARTS: Mapping[str, str] = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "Get": "GetItem",
    "ConditionCheck": "ConditionCheckItem",
}
KEY_OF: Mapping[str, str] = {
    "GetItem": "Key",
    "PutItem": "Item",
    "UpdateItem": "Key",
    "DeleteItem": "Key",
    "ConditionCheckItem": "Key",
}
LEADING_KEYS = "dynamodb:LeadingKeys"
# Of a put: what the item has, and what its condition names. How an update tells nested names is not
# documented, so it has none here, and a policy that asks for them fails.
ATTRIBUTES = "dynamodb:Attributes"
_NAME = re.compile(r"(?<![:#\w])[a-z]\w*\b(?!\()")
# A Query names one partition, a Scan none:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
_PARTITION = re.compile(r"pk = (:\w+)")


def dynamodb_requests(operation: str, asked: Json, table: Any = "*") -> list[Request]:
    """What a call of DynamoDB asks IAM for: one request for each item of a transaction."""
    if "TransactItems" in asked:
        return [
            _of_items(PARTS[kind], [part], table)
            for item in asked["TransactItems"]
            for kind, part in item.items()
        ]
    if operation in KEY_OF:
        return [_of_items(operation, [asked], table)]
    if operation == "Query":
        (name,) = _PARTITION.findall(asked["KeyConditionExpression"])
        keys = (asked["ExpressionAttributeValues"][name]["S"],)
        return [Request("dynamodb:Query", table, {LEADING_KEYS: keys})]
    return [Request(f"dynamodb:{operation}", table)]


def in_one_request(requests: Sequence[Request]) -> list[Request]:
    """The same parts, if each action were asked for once with the keys of all of them."""
    keys = tuple(key for each in requests for key in each.context.get(LEADING_KEYS, ()))
    shared = {LEADING_KEYS: keys} if keys else {}
    return [Request(each.action, each.resource, {**each.context, **shared}) for each in requests]


def _of_items(action: str, parts: Sequence[Json], table: Any) -> Request:
    context = {LEADING_KEYS: tuple(part[KEY_OF[action]]["pk"]["S"] for part in parts)}
    if action == "PutItem":
        context[ATTRIBUTES] = tuple(
            sorted(
                name
                for part in parts
                for name in {*part["Item"], *_NAME.findall(part.get("ConditionExpression", ""))}
            )
        )
    return Request(f"dynamodb:{action}", table, context)
