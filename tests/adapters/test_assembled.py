"""Real streams of thirteen providers, assembled: nothing is lost, by the OpenAI SDK's judgement.

The SDK accumulates the same chunks in its own way, and its types read what we made of them.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openai._models import construct_type
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from phigate.adapters import ADAPTERS
from phigate.core.types import Json
from phigate.wire.openai import answer as openai
from phigate.wire.openai.assembly import Assembly

STREAMS = Path(__file__).parent / "streams"
STAMP = openai.Stamp("chatcmpl-1", "acme-one", 7)


def chunks_of(recorded: Json) -> list[Json]:
    """The canonical chunks of a recorded stream."""
    decoder = ADAPTERS[recorded["dialect"]].decoder()
    chunks = decoder.feed(recorded["response"]["body"].encode())
    assert decoder.ended
    assert decoder.failed is None
    return chunks


def ours(chunks: list[Json]) -> Json:
    """What the caller of a JSON call gets."""
    assembly = Assembly()
    for chunk in json.loads(json.dumps(chunks)):
        assembly.feed(chunk)
    answer = assembly.answer()
    assert answer is not None
    body: Json = json.loads(openai.assembled(answer, STAMP))
    return body


def theirs(chunks: list[Json]) -> ChatCompletion:
    """What the SDK makes of the stream."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of providers' own members
        for chunk in chunks:
            typed = construct_type(type_=ChatCompletionChunk, value=chunk)
            assert isinstance(typed, ChatCompletionChunk)
            state.handle_chunk(typed)
        return state.current_completion_snapshot


def without_nulls(value: Any) -> Any:
    """Absent and null are one to the SDK."""
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def said(choice: Any) -> dict[str, Any]:
    """What a choice says, as the SDK's types see it."""
    calls = choice.message.tool_calls or ()
    return {
        "finish": choice.finish_reason,
        "content": choice.message.content or "",
        "refusal": choice.message.refusal or "",
        "calls": [(c.id, c.type, c.function.name, c.function.arguments) for c in calls],
        "logprobs": None if choice.logprobs is None else choice.logprobs.to_dict().get("content"),
    }


@pytest.mark.parametrize("path", sorted(STREAMS.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_stream_comes_to_what_the_sdk_makes_of_it(path: Path) -> None:
    chunks = chunks_of(json.loads(path.read_text()))
    body = ours(chunks)
    whole = ChatCompletion.model_validate(body, strict=True)
    other = theirs(chunks)
    assert [said(choice) for choice in whole.choices] == [said(choice) for choice in other.choices]
    mine, usage = body.get("usage"), other.usage
    assert without_nulls(mine) == without_nulls(None if usage is None else usage.to_dict())
    assert (whole.id, whole.model, whole.object) == ("chatcmpl-1", "acme-one", "chat.completion")
    assert (whole.system_fingerprint or "") == max(
        (chunk.get("system_fingerprint") or "" for chunk in chunks), default=""
    )


@pytest.mark.parametrize("path", sorted(STREAMS.glob("*.json")), ids=lambda path: path.stem)
def test_reasoning_and_members_of_a_providers_own_are_kept(path: Path) -> None:
    chunks = chunks_of(json.loads(path.read_text()))
    message = ours(chunks)["choices"][0]["message"]
    deltas = [choice.get("delta") or {} for chunk in chunks for choice in chunk["choices"]]
    for name in ("reasoning", "reasoning_content"):
        texts = [each[name] for each in deltas if each.get(name)]
        assert (message.get(name) or "") == "".join(texts)
    details = [item for each in deltas for item in each.get("reasoning_details") or ()]
    kept = message.get("reasoning_details") or []
    for member in ("text", "summary", "data"):
        assert "".join(item.get(member) or "" for item in kept) == "".join(
            item.get(member) or "" for item in details
        )
    named = {name for each in deltas for name in each}
    beside = {name for chunk in chunks for name in chunk} - {"obfuscation", "stream_options", "p"}
    assert named <= message.keys()
    assert beside - {"usage"} <= ours(chunks).keys() | {"usage"}
