"""JSON schemas as Anthropic's structured outputs take them, and whether a value keeps one.

Law 1: a limit that the provider does not take is told to the model in words and looked at again in
the answer; text patterns only in words, as a caller's expression could stall us.
Law 2: a schema that cannot be told without loss of answers (open objects, recursion, other
keywords) is not told at all: None.
Law 3: any JSON is taken as a schema; a limit that is none, or that takes too long, is not checked.
https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

import re
from collections.abc import Callable, Hashable, Mapping
from itertools import repeat
from typing import Any

import orjson

from phigate.core.types import Json

FORMATS = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    }
)
_AS_THEY_ARE = frozenset(
    {"$ref", "type", "enum", "const", "title", "description", "default", "required"}
)
_NOTES = frozenset(
    {"$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"}
)
_SCALARS = (str, int, float, bool, type(None))
# Some 40 definitions inside one another; at four frames a level, half of what Python's stack takes.
_LEVELS_MAX = 128
# A value that meets a schema is a step of 1 to 3 microseconds, so one answer holds the event loop
# for some 55 ms at most; a list of 4,000 objects with three members each is 16,000 steps.
_STEPS_MAX = 20_000
_LISTED_PER_STEP = 8  # a value is compared with so many listed ones in the time of a step
_LOCAL_REF = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")


class _Untold(Exception):
    """The schema has something that the provider cannot be told."""


class _Unchecked(Exception):
    """To hold the answer against its schema takes too many steps or levels."""


def narrowed(schema: Any) -> Json | None:
    """The schema for the provider's constrained output, or None when it cannot be told."""
    if not isinstance(schema, dict) or _has_cycle(schema):
        return None
    try:
        return _narrowed(schema)
    except _Untold:
        return None


def _narrowed(schema: Any) -> Json:
    _check_told(schema)
    told: Json = {}
    for name, value in schema.items():
        if name in _AS_THEY_ARE:
            told[name] = value
        elif name in _INSIDE:
            told[_RENAMED.get(name, name)] = _INSIDE[name](value)
    if schema.get("format") in FORMATS:
        told["format"] = schema["format"]
    if schema.get("minItems") in (0, 1):
        told["minItems"] = schema["minItems"]
    if "object" in _types(schema):
        _close(told, schema)
    in_words = {name: schema[name] for name in schema if name in _IN_WORDS and name not in told}
    if in_words:
        words = _words(in_words)
        told["description"] = f"{schema.get('description', '')}\n\n{words}".strip()
    return told


def _words(limits: Json) -> str:
    try:
        return orjson.dumps(limits).decode()
    except orjson.JSONEncodeError:  # an integer of more than 64 bits
        raise _Untold from None


def _check_told(schema: Any) -> None:
    """Raises _Untold for a schema, its inner ones aside, that the provider cannot be told."""
    known = isinstance(schema, dict) and schema.keys() <= _KNOWN and schema.keys() & _SAY_WHAT
    if not known or not all(_RIGHT[name](schema[name]) for name in _RIGHT.keys() & schema):
        raise _Untold
    if "properties" in schema and "object" not in _types(schema):
        raise _Untold


def _close(told: Json, schema: Json) -> None:
    """Every answer with the declared members alone keeps the open schema too; a schema that is
    open to undeclared members and nothing else would lose all of its answers."""
    more = schema.get("additionalProperties", True)
    if isinstance(more, dict) or (more is True and not schema.get("properties")):
        raise _Untold
    told["additionalProperties"] = False


def _types(schema: Json) -> list[Any]:
    kind = schema.get("type", [])
    return kind if isinstance(kind, list) else [kind]


