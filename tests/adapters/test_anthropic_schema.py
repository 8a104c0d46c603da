"""Schemas for structured outputs: what is told, what is not, and that nothing gets past the check.

jsonschema_rs, which reads the whole standard, is the judge.
"""

import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import jsonschema_rs
import pytest
from anthropic.lib._parse._transform import SupportedStringFormats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json
from phigate.wire.anthropic.format import write_format
from phigate.wire.anthropic.schema import FORMATS, LIMITS, keeps, narrowed

INTEGER: Json = {"type": "integer"}


def closed(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def with_note(schema: Json, words: str) -> Json:
    return {**schema, "description": words}


def nested(schema: Json, levels: int) -> Json:
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def chained(levels: int, last: Json, branches: int = 1) -> Json:
    """Definitions that each choose among so many references to the next one."""
    definitions = {
        f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * branches} for i in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": last}}


def listed(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
NARROWED: dict[str, tuple[Any, Json | None]] = {
    "a closed object": (closed(x=INTEGER), closed(x=INTEGER)),
    "an open object is closed": (
        {"type": "object", "properties": {"x": INTEGER}, "additionalProperties": True},
        closed(x=INTEGER),
    ),
    "an object that may be null": (
        {"type": ["object", "null"], "properties": {"x": INTEGER}},
        {**closed(x=INTEGER), "type": ["object", "null"]},
    ),
    "objects inside are closed": (
        closed(x={"type": "array", "items": {"type": "object", "properties": {"y": INTEGER}}}),
        closed(x={"type": "array", "items": closed(y=INTEGER)}),
    ),
    "definitions": (
        {"$ref": "#/$defs/p", "$defs": {"p": {"type": "object", "properties": {"x": INTEGER}}}},
        {"$ref": "#/$defs/p", "$defs": {"p": closed(x=INTEGER)}},
    ),
    "oneOf becomes anyOf": (
        {"oneOf": [INTEGER, {"type": "null"}]},
        {"anyOf": [INTEGER, {"type": "null"}]},
    ),
    "limits go in words": (
        {"type": "string", "minLength": 2, "pattern": "^a", "description": "A word."},
        with_note({"type": "string"}, 'A word.\n\n{"minLength":2,"pattern":"^a"}'),
    ),
    "a format that is known": (
        {"type": "string", "format": "date"},
        {"type": "string", "format": "date"},
    ),
    "a format that is not": (
        {"type": "string", "format": "binary"},
        with_note({"type": "string"}, '{"format":"binary"}'),
    ),
    "one item at least": (
        {"type": "array", "items": INTEGER, "minItems": 1},
        {"type": "array", "items": INTEGER, "minItems": 1},
    ),
    "two items at least": (
        {"type": "array", "items": INTEGER, "minItems": 2},
        with_note({"type": "array", "items": INTEGER}, '{"minItems":2}'),
    ),
    "notes are left out": ({"$schema": "x", "examples": [1], **INTEGER}, INTEGER),
    "a member that bears a keyword's name": (
        closed(minimum=INTEGER, pattern=INTEGER),
        closed(minimum=INTEGER, pattern=INTEGER),
    ),
    "values": ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}),
    "an object without members": (closed(), closed()),
    # What cannot be told.
    "a map": ({"type": "object", "additionalProperties": INTEGER}, None),
    "any object": ({"type": "object"}, None),
    "a map inside": (closed(x={"type": "object", "additionalProperties": INTEGER}), None),
    "anything": ({}, None),
    "anything inside": (closed(x={"description": "what you like"}), None),
    "always": (closed(x=True), None),
    "recursion": ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, None),
    "recursion to the root": (closed(x={"$ref": "#"}), None),
    "recursion through a list": (
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": closed(x={"anyOf": [{"$ref": "#/$defs/a"}, INTEGER]})},
        },
        None,
    ),
    "a definition that is missing": (closed(x={"$ref": "#/$defs/gone"}), None),
    "a reference elsewhere": (closed(x={"$ref": "https://a.example/s"}), None),
    "a reference inside allOf": (
        {"allOf": [{"$ref": "#/$defs/p"}], "$defs": {"p": INTEGER}},
        None,
    ),
    "not": ({"type": "string", "not": {"const": "a"}}, None),
    "if": ({"type": "object", "properties": {"x": INTEGER}, "if": {}}, None),
    "prefixItems": ({"type": "array", "prefixItems": [INTEGER]}, None),
    "patternProperties": (
        {"type": "object", "properties": {"x": INTEGER}, "patternProperties": {"^a": INTEGER}},
        None,
    ),
    "objects among the values": ({"enum": [{"x": 1}]}, None),
    "a limit that is no number": ({"type": "integer", "minimum": "1"}, None),
    "a step of nothing": ({"type": "integer", "multipleOf": 0}, None),
    "a type that there is not": ({"type": "any"}, None),
    "properties that are a list": ({"type": "object", "properties": []}, None),
    "choices that are an object": ({"anyOf": {}}, None),
    "properties without a type": ({"properties": {"x": INTEGER}, "anyOf": [INTEGER]}, None),
    "no object": ([INTEGER], None),
    "all of what is no schema": ({"type": "object", "allOf": [5]}, None),
    "all of nothing": ({"allOf": []}, None),
    "one of nothing": ({"anyOf": []}, None),
    "a type that is a number": ({"type": 7}, None),
    "a type among no types": ({"type": []}, None),
    "a type that is deep": ({"type": listed(2_000)}, None),
    "a reference that is a number": ({"$ref": 5}, None),
    "definitions that are a list": ({"$defs": [], **INTEGER}, None),
    "items that are a number": ({"type": "array", "items": 5}, None),
    "values that are a number": ({"enum": 3}, None),
    "required as a text": ({**closed(a=INTEGER), "required": "a"}, None),
    "required as numbers": ({**closed(a=INTEGER), "required": [1]}, None),
    "more members as a number": ({**closed(a=INTEGER), "additionalProperties": 5}, None),
    "a length that is a text": ({"type": "string", "minLength": "x"}, None),
    "a step that is a truth": ({"type": "integer", "multipleOf": True}, None),
    "a pattern that is deep": ({"type": "string", "pattern": listed(2_000)}, None),
    "a limit of more than 64 bits": ({"type": "integer", "maximum": 10**20}, None),
    "1,200 references in a row": (chained(1_200, INTEGER), None),
    "1,200 references behind one another": (
        {**INTEGER, "$defs": chained(1_200, {})["$defs"]},
        None,
    ),
    "a schema that is deep": (nested(INTEGER, 2_000), None),
    "a definition that is deep": ({**INTEGER, "$defs": {"a": nested(INTEGER, 2_000)}}, None),
}


