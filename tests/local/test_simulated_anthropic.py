"""The simulated Anthropic provider: over a real port with the official SDK as the client, and read
by the gateway's own adapter.
"""

import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import orjson
import pytest
from anthropic import Anthropic

from local.simulated.anthropic import DIALECT, THOUGHT
from local.simulated.anthropic_members import VERSIONS
from local.simulated.app import build_app
from local.simulated.server import build_server, open_socket, port_of
from local.simulated.shapes import Refused
from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import WirePlan
from phigate.core.types import Json
from tests.adapters.conformance import Said, said_in_answer, said_in_chunks
from tests.adapters.test_anthropic_requests import REQUESTS, sent
from tests.builders import make_body, make_place, make_row

ADAPTER = ADAPTERS["anthropic"]
PATH = "/anthropic/v1/messages"
OLDER = {"anthropic-version": "2023-06-01"}
NEWER = {"anthropic-version": "2026-10-21"}
CANARY = "canary-7f3a9"


def body(*content: Json | str, **members: Any) -> Json:
    blocks = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    messages = [{"role": "user", "content": blocks or [{"type": "text", "text": "Hello"}]}]
    return {"model": "m", "max_tokens": 500, "messages": messages, **members}


def spoken(*messages: tuple[str, Any], **members: Any) -> Json:
    listed = [{"role": role, "content": content} for role, content in messages]
    return {**body(), "messages": listed, **members}


def tool(name: str = "weather", **members: Any) -> Json:
    return {"name": name, "input_schema": {"type": "object", "properties": {}}, **members}


