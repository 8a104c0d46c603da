"""The shape of tools: functions of the caller's, and tools that the gateway runs itself."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StrictBool, Tag
from pydantic_core import PydanticCustomError

from phigate.core.limits import NAME_BYTES_MAX
from phigate.core.tools.tool_loop import DEFAULT_TIMEZONE
from phigate.wire.openai.shape import Exact, Shape

# The shape of an IANA name; whether there is such a zone is looked up later.
Timezone = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]
_GATEWAY = "gateway:"
_WEB_SEARCH = re.compile("web[_-]?search", re.IGNORECASE)


class Function(Shape):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


def _function_type(value: Any) -> Any:
    """Says what other types of tools there are, and which there are not."""
    if value == "function":
        return value
    if isinstance(value, str) and _WEB_SEARCH.search(value, 0, NAME_BYTES_MAX):
        raise PydanticCustomError("tool", "web search tools are disabled at this gateway")
    raise PydanticCustomError("tool", "the type of a tool is function or gateway:datetime")


FunctionType = Annotated[Literal["function"], BeforeValidator(_function_type)]
ServerToolType = Literal["gateway:datetime"]


def _tool_kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return "#gateway" if isinstance(kind, str) and kind.startswith(_GATEWAY) else "#function"


class FunctionTool(Shape):
    type: FunctionType
    function: Function


class DatetimeParameters(Exact):
    timezone: Timezone | None = None


class ServerTool(Exact):
    """A tool that the gateway runs itself."""

    type: ServerToolType
    parameters: DatetimeParameters | None = None
    timezone: Timezone | None = None


Tool = Annotated[
    Annotated[FunctionTool, Tag("#function")] | Annotated[ServerTool, Tag("#gateway")],
    Discriminator(_tool_kind),
]


class NamedFunction(Shape):
    name: str


class NamedTool(Shape):
    type: FunctionType
    function: NamedFunction


class NamedServerTool(Exact):
    type: ServerToolType


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required", "gateway:datetime"], Tag("#text")]
    | Annotated[NamedTool, Tag("#function")]
    | Annotated[NamedServerTool, Tag("#gateway")],
    Discriminator(lambda value: _tool_kind(value) if isinstance(value, dict) else "#text"),
]


def function_names(tools: Sequence[FunctionTool | ServerTool]) -> frozenset[str]:
    """The caller's own functions."""
    return frozenset(tool.function.name for tool in tools if tool.type == "function")


def datetime_zone(tools: Sequence[FunctionTool | ServerTool]) -> tuple[str, str] | None:
    """The path of the first date and time tool's time zone, and the zone; None without the tool."""
    for i, tool in enumerate(tools):
        if tool.type != "function":
            parameters = tool.parameters
            if parameters is not None and parameters.model_fields_set:
                return f"tools.{i}.parameters.timezone", str(parameters.timezone)
            return f"tools.{i}.timezone", tool.timezone or DEFAULT_TIMEZONE
    return None
