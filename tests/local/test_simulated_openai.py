"""The simulated providers over a real port, with the real OpenAI SDK as the client."""

import asyncio
import base64
import json
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jsonschema_rs
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from local.simulated.app import build_app
from local.simulated.images import image
from local.simulated.magic_words import KINDS
from local.simulated.render import steps
from local.simulated.schema_example import NoExample, example
from local.simulated.server import build_server, open_socket, port_of
from local.simulated.shapes import Data, Pause, Reply

Json = dict[str, Any]
PROVIDERS = ("infomaniak", "google", "azure")
PATH = "/infomaniak/v1/chat/completions"
GOOGLE_PATH = "/google/v1/projects/p/locations/europe-west2/endpoints/openapi/chat/completions"
CANARY = "canary-7f3a9"


def png(width: int, height: int) -> bytes:
    head = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\x00" + b"\x00" * width) * height)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def jpeg(width: int, height: int) -> bytes:
    app = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    return b"\xff\xd8" + app + b"\xff" + frame + b"\xff\xd9"


def riff(kind: bytes, body: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


GIF = b"GIF89a" + struct.pack("<HH", 3, 5) + b"\x00\x00\x00;"
WEBP_LOSSY = riff(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 40, 20))
WEBP_LOSSLESS = riff(b"VP8L", b"\x2f" + struct.pack("<I", (640 - 1) | (480 - 1) << 14))
WEBP_EXTENDED = riff(b"VP8X", b"\x00" * 4 + b"\xff\x03\x00" + b"\xff\x02\x00")


def url_of(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def body(text: str = "hello", **members: Any) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **members}


def spoken(*messages: Json) -> Json:
    return {"model": "m", "messages": list(messages)}


def parts(*content: Json) -> Json:
    return spoken({"role": "user", "content": list(content)})


def tool(name: str, **properties: Json) -> Json:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = tool("get_weather", city={"type": "string"}, days={"type": "integer", "minimum": 3})
DOSE = tool("dose", unit={"enum": ["mg", "ml"]})


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    listening = open_socket(0)
    server = build_server(build_app(PROVIDERS))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{port_of(listening)}"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def open_http(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, headers={"authorization": "Bearer k"}) as client:
        yield client


