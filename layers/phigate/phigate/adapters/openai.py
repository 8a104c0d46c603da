"""The OpenAI Chat Completions dialect, which is also the canonical one.

The body that comes in is canonical (`wire.openai.canonical`). What passes is what
`core.request.fields` lets pass; what is the gateway's is written after it and the row's own pins
last, so nothing that a caller sent can overwrite them. An answer whose tool calls have another
shape is malformed.
https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Mapping
from typing import Any

from phigate.adapters.adapter import Adapter, WirePlan, WireRequest
from phigate.core.errors import UpstreamFailed
from phigate.core.json_bounds import is_too_much
from phigate.core.request.fields import MEMBERS, parameters, unsupported
from phigate.core.types import Json, Place, Row
from phigate.wire import sse
from phigate.wire.openai.answer_json import read_json

_KEPT_HERE = frozenset(name for name, field in MEMBERS.items() if field.openai != "passed")
_EFFORT_DEFAULT = "medium"  # what OpenAI's own models do when nobody says
_REFUSAL_CHARS_MAX = 2_000  # of a provider's error text handed to the caller


def request(body: Json, row: Row, place: Place, plan: WirePlan) -> WireRequest:
    """The upstream body for one turn. Null members are left out: absent means the same."""
    out = {
        name: value for name, value in body.items() if value is not None and name not in _KEPT_HERE
    }
    dropped = unsupported(parameters(body), row)
    for name in (*dropped, *row.drops):
        out.pop(name, None)
    if "messages" in out:
        out["messages"] = [_without_nulls(message) for message in out["messages"]]
    if "reasoning" in body and "reasoning_effort" not in out:
        _write_effort(out, body["reasoning"], row)
    if body.get("provider_options"):
        out.update(body["provider_options"].get(row.provider, {}))
    out.update(plan.keyed)
    out["model"] = row.model
    out[row.max_tokens_name] = plan.tokens_out
    if plan.stream:
        out["stream"] = True
        out["stream_options"] = {"include_usage": True}
    out.update(place.pins)
    return WireRequest(out, dropped)


def _write_effort(out: Json, reasoning: Json, row: Row) -> None:
    """This dialect has no switch: a caller who turns reasoning on gets an effort."""
    if reasoning.get("enabled") is True and "reasoning_effort" not in row.drops:
        out["reasoning_effort"] = _EFFORT_DEFAULT


def _without_nulls(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Clients echo an answer's message with its null members; some upstreams refuse those."""
    if None not in message.values():
        return message
    return {
        name: value
        for name, value in message.items()
        if value is not None or (name == "content" and message.get("tool_calls"))
    }


def answer(body: bytes) -> Json | None:
    """A whole answer, or None when it is not one (not JSON, no choices, an error in a 200)."""
    value = _object(body)
    if value is None or value.get("error") is not None:
        return None
    choices = value.get("choices")
    if not choices or not _is_list_of_objects(choices):
        return None
    for choice in choices:
        if choice.get("message") is None and isinstance(choice.get("finish_reason"), str):
            # It has ended without a word, its tokens spent on reasoning: an answer, and charged.
            choice["message"] = {"role": "assistant", "content": None}
    return value if all(_is_message(choice.get("message")) for choice in choices) else None


def refusal(body: bytes) -> tuple[str, str | None]:
    """The provider's message and param; both are shown to the caller only."""
    value = _object(body) or {}
    error = value.get("error", value)
    if not isinstance(error, dict):
        return (str(error)[:_REFUSAL_CHARS_MAX], None)
    message = error.get("message") or error.get("detail") or "no reason given"
    param = error.get("param")
    return (str(message)[:_REFUSAL_CHARS_MAX], param if isinstance(param, str) else None)


class ChunkDecoder:
    """Chunks of a stream; ends at `data: [DONE]`."""

    def __init__(self) -> None:
        self.ended = False
        self.failed: str | None = None
        self._events = sse.EventDecoder()
        self._unread = b""

    def feed(self, piece: bytes) -> list[Json]:
        """The chunks that `piece` completes. After an end or a failure nothing more comes."""
        chunks: list[Json] = []
        try:
            events = self._events.feed(piece)
        except UpstreamFailed as failed:
            self.failed = failed.outcome
            return chunks
        for event in events:
            if self.ended or self.failed:
                break
            if event.data == b"[DONE]":
                self.ended = True
            else:
                self._chunk(event.data, chunks)
        return chunks

    @property
    def unfinished(self) -> bytes:
        """What has come of an event that is not whole, or is more than can be read."""
        return self._unread or self._events.unfinished

    def _chunk(self, data: bytes, chunks: list[Json]) -> None:
        value = _object(data)
        if value is None:
            self.failed = "malformed"
            if is_too_much(data):
                self.failed, self._unread = "oversized", data
        elif value.get("error") is not None:
            self.failed = "error_event"
        elif not _is_list_of_deltas(value.get("choices")) and not _is_usage_alone(value):
            self.failed = "malformed"
        else:
            chunks.append(value)


def _object(body: bytes) -> Json | None:
    try:
        value = read_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_usage_alone(chunk: Json) -> bool:
    return "usage" in chunk and chunk.get("choices") is None


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_list_of_deltas(choices: Any) -> bool:
    # Runs once a chunk: a plain loop costs a third of all() with a generator.
    if type(choices) is not list:
        return False
    for choice in choices:
        if type(choice) is not dict:
            return False
        delta = choice.get("delta")
        if delta is None:
            continue
        if type(delta) is not dict:
            return False
        calls = delta.get("tool_calls")
        if calls is not None and not _are_fragments(calls):
            return False
    return True


def _are_fragments(calls: Any) -> bool:
    """Pieces of tool calls; each may leave out what another has said."""
    return _is_list_of_objects(calls) and all(
        # Some providers leave the index out where there is one call.
        (call.get("index") is None or type(call["index"]) is int)
        and _is_text_or_null(call.get("id"))
        and _is_called_in_part(call.get("function"))
        for call in calls
    )


def _is_called_in_part(function: Any) -> bool:
    return function is None or (
        isinstance(function, dict)
        and _is_text_or_null(function.get("name"))
        and _is_text_or_null(function.get("arguments"))
    )


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    calls = message.get("tool_calls")
    return calls is None or (_is_list_of_objects(calls) and all(map(_is_call, calls)))


def _is_call(call: Json) -> bool:
    function = call.get("function")
    return (
        isinstance(call.get("id"), str)
        and isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )


ADAPTER = Adapter(
    path="/chat/completions",
    headers={},
    request=request,
    answer=answer,
    decoder=ChunkDecoder,
    refusal=refusal,
)
