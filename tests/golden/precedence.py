"""Which of several mistakes is answered: a request has every mistake from one on, in the order in
which docs/api.md lists them; or two mistakes, which two neighbouring checks of a plan refuse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.golden.bodies import CH, TIME, asks, user
from tests.golden.harness import CHAT, MATH, Case, Json, KeyPolicy

SENT_TO = ("/v1/chat/completions", "/v1/route")
GIF: Json = {"type": "image_url", "image_url": {"url": "http://example.org/a.gif"}}
ELSEWHERE: Json = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {"$ref": "https://example.org/s"}},
}


@dataclass(frozen=True)
class BodyMistake:
    """What is wrong with a request: its headers, members of its body, of its key's policy, of its
    account and stack, or other things of the case."""

    headers: Mapping[str, str] = field(default_factory=dict)
    members: Json = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


# The first one counts.
MISTAKES: Mapping[str, BodyMistake] = {
    "the headers are long": BodyMistake({"x-long": "x" * 8_200}),
    "no key": BodyMistake(more={"key": None}),
    "the key has ended": BodyMistake(options={"expires_at_s": 1}),
    "an encoding": BodyMistake({"content-encoding": "gzip"}),
    "a large body": BodyMistake(more={"body": b" " * 5_000_001}),
    "a region that is none": BodyMistake({"x-region": "MOON"}),
    "a model tier that is none": BodyMistake({"x-model-tier": "huge"}),
    "PHI that is maybe": BodyMistake({"x-phi": "maybe"}),
    "no JSON": BodyMistake(more={"body": b"{"}),
    "many stops": BodyMistake(members={"stop": ["x"] * 17}),
    "a wrong type": BodyMistake(members={"temperature": "1"}),
    "no such zone": BodyMistake(members={"tools": [{**TIME, "timezone": "Mars/Olympus"}]}),
    "a place": BodyMistake(members={"geo": "x"}),
    "a store": BodyMistake(members={"store": True}),
    "options without a stream": BodyMistake(members={"stream_options": {"include_usage": True}}),
    "an image that is no https": BodyMistake(members={"messages": [user([GIF])]}),
    "two limits": BodyMistake(members={"max_completion_tokens": 3}),
    "a schema that is elsewhere": BodyMistake(members={"response_format": ELSEWHERE}),
    "a limit that is too high": BodyMistake(members={"max_tokens": 10**7}),
    "a region that the key may not": BodyMistake(policy={"regions": frozenset({"US"})}),
    "PHI that the key may not": BodyMistake(policy={"phi": "forbidden"}),
    "debug under PHI": BodyMistake({"x-phi": "true"}, members={"debug": {"trace": True}}),
    "a model that the key may not": BodyMistake(policy={"models": frozenset({"qwen3.5"})}),
    "no enclave, which the key requires": BodyMistake(
        members={"provider": {"confidential": False}}, policy={"confidential": "required"}
    ),
    "a region that is not served": BodyMistake(options={"regions": ("EU",)}),
    "no such model": BodyMistake(members={"model": "gpt-7"}),
    "no row": BodyMistake(members={"provider": {"only": ["nobody"]}}),
    "no certificate": BodyMistake(
        {"x-phi": "true"}, more={"situation": "no receipt can be certified"}
    ),
    "the key is disabled": BodyMistake(more={"situation": "the key is disabled"}),
    "no credit": BodyMistake(options={"credit_micros": 0}),
    "a limit of spending": BodyMistake(policy={"spend_limit_micros": 1}),
}
# The checks of a plan, in their order, each with a request that it alone refuses.
CHECKED: Mapping[str, BodyMistake] = {
    "math_stream": BodyMistake(members={"stream": True}, more={"path": MATH}),
    "time_zone": MISTAKES["no such zone"],
    "members": MISTAKES["a place"],
    "store": MISTAKES["a store"],
    "service_tier": BodyMistake(members={"service_tier": "flex"}),
    "modalities": BodyMistake(members={"modalities": ["image"]}),
    "stream_options": MISTAKES["options without a stream"],
    "tool_choice": BodyMistake(members={"tool_choice": "required"}),
    "user": BodyMistake(members={"user": "a", "user_id": "b"}),
    "images": MISTAKES["an image that is no https"],
    "image_config": BodyMistake(
        {"x-phi": "true"},
        members={"image_config": {"font_inputs": [{"font_url": "https://example.org/f"}]}},
    ),
    "tokens_out": BodyMistake(members={"max_tokens": 2, "max_completion_tokens": 3}),
    "schemas": MISTAKES["a schema that is elsewhere"],
    "tokens_out_max": MISTAKES["a limit that is too high"],
    "key_region": MISTAKES["a region that the key may not"],
    "key_phi": BodyMistake({"x-phi": "true"}, policy={"phi": "forbidden"}),
    "debug": MISTAKES["debug under PHI"],
    "key_models": MISTAKES["a model that the key may not"],
    "key_confidential": MISTAKES["no enclave, which the key requires"],
    "region_served": MISTAKES["a region that is not served"],
    "model_known": MISTAKES["no such model"],
}


def _with(mistakes: list[BodyMistake], path: str) -> Case:
    """A request with these mistakes."""
    made = BodyMistake()
    for new in reversed(mistakes):  # the earlier one wins
        made = BodyMistake(
            {**made.headers, **new.headers},
            {**made.members, **new.members},
            {**made.policy, **new.policy},
            {**made.options, **new.options},
            {**made.more, **new.more},
        )
    members: dict[str, Any] = {
        "body": asks(**made.members),
        "headers": {**CH, **made.headers},
        "policy": KeyPolicy(**made.policy),
        "options": made.options,
        "path": path,
        **made.more,
    }
    return Case(**members)


def _cases() -> Iterator[tuple[str, Case]]:
    names = list(MISTAKES)
    for path in SENT_TO:
        for first, name in enumerate(names):
            mistakes = [MISTAKES[each] for each in names[first:]]
            yield f"first at {path}: {name}", _with(mistakes, path)
    for first_name, second_name in pairwise(CHECKED):
        mistakes = [CHECKED[first_name], CHECKED[second_name]]
        yield before(first_name, second_name), _with(mistakes, CHAT)


def before(first: str, second: str) -> str:
    """The row of a request that both checks refuse."""
    return f"check: {first} before {second}"


PRECEDENCE_CASES: Mapping[str, Case] = dict(_cases())
