"""The shape of the members of a chat request that are objects: formats, reasoning, preferences."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, StrictBool, Tag, model_validator
from pydantic_core import PydanticCustomError

from phigate.core.limits import IMAGES_MAX, PREFERENCES_MAX
from phigate.wire.openai.shape import Count, Exact, Items, NotUnderPhi, Shape, described

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
    model_config = ConfigDict(json_schema_extra=described("stream_options"))

    include_usage: StrictBool | None = None


class ProviderPreferences(Exact):
    """Routing preferences: they reorder and remove rows, and never add one."""

    model_config = ConfigDict(json_schema_extra=described("provider"))

    order: Annotated[Items[str], Field(max_length=PREFERENCES_MAX)] | None = None
    only: Annotated[Items[str], Field(min_length=1, max_length=PREFERENCES_MAX)] | None = None
    ignore: Annotated[Items[str], Field(max_length=PREFERENCES_MAX)] | None = None
    allow_fallbacks: StrictBool | None = None
    include_alpha: StrictBool | None = None
    confidential: StrictBool | None = None
    require_parameters: StrictBool | None = None


class Reasoning(Exact):
    model_config = ConfigDict(json_schema_extra=described("reasoning"))

    effort: Effort | None = None
    summary: Effort | None = None
    enabled: StrictBool | None = None
    max_tokens: Tokens | None = None
    include_thoughts: StrictBool | None = None
    includeThoughts: StrictBool | None = None


class Thinking(Exact):
    model_config = ConfigDict(json_schema_extra=described("thinking"))

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
_LINKS = NotUnderPhi("names media by links, which is refused under X-PHI: true.")


class ImageConfig(Exact):
    model_config = ConfigDict(json_schema_extra=described("image_config"))

    aspect_ratio: str | None = None
    aspectRatio: str | None = None
    image_size: ImageSize | None = None
    imageSize: ImageSize | None = None
    include_rai_reason: StrictBool | None = None
    includeRaiReason: StrictBool | None = None
    font_inputs: Annotated[FontInputs | None, _LINKS] = None
    fontInputs: Annotated[FontInputs | None, _LINKS] = None
    super_resolution_references: Annotated[Items[str] | None, _LINKS] = None
    superResolutionReferences: Annotated[Items[str] | None, _LINKS] = None
    reference_images: Annotated[Items[dict[str, Any]] | None, _LINKS] = None
    referenceImages: Annotated[Items[dict[str, Any]] | None, _LINKS] = None


class Debug(Exact):
    model_config = ConfigDict(json_schema_extra=described("debug"))

    enabled: StrictBool | None = None
    return_upstream_request: StrictBool | None = None
    return_upstream_response: StrictBool | None = None
    trace: StrictBool | None = None
    trace_level: Literal["summary", "full"] | None = None