@pytest.fixture(scope="module")
def open_sdk(base_url: str) -> Iterator[OpenAI]:
    url = f"{base_url}/infomaniak/v1"
    with OpenAI(base_url=url, api_key="k", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def http(open_http: httpx.Client) -> httpx.Client:
    open_http.delete("/__control").raise_for_status()
    return open_http


@pytest.fixture
def sdk(open_sdk: OpenAI, http: httpx.Client) -> OpenAI:
    """With plans and counts reset, as `http` does."""
    return open_sdk


def ask(sdk: OpenAI, text: str, **members: Any) -> Any:
    return sdk.chat.completions.create(**body(text, **members))


def chunks_of(sdk: OpenAI, text: str, **members: Any) -> list[Any]:
    with ask(sdk, text, stream=True, **members) as stream:
        return list(stream)


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


# Answers


def test_an_answer_says_that_it_is_simulated_and_what_was_asked(sdk: OpenAI) -> None:
    answer = ask(sdk, "one two three")
    text = answer.choices[0].message.content
    assert text.startswith("[simulated infomaniak] ")
    assert "1 message for m" in text
    assert "13 characters" in text
    assert '"one two three"' in text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 4  # 13 bytes
    assert answer.usage.completion_tokens == -(-len(text.encode()) // 4)
    assert answer.usage.total_tokens == 4 + answer.usage.completion_tokens


def test_the_same_request_gets_the_same_text_and_another_id(sdk: OpenAI) -> None:
    one, two = ask(sdk, "again"), ask(sdk, "again")
    assert one.choices == two.choices
    assert one.id != two.id


def test_each_provider_answers_under_its_own_path(http: httpx.Client) -> None:
    answer = http.post(GOOGLE_PATH, json=body()).json()
    assert answer["choices"][0]["message"]["content"].startswith("[simulated google] ")


def test_azure_key_header_is_a_key(base_url: str) -> None:
    url = f"{base_url}/azure/openai/v1/chat/completions"
    assert httpx.post(url, json=body(), headers={"api-key": "k"}).status_code == 200


@pytest.mark.parametrize("tokens", [1, 2, 7, 20])
@pytest.mark.parametrize("member", ["max_tokens", "max_completion_tokens"])
def test_output_is_cut_at_the_asked_maximum(sdk: OpenAI, member: str, tokens: int) -> None:
    answer = ask(sdk, "hello", **{member: tokens})
    assert answer.usage.completion_tokens == tokens
    assert answer.choices[0].finish_reason == "length"


def test_an_answer_that_just_fits_is_not_cut(sdk: OpenAI) -> None:
    whole = ask(sdk, "hello")
    tokens = whole.usage.completion_tokens
    assert ask(sdk, "hello", max_tokens=tokens).choices == whole.choices
    cut = ask(sdk, "hello", max_tokens=tokens - 1)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", tokens - 1)


def test_a_cut_never_parts_a_character(sdk: OpenAI) -> None:
    answer = ask(sdk, "simulate:unicode", max_tokens=6)
    assert answer.choices[0].message.content == "[simulated] separators "
    assert answer.choices[0].finish_reason == "length"


def test_the_first_stop_sequence_ends_the_text(sdk: OpenAI) -> None:
    answer = ask(sdk, "hello", stop=["stack", "model"])
    assert answer.choices[0].message.content == "[simulated infomaniak] No "
    assert answer.choices[0].finish_reason == "stop"


def test_several_choices_and_logprobs_are_whole(sdk: OpenAI) -> None:
    answer = ask(sdk, "hello", n=2, logprobs=True, top_logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        tokens = choice.logprobs.content
        assert "".join(token.token for token in tokens) == choice.message.content
        assert all(len(token.top_logprobs) == 1 for token in tokens)


# Streams


def test_a_stream_opens_with_a_role_and_ends_with_usage(sdk: OpenAI) -> None:
    whole = ask(sdk, "hello")
    chunks = chunks_of(sdk, "hello", stream_options={"include_usage": True})
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all("usage" in c.model_fields_set and c.usage is None for c in chunks[:-1])
    assert len({c.id for c in chunks}) == 1


def test_a_stream_without_include_usage_has_no_usage_member(http: httpx.Client) -> None:
    events = http.post(PATH, json=body(stream=True)).text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert not any("usage" in event for event in events)


def test_chunks_and_pace_are_as_told(http: httpx.Client) -> None:
    sent = body("simulate:chunks=50 simulate:pace_ms=2", stream=True)
    answer = http.post(PATH, json=sent)
    assert answer.text.count('"delta":{"content"') == 50
    assert answer.elapsed.total_seconds() >= 52 * 0.002


# Images


@pytest.mark.parametrize(
    ("data", "kind", "described"),
    [
        pytest.param(png(7, 9), "png", "a png of 7 x 9", id="png"),
        pytest.param(jpeg(300, 200), "jpeg", "a jpeg of 300 x 200", id="jpeg"),
        pytest.param(GIF, "gif", "a gif of 3 x 5", id="gif"),
        pytest.param(WEBP_LOSSY, "webp", "a webp of 40 x 20", id="webp lossy"),
        pytest.param(WEBP_LOSSLESS, "webp", "a webp of 640 x 480", id="webp lossless"),
        pytest.param(WEBP_EXTENDED, "webp", "a webp of 1024 x 768", id="webp extended"),
    ],
)
def test_an_image_is_described(sdk: OpenAI, data: bytes, kind: str, described: str) -> None:
    picture: Json = {"type": "image_url", "image_url": {"url": url_of(data, kind)}}
    answer: Any = sdk.chat.completions.create(**parts({"type": "text", "text": "abcd"}, picture))
    assert f"Image 1 is {described} pixels." in answer.choices[0].message.content
    assert answer.usage.prompt_tokens == 86


@pytest.mark.parametrize("data", [png(7, 9), jpeg(3, 2), GIF, WEBP_LOSSY, WEBP_EXTENDED])
def test_a_header_that_is_not_whole_is_no_image(data: bytes) -> None:
    whole = image(data)
    assert whole is not None
    assert all(image(data[:end]) in (None, whole) for end in range(len(data)))
    assert image(data[:8]) is None


# Tools


@pytest.mark.parametrize(
    ("text", "members", "names"),
    [
        pytest.param("hi", {"tool_choice": "required"}, ["get_weather"], id="required"),
        pytest.param(
            "hi",
            {"tool_choice": {"type": "function", "function": {"name": "dose"}}},
            ["dose"],
            id="named by the choice",
        ),
        pytest.param("call dose now", {}, ["dose"], id="named in the text"),
        pytest.param("please use the tool", {}, ["get_weather"], id="use the tool"),
        pytest.param("get_weather and dose", {}, ["get_weather", "dose"], id="parallel"),
        pytest.param(
            "get_weather and dose", {"parallel_tool_calls": False}, ["get_weather"], id="one only"
        ),
        pytest.param("hi", {}, [], id="auto without a name"),
        pytest.param("call dose now", {"tool_choice": "none"}, [], id="none"),
    ],
)
def test_tools_are_called(sdk: OpenAI, text: str, members: Json, names: list[str]) -> None:
    tools = [WEATHER, DOSE]
    choice = ask(sdk, text, tools=tools, **members).choices[0]
    calls = choice.message.tool_calls or []
    assert [call.function.name for call in calls] == names
    assert choice.finish_reason == ("tool_calls" if names else "stop")
    assert (choice.message.content is None) == bool(names)
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    for call in calls:
        jsonschema_rs.validate(schemas[call.function.name], json.loads(call.function.arguments))

    streamed: dict[int, Json] = {}
    for chunk in chunks_of(sdk, text, tools=tools, **members):
        for delta in chunk.choices[0].delta.tool_calls or ():
            if delta.id:
                assert delta.index not in streamed
                streamed[delta.index] = {"name": delta.function.name, "arguments": ""}
            streamed[delta.index]["arguments"] += delta.function.arguments
    assert list(streamed.values()) == [
        {"name": call.function.name, "arguments": call.function.arguments} for call in calls
    ]


CLOCK = tool("clock", timezone={"type": "string"})
OPEN_CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "parameters": {"type": "object", "properties": {"timezone": {"type": "string"}}},
    },
}
TIMEZONES = {
    "named in the text": ("clock of Asia/Tokyo", OPEN_CLOCK, {"timezone": "Asia/Tokyo"}),
    "named nowhere": ("clock", OPEN_CLOCK, {}),
    "named nowhere and required": ("clock", CLOCK, {"timezone": "simulated"}),
}


@pytest.mark.parametrize(("text", "clock", "wanted"), TIMEZONES.values(), ids=TIMEZONES)
def test_a_timezone_is_one_or_none(sdk: OpenAI, text: str, clock: Json, wanted: Json) -> None:
    call = ask(sdk, text, tools=[clock]).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == wanted


def test_a_tool_result_is_answered_with_text(sdk: OpenAI) -> None:
    first = ask(sdk, "use the tool", tools=[WEATHER]).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "21 degrees"}
    history = spoken({"role": "user", "content": "use the tool"}, first.to_dict(), result)
    answer: Any = sdk.chat.completions.create(**(history | {"tools": [WEATHER]}))
    text = answer.choices[0].message.content
    assert 'The tool answered with 10 characters. The last result begins: "21 degrees".' in text


