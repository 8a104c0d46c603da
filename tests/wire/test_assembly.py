"""Chunks of a stream as the whole answer that the upstream would have written in one piece."""

import json
from typing import Any

import pytest

from phigate.core.errors import UpstreamFailed
from phigate.core.limits import ANSWER_PARTS_MAX
from phigate.core.types import Json
from phigate.wire.openai import answer as openai
from phigate.wire.openai.assembly import Assembly

STAMP = openai.Stamp("chatcmpl-1", "acme-one", 7)


def assembled(*chunks: Json) -> Json:
    """The body that the caller gets."""
    assembly = Assembly()
    for chunk in chunks:
        assembly.feed(json.loads(json.dumps(chunk)))
    answer = assembly.answer()
    assert answer is not None
    body: Json = json.loads(openai.assembled(answer, STAMP))
    return body


def delta(finish: str | None = None, index: int = 0, **members: Any) -> Json:
    return {"choices": [{"index": index, "delta": members, "finish_reason": finish}]}


def message(*deltas: Json) -> Json:
    """The message of an answer whose chunks have these deltas."""
    found: Json = assembled(*(delta(**each) for each in deltas))["choices"][0]["message"]
    return found


def call(index: int | None, call_id: str | None, name: str | None, arguments: str) -> Json:
    function = {"name": name, "arguments": arguments}
    named = {"index": index, "id": call_id, "type": call_id and "function"}
    known = {name: value for name, value in named.items() if value is not None}
    return {**known, "function": {k: v for k, v in function.items() if v is not None}}


def whole_call(call_id: str, name: str, arguments: str) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


# Deltas, and the message that they come to.
MESSAGES: dict[str, tuple[list[Json], Json]] = {
    "text": ([{"role": "assistant", "content": "Hel"}, {"content": "lo"}], {"content": "Hello"}),
    "nothing": ([{}], {"content": None}),
    "null": ([{"role": None, "content": None}], {"content": None}),
    "reasoning by either name": (
        [{"reasoning": "a", "reasoning_content": "b"}, {"reasoning": "c"}, {"content": "d"}],
        {"reasoning": "ac", "reasoning_content": "b", "content": "d"},
    ),
    "a refusal": ([{"refusal": "I "}, {"refusal": "can't"}], {"refusal": "I can't"}),
    "calls, merged by index": (
        [
            {"tool_calls": [call(1, "b", "g", "{")]},
            {"tool_calls": [call(0, "a", "f", ""), call(1, None, None, "}")]},
            {"tool_calls": [call(0, None, None, "{}")]},
        ],
        {"tool_calls": [whole_call("a", "f", "{}"), whole_call("b", "g", "{}")]},
    ),
    "a call whose id and name are said again": (
        [{"tool_calls": [call(0, "a", "f", "{")]}, {"tool_calls": [call(0, "a", "f", "}")]}],
        {"tool_calls": [whole_call("a", "f", "{}")]},
    ),
    "a name in pieces": (
        [{"tool_calls": [call(0, "a", "look", "")]}, {"tool_calls": [call(0, None, "_up", "{}")]}],
        {"tool_calls": [whole_call("a", "look_up", "{}")]},
    ),
    "a call without an index": (
        [{"tool_calls": [call(None, "a", "f", "{}")]}],
        {"tool_calls": [whole_call("a", "f", "{}")]},
    ),
    "a call without anything": (
        [{"tool_calls": [{"index": 0}]}],
        {"tool_calls": [whole_call("", "", "")]},
    ),
    "an older kind of call": (
        [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}],
        {"function_call": {"name": "f", "arguments": "{}"}},
    ),
    "annotations follow one another": (
        [{"annotations": [{"type": "url"}]}, {"annotations": [{"type": "file"}]}],
        {"annotations": [{"type": "url"}, {"type": "file"}]},
    ),
    "details with an index are merged": (
        [
            {"reasoning_details": [{"index": 0, "type": "t", "text": "a", "format": "x-1"}]},
            {"reasoning_details": [{"index": 0, "type": "t", "text": "b", "format": "x-1"}]},
        ],
        {"reasoning_details": [{"index": 0, "type": "t", "text": "ab", "format": "x-1"}]},
    ),
    "content in blocks": (
        [
            {"content": "a"},
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}]},
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "c"}]}]},
            {"content": "d"},
            {"content": "e"},
        ],
        {
            "content": [
                {"type": "text", "text": "a"},
                {"type": "thinking", "thinking": [{"type": "text", "text": "bc"}]},
                {"type": "text", "text": "de"},
            ]
        },
    ),
    "what nobody here knows": (
        [{"x": {"a": 1}, "y": 1}, {"x": {"b": [2]}, "y": 2}],
        {"x": {"a": 1, "b": [2]}, "y": 2},
    ),
    "our own names": (
        [{"x_phi": 1, "content": "phi", "a": {"phi": 1}}],
        {"content": "phi", "a": {}},
    ),
}


