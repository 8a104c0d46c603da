"""Every model family behind the one surface: the OpenAI SDK, unmodified but for its base URL, on a
real local stack whose Anthropic, OpenAI and confidential providers are simulated strictly."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import openai
import pytest
from openai import OpenAI
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from pydantic import BaseModel, Field

from phigate.core.types import Json
from tests.http.calls import CHAT, PIXEL_URL
from tests.local.running import HttpAnswer, RunningStack

CLAUDE = "claude-sonnet-4-6"
CLAUDE_ROW = "anthropic-claude-sonnet-4-6"
CONFIDENTIAL = {"provider": {"confidential": True}}
HELLO: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Summarise this note."},
]
LOOK: list[ChatCompletionMessageParam] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What does this form say?"},
            {"type": "image_url", "image_url": {"url": PIXEL_URL}},
        ],
    }
]
# The simulated provider calls the tools that the text names.
BOTH: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "The weather in Bern, and the sunrise there?"}
]


def tool(name: str, **properties: Json) -> ChatCompletionToolParam:
    """A function whose properties are all required."""
    parameters: Json = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    tool("weather", place={"type": "string"}),
    tool("sunrise", place={"type": "string"}, days={"type": "integer", "minimum": 3}),
]
CALLED = [
    ("weather", {"place": "simulated"}),
    ("sunrise", {"place": "simulated", "days": 3}),
]


class Drug(BaseModel):
    """What is taken, and how often."""

    name: str
    daily: int = Field(ge=1, le=4)


class Note(BaseModel):
    """What a caller wants of a note. The provider cannot be told of its bounds, which hold."""

    diagnosis: str = Field(min_length=3)
    days: int = Field(gt=0)
    drugs: list[Drug]
    remark: str | None


@pytest.fixture
def client(stack: RunningStack, key: str) -> Iterator[OpenAI]:
    """The SDK with nothing set but what a caller has to set."""
    with OpenAI(base_url=stack.base_url, api_key=key, max_retries=0) as made:
        yield made


@pytest.fixture(params=["EU", "US"])
def region(request: pytest.FixtureRequest) -> dict[str, str]:
    """The header of a region in which claude is asked for."""
    return {"X-Region": request.param}


def calls_of(message: ChatCompletionMessage) -> list[tuple[str, Any]]:
    """Name and arguments of each call."""
    called = []
    for call in message.tool_calls or ():
        assert call.type == "function"
        assert call.id
        called.append((call.function.name, json.loads(call.function.arguments)))
    return called


def with_results(message: ChatCompletionMessage) -> list[ChatCompletionMessageParam]:
    """The conversation after the caller has run the calls; the answer's message as it came."""
    history: list[Any] = [*BOTH, message.to_dict()]
    for number, call in enumerate(message.tool_calls or ()):
        history.append({"role": "tool", "tool_call_id": call.id, "content": "x" * (number + 3)})
    return history


def spent_micro(stack: RunningStack, key: str) -> int:
    """What the key's account has spent. Right after an answer the hold may still stand."""
    while (account := stack.account(key))["held_micro"]:
        pass
    return int(account["spent_micro"])


def texts_of(chunks: list[ChatCompletionChunk]) -> list[str]:
    """The pieces of text in the order in which they came."""
    texts = (chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    return [text for text in texts if text]


# --- Claude -----------------------------------------------------------------------------------


def test_claude_answers_and_says_where(client: OpenAI, region: dict[str, str]) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=HELLO, temperature=0.2, extra_headers=region
    )
    answer = raw.parse()
    assert raw.headers["x-phi-routed"] == f"{CLAUDE_ROW}/{region['X-Region']}/general"
    assert raw.headers["x-phi-usage"] == "verified"
    assert "x-phi-dropped" not in raw.headers
    assert answer.id == f"chatcmpl-{raw.headers['x-phi-receipt']}"
    assert answer.model == CLAUDE_ROW
    assert "[simulated anthropic]" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


