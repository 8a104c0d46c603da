"""What may go where: under PHI only what a shape names, and never what could undo the gate."""

import copy
from typing import Annotated, Any

import pytest
from pydantic import Field

from phigate.core.errors import InvalidRequest
from phigate.core.limits import PATH_CHARS_MAX
from phigate.core.request.fields import (
    MEMBERS,
)
from phigate.core.types import Json
from phigate.wire.openai.chat_body import ChatBody, read_chat
from phigate.wire.openai.chat_checks import check_image_config
from phigate.wire.openai.chat_options import ImageConfig
from phigate.wire.openai.field_policy import REFUSED, check_members
from phigate.wire.openai.member_tables import has_unknown, levels, not_under_phi, tables_of
from phigate.wire.openai.shape import Echo, Items, MayHold, Shape
from tests.builders import make_body

IMAGE = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}, "file_id": {}}}

# A request that uses every object that the tables know.
FULL: Json = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief"},
        {
            "role": "user",
            "name": "ward",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "provider_specific_fields": {"citations": []},
            "images": [{"type": "image_url", "image_url": {"url": IMAGE}}],
            "audios": [],
            "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example"}}],
            "reasoning_content": "",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "s", "description": "d", "schema": SCHEMA, "strict": True},
    },
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 1,
    "seed": 7,
    "user": "u",
}
# Every object of FULL whose members are known one by one: where it is, and the path of a member.
LEVELS: dict[str, tuple[tuple[str | int, ...], str]] = {
    "the body": ((), ""),
    "a message": (("messages", 0), "messages.0."),
    "a text part": (("messages", 1, "content", 0), "messages.1.content.0."),
    "an image part": (("messages", 1, "content", 1), "messages.1.content.1."),
    "an image": (("messages", 1, "content", 1, "image_url"), "messages.1.content.1.image_url."),
    "a part of a tool result": (("messages", 3, "content", 0), "messages.3.content.0."),
    "a refusal part": (("messages", 4, "content", 0), "messages.4.content.0."),
    "a tool call": (("messages", 2, "tool_calls", 0), "messages.2.tool_calls.0."),
    "a called function": (
        ("messages", 2, "tool_calls", 0, "function"),
        "messages.2.tool_calls.0.function.",
    ),
    "an annotation": (("messages", 2, "annotations", 0), "messages.2.annotations.0."),
    "a tool": (("tools", 0), "tools.0."),
    "a function": (("tools", 0, "function"), "tools.0.function."),
    "a tool choice": (("tool_choice",), "tool_choice."),
    "a chosen function": (("tool_choice", "function"), "tool_choice.function."),
    "a response format": (("response_format",), "response_format."),
    "a named schema": (("response_format", "json_schema"), "response_format.json_schema."),
}


def full_with(where: tuple[str | int, ...], name: str, value: Any) -> Json:
    body = copy.deepcopy(FULL)
    place: Any = body
    for step in where:
        place = place[step]
    place[name] = value
    read_chat(body)
    return body


def check(body: Json, *, phi: bool) -> None:
    check_members(read_chat(body).chat, phi=phi)


def param_of(body: Json, *, phi: bool) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        check(body, phi=phi)
    assert "canary" not in caught.value.message
    return caught.value.param


@pytest.mark.parametrize("phi", [True, False], ids=["PHI", "general"])
def test_a_full_request_passes(phi: bool) -> None:
    check(FULL, phi=phi)


# What may go to a provider under PHI on each level below the body. The tables are made from the
# shapes, so a member that a shape gains is let through only once somebody has written it here too.
REVIEWED: dict[str, set[str]] = {
    "a message": {
        "annotations", "audio", "audios", "content", "images", "name", "provider_specific_fields",
        "reasoning_content", "refusal", "role", "tool_call_id", "tool_calls",
    },
    "a text part": {"type", "text"},
    "an image part": {"type", "image_url"},
    "an image": {"url", "detail"},
    "a part of a tool result": {"type", "text"},
    "a refusal part": {"type", "refusal"},
    "a tool call": {"id", "type", "function", "index"},
    "a called function": {"name", "arguments", "description", "parameters"},
    "an annotation": {"type", "url_citation"},
    "a tool": {"type", "function"},
    "a function": {"name", "description", "parameters", "strict"},
    "a tool choice": {"type", "function"},
    "a chosen function": {"name"},
    "a response format": {"type", "json_schema"},
    "a named schema": {"name", "schema", "strict", "description"},
}  # fmt: skip


