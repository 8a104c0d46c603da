"""The loop round a server tool: what a turn asked for, and what the next one is told.

Law 1: a turn that mixes the gateway's tool with the caller's own functions ends the loop: the
caller gets its own calls, the gateway's are dropped (the model may ask again), so no state is kept.
Law 2: at most TURNS_FOLLOW_MAX turns follow the first one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from phigate.core.errors import InvalidRequest, ServerToolError, ServerToolLimit
from phigate.core.limits import TURNS_FOLLOW_MAX
from phigate.core.types import Json

DATETIME = "gateway:datetime"
DATETIME_FUNCTION = "gateway_datetime"
DEFAULT_TIMEZONE = "UTC"


class Zones(Protocol):
    """Local times. None: there is no such time zone."""

    def local(self, timezone: str, at_s: float) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class ServerTools:
    """The gateway's tools in one request: the names that the model calls them by."""

    timezone: str
    names: frozenset[str] = frozenset({DATETIME_FUNCTION})


@dataclass(slots=True)
class Counts:
    """How often the gateway's tools ran in one request."""

    datetime_requests: int = 0
    calls_max: int | None = None
    turns_followed: int = field(default=0)

    def count(self, calls: int) -> None:
        """Before the calls of one turn are run. Raises ServerToolLimit, ServerToolError."""
        self.datetime_requests += calls
        self.turns_followed += 1
        if self.calls_max is not None and self.datetime_requests > self.calls_max:
            raise ServerToolLimit(
                f"The model asked for {self.datetime_requests} server tool calls; max_tool_calls "
                f"allows {self.calls_max}. The turns until then are charged.",
                param="max_tool_calls",
            )
        if self.turns_followed > TURNS_FOLLOW_MAX:
            raise ServerToolError(
                f"The model still called the server tool after {TURNS_FOLLOW_MAX} turns. "
                "The turns until then are charged."
            )


def server_tools(body: Json, zones: Zones, now_s: float) -> ServerTools | None:
    """The gateway's tools that the request names. Raises InvalidRequest for a bad time zone."""
    for i, tool in enumerate(body.get("tools") or ()):
        if tool["type"] == DATETIME:
            where, timezone = _timezone(tool)
            if zones.local(timezone, now_s) is None:
                raise InvalidRequest(
                    "There is no such time zone; send an IANA name such as Europe/London.",
                    param=f"tools.{i}.{where}",
                )
            names = {t["function"]["name"] for t in body["tools"] if t["type"] == "function"}
            # A caller's own function of that name wins; then the gateway's is not offered.
            return ServerTools(timezone, frozenset({DATETIME_FUNCTION} - names))
    return None


def offered(body: Json, tools: ServerTools) -> Json:
    """The body with the gateway's tools as functions, which is what a model can be offered."""
    functions = [tool for tool in body["tools"] if tool["type"] == "function"]
    if tools.names:
        functions.append(_datetime_function(tools.timezone))
    rewritten = {**body, "tools": functions}
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind == DATETIME:
        rewritten["tool_choice"] = {"type": "function", "function": {"name": DATETIME_FUNCTION}}
    return rewritten


def followed(body: Json, message: Json, results: Sequence[tuple[Json, str]]) -> Json:
    """The next turn's body: the model's calls and what came of them. A forced tool is not forced
    again: it would be called for ever."""
    said = {"role": "assistant", "content": message.get("content")}
    said["tool_calls"] = [call for call, _ in results]
    answers = [
        {"role": "tool", "tool_call_id": call["id"], "content": result} for call, result in results
    ]
    following = {**body, "messages": [*body["messages"], said, *answers]}
    if body.get("tool_choice") not in (None, "none", "auto"):
        following["tool_choice"] = "auto"
    return following


def without_tools(body: Json) -> Json:
    """The last turn's body, when credit does not cover another turn with tools."""
    return {**body, "tool_choice": "none"}


def split(message: Json, tools: ServerTools) -> tuple[list[Json], list[Json]]:
    """A turn's tool calls: the gateway's and the caller's."""
    ours: list[Json] = []
    theirs: list[Json] = []
    for call in message.get("tool_calls") or ():
        name = call.get("function", {}).get("name")
        (ours if name in tools.names else theirs).append(call)
    return ours, theirs


def run_datetime(call: Json, tools: ServerTools, zones: Zones, now_s: float) -> str:
    """The result of one call as JSON. A bad argument is a result that the model sees."""
    timezone = _asked_timezone(call, tools)
    local = zones.local(timezone, now_s) if timezone is not None else None
    if local is None or timezone is None:
        return json.dumps({"error": "timezone must be an IANA name such as Europe/London"})
    written = local.isoformat(timespec="milliseconds")
    return json.dumps({"datetime": written, "timezone": timezone})


def _asked_timezone(call: Json, tools: ServerTools) -> str | None:
    try:
        arguments = json.loads(call["function"].get("arguments") or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(arguments, dict):
        return None
    timezone = arguments.get("timezone", tools.timezone)
    return timezone if isinstance(timezone, str) else None


def _timezone(tool: Mapping[str, Any]) -> tuple[str, str]:
    """Where the tool's default time zone stands, and what it is."""
    parameters = tool.get("parameters") or {}
    if "timezone" in parameters:
        return "parameters.timezone", str(parameters["timezone"])
    return "timezone", str(tool.get("timezone") or DEFAULT_TIMEZONE)


def _datetime_function(timezone: str) -> Json:
    return {
        "type": "function",
        "function": {
            "name": DATETIME_FUNCTION,
            "description": f"The date and time now. Without a timezone: in {timezone}.",
            "parameters": {
                "type": "object",
                "properties": {
                    "timezone": {"type": "string", "description": "IANA name, as Europe/London"}
                },
                "additionalProperties": False,
            },
        },
    }
