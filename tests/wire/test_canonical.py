"""One name for one thing: every alias folds, nothing is lost, and the body that came in stays."""

import copy
from typing import Any

import pytest

from phigate.core.types import Json
from phigate.wire.openai.canonical import canonical, image_config
from phigate.wire.openai.chat_body import read_chat
from tests.builders import make_body

HELLO = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

# Members beside a plain body, and what a plain body has instead of them.
FOLDS: dict[str, tuple[Json, Json]] = {
    "nothing to fold": ({"temperature": 1, "user": "u"}, {"temperature": 1, "user": "u"}),
    "system leads": (
        {"system": "Be brief"},
        {"messages": [{"role": "system", "content": "Be brief"}, HELLO]},
    ),
    "an empty system says nothing": ({"system": ""}, {}),
    "system null": ({"system": None}, {}),
    "effort": ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
    "effort of reasoning": (
        {"reasoning": {"effort": "low"}},
        {"reasoning_effort": "low", "reasoning": {"enabled": True}},
    ),
    "effort of thinking": (
        {"thinking": {"effort": "low"}},
        {"reasoning_effort": "low", "reasoning": {"enabled": True}},
    ),
    "reasoning over thinking": (
        {"thinking": {"effort": "low"}, "reasoning": {"effort": "high"}},
        {"reasoning_effort": "high", "reasoning": {"enabled": True}},
    ),
    "effort over both": (
        {
            "thinking": {"effort": "low"},
            "reasoning": {"effort": "high"},
            "reasoning_effort": "medium",
        },
        {"reasoning_effort": "medium", "reasoning": {"enabled": True}},
    ),
    "what a later one is silent about stays": (
        {
            "thinking": {"budget_tokens": 7, "includeThoughts": True},
            "reasoning": {"summary": "auto"},
            "reasoning_effort": "high",
        },
        {
            "reasoning_effort": "high",
            "reasoning": {
                "max_tokens": 7,
                "include_thoughts": True,
                "summary": "auto",
                "enabled": True,
            },
        },
    ),
    "a budget over a budget": (
        {"thinking": {"maxTokens": 7}, "reasoning": {"max_tokens": 9}},
        {"reasoning": {"max_tokens": 9}},
    ),
    "the names of a budget": (
        {"thinking": {"maxTokens": 1, "max_tokens": 2, "budgetTokens": 3, "budget_tokens": 4}},
        {"reasoning": {"max_tokens": 4}},
    ),
    "snake case before camel": (
        {"reasoning": {"include_thoughts": False, "includeThoughts": True}},
        {"reasoning": {"include_thoughts": False}},
    ),
    "thinking on": ({"thinking": {"type": "enabled"}}, {"reasoning": {"enabled": True}}),
    "thinking off": (
        {"thinking": {"type": "disabled"}},
        {"reasoning_effort": "none", "reasoning": {"enabled": False}},
    ),
    "reasoning off over an effort of thinking": (
        {"thinking": {"effort": "high"}, "reasoning": {"enabled": False}},
        {"reasoning_effort": "none", "reasoning": {"enabled": False}},
    ),
    "an effort over thinking that is off": (
        {"thinking": {"type": "disabled"}, "reasoning": {"effort": "high"}},
        {"reasoning_effort": "high", "reasoning": {"enabled": True}},
    ),
    "reasoning on over the effort none": (
        {"thinking": {"effort": "none"}, "reasoning": {"enabled": True}},
        {"reasoning": {"enabled": True}},
    ),
    "empty objects say nothing": ({"reasoning": {}, "thinking": {}}, {}),
    "user_id": ({"user_id": "u"}, {"user": "u"}),
    "user and the same user_id": ({"user": "u", "user_id": "u"}, {"user": "u"}),
    "modalities in other words": (
        {"response_modalities": ["text"], "responseModalities": ["TEXT"]},
        {},
    ),
    "a format as text": (
        {"response_format": "json_object"},
        {"response_format": {"type": "json_object"}},
    ),
    "a format as an object": (
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "text"}},
    ),
    "no tools": ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    "tools": (
        {"tools": [TOOL], "tool_choice": "auto"},
        {"tools": [TOOL], "tool_choice": "auto"},
    ),
    "an image config in camel case": (
        {"imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"}},
        {"image_config": {"aspect_ratio": "1:1", "image_size": "1K"}},
    ),
    "snake case wins inside and outside": (
        {
            "image_config": {"image_size": "2K", "imageSize": "4K", "aspectRatio": "3:2"},
            "imageConfig": {"image_size": "1K", "include_rai_reason": True},
        },
        {
            "image_config": {
                "image_size": "2K",
                "aspect_ratio": "3:2",
                "include_rai_reason": True,
            }
        },
    ),
    "an empty image config": ({"image_config": {}}, {"image_config": {}}),
    "what clients echo": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "x",
                    "annotations": [{"type": "url_citation"}],
                    "provider_specific_fields": {"x": 1},
                    "images": [],
                    "audios": [],
                    "refusal": None,
                },
                HELLO,
            ]
        },
        {"messages": [{"role": "assistant", "content": "x", "refusal": None}, HELLO]},
    ),
    "what clients echo of a call": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            **CALL,
                            "index": 0,
                            "function": {
                                "name": "f",
                                "arguments": "{}",
                                "description": "d",
                                "parameters": {},
                            },
                        }
                    ],
                }
            ]
        },
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}]},
    ),
    "no calls": (
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": None}]},
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": None}]},
    ),
}


@pytest.mark.parametrize(("members", "folded"), FOLDS.values(), ids=FOLDS)
def test_a_body_folds_to(members: Json, folded: Json) -> None:
    body = make_body(**members)
    read_chat(body)
    before = copy.deepcopy(body)
    once = canonical(body)
    assert once == make_body(**folded)
    assert canonical(once) == once
    assert body == before


def test_a_plain_body_is_handed_on_as_it_is() -> None:
    body = make_body(temperature=1)
    assert canonical(body) is body


def test_a_dry_run_without_messages_folds_too() -> None:
    assert canonical({"model": "auto", "user_id": "u"}) == {"model": "auto", "user": "u"}
    assert canonical({"model": "auto", "system": "s"})["messages"] == [
        {"role": "system", "content": "s"}
    ]


@pytest.mark.parametrize("body", [{}, {"image_config": None}, {"imageConfig": None}])
def test_no_image_config_is_none(body: dict[str, Any]) -> None:
    assert image_config(body) is None
