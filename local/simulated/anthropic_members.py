"""Types, ranges and exclusions of the members of an Anthropic Messages request: one table, from
name to check, and what each API version takes.

A check gives the end of the sentence that a real provider would answer with, or None.
https://platform.claude.com/docs/en/api/messages and .../api/migration-2026-10-21
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from local.simulated.anthropic_schema import schema_problem
from local.simulated.shapes import Json, Refused

Check = Callable[[Any], str | None]
EXTRA = "Extra inputs are not permitted"
MISSING = "Field required"
VERSIONS: dict[str, frozenset[str]] = {
    "2023-06-01": frozenset(),
    # The members that this version has no more.
    "2026-10-21": frozenset({"temperature", "top_p", "top_k"}),
}
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
USER_ID_CHARS_MAX = 256
THINKING_TOKENS_MIN = 1_024


def check_version(version: str | None) -> frozenset[str]:
    """The members that the version has no more. Raises Refused without a known version."""
    if version is None:
        raise Refused("anthropic-version: header is required")
    if version not in VERSIONS:
        raise Refused(f'anthropic-version: "{version[:32]}" is not a valid version')
    return VERSIONS[version]


def check_members(body: Json, removed: frozenset[str]) -> None:
    """Refuse unknown members, wrong types and ranges, and members that exclude each other."""
    only(body, frozenset(MEMBERS) - removed, "")
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise wrong(name, MISSING)
    for name, check in MEMBERS.items():
        problem = check(body[name]) if name in body else None
        if problem is not None:
            raise wrong(name, problem)
    for is_wrong, message in TOGETHER:
        if is_wrong(body):
            raise Refused(message)


def wrong(path: str, problem: str) -> Refused:
    """A refusal as the provider words it: the path, then what is wrong there."""
    return Refused(f"{path}: {problem}")


def only(members: Iterable[str], known: Iterable[str], path: str) -> None:
    """Refuse a member that is not known at this place."""
    for name in members:
        if name not in known:
            raise wrong(f"{path}{name[:64]}", EXTRA)


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        if type(value) not in (int, float):
            return "Input should be a valid number"
        return None if low <= value <= high else f"range: {low}..{high}"

    return check


def _integer(low: int) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not int:
            return "Input should be a valid integer"
        return None if value >= low else f"Input should be greater than or equal to {low}"

    return check


def _one_of(*values: str) -> Check:
    listed = " or ".join(f"'{value}'" for value in values)
    return lambda value: None if value in values else f"Input should be {listed}"


def _model(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "Input should be a valid string"


def _messages(value: Any) -> str | None:
    if not isinstance(value, list):
        return "Input should be a valid list"
    return None if value else "at least one message is required"


def _system(value: Any) -> str | None:
    if isinstance(value, str):
        return None
    if not isinstance(value, list):
        return "Input should be a valid list"
    for block in value:
        if not isinstance(block, dict) or set(block) - {"type", "text", "cache_control"}:
            return EXTRA
        if block.get("type") != "text" or not isinstance(block.get("text"), str):
            return "Input should be a text block"
        if not block["text"].strip():
            return "text content blocks must contain non-whitespace text"
    return None


def _stops(value: Any) -> str | None:
    if not isinstance(value, list) or not all(isinstance(stop, str) for stop in value):
        return "Input should be a valid list"
    if not all(stop.strip() for stop in value):
        return "each stop sequence must contain non-whitespace"
    return None


def _metadata(value: Any) -> str | None:
    if not isinstance(value, dict) or set(value) - {"user_id"}:
        return EXTRA
    user = value.get("user_id", "")
    if isinstance(user, str) and len(user) <= USER_ID_CHARS_MAX:
        return None
    return f"user_id: String should have at most {USER_ID_CHARS_MAX} characters"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "Input should be a valid boolean"


def _cache(value: Any) -> str | None:
    known = isinstance(value, dict) and value.get("type") == "ephemeral"
    return None if known and value.get("ttl") in (None, "5m", "1h") else "Input should be ephemeral"


def _tools(value: Any) -> str | None:
    if not isinstance(value, list):
        return "Input should be a valid list"
    names = [tool.get("name") for tool in value if isinstance(tool, dict)]
    if len(set(map(str, names))) < len(value):
        return "Tool names must be unique."
    return next((problem for tool in value if (problem := _tool(tool))), None)


def _tool(tool: Json) -> str | None:
    if set(tool) - {"name", "description", "input_schema", "strict", "cache_control", "type"}:
        return EXTRA
    if tool.get("type") not in (None, "custom"):
        return "type: only custom tools are simulated"
    if not TOOL_NAME.fullmatch(str(tool.get("name", ""))):
        return f"name: String should match pattern '^{TOOL_NAME.pattern}$'"
    if not isinstance(tool.get("description", ""), str):
        return "description: Input should be a valid string"
    return _input_schema(tool.get("input_schema"), is_strict=bool(tool.get("strict")))


def _input_schema(schema: Any, *, is_strict: bool) -> str | None:
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return f"input_schema.type: {MISSING}"
    if schema.keys() & {"oneOf", "anyOf", "allOf"}:
        return "input_schema does not support oneOf, allOf, or anyOf at the top level"
    return schema_problem(schema) if is_strict else None


def _tool_choice(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    known = {"auto": set[str](), "any": set[str](), "none": set[str](), "tool": {"name"}}
    if kind not in known:
        return "Input should be auto, any, tool or none"
    members = known[kind] | ({"disable_parallel_tool_use"} if kind != "none" else set())
    if set(value) - members - {"type"}:
        return EXTRA
    if kind == "tool" and not isinstance(value.get("name"), str):
        return f"name: {MISSING}"
    return _flag(value.get("disable_parallel_tool_use", False))


def _thinking(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    known: dict[Any, set[str]] = {
        "adaptive": {"display"},
        "enabled": {"display", "budget_tokens"},
        "disabled": set(),
    }
    if kind not in known:
        return "Input should be adaptive, enabled or disabled"
    if set(value) - known[kind] - {"type"}:
        return EXTRA
    if value.get("display") not in (None, "summarized", "omitted"):
        return "display: Input should be summarized or omitted"
    return _integer(THINKING_TOKENS_MIN)(value.get("budget_tokens")) if kind == "enabled" else None


def _output(value: Any) -> str | None:
    if not isinstance(value, dict) or set(value) - {"effort", "format"}:
        return EXTRA
    if value.get("effort") not in (None, "low", "medium", "high", "xhigh", "max"):
        return "effort: Input should be low, medium, high, xhigh or max"
    wanted = value.get("format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or set(wanted) != {"type", "schema"}:
        return "format: Input should have type and schema"
    return (
        schema_problem(wanted["schema"])
        if wanted["type"] == "json_schema"
        else "format.type: json_schema"
    )


def thinks(body: Json) -> bool:
    """Whether thinking is asked for."""
    return bool(body.get("thinking", {}).get("type") in ("adaptive", "enabled"))


def _forces(body: Json) -> bool:
    return body.get("tool_choice", {}).get("type") in ("any", "tool")


def _names_no_tool(body: Json) -> bool:
    names = {tool["name"] for tool in body.get("tools", ())}
    return "name" in body.get("tool_choice", {}) and body["tool_choice"]["name"] not in names


MEMBERS: dict[str, Check] = {
    "model": _model,
    "messages": _messages,
    "max_tokens": _integer(1),
    "system": _system,
    "stream": _flag,
    "stop_sequences": _stops,
    "temperature": _number(0, 1),
    "top_p": _number(0, 1),
    "top_k": _integer(0),
    "metadata": _metadata,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "thinking": _thinking,
    "output_config": _output,
    "cache_control": _cache,
    "service_tier": _one_of("auto", "standard_only"),
    "inference_geo": _one_of("us", "global"),
}
TOGETHER: tuple[tuple[Callable[[Json], bool], str], ...] = (
    (
        lambda body: "temperature" in body and "top_p" in body,
        "`temperature` and `top_p` cannot both be specified for this model.",
    ),
    (
        lambda body: thinks(body) and (body.get("temperature", 1) != 1 or "top_k" in body),
        "`temperature` may only be set to 1, and `top_k` not at all, when thinking is enabled.",
    ),
    (
        lambda body: thinks(body) and body.get("top_p", 1) < 0.95,
        "`top_p` must be greater than or equal to 0.95 when thinking is enabled.",
    ),
    (
        lambda body: thinks(body) and _forces(body),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (
        lambda body: body.get("thinking", {}).get("budget_tokens", 0) >= body["max_tokens"],
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    (
        lambda body: "tool_choice" in body and not body.get("tools"),
        "tool_choice may only be specified while providing tools.",
    ),
    (_names_no_tool, "tool_choice.name: the tool is not in `tools`."),
)
