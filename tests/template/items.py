"""Which items of the table each function may read and write: those that it was recorded to, by
action, and nothing else. What IAM decides is asked, not how the template says it."""

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

from phigate.aws.settings import FUNCTIONS, Function
from tests.functions.actions import ATTRIBUTES as ATTRIBUTES_OF
from tests.functions.actions import KINDS, items_of
from tests.template.cloudformation import Json, listed, of_type
from tests.template.policy import ATTRIBUTES, LEADING_KEYS, Request, Values, decide
from tests.template.roles import TABLE, role_of, statements_of
from tests.template.tables import DENIED_WRITES, WRITES

# What DynamoDB has for items, PartiQL's names beside its own:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
ACTIONS = (
    "BatchGetItem",
    "BatchWriteItem",
    "ConditionCheckItem",
    "DeleteItem",
    "GetItem",
    "PartiQLDelete",
    "PartiQLInsert",
    "PartiQLSelect",
    "PartiQLUpdate",
    "PutItem",
    "Query",
    "Scan",
    "UpdateItem",
)
# Like a kind, and none.
STRANGERS = ("", "a#clinic#S0", "CATALOGUE", "XR#clinic", "T", "ROOTS#", "Z#new", "#")
ELSEWHERE: tuple[Json, ...] = (
    {"Fn::GetAtt": ["Other", "Arn"]},
    {"Fn::Sub": "${Table.Arn}/index/any"},
)


def item_problems(template: Json) -> list[str]:
    """Each role allows exactly what its function was recorded to do, and denies what makes keys,
    credit and trust besides. There is no index, whose leading key would be another one."""
    problems: list[str] = []
    statements = statements_of(template)
    for function in FUNCTIONS:
        text = json.dumps([each for each in statements[function] if _is_of_items(each)])
        problems += function_problems(function, text)
    for name, properties in of_type(template, "AWS::DynamoDB::Table").items():
        indexes = {"GlobalSecondaryIndexes", "LocalSecondaryIndexes"} & set(properties)
        problems += [f"{name} has {each}" for each in sorted(indexes)]
    return problems


@lru_cache(maxsize=4096)
def function_problems(function: Function, statements: str) -> tuple[str, ...]:
    """Those of one function, whose statements are JSON."""
    effects: dict[str, list[Json]] = {"Allow": [], "Deny": []}
    for each in json.loads(statements):
        effects[each["Effect"]].append(each)
    try:
        found = [*_allowed(function, effects["Allow"]), *_denied(function, effects["Deny"])]
    except (KeyError, ValueError) as exc:
        return (f"{function}: cannot be decided: {exc!r}",)
    return tuple(found)


def _is_of_items(statement: Json) -> bool:
    """Or may be."""
    actions = listed(statement.get("Action", "*"))
    return any("*" in each or each.lower().startswith("dynamodb:") for each in actions)


def _allowed(function: Function, allows: list[Json]) -> Iterator[str]:
    """What is asked for one key, none, two at once, with other attributes, and elsewhere."""
    for action in ACTIONS:
        for request, wanted in _questions(function, action):
            if (decide(allows, request) == "allowed") is not wanted:
                yield f"{function} may{' not' if wanted else ''} {request}"


def _questions(function: Function, action: str) -> Iterator[tuple[Request, bool]]:
    """Requests, and whether they are to be allowed."""
    kinds = [key for kind, key in KINDS.items() if (action, kind) in items_of(function)]
    needed = tuple(ATTRIBUTES_OF.get((function, action), "").split())
    for key in (*KINDS.values(), *STRANGERS):
        yield _request(action, (key,), needed), key in kinds
    for keys in ((), *((key, "Z#new") for key in kinds), *(("Z#new", key) for key in kinds)):
        yield _request(action, keys, needed), False
    if kinds:
        yield _request(action, tuple(kinds), needed), True
    for resource, key in product(ELSEWHERE, kinds):
        yield _request(action, (key,), needed, resource), False
    for names in {"pk sk st", *ATTRIBUTES_OF.values()}:
        for key in kinds if needed else KINDS.values():
            attributes = tuple(names.split())
            is_it = key in kinds and needed in ((), attributes)
            yield _request(action, (key,), attributes), is_it
    for key in kinds if needed else ():
        yield _request(action, (key,), ()), False


def _request(action: str, keys: Values, attributes: Values, resource: Json = TABLE) -> Request:
    """Without keys or attributes the request has no such condition key."""
    context = {LEADING_KEYS: keys, ATTRIBUTES: attributes}
    there = {name: values for name, values in context.items() if values}
    return Request(f"dynamodb:{action}", resource, there)


def _denied(function: str, denies: list[Json]) -> Iterator[str]:
    """A second lock, whatever is allowed one day; also where another key stands beside."""
    wanted = set(DENIED_WRITES.get(role_of(function), "").replace("*", "").split())
    for action in sorted(WRITES):
        for kind, key in KINDS.items():
            for keys in ((key,), ("Z#new", key)):
                request = Request(action, TABLE, {LEADING_KEYS: keys})
                if (decide(denies, request) == "denied") is not (kind in wanted):
                    yield f"{function} is{' not' if kind in wanted else ''} denied {action} {keys}"