def test_every_level_below_the_body_is_reviewed() -> None:
    assert REVIEWED.keys() == LEVELS.keys() - {"the body"}


@pytest.mark.parametrize("level", REVIEWED)
def test_a_level_lets_the_reviewed_members_through_and_no_other(level: str) -> None:
    tables = {steps: table for steps, _, table in levels(read_chat(FULL).chat, tables_of(ChatBody))}
    assert tables[LEVELS[level][0]].names == REVIEWED[level]


@pytest.mark.parametrize("where", [where for where, _ in LEVELS.values()], ids=LEVELS)
def test_the_quick_look_sees_what_the_long_one_sees(where: tuple[str | int, ...]) -> None:
    tables = tables_of(ChatBody)
    assert not has_unknown(read_chat(FULL).chat, tables)
    chat = read_chat(full_with(where, "novelty", "canary")).chat
    assert has_unknown(chat, tables)
    assert [steps for steps, unknown, _ in levels(chat, tables) if unknown] == [where]


class Page(Shape):
    """A shape that nobody has told any table of."""

    number: int


class Book(Shape):
    cover: Page
    pages: Annotated[Items[Page] | None, Field(max_length=9)] = None
    errata: Annotated[Page | None, Echo()] = None
    notes: Annotated[Items[dict[str, Any]] | None, MayHold(("text",))] = None


# A book, and where it has a member that nothing declares.
BOOKS: dict[str, tuple[Json, tuple[str | int, ...] | None]] = {
    "a book": ({"cover": {"number": 1}, "pages": [{"number": 2}], "notes": [{"text": ""}]}, None),
    "itself": ({"cover": {"number": 1}, "x": 1}, ()),
    "an object": ({"cover": {"number": 1, "x": 1}}, ("cover",)),
    "one of a list": ({"cover": {"number": 1}, "pages": [{"number": 2, "x": 1}]}, ("pages", 0)),
    "one without a shape": ({"cover": {"number": 1}, "notes": [{}, {"x": 1}]}, ("notes", 1)),
    "an echo, which goes nowhere": (
        {"cover": {"number": 1}, "errata": {"number": 1, "x": 1}},
        None,
    ),
}


@pytest.mark.parametrize(("members", "where"), BOOKS.values(), ids=BOOKS)
def test_whatever_shape_a_shape_holds_has_its_table(
    members: Json, where: tuple[str | int, ...] | None
) -> None:
    book, tables = Book.model_validate(members), tables_of(Book)
    assert has_unknown(book, tables) is (where is not None)
    found = [(steps, set(unknown)) for steps, unknown, _ in levels(book, tables) if unknown]
    assert found == ([] if where is None else [(where, {"x"})])


# What names media by links outside a message: refused under PHI, and each reviewed by hand.
LINKS = {
    "font_inputs": [{"font_url": "https://a.example/f"}],
    "fontInputs": [{"fontUrl": "https://a.example/f"}],
    "reference_images": [{"url": "https://a.example/i"}],
    "referenceImages": [{"url": "https://a.example/i"}],
    "super_resolution_references": ["https://a.example/i"],
    "superResolutionReferences": ["https://a.example/i"],
}


@pytest.mark.parametrize("member", ["image_config", "imageConfig"])
@pytest.mark.parametrize("name", LINKS)
def test_media_that_are_named_by_links_are_refused_under_phi(member: str, name: str) -> None:
    chat = read_chat(make_body(**{member: {name: LINKS[name]}})).chat
    check_image_config(chat, phi=False)
    with pytest.raises(InvalidRequest) as caught:
        check_image_config(chat, phi=True)
    assert caught.value.param == f"{member}.{name}"
    check_image_config(read_chat(make_body(**{member: {name: []}})).chat, phi=True)


def test_what_else_an_image_config_says_names_no_media() -> None:
    assert {name for _, name, _ in not_under_phi(ImageConfig)} == LINKS.keys()
    assert [name for _, name, _ in not_under_phi(ChatBody)] == ["provider_options"]


