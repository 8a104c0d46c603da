"""Anthropic's stream events as canonical chunks.

Law 1: an event becomes chunks as it arrives; nothing is held back but usage, which is complete only
at the end.
Law 2: events and deltas of kinds that are not in the tables are passed over: the provider adds
kinds within one API version. Anything misshapen is `malformed`.
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Callable, Mapping

from phigate.core.errors import UpstreamFailed
from phigate.core.types import Json
from phigate.wire import sse
from phigate.wire.anthropic.answer import (
    ANSWER_TOOL,
    CALL_BLOCK,
    MISSHAPEN,
    WRITTEN_BLOCKS,
    arguments_text,
    call,
    finish,
    refusal_text,
    text_of,
    usage_of,
)
from phigate.wire.openai.answer_json import read_json

# From a delta's type: its member, and the canonical one.
WRITTEN_DELTAS = {
    "text_delta": ("text", "content"),
    "thinking_delta": ("thinking", "reasoning_content"),
}
CALL_DELTA = "input_json_delta"
# Signatures have no canonical place; citations come with documents, which are never sent.
IGNORED_DELTAS = frozenset({"signature_delta", "citations_delta"})
IGNORED_EVENTS = frozenset({"ping"})
_COUNTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "inference_geo",
)


class MessageDecoder:
    """Chunks of a stream; ends at `message_stop`."""

    def __init__(self) -> None:
        self.ended = False
        self.failed: str | None = None
        self._events = sse.EventDecoder()
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
                value = read_json(event.data)
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

    @property
    def unfinished(self) -> bytes:
        """What has come of an event that is not whole."""
        return self._events.unfinished

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
            if text := text_of(block[source]):
                chunks.append(_chunk({member: text}))
        elif kind == CALL_BLOCK:
            self._call_start(value["index"], block, chunks)

    def _call_start(self, at: int, block: Json, chunks: list[Json]) -> None:
        # A whole input may stand here already, when no fragments follow.
        given = arguments_text(block.get("input") or {})
        if block["name"] != ANSWER_TOOL:
            self._calls[at] = self._calls_begun
            unfinished = {
                "index": self._calls_begun,
                **call(text_of(block["id"]), text_of(block["name"])),
            }
            self._calls_begun += 1
            chunks.append(_chunk({"tool_calls": [unfinished]}))
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
        elif kind == CALL_DELTA:
            self._call_delta(value["index"], text_of(delta["partial_json"]), chunks)

    def _call_delta(self, at: int, fragment: str, chunks: list[Json]) -> None:
        if fragment and at in self._calls:
            self._inputs.pop(at, None)
            chunks.append(self._fragment(at, fragment))

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
            why = refusal_text(delta)
            ending = finish(text_of(delta["stop_reason"]), self._calls_begun > 0)
            chunks.append(_chunk({} if why is None else {"refusal": why}, **ending))

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


def _chunk(delta: Json, **ending: str) -> Json:
    return {
        "object": "chat.completion.chunk",
        "created": 0,
        "choices": [{"index": 0, "delta": delta, "finish_reason": None, **ending}],
    }


_READERS: Mapping[str, Callable[[MessageDecoder, Json, list[Json]], None]] = {
    "message_start": MessageDecoder._start,
    "content_block_start": MessageDecoder._block_start,
    "content_block_delta": MessageDecoder._block_delta,
    "content_block_stop": MessageDecoder._block_stop,
    "message_delta": MessageDecoder._change,
    "message_stop": MessageDecoder._stop,
    "error": MessageDecoder._error,
}
HANDLED_EVENTS = frozenset(_READERS)
