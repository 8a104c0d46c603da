"""The evaluator decides as AWS documents it (the pages that tests/template/policy.py names).

moto is no second opinion here: its `IAMPolicyStatement` answers a condition that does not hold with
a denial, also in an Allow, knows no ForAllValues, and gives DynamoDB's calls no LeadingKeys.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.template.cloudformation import Json
from tests.template.policy import (
    ATTRIBUTES,
    LEADING_KEYS,
    Decision,
    Request,
    decide,
    dynamodb_requests,
    in_one_request,
)

PUT = "dynamodb:PutItem"


@dataclass(frozen=True)
class Case:
    """Statements as (effect, condition), on PutItem; the values of LeadingKeys, None: absent."""

    statements: list[tuple[str, Json]]
    keys: tuple[str, ...] | None
    decision: Decision
    action: str = PUT
    more: Json = field(default_factory=dict)


def like(*patterns: str, operator: str = "ForAllValues:StringLike") -> Json:
    return {operator: {LEADING_KEYS: list(patterns)}}


NOT_NULL: Json = {"Null": {LEADING_KEYS: "false"}}
ANY = "ForAnyValue:StringLike"
CASES = {
    # A request is denied unless something allows it.
    "nothing said": Case([], ("A#1",), "not allowed"),
    "without a condition": Case([("Allow", {})], ("A#1",), "allowed"),
    "another action": Case([("Allow", {})], ("A#1",), "not allowed", "dynamodb:DeleteItem"),
    "an action in capitals": Case([("Allow", {})], ("A#1",), "allowed", "dynamodb:PUTITEM"),
    # A Deny outweighs every Allow, wherever it stands.
    "denied before": Case([("Deny", {}), ("Allow", {})], ("A#1",), "denied"),
    "denied after": Case([("Allow", {}), ("Deny", {})], ("A#1",), "denied"),
    "a denial of other keys": Case(
        [("Allow", {}), ("Deny", like("K#*", operator=ANY))], ("A#1",), "allowed"
    ),
    # ForAllValues: each value of the request matches one of the policy.
    "all of one": Case([("Allow", like("A#*"))], ("A#1",), "allowed"),
    "all of two": Case([("Allow", like("A#*", "R#*"))], ("A#1", "R#1"), "allowed"),
    "all but one": Case([("Allow", like("A#*", "R#*"))], ("A#1", "K#1"), "not allowed"),
    # It is true, too, of a request without the key: the hole that Null closes.
    "absent in an Allow": Case([("Allow", like("A#*"))], None, "allowed"),
    "absent and null is false": Case([("Allow", {**like("A#*"), **NOT_NULL})], None, "not allowed"),
    "there and null is false": Case([("Allow", {**like("A#*"), **NOT_NULL})], ("A#1",), "allowed"),
    "null alone": Case([("Allow", NOT_NULL)], ("K#1",), "allowed"),
    "null is true": Case([("Allow", {"Null": {LEADING_KEYS: "true"}})], None, "allowed"),
    "there and null is true": Case(
        [("Allow", {"Null": {LEADING_KEYS: "true"}})], ("A#1",), "not allowed"
    ),
    # ForAnyValue: one value at least; without the key it is false.
    "any in a Deny": Case(
        [("Allow", {}), ("Deny", like("K#*", operator=ANY))], ("A#1", "K#1"), "denied"
    ),
    "any and absent": Case([("Allow", like("A#*", operator=ANY))], None, "not allowed"),
    "absent in a Deny by any": Case(
        [("Allow", {}), ("Deny", like("K#*", operator=ANY))], None, "allowed"
    ),
    "absent in a Deny by all": Case([("Allow", {}), ("Deny", like("K#*"))], None, "denied"),
    # Without a set operator an absent key does not match.
    "plain and absent": Case([("Allow", like("A#*", operator="StringLike"))], None, "not allowed"),
    # StringLike minds capitals, and has * and ? anywhere.
    "in capitals": Case([("Allow", like("A#*"))], ("a#1",), "not allowed"),
    "nothing behind": Case([("Allow", like("A#*"))], ("A#",), "allowed"),
    "not from the start": Case([("Allow", like("A#*"))], ("XA#1",), "not allowed"),
    "exact text": Case([("Allow", like("CARD"))], ("CARDS",), "not allowed"),
    "one character": Case([("Allow", like("A#?"))], ("A#12",), "not allowed"),
    "a dot is a dot": Case([("Allow", like("A.*"))], ("A#1",), "not allowed"),
    "no class of characters": Case([("Allow", like("[AB]#*"))], ("A#1",), "not allowed"),
    "StringEquals has no wildcards": Case(
        [("Allow", like("A#*", operator="ForAllValues:StringEquals"))], ("A#1",), "not allowed"
    ),
    # Values of one key are alternatives; operators and keys must all hold.
    "both conditions": Case(
        [("Allow", {**like("A#*"), "StringEquals": {"aws:x": "1"}})], ("A#1",), "not allowed"
    ),
    "both conditions hold": Case(
        [("Allow", {**like("A#*"), "StringEquals": {"aws:x": "1"}})],
        ("A#1",),
        "allowed",
        more={"aws:x": ("1",)},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_request_is_decided_as_iam_documents_it(case: Case) -> None:
    statements: list[Json] = [
        {"Effect": effect, "Action": [PUT], "Resource": "*", "Condition": condition}
        for effect, condition in case.statements
    ]
    keys = {} if case.keys is None else {LEADING_KEYS: case.keys}
    assert decide(statements, Request(case.action, "table", {**keys, **case.more})) == case.decision


TABLE = {"Fn::GetAtt": ["Table", "Arn"]}


@pytest.mark.parametrize(
    ("pattern", "resource", "is_it"),
    [
        (TABLE, TABLE, True),
        (TABLE, {"Fn::GetAtt": ["Other", "Arn"]}, False),
        ("*", TABLE, True),
        ("arn:aws:s3:::a/*", "arn:aws:s3:::a/b", True),
        ("arn:aws:s3:::a/*", "arn:aws:s3:::b/b", False),
        ([TABLE, "x"], "x", True),
    ],
)
def test_a_resource_is_matched(pattern: Any, resource: Any, is_it: bool) -> None:
    statement = {"Effect": "Allow", "Action": "*", "Resource": pattern}
    assert (decide([statement], Request(PUT, resource)) == "allowed") is is_it


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "NotAction": "x", "Resource": "*"},
        {"Effect": "Allow", "Action": "*", "NotResource": "x"},
    ],
)
def test_a_statement_by_exclusion_is_not_guessed_at(statement: Json) -> None:
    with pytest.raises(ValueError, match="a statement with"):
        decide([statement], Request(PUT))


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ({"ForAllValues:StringLikeIfExists": {LEADING_KEYS: "A#*"}}, KeyError),
        ({"ForSome:StringLike": {LEADING_KEYS: "A#*"}}, KeyError),
        ({"StringLike": {LEADING_KEYS: "A#*"}}, ValueError),
        ({"Null": {LEADING_KEYS: "no"}}, KeyError),
    ],
)
def test_a_condition_that_is_not_known_is_not_guessed_at(
    condition: Json, error: type[Exception]
) -> None:
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}
    with pytest.raises(error):
        decide([statement], Request(PUT, "table", {LEADING_KEYS: ("A#1", "A#2")}))


def part(kind: str, pk: str) -> Json:
    member = "Item" if kind == "Put" else "Key"
    return {kind: {member: {"pk": {"S": pk}, "sk": {"S": "x"}}}}


QUERY = {
    "KeyConditionExpression": "pk = :pk",
    "ExpressionAttributeValues": {":pk": {"S": "D#clinic"}},
}
CALLS: dict[str, tuple[str, Json, list[tuple[str, tuple[str, ...] | None]]]] = {
    "GetItem": ("GetItem", part("Get", "A#1")["Get"], [("GetItem", ("A#1",))]),
    "PutItem": ("PutItem", part("Put", "R#1")["Put"], [("PutItem", ("R#1",))]),
    "Query": ("Query", QUERY, [("Query", ("D#clinic",))]),
    "Scan": ("Scan", {"TableName": "t"}, [("Scan", None)]),
    "TransactWriteItems": (
        "TransactWriteItems",
        {
            "TransactItems": [
                part("Update", "R#1"),
                part("Put", "C#1"),
                part("Delete", "T#1"),
                part("ConditionCheck", "A#1"),
            ]
        },
        [
            ("UpdateItem", ("R#1",)),
            ("PutItem", ("C#1",)),
            ("DeleteItem", ("T#1",)),
            ("ConditionCheckItem", ("A#1",)),
        ],
    ),
    "TransactGetItems": (
        "TransactGetItems",
        {"TransactItems": [part("Get", "A#1"), part("Get", "K#1")]},
        [("GetItem", ("A#1",)), ("GetItem", ("K#1",))],
    ),
}


@pytest.mark.parametrize(("operation", "asked", "wanted"), CALLS.values(), ids=CALLS)
def test_a_call_asks_for_its_items_one_by_one(
    operation: str, asked: Json, wanted: list[tuple[str, tuple[str, ...] | None]]
) -> None:
    found = dynamodb_requests(operation, asked)
    assert [
        (each.action.removeprefix("dynamodb:"), each.context.get(LEADING_KEYS)) for each in found
    ] == wanted


def test_a_put_names_its_attributes_and_those_of_its_condition() -> None:
    item = {"pk": {"S": "R#1"}, "sk": {"S": "x"}, "e": {"S": ""}}
    condition = "attribute_not_exists(pk) OR doc = :seen AND #name < :most"
    (found,) = dynamodb_requests("PutItem", {"Item": item, "ConditionExpression": condition})
    assert found.context[ATTRIBUTES] == ("doc", "e", "pk", "sk")


def test_parts_in_one_request_have_the_keys_of_all() -> None:
    found = in_one_request(dynamodb_requests("TransactWriteItems", CALLS["TransactWriteItems"][1]))
    assert {each.context[LEADING_KEYS] for each in found} == {("R#1", "C#1", "T#1", "A#1")}
