"""The OpenAI dialect in both directions, as one table each, and its decoder.

CONFORMANCE is what every dialect's decoder must do with its own bytes.
"""

from typing import Any

import orjson
import pytest

from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import WirePlan
from phigate.core.limits import EVENT_BYTES_MAX
from phigate.core.request.fields import MEMBERS
from phigate.core.types import Json
from phigate.wire.openai.canonical import canonical
from phigate.wire.openai.chat_body import read_chat
from tests.builders import make_body, make_place, make_row

OPENAI = ADAPTERS["openai"]
PLAN = WirePlan(stream=False, tokens_out=500, keyed={})
STREAMED = WirePlan(stream=True, tokens_out=500, keyed={})
PLAIN_MESSAGES = [{"role": "user", "content": "Hello"}]
PLAIN = {"messages": PLAIN_MESSAGES, "model": "upstream/acme-one"}
SENT = {**PLAIN, "max_tokens": 500}
USAGE_FORCED = {"stream": True, "stream_options": {"include_usage": True}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
GEMMA: dict[str, Any] = {"supports_tools": False}


def messages(*listed: dict[str, Any]) -> Json:
    return {"messages": list(listed)}


# Members beside a plain body, changes of the row, pins, the plan; then the body sent and what was
# dropped.
Sent = tuple[Json, dict[str, Any], Json, WirePlan, Json, tuple[str, ...]]
REQUESTS: dict[str, Sent] = {
    "a plain body": ({}, {}, {}, PLAN, SENT, ()),
    "a stream forces usage": ({"stream": True}, {}, {}, STREAMED, {**SENT, **USAGE_FORCED}, ()),
    "a stream forces usage over the caller's refusal": (
        {"stream": True, "stream_options": {"include_usage": False, "x": 1}},
        {},
        {},
        STREAMED,
        {**SENT, **USAGE_FORCED},
        (),
    ),
    "stream false is left out": ({"stream": False}, {}, {}, PLAN, SENT, ()),
    "the row's name for max tokens": (
        {"max_tokens": 500},
        {"max_tokens_name": "max_completion_tokens"},
        {},
        PLAN,
        {**PLAIN, "max_completion_tokens": 500},
        (),
    ),
    "all names for max tokens become one": (
        {"max_tokens": 500, "max_completion_tokens": 500, "max_output_tokens": 500},
        {},
        {},
        PLAN,
        SENT,
        (),
    ),
    "sampling passes": (
        {"temperature": 0.5, "top_p": 1, "seed": 7, "stop": ["x"], "logit_bias": {"1": 2}},
        {},
        {},
        PLAN,
        {
            **SENT,
            "temperature": 0.5,
            "top_p": 1,
            "seed": 7,
            "stop": ["x"],
            "logit_bias": {"1": 2},
        },
        (),
    ),
    "unknown members pass": (
        {"min_p": 0.1, "guided_choice": ["a"]},
        {},
        {},
        PLAN,
        {**SENT, "min_p": 0.1, "guided_choice": ["a"]},
        (),
    ),
    "null members are left out": (
        {"temperature": None, "tools": None, "min_p": None, "user": None, "n": None},
        {},
        {},
        PLAN,
        SENT,
        (),
    ),
    "our own members stay here": (
        {
            "provider": {"order": ["acme"]},
            "usage": True,
            "store": False,
            "service_tier": "auto",
            "modalities": ["text"],
        },
        {},
        {},
        PLAN,
        SENT,
        (),
    ),
    "n is dropped and named": ({"n": 3}, {}, {}, PLAN, SENT, ("n",)),
    "n = 1 loses nothing": ({"n": 1}, {}, {}, PLAN, SENT, ()),
    "metadata is dropped and named": (
        {"metadata": {"ward": "3"}},
        {},
        {},
        PLAN,
        SENT,
        ("metadata",),
    ),
    "empty metadata loses nothing": ({"metadata": {}}, {}, {}, PLAN, SENT, ()),
    "tools pass": (
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {},
        {},
        PLAN,
        {**SENT, "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        (),
    ),
    "tools are dropped where the row has none, and named": (
        {"n": 2, "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        GEMMA,
        {},
        PLAN,
        SENT,
        ("n", "tools", "tool_choice", "parallel_tool_calls"),
    ),
    "no tools, nothing dropped": ({"tools": None}, GEMMA, {}, PLAN, SENT, ()),
    "a seed past 64 bits is dropped and named": (
        {"seed": 9_223_372_036_854_776_000},
        {},
        {},
        PLAN,
        SENT,
        ("seed",),
    ),
    "the greatest seed passes": (
        {"seed": 2**63 - 1},
        {},
        {},
        PLAN,
        {**SENT, "seed": 2**63 - 1},
        (),
    ),
    "a format as text becomes an object": (
        {"response_format": "json_object"},
        {},
        {},
        PLAN,
        {**SENT, "response_format": {"type": "json_object"}},
        (),
    ),
    "a format as object passes": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}},
        {},
        {},
        PLAN,
        {
            **SENT,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
        },
        (),
    ),
    "an effort passes": (
        {"reasoning_effort": "high"},
        {},
        {},
        PLAN,
        {**SENT, "reasoning_effort": "high"},
        (),
    ),
    "reasoning goes as an effort; what has no word here is named": (
        {"reasoning": {"effort": "low", "max_tokens": 5, "summary": "auto"}},
        {},
        {},
        PLAN,
        {**SENT, "reasoning_effort": "low"},
        ("reasoning.max_tokens", "reasoning.summary"),
    ),
    "thinking goes as an effort": (
        {"thinking": {"type": "enabled", "budgetTokens": 5, "includeThoughts": True}},
        {},
        {},
        PLAN,
        {**SENT, "reasoning_effort": "medium"},
        ("reasoning.max_tokens", "reasoning.include_thoughts"),
    ),
    "reasoning off": (
        {"thinking": {"type": "disabled"}},
        {},
        {},
        PLAN,
        {**SENT, "reasoning_effort": "none"},
        (),
    ),
    "a row that has no effort": (
        {"reasoning": {"effort": "high"}},
        {"drops": frozenset({"reasoning_effort"})},
        {},
        PLAN,
        SENT,
        ("reasoning_effort",),
    ),
    "a row that has no effort, and a switch": (
        {"reasoning": {"enabled": True}},
        {"drops": frozenset({"reasoning_effort"})},
        {},
        PLAN,
        SENT,
        ("reasoning.enabled",),
    ),
    "a row drops what it does not take, and names what asked for something": (
        {"temperature": 1, "top_p": 0.5, "top_k": 3, "seed": 7},
        {"drops": frozenset({"temperature", "top_p"})},
        {},
        PLAN,
        {**SENT, "top_k": 3, "seed": 7},
        ("top_p",),
    ),
    "system leads": (
        {"system": "Be brief"},
        {},
        {},
        PLAN,
        {
            **SENT,
            "messages": [{"role": "system", "content": "Be brief"}, *PLAIN_MESSAGES],
        },
        (),
    ),
    "no images are made, no speed is sold": (
        {"imageConfig": {"imageSize": "1K"}, "speed": "fast"},
        {},
        {},
        PLAN,
        SENT,
        ("image_config", "speed"),
    ),
    "the options of the row's provider alone": (
        {"provider_options": {"acme": {"min_p": 0.2}, "other": {"min_p": 0.9, "x": 1}}},
        {},
        {},
        PLAN,
        {**SENT, "min_p": 0.2},
        (),
    ),
    "options of another provider": (
        {"provider_options": {"other": {"min_p": 0.9}}},
        {},
        {},
        PLAN,
        SENT,
        (),
    ),
    "options are written before the pins": (
        {"provider_options": {"acme": {"region_lock": "us"}}},
        {},
        {"region_lock": "ch"},
        PLAN,
        {**SENT, "region_lock": "ch"},
        (),
    ),
    "options are written before what is the gateway's": (
        {
            "stream": True,
            "min_p": 0.1,
            "provider_options": {
                "acme": {
                    "min_p": 0.2,
                    "model": "dear",
                    "max_tokens": 9,
                    "stream": False,
                    "stream_options": {},
                    "user": "patient",
                }
            },
        },
        {},
        {},
        WirePlan(True, 500, {"user": "6d61"}),
        {**SENT, **USAGE_FORCED, "min_p": 0.2, "user": "6d61"},
        (),
    ),
    "what clients echo stays here": (
        messages(
            {
                "role": "assistant",
                "content": "Hi",
                "annotations": [{"type": "url_citation"}],
                "provider_specific_fields": {"x": 1},
                "images": [{"type": "image_url", "image_url": {"url": "https://a.example"}}],
                "refusal": None,
                "audio": None,
            }
        ),
        {},
        {},
        PLAN,
        {**SENT, **messages({"role": "assistant", "content": "Hi"})},
        (),
    ),
    "keyed members go as given, never as sent": (
        {"user": "patient", "user_id": "p", "safety_identifier": "s", "prompt_cache_key": "k"},
        {},
        {},
        WirePlan(False, 500, {"user": "6d61", "prompt_cache_key": "6b65"}),
        {**SENT, "user": "6d61", "prompt_cache_key": "6b65"},
        (),
    ),
    "null members of a message are left out": (
        messages({"role": "assistant", "content": "Hi", "tool_calls": None, "refusal": None}),
        {},
        {},
        PLAN,
        {**SENT, **messages({"role": "assistant", "content": "Hi"})},
        (),
    ),
    "null content beside tool calls stays": (
        messages(
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
            }
        ),
        {},
        {},
        PLAN,
        {
            **SENT,
            **messages(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
                }
            ),
        },
        (),
    ),
    "images pass": (
        messages(
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
                ],
            }
        ),
        {},
        {},
        PLAN,
        {
            **SENT,
            **messages(
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
                    ],
                }
            ),
        },
        (),
    ),
    "pins are added": (
        {},
        {},
        {"region_lock": "ch", "store": False},
        PLAN,
        {**SENT, "region_lock": "ch", "store": False},
        (),
    ),
    "pins are written last, over everything": (
        {"region_lock": "us", "temperature": 2},
        {},
        {"region_lock": "ch", "temperature": 1, "model": "pinned", "max_tokens": 9, "user": "own"},
        WirePlan(False, 500, {"user": "6d61"}),
        {
            **PLAIN,
            "region_lock": "ch",
            "temperature": 1,
            "model": "pinned",
            "max_tokens": 9,
            "user": "own",
        },
        (),
    ),
}


