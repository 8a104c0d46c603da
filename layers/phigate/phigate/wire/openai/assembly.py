"""Chunks of a stream as the whole answer that the upstream would have written in one piece.

Law 1: nothing is lost: texts are joined, calls merged by their index, lists extended; of anything
else the last that was said stands.
Law 2: what may be large (log probabilities, lists, members that nobody here knows) is cleaned and
written out as it comes, so that no step works on more than one event.
https://platform.openai.com/docs/api-reference/chat-streaming
"""

from typing import Any

import orjson

from phigate.core.errors import UpstreamFailed
from phigate.core.limits import ANSWER_PARTS_MAX
from phigate.core.types import Json
from phigate.wire.openai.answer import clean

# Texts that come in pieces, wherever they stand in a message.
_PIECES = frozenset(
    {
        *("content", "refusal", "reasoning", "reasoning_content", "thinking"),
        *("arguments", "text", "summary", "data", "transcript"),
    }
)
# Members that are a text, or a list of typed blocks (`thinking` is one in a block of its kind).
_BLOCKS = frozenset({"content", "thinking"})
_CHUNKS_OWN = frozenset({"choices", "usage", "object", "obfuscation"})
_CHOICES_OWN = frozenset({"index", "message"})  # one provider says all of it again in `message`
_FIRST_STANDS = frozenset({"id", "created", "model"})


class Assembly:
    """State over the chunks of one stream. Raises UpstreamFailed("oversized") above
    ANSWER_PARTS_MAX."""

    def __init__(self) -> None:
        self._answer: Json = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: Any = None
        self._count = _Count()

    def feed(self, chunk: Json) -> None:
        """Take one canonical chunk in."""
        if (usage := chunk.get("usage")) is not None:
            self._usage = usage
        for name, value in chunk.items():
            if name in _CHUNKS_OWN or (value is None and name in self._answer):
                continue
            if name not in self._answer or name not in _FIRST_STANDS:
                self._count.one(name not in self._answer)
                self._answer[name] = _written(value)
        for place, choice in enumerate(chunk.get("choices") or ()):
            index = choice.get("index")
            at = index if type(index) is int else place
            if at not in self._choices:
                self._count.one()
                self._choices[at] = _Choice(self._count)
            self._choices[at].feed(choice)

    @property
    def is_finished(self) -> bool:
        """Whether every choice has said why it ended: some providers say nothing after that."""
        return bool(self._choices) and all(each.is_finished for each in self._choices.values())

    def answer(self) -> Json | None:
        """The whole answer, or None where no choice came. Members that were written out already
        are orjson.Fragment."""
        if not self._choices:
            return None
        choices = [self._choices[at].whole(at) for at in sorted(self._choices)]
        answer = {**self._answer, "object": "chat.completion", "choices": choices}
        return answer if self._usage is None else {**answer, "usage": self._usage}


class _Count:
    """Parts of the answer so far."""

    def __init__(self) -> None:
        self._parts = 0

    def one(self, is_more: bool = True) -> None:
        self._parts += is_more
        if self._parts > ANSWER_PARTS_MAX:
            raise UpstreamFailed("oversized")