CITY = tool(
    input_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    }
)
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
USE: Json = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
RESULT: Json = {"type": "tool_result", "tool_use_id": "t1", "content": "sun"}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    listening = open_socket(0)
    server = build_server(build_app(["anthropic"]))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{port_of(listening)}"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def http(base_url: str) -> Iterator[httpx.Client]:
    headers = {"x-api-key": "k", **OLDER}
    with httpx.Client(base_url=base_url, headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def sdk(base_url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=f"{base_url}/anthropic", api_key="k", max_retries=0) as client:
        yield client


# --- With the official SDK --------------------------------------------------------------------


def test_the_sdk_gets_text_that_says_it_is_simulated(sdk: Anthropic) -> None:
    message = sdk.messages.create(**body("Hello"))
    (block,) = message.content
    assert block.type == "text"
    assert block.text.startswith("[simulated anthropic]")
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0


def test_the_sdk_gets_the_same_message_from_a_stream(sdk: Anthropic) -> None:
    whole = sdk.messages.create(**body("Hello"))
    with sdk.messages.stream(**body("Hello")) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_message()
    (said,), (at_once,) = streamed.content, whole.content
    assert said.type == at_once.type == "text"
    assert said.text == at_once.text
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert events[0] == "message_start"
    assert events[-1] == "message_stop"


def test_the_sdk_gets_parallel_calls_from_a_stream(sdk: Anthropic) -> None:
    tools = [CITY, tool("clock")]
    with sdk.messages.stream(**body("weather and clock", tools=tools)) as stream:
        message = stream.get_final_message()
    calls = [(b.name, b.input) for b in message.content if b.type == "tool_use"]
    assert [name for name, _ in calls] == ["weather", "clock"]
    assert calls[0][1].keys() == {"city", "days"}
    assert calls[1][1] == {}
    assert message.stop_reason == "tool_use"


def test_the_sdk_gets_thinking_when_it_asks(sdk: Anthropic) -> None:
    with sdk.messages.stream(**body("Hello", thinking={"type": "adaptive"})) as stream:
        message = stream.get_final_message()
    thought, said = message.content
    assert thought.type == "thinking"
    assert thought.thinking == THOUGHT
    assert said.type == "text"
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens > 0


def test_the_sdk_gets_an_object_for_a_schema(sdk: Anthropic) -> None:
    wanted = {"format": {"type": "json_schema", "schema": POINT}}
    message = sdk.messages.create(**body("Hello", output_config=wanted))
    (block,) = message.content
    assert block.type == "text"
    assert orjson.loads(block.text).keys() == {"x"}


ERRORS: dict[str, tuple[str, type[anthropic.APIStatusError]]] = {
    "a bad request": ("simulate:refuse=400", anthropic.BadRequestError),
    "too many": ("simulate:status=429", anthropic.RateLimitError),
    "overloaded": ("simulate:status=529", anthropic.APIStatusError),
}


@pytest.mark.parametrize(("text", "kind"), ERRORS.values(), ids=ERRORS)
def test_the_sdk_raises_its_own_errors(
    sdk: Anthropic, text: str, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as raised:
        sdk.messages.create(**body(text))
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["type"] == "error"


def test_the_sdk_sees_an_error_event(sdk: Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError),
        sdk.messages.stream(**body("simulate:error_mid")) as stream,
    ):
        stream.get_final_message()


# --- Headers ----------------------------------------------------------------------------------

HEADERS: dict[str, tuple[dict[str, str], int, str]] = {
    "x-api-key": ({"x-api-key": "k", **OLDER}, 200, ""),
    "a bearer token": ({"authorization": "Bearer k", **NEWER}, 200, ""),
    "no key": (OLDER, 401, "authentication_error"),
    "an empty key": ({"x-api-key": "", **OLDER}, 401, "authentication_error"),
    "no version": ({"x-api-key": "k"}, 400, "invalid_request_error"),
    "an unknown version": (
        {"x-api-key": "k", "anthropic-version": "2024-01-01"},
        400,
        "invalid_request_error",
    ),
}


@pytest.mark.parametrize(("headers", "status", "kind"), HEADERS.values(), ids=HEADERS)
def test_headers_are_asked_for(
    base_url: str, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = httpx.post(base_url + PATH, json=body(), headers=headers)
    assert answer.status_code == status
    assert answer.json().get("error", {}).get("type", "") == kind


# --- Strictness -------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Json, str]] = {
    "no max_tokens": ({"model": "m", "messages": []}, "max_tokens: Field required"),
    "no messages": (body(messages=[]), "messages: at least one"),
    "an unknown member": (body(seed=1), "seed: Extra inputs"),
    "a member of another dialect": (body(stop=["x"]), "stop: Extra inputs"),
    "temperature above 1": (body(temperature=1.1), "temperature"),
    "temperature beside top_p": (body(temperature=1, top_p=1), "cannot both"),
    "max_tokens of 0": (body(max_tokens=0), "max_tokens"),
    "a role of system": (spoken(("system", "x"), ("user", "y")), 'Unexpected role "system"'),
    "another role": (spoken(("tool", "x")), "messages.0.role"),
    "an assistant first": (spoken(("assistant", "x"), ("user", "y")), "first message"),
    "empty text": (body(""), "non-whitespace"),
    "no content": (spoken(("user", [])), "non-empty content"),
    "an unknown member of a message": (
        body(messages=[{"role": "user", "content": "x", "name": "y"}]),
        "messages.0.name: Extra",
    ),
    "an unknown member of a block": (
        body({"type": "text", "text": "x", "y": 1}),
        "messages.0.content.0.y: Extra",
    ),
    "an image of the assistant's": (
        spoken(("user", "x"), ("assistant", [{"type": "image", "source": {}}])),
        "messages.1.content.0",
    ),
    "an image that is none": (
        body(
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
            }
        ),
        "Could not process image",
    ),
    "a link without TLS": (
        body({"type": "image", "source": {"type": "url", "url": "http://a.example/b.png"}}),
        "Only HTTPS",
    ),
    "a call that is not answered": (
        spoken(("user", "x"), ("assistant", [USE]), ("user", "y"), tools=[tool()]),
        "without `tool_result` blocks",
    ),
    "a call at the end": (
        spoken(("user", "x"), ("assistant", [USE]), tools=[tool()]),
        "without `tool_result` blocks",
    ),
    "a result behind text": (
        spoken(
            ("user", "x"),
            ("assistant", [USE]),
            ("user", [{"type": "text", "text": "y"}, RESULT]),
            tools=[tool()],
        ),
        "without `tool_result` blocks",
    ),
    "a result of no call": (
        spoken(("user", [RESULT]), tools=[tool()]),
        "unexpected `tool_use_id`",
    ),
    "a result that is given twice": (
        spoken(("user", "x"), ("assistant", [USE]), ("user", [RESULT, RESULT]), tools=[tool()]),
        "without `tool_result` blocks",
    ),
    "an id with a dot": (
        spoken(("user", "x"), ("assistant", [{**USE, "id": "a.b"}]), tools=[tool()]),
        "messages.1.content.0.id",
    ),
    "input that is text": (
        spoken(("user", "x"), ("assistant", [{**USE, "input": "{}"}]), tools=[tool()]),
        "messages.1.content.0.input",
    ),
    "calls without tools": (
        spoken(("user", "x"), ("assistant", [USE]), ("user", [RESULT])),
        "must define tools",
    ),
    "a tool's name with a dot": (body(tools=[tool("a.b")]), "should match pattern"),
    "two tools of one name": (body(tools=[tool(), tool()]), "unique"),
    "a tool without a schema": (body(tools=[{"name": "f"}]), "input_schema"),
    "a choice without tools": (body(tool_choice={"type": "auto"}), "while providing tools"),
    "a choice of OpenAI's": (body(tools=[tool()], tool_choice="auto"), "tool_choice"),
    "none and no parallel calls": (
        body(tools=[tool()], tool_choice={"type": "none", "disable_parallel_tool_use": True}),
        "Extra inputs",
    ),
    "a choice of no tool": (
        body(tools=[tool()], tool_choice={"type": "tool", "name": "g"}),
        "not in `tools`",
    ),
    "thinking beside a forced call": (
        body(tools=[tool()], tool_choice={"type": "any"}, thinking={"type": "adaptive"}),
        "forces tool use",
    ),
    "a small budget": (
        body(thinking={"type": "enabled", "budget_tokens": 1}, max_tokens=9000),
        "greater than or equal to 1024",
    ),
    "a budget above max_tokens": (
        body(thinking={"type": "enabled", "budget_tokens": 1024}),
        "max_tokens",
    ),
    "thinking and temperature": (
        body(thinking={"type": "adaptive"}, temperature=0),
        "may only be set to 1",
    ),
    "a schema with a limit": (
        body(
            output_config={
                "format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 1}}
            }
        ),
        "'minimum' is not supported",
    ),
    "an open schema": (
        body(
            output_config={
                "format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
            }
        ),
        "additionalProperties",
    ),
    "a stop sequence of white space": (body(stop_sequences=["\n"]), "non-whitespace"),
    "a user's name that is long": (body(metadata={"user_id": "x" * 300}), "256"),
    "an unknown geography": (body(inference_geo="eu"), "inference_geo"),
}