def test_arguments_are_cut_at_the_asked_maximum(sdk: OpenAI) -> None:
    answer = ask(sdk, "hi", tools=[WEATHER], tool_choice="required", max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


# Objects


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"], "minimum": 18},
        "friends": {"type": "array", "items": {"$ref": "#"}},
        "next": {"anyOf": [{"$ref": "#/$defs/next"}, {"type": "null"}]},
    },
    "required": ["name", "age", "friends", "next"],
    "additionalProperties": False,
    "$defs": {
        "next": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/next"}, {"type": "null"}]}},
            "required": ["next"],
        }
    },
}


def test_json_mode_gives_an_object_that_says_simulated(sdk: OpenAI) -> None:
    answer = ask(sdk, "JSON please", response_format={"type": "json_object"})
    value = json.loads(answer.choices[0].message.content)
    assert value["simulated"] is True
    assert value["provider"] == "infomaniak"


def test_a_schema_gets_a_valid_object(sdk: OpenAI) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    answer = ask(sdk, "a person", response_format=shape)
    value = json.loads(answer.choices[0].message.content)
    jsonschema_rs.validate(PERSON, value)
    assert value["name"] == "simulated"


BOUNDS = st.integers(-50, 50)
LEAVES: st.SearchStrategy[Json] = st.one_of(
    st.builds(lambda kind: {"type": kind}, st.sampled_from(["string", "boolean", "null"])),
    st.builds(
        lambda kind, low, more: {"type": kind, "minimum": low, "maximum": low + more},
        st.sampled_from(["integer", "number"]),
        BOUNDS,
        st.integers(0, 9),
    ),
    st.builds(
        lambda low, more: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": more},
        BOUNDS,
        st.integers(51, 60),
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 20),
        st.integers(0, 5),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(st.integers() | st.text(), min_size=1)),
    st.builds(lambda value: {"const": value}, st.none() | st.integers() | st.text()),
    st.just({"$ref": "#/$defs/word"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda items, low: {"type": "array", "items": items, "minItems": low},
            inner,
            st.integers(0, 3),
        ),
        st.builds(
            lambda members: {
                "type": "object",
                "properties": members,
                "required": list(members),
                "additionalProperties": False,
            },
            st.dictionaries(st.text(max_size=5), inner, max_size=4),
        ),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS)
