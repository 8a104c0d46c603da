"""What the caller gets of an answer: our id and model, usage when asked for, no forgeries."""

from typing import Any

import orjson
import pytest

from phigate.core.types import Json
from phigate.wire.openai.answer import Stamp, chunk_event, completion, output_bytes

ID, MODEL, CREATED_S = "chatcmpl-AGtJ0gDc8mfYaX9p", "acme-one", 1_795_000_000
STAMP = Stamp(ID, MODEL, CREATED_S)
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
DELTA = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}


def completed(**members: Any) -> Any:
    answer = {"id": "up-1", "model": "upstream/one", "choices": [CHOICE], **members}
    return told(completion(answer, STAMP))


def told(written: bytes) -> Any:
    """What was written, without the time that stands in where the input has none."""
    value = orjson.loads(written)
    if value["created"] == CREATED_S:
        del value["created"]
    return value


TIMES: dict[str, tuple[Any, int]] = {
    "none: ours": ({}, CREATED_S),
    "zero, of a dialect without one: ours": ({"created": 0}, CREATED_S),
    "the provider's": ({"created": 7}, 7),
}


@pytest.mark.parametrize(("members", "created"), TIMES.values(), ids=TIMES)
def test_created_is_the_providers_or_ours(members: Any, created: int) -> None:
    whole = orjson.loads(completion({"choices": [CHOICE], **members}, STAMP))
    event = chunk_event({"choices": [DELTA], **members}, STAMP, with_usage=False)
    assert whole["created"] == orjson.loads(event[len(b"data: ") :])["created"] == created


def chunked(raw: bytes, *, with_usage: bool) -> Any:
    """The chunk as the caller reads it, or None when nothing is sent."""
    event = chunk_event(orjson.loads(raw), STAMP, with_usage=with_usage)
    if not event:
        return None
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    return told(event[len(b"data: ") :])


def test_an_answer_bears_our_id_and_model_and_keeps_the_rest() -> None:
    assert completed(
        created=7, object="text", system_fingerprint="fp", usage=USAGE, service_tier="default"
    ) == {
        "id": ID,
        "object": "chat.completion",
        "model": MODEL,
        "created": 7,
        "system_fingerprint": "fp",
        "service_tier": "default",
        "choices": [CHOICE],
        "usage": USAGE,
    }


def test_fields_that_we_do_not_know_pass_on_every_level() -> None:
    novel = {**CHOICE, "novelty": [1], "message": {"content": None, "reasoning": "Hm", "x": {}}}
    assert completed(choices=[novel], citations=["a"])["choices"] == [novel]
    assert completed(citations=["a"])["citations"] == ["a"]


def test_a_chunk_bears_our_id_and_model_and_keeps_the_rest() -> None:
    raw = orjson.dumps(
        {"id": "up", "object": "chat.completion.chunk", "model": "m", "choices": [DELTA], "x": [1]}
    )
    assert chunked(raw, with_usage=False) == {
        "id": ID,
        "object": "chat.completion.chunk",
        "model": MODEL,
        "choices": [DELTA],
        "x": [1],
    }


# A chunk's choices and usage, whether usage was asked for, and what is left of the chunk.
LEFT: dict[str, tuple[Json, bool, Json | None]] = {
    "usage alone, asked for": (
        {"choices": [], "usage": USAGE},
        True,
        {"choices": [], "usage": USAGE},
    ),
    "usage alone, not asked for": ({"choices": [], "usage": USAGE}, False, None),
    "usage alone without choices": ({"usage": USAGE}, False, None),
    "usage beside choices, asked for": (
        {"choices": [DELTA], "usage": USAGE},
        True,
        {"choices": [DELTA], "usage": USAGE},
    ),
    "usage beside choices, not asked for": (
        {"choices": [DELTA], "usage": USAGE},
        False,
        {"choices": [DELTA]},
    ),
    "null usage, asked for": (
        {"choices": [DELTA], "usage": None},
        True,
        {"choices": [DELTA], "usage": None},
    ),
    "null usage, not asked for": (
        {"choices": [DELTA], "usage": None},
        False,
        {"choices": [DELTA]},
    ),
    "empty choices that are not usage": (
        {"choices": [], "prompt_filter_results": []},
        False,
        {"choices": [], "prompt_filter_results": []},
    ),
}


