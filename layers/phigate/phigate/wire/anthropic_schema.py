"""JSON schemas as Anthropic's structured outputs take them, and whether a value keeps one.

Law 1: a limit that the provider does not take is told to the model in words and looked at again in
the answer; text patterns only in words, as a caller's expression could stall us.
Law 2: a schema that cannot be told without loss of answers (open objects, recursion, other
keywords) is not told at all: None.
https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

import re
from collections.abc import Callable, Mapping
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
_LOCAL_REF = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")


class _Untold(Exception):
    """The schema has something that the provider cannot be told."""


def narrowed(schema: Json) -> Json | None:
    """The schema for the provider's constrained output, or None when it cannot be told."""
    if _has_cycle(schema):
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
        words = orjson.dumps(in_words).decode()
        told["description"] = f"{schema.get('description', '')}\n\n{words}".strip()
    return told


def _check_told(schema: Any) -> None:
    """Raises _Untold for a schema, its inner ones aside, that the provider cannot be told."""
    known = isinstance(schema, dict) and schema.keys() <= _KNOWN and schema.keys() & _SAY_WHAT
    if not known or any(_RIGHT[name](schema[name]) is not True for name in _RIGHT.keys() & schema):
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


def _each(schemas: Any) -> list[Json]:
    if not isinstance(schemas, list):
        raise _Untold
    return [_narrowed(schema) for schema in schemas]


def _named(schemas: Any) -> Json:
    if not isinstance(schemas, dict):
        raise _Untold
    return {name: _narrowed(schema) for name, schema in schemas.items()}


def _has_cycle(root: Json) -> bool:
    """Whether a definition leads back to itself, or a reference leads outside the definitions."""
    definitions = {
        (place, name): schema
        for place in ("$defs", "definitions")
        if isinstance(root.get(place), dict)
        for name, schema in root[place].items()
    }
    seen: dict[tuple[str, str], bool] = {}  # False while its own references are followed

    def leads_back(value: Any) -> bool:
        if isinstance(value, list):
            return any(map(leads_back, value))
        if not isinstance(value, dict):
            return False
        found = _LOCAL_REF.fullmatch(str(value.get("$ref", "")))
        if found is not None:
            key = (found[1], found[2])
            if key not in definitions or seen.get(key) is False:
                return True
            if key not in seen:
                seen[key] = False
                if leads_back(definitions[key]):
                    return True
                seen[key] = True
        return any(map(leads_back, value.values()))

    return leads_back({name: value for name, value in root.items() if name not in _DEFINITIONS})


def keeps(schema: Any, value: Any, root: Json) -> bool:
    """Whether `value` keeps `schema`, of which `narrowed` has been told: its limits, and as much
    of its shape as tells the branches of a choice apart."""
    if not isinstance(schema, dict):
        return schema is not False
    found = _LOCAL_REF.fullmatch(str(schema.get("$ref", "")))
    if found is not None and not keeps(root[found[1]][found[2]], value, root):
        return False
    for name, limit in schema.items():
        check = LIMITS.get(name) or _BRANCHES.get(name)
        if check is not None and not check(limit, value, root):
            return False
    return True


Check = Callable[[Any, Any, Json], bool]


def _number(keeps_limit: Callable[[Any, Any], bool]) -> Check:
    return lambda limit, value, _: type(value) not in (int, float) or keeps_limit(value, limit)


def _size(
    kind: type[str] | type[list[Any]] | type[Json], keeps_limit: Callable[[int, Any], bool]
) -> Check:
    return lambda limit, value, _: not isinstance(value, kind) or keeps_limit(len(value), limit)


def _same(one: Any, other: Any) -> bool:
    # True equals 1 in Python and not in JSON.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _type(limit: Any, value: Any, _: Json) -> bool:
    return any(_TYPES[name](value) for name in (limit if isinstance(limit, list) else [limit]))


def _multiple(limit: Any, value: Any, _: Json) -> bool:
    if type(value) not in (int, float):
        return True
    quotient = value / limit
    return bool(abs(quotient - round(quotient)) < 1e-9)


def _unique(limit: Any, value: Any, _: Json) -> bool:
    if limit is not True or not isinstance(value, list):
        return True
    return all(not any(_same(item, one) for one in value[:i]) for i, item in enumerate(value))


def _properties(limit: Any, value: Any, root: Json) -> bool:
    if not isinstance(value, dict):
        return True
    return all(keeps(schema, value[name], root) for name, schema in limit.items() if name in value)


def _items(limit: Any, value: Any, root: Json) -> bool:
    return not isinstance(value, list) or all(keeps(limit, item, root) for item in value)


def _all(limit: Any, value: Any, root: Json) -> bool:
    return all(keeps(schema, value, root) for schema in limit)


def _any(limit: Any, value: Any, root: Json) -> bool:
    return any(keeps(schema, value, root) for schema in limit)


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
_BRANCHES: Mapping[str, Check] = {
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
_DEFINITIONS = frozenset({"$defs", "definitions"})
_IN_WORDS = frozenset({*LIMITS, "format", "pattern"})
_KNOWN = _AS_THEY_ARE | _INSIDE.keys() | _NOTES | _IN_WORDS | {"$ref", "additionalProperties"}
# One of these has to say what a value is.
_SAY_WHAT = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"})
_RIGHT: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(LIMITS, _is_number),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    "uniqueItems": lambda value: isinstance(value, bool),
    "type": lambda value: set(value if _is_scalars(value) else [str(value)]) <= _TYPES.keys(),
    "enum": _is_scalars,
    "const": lambda value: isinstance(value, _SCALARS),
    "required": _is_scalars,
    "description": lambda value: isinstance(value, str),
    "format": lambda value: isinstance(value, str),
    "$ref": lambda value: _LOCAL_REF.fullmatch(str(value)) is not None,
    # The provider takes no reference inside allOf.
    "allOf": lambda value: isinstance(value, list) and not any("$ref" in item for item in value),
}