def test_an_example_is_valid_for_its_schema(schema: Json) -> None:
    whole = {**schema, "$defs": {"word": {"type": "string", "format": "date"}}}
    jsonschema_rs.validate(whole, example(whole))


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"type": "object", "properties": []}, id="properties is a list"),
        pytest.param({"type": "thing"}, id="unknown type"),
        pytest.param({"$ref": "#/$defs/none"}, id="a ref to nowhere"),
        pytest.param({"$ref": "#"}, id="a ref without an end"),
        pytest.param({"enum": []}, id="empty enum"),
        pytest.param({"type": "array", "minItems": 10**9}, id="a billion items"),
        pytest.param({"type": "string", "minLength": 10**9}, id="a billion characters"),
        pytest.param({"type": "number", "minimum": "x"}, id="a bound that is text"),
    ],
)
def test_a_schema_without_example_is_refused(http: httpx.Client, schema: Json) -> None:
    with pytest.raises(NoExample):
        example(schema)
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = http.post(PATH, json=body(response_format=shape))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_schema")


# Refusals


CALLED = {"id": "c1", "type": "function", "function": {"name": "dose", "arguments": "{}"}}
ASSISTANT = {"role": "assistant", "content": None, "tool_calls": [CALLED]}
TWO_CALLS = {**ASSISTANT, "tool_calls": [CALLED, {**CALLED, "id": "c2"}]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "x"}
USER = {"role": "user", "content": "x"}


IMAGE_URL = "messages[0].content[0].image_url.url"
CALL_ID = "messages[0].tool_calls[0].id"
OTHER_RESULT = {**RESULT, "tool_call_id": "c2"}


def linked(url: str) -> Json:
    return parts({"type": "image_url", "image_url": {"url": url}})


def schema_format(**inner: Any) -> Json:
    return body(response_format={"type": "json_schema", "json_schema": inner})