def test_the_path_of_a_tool_is_the_callers_own() -> None:
    tools = [{"type": "gateway:datetime"}, {**FULL["tools"][0], "novelty": 1}]
    assert param_of(make_body(tools=tools), phi=True) == "tools.1.novelty"


@pytest.mark.parametrize(("where", "path"), LEVELS.values(), ids=LEVELS)
def test_under_phi_a_member_that_no_table_names_is_refused_on_every_level(
    where: tuple[str | int, ...], path: str
) -> None:
    body = full_with(where, "novelty", "canary")
    assert param_of(body, phi=True) == f"{path}novelty"
    check(body, phi=False)


@pytest.mark.parametrize(("where", "path"), LEVELS.values(), ids=LEVELS)
def test_a_refused_member_is_refused_on_every_level(
    where: tuple[str | int, ...], path: str
) -> None:
    body = full_with(where, "mcp_servers", ["canary"])
    assert param_of(body, phi=True) == f"{path}mcp_servers"
    assert param_of(body, phi=False) == f"{path}mcp_servers"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_every_refused_name_is_refused_in_all_traffic(name: str) -> None:
    assert param_of(make_body(**{name: "canary"}), phi=False) == name
    assert param_of(make_body(**{name: "canary"}), phi=True) == name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_every_refused_name_is_refused_inside_an_unknown_member(name: str) -> None:
    body = make_body(extension=[{"deeper": {name: "canary"}}])
    assert param_of(body, phi=False) == f"extension.0.deeper.{name}"


# Other spellings of refused names, and where they stand.
SPELLINGS: dict[str, tuple[Json, str]] = {
    "in capitals": ({"Region": "canary"}, "Region"),
    "in camel case": ({"inferenceGeo": "canary"}, "inferenceGeo"),
    "with hyphens": ({"mcp-servers": ["canary"]}, "mcp-servers"),
    "with dots": ({"base.url": "canary"}, "base.url"),
    "run together": ({"extrabody": {}}, "extrabody"),
    "further in": ({"x": [{"FileID": "canary"}]}, "x.0.FileID"),
    "in a message": (
        {"messages": [{"role": "user", "content": "x", "Web-Search": {}}]},
        "messages.0.Web-Search",
    ),
    "in the options of a provider": (
        {"provider_options": {"acme": {"baseURL": "canary"}}},
        "provider_options.acme.baseURL",
    ),
    "further in the options of a provider": (
        {"provider_options": {"acme": {"x": {"ImageUrl": "canary"}}}},
        "provider_options.acme.x.ImageUrl",
    ),
}


@pytest.mark.parametrize(("members", "param"), SPELLINGS.values(), ids=SPELLINGS)
def test_a_refused_name_is_refused_however_it_is_spelled(members: Json, param: str) -> None:
    assert param_of(make_body(**members), phi=False) == param


@pytest.mark.parametrize(("where", "path"), LEVELS.values(), ids=LEVELS)
def test_a_refused_name_in_another_spelling_is_refused_on_every_level(
    where: tuple[str | int, ...], path: str
) -> None:
    assert param_of(full_with(where, "McpServers", ["canary"]), phi=False) == f"{path}McpServers"


# A member in a spelling that nobody reads, where it stands, and how it has to be written.
MISSPELLED: dict[str, tuple[tuple[str | int, ...], str, str]] = {
    "a tier that has a price": ((), "Service_Tier", "service_tier"),
    "a count": ((), "N", "n"),
    "an alias that is not listed": ((), "maxTokens", "max_tokens"),
    "another case of a listed alias": ((), "ResponseModalities", "response_modalities"),
    "a name with hyphens": ((), "provider-options", "provider_options"),
    "the model": ((), "Model", "model"),
    "a member of a message": (("messages", 1), "Content", "content"),
    "a member of a tool": (("tools", 0), "Function", "function"),
    "a member of a function": (("tools", 0, "function"), "STRICT", "strict"),
    "a member of an image": (("messages", 1, "content", 1, "image_url"), "URL", "url"),
    "a member of a format": (("response_format",), "jsonSchema", "json_schema"),
    "a member of the stream options": (("stream_options",), "includeUsage", "include_usage"),
}


