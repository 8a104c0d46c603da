"""A streamed turn that may call the gateway's own tool: text passes at once, tool calls are held
back until the turn has ended and it is known whose they are.
"""

from phigate.core.types import Json


class ToolStream:
    """State of one turn. `is_first` is false for the turns that follow: the role was said."""

    def __init__(self, *, is_first: bool) -> None:
        self._is_first = is_first
        self._text: list[str] = []
        self._calls: dict[int, Json] = {}
        self._last: Json | None = None

    def feed(self, chunk: Json) -> Json | None:
        """The chunk as it may pass now, or None. Usage is summed and said at the end."""
        choices = chunk.get("choices")
        if not choices:
            return None
        chunk.pop("usage", None)
        choice = choices[0]
        delta = choice.get("delta") or {}
        for i, fragment in enumerate(delta.pop("tool_calls", None) or ()):
            self._merge(fragment, i)
        if isinstance(text := delta.get("content"), str):
            self._text.append(text)
        if not self._is_first:
            delta.pop("role", None)
        if choice.get("finish_reason"):
            self._last = chunk
            return None
        return chunk if delta else None

    def message(self) -> Json:
        """What the model said in this turn."""
        message: Json = {"role": "assistant", "content": "".join(self._text) or None}
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return message

    def ending(self, message: Json) -> list[Json]:
        """What was held back, when the turn is the answer: the caller's calls, then the end."""
        last = self._last
        if last is None:
            return []
        calls = message.get("tool_calls") or []
        choice = last["choices"][0]
        if not calls and choice.get("finish_reason") == "tool_calls":
            choice["finish_reason"] = "stop"
        if not calls:
            return [last]
        delta: Json = {"tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]}
        called = {**last, "choices": [{**choice, "delta": delta, "finish_reason": None}]}
        return [called, last]

    def _merge(self, fragment: Json, place: int) -> None:
        index = fragment.get("index")
        call = self._calls.setdefault(
            place if index is None else index,
            {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = fragment.get("id") or call["id"]
        function = fragment.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