class _List:
    """A list that grows, written out as it does."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def extend(self, items: list[Any]) -> None:
        if items:
            self._pieces.append(clean(items)[1:-1])

    def whole(self) -> orjson.Fragment:
        return orjson.Fragment(b"[" + b",".join(self._pieces) + b"]")


class _Choice:
    """One choice. Members beside its message that are lists, or lists by name, are large."""

    def __init__(self, count: _Count) -> None:
        self._count = count
        self._message = _Object(count)
        self._members: Json = {"finish_reason": None}

    def feed(self, choice: Json) -> None:
        for name, value in choice.items():
            if name == "delta":
                if value:
                    self._message.feed(value)
            elif name not in _CHOICES_OWN:
                self._member(self._members, name, value)

    def _member(self, members: Json, name: str, value: Any) -> None:
        if value is None:
            members.setdefault(name, None)
        elif type(value) is list:
            self._count.one(name not in members)
            if not isinstance(members.get(name), _List):
                members[name] = _List()
            members[name].extend(value)
        elif name == "logprobs" and type(value) is dict:
            if not isinstance(members.get(name), dict):
                members[name] = {}
            for inner, listed in value.items():
                self._member(members[name], inner, listed)
        elif value != {} or name not in members:
            self._count.one(name not in members)
            members[name] = _written(value)

    @property
    def is_finished(self) -> bool:
        return self._members["finish_reason"] is not None

    def whole(self, index: int) -> Json:
        members = {name: _whole(value) for name, value in self._members.items()}
        message = {"role": "assistant", "content": None} | self._message.whole()
        message["role"] = message["role"] or "assistant"
        calls = message.get("tool_calls")
        if members["finish_reason"] is None:
            members["finish_reason"] = "tool_calls" if calls else "stop"
        return {"index": index, "message": message, **members}


class _Object:
    """A message, or an object in it."""

    def __init__(self, count: _Count) -> None:
        self._count = count
        self._members: dict[str, Any] = {}

    def feed(self, delta: Json) -> None:
        for name, value in delta.items():
            kind = type(value)
            if value is None:
                self._members.setdefault(name, None)
            elif kind is dict:
                self._growing(name, _Object).feed(value)
            elif kind is list:
                self._listed(name, value)
            elif kind is str:
                self._said(name, value)
            else:
                self._begin(name, value)

    def whole(self) -> Json:
        return {name: _whole(value) for name, value in self._members.items()}

    def _said(self, name: str, text: str) -> None:
        before = self._members.get(name)
        if name in _PIECES:
            if type(before) is _Blocks:
                before.feed([{"type": "text", "text": text}] if text else [])
            else:
                (before if type(before) is _Text else self._begin(name, _Text())).append(text)
        elif name == "name" and type(before) is str and before and text != before:
            self._members[name] += text
        elif text or not before:
            # Some say a call's id and name again, or empty ones, with every piece.
            self._begin(name, text)

    def _listed(self, name: str, items: list[Any]) -> None:
        if name not in _BLOCKS:
            kind = _Calls if name == "tool_calls" else _Items
            self._growing(name, kind).feed(items)
            return
        before = self._members.get(name)
        blocks = self._growing(name, _Blocks)
        if type(before) is _Text and (text := before.whole()):
            blocks.feed([{"type": "text", "text": text}])
        blocks.feed(items)

    def _growing(self, name: str, kind: Any) -> Any:
        before = self._members.get(name)
        return before if type(before) is kind else self._begin(name, kind(self._count))

    def _begin(self, name: str, value: Any) -> Any:
        self._count.one(name not in self._members)
        self._members[name] = value
        return value


class _Text(list[str]):
    """A text in pieces."""

    def whole(self) -> str:
        return "".join(self)


class _Items:
    """A list in a message. Items with an index are merged by it, others follow one another."""

    def __init__(self, count: _Count) -> None:
        self._count = count
        self._merged: dict[int, _Object] = {}
        self._items: list[Any] = []

    def feed(self, items: list[Any]) -> None:
        for place, item in enumerate(items):
            index = self._index(item, place)
            if index is None:
                self._count.one()
                self._items.append(_written(item))
                continue
            if index not in self._merged:
                self._count.one()
                self._merged[index] = _Object(self._count)
                self._items.append(self._merged[index])
            self._merged[index].feed(item)

    def _index(self, item: Any, place: int) -> int | None:
        index = item.get("index") if type(item) is dict else None
        return index if type(index) is int else None

    def whole(self) -> list[Any]:
        return [_whole(item) for item in self._items]


class _Calls(_Items):
    """Tool calls, in the order of their indexes; some providers leave it out where there is one."""

    def _index(self, item: Any, place: int) -> int | None:
        index = super()._index(item, place)
        return place if index is None else index

    def whole(self) -> list[Any]:
        return [_call(self._merged[index].whole()) for index in sorted(self._merged)]


class _Blocks:
    """Content in blocks: pieces of one kind that follow one another are one block."""

    def __init__(self, count: _Count) -> None:
        self._count = count
        self._blocks: list[tuple[object, Any]] = []

    def feed(self, blocks: list[Any]) -> None:
        for block in blocks:
            kind = block.get("type") if type(block) is dict else None
            if kind is None or not self._blocks or self._blocks[-1][0] != kind:
                self._count.one()
                inner = _Object(self._count) if kind is not None else _written(block)
                self._blocks.append((kind, inner))
            if kind is not None:
                self._blocks[-1][1].feed(block)

    def whole(self) -> list[Any]:
        return [_whole(block) for _, block in self._blocks]


def _call(call: Json) -> Json:
    """A tool call as a whole answer has it: without its index, with every member that it must."""
    function = call.get("function") or {}
    named = {"name": "", "arguments": "", **{k: v for k, v in function.items() if v is not None}}
    kept = {name: value for name, value in call.items() if name != "index" and value is not None}
    return {"id": "", "type": "function", **kept, "function": named}


def _whole(value: Any) -> Any:
    if isinstance(value, _Object | _Text | _Items | _Blocks | _List):
        return value.whole()
    if type(value) is dict:
        return {name: _whole(member) for name, member in value.items()}
    return value


def _written(value: Any) -> Any:
    return orjson.Fragment(clean(value)) if isinstance(value, dict | list) else value