@pytest.mark.parametrize("case", REQUESTS.values(), ids=REQUESTS)
def test_a_request_goes_upstream_as(case: Sent) -> None:
    members, row, pins, plan, sent, dropped = case
    given = make_body(**members)
    read_chat(given)
    body = canonical(given)
    before = orjson.dumps(body)
    wire = OPENAI.request(body, make_row(**row), make_place(pins=pins), plan)
    assert wire.body == sent
    assert wire.dropped == dropped
    assert orjson.dumps(body) == before


OBJECTS: dict[str, Any] = {"reasoning": {"enabled": True}, "provider_options": {"acme": {"x": 7}}}


@pytest.mark.parametrize("name", sorted(set(MEMBERS) - {"messages"}))
def test_no_member_overwrites_a_pin(name: str) -> None:
    wire = OPENAI.request(
        {**make_body(), name: OBJECTS.get(name, 7)},
        make_row(),
        make_place(pins={name: 8}),
        STREAMED,
    )
    assert wire.body[name] == 8


@pytest.mark.parametrize(
    "name",
    sorted(name for name, field in MEMBERS.items() if field.openai in ("own", "keyed", "ignored")),
)
def test_what_is_ours_does_not_go_upstream_as_sent(name: str) -> None:
    wire = OPENAI.request({**make_body(), name: "canary"}, make_row(), make_place(), STREAMED)
    assert "canary" not in orjson.dumps(wire.body).decode()