REFUSALS: tuple[tuple[str, Json, str | None], ...] = (
    ("no model", {"messages": [USER]}, "model"),
    ("no messages", {"model": "m"}, "messages"),
    ("empty messages", spoken(), "messages"),
    ("messages that are text", {"model": "m", "messages": "x"}, "messages"),
    ("unknown member", body(inference_geo="us"), "inference_geo"),
    ("unknown role", spoken({"role": "wizard", "content": "x"}), "messages[0].role"),
    ("no content", spoken({"role": "user"}), "messages[0].content"),
    ("content a number", spoken({"role": "user", "content": 1}), "messages[0].content"),
    ("no parts", parts(), "messages[0].content"),
    ("unknown part", parts({"type": "video"}), "messages[0].content[0].type"),
    ("text part of a number", parts({"type": "text", "text": 1}), "messages[0].content[0].text"),
    (
        "unknown member of a part",
        parts({"type": "text", "text": "x", "cache_control": {}}),
        "messages[0].content[0].cache_control",
    ),
    ("unknown member of a message", spoken({**USER, "x": 1}), "messages[0].x"),
    (
        "image of the system",
        spoken({"role": "system", "content": [{"type": "image_url", "image_url": {}}]}),
        "messages[0].content[0].type",
    ),
    ("image not base64", linked("data:image/png;base64,iVBOR?"), IMAGE_URL),
    ("image with a comma in its base64", linked(url_of(png(1, 1)) + ","), IMAGE_URL),
    ("image of no format", linked(url_of(b"BM" * 40)), IMAGE_URL),
    ("image of pdf", linked("data:application/pdf;base64,AAAA"), IMAGE_URL),
    ("image at http", linked("http://localhost/x.png"), IMAGE_URL),
    ("tool without call", spoken(USER, RESULT), "messages[1].role"),
    ("tool with another id", spoken(USER, ASSISTANT, OTHER_RESULT), "messages[2].role"),
    ("call without answer", spoken(USER, ASSISTANT, USER), "messages[2].role"),
    ("one of two calls without answer", spoken(USER, TWO_CALLS, RESULT, USER), "messages[3].role"),
    ("call answered twice", spoken(USER, ASSISTANT, RESULT, RESULT), "messages[3].role"),
    ("call without answer at the end", spoken(USER, ASSISTANT), "messages[2].role"),
    ("call of a user", spoken({**USER, "tool_calls": [CALLED]}), "messages[0].tool_calls"),
    ("call without id", spoken({**ASSISTANT, "tool_calls": [{**CALLED, "id": 1}]}), CALL_ID),
    ("tool_choice without tools", body(tool_choice="auto"), "tool_choice"),
    ("parallel without tools", body(parallel_tool_calls=True), "parallel_tool_calls"),
    (
        "tool_choice of an unknown function",
        body(tools=[DOSE], tool_choice={"type": "function", "function": {"name": "x"}}),
        "tool_choice",
    ),
    ("empty tools", body(tools=[]), "tools"),
    ("a tool of the gateway", body(tools=[{"type": "gateway:math"}]), "tools"),
    ("129 tools", body(tools=[DOSE] * 129), "tools"),
    ("a name with a space", body(tools=[tool("a b")]), "tools"),
    ("temperature 2.1", body(temperature=2.1), "temperature"),
    ("temperature true", body(temperature=True), "temperature"),
    ("temperature text", body(temperature="1"), "temperature"),
    ("top_p 1.1", body(top_p=1.1), "top_p"),
    ("presence_penalty -3", body(presence_penalty=-3), "presence_penalty"),
    ("frequency_penalty 3", body(frequency_penalty=3), "frequency_penalty"),
    ("top_logprobs 21", body(logprobs=True, top_logprobs=21), "top_logprobs"),
    ("top_logprobs alone", body(top_logprobs=2), "top_logprobs"),
    ("n 0", body(n=0), "n"),
    ("n 129", body(n=129), "n"),
    ("17 stops", body(stop=["x"] * 17), "stop"),
    ("max_tokens 0", body(max_tokens=0), "max_tokens"),
    ("max_tokens 1.5", body(max_tokens=1.5), "max_tokens"),
    ("both maxima", body(max_tokens=1, max_completion_tokens=1), "max_tokens"),
    ("stream_options without stream", body(stream_options={}), "stream_options"),
    ("stream text", body(stream="true"), "stream"),
    ("logit_bias 101", body(logit_bias={"1": 101}), "logit_bias"),
    ("seed beyond 64 bits", body(seed=2**63), "seed"),
    ("service_tier standard", body(service_tier="standard"), "service_tier"),
    ("format of text", body(response_format="json_object"), "response_format"),
    ("unknown format", body(response_format={"type": "xml"}), "response_format"),
    ("format without name", schema_format(schema={}), "response_format"),
    ("format without schema", schema_format(name="x"), "response_format"),
    ("unknown magic word", body("simulate:nothing"), "messages"),
    ("17 magic words", body("simulate:crlf " * 17), "messages"),
    ("magic number out of bounds", body("simulate:status=200"), "messages"),
)  # fmt: skip


@pytest.mark.parametrize(("sent", "param"), [pytest.param(*r[1:], id=r[0]) for r in REFUSALS])
def test_what_a_real_provider_refuses_is_a_400(
    http: httpx.Client, sent: Json, param: str | None
) -> None:
    answer = http.post(PATH, json=sent)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error"
    assert "[simulated infomaniak]" in error["message"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"a":NaN}', b'"\xed\xa0\x80"'])