@pytest.mark.parametrize("phi", [True, False], ids=["PHI", "general"])
@pytest.mark.parametrize(("where", "name", "spelling"), MISSPELLED.values(), ids=MISSPELLED)
def test_a_known_member_is_written_as_the_table_writes_it(
    where: tuple[str | int, ...], name: str, spelling: str, phi: bool
) -> None:
    body = full_with(where, name, "canary")
    with pytest.raises(InvalidRequest, match=f"Write it as {spelling}[.]") as caught:
        check(body, phi=phi)
    assert caught.value.param == ".".join(map(str, (*where, name)))


@pytest.mark.parametrize(
    "name", ["phi", "X-PHI", "x_phi", "region", "Regions", "xRegion", "X-Model-Tier"]
)
def test_what_a_header_says_is_refused_in_the_body_and_the_header_named(name: str) -> None:
    with pytest.raises(InvalidRequest, match="a header: X-PHI, X-Region, X-Model-Tier"):
        check(make_body(**{name: "canary"}), phi=False)


@pytest.mark.parametrize("name", ["functions", "function_call"])
def test_the_old_way_to_call_functions_is_refused_and_the_new_one_named(name: str) -> None:
    with pytest.raises(InvalidRequest, match="tools"):
        check(make_body(**{name: "canary"}), phi=False)


def test_thinking_may_be_switched_by_a_template_and_the_template_not_replaced() -> None:
    check(make_body(chat_template_kwargs={"enable_thinking": False}), phi=False)
    replaced = make_body(chat_template_kwargs={"chat_template": "canary"})
    assert param_of(replaced, phi=False) == "chat_template_kwargs.chat_template"


def test_the_names_of_the_design_are_on_the_list() -> None:
    assert {
        "inference_geo",
        "models",
        "route",
        "plugins",
        "mcp_servers",
        "web_search_options",
        "container",
        "file_id",
        "safety_model",
        "fallback_models",
        "google_search",
        "kv_transfer_params",
        "chat_template",
        "mm_processor_kwargs",
        "lora_request",
        "guided_decoding_backend",
        "remote_host",
    } <= REFUSED


def test_no_known_member_is_refused() -> None:
    assert REFUSED.isdisjoint(MEMBERS)


# Media outside its own part would pass by the rule for media.
STOWAWAYS: dict[str, tuple[tuple[str | int, ...], str, Any]] = {
    "a link in a text part": (("messages", 1, "content", 0), "image_url", "https://a.example/x"),
    "an image in a text part": (("messages", 1, "content", 0), "image_url", {"url": IMAGE}),
    "an image in a refusal part": (("messages", 4, "content", 0), "image_url", {"url": IMAGE}),
    "an image beside the content": (("messages", 1), "image_url", {"url": IMAGE}),
    "a video in a part": (("messages", 1, "content", 0), "video_url", {"url": IMAGE}),
    "sound in a part": (("messages", 1, "content", 0), "input_audio", {"data": "AAAA"}),
}


@pytest.mark.parametrize("phi", [True, False], ids=["PHI", "general"])
@pytest.mark.parametrize(("where", "name", "value"), STOWAWAYS.values(), ids=STOWAWAYS)
def test_media_outside_its_own_part_is_refused(
    where: tuple[str | int, ...], name: str, value: Any, phi: bool
) -> None:
    path = ".".join(map(str, (*where, name)))
    assert param_of(full_with(where, name, value), phi=phi) == path


def test_a_text_part_may_not_name_a_picture_as_text_does() -> None:
    """Members of one part type are unknown in another."""
    body = full_with(("messages", 4, "content", 0), "text", "canary")
    assert param_of(body, phi=True) == "messages.4.content.0.text"


def test_general_traffic_passes_what_no_table_knows() -> None:
    check(make_body(top_a=0.5, min_p=0.1, guided_choice=["a"]), phi=False)


def test_a_schema_may_name_its_properties_as_it_likes() -> None:
    """`location` and `file_id` in SCHEMA are the caller's own words."""
    check(FULL, phi=True)


# Clients send an answer's message back with its null members, and null for what they left open.
NULLS: dict[str, Json] = {
    "a null member of the body": make_body(web_search_options=None, novelty=None),
    "null members of a message": make_body(
        messages=[{"role": "assistant", "content": "x", "function_call": None, "audio": None}]
    ),
    "no tool calls": make_body(
        messages=[{"role": "assistant", "content": "x", "tool_calls": None}]
    ),
    "no tools": make_body(tools=None, tool_choice=None, response_format=None),
    "no schema": make_body(response_format={"type": "text", "json_schema": None}),
    "formats and choices as text": make_body(tool_choice="auto", response_format="text"),
}