# Members that speak to the gateway alone, each with a word that must not leave it.
NEVER_SENT: Json = {
    "debug": {"trace_level": "canary"},
    "meta": "canary",
    "provider": {"order": ["canary"]},
    "provider_options": {"other": {"x": "canary"}},
    "echo_upstream_request": "canary",
    "max_tool_calls": "canary",
    "usage": "canary",
}


@pytest.mark.parametrize("dialect", sorted(ADAPTERS))
@pytest.mark.parametrize("plan", [PLAN, STREAMED], ids=["JSON", "stream"])
def test_nothing_that_speaks_to_the_gateway_is_forwarded(dialect: str, plan: WirePlan) -> None:
    for name, value in NEVER_SENT.items():
        body = canonical(make_body(**{name: value}))
        wire = ADAPTERS[dialect].request(body, make_row(dialect=dialect), make_place(), plan)
        assert name not in wire.body
        assert b"canary" not in orjson.dumps(wire.body)
        assert wire.dropped == ()


# --- Answers ----------------------------------------------------------------------------------

MESSAGE = {"role": "assistant", "content": "Hi"}
ANSWER = {"id": "1", "choices": [{"index": 0, "message": MESSAGE}], "usage": {"x": 1}, "y": [2]}
CALL: Json = {"id": "1", "function": {"name": "f", "arguments": "{}"}}