@pytest.mark.parametrize(("schema", "told"), NARROWED.values(), ids=NARROWED)
def test_a_schema_is_told_as(schema: Any, told: Json | None) -> None:
    assert narrowed(schema) == told


SCALARS = st.none() | st.booleans() | st.integers(-3, 6) | st.sampled_from(["", "a", "ab", "abc"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=6,
)


def some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=keywords)


LIMIT = st.integers(0, 4)
NUMBERS = some(
    minimum=LIMIT,
    maximum=LIMIT,
    exclusiveMinimum=LIMIT,
    exclusiveMaximum=LIMIT,
    multipleOf=st.integers(1, 3),
).map(lambda limits: {"type": "integer", **limits})
STRINGS = some(minLength=LIMIT, maxLength=LIMIT).map(lambda limits: {"type": "string", **limits})
FIXED = st.lists(SCALARS, min_size=1, max_size=3).map(
    lambda values: {"enum": values}
) | SCALARS.map(lambda value: {"const": value})


def larger(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    arrays = st.tuples(inner, some(minItems=LIMIT, maxItems=LIMIT, uniqueItems=st.booleans())).map(
        lambda made: {"type": "array", "items": made[0], **made[1]}
    )
    objects = st.tuples(
        st.dictionaries(st.sampled_from("xyz"), inner, min_size=1, max_size=3),
        some(
            required=st.lists(st.sampled_from("xyz"), unique=True),
            minProperties=LIMIT,
            maxProperties=LIMIT,
            additionalProperties=st.booleans(),
        ),
    ).map(lambda made: {"type": "object", "properties": made[0], **made[1]})
    choices = st.lists(inner, min_size=1, max_size=3)
    return (
        arrays
        | objects
        | choices.map(lambda made: {"anyOf": made})
        | choices.map(lambda made: {"allOf": made})
    )


SCHEMAS = st.recursive(
    NUMBERS | STRINGS | FIXED | st.just({"type": "boolean"}), larger, max_leaves=6
)


def is_valid(schema: Json, value: Any) -> bool:
    return bool(jsonschema_rs.is_valid(schema, value))


@settings(max_examples=400, deadline=None)
@given(SCHEMAS, VALUES)
def test_what_the_provider_may_answer_and_the_check_lets_pass_keeps_the_schema(
    schema: Json, value: Any
) -> None:
    told = narrowed(schema)
    assert told is not None
    if is_valid(told, value) and keeps(schema, value, schema):
        assert is_valid(schema, value)


@settings(max_examples=400, deadline=None)
@given(SCHEMAS, VALUES)
def test_the_check_lets_every_answer_pass_that_keeps_the_schema(schema: Json, value: Any) -> None:
    if is_valid(schema, value):
        assert keeps(schema, value, schema)


BROKEN: dict[str, tuple[Json, Any]] = {
    "a limit behind a reference": (
        {"$ref": "#/$defs/p", "$defs": {"p": closed(x={"type": "integer", "minimum": 3})}},
        {"x": 2},
    ),
    "a choice whose branches have limits": (
        {"anyOf": [{"type": "string", "minLength": 3}, {"type": "integer", "maximum": 2}]},
        "ab",
    ),
    "items that repeat": ({"type": "array", "items": INTEGER, "uniqueItems": True}, [1, 2, 1]),
    "a part of a step": ({"type": "number", "multipleOf": 0.5}, 0.75),
    "a number and the same with a point": ({"uniqueItems": True}, [1, 1.0]),
    "one list twice": ({"uniqueItems": True}, [[1, [2]], [1, [2]]]),
    "one object in two orders": (
        {"uniqueItems": True},
        [{"x": 1, "y": [None]}, {"y": [None], "x": 1}],
    ),
    "a limit behind 12 levels of choices": (chained(12, {"type": "integer", "minimum": 3}, 3), 2),
    "a limit behind 40 levels of choices": (chained(40, {"type": "integer", "minimum": 3}, 3), 2),
    "a limit in the last of 4,000 objects": (
        {"type": "array", "items": closed(x={"minimum": 3}, y={"type": "null"}, z=INTEGER)},
        [{"x": 3, "y": None, "z": i} for i in range(3_999)] + [{"x": 2, "y": None, "z": 0}],
    ),
    "an item that comes again after 4,000": ({"uniqueItems": True}, [*range(4_000), 0]),
}


@pytest.mark.parametrize(("schema", "value"), BROKEN.values(), ids=BROKEN)
def test_an_answer_past_a_limit_is_seen(schema: Json, value: Any) -> None:
    assert not keeps(schema, value, schema)


LET_PASS: dict[str, tuple[Any, Any]] = {
    "a number, a truth and a text alike": ({"uniqueItems": True}, [1, True, "1", 0, False, [1]]),
    "lists and objects alike": ({"uniqueItems": True}, [[], {}, [[]], [{}], [1], [True]]),
    "no rule": (7, 1),
    "the smallest step": ({"multipleOf": 5e-324}, 1),
    "the smallest step and a large number": ({"multipleOf": 5e-324}, 10**400),
    "a step of nothing": ({"multipleOf": 0}, 1),
    "a step back": ({"multipleOf": -2}, 1),
    "a step that is no number": ({"multipleOf": float("nan")}, 1),
    "a number past all floats": ({"multipleOf": 0.5}, 10**400),
    "a number that is none": ({"multipleOf": 2}, float("nan")),
    "all of what is no schema": ({"allOf": [5]}, 1),
    "choices that are an object": ({"anyOf": {}}, 1),
    "properties that are a list": ({"properties": []}, {"x": 1}),
    "items that are a number": ({"items": 5}, [1]),
    "required as a text": ({"required": "a"}, {}),
    "values that are a number": ({"enum": 3}, 1),
    "a type that is a number": ({"type": 7}, 1),
    "a type that there is not": ({"type": ["any"]}, 1),
    "a reference that is a number": ({"$ref": 5}, 1),
    "a reference to nothing": ({"$ref": "#/$defs/a"}, 1),
    "a reference into a list": ({"$ref": "#/$defs/a", "$defs": ["a"]}, 1),
    "a reference to itself": ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, 1),
    "a length that is a text": ({"minLength": "x"}, "a"),
    "a constant that is deep": ({"const": listed(2_000)}, listed(2_000)),
    "items that are deep": ({"uniqueItems": True}, [listed(2_000), listed(2_000)]),
    "a schema that is deep": (nested({"type": "null"}, 2_000), listed(2_000)),
    "1,200 references in a row": (chained(1_200, {"type": "null"}), 1),
    # Too much to look at.
    "100,000 items": ({"items": INTEGER}, [*range(100_000), "x"]),
    "5,000 choices, 1,000 times": (
        {"items": {"anyOf": [{"const": i} for i in range(5_000)]}},
        [*range(4_000, 5_000), "x"],
    ),
}