@pytest.mark.parametrize("body", NULLS.values(), ids=NULLS)
def test_a_null_member_is_an_absent_one(body: Json) -> None:
    read_chat(body)
    check(body, phi=True)


# --- provider_options ---------------------------------------------------------------------------

OPTIONS: dict[str, tuple[Json, bool, str | None]] = {
    "an option": ({"acme": {"min_p": 0.1}}, False, None),
    "none under PHI": ({}, True, None),
    "an option under PHI": ({"acme": {"min_p": 0.1}}, True, "provider_options"),
    "a place": ({"acme": {"region": "us"}}, False, "provider_options.acme.region"),
    "a place deeper": ({"acme": {"x": [{"geo": 1}]}}, False, "provider_options.acme.x.0.geo"),
    "a place in a part that is not sent": (
        {"other": {"base_url": "x"}},
        False,
        "provider_options.other.base_url",
    ),
}


@pytest.mark.parametrize(("options", "phi", "param"), OPTIONS.values(), ids=OPTIONS)
def test_provider_options_name_no_place(options: Json, phi: bool, param: str | None) -> None:
    body = make_body(provider_options=options)
    if param is None:
        check(body, phi=phi)
    else:
        assert param_of(body, phi=phi) == param


@pytest.mark.parametrize("name", MEMBERS)
def test_provider_options_cannot_say_what_the_request_says(name: str) -> None:
    body = make_body(provider_options={"acme": {name: "canary"}})
    assert param_of(body, phi=False) == f"provider_options.acme.{name}"


@pytest.mark.parametrize("name", ["Stream", "streamOptions", "MAX-TOKENS", "n.", "model_"])
def test_provider_options_cannot_say_it_in_another_spelling_either(name: str) -> None:
    body = make_body(provider_options={"acme": {name: "canary"}})
    assert param_of(body, phi=False) == f"provider_options.acme.{name}"


N = "n" * 240
# Members of a body whose way is longer than a path may be.
LONG_WAYS: dict[str, tuple[Json, bool]] = {
    "a refused member": ({N: {N: [{"file_id": "x"}]}}, False),
    "a member that PHI does not take": ({N: 1}, True),
    "another spelling": ({"_" * 240 + "model": 1}, False),
    "an option of a provider": ({"provider_options": {N: {"model": "x"}}}, False),
    "a refused option": ({"provider_options": {N: {"x": {"file_id": "x"}}}}, False),
    "a wrong type": ({"provider_options": {N: 1}}, False),
    "an unknown preference": ({"provider": {N: 1}}, False),
    "a wrong bias": ({"logit_bias": {N: "x"}}, False),
}


@pytest.mark.parametrize(("more", "phi"), LONG_WAYS.values(), ids=LONG_WAYS)
def test_a_path_is_cut_wherever_it_is_told(more: Json, phi: bool) -> None:
    body = make_body(**more)
    with pytest.raises(InvalidRequest) as refused:
        read_chat(body)
        check(body, phi=phi)
    assert refused.value.param is not None
    assert len(refused.value.param) == PATH_CHARS_MAX
    assert refused.value.param.endswith("…")
    assert len(refused.value.message) < PATH_CHARS_MAX + 200


COUNTED: dict[str, tuple[Json, str]] = {
    "messages that are none": ({"messages": [1] * 2_001}, "messages"),
    "parts that are none": ({"messages": [{"role": "user", "content": [1] * 501}]}, "messages"),
    "tool calls": ({"messages": [{"tool_calls": [{}] * 1_001}] * 2}, "messages"),
    "annotations": ({"messages": [{"annotations": [{}] * 2_001}]}, "messages"),
    "tools": ({"tools": [1] * 129}, "tools"),
    "stop strings": ({"stop": [1] * 17}, "stop"),
}


@pytest.mark.parametrize(("more", "param"), COUNTED.values(), ids=COUNTED)
def test_a_list_is_counted_before_its_shape_is_looked_at(more: Json, param: str) -> None:
    with pytest.raises(InvalidRequest, match="at most") as refused:
        read_chat(make_body(**more))
    assert refused.value.param == param
