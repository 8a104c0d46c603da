"""The shape of a chat request's body: types and ranges, also for the OpenAPI document.

Strict: no string becomes a number. Members that this model does not name are left alone here;
`core.members` decides whether they may pass.
https://platform.openai.com/docs/api-reference/chat/create
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
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


Count = Annotated[int, Field(ge=1)]
Tokens = Count
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Effort = Annotated[str, Field(max_length=32)]
ImageSize = Literal["0.5K", "1K", "2K", "4K"]
# The shape of an IANA name; whether there is such a zone is looked up later.
Timezone = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]
_GATEWAY = "gateway:"
_WEB_SEARCH = re.compile("web[_-]?search", re.IGNORECASE)


class Shape(BaseModel):
    """Strict types, unknown members kept."""

    model_config = ConfigDict(strict=True, extra="allow")


class Exact(BaseModel):
    """Strict types, unknown members refused: nothing of it goes upstream as it came."""

    model_config = ConfigDict(strict=True, extra="forbid")


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


class Media(Shape):
    url: str


class AnswerImage(Shape):
    """An image of an answer that a client sends back."""

    type: Literal["image_url"]
    image_url: Media
    mime_type: str | None = None


class AnswerAudio(Shape):
    """A sound of an answer that a client sends back."""

    type: Literal["audio_url"]
    audio_url: Media
    mime_type: str | None = None
    format: str | None = None


class CalledFunction(Shape):
    name: str
    arguments: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


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
    images: list[AnswerImage] | None = None
    audios: list[AnswerAudio] | None = None
    provider_specific_fields: dict[str, Any] | None = None

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


def _function_type(value: Any) -> Any:
    """Says what other types of tools there are, and which there are not."""
    if value == "function":
        return value
    if isinstance(value, str) and _WEB_SEARCH.search(value):
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


class ProviderPreferences(Exact):
    """Routing preferences: they reorder and remove rows, and never add one."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    allow_fallbacks: StrictBool | None = None
    include_alpha: StrictBool | None = None
    confidential: StrictBool | None = None
    require_parameters: StrictBool | None = None


class Reasoning(Exact):
    effort: Effort | None = None
    summary: Effort | None = None
    enabled: StrictBool | None = None
    max_tokens: Tokens | None = None
    include_thoughts: StrictBool | None = None
    includeThoughts: StrictBool | None = None


class Thinking(Exact):
    type: Literal["enabled", "disabled", "adaptive", "auto"] | None = None
    enabled: StrictBool | None = None
    effort: Effort | None = None
    include_thoughts: StrictBool | None = None
    includeThoughts: StrictBool | None = None
    max_tokens: Tokens | None = None
    maxTokens: Tokens | None = None
    budget_tokens: Tokens | None = None
    budgetTokens: Tokens | None = None


class FontInput(Exact):
    font_url: str | None = None
    fontUrl: str | None = None
    text: str | None = None


class ImageConfig(Exact):
    aspect_ratio: str | None = None
    aspectRatio: str | None = None
    image_size: ImageSize | None = None
    imageSize: ImageSize | None = None
    include_rai_reason: StrictBool | None = None
    includeRaiReason: StrictBool | None = None
    font_inputs: list[FontInput] | None = None
    fontInputs: list[FontInput] | None = None
    super_resolution_references: list[str] | None = None
    superResolutionReferences: list[str] | None = None
    reference_images: list[dict[str, Any]] | None = None
    referenceImages: list[dict[str, Any]] | None = None


class Debug(Exact):
    enabled: StrictBool | None = None
    return_upstream_request: StrictBool | None = None
    return_upstream_response: StrictBool | None = None
    trace: StrictBool | None = None
    trace_level: Literal["summary", "full"] | None = None


class ChatBody(Shape):
    """Body of POST /v1/chat/completions."""

    model: Annotated[str, Field(min_length=1, max_length=NAME_BYTES_MAX)]
    messages: Annotated[list[Message], Field(min_length=1)]
    system: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Count | None = None
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
    max_tool_calls: Count | None = None
    response_format: Format | None = None
    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    thinking: Thinking | None = None
    modalities: list[Literal["text", "image", "audio"]] | None = None
    response_modalities: list[str] | None = None
    responseModalities: list[str] | None = None
    image_config: ImageConfig | None = None
    imageConfig: ImageConfig | None = None
    usage: StrictBool | None = None
    metadata: dict[str, Any] | None = None
    store: StrictBool | None = None
    service_tier: Literal["auto", "default", "flex", "standard", "priority"] | None = None
    user: str | None = None
    user_id: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    speed: str | None = None
    provider: ProviderPreferences | None = None
    provider_options: dict[str, dict[str, Any]] | None = None
    meta: StrictBool | None = None
    debug: Debug | None = None
    echo_upstream_request: StrictBool | None = None


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
