"""The shape of the members of a chat request that are objects: formats, reasoning, preferences."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictBool, Tag, model_validator
from pydantic_core import PydanticCustomError

from phigate.core.limits import IMAGES_MAX, PREFERENCES_MAX
from phigate.wire.openai.shape import Count, Exact, Items, Shape

Tokens = Count
Effort = Annotated[str, Field(max_length=32)]
ImageSize = Literal["0.5K", "1K", "2K", "4K"]


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
    Annotated[str, Tag("#text")] | Annotated[Items[str], Tag("#list")],
    Discriminator(lambda value: "#list" if isinstance(value, list) else "#text"),
]


class StreamOptions(Shape):
    include_usage: StrictBool | None = None


class ProviderPreferences(Exact):
    """Routing preferences: they reorder and remove rows, and never add one."""

    order: Annotated[Items[str], Field(max_length=PREFERENCES_MAX)] | None = None
    only: Annotated[Items[str], Field(min_length=1, max_length=PREFERENCES_MAX)] | None = None
    ignore: Annotated[Items[str], Field(max_length=PREFERENCES_MAX)] | None = None
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


FontInputs = Annotated[Items[FontInput], Field(max_length=IMAGES_MAX)]


class ImageConfig(Exact):
    aspect_ratio: str | None = None
    aspectRatio: str | None = None
    image_size: ImageSize | None = None
    imageSize: ImageSize | None = None
    include_rai_reason: StrictBool | None = None
    includeRaiReason: StrictBool | None = None
    font_inputs: FontInputs | None = None
    fontInputs: FontInputs | None = None
    super_resolution_references: Items[str] | None = None
    superResolutionReferences: Items[str] | None = None
    reference_images: Items[dict[str, Any]] | None = None
    referenceImages: Items[dict[str, Any]] | None = None


class Debug(Exact):
    enabled: StrictBool | None = None
    return_upstream_request: StrictBool | None = None
    return_upstream_response: StrictBool | None = None
    trace: StrictBool | None = None
    trace_level: Literal["summary", "full"] | None = None