@pytest.mark.parametrize(("wrong", "words"), REFUSED.values(), ids=REFUSED)
def test_what_the_real_one_refuses_is_refused(http: httpx.Client, wrong: Json, words: str) -> None:
    answer = http.post(PATH, json=wrong)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_the_newest_version_refuses_sampling_even_at_its_defaults(name: str) -> None:
    asked = orjson.dumps(body(**{name: 1}))
    DIALECT.read(asked, OLDER)
    with pytest.raises(Refused, match=f"{name}: Extra inputs"):
        DIALECT.read(asked, NEWER)


def test_a_refusal_quotes_nothing(http: httpx.Client) -> None:
    answer = http.post(PATH, json=body({"type": CANARY, "text": CANARY}, metadata=CANARY))
    assert CANARY not in answer.text


# --- The gateway's adapter --------------------------------------------------------------------


@pytest.mark.parametrize("case", REQUESTS)
def test_every_request_of_the_adapter_is_taken(case: str) -> None:
    wire = sent(case)
    DIALECT.read(orjson.dumps(wire.body), {**ADAPTER.headers, **wire.headers})


def through(http: httpx.Client, text: str, *, stream: bool, **members: Any) -> tuple[Any, str]:
    """What the adapter makes of an answer, as a client hears it; and how it failed."""
    asked = make_body(messages=[{"role": "user", "content": text}], **members)
    wire = ADAPTER.request(asked, make_row(), make_place(), WirePlan(stream, 500, {}))
    answer = http.post(PATH, json=wire.body)
    assert answer.status_code == 200, answer.text
    if not stream:
        value = ADAPTER.answer(answer.content)
        return (None, "malformed") if value is None else (said_in_answer(value), "")
    decoder = ADAPTER.decoder()
    chunks = [chunk for at in answer.iter_bytes(7) for chunk in decoder.feed(at)]
    ending = decoder.failed or ("" if decoder.ended else "unended")
    return said_in_chunks(chunks), ending