def called(*calls: Any) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": None, "tool_calls": calls}}]})


ANSWERS: dict[str, tuple[bytes, bool]] = {
    "an answer": (orjson.dumps(ANSWER), True),
    "unknown fields": (orjson.dumps({**ANSWER, "citations": []}), True),
    "a null error": (orjson.dumps({**ANSWER, "error": None}), True),
    "an empty message": (b'{"choices": [{"message": {}}]}', True),
    "without usage": (b'{"choices": [{"message": {"content": ""}}]}', True),
    "null tool calls": (b'{"choices": [{"message": {"tool_calls": null}}]}', True),
    "no tool calls": (b'{"choices": [{"message": {"tool_calls": []}}]}', True),
    "a tool call": (called({"type": "function", **CALL}), True),
    "two tool calls": (called(CALL, CALL), True),
    "tool calls that are text": (b'{"choices": [{"message": {"tool_calls": "f"}}]}', False),
    "tool calls that are an object": (b'{"choices": [{"message": {"tool_calls": {}}}]}', False),
    "a tool call that is text": (called(CALL, "f"), False),
    "a tool call without a function": (called({"id": "1"}), False),
    "a function that is text": (called({**CALL, "function": "f"}), False),
    "a function without a name": (called({**CALL, "function": {"arguments": "{}"}}), False),
    "a null name": (called({**CALL, "function": {"name": None, "arguments": "{}"}}), False),
    "arguments that are an object": (
        called({**CALL, "function": {"name": "f", "arguments": {}}}),
        False,
    ),
    "a function without arguments": (called({**CALL, "function": {"name": "f"}}), False),
    "an id that is a number": (called({**CALL, "id": 1}), False),
    "a tool call without an id": (called({"function": CALL["function"]}), False),
    "a misshapen tool call in the second choice": (
        b'{"choices": [{"message": {}}, {"message": {"tool_calls": [1]}}]}',
        False,
    ),
    "an error in a 200": (b'{"error": {"message": "no"}}', False),
    "an error beside choices": (orjson.dumps({**ANSWER, "error": {"code": 500}}), False),
    "nothing": (b"", False),
    "cut off": (orjson.dumps(ANSWER)[:-5], False),
    "HTML": (b"<html>busy</html>", False),
    "an array": (b"[]", False),
    "text": (b'"Hi"', False),
    "not UTF-8": (b'{"choices": [{"message": {"content": "\xff"}}]}', False),
    "NaN": (b'{"choices": [{"message": {}}], "x": NaN}', False),
    "no choices": (b'{"usage": {}}', False),
    "null choices": (b'{"choices": null}', False),
    "empty choices": (b'{"choices": []}', False),
    "choices that are an object": (b'{"choices": {"message": {}}}', False),
    "a choice that is text": (b'{"choices": ["Hi"]}', False),
    "a choice without message": (b'{"choices": [{"index": 0}]}', False),
    "a message that is text": (b'{"choices": [{"message": "Hi"}]}', False),
    "a chunk": (b'{"choices": [{"delta": {"content": "Hi"}}]}', False),
    "deeper than can be written": (
        b'{"choices": [{"message": {}}], "x": ' + b"[" * 300 + b"]" * 300 + b"}",
        False,
    ),
    "many brackets that do not nest": (
        b'{"choices": [{"message": {}}], "x": [' + b"{}," * 300 + b"{}]}",
        True,
    ),
}


