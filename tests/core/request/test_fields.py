"""The table of members holds every field of the two public descriptions, for both dialects."""

from typing import Any

import pytest

from phigate.core.request.fields import (
    DROPPABLE,
    FIELDS,
    HANDLINGS,
    MEMBERS,
    parameters,
    unsupported,
)
from phigate.core.types import Json
from phigate.wire.openai.chat_body import ChatBody
from tests.builders import make_body, make_row

# The request members that callers were promised, by hand: none may lack its line in the table.
PROMISED_FIELDS = [
    "model",
    "messages",
    "system",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tool_calls",
    "response_format",
    "modalities",
    "response_modalities",
    "responseModalities",
    "image_config",
    "imageConfig",
    "usage",
    "provider",
    "provider_options",
    "user",
    "user_id",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "speed",
    "metadata",
    "store",
    "meta",
    "debug",
    "echo_upstream_request",
    "reasoning",
    "thinking",
    "reasoning_effort",
    "reasoning.effort",
    "reasoning.summary",
    "reasoning.enabled",
    "reasoning.max_tokens",
    "reasoning.include_thoughts",
    "reasoning.includeThoughts",
    "thinking.type",
    "thinking.enabled",
    "thinking.effort",
    "thinking.include_thoughts",
    "thinking.includeThoughts",
    "thinking.max_tokens",
    "thinking.maxTokens",
    "thinking.budget_tokens",
    "thinking.budgetTokens",
    "image_config.aspect_ratio",
    "image_config.aspectRatio",
    "image_config.image_size",
    "image_config.imageSize",
    "image_config.include_rai_reason",
    "image_config.includeRaiReason",
    "image_config.font_inputs",
    "image_config.fontInputs",
    "image_config.super_resolution_references",
    "image_config.superResolutionReferences",
    "image_config.reference_images",
    "image_config.referenceImages",
    "provider.order",
    "provider.only",
    "provider.ignore",
    "provider.include_alpha",
    "provider.allow_fallbacks",
    "provider.confidential",
    "provider.require_parameters",
    "debug.enabled",
    "debug.return_upstream_request",
    "debug.return_upstream_response",
    "debug.trace",
    "debug.trace_level",
]
OURS = {"n", "stream_options.include_usage", "cache_salt"}


def test_the_table_holds_every_field_of_the_seeds_and_no_other() -> None:
    assert set(FIELDS) == set(PROMISED_FIELDS) | OURS
    assert len(PROMISED_FIELDS) == len(set(PROMISED_FIELDS))


def test_the_table_is_the_body_that_is_checked() -> None:
    assert set(MEMBERS) == set(ChatBody.model_fields)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_says_in_a_sentence_what_becomes_of_it(name: str) -> None:
    field = FIELDS[name]
    assert {field.openai, field.anthropic} <= set(HANDLINGS)
    assert field.what.endswith(".")


@pytest.mark.parametrize(
    "name",
    ["debug", "meta", "provider", "echo_upstream_request", "max_tool_calls", "store"],
)
def test_what_speaks_to_the_gateway_alone_is_its_own_in_every_dialect(name: str) -> None:
    named = [field for known, field in FIELDS.items() if known.partition(".")[0] == name]
    assert {how for field in named for how in (field.openai, field.anthropic)} == {"own"}


def test_a_row_may_be_said_to_drop_what_would_pass() -> None:
    assert {"temperature", "top_k", "parallel_tool_calls", "reasoning_effort"} <= DROPPABLE
    assert DROPPABLE.isdisjoint({"messages", "tools", "model", "provider", "max_tokens"})


