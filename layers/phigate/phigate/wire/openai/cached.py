"""An answer without what its upstream says of its cache (`core.request.prompt_cache`, law 2).

Law: two answers that differ in cached counts alone become the same. Providers spell these counts in
many ways and places, and some only where there is something to count; so of the envelope, of each
choice and of the usage only what is listed here is kept, and nothing that is named for a cache.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from phigate.core.types import Json

# OpenAI's envelope; a canonical answer of another dialect has no more than this.
_ENVELOPE = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"}
)
# A whole answer of Anthropic's as it came over the wire, for `debug`.
_WIRE = (_ENVELOPE - {"usage"}) | {
    "type",
    "role",
    "content",
    "stop_reason",
    "stop_sequence",
    "stop_details",
}
_CHOICE = frozenset(
    {"index", "message", "delta", "finish_reason", "raw_finish_reason", "stop_reason", "logprobs"}
)
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "inference_geo")
_DETAILS = "completion_tokens_details"
_WRITTEN = ("message", "delta")
# What nearly every message and delta has; of the rest the names are looked at.
_PLAIN = frozenset(
    {"role", "content", "reasoning_content", "reasoning", "refusal", "tool_calls", "annotations"}
)
# Of these the names inside are looked at, too; there are few of them, and seldom.
_NESTED = ("tool_calls", "annotations")
_NESTED_LEVELS = 3  # of the list, its items, what is in an item
# Names of counts that some upstreams put beside what the model wrote.
_COUNTED = ("cache", "usage", "timing", "metric")


class _Decoder(Protocol):
    """See adapters.adapter.StreamDecoder."""

    ended: bool
    failed: str | None

    @property
    def unfinished(self) -> bytes: ...

    def feed(self, piece: bytes) -> list[Json]: ...


def without_cached(answer: Json) -> Json:
    """A canonical answer or chunk without cached counts; the same object where it has none."""
    if not (answer.keys() <= _ENVELOPE and _are_plain(answer.get("choices"))):
        answer = {name: value for name, value in answer.items() if name in _ENVELOPE}
        if answer.get("choices"):
            answer["choices"] = [_choice(choice) for choice in answer["choices"]]
    if answer.get("usage") is not None:
        answer = {**answer, "usage": _usage(answer["usage"])}
    return answer


def wire_without_cached(received: Any) -> Any:
    """An upstream's whole body as `debug` may show it. Its usage stands in the answer itself."""
    if not isinstance(received, dict):
        return None
    shown = {name: value for name, value in received.items() if name in _WIRE}
    choices = shown.get("choices")
    if isinstance(choices, list):
        shown["choices"] = [_choice(choice) for choice in choices if isinstance(choice, dict)]
    return shown


class UncachedDecoder:
    """A StreamDecoder whose chunks hold no cached counts."""

    def __init__(self, decoder: _Decoder) -> None:
        self._decoder = decoder
        self.ended = decoder.ended
        self.failed = decoder.failed

    @property
    def unfinished(self) -> bytes:
        """See StreamDecoder."""
        return self._decoder.unfinished

    def feed(self, piece: bytes) -> list[Json]:
        """See StreamDecoder."""
        chunks = [without_cached(chunk) for chunk in self._decoder.feed(piece)]
        self.ended, self.failed = self._decoder.ended, self._decoder.failed
        return chunks


def _are_plain(choices: Any) -> bool:
    # Runs once a chunk under PHI, and nearly all are plain.
    for choice in choices or ():
        if not choice.keys() <= _CHOICE or choice.get("logprobs"):
            return False
        for name in _WRITTEN:
            written = choice.get(name)
            if written is None:
                continue
            if not written.keys() <= _PLAIN:
                return False
            if written.get("tool_calls") or written.get("annotations"):
                return False
    return True


def _choice(choice: Mapping[str, Any]) -> Json:
    kept = {name: value for name, value in choice.items() if name in _CHOICE}
    if isinstance(kept.get("logprobs"), dict):
        kept["logprobs"] = _uncounted(kept["logprobs"], 1)
    for name in _WRITTEN:
        written = kept.get(name)
        if isinstance(written, dict):
            kept[name] = {
                member: _uncounted(value, _NESTED_LEVELS) if member in _NESTED else value
                for member, value in written.items()
                if not _is_counted(member)
            }
    return kept


def _uncounted(value: Any, levels: int) -> Any:
    """The value without members that are named for a count, down to so many levels."""
    if levels == 0:
        return value
    if isinstance(value, list):
        return [_uncounted(each, levels - 1) for each in value]
    if isinstance(value, dict):
        return {
            name: _uncounted(each, levels - 1)
            for name, each in value.items()
            if not _is_counted(name)
        }
    return value


def _usage(reported: Any) -> Json:
    """What may be believed and told of it; nothing where it is no object, which counts as none."""
    if not isinstance(reported, dict):
        return {}
    usage: Json = {name: reported[name] for name in _COUNTS if name in reported}
    said = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if all(type(count) is int for count in said) and "total_tokens" in usage:
        # A provider's own sum may leave out what was cached.
        usage["total_tokens"] = sum(count for count in said if type(count) is int)
    details = reported.get(_DETAILS)
    if isinstance(details, dict):
        # Numbers alone: whatever is inside an object could be a count under any name.
        usage[_DETAILS] = {
            n: count
            for n, count in details.items()
            if not _is_counted(n) and not isinstance(count, dict | list)
        }
    return usage


def _is_counted(name: str) -> bool:
    return any(word in name.lower() for word in _COUNTED)