@pytest.mark.parametrize(("body", "is_answer"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_canonical_or_malformed(body: bytes, is_answer: bool) -> None:
    assert OPENAI.answer(body) == (orjson.loads(body) if is_answer else None)


@pytest.mark.parametrize("message", [b'"message": null, ', b""], ids=["null", "absent"])
def test_an_answer_that_ended_without_a_word_is_an_empty_one(message: bytes) -> None:
    """A row that spent all its tokens on reasoning; the streamed twin of it is an answer too."""
    answer = OPENAI.answer(b'{"choices": [{%s"index": 0, "finish_reason": "length"}]}' % message)
    assert answer is not None
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": None}


REFUSALS: dict[str, tuple[bytes, tuple[str, str | None]]] = {
    "OpenAI's envelope": (
        b'{"error": {"message": "Too long", "param": "messages", "code": "x"}}',
        ("Too long", "messages"),
    ),
    "without param": (b'{"error": {"message": "Too long"}}', ("Too long", None)),
    "a param that is no text": (b'{"error": {"message": "No", "param": 1}}', ("No", None)),
    "an error that is text": (b'{"error": "Too long"}', ("Too long", None)),
    "a message at the top": (b'{"message": "Too long", "code": 400}', ("Too long", None)),
    "a detail": (b'{"detail": "Too long"}', ("Too long", None)),
    "a detail that is a list": (b'{"detail": [{"msg": "no"}]}', ("[{'msg': 'no'}]", None)),
    "nothing": (b"", ("no reason given", None)),
    "HTML": (b"<html>", ("no reason given", None)),
    "an array": (b"[1]", ("no reason given", None)),
    "a novel": (orjson.dumps({"error": {"message": "x" * 9_000}}), ("x" * 2_000, None)),
}


@pytest.mark.parametrize(("body", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_read_in_the_providers_words(
    body: bytes, words: tuple[str, str | None]
) -> None:
    assert OPENAI.refusal(body) == words


# --- The decoder ------------------------------------------------------------------------------


def chunk(**members: Any) -> Json:
    return {"id": "1", "object": "chat.completion.chunk", **members}


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


FIRST = chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
WORD = chunk(choices=[{"index": 0, "delta": {"content": 'say "data: [DONE]"\u2028'}}])
LAST = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = chunk(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2})
BOTH = chunk(choices=LAST["choices"], usage={"prompt_tokens": 1, "completion_tokens": 2})
ALONE = chunk(usage={"prompt_tokens": 1, "completion_tokens": 2})
FILTER = chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}])
NULL_USAGE = chunk(choices=WORD["choices"], usage=None, error=None)
DONE = b"data: [DONE]\n\n"


def delta(value: Any) -> Json:
    return chunk(choices=[{"index": 0, "delta": value}])


def fragments(*listed: Any) -> Json:
    return delta({"tool_calls": list(listed)})


CALLED = fragments(
    {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}},
    {"index": 1, "id": None, "function": {"name": None, "arguments": "{}"}},
    {"index": 2},
    {"id": "2"},  # one call of a provider that counts none
    {"index": None},
)
# Chunks that a client could not read, each a failure of the stream.
MISSHAPEN: dict[str, Json] = {
    "a delta that is text": delta("Hi"),
    "a delta that is a list": delta([]),
    "tool calls that are text": delta({"tool_calls": "f"}),
    "tool calls that are an object": delta({"tool_calls": {"index": 0}}),
    "a fragment that is text": fragments({"index": 0}, "f"),
    "an index that is text": fragments({"index": "0"}),
    "an index that is true": fragments({"index": True}),
    "an index that is no integer": fragments({"index": 0.5}),
    "an id that is a number": fragments({"index": 0, "id": 1}),
    "a function that is text": fragments({"index": 0, "function": "f"}),
    "a name that is a list": fragments({"index": 0, "function": {"name": ["f"]}}),
    "arguments that are an object": fragments({"index": 0, "function": {"arguments": {}}}),
    "a second choice": chunk(choices=[*WORD["choices"], {"index": 1, "delta": 1}]),
}

