"""Schemas for structured outputs: what is told, what is not, and that nothing gets past the check.

jsonschema_rs, which reads the whole standard, is the judge.
"""

from typing import Any

import jsonschema_rs
import pytest
from anthropic.lib._parse._transform import SupportedStringFormats
from hypothesis import given, settings
from hypothesis import strategies as st

from phigate.core.types import Json
from phigate.wire.anthropic_schema import FORMATS, keeps, narrowed

INTEGER: Json = {"type": "integer"}


def closed(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def with_note(schema: Json, words: str) -> Json:
    return {**schema, "description": words}


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
}


@pytest.mark.parametrize(("schema", "value"), BROKEN.values(), ids=BROKEN)
def test_an_answer_past_a_limit_is_seen(schema: Json, value: Any) -> None:
    assert not keeps(schema, value, schema)


def test_formats_are_those_of_the_sdk() -> None:
    assert SupportedStringFormats == FORMATS
