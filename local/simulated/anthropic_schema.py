"""What structured outputs and strict tools of the Anthropic dialect do not take in a JSON schema.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from collections.abc import Iterable
from typing import Any

from local.simulated.shapes import Json

SCHEMA_MEMBERS = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "enum",
        "const",
        "anyOf",
        "allOf",
        "$ref",
        "$defs",
        "definitions",
        "format",
        "title",
        "description",
        "default",
    }
)


def schema_problem(schema: Any) -> str | None:
    """The end of the sentence that a real provider would answer with, or None."""
    if not isinstance(schema, dict):
        return "schema: Input should be an object"
    for name in schema:
        if name not in SCHEMA_MEMBERS:
            return f"schema: property '{name[:64]}' is not supported"
    if schema.get("minItems", 0) not in (0, 1):
        return "schema: 'minItems' values other than 0 or 1 are not supported"
    if "object" in str(schema.get("type")) and schema.get("additionalProperties") is not False:
        return "schema: 'additionalProperties' must be explicitly set to false"
    return next((problem for inner in _inner(schema) if (problem := schema_problem(inner))), None)


def _inner(schema: Json) -> Iterable[Any]:
    for name in ("properties", "$defs", "definitions"):
        yield from schema.get(name, {}).values()
    for name in ("anyOf", "allOf"):
        yield from schema.get(name, [])
    if "items" in schema:
        yield schema["items"]