# A stream, its chunks, whether it has ended, how it failed.
CONFORMANCE: dict[str, tuple[bytes, list[Json], bool, str | None]] = {
    "a whole stream": (
        event(FIRST) + event(WORD) + event(LAST) + event(USAGE) + DONE,
        [FIRST, WORD, LAST, USAGE],
        True,
        None,
    ),
    "usage in a chunk with choices": (event(WORD) + event(BOTH) + DONE, [WORD, BOTH], True, None),
    "usage in a chunk without choices": (
        event(WORD) + event(ALONE) + DONE,
        [WORD, ALONE],
        True,
        None,
    ),
    "null usage and null error": (event(NULL_USAGE) + DONE, [NULL_USAGE], True, None),
    "empty choices": (event(FILTER) + event(WORD) + DONE, [FILTER, WORD], True, None),
    "tool calls": (event(CALLED) + DONE, [CALLED], True, None),
    "one tool call without an index": (
        event(fragments({"id": "1"})) + event(fragments({"index": None})) + DONE,
        [fragments({"id": "1"}), fragments({"index": None})],
        True,
        None,
    ),
    "null tool calls": (
        event(delta({"content": "Hi", "tool_calls": None})) + DONE,
        [delta({"content": "Hi", "tool_calls": None})],
        True,
        None,
    ),
    "a null delta and none": (
        event(delta(None)) + event(chunk(choices=[{"index": 0}])) + DONE,
        [delta(None), chunk(choices=[{"index": 0}])],
        True,
        None,
    ),
    **{
        name: (event(WORD) + event(value) + event(LAST) + DONE, [WORD], False, "malformed")
        for name, value in MISSHAPEN.items()
    },
    "comments between": (
        b": OPENROUTER PROCESSING\n\n" + event(WORD) + b": ping\n\n" + DONE,
        [WORD],
        True,
        None,
    ),
    "names, ids and retry": (
        b"event: message\nid: 1\nretry: 5\n" + event(WORD) + DONE,
        [WORD],
        True,
        None,
    ),
    "CRLF": ((event(WORD) + DONE).replace(b"\n", b"\r\n"), [WORD], True, None),
    "CR": ((event(WORD) + DONE).replace(b"\n", b"\r"), [WORD], True, None),
    "nothing after the end counts": (event(WORD) + DONE + event(LAST), [WORD], True, None),
    "an error after the end does not count": (
        event(WORD) + DONE + event({"error": {}}),
        [WORD],
        True,
        None,
    ),
    "closed early": (event(FIRST) + event(WORD), [FIRST, WORD], False, None),
    "closed inside an event": (event(WORD) + event(LAST)[:-1], [WORD], False, None),
    "nothing": (b"", [], False, None),
    "only the end": (DONE, [], True, None),
    "an error first": (event({"error": {"message": "busy"}}) + DONE, [], False, "error_event"),
    "an error as text": (event({"error": "busy"}), [], False, "error_event"),
    "an error under way": (
        event(WORD) + event({"error": {"message": "busy"}}) + event(LAST),
        [WORD],
        False,
        "error_event",
    ),
    "an error beside choices": (
        event({**LAST, "error": {"code": 500}}),
        [],
        False,
        "error_event",
    ),
    "not JSON": (event(WORD) + b"data: busy\n\n" + event(LAST), [WORD], False, "malformed"),
    "cut JSON": (b'data: {"choices": [\n\n', [], False, "malformed"),
    "an array": (event([WORD]), [], False, "malformed"),
    "no choices": (event({"id": "1"}), [], False, "malformed"),
    "choices that are text": (event({"choices": "x", "usage": {}}), [], False, "malformed"),
    "a choice that is text": (event({"choices": ["x"]}), [], False, "malformed"),
    "not UTF-8": (b'data: {"choices": [], "x": "\xff"}\n\n', [], False, "malformed"),
    "deeper than can be written": (
        b'data: {"choices": [], "x": ' + b"[" * 300 + b"]" * 300 + b"}\n\n",
        [],
        False,
        "malformed",
    ),
    "HTML": (b"<html>busy</html>\n\n", [], False, None),
}


@pytest.mark.parametrize(
    ("stream", "chunks", "ended", "failed"), CONFORMANCE.values(), ids=CONFORMANCE
)
@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["byte by byte", "in sevens", "whole"])
def test_a_stream_decodes_to(
    stream: bytes, chunks: list[Json], ended: bool, failed: str | None, size: int
) -> None:
    decoder = OPENAI.decoder()
    came = [
        value
        for at in range(0, len(stream), size)
        for value in decoder.feed(stream[at : at + size])
    ]
    assert (came, decoder.ended, decoder.failed) == (chunks, ended, failed)


@pytest.mark.parametrize(
    ("stream", "chunks", "ended", "failed"), CONFORMANCE.values(), ids=CONFORMANCE
)
def test_a_tail_without_its_blank_line_changes_nothing(
    stream: bytes, chunks: list[Json], ended: bool, failed: str | None
) -> None:
    decoder = OPENAI.decoder()
    came = decoder.feed(stream + b": tail")
    assert (came, decoder.ended, decoder.failed) == (chunks, ended, failed)


def test_an_oversized_event_fails_the_stream_after_what_came_before() -> None:
    decoder = OPENAI.decoder()
    assert decoder.feed(event(WORD)) == [WORD]
    assert decoder.feed(b"data: " + b"x" * EVENT_BYTES_MAX + b"\n\n") == []
    assert (decoder.ended, decoder.failed) == (False, "oversized")


def test_each_decoder_starts_afresh() -> None:
    OPENAI.decoder().feed(DONE)
    assert not OPENAI.decoder().ended
