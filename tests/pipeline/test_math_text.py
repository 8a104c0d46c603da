"""Whatever an upstream writes, in whatever member of an answer or an error: nothing that a page
could run, load or follow unasked leaves the math endpoint, written out in JSON or escaped."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phigate.core.types import Json
from tests.active_markup import in_diagram, in_html, in_markdown
from tests.builders import make_row
from tests.fakes import Script
from tests.hostile_text import ALL, BARE_DIAGRAMS, HARMLESS, HTML, LINKS
from tests.pipeline.gateway_harness import DONE, answers, completion, fails, streams
from tests.pipeline.test_math import ASKS, SVG, Math, calls, content, program, ran

JSON_FORMATS: dict[str, Json] = {
    "json_object": {"type": "json_object"},
    "json_schema": {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object"}},
    },
}
DEBUG: Json = {
    "meta": True,
    "echo_upstream_request": True,
    "debug": {"return_upstream_response": True, "trace": True},
}
EVERYWHERE = "\n\n".join(text for text in HTML.values() if "```" not in text)


def choice(message: Json, **members: Any) -> Json:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": "No.", **message},
        "finish_reason": "stop",
        **members,
    }


def call_of(arguments: str) -> Json:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}


def placed(text: str) -> dict[str, Json]:
    """An upstream's answer with the text in each place where a provider may put one."""
    token = {"token": text, "logprob": -1.0, "bytes": [60], "top_logprobs": [{"token": text}]}
    messages: dict[str, Json] = {
        "the content": choice({"content": text}),
        "the content in parts": choice({"content": [{"type": "text", "text": text}]}),
        "a refusal": choice({"refusal": text}),
        "a refusal in parts": choice({"refusal": [{"type": "refusal", "refusal": text}]}),
        "the reasoning": choice({"reasoning": text, "reasoning_content": text}),
        "the reasoning's details": choice(
            {"reasoning_details": [{"type": "reasoning.text", "text": text, "parts": [[text]]}]}
        ),
        "an annotation": choice(
            {"annotations": [{"type": "url_citation", "url_citation": {"url": text}}]}
        ),
        "a call's arguments": choice({"tool_calls": [call_of(text)]}),
        "a call's arguments in JSON": choice({"tool_calls": [call_of(json.dumps({"a": text}))]}),
        "a call's name": choice({"tool_calls": [{**call_of("{}"), "id": text, "type": text}]}),
        "a member's name": choice({text: {text: [text]}}),
        "the tokens": choice({}, logprobs={"content": [token], "refusal": [token]}),
        "the finish reason": choice({}, native_finish_reason=text, stop_reason=text),
    }
    bodies: dict[str, Json] = {name: completion(choices=[made]) for name, made in messages.items()}
    bodies["beside the choices"] = completion("No.", citations=[text], a={"b": [[text]]})
    bodies["a name beside the choices"] = completion("No.", **{"x" + text: {text: text}})
    bodies["the fingerprint"] = completion("No.", system_fingerprint=text, created=text)
    bodies["another choice"] = completion(choices=[choice({}), choice({"content": text})])
    return bodies


PLACES = list(placed(""))


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for member in value.values() for text in strings(member))]
    if isinstance(value, list):
        return [text for member in value for text in strings(member)]
    return [value] if isinstance(value, str) else []


def as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def acting(value: Any) -> list[str]:
    """What of an answer's strings and names would act, also in JSON that they hold."""
    found: list[str] = []
    for text in strings(value):
        found += in_markdown(text)
        if "```" not in text:
            found += in_html(text)
        if text.lstrip()[:1] in "{[":
            inner = as_json(text)
            found += acting(inner) if isinstance(inner, dict | list) else []
    return found


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wants", [None, *JSON_FORMATS.values()], ids=["plain", *JSON_FORMATS])
def test_nothing_that_acts_leaves_in_any_member(place: str, wants: Json | None) -> None:
    harness = Math(answers(**placed(EVERYWHERE)[place]))
    asks = {**ASKS, **DEBUG, **({} if wants is None else {"response_format": wants})}
    told = harness.ask({**asks, "tools": [LOOK_UP]})
    assert told.status == 200
    assert acting(told.json) == []
    assert "upstream_response" in told.json