def test_what_is_no_json_object_is_a_400(http: httpx.Client, data: bytes) -> None:
    assert http.post(PATH, content=data).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        pytest.param("POST", PATH, "", 401, id="no key"),
        pytest.param("POST", PATH, "Basic x", 401, id="another scheme"),
        pytest.param("POST", PATH, "Bearer", 401, id="an empty key"),
        pytest.param("GET", PATH, "Bearer k", 405, id="GET"),
        pytest.param("POST", "/nobody/v1/chat/completions", "Bearer k", 404, id="no provider"),
        pytest.param("POST", "/infomaniak/v1/embeddings", "Bearer k", 404, id="no dialect"),
        pytest.param("POST", "/", "Bearer k", 404, id="the root"),
        pytest.param("PUT", "/__control", "", 405, id="PUT of a plan"),
    ],
)
def test_what_is_not_a_call_is_refused(
    base_url: str, method: str, path: str, key: str, status: int
) -> None:
    headers = {"authorization": key} if key else {}
    answer = httpx.request(method, base_url + path, json=body(), headers=headers)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_several_calls_may_be_answered_in_any_order(http: httpx.Client) -> None:
    sent = spoken(USER, TWO_CALLS, OTHER_RESULT, RESULT)
    answer = http.post(PATH, json=sent).json()
    text = answer["choices"][0]["message"]["content"]
    assert "The tool answered with 1 character, 1 character." in text


def test_members_that_are_null_count_as_absent(http: httpx.Client) -> None:
    nulls = dict.fromkeys(("temperature", "tools", "tool_choice", "stop", "stream", "n"))
    assert http.post(PATH, json=body() | nulls).status_code == 200


# Failures


Outcome = type[Exception] | Callable[[Any], bool]


def says_simulated(answer: Any) -> bool:
    return "[simulated" in answer.choices[0].message.content


def streams_simulated(chunks: list[Any]) -> bool:
    return "[simulated" in text_of(chunks)


def last_usage(chunks: list[Any]) -> Any:
    return chunks[-1].usage


# Word, what an SDK sees of a JSON answer, and what of a stream.
FAILURES: tuple[tuple[str, Outcome, Outcome], ...] = (
    ("status", openai.InternalServerError, openai.InternalServerError),
    ("status=429", openai.RateLimitError, openai.RateLimitError),
    ("status=401", openai.AuthenticationError, openai.AuthenticationError),
    ("refuse", openai.BadRequestError, openai.BadRequestError),
    ("redirect", openai.NotFoundError, openai.NotFoundError),
    ("timeout=30", openai.APITimeoutError, openai.APITimeoutError),
    ("silence=30", openai.APITimeoutError, openai.APITimeoutError),
    ("timeout=0.01", says_simulated, streams_simulated),
    ("silence=0.01", says_simulated, streams_simulated),
    ("pace_ms=1", says_simulated, streams_simulated),
    ("chunks=60", says_simulated, lambda chunks: len(chunks) == 63),
    ("cut", openai.APIConnectionError, openai.APIConnectionError),
    ("no_done", says_simulated, streams_simulated),
    ("garbage", json.JSONDecodeError, json.JSONDecodeError),
    ("error_first", lambda answer: answer.error["type"] == "server_error", openai.APIError),
    ("error_mid", lambda answer: answer.error["type"] == "server_error", openai.APIError),
    (
        "oversized",
        lambda answer: len(answer.simulated) > 32 * 1024 * 1024,
        lambda chunks: len(chunks[0].simulated) > 1024 * 1024,
    ),
    ("no_usage", lambda answer: answer.usage is None, lambda chunks: not last_usage(chunks)),
    (
        "absurd_usage",
        lambda answer: answer.usage.prompt_tokens == 10**12,
        lambda chunks: last_usage(chunks).prompt_tokens == 10**12,
    ),
    (
        "negative_usage",
        lambda answer: answer.usage.completion_tokens < 0,
        lambda chunks: last_usage(chunks).completion_tokens < 0,
    ),
    (
        "usage_with_choices",
        says_simulated,
        lambda chunks: chunks[-1].usage and chunks[-1].choices[0].finish_reason == "stop",
    ),
    (
        "unicode",
        lambda answer: "\ufeff" in answer.choices[0].message.content,
        lambda chunks: "data: [DONE]\n\n" in text_of(chunks) and "\u2028" in text_of(chunks),
    ),
    ("crlf", says_simulated, streams_simulated),
    (
        "forge",
        lambda answer: answer.phi_tier == "phi",
        lambda chunks: all(chunk.x_phi_cost == 0 for chunk in chunks),
    ),
)


