"""The Anthropic dialect against the types of the provider's own SDK.

Every request that the adapter emits is one that the SDK's types allow, with no member that they do
not name; every kind of event, delta, block and stop reason that they declare is handled or
knowingly passed over. A new SDK version that declares another kind fails here.
"""

from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import anthropic.types as declared
import pytest
from anthropic._constants import ANTHROPIC_API_VERSION
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from pydantic import BaseModel
from typing_extensions import get_type_hints, is_typeddict

from phigate.adapters.anthropic import EFFORTS, VERSIONS
from phigate.core.types import Json
from phigate.wire.anthropic.answer import CALL_BLOCK, FINISH_REASONS, IGNORED_BLOCKS, WRITTEN_BLOCKS
from phigate.wire.anthropic.stream import (
    CALL_DELTA,
    HANDLED_EVENTS,
    IGNORED_DELTAS,
    IGNORED_EVENTS,
    WRITTEN_DELTAS,
)
from tests.adapters.test_anthropic_requests import REQUESTS, sent

REQUIRED: Any = Required
WRAPPERS: tuple[Any, ...] = (Annotated, Required, NotRequired)
LITERALS: tuple[Any, ...] = (Literal,)
UNIONS: tuple[Any, ...] = (Union, UnionType)
# Members of 2023-06-01 that the SDK's types, made for 2026-10-21, have no more.
SAMPLING = {"temperature", "top_p", "top_k"}


def mistakes(value: Any, hint: Any, path: str = "body") -> list[str]:
    """Where `value` is not of the type; a member that the type does not name is a mistake."""
    origin: Any = get_origin(hint)
    inner = get_args(hint)
    if hint in (Any, object):
        return []
    if origin in WRAPPERS:
        return mistakes(value, inner[0], path)
    if origin in UNIONS:
        found = [mistakes(value, one, path) for one in inner]
        return [] if [] in found else min(found, key=len)
    if origin in LITERALS:
        return [] if value in inner else [f"{path}: {value!r} is not one of {inner}"]
    if is_typeddict(hint):
        return of_members(value, hint, path)
    return of_plain(value, hint, path)


def of_members(value: Any, hint: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is no object"]
    hints = get_type_hints(hint, include_extras=True)
    found = [f"{path}.{name} is not known" for name in value.keys() - hints.keys()]
    for name, one in hints.items():
        if name in value:
            found += mistakes(value[name], one, f"{path}.{name}")
        elif get_origin(one) == REQUIRED:
            found.append(f"{path}.{name} is missing")
    return found


def of_plain(value: Any, hint: Any, path: str) -> list[str]:
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if inner and isinstance(value, list) and origin is not dict:
        return [m for i, item in enumerate(value) for m in mistakes(item, inner[0], f"{path}.{i}")]
    if origin is dict:
        return [] if isinstance(value, dict) else [f"{path} is no object"]
    plain: dict[Any, Any] = {
        str: str,
        int: int,
        float: (int, float),
        bool: bool,
        NoneType: NoneType,
    }
    right = origin in plain and isinstance(value, plain[origin])
    right &= not isinstance(value, bool) or origin is bool
    return [] if right else [f"{path} is not of type {hint}"]


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_is_what_the_sdk_would_send(case: str) -> None:
    body = sent(case).body
    kind = MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming
    told = {name: value for name, value in body.items() if name not in SAMPLING}
    assert mistakes(told, kind) == []


WRONG: dict[str, Json] = {
    "no max_tokens": {"messages": [], "model": "m"},
    "an unknown member": {"messages": [], "model": "m", "max_tokens": 1, "seed": 1},
    "an unknown member inside": {
        "messages": [{"role": "user", "content": "x", "name": "y"}],
        "model": "m",
        "max_tokens": 1,
    },
    "another role": {
        "messages": [{"role": "tool", "content": "x"}],
        "model": "m",
        "max_tokens": 1,
    },
    "a wrong block": {
        "messages": [{"role": "user", "content": [{"type": "text", "txt": "x"}]}],
        "model": "m",
        "max_tokens": 1,
    },
    "a number that is a flag": {"messages": [], "model": "m", "max_tokens": True},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_the_check_itself_sees_a_wrong_request(body: Json) -> None:
    assert mistakes(body, MessageCreateParamsNonStreaming)


def kinds(union: Any) -> set[str]:
    """The values of `type` that the members of a union declare."""
    return {
        kind for model in models(union) for kind in get_args(model.model_fields["type"].annotation)
    }


def models(hint: Any) -> Iterable[type[BaseModel]]:
    if get_origin(hint) in (*WRAPPERS, *UNIONS):
        for one in get_args(hint):
            yield from models(one)
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint


DECLARED: Mapping[str, tuple[set[str], set[str]]] = {
    # Pings and errors are events of the stream that the SDK handles before its types come in.
    "events": (
        kinds(declared.RawMessageStreamEvent) | {"ping", "error"},
        set(HANDLED_EVENTS | IGNORED_EVENTS),
    ),
    "deltas": (
        kinds(declared.RawContentBlockDelta),
        {*WRITTEN_DELTAS, CALL_DELTA, *IGNORED_DELTAS},
    ),
    "content blocks": (
        kinds(declared.ContentBlock),
        {*WRITTEN_BLOCKS, CALL_BLOCK, *IGNORED_BLOCKS},
    ),
    "stop reasons": (set(get_args(declared.StopReason)), set(FINISH_REASONS)),
    "efforts": (
        {*get_args(get_args(get_type_hints(declared.OutputConfigParam)["effort"])[0])},
        set(EFFORTS),
    ),
}


@pytest.mark.parametrize("table", DECLARED)
def test_every_kind_that_the_sdk_declares_has_a_place(table: str) -> None:
    theirs, ours = DECLARED[table]
    assert ours == theirs


def test_the_version_that_the_sdk_asks_for_is_known() -> None:
    assert max(VERSIONS) == ANTHROPIC_API_VERSION