PINS = {"EU": None, "US": "us", "WORLD": "global"}


@pytest.mark.parametrize(("name", "pinned"), PINS.items(), ids=PINS)
def test_claude_is_pinned_to_the_geography_of_the_region(
    client: OpenAI, name: str, pinned: str | None
) -> None:
    answer = client.chat.completions.create(
        model=CLAUDE,
        messages=HELLO,
        extra_body={"echo_upstream_request": True},
        extra_headers={"X-Region": name},
    )
    sent = (answer.model_extra or {})["upstream_request"]
    assert sent.get("inference_geo") == pinned
    assert [block["text"] for block in sent["system"]] == ["Be brief."]


def test_claude_streams_what_it_says_whole(client: OpenAI, region: dict[str, str]) -> None:
    whole = client.chat.completions.create(model=CLAUDE, messages=HELLO, extra_headers=region)
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE,
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=region,
    )
    chunks = list(raw.parse())
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{raw.headers['x-phi-receipt']}"}
    assert {chunk.model for chunk in chunks} == {CLAUDE_ROW}
    assert len(texts_of(chunks)) > 3
    assert "".join(texts_of(chunks)) == whole.choices[0].message.content
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert [chunk for chunk in chunks[:-1] if chunk.usage is not None] == []


def test_claude_calls_two_tools_and_reads_their_results(
    client: OpenAI, region: dict[str, str]
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=BOTH, tools=TOOLS, extra_headers=region
    )
    assert raw.headers["x-phi-tools"] == "supported"
    choice = raw.parse().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert calls_of(choice.message) == CALLED
    again = client.chat.completions.create(
        model=CLAUDE, messages=with_results(choice.message), tools=TOOLS, extra_headers=region
    )
    text = again.choices[0].message.content or ""
    assert "The tool answered with 3 characters, 4 characters." in text
    assert again.choices[0].finish_reason == "stop"


def test_claude_streams_two_tool_calls_and_reads_their_results(
    client: OpenAI, region: dict[str, str]
) -> None:
    chunks = []
    # The SDK's own accumulator: it fails on an index, an id or a name that comes twice.
    with client.chat.completions.stream(
        model=CLAUDE, messages=BOTH, tools=TOOLS, extra_headers=region
    ) as stream:
        for event in stream:
            if event.type == "chunk":
                chunks.append(event.chunk)
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert calls_of(choice.message) == CALLED
    deltas = [
        delta for chunk in chunks for part in chunk.choices for delta in part.delta.tool_calls or ()
    ]
    named = [(delta.index, delta.function and delta.function.name) for delta in deltas if delta.id]
    assert named == [(0, "weather"), (1, "sunrise")]
    assert len(deltas) > 4
    assert all("type" not in delta.to_dict() for delta in deltas if not delta.id)
    with client.chat.completions.stream(
        model=CLAUDE, messages=with_results(choice.message), tools=TOOLS, extra_headers=region
    ) as stream:
        text = stream.get_final_completion().choices[0].message.content or ""
    assert "The tool answered with 3 characters, 4 characters." in text


CHOICES: dict[str, tuple[Json, list[str]]] = {
    "one at a time": ({"parallel_tool_calls": False}, ["weather"]),
    "required": ({"tool_choice": "required"}, ["weather", "sunrise"]),
    "none": ({"tool_choice": "none"}, []),
    "named": (
        {"tool_choice": {"type": "function", "function": {"name": "sunrise"}}},
        ["sunrise"],
    ),
}


@pytest.mark.parametrize(("members", "names"), CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_choice_among_tools_reaches_claude(
    client: OpenAI, members: Json, names: list[str], streamed: bool
) -> None:
    asked: Any = {
        "model": CLAUDE,
        "messages": BOTH,
        "tools": TOOLS,
        "extra_headers": {"X-Region": "EU"},
        **members,
    }
    if streamed:
        with client.chat.completions.stream(**asked) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**asked).choices[0].message
    assert [name for name, _ in calls_of(message)] == names
    assert bool(message.content) is not bool(names)


