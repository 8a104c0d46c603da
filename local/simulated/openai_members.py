"""Types and ranges of the members of an OpenAI chat request: one table, from name to check.

A check gives the sentence that a real provider would answer with, or None. Nothing is quoted.
https://platform.openai.com/docs/api-reference/chat/create
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from local.simulated.shapes import Json, Refused

Check = Callable[[Any], str | None]
STOP_MAX = 16  # OpenAI itself takes 4, other providers of its dialect more
TOOLS_MAX = 128
FUNCTION_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
FORMAT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_members(body: Json) -> None:
    """Refuse unknown members, wrong types and ranges, and members that exclude each other."""
    _check_names(body)
    for name, check in MEMBERS.items():
        wrong = None if body.get(name) is None else check(body[name])
        if wrong is not None:
            raise Refused(f"Invalid '{name}': {wrong}", param=name, code="invalid_value")
    for name, is_wrong, message in TOGETHER:
        if body.get(name) is not None and is_wrong(body):
            raise Refused(message, param=name, code="invalid_value")


def _check_names(body: Json) -> None:
    for name in body:
        if name not in MEMBERS:
            raise Refused(
                f"Unrecognized request argument supplied: {name[:64]}",
                param=name[:64],
                code="unknown_parameter",
            )
    for name in ("model", "messages"):
        if body.get(name) is None:
            raise Refused(
                f"Missing required parameter: '{name}'.",
                param=name,
                code="missing_required_parameter",
            )


def only(members: Iterable[str], known: frozenset[str], path: str) -> None:
    """Refuse a member that is not known at this place."""
    for name in members:
        if name not in known:
            where = f"{path}.{name[:64]}"
            raise Refused(f"Unknown parameter: '{where}'.", param=where, code="unknown_parameter")


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        if type(value) not in (int, float):
            return "expected a decimal."
        if not low <= value <= high:
            return f"expected a value between {low} and {high}."
        return None

    return check


def _integer(low: float, high: float = math.inf) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not int:
            return "expected an integer."
        if value < low:
            return f"integer below minimum value. Expected a value >= {low}."
        if value > high:
            return f"integer above maximum value. Expected a value <= {high}."
        return None

    return check


def _is(kind: type, noun: str) -> Check:
    return lambda value: None if isinstance(value, kind) else f"expected {noun}."


def _one_of(*values: str) -> Check:
    return lambda value: None if value in values else f"supported values are {', '.join(values)}."


def _model(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "expected a model's name."


def _messages(value: Any) -> str | None:
    if not isinstance(value, list):
        return "expected an array of objects."
    return None if value else "empty array. Expected an array with minimum length 1."


def _stop(value: Any) -> str | None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        return "expected a string or an array of strings."
    return None if len(stops) <= STOP_MAX else f"array too long. Expected at most {STOP_MAX}."


def _logit_bias(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "expected an object."
    wrong = (_number(-100, 100)(bias) for bias in value.values())
    return next((text for text in wrong if text), None)


def _metadata(value: Any) -> str | None:
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return None
    return "expected an object of strings."


def _modalities(value: Any) -> str | None:
    return None if value == ["text"] else "this model only answers in text."


def _stream_options(value: Any) -> str | None:
    if not isinstance(value, dict) or set(value) - {"include_usage", "include_obfuscation"}:
        return "expected an object with include_usage."
    flags = all(flag is None or isinstance(flag, bool) for flag in value.values())
    return None if flags else "expected a boolean."


def _tools(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return "expected an array with minimum length 1."
    if len(value) > TOOLS_MAX:
        return f"array too long. Expected at most {TOOLS_MAX}."
    return next((wrong for tool in value if (wrong := _tool(tool))), None)


def _tool(tool: Any) -> str | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type") != "function":
        return "every tool has the type function and a member function."
    if set(tool) - {"type", "function"} or set(function) - _FUNCTION_MEMBERS:
        return "a tool has a member that is not known."
    name = function.get("name")
    if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
        return "a function's name does not match its pattern."
    if not isinstance(function.get("parameters") or {}, dict):
        return "a function's parameters are a JSON schema."
    wrong = not isinstance(function.get("description") or "", str)
    wrong |= not isinstance(function.get("strict") or False, bool)
    return "a function's description is text and strict a boolean." if wrong else None


def _tool_choice(value: Any) -> str | None:
    if value in ("none", "auto", "required"):
        return None
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or value.get("type") != "function":
        return "expected none, auto, required or a function."
    return None if isinstance(function.get("name"), str) else "expected a function's name."


def _response_format(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("text", "json_object"):
        return None if set(value) == {"type"} else "a member is not known."
    if kind != "json_schema":
        return "supported types are text, json_object and json_schema."
    inner = value.get("json_schema")
    if not isinstance(inner, dict) or set(inner) - {"name", "schema", "strict", "description"}:
        return "json_schema has name, schema, strict and description."
    name = inner.get("name")
    if not isinstance(name, str) or not FORMAT_NAME.fullmatch(name):
        return "json_schema.name does not match its pattern."
    if not isinstance(inner.get("schema"), dict):
        return "json_schema.schema is a JSON schema."
    return None if isinstance(inner.get("strict") or False, bool) else "strict is a boolean."


def _names_an_unknown_function(body: Json) -> bool:
    choice = body["tool_choice"]
    if not isinstance(choice, dict):
        return False
    names = {tool["function"]["name"] for tool in body.get("tools") or ()}
    return choice["function"]["name"] not in names


def _has_no_tools(body: Json) -> bool:
    return body.get("tools") is None


_FUNCTION_MEMBERS = {"name", "description", "parameters", "strict"}
_TEXT = _is(str, "a string")
_FLAG = _is(bool, "a boolean")
MEMBERS: dict[str, Check] = {
    "model": _model,
    "messages": _messages,
    "stream": _FLAG,
    "stream_options": _stream_options,
    "max_tokens": _integer(1),
    "max_completion_tokens": _integer(1),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    # Not OpenAI's, but of all open-weight providers that speak its dialect.
    "top_k": _integer(-1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "logit_bias": _logit_bias,
    "logprobs": _FLAG,
    "top_logprobs": _integer(0, 20),
    "n": _integer(1, 128),
    "seed": _integer(-(2**63), 2**63 - 1),
    "stop": _stop,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _FLAG,
    "response_format": _response_format,
    "reasoning_effort": _one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "verbosity": _one_of("low", "medium", "high"),
    "modalities": _modalities,
    "metadata": _metadata,
    "store": _FLAG,
    "service_tier": _one_of("auto", "default", "flex", "scale", "priority"),
    "user": _TEXT,
    "safety_identifier": _TEXT,
    "prompt_cache_key": _TEXT,
}
TOGETHER: tuple[tuple[str, Callable[[Json], bool], str], ...] = (
    (
        "max_tokens",
        lambda body: body.get("max_completion_tokens") is not None,
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
    ),
    (
        "stream_options",
        lambda body: not body.get("stream"),
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    ),
    (
        "top_logprobs",
        lambda body: not body.get("logprobs"),
        "'top_logprobs' is only allowed when 'logprobs' is true.",
    ),
    ("tool_choice", _has_no_tools, "'tool_choice' is only allowed when 'tools' are specified."),
    ("tool_choice", _names_an_unknown_function, "'tool_choice' names a function not in 'tools'."),
    (
        "parallel_tool_calls",
        _has_no_tools,
        "'parallel_tool_calls' is only allowed when 'tools' are specified.",
    ),
)
