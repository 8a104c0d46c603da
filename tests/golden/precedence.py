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
class Mistake:
    """What is wrong with a request: its headers, members of its body, of its key's policy, of its
    account and stack, or other things of the case."""

    headers: Mapping[str, str] = field(default_factory=dict)
    members: Json = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


# The first one counts.
MISTAKES: Mapping[str, Mistake] = {
    "the headers are long": Mistake({"x-long": "x" * 8_200}),
    "no key": Mistake(more={"key": None}),
    "the key has ended": Mistake(options={"expires_at_s": 1}),
    "an encoding": Mistake({"content-encoding": "gzip"}),
    "a large body": Mistake(more={"body": b" " * 5_000_001}),
    "a region that is none": Mistake({"x-region": "MOON"}),
    "a model tier that is none": Mistake({"x-model-tier": "huge"}),
    "PHI that is maybe": Mistake({"x-phi": "maybe"}),
    "no JSON": Mistake(more={"body": b"{"}),
    "many stops": Mistake(members={"stop": ["x"] * 17}),
    "a wrong type": Mistake(members={"temperature": "1"}),
    "no such zone": Mistake(members={"tools": [{**TIME, "timezone": "Mars/Olympus"}]}),
    "a place": Mistake(members={"geo": "x"}),
    "a store": Mistake(members={"store": True}),
    "options without a stream": Mistake(members={"stream_options": {"include_usage": True}}),
    "an image that is no https": Mistake(members={"messages": [user([GIF])]}),
    "two limits": Mistake(members={"max_completion_tokens": 3}),
    "a schema that is elsewhere": Mistake(members={"response_format": ELSEWHERE}),
    "a limit that is too high": Mistake(members={"max_tokens": 10**7}),
    "a region that the key may not": Mistake(policy={"regions": frozenset({"US"})}),
    "PHI that the key may not": Mistake(policy={"phi": "forbidden"}),
    "debug under PHI": Mistake({"x-phi": "true"}, members={"debug": {"trace": True}}),
    "a model that the key may not": Mistake(policy={"models": frozenset({"qwen3.5"})}),
    "no enclave, which the key requires": Mistake(
        members={"provider": {"confidential": False}}, policy={"confidential": "required"}
    ),
    "a region that is not served": Mistake(options={"regions": ("EU",)}),
    "no such model": Mistake(members={"model": "gpt-7"}),
    "no row": Mistake(members={"provider": {"only": ["nobody"]}}),
    "no certificate": Mistake({"x-phi": "true"}, more={"situation": "no receipt can be certified"}),
    "the key is disabled": Mistake(more={"situation": "the key is disabled"}),
    "no credit": Mistake(options={"credit_micros": 0}),
    "a limit of spending": Mistake(policy={"spend_limit_micros": 1}),
}
# The checks of a plan, in their order, each with a request that it alone refuses.
CHECKED: Mapping[str, Mistake] = {
    "math_stream": Mistake(members={"stream": True}, more={"path": MATH}),
    "time_zone": MISTAKES["no such zone"],
    "members": MISTAKES["a place"],
    "store": MISTAKES["a store"],
    "service_tier": Mistake(members={"service_tier": "flex"}),
    "modalities": Mistake(members={"modalities": ["image"]}),
    "stream_options": MISTAKES["options without a stream"],
    "tool_choice": Mistake(members={"tool_choice": "required"}),
    "user": Mistake(members={"user": "a", "user_id": "b"}),
    "images": MISTAKES["an image that is no https"],
    "image_config": Mistake(
        {"x-phi": "true"},
        members={"image_config": {"font_inputs": [{"font_url": "https://example.org/f"}]}},
    ),
    "tokens_out": Mistake(members={"max_tokens": 2, "max_completion_tokens": 3}),
    "schemas": MISTAKES["a schema that is elsewhere"],
    "tokens_out_max": MISTAKES["a limit that is too high"],
    "key_region": MISTAKES["a region that the key may not"],
    "key_phi": Mistake({"x-phi": "true"}, policy={"phi": "forbidden"}),
    "debug": MISTAKES["debug under PHI"],
    "key_models": MISTAKES["a model that the key may not"],
    "key_confidential": MISTAKES["no enclave, which the key requires"],
    "region_served": MISTAKES["a region that is not served"],
    "model_known": MISTAKES["no such model"],
}


def _with(mistakes: list[Mistake], path: str) -> Case:
    """A request with these mistakes."""
    made = Mistake()
    for new in reversed(mistakes):  # the earlier one wins
        made = Mistake(
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
