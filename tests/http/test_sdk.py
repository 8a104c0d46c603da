"""The OpenAI SDK, unmodified but for its base URL, on a real local stack: the public descriptions'
stories of chat and vision."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.http.calls import PIXEL_URL
from tests.local.running import RunningStack

CH_PHI = {"X-Region": "CH", "X-PHI": "true"}
EU = {"X-Region": "EU"}
US_PHI = {"X-Region": "US", "X-PHI": "true"}
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Summarise this note."}]
LOOK: list[ChatCompletionMessageParam] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What does this form say?"},
            {"type": "image_url", "image_url": {"url": PIXEL_URL}},
        ],
    }
]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
        },
    },
}


class Note(BaseModel):
    """What a caller wants of a note."""

    diagnosis: str
    days: int
    drugs: list[str]


@pytest.fixture(params=["/v1", "/api/v1"])
def client(stack: RunningStack, key: str, request: pytest.FixtureRequest) -> Iterator[OpenAI]:
    """The SDK with nothing set but what a caller has to set; both base paths mean the same."""
    with OpenAI(base_url=stack.url + request.param, api_key=key, max_retries=0) as made:
        yield made


def test_phi_chat_in_switzerland_says_where_it_ran(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gemma-4", messages=HELLO, extra_headers=CH_PHI
    )
    answer = raw.parse()
    assert raw.headers["x-phi-routed"] == "infomaniak-gemma-4-31b/CH/phi"
    assert raw.headers["x-phi-tier"] == "phi"
    assert raw.headers["x-phi-attempts"] == "1"
    assert raw.headers["x-phi-usage"] == "verified"
    assert int(raw.headers["x-phi-cost-micro"]) > 0
    assert raw.headers["x-phi-max-tokens"] == "8192"
    assert raw.headers["x-request-id"] == raw.headers["x-phi-receipt"]
    assert answer.id == f"chatcmpl-{raw.headers['x-phi-receipt']}"
    assert answer.model == "infomaniak-gemma-4-31b"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None


def test_a_stream_in_europe_comes_in_chunks_and_ends_with_usage(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gemma-4",
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=EU,
    )
    chunks = list(raw.parse())
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.headers["x-phi-routed"] == "scaleway-gemma-4-26b/EU/general"
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{raw.headers['x-phi-receipt']}"}
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert sum(bool(text) for text in texts) > 1
    assert chunks[-1].usage is not None
    assert [chunk for chunk in chunks[:-1] if chunk.usage is not None] == []


def test_a_stream_without_the_wish_has_no_usage_chunk(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="gemma-4", messages=HELLO, stream=True, extra_headers=EU
    ) as stream:
        chunks = list(stream)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_phi_chat_in_the_us_is_refused_and_costs_nothing(
    client: OpenAI, stack: RunningStack, key: str
) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model="qwen3.5", messages=HELLO, extra_headers=US_PHI)
    assert refused.value.code == "phi_blocked"
    assert refused.value.request_id == refused.value.response.headers["x-phi-receipt"]
    assert refused.value.response.headers["x-phi-attempts"] == "0"
    assert stack.account(key)["spent_micro"] == 0


def test_phi_vision_in_the_us_has_no_route(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-4o", messages=LOOK, extra_headers=US_PHI)
    assert refused.value.code == "no_route"


@pytest.mark.parametrize(
    ("region", "model", "row"),
    [
        ("CH", "gemma-4", "infomaniak-gemma-4-31b"),
        ("EU", "gemma-4", "scaleway-gemma-4-26b"),
        ("EU", "qwen3.6", "scaleway-qwen3.6-35b"),
    ],
)
def test_phi_vision_in_switzerland_and_europe_sees_the_image(
    client: OpenAI, region: str, model: str, row: str
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=LOOK, extra_headers={"X-Region": region, "X-PHI": "1"}
    )
    assert raw.headers["x-phi-routed"] == f"{row}/{region}/phi"
    assert "1x1" in (raw.parse().choices[0].message.content or "").replace(" x ", "x")


def test_a_tool_is_called_and_its_result_is_read(client: OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather in Bern?"}]
    raw = client.chat.completions.with_raw_response.create(
        model="qwen3.5",
        messages=messages,
        tools=[WEATHER],
        tool_choice="required",
        extra_headers=CH_PHI,
    )
    assert raw.headers["x-phi-tools"] == "supported"
    message = raw.parse().choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "weather"
    messages.append(
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": "weather", "arguments": call.function.arguments},
                }
            ],
        }
    )
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "Fog."})
    again = client.chat.completions.create(
        model="qwen3.5", messages=messages, tools=[WEATHER], extra_headers=CH_PHI
    )
    assert again.choices[0].finish_reason == "stop"


def test_tools_on_a_row_without_them_are_dropped_and_named(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gemma-4", messages=HELLO, tools=[WEATHER], extra_headers=CH_PHI
    )
    assert raw.headers["x-phi-tools"] == "unsupported"
    assert "tools" in raw.headers["x-phi-dropped"].split(",")
    assert raw.parse().choices[0].message.content


def test_an_answer_follows_a_json_schema_through_parse(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="gemma-4", messages=HELLO, response_format=Note, extra_headers=CH_PHI
    )
    assert isinstance(answer.choices[0].message.parsed, Note)


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert client.models.retrieve("infomaniak-gemma-4-31b") == listed["infomaniak-gemma-4-31b"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such-model")


def test_a_key_of_nobody_is_an_authentication_error(stack: RunningStack) -> None:
    with (
        OpenAI(base_url=stack.base_url, api_key="sk-none", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.chat.completions.create(model="gemma-4", messages=HELLO)
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id


def test_a_mistake_in_the_body_is_a_bad_request_that_names_the_member(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="gemma-4", messages=HELLO, temperature=7)
    assert (refused.value.code, refused.value.param) == ("invalid_request", "temperature")
