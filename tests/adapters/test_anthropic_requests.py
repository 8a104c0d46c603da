"""Requests in the Anthropic dialect: what goes upstream, and what is named as dropped."""

from typing import Any

import orjson
import pytest

from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import WirePlan, WireRequest
from phigate.core.errors import InvalidRequest
from phigate.core.request.fields import MEMBERS
from phigate.core.types import Json
from phigate.wire.anthropic.answer import ANSWER_TOOL
from phigate.wire.openai.canonical import canonical
from phigate.wire.openai.chat_body import read_chat
from tests.builders import make_body, make_place, make_row

ANTHROPIC = ADAPTERS["anthropic"]
PLAN = WirePlan(stream=False, tokens_out=500, keyed={})
HELLO = {"role": "user", "content": "Hello"}
HELLO_BLOCKS = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
PLAIN: Json = {"model": "upstream/acme-one", "max_tokens": 500, "messages": [HELLO_BLOCKS]}
NEWEST = {"api_version": "2026-10-21"}
DATA = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PNG = f"data:image/png;base64,{DATA}"


def text(value: str) -> Json:
    return {"type": "text", "text": value}


def tool(name: str = "f", **members: Any) -> Json:
    return {"type": "function", "function": {"name": name, **members}}


def call(call_id: str, arguments: str, name: str = "f") -> Json:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def schema_format(schema: Json | None, **members: Any) -> Json:
    named = {"name": "s", **members}
    if schema is not None:
        named["schema"] = schema
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def answer_tool(schema: Json, words: str = "The JSON object that was asked for.") -> Json:
    return {
        "name": ANSWER_TOOL,
        "description": f"Gives the final answer: the input of this tool is the answer. {words}",
        "input_schema": schema,
    }


ANSWER_CHOICE = {"type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": True}
F = {"name": "f", "input_schema": {"type": "object"}}
USE: Json = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
POINT: Json = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
OPEN_POINT = {name: value for name, value in POINT.items() if name != "additionalProperties"}
LIMITED = {
    **POINT,
    "properties": {"x": {"type": "integer", "minimum": 1, "description": "A number."}},
}
LIMITED_TOLD = {
    **POINT,
    "properties": {"x": {"type": "integer", "description": 'A number.\n\n{"minimum":1}'}},
}
MAP = {"type": "object", "additionalProperties": {"type": "integer"}}


class Case:
    """`sent` are the members beside PLAIN; None takes one of PLAIN's away."""

    def __init__(
        self,
        members: Json,
        sent: Json | None = None,
        *,
        dropped: tuple[str, ...] = (),
        row: dict[str, Any] | None = None,
        pins: Json | None = None,
        plan: WirePlan = PLAN,
    ) -> None:
        self.members = members
        self.sent = {**PLAIN, **(sent or {})}
        self.dropped = dropped
        self.row = row or {}
        self.pins = pins or {}
        self.plan = plan


def keyed(**names: str) -> WirePlan:
    return WirePlan(False, 500, names)


def messages(*listed: Json) -> Json:
    return {"messages": list(listed)}


def dropped(name: str, value: Any) -> Case:
    return Case({name: value}, dropped=(name,))