# Members, and the parameters that a row may fail to honour.
PARAMETERS: dict[str, tuple[Json, set[str]]] = {
    "none": ({}, set()),
    "what is ours": (
        {"provider": {"only": ["a"]}, "meta": True, "usage": True, "stream": True, "store": False},
        set(),
    ),
    "a limit is honoured everywhere": ({"max_tokens": 5}, set()),
    "sampling": ({"top_k": 4, "temperature": 0.5}, {"top_k", "temperature"}),
    "values that ask for nothing": (
        {"temperature": 1, "n": 1, "logprobs": False, "metadata": {}, "frequency_penalty": 0.0},
        set(),
    ),
    "null": ({"top_k": None, "reasoning": None}, set()),
    "members of reasoning": (
        {"reasoning": {"max_tokens": 5, "enabled": True}},
        {"reasoning.max_tokens", "reasoning.enabled"},
    ),
    "a seed past 64 bits": ({"seed": 2**63}, {"seed", "seed beyond 64 bits"}),
    "a seed of 64 bits": ({"seed": 2**63 - 1}, {"seed"}),
    "a hot temperature": ({"temperature": 1.5}, {"temperature", "temperature above 1"}),
    "two ways to sample": (
        {"temperature": 0.5, "top_p": 0.5},
        {"temperature", "top_p", "top_p beside temperature"},
    ),
    "an unknown member": ({"min_p": 0.1}, {"min_p"}),
}


@pytest.mark.parametrize(("members", "names"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_are_what_may_be_lost(members: Json, names: set[str]) -> None:
    assert parameters(make_body(**members)) == names


CLAUDE = {"dialect": "anthropic"}
STRICT_CLAUDE = {"dialect": "anthropic", "api_version": "2026-10-21"}
TOOLS: Json = {"tools": [{}], "tool_choice": "auto", "parallel_tool_calls": False}
SAMPLING: Json = {"temperature": 0.5, "top_k": 3}
# Members, changes of the row, and what is lost.
LOST: dict[str, tuple[Json, dict[str, Any], tuple[str, ...]]] = {
    "nothing asked": ({}, {}, ()),
    "an OpenAI row takes sampling": (SAMPLING, {}, ()),
    "an OpenAI row says what it does not take": (
        SAMPLING,
        {"drops": frozenset({"top_k", "seed"})},
        ("top_k",),
    ),
    "one choice": ({"n": 2}, {}, ("n",)),
    "labels and speed": ({"speed": "fast", "metadata": {"a": "b"}}, {}, ("metadata", "speed")),
    "no images": ({"image_config": {"image_size": "1K"}}, {}, ("image_config",)),
    "a budget of reasoning": (
        {"reasoning_effort": "low", "reasoning": {"max_tokens": 5, "enabled": True}},
        {},
        ("reasoning.max_tokens",),
    ),
    "a budget of reasoning at an Anthropic row": (
        {"reasoning": {"max_tokens": 5, "summary": "auto"}},
        CLAUDE,
        (),
    ),
    "tools at a row without": (
        TOOLS,
        {"supports_tools": False},
        ("tools", "tool_choice", "parallel_tool_calls"),
    ),
    "tools": (TOOLS, {}, ()),
    "a long seed": ({"seed": -(2**63) - 1}, {}, ("seed",)),
    "a seed": ({"seed": 7}, {}, ()),
    "an Anthropic row has no seed": ({"seed": 7}, CLAUDE, ("seed",)),
    "an Anthropic row samples": (SAMPLING, CLAUDE, ()),
    "an Anthropic row of a later version does not": (
        SAMPLING,
        STRICT_CLAUDE,
        ("temperature", "top_k"),
    ),
    "an Anthropic row is not hot": ({"temperature": 1.1}, CLAUDE, ("temperature",)),
    "an Anthropic row samples in one way": (
        {"temperature": 0.5, "top_p": 0.5},
        CLAUDE,
        ("top_p",),
    ),
    "an OpenAI row samples in two": ({"temperature": 1.5, "top_p": 0.5}, {}, ()),
    "an OpenAI row takes unknown members": ({"min_p": 0.1}, {}, ()),
    "an Anthropic row does not": ({"min_p": 0.1, "a": 1}, CLAUDE, ("a", "min_p")),
}


@pytest.mark.parametrize(("members", "row", "lost"), LOST.values(), ids=LOST)
def test_a_row_loses(members: Json, row: dict[str, Any], lost: tuple[str, ...]) -> None:
    assert unsupported(parameters(make_body(**members)), make_row(**row)) == lost
