"""The shape of the messages of a chat request.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from phigate.core.limits import NAME_BYTES_MAX
from phigate.wire.openai.shape import Echo, Items, MayHold, Shape


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
    Annotated[str, Tag("#text")] | Annotated[Items[Part], Field(min_length=1), Tag("#parts")],
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
    description: Annotated[str | None, Echo()] = None
    parameters: Annotated[dict[str, Any] | None, Echo()] = None


CallId = Annotated[str, Field(max_length=NAME_BYTES_MAX)]


class ToolCall(Shape):
    id: CallId
    type: Literal["function"] = "function"
    function: CalledFunction
    # Of a streamed call; nobody reads it, so no document names it.
    index: Annotated[SkipJsonSchema[Any], Echo()] = None


class Message(Shape):
    SENDS_NULLS: ClassVar[bool] = False

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: Annotated[str, Field(max_length=NAME_BYTES_MAX)] | None = None
    tool_calls: Items[ToolCall] | None = None
    tool_call_id: CallId | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: Annotated[
        Items[dict[str, Any]] | None, Echo(), MayHold(("type", "url_citation"))
    ] = None
    audio: None = None  # names an answer that a provider has stored
    images: Annotated[Items[AnswerImage] | None, Echo()] = None
    audios: Annotated[Items[AnswerAudio] | None, Echo()] = None
    provider_specific_fields: Annotated[dict[str, Any] | None, Echo()] = None

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


def images(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Every image of the messages, tool results included: the path of its URL, and the URL."""
    for i, message in enumerate(messages):
        if isinstance(message.content, list):
            for j, part in enumerate(message.content):
                if type(part) is ImagePart:
                    yield f"messages.{i}.content.{j}.image_url.url", part.image_url.url
