"""What a member of a signed record may be: a check of a value, and the same as JSON Schema.

The check decides; the schema tells it to programs in other languages (draft 2020-12).
https://json-schema.org/draft/2020-12
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from phigate.core.types import Json

COUNT_MAX = 2**53  # what every JSON parser reads exactly


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of JSON value."""

    fits: Callable[[Any], bool]
    schema: Json


def count() -> Shape:
    """A whole number that is not negative."""
    return Shape(
        lambda value: type(value) is int and 0 <= value <= COUNT_MAX,
        {"type": "integer", "minimum": 0, "maximum": COUNT_MAX},
    )


def whole() -> Shape:
    """A whole number."""
    return Shape(
        lambda value: type(value) is int and abs(value) <= COUNT_MAX,
        {"type": "integer", "minimum": -COUNT_MAX, "maximum": COUNT_MAX},
    )


def text() -> Shape:
    """Any text."""
    return Shape(lambda value: isinstance(value, str), {"type": "string"})


def matching(pattern: str) -> Shape:
    """A text that is this pattern from its first character to its last."""
    found = re.compile(pattern)
    return Shape(
        lambda value: isinstance(value, str) and found.fullmatch(value) is not None,
        {"type": "string", "pattern": f"^(?:{pattern})$"},
    )


def boolean() -> Shape:
    """True or false."""
    return Shape(lambda value: isinstance(value, bool), {"type": "boolean"})


def constant(only: bool) -> Shape:
    """This value alone."""
    return Shape(lambda value: value is only, {"const": only})


def one_of(*names: str) -> Shape:
    """One of these texts."""
    return Shape(lambda value: isinstance(value, str) and value in names, {"enum": list(names)})


def nullable(shape: Shape) -> Shape:
    """The same, or null."""
    return Shape(
        lambda value: value is None or shape.fits(value),
        {"anyOf": [shape.schema, {"type": "null"}]},
    )


def tuple_of(*shapes: Shape) -> Shape:
    """A list of just these, in this order."""
    return Shape(
        lambda value: (
            isinstance(value, list)
            and len(value) == len(shapes)
            and all(shape.fits(item) for shape, item in zip(shapes, value, strict=True))
        ),
        {
            "type": "array",
            "prefixItems": [shape.schema for shape in shapes],
            "items": False,
            "minItems": len(shapes),
        },
    )


def list_of(shape: Shape, *, least: int = 0) -> Shape:
    """A list of any length, all of one kind."""
    return Shape(
        lambda value: (
            isinstance(value, list) and len(value) >= least and all(map(shape.fits, value))
        ),
        {"type": "array", "items": shape.schema, "minItems": least},
    )


def map_of(names: Shape, values: Shape, *, least: int = 0) -> Shape:
    """An object with members of any names of a kind, all of one kind."""
    return Shape(
        lambda value: (
            isinstance(value, dict)
            and len(value) >= least
            and all(map(names.fits, value))
            and all(map(values.fits, value.values()))
        ),
        {
            "type": "object",
            "propertyNames": names.schema,
            "additionalProperties": values.schema,
            "minProperties": least,
        },
    )


def object_of(**members: Shape) -> Shape:
    """An object with just these members."""
    return Shape(
        lambda value: (
            isinstance(value, dict)
            and value.keys() == members.keys()
            and all(shape.fits(value[name]) for name, shape in members.items())
        ),
        {
            "type": "object",
            "properties": {name: shape.schema for name, shape in members.items()},
            "required": sorted(members),
            "additionalProperties": False,
        },
    )