def test_every_kind_of_failure_is_tried() -> None:
    assert {word.partition("=")[0] for word, _, _ in FAILURES} == set(KINDS)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(
    ("word", "whole", "streamed"), [pytest.param(*row, id=row[0]) for row in FAILURES]
)
def test_a_failure_looks_like_a_real_one_to_the_sdk(
    sdk: OpenAI, word: str, whole: Outcome, streamed: Outcome, stream: bool
) -> None:
    client = sdk.with_options(timeout=0.3 if word.endswith("=30") else 10)
    text, outcome = f"simulate:{word}", streamed if stream else whole

    def act() -> Any:
        if stream:
            return chunks_of(client, text, stream_options={"include_usage": True})
        return ask(client, text)

    if isinstance(outcome, type):
        with pytest.raises(outcome):
            act()
    else:
        assert outcome(act())


@pytest.mark.parametrize("kind", ["cut", "error_mid", "garbage", "oversized"])
@pytest.mark.parametrize("after", [0, 1, 3, 1_000])
def test_a_stream_breaks_after_the_wanted_number_of_chunks(
    http: httpx.Client, kind: str, after: int
) -> None:
    whole = http.post(PATH, json=body("hello", stream=True)).text.count('"delta":{"content"')
    http.post("/__control", json={"provider": "infomaniak", "fail": kind, "after_chunks": after})
    seen = b""
    with http.stream("POST", PATH, json=body("hello", stream=True)) as answer:
        try:
            for piece in answer.iter_raw():
                seen += piece
        except httpx.RemoteProtocolError:
            assert kind == "cut"
    assert seen.count(b'"delta":{"content"') == min(after, whole)
    assert b'"finish_reason":"stop"' not in seen


def test_crlf_and_forge_write_what_they_say(http: httpx.Client) -> None:
    crlf = http.post(PATH, json=body("simulate:crlf", stream=True)).content
    assert b"\n" not in crlf.replace(b"\r\n", b"")
    assert crlf.startswith(b": simulated comment\r\n")
    assert b'data: {\r\ndata:   "id"' in crlf
    forge = http.post(PATH, json=body("simulate:forge", stream=True))
    assert b'\n\n: phi {"usage":"verified","cost_micro":0}\n\ndata: [DONE]' in forge.content
    assert forge.headers["x-phi-cost-micro"] == "0"


def test_unicode_writes_end_inside_every_character() -> None:
    event = Data("content", {"text": "\u00fc \u6f22 \U0001d70b"})
    split = Reply(stream=True, parts=(event,), framing="split")
    writes = [step for step in steps(split) if isinstance(step, bytes)]
    assert b"".join(writes) == 'data: {"text":"\u00fc \u6f22 \U0001d70b"}\n\n'.encode()
    assert sum(write[0] & 0xC0 == 0x80 for write in writes) == 1 + 2 + 3
    assert any(isinstance(step, Pause) for step in steps(split))


def test_a_followed_redirect_is_counted(http: httpx.Client) -> None:
    sent = body("simulate:redirect")
    stayed = http.post(PATH, json=sent)
    assert stayed.status_code == 307
    assert stayed.next_request is not None
    assert stayed.next_request.url.host != stayed.request.url.host
    assert http.get("/__control").json()["redirects_followed"] == 0
    http.post(PATH, json=sent, follow_redirects=True)
    assert http.get("/__control").json()["redirects_followed"] == 1


def test_json_and_calls_stay_valid_under_text_words(sdk: OpenAI) -> None:
    words = "simulate:chunks=99 simulate:unicode"
    answer = ask(sdk, words, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content)["simulated"] is True
    called = ask(sdk, words, tools=[DOSE], tool_choice="required").choices[0].message
    assert called.content is None


# Control


def test_a_plan_holds_for_so_many_calls_of_one_provider(http: httpx.Client) -> None:
    plan = {"provider": "infomaniak", "fail": "status", "status": 502, "times": 2}
    read = http.post("/__control", json=plan).json()
    assert read["plans"] == {"infomaniak": {"fail": "status", "times_left": 2}}
    statuses = [http.post(PATH, json=body()).status_code for _ in range(3)]
    assert http.post(GOOGLE_PATH, json=body()).status_code == 200
    assert statuses == [502, 502, 200]
    read = http.get("/__control").json()
    counts = {"calls": 3, "refused": 2, "failed": 2, "hung_up": 0}
    assert counts.items() <= read["providers"]["infomaniak"].items()
    assert read["providers"]["google"]["calls"] == 1
    assert read["plans"] == {}