@pytest.mark.parametrize(("deltas", "said"), MESSAGES.values(), ids=MESSAGES)
def test_deltas_come_to_a_message(deltas: list[Json], said: Json) -> None:
    assert message(*deltas) == {"role": "assistant", "content": None, **said}


def test_what_stands_beside_the_choices_is_kept_and_what_is_ours_is_ours() -> None:
    body = assembled(
        {
            "id": "up-1",
            "created": 5,
            "model": "m",
            "system_fingerprint": None,
            **delta(content="a"),
        },
        {"id": "up-1", "created": 6, "system_fingerprint": "fp", "citations": ["u"], "choices": []},
        {"service_tier": "default", "obfuscation": "xyz", "phi": 1, **delta("length")},
        {
            "choices": [],
            "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}},
        },
    )
    assert body == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "acme-one",
        "system_fingerprint": "fp",
        "service_tier": "default",
        "citations": ["u"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a"},
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}},
    }


def test_log_probabilities_and_other_lists_of_a_choice_grow() -> None:
    first = {"token": "phi", "logprob": -1.0, "bytes": [1], "top_logprobs": [], "x_phi": 1}
    chunks = [
        {"index": 0, "delta": {}, "logprobs": {"content": [first], "refusal": None}, "ids": [1]},
        {"index": 0, "delta": {}, "logprobs": None},
        {"index": 0, "delta": {}, "logprobs": {"content": [{"token": "b"}]}, "ids": [2, 3]},
        {"index": 0, "delta": {}, "filter": {"hate": 1}, "finish_reason": "stop"},
        {"index": 0, "delta": {}, "filter": {}},
    ]
    (choice,) = assembled(*({"choices": [each]} for each in chunks))["choices"]
    kept = {name: value for name, value in first.items() if name != "x_phi"}
    assert choice["logprobs"] == {"content": [kept, {"token": "b"}], "refusal": None}
    assert (choice["ids"], choice["filter"]) == ([1, 2, 3], {"hate": 1})


def test_choices_stand_in_the_order_of_their_indexes() -> None:
    body = assembled(delta("stop", 1, content="b"), delta("length", 0, content="a"))
    said = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in body["choices"]]
    assert said == [(0, "a", "length"), (1, "b", "stop")]


@pytest.mark.parametrize(
    ("members", "reason"), [({}, "stop"), ({"tool_calls": [{}]}, "tool_calls")]
)
def test_an_end_without_a_reason_gets_the_one_that_it_has(members: Json, reason: str) -> None:
    assert assembled(delta(**members))["choices"][0]["finish_reason"] == reason


def test_a_stream_without_a_choice_is_no_answer() -> None:
    assembly = Assembly()
    assembly.feed({"choices": [], "usage": {}})
    assert assembly.answer() is None
    assert not assembly.is_finished


# What grows without end in a stream.
GROWING: dict[str, Any] = {
    "choices": lambda i: delta(index=i),
    "calls": lambda i: delta(tool_calls=[{"index": i}]),
    "items": lambda i: delta(annotations=[{"a": 1}]),
    "numbers": lambda i: delta(x=[1]),
    "blocks": lambda i: delta(content=[{"type": str(i)}]),
    "names beside the choices": lambda i: {f"x{i}": 1, "choices": []},
    "names of a choice": lambda i: {"choices": [{"index": 0, f"x{i}": 1}]},
    "names of a message": lambda i: {"choices": [{"index": 0, "delta": {f"x{i}": 1}}]},
    "names inside": lambda i: delta(x={f"x{i}": 1}),
}


@pytest.mark.parametrize("chunk", GROWING.values(), ids=GROWING)
def test_what_grows_without_end_is_bounded(chunk: Any) -> None:
    assembly = Assembly()
    with pytest.raises(UpstreamFailed, match="oversized"):
        for i in range(ANSWER_PARTS_MAX + 1):
            assembly.feed(chunk(i))
