"""The shape of a chat request's body: types and ranges, also for the OpenAPI document.

Strict: no string becomes a number. Members that this model does not name are left alone here;
`core.members` decides whether they may pass.
https://platform.openai.com/docs/api-reference/chat/create
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from phigate.core.errors import InvalidRequest
from phigate.core.limits import NAME_BYTES_MAX
from phigate.core.types import Json

SEED_MAX = 9_223_372_036_854_776_000


class Shape(BaseModel):
    """Strict types, unknown members kept."""

    model_config = ConfigDict(strict=True, extra="allow")


class TextPart(Shape):
    type: Literal["text"]
    text: str


class RefusalPart(Shape):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Shape):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Shape):
    type: Literal["image_url"]
    image_url: ImageUrl


class UnknownPart(Shape):
    type: Literal["text", "image_url", "refusal"]


def _kind(value: Any) -> str | None:
    return "#parts" if isinstance(value, list) else "#text"


def _part_kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return f"#{kind}" if kind in ("text", "image_url", "refusal") else "#unknown"


Part = Annotated[
    Annotated[TextPart, Tag("#text")]
    | Annotated[ImagePart, Tag("#image_url")]
    | Annotated[RefusalPart, Tag("#refusal")]
    | Annotated[UnknownPart, Tag("#unknown")],
    Discriminator(_part_kind),
]
Content = Annotated[
    Annotated[str, Tag("#text")] | Annotated[list[Part], Field(min_length=1), Tag("#parts")],
    Discriminator(_kind),
]


class CalledFunction(Shape):
    name: str
    arguments: str


class ToolCall(Shape):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Shape):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: Annotated[str, Field(max_length=NAME_BYTES_MAX)] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: None = None  # names an answer that a provider has stored

    @model_validator(mode="after")
    def _fits_its_role(self) -> "Message":
        if self.role == "assistant":
            if self.content is None and not self.tool_calls:
                raise PydanticCustomError(
                    "role", "an assistant message needs content or tool_calls"
                )
        elif self.content is None:
            raise PydanticCustomError("role", "content is required")
        if self.role == "tool" and self.tool_call_id is None:
            raise PydanticCustomError("role", "a tool message needs tool_call_id")
        parts = self.content if isinstance(self.content, list) else []
        has_image = any(isinstance(part, ImagePart) for part in parts)
        if has_image and self.role not in ("user", "tool"):
            raise PydanticCustomError("role", "images stand in user and tool messages only")
        return self


class Function(Shape):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class Tool(Shape):
    type: Literal["function"]
    function: Function


class NamedFunction(Shape):
    name: str


class NamedTool(Shape):
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("#text")]
    | Annotated[NamedTool, Tag("#object")],
    Discriminator(lambda value: "#object" if isinstance(value, dict) else "#text"),
]


class JsonSchema(Shape):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: StrictBool | None = None
    description: str | None = None


class ResponseFormat(Shape):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _names_its_schema(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("schema", "type json_schema needs the member json_schema")
        return self


Format = Annotated[
    Annotated[Literal["text", "json_object"], Tag("#text")]
    | Annotated[ResponseFormat, Tag("#object")],
    Discriminator(lambda value: "#object" if isinstance(value, dict) else "#text"),
]
Stop = Annotated[
    Annotated[str, Tag("#text")] | Annotated[list[str], Tag("#list")],
    Discriminator(lambda value: "#list" if isinstance(value, list) else "#text"),
]


class StreamOptions(Shape):
    include_usage: StrictBool | None = None


class ProviderPreferences(BaseModel):
    """Routing preferences: they reorder and remove rows, and never add one."""

    model_config = ConfigDict(strict=True, extra="forbid")

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    allow_fallbacks: StrictBool | None = None
    include_alpha: StrictBool | None = None


Tokens = Annotated[int, Field(ge=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class ChatBody(Shape):
    """Body of POST /v1/chat/completions."""

    model: Annotated[str, Field(min_length=1, max_length=NAME_BYTES_MAX)]
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Tokens | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    seed: Annotated[int, Field(ge=-SEED_MAX, le=SEED_MAX)] | None = None
    stop: Stop | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: Format | None = None
    reasoning_effort: Annotated[str, Field(max_length=32)] | None = None
    modalities: list[Literal["text", "image", "audio"]] | None = None
    metadata: dict[str, Any] | None = None
    store: StrictBool | None = None
    service_tier: Literal["auto", "default", "flex", "standard", "priority"] | None = None
    user: str | None = None
    user_id: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    provider: ProviderPreferences | None = None


class RouteBody(ChatBody):
    """Body of POST /v1/route: a chat body whose messages may be left out."""

    messages: list[Message] = []


def check_shape(model: type[ChatBody], body: Json) -> None:
    """Raises InvalidRequest for the first mistake; `param` is its path in the body."""
    try:
        model.model_validate(body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        param = _path(first["loc"])
        raise InvalidRequest(f"{param or 'body'}: {first['msg']}.", param=param or None) from None


def _path(loc: tuple[int | str, ...]) -> str:
    """The path of a mistake in the body, without the tags of this module's unions."""
    return ".".join(str(step) for step in loc if not str(step).startswith("#"))