class Often(BaseModel):
    """What the simulated provider, which is not told of the bound, does not keep to."""

    daily: int = Field(ge=2)


def test_claude_follows_a_json_schema_through_parse(client: OpenAI, region: dict[str, str]) -> None:
    answer = client.chat.completions.parse(
        model=CLAUDE, messages=HELLO, response_format=Note, extra_headers=region
    )
    note = answer.choices[0].message.parsed
    assert answer.model == CLAUDE_ROW
    assert isinstance(note, Note)
    assert note.drugs


def test_an_answer_beyond_a_bound_that_claude_was_not_told_is_charged_and_not_handed_on(
    client: OpenAI, stack: RunningStack, key: str
) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.parse(
            model=CLAUDE, messages=HELLO, response_format=Often, extra_headers={"X-Region": "EU"}
        )
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_error")
    assert spent_micro(stack, key) > 0


def test_claude_streams_a_json_schema(client: OpenAI, region: dict[str, str]) -> None:
    with client.chat.completions.stream(
        model=CLAUDE, messages=HELLO, response_format=Note, extra_headers=region
    ) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Note)


def test_claude_writes_json_when_asked_for_an_object(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CLAUDE,
        messages=HELLO,
        response_format={"type": "json_object"},
        extra_headers={"X-Region": "EU"},
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_claude_sees_an_image(client: OpenAI, region: dict[str, str], streamed: bool) -> None:
    if streamed:
        with client.chat.completions.create(
            model=CLAUDE, messages=LOOK, stream=True, extra_headers=region
        ) as stream:
            text = "".join(texts_of(list(stream)))
    else:
        answer = client.chat.completions.create(model=CLAUDE, messages=LOOK, extra_headers=region)
        text = answer.choices[0].message.content or ""
    assert "image 1 is a png of 1 x 1 pixels" in text.lower()


def test_claude_reasons_and_says_what_it_thought(client: OpenAI, region: dict[str, str]) -> None:
    answer = client.chat.completions.create(
        model=CLAUDE, messages=HELLO, reasoning_effort="high", extra_headers=region
    )
    message, usage = answer.choices[0].message, answer.usage
    assert (message.model_extra or {})["reasoning_content"]
    assert message.content
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert 0 < (usage.completion_tokens_details.reasoning_tokens or 0) < usage.completion_tokens
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE,
        messages=HELLO,
        reasoning_effort="high",
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=region,
    )
    chunks = list(raw.parse())
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = [(delta.model_extra or {}).get("reasoning_content") or "" for delta in deltas]
    assert "".join(thoughts) == (message.model_extra or {})["reasoning_content"]
    assert sum(bool(thought) for thought in thoughts) > 1
    assert "".join(texts_of(chunks)) == message.content
    assert chunks[-1].usage == usage


def test_claude_serves_no_phi(client: OpenAI, region: dict[str, str]) -> None:
    raw = client.chat.completions.with_raw_response
    phi = {**region, "X-PHI": "true"}
    if region["X-Region"] == "US":
        with pytest.raises(openai.PermissionDeniedError) as refused:
            raw.create(model=CLAUDE, messages=HELLO, extra_headers=phi)
        assert refused.value.code == "phi_blocked"
    else:
        answered = raw.create(model=CLAUDE, messages=HELLO, extra_headers=phi)
        assert not answered.headers["x-phi-routed"].startswith("anthropic")
        assert answered.headers["x-phi-fallback"] == "model_not_phi"


# --- The gateway's own tool -------------------------------------------------------------------

PRINTED_BASE_URL = "https://api.phaseo.app/v1"
PRINTED_KEY = "YOUR_API_KEY"
DATETIME = """curl https://api.phaseo.app/v1/chat/completions \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "openai/gpt-5-nano",
    "stream": false,
    "messages": [
      { "role": "user", "content": "What is the current datetime in Europe/London?" }
    ],
    "tools": [
      {
        "type": "gateway:datetime",
        "parameters": { "timezone": "Europe/London" }
      }
    ],
    "tool_choice": "auto"
  }'"""