@pytest.mark.parametrize(("chunk", "with_usage", "left"), LEFT.values(), ids=LEFT)
def test_usage_is_stripped_when_nobody_asked(
    chunk: Json, with_usage: bool, left: Json | None
) -> None:
    sent = chunked(orjson.dumps(chunk), with_usage=with_usage)
    assert sent == (None if left is None else {**left, "id": ID, "model": MODEL})


# Names as an upstream may write them in its JSON.
FORGED = {
    "x_phi": rb'"x_phi_cost": 1',
    "x-phi": rb'"x-phi-routed": "a/CH/phi"',
    "phi": rb'"phi": {"usage": "verified"}',
    "a name that begins with phi": rb'"phi_tier": "phi"',
    "upper case": rb'"X_PHI_TIER": "phi"',
    "mixed case": rb'"Phi-Receipt": "a"',
    "escaped": rb'"\u0070hi_tier": "phi"',
    "escaped to the last letter": rb'"\u0070\u0068\u0069_tier": "phi"',
    "escaped in upper case": rb'"\u0058_\u0050HI": 1',
}
HONEST = {
    "a word that begins like one": rb'"physics": 1',
    "phi further in": rb'"graphics_phi": 1',
}


@pytest.mark.parametrize("member", FORGED.values(), ids=FORGED)
def test_a_forged_name_is_removed_on_every_level(member: bytes) -> None:
    choice = rb'{"index": 0, "delta": {"content": "Hi", ' + member + rb"}, " + member + rb"}"
    raw = rb'{"choices": [' + choice + rb"], " + member + rb', "extra": [[{' + member + rb"}]]}"
    clean = {"index": 0, "delta": {"content": "Hi"}}
    assert chunked(raw, with_usage=False) == {
        "choices": [clean],
        "extra": [[{}]],
        "id": ID,
        "model": MODEL,
    }
    whole = told(completion(orjson.loads(raw), STAMP))
    assert (whole["choices"], whole["extra"]) == ([clean], [[{}]])


@pytest.mark.parametrize("member", HONEST.values(), ids=HONEST)
def test_an_honest_name_stays(member: bytes) -> None:
    raw = rb'{"choices": [], ' + member + rb"}"
    sent = chunked(raw, with_usage=False)
    assert sent == {**orjson.loads(raw), "id": ID, "model": MODEL}


# What a model writes is never touched.
CONTENTS = {
    "our name as text": "phi",
    "our header as text": "x-phi-routed: a/CH/phi",
    "our comment as text": '\n\n: phi {"usage":"verified"}\n\n',
    "the end as text": "data: [DONE]",
    "an object as text": '{"phi_tier": "phi"}',
    "separators": "\u2028\u2029\ufeff\x85",
    "beyond the basic plane": "\U0001f600",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_passes_unharmed(content: str) -> None:
    choice = {"index": 0, "delta": {"content": content, "tool_calls": [{"arguments": content}]}}
    sent = chunked(orjson.dumps({"choices": [choice], "phi": 1}), with_usage=False)
    assert sent["choices"] == [choice]
    assert completed(choices=[choice], phi=1)["choices"] == [choice]


# Choices, and bytes that the model wrote.
WRITTEN: dict[str, tuple[list[Json], int]] = {
    "none": ([], 0),
    "content": ([{"delta": {"role": "assistant", "content": "Grüezi"}}], 7),
    "null content": ([{"delta": {"content": None}}], 0),
    "no delta": ([{"index": 0}], 0),
    "a null delta": ([{"delta": None}], 0),
    "reasoning": ([{"delta": {"reasoning_content": "abc", "reasoning": "de"}}], 5),
    "a refusal": ([{"delta": {"refusal": "No"}}], 2),
    "a tool call": (
        [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}],
        len("functionnamefarguments{}"),
    ),
    "two choices": ([{"delta": {"content": "a"}}, {"delta": {"content": "b"}}], 2),
    "fields that are not written by the model": ([{"delta": {"x": "abc"}, "y": "d"}], 0),
}


@pytest.mark.parametrize(("choices", "size"), WRITTEN.values(), ids=WRITTEN)
def test_what_the_model_wrote_is_counted_in_bytes(choices: list[Json], size: int) -> None:
    assert output_bytes(choices, "delta") == size
