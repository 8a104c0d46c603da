"""Makes one value that a JSON schema accepts; strings say `simulated` where the schema lets them.

Known: type, enum, const, properties, required, items, prefixItems, minItems, maxItems, uniqueItems,
bounds and multipleOf of numbers, lengths and common formats of strings, anyOf, oneOf, allOf, $ref.
Not known: pattern (a few common values are tried), not, if.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from local.simulated.shapes import Json

_OPTIONAL_DEPTH_MAX = 6  # deeper, only what is required is filled: recursive schemas end
_DEPTH_MAX = 64
_ITEMS_MAX = 1_000  # a schema of a few bytes must not cost gigabytes
_LENGTH_MAX = 100_000
WORD = "simulated"


class NoExample(ValueError):
    """The schema is not valid, or nothing was found that it accepts."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the value we are; `index` tells the items of one array from each other."""

    root: Json
    depth: int = 0
    index: int = 0

    def inside(self, index: int = 0) -> "_Place":
        if self.depth >= _DEPTH_MAX:
            raise NoExample("the schema has no end")
        return replace(self, depth=self.depth + 1, index=index)

    @property
    def is_deep(self) -> bool:
        return self.depth > _OPTIONAL_DEPTH_MAX


def example(schema: Any) -> Any:
    """A JSON value for `schema`. Raises NoExample."""
    try:
        return _value(schema, _Place(schema if isinstance(schema, dict) else {}))
    except (TypeError, AttributeError, OverflowError) as exc:
        raise NoExample("a member of the schema has the wrong type") from exc


def _value(schema: Any, place: _Place) -> Any:
    if schema is True:
        return WORD
    if not isinstance(schema, dict):
        raise NoExample("a schema is an object")
    for member, make in COMBINATIONS.items():
        if member in schema:
            return make(schema, place)
    kind = _kind(schema)
    if kind not in TYPES:
        raise NoExample("a type of the schema is not one of JSON Schema's")
    return TYPES[kind](schema, place)


def _kind(schema: Json) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((name for name in kind if name != "null"), "null")
    if kind is not None:
        return kind
    return next((name for member, name in IMPLIED.items() if member in schema), "string")


def _referred(schema: Json, place: _Place) -> Any:
    target: Any = place.root
    reference = schema["$ref"]
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise NoExample("a $ref leads outside the schema")
    for step in reference.lstrip("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or name not in target:
            raise NoExample("a $ref leads nowhere")
        target = target[name]
    return _value(target, place.inside(place.index))


def _any_of(schema: Json, place: _Place) -> Any:
    branches = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(branches, list):
        raise NoExample("anyOf and oneOf hold at least one schema")
    if place.is_deep:
        branches = sorted(branches, key=lambda branch: "$ref" in str(branch))
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "oneOf")}
    return _merged_value([rest, branches[0]], place)


def _all_of(schema: Json, place: _Place) -> Any:
    rest = {name: value for name, value in schema.items() if name != "allOf"}
    return _merged_value([rest, *schema["allOf"]], place)


def _merged_value(schemas: list[Any], place: _Place) -> Any:
    merged: Json = {}
    for schema in schemas:
        if not isinstance(schema, dict):
            raise NoExample("a schema is an object")
        for name, value in schema.items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = [*merged.get(name, []), *value]
            else:
                merged[name] = value
    return _value(merged, place.inside(place.index))


def _enum(schema: Json, place: _Place) -> Any:
    values = schema["enum"]
    if not isinstance(values, list) or not values:
        raise NoExample("an enum holds at least one value")
    return values[place.index % len(values)]


def _object(schema: Json, place: _Place) -> Json:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise NoExample("properties is an object and required a list")
    names = [name for name in properties if name in required or not place.is_deep]
    made = {name: _value(properties[name], place.inside()) for name in names}
    return made | {name: WORD for name in required if name not in properties}


def _array(schema: Json, place: _Place) -> list[Any]:
    first = schema.get("prefixItems", [])
    least = max(schema.get("minItems", 0), len(first))
    count = max(least, 0 if place.is_deep else 1)
    count = min(count, max(least, schema.get("maxItems", count)))
    if count > _ITEMS_MAX:
        raise NoExample("minItems is too large")
    items = schema.get("items", True)
    unique = schema.get("uniqueItems") is True
    return [
        _value(first[i] if i < len(first) else items, place.inside(i if unique else 0))
        for i in range(count)
    ]


def _string(schema: Json, place: _Place) -> str:
    if schema.get("minLength", 0) > _LENGTH_MAX:
        raise NoExample("minLength is too large")
    suffix = f" {place.index + 1}" if place.index else ""
    word = FORMATS.get(schema.get("format", ""), WORD + suffix)
    word = word.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
    pattern = schema.get("pattern")
    if pattern is None:
        return word
    try:
        matching = re.compile(pattern)
    except re.error as exc:
        raise NoExample("a pattern is not a regular expression") from exc
    return next((text for text in (word, *COMMON) if matching.search(text)), word)


def _integer(schema: Json, place: _Place) -> int:
    return math.ceil(_bounded(schema, place, step=1))


def _number(schema: Json, place: _Place) -> float:
    return _bounded(schema, place, step=schema.get("multipleOf", 1))


def _bounded(schema: Json, place: _Place, *, step: float) -> float:
    """The number nearest above the lower bound that is a multiple; 1 or more without bounds."""
    step = schema.get("multipleOf", step)
    low = schema.get("minimum", -math.inf)
    above = schema.get("exclusiveMinimum", -math.inf)
    high = schema.get("maximum", math.inf)
    below = schema.get("exclusiveMaximum", math.inf)
    if step <= 0:
        raise NoExample("multipleOf is above zero")
    start = max(low, above, min(1, high, below))
    value: float = math.ceil(start / step) * step
    if value <= above:
        value += step
    if value > high or value >= below:
        value = min(high, below - step if below <= high else high)
        if value < low or value <= above:
            # A narrow interval without a multiple of the step in it.
            value = (max(low, above) + min(high, below)) / 2
    return value + place.index * step


COMBINATIONS: dict[str, Callable[[Json, _Place], Any]] = {
    "$ref": _referred,
    "const": lambda schema, _: schema["const"],
    "enum": _enum,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _any_of,
}
TYPES: dict[str, Callable[[Json, _Place], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _, __: True,
    "null": lambda _, __: None,
}
IMPLIED = {
    "properties": "object",
    "required": "object",
    "items": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
}
FORMATS = {
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "date-time": "2026-01-01T00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "hostname": "simulated.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/simulated",
}
# Tried in order against a pattern: words, numbers, codes (ICD-10, LOINC), dates, phone numbers.
COMMON = (
    "Simulated", "SIMULATED", "1", "10", "100", "1000", "10000", "100000", "0.1", "1.0",
    "A", "a", "AB", "ABC", "A1", "A10", "A10.1", "A10.10", "AB1", "AB12", "ABC123", "ABC-123",
    "1234-5", "2026-01-01", "01.01.2026", "12:00", "+41000000000", "#000000", "CH", "en",
    "simulated@example.com", "https://example.com/simulated", "Simulated Simulated",
)  # fmt: skip
