"""The loop round the gateway's tools: what a turn asked for, and what the next one is told.

Law 1: a turn that mixes the gateway's tool with the caller's own functions ends the loop: the
caller gets its own calls, the gateway's are dropped (the model may ask again), so no state is kept.
Law 2: at most TURNS_FOLLOW_MAX turns follow the first one; of a math agent's, MATH_TURNS_MAX may
call programs, and then one turn without tools is left to answer.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from phigate.core.errors import ServerToolError, ServerToolLimit
from phigate.core.limits import MATH_TURNS_MAX, TURNS_FOLLOW_MAX
from phigate.core.sandbox.runs import Run
from phigate.core.tools.programs import LANGUAGES, functions
from phigate.core.types import Json

DATETIME = "gateway:datetime"
DATETIME_FUNCTION = "gateway_datetime"
DEFAULT_TIMEZONE = "UTC"


class Zones(Protocol):
    """Local times. None: there is no such time zone."""

    def local(self, timezone: str, at_s: float) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class ServerTools:
    """The gateway's tools in one request: the names that the model calls them by. `programs` are
    those that run in a sandbox; `timezone` None: the date and time are not offered."""

    timezone: str | None
    names: frozenset[str] = frozenset({DATETIME_FUNCTION})
    programs: frozenset[str] = frozenset()


@dataclass(slots=True)
class Counts:
    """How often the gateway's tools were called in one request, by name."""

    tools: ServerTools
    calls_max: int | None = None
    turns_followed: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    def count(self, calls: Sequence[Json]) -> None:
        """Before the calls of one turn are run. Raises ServerToolLimit, ServerToolError."""
        for call in calls:
            name = call["function"]["name"]
            self.calls[name] = self.calls.get(name, 0) + 1
        self.turns_followed += 1
        made = sum(self.calls.values())
        if self.calls_max is not None and made > self.calls_max:
            raise ServerToolLimit(
                f"The model asked for {made} server tool calls; max_tool_calls "
                f"allows {self.calls_max}. The turns until then are charged.",
                param="max_tool_calls",
            )
        if not self.tools.programs and self.turns_followed > TURNS_FOLLOW_MAX:
            raise ServerToolError(
                f"The model still called the server tool after {TURNS_FOLLOW_MAX} turns. "
                "The turns until then are charged."
            )

    @property
    def is_over(self) -> bool:
        """Whether the next turn is a math agent's last, which has to answer."""
        return bool(self.tools.programs) and self.turns_followed >= MATH_TURNS_MAX

    def used(self, runs: Sequence[Run]) -> Json:
        """`usage.server_tool_use`: how often each tool that was offered ran."""
        use: Json = {}
        if self.tools.timezone is not None:
            use["datetime_requests"] = self.calls.get(DATETIME_FUNCTION, 0)
        if self.tools.programs:
            for language in LANGUAGES.values():
                use[f"{language}_runs"] = sum(run.language == language for run in runs)
        return use


def server_tools(
    theirs: Collection[str], timezone: str | None, *, programs: bool = False
) -> ServerTools | None:
    """The gateway's tools: with a `timezone` the date and time, which the request names, and with
    `programs` those of a math agent. A function of the caller's own of the same name, one of
    `theirs`, wins; then the gateway's is not offered."""
    languages = frozenset(LANGUAGES) - {*theirs} if programs else frozenset()
    if timezone is None and not languages:
        return None
    clock = frozenset() if timezone is None else frozenset({DATETIME_FUNCTION}) - {*theirs}
    return ServerTools(timezone, clock | languages, languages)


def offered(body: Json, tools: ServerTools) -> Json:
    """The body with the gateway's tools as functions, which is what a model can be offered."""
    offers = [tool for tool in body.get("tools") or () if tool["type"] == "function"]
    if tools.timezone is not None and DATETIME_FUNCTION in tools.names:
        offers.append(_datetime_function(tools.timezone))
    offers += functions(tools.programs)
    rewritten = {**body, "tools": offers}
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
    """The last turn's body, when nothing covers another turn with tools."""
    return {**body, "tool_choice": "none"}


def cut(result: str, bytes_max: int) -> str:
    """A result as much of it as may be told, from its end; where nothing may, that."""
    raw = result.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        return result
    kept = raw[len(raw) - bytes_max :].decode("utf-8", "ignore")
    return f"[cut: the credit is nearly used] {kept}".rstrip()


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
    timezone = _timezone_of(call, tools)
    local = zones.local(timezone, now_s) if timezone is not None else None
    if local is None or timezone is None:
        return json.dumps({"error": "timezone must be an IANA name such as Europe/London"})
    written = local.isoformat(timespec="milliseconds")
    return json.dumps({"datetime": written, "timezone": timezone})


def _timezone_of(call: Json, tools: ServerTools) -> str | None:
    try:
        arguments = json.loads(call["function"].get("arguments") or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(arguments, dict):
        return None
    timezone = arguments.get("timezone", tools.timezone)
    return timezone if isinstance(timezone, str) else None


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