DATETIME_BODY = DATETIME.partition("-d '")[2].removesuffix("'").encode()
_TOLD_TIME = re.compile(r'"datetime": "([^"]+)", "timezone": "Europe/London"')


def assert_tells_the_time(text: str) -> None:
    """The answer holds what the tool told: London's time now, with milliseconds and offset."""
    told = _TOLD_TIME.search(text)
    assert told is not None, text
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", told[1])
    then = datetime.fromisoformat(told[1])
    assert abs(datetime.now(UTC) - then) < timedelta(minutes=1)
    assert then.utcoffset() == then.astimezone(ZoneInfo("Europe/London")).utcoffset()


def assert_is_the_printed_answer(answer: Json) -> None:
    """The answer and the usage that the description prints, with one datetime request."""
    message = answer["choices"][0]["message"]
    assert_tells_the_time(message["content"])
    assert not message.get("tool_calls")
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["server_tool_use"] == {"datetime_requests": 1}
    assert answer["usage"]["total_tokens"] > 0


def test_the_datetime_example_runs_as_printed(stack: RunningStack, key: str) -> None:
    assert PRINTED_BASE_URL in DATETIME
    command = DATETIME.replace(PRINTED_BASE_URL, stack.base_url).replace(PRINTED_KEY, key)
    ran = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl -sS ", 1)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert_is_the_printed_answer(json.loads(ran.stdout))


def printed(
    stack: RunningStack, key: str, *, region: str | None, stream: bool = False
) -> HttpAnswer:
    """The example's own bytes, with no other header than the printed ones, and a region."""
    said = DATETIME_BODY.replace(b'"stream": false', b'"stream": true') if stream else DATETIME_BODY
    headers = [("content-type", "application/json")]
    if region is not None:
        headers.append(("x-region", region))
    return stack.call("POST", CHAT, body=said, key=key, headers=headers)


# The row that the example asks for serves WORLD; this stack's default region is CH.
WHO_ANSWERS: dict[str, tuple[str | None, str, str | None]] = {
    "no region, as printed": (None, "infomaniak-qwen3.5/CH/general", "model_not_in_region"),
    "the model's own region": ("WORLD", "openai-gpt-5-nano/WORLD/general", None),
}
who_answers = pytest.mark.parametrize(
    ("region", "routed", "fallback"), WHO_ANSWERS.values(), ids=WHO_ANSWERS
)


@who_answers
def test_the_datetime_example_says_who_answered(
    stack: RunningStack, key: str, region: str | None, routed: str, fallback: str | None
) -> None:
    told = printed(stack, key, region=region)
    assert told.status == 200
    assert told.headers["x-phi-routed"] == routed
    assert told.headers.get("x-phi-fallback") == fallback
    assert told.headers["x-phi-tools"] == "supported"
    assert_is_the_printed_answer(told.json)
    assert told.json["model"] == routed.partition("/")[0]
    assert spent_micro(stack, key) == int(told.headers["x-phi-cost-micro"])


@who_answers
def test_the_datetime_example_streams_its_last_turn(
    stack: RunningStack, key: str, region: str | None, routed: str, fallback: str | None
) -> None:
    told = printed(stack, key, region=region, stream=True)
    assert told.headers["x-phi-routed"] == routed
    assert told.headers.get("x-phi-fallback") == fallback
    assert b"gateway_datetime" not in told.body
    *events, comment, done, rest = told.body.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    closing = json.loads(comment.removeprefix(": phi "))
    assert closing["usage"] == "verified"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{told.headers['x-phi-receipt']}"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta["role"] for delta in deltas if delta.get("role")] == ["assistant"]
    assert [delta for delta in deltas if delta.get("tool_calls")] == []
    assert_tells_the_time("".join(delta.get("content") or "" for delta in deltas))
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert spent_micro(stack, key) == closing["cost_micro"]