LOOK_UP = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@given(
    text=st.sampled_from(list(ALL.values())),
    place=st.sampled_from(PLACES),
    wants=st.sampled_from([None, *JSON_FORMATS.values()]),
    is_json=st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_whatever_an_upstream_writes_wherever_nothing_that_acts_leaves(
    text: str, place: str, wants: Json | None, is_json: bool
) -> None:
    written = json.dumps({"a": [text], text: 1}).replace("<", "\\u003c") if is_json else text
    asks = {**ASKS, **DEBUG, **({} if wants is None else {"response_format": wants})}
    told = Math(answers(**placed(written)[place])).ask(asks)
    assert told.status == 200
    assert acting(told.json) == []
    for each in told.headers.values():
        assert "<" not in each


@pytest.mark.parametrize("wants", JSON_FORMATS.values(), ids=JSON_FORMATS)
def test_json_that_was_asked_for_stays_as_it_was_written(wants: Json) -> None:
    harmless = {"x": [*HARMLESS.values(), 1.50, 12345678901234567890]}
    written = json.dumps(harmless, indent=2)
    assert content(Math(answers(written)).ask({**ASKS, "response_format": wants})) == written


@pytest.mark.parametrize("text", BARE_DIAGRAMS.values(), ids=BARE_DIAGRAMS)
def test_a_diagram_in_json_neither_links_nor_configures(text: str) -> None:
    harness = Math(answers(json.dumps({"diagram": text})))
    told = harness.ask({**ASKS, "response_format": {"type": "json_object"}})
    assert in_diagram(json.loads(content(told))["diagram"]) == []


def test_json_that_nobody_asked_for_is_clean_as_text_and_in_its_strings() -> None:
    written = json.dumps({"a": ["[a]\n\n[a]: javascript:alert(1)", "<script>"]})
    text = content(Math(answers(written)).ask())
    assert acting([text]) == []
    assert json.loads(text) == {"a": ["[a]\n\n[a] : javascript:alert(1)", "< script>"]}


def test_an_svg_in_json_is_drawn_still() -> None:
    hostile = SVG.replace("<path", '<script>alert(1)</script><path onload="x()"')
    harness = Math(answers(json.dumps({"figure": hostile})))
    told = harness.ask({**ASKS, "response_format": {"type": "json_object"}})
    figure = json.loads(content(told))["figure"]
    assert figure.startswith("<svg")
    assert 'd="M0 0L4 4"' in figure
    assert in_html(figure) == []


def test_figures_enter_after_the_cleaning_and_keep_their_bytes() -> None:
    harness = Math(
        calls(program()),
        answers("![Figure 1](a.png) <script>"),
        plays=(ran(figures=(SVG,)),),
    )
    text = content(harness.ask())
    assert text.startswith("[Figure 1] < script>\n\n```svg\n<svg ")
    assert acting([text]) == []


QUOTED = [*list(HTML.values())[::8], *list(LINKS.values())[::8]]


@pytest.mark.parametrize("text", QUOTED)
def test_an_error_that_quotes_an_upstream_quotes_nothing_that_acts(text: str) -> None:
    error = {"message": text, "param": text[:64], "type": text, "code": text}
    harness = Math(*[fails(400, {"error": error})] * 4)
    told = harness.ask()
    assert told.status == 400
    assert acting(told.json) == []


def test_chat_answers_are_the_providers_own() -> None:
    harness = Math(answers("<script>alert(1)</script>"))
    assert content(harness.chat(ASKS)) == "<script>alert(1)</script>"


LONG = 32_768
LONG_ROWS = (make_row("acme-one", tokens_out_max=LONG),)


def as_stream(body: Json) -> Script:
    """The same answer as an upstream streams it."""
    choices = [
        {name if name != "message" else "delta": value for name, value in each.items()}
        for each in body["choices"]
    ]
    return streams({**body, "object": "chat.completion.chunk", "choices": choices}, DONE)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wants", [None, *JSON_FORMATS.values()], ids=["plain", *JSON_FORMATS])
def test_nothing_that_acts_leaves_in_an_answer_that_was_streamed_to_us(
    place: str, wants: Json | None
) -> None:
    """Its large members were written out as they came, before anybody cleaned them."""
    harness = Math(as_stream(placed(EVERYWHERE)[place]), rows=LONG_ROWS)
    asks = {**ASKS, **DEBUG, **({} if wants is None else {"response_format": wants})}
    told = harness.ask({**asks, "tools": [LOOK_UP], "max_tokens": LONG, "logprobs": True})
    assert told.status == 200, told.json
    assert harness.upstream.bodies[0]["stream"] is True
    assert acting(told.json) == []
    assert "upstream_response" in told.json


def test_the_receipt_of_an_error_is_of_the_bytes_that_were_sent() -> None:
    quoted = {"error": {"message": f"No: {EVERYWHERE}", "type": "t", "code": "c", "param": None}}
    harness = Math(fails(400, quoted))
    told = harness.ask()
    assert told.status == 400
    assert acting(told.json) == []
    assert "script" in told.error["message"], "it was quoted, and cleaned"
    assert harness.record["response_sha256"] == hashlib.sha256(told.body).hexdigest()
