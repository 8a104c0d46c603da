"""JSON answers of this dialect: structured output where a schema can be told, else a tool that
the model has to call and whose input is the answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json
from phigate.wire.anthropic.answer import ANSWER_TOOL
from phigate.wire.anthropic.schema import keeps, narrowed

Fits = Callable[[Json], bool] | None

OPEN_OBJECT: Json = {"type": "object"}


def write_format(
    out: Json, body: Json, *, supports_tools: bool, supports_json_schema: bool
) -> tuple[list[str], Fits]:
    """Write what `response_format` asks into `out`, behind the tools.

    Returns the names of what is lost, and whether an answer keeps what could not be told, if
    anything could not. Raises InvalidRequest for a schema that has no form in this dialect.
    """
    wanted = body.get("response_format", "text")
    kind = wanted["type"] if isinstance(wanted, dict) else wanted
    if kind == "text":
        return [], None
    named = wanted["json_schema"] if kind == "json_schema" else {}
    schema = named.get("schema")
    told = narrowed(schema) if schema and supports_json_schema else None
    if schema and told is not None:
        out["output_config"] = {"format": {"type": "json_schema", "schema": told}}
        return [], None if told == schema else lambda answer: _keeps(schema, answer)
    if not supports_tools:
        return ["response_format"], None
    if schema and schema.get("type") != "object":
        raise InvalidRequest(
            "response_format.json_schema.schema must be of type object for this model.",
            param="response_format.json_schema.schema",
        )
    _write_answer_tool(out, named, schema or OPEN_OBJECT)
    return [], None


def _write_answer_tool(out: Json, named: Mapping[str, Any], schema: Json) -> None:
    """The caller's tools stay within reach: the model calls one of them, or answers."""
    words = named.get("description") or "The JSON object that was asked for."
    tool = {
        "name": ANSWER_TOOL,
        "description": f"Gives the final answer: the input of this tool is the answer. {words}",
        "input_schema": schema,
    }
    choice = out.get("tool_choice", {"type": "auto"})
    if choice["type"] in ("any", "tool"):
        return  # The caller wants a call of its own tools first.
    if "tools" in out and choice["type"] == "auto":
        out["tools"] = [*out["tools"], tool]
        out["tool_choice"] = {**choice, "type": "any"}
        return
    out["tools"] = [*out.get("tools", ()), tool]
    out["tool_choice"] = {
        "type": "tool",
        "name": ANSWER_TOOL,
        "disable_parallel_tool_use": True,
    }


def _keeps(schema: Json, answer: Json) -> bool:
    """Only a whole answer is held to its schema: not one that was cut, refused, or is a call."""
    for choice in answer["choices"]:
        if choice["finish_reason"] == "stop":
            try:
                value = orjson.loads(choice["message"]["content"])
            except orjson.JSONDecodeError:
                return False
            if not keeps(schema, value, schema):
                return False
    return True