def heard(http: httpx.Client, text: str, *, stream: bool, **members: Any) -> Said:
    said, failed = through(http, text, stream=stream, **members)
    assert failed == ""
    assert isinstance(said, Said)
    return said


FUNCTION = {"type": "function", "function": {"name": "clock"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": POINT}}
SAME: dict[str, tuple[str, Json]] = {
    "text": ("Hello", {}),
    "unicode": ("simulate:unicode", {}),
    "many chunks": ("simulate:chunks=200", {}),
    "a call without arguments": ("the clock", {"tools": [FUNCTION]}),
    "a schema": ("Hello", {"response_format": SCHEMA}),
    "any object": ("Hello", {"response_format": {"type": "json_object"}}),
    "reasoning": ("Hello", {"reasoning_effort": "low"}),
    "a short answer": ("Hello", {"max_tokens": 500, "stop": ["ran"]}),
    "line ends": ("simulate:crlf", {}),
    "forgeries": ("simulate:forge", {}),
    "no usage": ("simulate:no_usage", {}),
}


@pytest.mark.parametrize(("text", "members"), SAME.values(), ids=SAME)
def test_a_stream_says_what_the_whole_answer_says(
    http: httpx.Client, text: str, members: Json
) -> None:
    whole = heard(http, text, stream=False, **members)
    streamed = heard(http, text, stream=True, **members)
    # A whole input of a tool is written out again, without its spaces.
    assert streamed.text.replace(" ", "") == whole.text.replace(" ", "")
    assert streamed.reasoning == whole.reasoning
    assert streamed.finish == whole.finish
    assert streamed.usage == whole.usage
    assert [name for name, _ in streamed.calls] == [name for name, _ in whole.calls]
    read = [orjson.loads(arguments) for _, arguments in streamed.calls]
    assert read == [orjson.loads(arguments) for _, arguments in whole.calls]


def test_any_object_is_one_that_says_it_is_simulated(http: httpx.Client) -> None:
    said = heard(http, "Hello", stream=True, response_format={"type": "json_object"})
    assert orjson.loads(said.text) == {"simulated": True}
    assert said.finish == "stop"


def test_reasoning_is_heard(http: httpx.Client) -> None:
    assert heard(http, "Hello", stream=True, reasoning_effort="low").reasoning == THOUGHT


FAILURES: dict[str, tuple[str, str]] = {
    "no end": ("simulate:no_done", "unended"),
    "garbage": ("simulate:garbage", "malformed"),
    "an error first": ("simulate:error_first", "error_event"),
    "an error in the middle": ("simulate:error_mid", "error_event"),
    "an event without end": ("simulate:oversized", "oversized"),
}


@pytest.mark.parametrize(("text", "failed"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_seen(http: httpx.Client, text: str, failed: str) -> None:
    assert through(http, text, stream=True)[1] == failed


def test_an_error_first_says_nothing(http: httpx.Client) -> None:
    assert through(http, "simulate:error_first", stream=True)[0] == Said(usage=None)


def test_a_cut_is_seen(http: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        through(http, "simulate:cut", stream=True)


def test_events_have_the_names_of_their_types(http: httpx.Client) -> None:
    lines = http.post(PATH, json=body("Hello", stream=True)).text.split("\n\n")
    for event in filter(None, lines):
        name, data = event.split("\n")
        assert name == f"event: {orjson.loads(data.removeprefix('data: '))['type']}"
    assert "event: ping" in lines[1]


def test_the_versions_are_those_of_the_adapter() -> None:
    assert set(VERSIONS) == {"2023-06-01", "2026-10-21"}
