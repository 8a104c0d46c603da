"""The shape of a chat request's body: types and ranges, also for the OpenAPI document.

Strict: no string becomes a number. Members that this model does not name are left alone here;
`wire.openai.field_policy` decides whether they may pass.
https://platform.openai.com/docs/api-reference/chat/create
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StrictBool, ValidationError

from phigate.core.errors import InvalidRequest, member_path
from phigate.core.limits import NAME_BYTES_MAX
from phigate.core.request.counts import check_counts
from phigate.core.types import Json
from phigate.wire.openai.chat_messages import Message
from phigate.wire.openai.chat_options import (
    Debug,
    Effort,
    Format,
    ImageConfig,
    ProviderPreferences,
    Reasoning,
    Stop,
    StreamOptions,
    Thinking,
    Tokens,
)
from phigate.wire.openai.chat_tools import Tool, ToolChoice
from phigate.wire.openai.shape import Count, Items, NotUnderPhi, Shape, described

SEED_MAX = 9_223_372_036_854_776_000
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class ChatBody(Shape):
    """Body of POST /v1/chat/completions."""

    model_config = ConfigDict(json_schema_extra=described())
    SENDS_NULLS: ClassVar[bool] = False

    model: Annotated[str, Field(min_length=1, max_length=NAME_BYTES_MAX)]
    messages: Annotated[Items[Message], Field(min_length=1)]
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
    tools: Items[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: StrictBool | None = None
    max_tool_calls: Count | None = None
    response_format: Format | None = None
    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    thinking: Thinking | None = None
    modalities: Items[Literal["text", "image", "audio"]] | None = None
    response_modalities: Items[str] | None = None
    responseModalities: Items[str] | None = None
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
    cache_salt: str | None = None
    speed: str | None = None
    provider: ProviderPreferences | None = None
    provider_options: Annotated[
        dict[str, dict[str, Any]] | None,
        NotUnderPhi("are not sent under X-PHI: true: nobody has looked at what they ask."),
    ] = None
    meta: StrictBool | None = None
    debug: Debug | None = None
    echo_upstream_request: StrictBool | None = None

    @property
    def tokens_out_limits(self) -> frozenset[int]:
        """What the three names of the greatest number of output tokens say."""
        said = {self.max_tokens, self.max_completion_tokens, self.max_output_tokens}
        return frozenset([tokens for tokens in said if tokens is not None])


class RouteBody(ChatBody):
    """Body of POST /v1/route: a chat body whose messages may be left out."""

    messages: Items[Message] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat body that was read: its members as they came, from which what goes upstream is made,
    and `chat`, the same validated, from which everything else is read."""

    members: Json
    chat: ChatBody


def read_chat(members: Json, shape: type[ChatBody] = ChatBody) -> ChatRequest:
    """Raises InvalidRequest for the first mistake; `param` is its path in the body."""
    check_counts(members)
    try:
        return ChatRequest(members, shape.model_validate(members))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        param = _path(first["loc"])
        raise InvalidRequest(f"{param or 'body'}: {first['msg']}.", param=param or None) from None


def _path(loc: tuple[int | str, ...]) -> str:
    """The path of a mistake in the body, without the tags of these models' unions."""
    return member_path(*(step for step in loc if not str(step).startswith("#")))