def _is_scalars(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, _SCALARS) for item in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_choices(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _is_types(value: Any) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(isinstance(kind, str) and kind in _TYPES for kind in kinds)


def _each(schemas: list[Any]) -> list[Json]:
    return [_narrowed(schema) for schema in schemas]


def _named(schemas: Json) -> Json:
    return {name: _narrowed(schema) for name, schema in schemas.items()}


def _reference(value: Any) -> tuple[str, str] | None:
    """Where a local reference leads: the place of the definitions, and the name there."""
    found = _LOCAL_REF.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else (found[1], found[2])


def _definitions(root: Json) -> dict[tuple[str, str], Any]:
    return {
        (place, name): schema
        for place in ("$defs", "definitions")
        if isinstance(root.get(place), dict)
        for name, schema in root[place].items()
    }


def _has_cycle(root: Json) -> bool:
    """Whether a definition leads back to itself, or a reference leads outside the definitions or
    on and on: past _LEVELS_MAX."""
    definitions = _definitions(root)
    seen: dict[tuple[str, str], bool] = {}  # False while its own references are followed

    def refers_back(key: tuple[str, str], levels: int) -> bool:
        if key not in seen:
            seen[key] = False
            seen[key] = key in definitions and not leads_back(definitions[key], levels)
        return not seen[key]

    def leads_back(value: Any, levels: int) -> bool:
        members = dict(enumerate(value)) if isinstance(value, list) else value
        if not isinstance(members, dict):
            return False
        key = _reference(members.get("$ref"))
        if levels == 0 or (key is not None and refers_back(key, levels - 1)):
            return True
        return any(map(leads_back, members.values(), repeat(levels - 1)))

    return leads_back(root, _LEVELS_MAX)


def keeps(schema: Any, value: Any, root: Json) -> bool:
    """Whether `value` keeps `schema`, of which `narrowed` has been told: its limits, and as much
    of its shape as tells the branches of a choice apart. True when that takes too long to see."""
    try:
        return _Comparison(root).keeps(schema, value)
    except _Unchecked:
        return True


Check = Callable[[Any, Any, "_Comparison"], bool]


class _Comparison:
    """One answer held against one schema. What was seen is kept by identity: both outlive it."""

    def __init__(self, root: Json) -> None:
        self.definitions = _definitions(root)
        self._steps = 0
        self._levels = 0
        self._seen: dict[tuple[int, int], bool] = {}
        self._limits: dict[int, tuple[int, list[tuple[Check, Any]]]] = {}

    def keeps(self, schema: Any, value: Any) -> bool:
        self.spend(1)
        if not isinstance(schema, dict):
            return schema is not False
        key = (id(schema), id(value))
        if key not in self._seen:
            if self._levels == _LEVELS_MAX:
                raise _Unchecked
            self._levels += 1
            if id(schema) not in self._limits:
                self._limits[id(schema)] = _right_limits(schema)
            steps, limits = self._limits[id(schema)]
            self.spend(steps)
            self._seen[key] = all(check(limit, value, self) for check, limit in limits)
            self._levels -= 1
        return self._seen[key]

    def spend(self, steps: int) -> None:
        """Raises _Unchecked when all steps are spent."""
        self._steps += steps
        if self._steps > _STEPS_MAX:
            raise _Unchecked


def _right_limits(schema: Json) -> tuple[int, list[tuple[Check, Any]]]:
    """The limits that are ones, and the steps that go through what they list."""
    limits = [
        (_CHECKS[name], limit)
        for name, limit in schema.items()
        if name in _CHECKS and (name not in _RIGHT or _RIGHT[name](limit))
    ]
    listed = sum(len(limit) for _, limit in limits if isinstance(limit, list | dict))
    return listed // _LISTED_PER_STEP, limits


def _number(keeps_limit: Callable[[Any, Any], bool]) -> Check:
    return lambda limit, value, _: type(value) not in (int, float) or keeps_limit(value, limit)


def _size(
    kind: type[str] | type[list[Any]] | type[Json], keeps_limit: Callable[[int, Any], bool]
) -> Check:
    return lambda limit, value, _: not isinstance(value, kind) or keeps_limit(len(value), limit)


def _same(one: Any, other: Any) -> bool:
    # True equals 1 in Python and not in JSON.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _type(limit: Any, value: Any, _: _Comparison) -> bool:
    return any(_TYPES[name](value) for name in (limit if isinstance(limit, list) else [limit]))


def _multiple(limit: Any, value: Any, _: _Comparison) -> bool:
    if not _is_number(value):
        return True
    try:
        quotient = value / limit
        return bool(abs(quotient - round(quotient)) < 1e-9)
    except (OverflowError, ValueError):  # more than a float holds
        return True


def _unique(limit: Any, value: Any, held: _Comparison) -> bool:
    if limit is not True or not isinstance(value, list):
        return True
    return len({_hashable(item, held, _LEVELS_MAX) for item in value}) == len(value)


def _hashable(value: Any, held: _Comparison, levels: int) -> Hashable:
    """Equal for what JSON Schema calls equal: 1 and 1.0, not 1 and true, no order of members."""
    held.spend(1)
    if levels == 0:
        raise _Unchecked
    if isinstance(value, dict):
        return frozenset((name, _hashable(value[name], held, levels - 1)) for name in value)
    if isinstance(value, list):
        return tuple(_hashable(item, held, levels - 1) for item in value)
    return isinstance(value, bool), value


def _properties(limit: Any, value: Any, held: _Comparison) -> bool:
    if not isinstance(value, dict):
        return True
    return all(held.keeps(limit[name], value[name]) for name in limit if name in value)


def _items(limit: Any, value: Any, held: _Comparison) -> bool:
    return not isinstance(value, list) or all(held.keeps(limit, item) for item in value)


def _all(limit: Any, value: Any, held: _Comparison) -> bool:
    return all(held.keeps(schema, value) for schema in limit)


def _any(limit: Any, value: Any, held: _Comparison) -> bool:
    return any(held.keeps(schema, value) for schema in limit)


def _ref(limit: Any, value: Any, held: _Comparison) -> bool:
    key = _reference(limit) or ("", "")
    return key not in held.definitions or held.keeps(held.definitions[key], value)


# What the provider does not take; the answer is held against it.
LIMITS: Mapping[str, Check] = {
    "minimum": _number(lambda value, limit: value >= limit),
    "maximum": _number(lambda value, limit: value <= limit),
    "exclusiveMinimum": _number(lambda value, limit: value > limit),
    "exclusiveMaximum": _number(lambda value, limit: value < limit),
    "multipleOf": _multiple,
    "minLength": _size(str, lambda size, limit: size >= limit),
    "maxLength": _size(str, lambda size, limit: size <= limit),
    "minItems": _size(list, lambda size, limit: size >= limit),
    "maxItems": _size(list, lambda size, limit: size <= limit),
    "minProperties": _size(dict, lambda size, limit: size >= limit),
    "maxProperties": _size(dict, lambda size, limit: size <= limit),
    "uniqueItems": _unique,
}
_CHECKS: Mapping[str, Check] = {
    **LIMITS,
    "$ref": _ref,
    "type": _type,
    "const": lambda limit, value, _: _same(value, limit),
    "enum": lambda limit, value, _: any(_same(value, item) for item in limit),
    "required": lambda limit, value, _: not isinstance(value, dict) or value.keys() >= set(limit),
    "properties": _properties,
    "items": _items,
    "allOf": _all,
    "anyOf": _any,
    "oneOf": _any,
}
_INSIDE: Mapping[str, Callable[[Any], Any]] = {
    "properties": _named,
    "items": _narrowed,
    "$defs": _named,
    "definitions": _named,
    "anyOf": _each,
    "oneOf": _each,
    "allOf": _each,
}
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: type(value) in (int, float),
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
}
_RENAMED = {"oneOf": "anyOf"}
_IN_WORDS = frozenset({*LIMITS, "format", "pattern"})
_KNOWN = _AS_THEY_ARE | _INSIDE.keys() | _NOTES | _IN_WORDS | {"$ref", "additionalProperties"}
# One of these has to say what a value is.
_SAY_WHAT = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"})
_RIGHT: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(LIMITS, _is_number),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    "uniqueItems": lambda value: isinstance(value, bool),
    "type": _is_types,
    "enum": _is_scalars,
    "const": lambda value: isinstance(value, _SCALARS),
    "required": lambda value: (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
    ),
    **dict.fromkeys(("description", "format", "pattern"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("properties", "$defs", "definitions"), lambda value: isinstance(value, dict)),
    "additionalProperties": lambda value: isinstance(value, bool | dict),
    "$ref": lambda value: _reference(value) is not None,
    "anyOf": _is_choices,
    "oneOf": _is_choices,
    # The provider takes no reference inside allOf.
    "allOf": lambda value: (
        _is_choices(value) and not any(isinstance(one, dict) and "$ref" in one for one in value)
    ),
}
