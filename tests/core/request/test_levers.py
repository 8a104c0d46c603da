"""Whose doing an answer is that cannot be handed on: one table, and that truth is always explained.

A truthful row that obeyed must be explained, or its tokens could be had for nothing; a row that
wrote what nobody asked for must not be, or callers would pay for it.
"""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.limits import EVENT_BYTES_MAX, TOKEN_BYTES_MAX, UPSTREAM_BODY_BYTES_MAX
from phigate.core.request.fields import parameters
from phigate.core.request.levers import (
    Large,
    Levers,
    explain_shape,
    explain_size,
    levers_of,
    written_bytes,
)
from phigate.core.types import Json
from tests.builders import make_body, make_requirements, make_row

ROW = make_row(tokens_out_max=128_000)

# Levers, what became too large, and whether it is the caller's doing.
SIZES: dict[str, tuple[Levers, Large, bool]] = {
    "a short answer of 1.5 MB": (Levers(100), "answer", False),
    "the default length in one piece": (Levers(8_192), "answer", False),
    "four times the default in one piece": (Levers(32_768), "answer", True),
    "the default length with 20 alternatives": (Levers(8_192, logprobs=21), "answer", True),
    "ten tokens with 20 alternatives": (Levers(10, logprobs=21), "answer", False),
    "an event of the default length": (Levers(8_192), "event", False),
    "an event with 20 alternatives of each token": (Levers(8_192, logprobs=21), "event", True),
    "an event of a very long answer": (Levers(16_384), "event", True),
    "a stream of the default length": (Levers(8_192), "stream", False),
    "a stream of 128,000 tokens": (Levers(128_000), "stream", True),
    "a stream of the default length, 20 alternatives": (Levers(8_192, 21), "stream", True),
    "a stream of 100 tokens, 20 alternatives": (Levers(100, 21), "stream", False),
    "more parts than tokens": (Levers(8_192), "parts", False),
    "fewer parts than tokens": (Levers(32_768), "parts", True),
    "members that nobody here knows": (Levers(1, is_unknown=True), "stream", True),
}


@pytest.mark.parametrize(("levers", "large", "is_callers"), SIZES.values(), ids=SIZES)
def test_what_is_too_large_is_the_callers_doing_where_their_levers_explain_it(
    levers: Levers, large: Large, is_callers: bool
) -> None:
    assert explain_size(levers, large) is is_callers


DEEP = b'{"a":' + b"[" * 70 + b"]" * 70 + b"}"
SHAPES: dict[str, tuple[Levers, bytes, bool]] = {
    "nested, of tools": (Levers(10, is_shaped=True), DEEP, True),
    "nested, of nothing that was asked": (Levers(10), DEEP, False),
    "half a character, of tools": (Levers(10, is_shaped=True), b'{"a": "\\ud800"}', True),
    "half a character, of nothing": (Levers(10), b'{"a": "\\ud800"}', False),
    "cut JSON, of tools": (Levers(10, is_shaped=True), b'{"a": [', False),
    "brackets in a text": (Levers(10, is_shaped=True), b'{"a": "' + b"[" * 500 + b'"', False),
    "nested behind escaped quotes": (
        Levers(10, is_shaped=True),
        b'{"b": "\\\\\\"", ' + DEEP[1:],
        True,
    ),
}


@pytest.mark.parametrize(("levers", "body", "is_callers"), SHAPES.values(), ids=SHAPES)
def test_what_cannot_be_read_is_the_callers_doing_where_they_had_json_written(
    levers: Levers, body: bytes, is_callers: bool
) -> None:
    assert explain_shape(levers, body) is is_callers


# Members of a body, and the levers that they are.
BODIES: dict[str, tuple[Json, Levers]] = {
    "nothing": ({}, Levers(8_192)),
    "a length": ({"max_tokens": 100}, Levers(100)),
    "log probabilities": ({"logprobs": True}, Levers(8_192, logprobs=1)),
    "alternatives": ({"logprobs": True, "top_logprobs": 20}, Levers(8_192, logprobs=21)),
    "alternatives alone": ({"top_logprobs": 5}, Levers(8_192, logprobs=6)),
    "log probabilities that are off": ({"logprobs": False}, Levers(8_192)),
    "a format": ({"response_format": {"type": "json_object"}}, Levers(8_192, is_shaped=True)),
    "an unknown member": ({"prompt_logprobs": 20}, Levers(8_192, is_unknown=True)),
    "options to the provider": (
        {"provider_options": {"acme": {"echo": True}}},
        Levers(8_192, is_unknown=True),
    ),
    "options to another provider": ({"provider_options": {"bolt": {"echo": 1}}}, Levers(8_192)),
}


@pytest.mark.parametrize(("members", "levers"), BODIES.values(), ids=BODIES)
def test_the_levers_of_a_body(members: Json, levers: Levers) -> None:
    body = make_body(**members)
    requirements = make_requirements(
        tokens_out=members.get("max_tokens"), parameters=parameters(body)
    )
    assert levers_of(body, requirements, ROW) == levers


def test_a_row_that_drops_log_probabilities_has_none() -> None:
    row = make_row(drops=frozenset({"logprobs", "top_logprobs"}))
    body = make_body(logprobs=True, top_logprobs=20)
    assert levers_of(body, make_requirements(parameters=parameters(body)), row).logprobs == 0


def entry(token: str) -> Json:
    return {"token": token, "logprob": -12.345678901234567, "bytes": list(token.encode())}


# The longest tokens there are: blanks, letters that are escaped, letters of several bytes.
TOKENS = st.one_of(
    st.integers(1, 128).map(lambda n: " " * n),
    st.integers(1, 64).map(lambda n: "\n" * n),
    st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1, max_size=30),
)


@given(token=TOKENS, alternatives=st.integers(0, 20), tokens=st.integers(1, 128_000))
def test_whatever_a_truthful_row_writes_is_explained(
    token: str, alternatives: int, tokens: int
) -> None:
    text = len(orjson.dumps(token)) - 2
    listed = {**entry(token), "top_logprobs": [entry(token)] * alternatives}
    told = len(orjson.dumps(listed))
    assert text <= TOKEN_BYTES_MAX
    for levers, size in (
        (Levers(tokens), text * tokens),
        (Levers(tokens, alternatives + 1), (text + told) * tokens),
    ):
        assert size <= EVENT_BYTES_MAX or explain_size(levers, "event")
        # A chunk a token, with ids, a model and padding round it.
        whole = size + 700 * tokens
        assert whole <= UPSTREAM_BODY_BYTES_MAX or explain_size(levers, "stream")


def test_log_probabilities_are_no_text_and_count_tokens() -> None:
    listed = [{**entry("ab"), "top_logprobs": [entry("ab")] * 20}] * 50
    body = orjson.dumps({"choices": [{"logprobs": {"content": listed}}]})[:-40]
    assert written_bytes(Levers(100, logprobs=21), ROW, body) == 50 * 35 // 10
    assert written_bytes(Levers(100), ROW, b"a" * 70) == 70
    assert written_bytes(Levers(100, logprobs=21), ROW, b"a" * 70) == 70