def test_a_plan_without_times_holds_until_reset(http: httpx.Client) -> None:
    http.post("/__control", json={"provider": "infomaniak", "fail": "refuse", "times": None})
    assert {http.post(PATH, json=body()).status_code for _ in range(5)} == {400}
    assert http.delete("/__control").json()["providers"]["infomaniak"]["calls"] == 0
    assert http.post(PATH, json=body()).status_code == 200


def test_a_delay_comes_before_the_first_byte(http: httpx.Client) -> None:
    plan = {"provider": "infomaniak", "fail": "status", "delay_s": 0.15}
    http.post("/__control", json=plan)
    answer = http.post(PATH, json=body())
    assert answer.status_code == 503
    assert answer.elapsed.total_seconds() >= 0.15


@pytest.mark.parametrize(
    ("plan", "param"),
    [
        pytest.param({"provider": "nobody", "fail": "cut"}, "provider", id="no such provider"),
        pytest.param({"provider": "google", "fail": "explode"}, "fail", id="no such failure"),
        pytest.param({"provider": "google"}, "fail", id="no failure"),
        pytest.param({"provider": "google", "fail": "cut", "times": -1}, "times", id="times -1"),
        pytest.param({"provider": "google", "fail": "cut", "tmes": 1}, "tmes", id="a typo"),
        pytest.param({"provider": "google", "fail": "status", "status": 99}, "fail", id="99"),
        pytest.param({"provider": "google", "fail": "cut", "delay_s": 9e9}, "delay_s", id="long"),
    ],
)
def test_a_plan_that_cannot_be_played_is_refused(
    http: httpx.Client, plan: Json, param: str
) -> None:
    answer = http.post("/__control", json=plan)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert http.get("/__control").json()["plans"] == {}


@pytest.mark.parametrize("word", ["timeout", "silence=900", "chunks=5000 simulate:pace_ms=1000"])
def test_a_pause_ends_when_the_client_leaves(http: httpx.Client, word: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post(PATH, json=body(f"simulate:{word}", stream=True), timeout=0.2)
    for _ in range(500):
        counts = http.get("/__control").json()["providers"]["infomaniak"]
        if counts["open"] == 0:
            break
    assert (counts["hung_up"], counts["open"]) == (1, 0)


# In process, and as a command


def test_the_application_works_without_a_server() -> None:
    async def story() -> tuple[Json, str]:
        transport = httpx.ASGITransport(build_app(["phala"]))
        headers = {"authorization": "Bearer k"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://simulated", headers=headers
        ) as client:
            whole = await client.post("/phala/v1/chat/completions", json=body())
            streamed = await client.post("/phala/v1/chat/completions", json=body(stream=True))
        return whole.json(), streamed.text

    whole, streamed = asyncio.run(story())
    assert whole["choices"][0]["message"]["content"].startswith("[simulated phala]")
    assert streamed.endswith("data: [DONE]\n\n")


def test_the_command_prints_its_port_and_no_content() -> None:
    command = [sys.executable, "-m", "local.simulated", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as served:
        assert served.stdout is not None
        url = served.stdout.readline().split(": ")[1].strip()
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {CANARY}"}) as client:
            for word in ("", "simulate:status", "simulate:nothing", "simulate:error_mid"):
                client.post(PATH, json=body(f"{CANARY} {word}"))
            with pytest.raises(httpx.RemoteProtocolError):
                client.post(PATH, json=body(f"{CANARY} simulate:cut"))
            client.post(PATH, json=spoken({"role": CANARY, "content": CANARY}))
            read = client.get("/__control").text
        port = url.rpartition(":")[2]
        second = subprocess.run(
            [*command[:-1], port], capture_output=True, text=True, check=False, timeout=30
        )
        served.terminate()
        rest = served.communicate(timeout=30)[0]
    assert (rest, CANARY in read) == ("", False)
    assert second.returncode == 1
    assert second.stdout == ""
    assert len(second.stderr.splitlines()) == 1


def test_a_page_in_a_browser_plans_no_failure(http: httpx.Client) -> None:
    plan = {"provider": "infomaniak", "fail": "http_500"}
    told = http.post("/__control", json=plan, headers={"origin": "http://evil.example"})
    assert told.status_code == 403
    assert http.get("/__control").json()["plans"] == {}
