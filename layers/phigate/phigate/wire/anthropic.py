"""Anthropic's answers and stream events as canonical ones.

Law 1: an event becomes chunks as it arrives; nothing is held back but usage, which is complete only
at the end.
Law 2: the input of a call to ANSWER_TOOL is what the caller asked for as content.
Law 3: events, deltas and content blocks of kinds that are not in the tables are passed over: the
provider adds kinds within one API version. Anything misshapen is `malformed`.
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from phigate.core.errors import UpstreamFailed
from phigate.core.types import Json
from phigate.wire import sse

# The tool that a model is made to call where JSON is asked for and no schema can be enforced.
ANSWER_TOOL = "gateway_json_answer"

# Every error that a wrong shape causes below: a member that is missing, or of another type.
MISSHAPEN = (KeyError, TypeError, ValueError, AttributeError)

# From `stop_reason`. A reason that is not known here ends an answer like any other end.
FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# From a text delta's type: its member, and the canonical one. So also for whole blocks.
WRITTEN_DELTAS = {
    "text_delta": ("text", "content"),
    "thinking_delta": ("thinking", "reasoning_content"),
}
WRITTEN_BLOCKS = {"text": ("text", "content"), "thinking": ("thinking", "reasoning_content")}
CALL_BLOCK = "tool_use"
CALL_DELTA = "input_json_delta"
# Signatures have no canonical place, citations come with documents and server tools, which are
# never sent; redacted thinking is unreadable.
IGNORED_DELTAS = frozenset({"signature_delta", "citations_delta"})
IGNORED_BLOCKS = frozenset(
    {
        "redacted_thinking",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "container_upload",
    }
)
IGNORED_EVENTS = frozenset({"ping"})
_COUNTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "inference_geo",
)


def completion(body: bytes) -> Json | None:
    """A whole answer as a `chat.completion`, or None when it is not one."""
    try:
        value = orjson.loads(body)
        return _completion(value) if value["type"] == "message" else None
    except MISSHAPEN:
        return None


def _completion(message: Json) -> Json:
    written: dict[str, list[str]] = {}
    calls: list[Json] = []
    answers: list[str] = []
    for block in message["content"]:
        kind = block["type"]
        if kind in WRITTEN_BLOCKS:
            source, member = WRITTEN_BLOCKS[kind]
            written.setdefault(member, []).append(_text(block[source]))
        elif kind == CALL_BLOCK and block["name"] == ANSWER_TOOL:
            answers.append(_arguments(block["input"]))
        elif kind == CALL_BLOCK:
            calls.append(_call(_text(block["id"]), _text(block["name"]), block["input"]))
    texts = [*written.get("content", ()), *answers[:1]]
    said: Json = {"role": "assistant", "content": None if calls and not texts else "".join(texts)}
    if "reasoning_content" in written:
        said["reasoning_content"] = "".join(written["reasoning_content"])
    if calls:
        said["tool_calls"] = calls
    reason = _text(message["stop_reason"])
    if (refusal := _refusal(message)) is not None:
        said["refusal"] = refusal
    answer: Json = {
        "object": "chat.completion",
        "created": 0,
        "choices": [{"index": 0, "message": said, **_finish(reason, bool(calls))}],
    }
    usage = usage_of(message.get("usage") or {})
    return answer if usage is None else answer | {"usage": usage}


class Decoder:
    """Chunks of a stream; ends at `message_stop`."""

    def __init__(self) -> None:
        self.ended = False
        self.failed: str | None = None
        self._events = sse.Decoder()
        # By the index of its content block: a call's own index, None for the answer tool.
        self._calls: dict[int, int | None] = {}
        self._inputs: dict[int, str] = {}  # of calls of which no fragment has come yet
        self._calls_begun = 0
        self._has_answer = False
        self._finished = False
        self._counted: Json = {}
        self._has_usage = False

    def feed(self, piece: bytes) -> list[Json]:
        """The chunks that `piece` completes. After an end or a failure nothing more comes."""
        chunks: list[Json] = []
        if self.ended or self.failed:
            return chunks
        try:
            for event in self._events.feed(piece):
                value = orjson.loads(event.data)
                read = _READERS.get(value["type"])
                if read is not None:
                    read(self, value, chunks)
                    if self.ended or self.failed:
                        break
        except UpstreamFailed as failed:
            self.failed = failed.outcome
        except MISSHAPEN:
            self.failed = "malformed"
        return chunks

    def _error(self, _: Json, __: list[Json]) -> None:
        self.failed = "error_event"

    def _start(self, value: Json, chunks: list[Json]) -> None:
        self._count(value["message"].get("usage"))
        chunks.append(_chunk({"role": "assistant", "content": ""}))

    def _block_start(self, value: Json, chunks: list[Json]) -> None:
        block = value["content_block"]
        kind = block["type"]
        if kind in WRITTEN_BLOCKS:
            source, member = WRITTEN_BLOCKS[kind]
            if text := _text(block[source]):
                chunks.append(_chunk({member: text}))
        elif kind == CALL_BLOCK:
            self._call_start(value["index"], block, chunks)

    def _call_start(self, at: int, block: Json, chunks: list[Json]) -> None:
        # A whole input may stand here already, when no fragments follow.
        given = _arguments(block.get("input") or {})
        if block["name"] != ANSWER_TOOL:
            self._calls[at] = self._calls_begun
            begun = {"index": self._calls_begun, **_call(_text(block["id"]), _text(block["name"]))}
            self._calls_begun += 1
            chunks.append(_chunk({"tool_calls": [begun]}))
        elif self._has_answer:
            return
        else:
            self._has_answer = True
            self._calls[at] = None
        self._inputs[at] = given

    def _block_delta(self, value: Json, chunks: list[Json]) -> None:
        delta = value["delta"]
        kind = delta["type"]
        names = WRITTEN_DELTAS.get(kind)
        if names is not None:
            text = delta[names[0]]
            if type(text) is not str:
                raise TypeError("text that is none")
            if text:
                # Runs once for each piece of text; the rest of a stream is a handful of events.
                chunks.append(
                    {
                        "object": "chat.completion.chunk",
                        "created": 0,
                        "choices": [{"index": 0, "delta": {names[1]: text}, "finish_reason": None}],
                    }
                )
        elif kind == CALL_DELTA and value["index"] in self._calls:
            if fragment := _text(delta["partial_json"]):
                self._inputs.pop(value["index"], None)
                chunks.append(self._fragment(value["index"], fragment))

    def _block_stop(self, value: Json, chunks: list[Json]) -> None:
        # A tool without arguments is called with no fragment at all; its arguments are JSON still.
        given = self._inputs.pop(value["index"], None)
        if given is not None:
            chunks.append(self._fragment(value["index"], given))

    def _fragment(self, at: int, text: str) -> Json:
        index = self._calls[at]
        if index is None:
            return _chunk({"content": text})
        return _chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]})

    def _change(self, value: Json, chunks: list[Json]) -> None:
        delta, usage = value["delta"], value.get("usage")
        self._count(usage)
        self._has_usage |= usage is not None
        if delta.get("stop_reason") is not None and not self._finished:
            self._finished = True
            refusal = _refusal(delta)
            finish = _finish(_text(delta["stop_reason"]), self._calls_begun > 0)
            chunks.append(_chunk({} if refusal is None else {"refusal": refusal}, **finish))

    def _stop(self, _: Json, chunks: list[Json]) -> None:
        if not self._finished:
            self.failed = "malformed"
            return
        # What message_start reports of the output was counted before it was written.
        usage = usage_of(self._counted) if self._has_usage else None
        if usage is not None:
            chunks.append(_chunk({}) | {"choices": [], "usage": usage})
        self.ended = True

    def _count(self, usage: Json | None) -> None:
        """Counts are cumulative: a later one replaces an earlier."""
        for name in _COUNTS:
            if usage is not None and usage.get(name) is not None:
                self._counted[name] = usage[name]


def usage_of(counted: Mapping[str, Any]) -> Json | None:
    """Usage in canonical names, or None when a count is missing. What it says may be absurd."""
    read = counted.get("cache_read_input_tokens") or 0
    written = counted.get("cache_creation_input_tokens") or 0
    tokens = (counted.get("input_tokens"), counted.get("output_tokens"), read, written)
    counts = [count for count in tokens if type(count) is int]
    if len(counts) != len(tokens):
        return None
    tokens_in = counts[0] + read + written
    usage: Json = {
        "prompt_tokens": tokens_in,
        "completion_tokens": counts[1],
        "total_tokens": tokens_in + counts[1],
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    details = counted.get("output_tokens_details") or {}
    if details.get("thinking_tokens") is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": details["thinking_tokens"]}
    if counted.get("inference_geo") is not None:
        usage["inference_geo"] = counted["inference_geo"]
    return usage


def refusal(body: bytes) -> str:
    """The provider's words in an error body."""
    try:
        return _text(orjson.loads(body)["error"]["message"])
    except MISSHAPEN:
        return "no reason given"