REQUESTS: dict[str, Case] = {
    "a plain body": Case({}),
    "a stream": Case({"stream": True}, {"stream": True}, plan=WirePlan(True, 500, {})),
    "max tokens are the plan's": Case(
        {"max_tokens": 7}, {"max_tokens": 7}, plan=WirePlan(False, 7, {})
    ),
    "all names for max tokens become one": Case(
        {"max_tokens": 500, "max_completion_tokens": 500, "max_output_tokens": 500}
    ),
    "null members are left out": Case(
        {"temperature": None, "tools": None, "stop": None, "response_format": None, "seed": None}
    ),
    "our own members stay here": Case(
        {
            "provider": {"order": ["acme"]},
            "usage": True,
            "store": False,
            "service_tier": "auto",
            "modalities": ["text"],
        }
    ),
    # Messages.
    "system and developer messages are lifted out, wherever they stand": Case(
        messages(
            {"role": "system", "content": "One"},
            HELLO,
            {"role": "developer", "content": [text("Two"), text("Three")]},
        ),
        {"system": [text("One"), text("Two"), text("Three")]},
    ),
    "messages of one role become one": Case(
        messages(HELLO, {"role": "user", "content": [text("there")]}),
        messages({"role": "user", "content": [text("Hello"), text("there")]}),
    ),
    "assistants in a row become one": Case(
        messages(
            HELLO,
            {"role": "assistant", "content": "A"},
            {"role": "assistant", "content": "B"},
            HELLO,
        ),
        messages(
            HELLO_BLOCKS, {"role": "assistant", "content": [text("A"), text("B")]}, HELLO_BLOCKS
        ),
    ),
    "empty text is left out": Case(
        messages(
            {"role": "system", "content": ""},
            HELLO,
            {"role": "assistant", "content": " \n"},
            {"role": "user", "content": [text(""), text("there")]},
        ),
        messages({"role": "user", "content": [text("Hello"), text("there")]}),
    ),
    "images by data and by link": Case(
        messages(
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
                ],
            }
        ),
        messages(
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": DATA},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
                ],
            }
        ),
    ),
    "an image's detail and a speaker's name are dropped and named": Case(
        messages(
            {
                "role": "user",
                "name": "x",
                "content": [
                    text("Hello"),
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                ],
            }
        ),
        messages(
            {
                "role": "user",
                "content": [
                    text("Hello"),
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": DATA},
                    },
                ],
            }
        ),
        dropped=("messages.name", "messages.content.image_url.detail"),
    ),
    "members that clients echo are not sent": Case(
        messages(
            HELLO,
            {
                "role": "assistant",
                "content": [{"type": "refusal", "refusal": "No."}],
                "refusal": None,
                "annotations": [],
                "audio": None,
                "reasoning_content": "Hm.",
            },
            HELLO,
        ),
        messages(HELLO_BLOCKS, {"role": "assistant", "content": [text("No.")]}, HELLO_BLOCKS),
    ),
    "calls and their results, then the user": Case(
        {
            **messages(
                HELLO,
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "tool_calls": [call("c1", '{"x": 1}'), call("c2", " ")],
                },
                {"role": "tool", "tool_call_id": "c2", "content": ""},
                {"role": "tool", "tool_call_id": "c1", "content": [text("1"), text("2")]},
                HELLO,
            ),
            "tools": [tool()],
        },
        {
            **messages(
                HELLO_BLOCKS,
                {
                    "role": "assistant",
                    "content": [
                        text("Let me see."),
                        {**USE, "input": {"x": 1}},
                        {**USE, "id": "c2"},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c2"},
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [text("1"), text("2")],
                        },
                        text("Hello"),
                    ],
                },
            ),
            "tools": [F],
        },
    ),
    "ids that another model made, and calls without tools": Case(
        messages(
            HELLO,
            {"role": "assistant", "tool_calls": [call("functions.f:0", "{}"), call("", "{}", "g")]},
            {"role": "tool", "tool_call_id": "functions.f:0", "content": "1"},
            {"role": "tool", "tool_call_id": "", "content": "2"},
        ),
        {
            **messages(
                HELLO_BLOCKS,
                {
                    "role": "assistant",
                    "content": [
                        {**USE, "id": "functions_2e_f_3a_0"},
                        {**USE, "id": "_", "name": "g"},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "functions_2e_f_3a_0",
                            "content": [text("1")],
                        },
                        {"type": "tool_result", "tool_use_id": "_", "content": [text("2")]},
                    ],
                },
            ),
            "tools": [F, {**F, "name": "g"}],
            "tool_choice": {"type": "none"},
        },
    ),
    # Tools.
    "a tool with everything": Case(
        {"tools": [tool(description="Does it.", parameters=POINT, strict=True)]},
        {"tools": [{**F, "description": "Does it.", "input_schema": POINT, "strict": True}]},
    ),
    "a tool's parameters without a type": Case(
        {"tools": [tool(parameters={"properties": {}}, strict=False)]},
        {"tools": [{**F, "input_schema": {"type": "object", "properties": {}}}]},
    ),
    "strict where it cannot be enforced is dropped and named": Case(
        {"tools": [tool(parameters=LIMITED, strict=True)]},
        {"tools": [{**F, "input_schema": LIMITED}]},
        dropped=("tools.function.strict",),
    ),
    "tool choice auto": Case({"tools": [tool()], "tool_choice": "auto"}, {"tools": [F]}),
    "tool choice none": Case(
        {"tools": [tool()], "tool_choice": "none", "parallel_tool_calls": False},
        {"tools": [F], "tool_choice": {"type": "none"}},
    ),
    "tool choice required": Case(
        {"tools": [tool()], "tool_choice": "required"},
        {"tools": [F], "tool_choice": {"type": "any"}},
    ),
    "tool choice by name": Case(
        {"tools": [tool()], "tool_choice": tool()},
        {"tools": [F], "tool_choice": {"type": "tool", "name": "f"}},
    ),
    "no parallel calls": Case(
        {"tools": [tool()], "parallel_tool_calls": False},
        {"tools": [F], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "no parallel calls, one required": Case(
        {"tools": [tool()], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [F], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    "parallel calls": Case({"tools": [tool()], "parallel_tool_calls": True}, {"tools": [F]}),
    "a choice among no tools": Case({"tool_choice": "none", "parallel_tool_calls": False}),
    "tools where the row has none are dropped and named": Case(
        {"tools": [tool()], "tool_choice": "auto", "parallel_tool_calls": False},
        dropped=("tools", "tool_choice", "parallel_tool_calls"),
        row={"supports_tools": False},
    ),
    # Sampling.
    "temperature": Case({"temperature": 0.5}, {"temperature": 0.5}),
    "temperature at its end": Case({"temperature": 1}, {"temperature": 1}),
    "temperature past its end is dropped and named": dropped("temperature", 1.01),
    "top_p and top_k": Case({"top_p": 0.5, "top_k": 40}, {"top_p": 0.5, "top_k": 40}),
    "temperature goes before top_p": Case(
        {"top_p": 0.5, "temperature": 0}, {"temperature": 0}, dropped=("top_p",)
    ),
    "top_p beside a temperature that is dropped": Case(
        {"top_p": 0.5, "temperature": 2}, {"top_p": 0.5}, dropped=("temperature",)
    ),
    "the newest version takes no sampling, even at its defaults": Case(
        {"temperature": 1, "top_p": 1, "top_k": 1},
        dropped=("temperature", "top_p", "top_k"),
        row=NEWEST,
    ),
    "stop as text": Case({"stop": "END"}, {"stop_sequences": ["END"]}),
    "stop of white space is dropped and named": Case(
        {"stop": ["\n", "END", ""]}, {"stop_sequences": ["END"]}, dropped=("stop",)
    ),
    # Formats.
    "the text format": Case({"response_format": "text"}),
    "the text format as an object": Case({"response_format": {"type": "text"}}),
    "a schema that can be told": Case(
        schema_format(POINT, strict=True),
        {"output_config": {"format": {"type": "json_schema", "schema": POINT}}},
    ),
    "an open schema is told closed": Case(
        schema_format(OPEN_POINT),
        {"output_config": {"format": {"type": "json_schema", "schema": POINT}}},
    ),
    "limits go in words": Case(
        schema_format(LIMITED),
        {"output_config": {"format": {"type": "json_schema", "schema": LIMITED_TOLD}}},
    ),
    "a schema that cannot be told becomes a tool": Case(
        schema_format(MAP, description="A map."),
        {"tools": [answer_tool(MAP, "A map.")], "tool_choice": ANSWER_CHOICE},
    ),
    "a row without structured output gets a tool": Case(
        schema_format(POINT),
        {"tools": [answer_tool(POINT)], "tool_choice": ANSWER_CHOICE},
        row={"supports_json_schema": False},
    ),
    "no schema": Case(
        schema_format(None),
        {"tools": [answer_tool({"type": "object"})], "tool_choice": ANSWER_CHOICE},
    ),
    "any object": Case(
        {"response_format": {"type": "json_object"}},
        {"tools": [answer_tool({"type": "object"})], "tool_choice": ANSWER_CHOICE},
    ),
    "any object, as text, of a row without tools is dropped and named": Case(
        {"response_format": "json_object"},
        dropped=("response_format",),
        row={"supports_tools": False},
    ),
    "any object beside the caller's tools": Case(
        {"response_format": "json_object", "tools": [tool()], "parallel_tool_calls": False},
        {
            "tools": [F, answer_tool({"type": "object"})],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        },
    ),
    "any object, and no call of the caller's tools": Case(
        {"response_format": "json_object", "tools": [tool()], "tool_choice": "none"},
        {"tools": [F, answer_tool({"type": "object"})], "tool_choice": ANSWER_CHOICE},
    ),
    "any object, but a call first": Case(
        {"response_format": "json_object", "tools": [tool()], "tool_choice": "required"},
        {"tools": [F], "tool_choice": {"type": "any"}},
    ),
    # Reasoning.
    "effort": Case(
        {"reasoning_effort": "high"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    "no effort": Case({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "an effort that there is not is dropped and named": dropped("reasoning_effort", "minimal"),
    "effort beside a schema": Case(
        {"reasoning_effort": "low", **schema_format(POINT)},
        {
            "thinking": {"type": "adaptive"},
            "output_config": {
                "format": {"type": "json_schema", "schema": POINT},
                "effort": "low",
            },
        },
    ),
    "reasoning by its object": Case(
        {"reasoning": {"effort": "low", "include_thoughts": True}},
        {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "low"},
        },
    ),
    "thoughts that are not to be shown": Case(
        {"reasoning": {"enabled": True, "summary": "none"}},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
    ),
    "a budget": Case(
        {"thinking": {"type": "enabled", "budgetTokens": 1024}, "max_tokens": 2000},
        {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        plan=WirePlan(False, 2000, {}),
    ),
    "a budget that is too small is dropped and named": Case(
        {"thinking": {"type": "enabled", "budget_tokens": 1023}},
        dropped=("reasoning.enabled", "reasoning.max_tokens"),
        plan=WirePlan(False, 500, {}),
    ),
    "a budget that leaves nothing to write is dropped and named": Case(
        {"reasoning": {"max_tokens": 2000}},
        {"max_tokens": 2000},
        dropped=("reasoning.max_tokens",),
        plan=WirePlan(False, 2000, {}),
    ),
    "a budget after results is dropped and named": Case(
        {
            **messages(
                HELLO,
                {"role": "assistant", "tool_calls": [call("c1", "{}")]},
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
            ),
            "tools": [tool()],
            "thinking": {"budget_tokens": 1024},
        },
        {
            **messages(
                HELLO_BLOCKS,
                {"role": "assistant", "content": [USE]},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": [text("1")]}
                    ],
                },
            ),
            "tools": [F],
            "max_tokens": 4000,
        },
        dropped=("reasoning.max_tokens",),
        plan=WirePlan(False, 4000, {}),
    ),
    "reasoning_effort says it over reasoning, and that over thinking": Case(
        {
            "thinking": {"enabled": False, "effort": "low"},
            "reasoning": {"effort": "medium", "summary": "auto"},
            "reasoning_effort": "max",
        },
        {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "max"},
        },
    ),
    "reasoning beside a forced call is dropped and named": Case(
        {"tools": [tool()], "tool_choice": "required", "reasoning_effort": "high"},
        {"tools": [F], "tool_choice": {"type": "any"}},
        dropped=("reasoning_effort",),
    ),
    "no reasoning beside a forced call": Case(
        {"tools": [tool()], "tool_choice": "required", "reasoning_effort": "none"},
        {"tools": [F], "tool_choice": {"type": "any"}, "thinking": {"type": "disabled"}},
    ),
    "sampling that reasoning rules out is dropped and named": Case(
        {"reasoning_effort": "low", "temperature": 0.5, "top_p": 0.9, "top_k": 4},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        dropped=("temperature", "top_p", "top_k"),
    ),
    "sampling that reasoning allows": Case(
        {"reasoning_effort": "low", "top_p": 0.95},
        {
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low"},
            "top_p": 0.95,
        },
    ),
    # Members without a place in the dialect.
    "frequency_penalty": dropped("frequency_penalty", 0.5),
    "presence_penalty": dropped("presence_penalty", -1),
    "logit_bias": dropped("logit_bias", {"1": 2}),
    "logprobs": Case({"logprobs": True, "top_logprobs": 2}, dropped=("logprobs", "top_logprobs")),
    "seed": dropped("seed", 0),
    "n": dropped("n", 2),
    "metadata": dropped("metadata", {"ward": "3"}),
    "prompt_cache_key": Case(
        {"prompt_cache_key": "k"}, dropped=("prompt_cache_key",), plan=keyed(prompt_cache_key="6b")
    ),
    "unknown members": dropped("min_p", 0.1),
    "what asks for nothing is not named": Case(
        {
            "frequency_penalty": 0,
            "presence_penalty": 0.0,
            "logit_bias": {},
            "logprobs": False,
            "n": 1,
            "metadata": {},
        }
    ),
    "members that the row drops": Case(
        {"top_k": 4, "temperature": 0.5},
        {"temperature": 0.5},
        dropped=("top_k",),
        row={"drops": frozenset({"top_k"})},
    ),
    "the provider's own options, as far as they have a price": Case(
        {
            "provider_options": {
                "acme": {"cache_control": {"type": "ephemeral"}},
                "other": {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
            }
        },
        {"cache_control": {"type": "ephemeral"}},
    ),
    "other options of the provider are dropped and named": Case(
        {"provider_options": {"acme": {"cache_control": {"type": "ephemeral", "ttl": "1h"}}}},
        dropped=("provider_options.acme.cache_control",),
    ),
    # Names of the caller's users.
    "user": Case({"user": "patient"}, {"metadata": {"user_id": "6d61"}}, plan=keyed(user="6d61")),
    "safety_identifier goes before user": Case(
        {"user": "patient", "safety_identifier": "s"},
        {"metadata": {"user_id": "7373"}},
        plan=keyed(user="6d61", safety_identifier="7373"),
    ),
    # Pins.
    "pins are written last": Case(
        {"inference_geo": "global"},
        {"inference_geo": "us", "model": "pinned"},
        dropped=("inference_geo",),
        pins={"inference_geo": "us", "model": "pinned"},
    ),
}


def sent(name: str) -> WireRequest:
    """What the adapter makes of one case; the body it is given stays as it was."""
    case = REQUESTS[name]
    body = make_body(**case.members)
    read_chat(body)
    body = canonical(body)
    before = orjson.dumps(body)
    wire = ANTHROPIC.request(body, make_row(**case.row), make_place(pins=case.pins), case.plan)
    assert orjson.dumps(body) == before
    return wire


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_goes_upstream_as(name: str) -> None:
    wire = sent(name)
    assert wire.body == REQUESTS[name].sent
    assert wire.dropped == REQUESTS[name].dropped


@pytest.mark.parametrize(
    ("pinned", "version"),
    [("", "2023-06-01"), ("2023-06-01", "2023-06-01"), ("2026-10-21", "2026-10-21")],
)
def test_the_row_pins_the_version(pinned: str, version: str) -> None:
    row = make_row(api_version=pinned)
    wire = ANTHROPIC.request(make_body(), row, make_place(), PLAN)
    assert {**ANTHROPIC.headers, **wire.headers} == {"anthropic-version": version}


BAD_CALLS = messages(HELLO, {"role": "assistant", "tool_calls": [call("c1", "[1]")]})
REFUSED: dict[str, tuple[Json, str]] = {
    "no user": (messages({"role": "system", "content": "Be brief."}), "messages"),
    "an assistant first": (
        messages({"role": "assistant", "content": "Hi"}, HELLO),
        "messages",
    ),
    "only empty text": (messages({"role": "user", "content": ""}), "messages"),
    "arguments that are no object": (BAD_CALLS, "messages.1.tool_calls.0.function.arguments"),
    "arguments that are cut": (
        messages(HELLO, {"role": "assistant", "tool_calls": [call("c1", '{"x')]}),
        "messages.1.tool_calls.0.function.arguments",
    ),
    "a function's name with a dot": (
        {"tools": [tool(), tool("a.b")]},
        "tools.1.function.name",
    ),
    "a called function's name with a dot": (
        messages(HELLO, {"role": "assistant", "tool_calls": [call("c1", "{}", "a.b")]}),
        "messages.1.tool_calls.0.function.name",
    ),
    "the gateway's own name": ({"tools": [tool(ANSWER_TOOL)]}, "tools.0.function.name"),
    "a list that cannot be told": (
        schema_format({"type": "array", "items": MAP}),
        "response_format.json_schema.schema",
    ),
}


@pytest.mark.parametrize(("members", "param"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_said_is_refused_by_name(members: Json, param: str) -> None:
    body = make_body(**members)
    read_chat(body)
    with pytest.raises(InvalidRequest) as refused:
        ANTHROPIC.request(body, make_row(), make_place(), PLAN)
    assert refused.value.param == param


@pytest.mark.parametrize("name", sorted(set(MEMBERS) - {"messages"}))
def test_no_member_overwrites_a_pin(name: str) -> None:
    wire = ANTHROPIC.request(make_body(), make_row(), make_place(pins={name: 8}), PLAN)
    assert wire.body[name] == 8


@pytest.mark.parametrize(
    "name", sorted(name for name, member in MEMBERS.items() if member.anthropic in ("own", "keyed"))
)
def test_what_is_ours_does_not_go_upstream_as_sent(name: str) -> None:
    wire = ANTHROPIC.request({**make_body(), name: "canary"}, make_row(), make_place(), PLAN)
    assert "canary" not in orjson.dumps(wire.body).decode()


def answer(content: str | None, finish: str = "stop") -> Json:
    return {"choices": [{"message": {"content": content}, "finish_reason": finish}]}


FITS: dict[str, tuple[Json, Json, bool]] = {
    "within": (LIMITED, answer('{"x": 1}'), True),
    "below": (LIMITED, answer('{"x": 0}'), False),
    "no JSON": (LIMITED, answer("x"), False),
    "cut": (LIMITED, answer('{"x', "length"), True),
    "refused": (LIMITED, answer("", "content_filter"), True),
    "a call": (LIMITED, answer(None, "tool_calls"), True),
}


@pytest.mark.parametrize(("schema", "said", "fits"), FITS.values(), ids=FITS)
def test_an_answer_is_held_to_the_limits_that_went_in_words(
    schema: Json, said: Json, fits: bool
) -> None:
    body = make_body(**schema_format(schema))
    wire = ANTHROPIC.request(body, make_row(), make_place(), PLAN)
    assert wire.fits is not None
    assert wire.fits(said) is fits


@pytest.mark.parametrize("members", [{}, schema_format(POINT), {"response_format": "json_object"}])
def test_nothing_is_checked_that_the_provider_enforces(members: Json) -> None:
    assert ANTHROPIC.request(make_body(**members), make_row(), make_place(), PLAN).fits is None