@pytest.mark.parametrize("model", ["openai/gpt-5-nano", CLAUDE, "phala/qwen3.5-27b"])
def test_the_sdk_reads_the_datetime_example_of_every_family(client: OpenAI, model: str) -> None:
    asked: Any = {**json.loads(DATETIME_BODY), "model": model}
    del asked["stream"]
    asked["extra_headers"] = {"X-Region": "WORLD"}
    whole = client.chat.completions.create(**asked)
    assert_is_the_printed_answer(whole.to_dict())
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert_tells_the_time("".join(texts_of(chunks)))
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.to_dict()["server_tool_use"] == {"datetime_requests": 1}


def test_the_callers_own_call_comes_before_the_gateways(client: OpenAI) -> None:
    asked: Any = {**json.loads(DATETIME_BODY), "model": CLAUDE}
    asked["tools"] = [*asked["tools"], *TOOLS]
    asked["messages"] = [{"role": "user", "content": "The weather, and the datetime?"}]
    answer = client.chat.completions.create(**asked, extra_headers={"X-Region": "EU"})
    assert [name for name, _ in calls_of(answer.choices[0].message)] == ["weather"]
    assert answer.choices[0].finish_reason == "tool_calls"


# --- Confidential rows ------------------------------------------------------------------------

CONFIDENTIAL_ROWS = {
    "phala/qwen3.5-27b": "phala-qwen3.5-27b",
    "phala/gemma-3-27b-it": "phala-gemma-3-27b-it",
    "z-ai/glm-5": "phala-glm-5",
    "openai/gpt-oss-120b": "phala-gpt-oss-120b",
}
WORLD = {"X-Region": "WORLD"}


@pytest.mark.parametrize(("model", "row"), CONFIDENTIAL_ROWS.items(), ids=CONFIDENTIAL_ROWS)
def test_a_confidential_model_answers_whole_and_streamed(
    client: OpenAI, model: str, row: str
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, extra_body=CONFIDENTIAL, extra_headers=WORLD
    )
    assert raw.headers["x-phi-routed"] == f"{row}/WORLD/general"
    assert "x-phi-fallback" not in raw.headers
    said = raw.parse().choices[0].message.content or ""
    assert said.startswith("[simulated phala]")
    with client.chat.completions.create(
        model=model, messages=HELLO, stream=True, extra_body=CONFIDENTIAL, extra_headers=WORLD
    ) as stream:
        assert "".join(texts_of(list(stream))) == said


def test_confidential_rows_are_marked_in_the_list(client: OpenAI) -> None:
    marked = {
        model.id for model in client.models.list() if (model.model_extra or {})["confidential"]
    }
    assert marked == set(CONFIDENTIAL_ROWS.values())


def test_who_asks_for_confidential_rows_gets_no_other(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=HELLO, extra_body=CONFIDENTIAL, extra_headers=WORLD
    )
    assert raw.headers["x-phi-routed"].startswith("phala-")
    assert raw.headers["x-phi-fallback"]


REFUSED: dict[str, tuple[dict[str, str], type[openai.APIStatusError], str]] = {
    "no such row in the region": ({"X-Region": "CH"}, openai.NotFoundError, "no_route"),
    "PHI": ({**WORLD, "X-PHI": "true"}, openai.PermissionDeniedError, "phi_blocked"),
}


@pytest.mark.parametrize(("headers", "kind", "code"), REFUSED.values(), ids=REFUSED)
def test_confidential_preferences_are_never_widened(
    client: OpenAI, headers: dict[str, str], kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as refused:
        client.chat.completions.create(
            model="phala/qwen3.5-27b",
            messages=HELLO,
            extra_body=CONFIDENTIAL,
            extra_headers=headers,
        )
    assert refused.value.code == code