def _refusal(ending: Mapping[str, Any]) -> str | None:
    """Why the provider refused, where it says so; `ending` is a message or a message_delta."""
    details = ending.get("stop_details") or {}
    return _text(details["explanation"]) if details.get("explanation") else None


def _finish(reason: str, has_calls: bool) -> Json:
    # A model that called the answer tool alone has called nothing of the caller's.
    unified = FINISH_REASONS.get(reason, "stop")
    if unified == "tool_calls" and not has_calls:
        unified = "stop"
    return {"finish_reason": unified, "raw_finish_reason": reason}


def _chunk(delta: Json, **ending: str) -> Json:
    return {
        "object": "chat.completion.chunk",
        "created": 0,
        "choices": [{"index": 0, "delta": delta, "finish_reason": None, **ending}],
    }


def _call(call_id: str, name: str, given: Any = None) -> Json:
    arguments = "" if given is None else _arguments(given)
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _arguments(given: Any) -> str:
    if not isinstance(given, dict):
        raise TypeError("an input that is no object")
    return orjson.dumps(given).decode()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text that is none")
    return value


_READERS: Mapping[str, Callable[[Decoder, Json, list[Json]], None]] = {
    "message_start": Decoder._start,
    "content_block_start": Decoder._block_start,
    "content_block_delta": Decoder._block_delta,
    "content_block_stop": Decoder._block_stop,
    "message_delta": Decoder._change,
    "message_stop": Decoder._stop,
    "error": Decoder._error,
}
HANDLED_EVENTS = frozenset(_READERS)