@pytest.mark.parametrize(("schema", "value"), LET_PASS.values(), ids=LET_PASS)
def test_what_is_no_limit_or_takes_too_long_is_not_checked(schema: Any, value: Any) -> None:
    assert keeps(schema, value, schema if isinstance(schema, dict) else {})


class TooLongError(Exception):
    pass


def within(calls: int, function: Callable[..., Any], *given: Any) -> Any:
    """What the function returns within so many calls, those of its inner functions included."""
    left = calls

    def count(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left < 0:
            raise TooLongError

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return function(*given)
    finally:
        sys.setprofile(before)


CALLS_MAX = 500_000  # 20,000 steps of at most 25 calls
LONG: dict[str, tuple[Json, Any]] = {
    "branches of branches": (chained(12, {"type": "integer", "minimum": 3}, 3), "x"),
    "branches of branches, further": (chained(40, {"type": "integer", "minimum": 3}, 3), "x"),
    "a branch for each object": (
        {"items": chained(40, closed(x=INTEGER), 3), "$defs": chained(40, closed(x=INTEGER), 3)},
        [{"x": str(i)} for i in range(9_000)],
    ),
    "unlike numbers": ({"type": "array", "uniqueItems": True}, [*range(4_000)]),
    "unlike objects": ({"type": "array", "uniqueItems": True}, [{"x": i} for i in range(4_000)]),
    "many items": ({"type": "array", "items": INTEGER}, [*range(400_000)]),
    "many values, many items": (
        {"type": "array", "items": {"enum": [str(i) for i in range(5_000)]}},
        ["4999" for _ in range(9_000)],
    ),
    "many members, many items": (
        {"type": "array", "items": closed(**{str(i): INTEGER for i in range(5_000)})},
        [{"0": i} for i in range(9_000)],
    ),
    "many types, many items": (
        {"type": "array", "items": {"type": ["string"] * 5_000 + ["integer"]}},
        [*range(9_000)],
    ),
    "many lists of the same items": (
        {"anyOf": [{"type": "array", "items": {"const": -i}} for i in range(2_000)]},
        [5] * 100_000,
    ),
    "many choices that are no schemas": (
        {"type": "array", "items": {"anyOf": [False] * 5_000 + [True]}},
        [*range(9_000)],
    ),
}


@pytest.mark.parametrize(("schema", "value"), LONG.values(), ids=LONG)
def test_the_check_ends_soon(schema: Json, value: Any) -> None:
    within(CALLS_MAX, keeps, schema, value, schema)


NAMES = st.sampled_from(["a", "b", "x"])
STRUCTURE = """
$ref $defs definitions type enum const title description default required properties items anyOf
oneOf allOf additionalProperties format pattern not $schema
"""
KEYWORDS = st.sampled_from([*LIMITS, *re.findall(r"\S+", STRUCTURE)])
ODD = st.sampled_from(
    [0, -1, 5e-324, 1e308, 2**53 + 1, 2**64, 10**19, -(2**63) - 1, 0.5, 1.0, float("nan")]
)
WORDS = st.sampled_from(
    ["", "a", "object", "array", "string", "integer", "number", "null", "date", "#"]
    + [f"#/{place}/{name}" for place in ("$defs", "definitions") for name in "abx"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False) | ODD | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES, inner, max_size=3)
        | st.dictionaries(KEYWORDS, inner, max_size=4)
        | st.dictionaries(KEYWORDS | NAMES | st.text(max_size=2), inner, max_size=4)
    ),
    max_leaves=25,
)
# Half of them hang together well enough to be told.
ANY_SCHEMA = (
    ANY_JSON
    | st.dictionaries(KEYWORDS, ANY_JSON | SCHEMAS, max_size=5)
    | st.builds(
        lambda schema, inner: {**schema, "$defs": inner, "definitions": inner},
        SCHEMAS | st.dictionaries(KEYWORDS, ANY_JSON, max_size=3),
        st.dictionaries(NAMES, ANY_JSON | SCHEMAS, max_size=3),
    )
)


@settings(max_examples=250, deadline=None)
@given(ANY_SCHEMA, ANY_JSON | VALUES)
def test_any_json_is_taken_as_a_schema_and_held_against_any(schema: Any, value: Any) -> None:
    within(CALLS_MAX, narrowed, schema)
    root = schema if isinstance(schema, dict) else {}
    assert within(CALLS_MAX, keeps, schema, value, root) in (True, False)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYWORDS, ANY_JSON, max_size=5), st.booleans())
@example({"type": "object", "allOf": [5]}, True)
@example(chained(1_200, INTEGER), True)
def test_any_schema_of_a_format_is_written_or_refused_by_name(schema: Json, told: bool) -> None:
    body = {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    try:
        write_format({}, body, supports_tools=True, supports_json_schema=told)
    except InvalidRequest as refusal:
        assert refusal.param == "response_format.json_schema.schema"


def test_formats_are_those_of_the_sdk() -> None:
    assert SupportedStringFormats == FORMATS
