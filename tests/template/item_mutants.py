"""Broken rights to items, made from tables: each kind at each role and action, each condition, each
denial. Made of the template as it is written or as SAM renders it."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from phigate.aws.settings import FUNCTIONS
from tests.functions.actions import ATTRIBUTES as ATTRIBUTES_OF
from tests.functions.actions import KINDS, items_of
from tests.template.cloudformation import Json, listed
from tests.template.items import ACTIONS, item_problems
from tests.template.mutants import Mutant
from tests.template.policy import ATTRIBUTES, LEADING_KEYS
from tests.template.roles import TABLE, role_of
from tests.template.tables import DENIED_WRITES

Change = Callable[[Json], Any]
ALL, ANY = "ForAllValues:StringLike", "ForAnyValue:StringLike"


def _statements(template: Json, function: str) -> list[Json]:
    policy = template["Resources"][role_of(function).removesuffix("Role") + "Policy"]
    found: list[Json] = policy["Properties"]["PolicyDocument"]["Statement"]
    return found


def _of(template: Json, function: str, effect: str, action: str) -> Json:
    """The statement with which a role allows or denies an action of items."""
    (found,) = (
        each
        for each in _statements(template, function)
        if each.get("Effect") == effect and f"dynamodb:{action}" in listed(each["Action"])
    )
    return found


def _pattern(kind: str) -> str:
    return f"{kind}*" if kind.endswith("#") else kind


def _allows(function: str, action: str, kind: str) -> Change:
    condition = {ALL: {LEADING_KEYS: [_pattern(kind)]}, "Null": {LEADING_KEYS: "false"}}
    more = {
        "Effect": "Allow",
        "Action": [f"dynamodb:{action}"],
        "Resource": TABLE,
        "Condition": condition,
    }
    return lambda template: _statements(template, function).append(deepcopy(more))


def _lacks(function: str, action: str, kind: str) -> Change:
    return lambda template: _of(template, function, "Allow", action)["Condition"][ALL][
        LEADING_KEYS
    ].remove(_pattern(kind))


def _of_kinds() -> Iterator[Mutant]:
    for function in FUNCTIONS:
        for action in ACTIONS:
            for kind in KINDS:
                recorded = (action, kind) in items_of(function)
                change = (_lacks if recorded else _allows)(function, action, kind)
                name = f"{function} {'lacks' if recorded else 'has'} {action} of {kind}"
                yield Mutant(name, change, item_problems)


def _condition(function: str, action: str, change: Change) -> Change:
    return lambda template: change(_of(template, function, "Allow", action))


def _renamed(statement: Json, name: str, was: str = ALL) -> None:
    statement["Condition"][name] = statement["Condition"].pop(was)


def _widened(statement: Json, pattern: str) -> None:
    statement["Condition"][ALL][LEADING_KEYS].append(pattern)


# What may be wrong with the condition of an Allow.
_CONDITIONS: dict[str, Change] = {
    "no Null": lambda each: each["Condition"].pop("Null"),
    "Null that is true": lambda each: each["Condition"].update(Null={LEADING_KEYS: "true"}),
    "no ForAllValues": lambda each: each["Condition"].pop(ALL),
    "no set operator": lambda each: _renamed(each, "StringLike"),
    "any of the keys": lambda each: _renamed(each, ANY),
    "patterns taken for texts": lambda each: _renamed(each, "ForAllValues:StringEquals"),
    "no condition": lambda each: each.pop("Condition"),
    "every key": lambda each: _widened(each, "*"),
    "one more kind, of a name": lambda each: _widened(each, "Z#*"),
    "another key of the condition": lambda each: each["Condition"].update(
        {ALL: {ATTRIBUTES: ["pk"]}}
    ),
    "any table": lambda each: each.update(Resource="*"),
    "the table's indexes": lambda each: each.update(
        Resource=[TABLE, {"Fn::Sub": "${Table.Arn}/index/any"}]
    ),
    "every action": lambda each: each.update(Action="dynamodb:*"),
}
# Of the attributes that a function may put.
_ATTRIBUTES: dict[str, Change] = {
    "any attribute": lambda each: [
        each["Condition"][operator].pop(ATTRIBUTES) for operator in (ALL, "Null")
    ],
    "no attribute needed": lambda each: each["Condition"]["Null"].pop(ATTRIBUTES),
    "a receipt's attributes": lambda each: each["Condition"][ALL][ATTRIBUTES].append("st"),
    "an attribute less": lambda each: each["Condition"][ALL][ATTRIBUTES].remove("e"),
}
# Of a condition with texts alone StringEquals says the same.
_SAME = {("catalog_sync", "PutItem"), ("catalog_sync", "Query"), ("directory", "Query")}


def _of_conditions() -> Iterator[Mutant]:
    for function in FUNCTIONS:
        for action in sorted({action for action, _ in items_of(function)}):
            for name, change in _CONDITIONS.items():
                if name != "patterns taken for texts" or (function, action) not in _SAME:
                    yield Mutant(
                        f"{function} {action}: {name}",
                        _condition(function, action, change),
                        item_problems,
                    )


def _of_attributes() -> Iterator[Mutant]:
    for function, action in ATTRIBUTES_OF:
        for name, change in _ATTRIBUTES.items():
            changed = _condition(function, action, change)
            yield Mutant(f"{function} {action}: {name}", changed, item_problems)


def _denial(function: str, change: Callable[[list[Json], Json], Any]) -> Change:
    def changed(template: Json) -> None:
        statements = _statements(template, function)
        change(statements, _of(template, function, "Deny", "PutItem"))

    return changed


def _undenied(kind: str) -> Callable[[list[Json], Json], Any]:
    return lambda _, denial: denial["Condition"][ANY][LEADING_KEYS].remove(kind)


def _of_denials() -> Iterator[Mutant]:
    seen_by = item_problems
    for function in FUNCTIONS:
        kinds = DENIED_WRITES.get(role_of(function), "").split()
        for kind in kinds:
            change = _denial(function, _undenied(kind))
            yield Mutant(f"{function} is not denied {kind}", change, seen_by)
        if kinds:
            dropped = _denial(function, lambda statements, denial: statements.remove(denial))
            yield Mutant(f"{function} has no denial", dropped, seen_by)
            of_all = _denial(
                function,
                lambda _, each: each["Condition"].update({ALL: each["Condition"].pop(ANY)}),
            )
            yield Mutant(f"{function} is denied what is all forbidden", of_all, seen_by)
            one_less = _denial(
                function, lambda _, each: each["Action"].remove("dynamodb:DeleteItem")
            )
            yield Mutant(f"{function} is denied no deletion", one_less, seen_by)


KIND_MUTANTS = tuple(_of_kinds())
ITEM_MUTANTS = (*KIND_MUTANTS, *_of_conditions(), *_of_attributes(), *_of_denials())


def slim(template: Json) -> Json:
    """The template with what these mutants and their checks look at, which is sooner copied."""
    kinds = ("AWS::DynamoDB::Table", "AWS::IAM::RolePolicy")
    resources = {
        name: facts for name, facts in template["Resources"].items() if facts["Type"] in kinds
    }
    return template | {"Resources": resources}
