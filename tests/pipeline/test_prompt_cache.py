"""A provider's prompt cache between tenants: each account has a key of its own, and under PHI no
cached token is told, priced or kept, at rows that do not keep caches apart."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phigate.core.ledger.keys import key_sha256
from phigate.core.types import Json, KeyPolicy, Principal
from tests.builders import NOW_S, make_body, make_price, make_row
from tests.fakes import Script, StaticKeys
from tests.pipeline.gateway_harness import (
    DONE,
    KEY,
    STREAM,
    GatewayAnswer,
    GatewayHarness,
    answers,
    call,
    chunk,
    completion,
    event,
    streams,
)

# A cached token costs a tenth, a written one a quarter more: whatever is priced shows.
PRICE = make_price(10_000_000, 20_000_000, 1_000_000, 12_500_000)
TOKENS = 60
PHI = {"x-phi": "true"}
PER_KEY = {"cache_key_name": "cache_salt", "cache_is_per_key": True}
DATETIME = {"type": "gateway:datetime"}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
DEBUG = {"debug": {"return_upstream_request": True, "return_upstream_response": True}}

# What an upstream may say of a cache: read, written, or `...` for a member that is not there.
Cached = tuple[Any, Any]
COUNTS = st.one_of(
    st.just(...),
    st.none(),
    st.integers(-1, TOKENS + 1),
    st.sampled_from(["12", 1.5, True, {}, [3], 2**70]),
)


def openai_usage(cached: Cached) -> Json:
    read, written = cached
    details = {"cached_tokens": read, "cache_write_tokens": written, "cache_creation": {"5m": read}}
    return present(
        {
            "prompt_tokens": TOKENS,
            "completion_tokens": 5,
            # Some leave out of their sum what was cached.
            "total_tokens": TOKENS + 5 - (read if type(read) is int and read < 2**32 else 0),
            "prompt_tokens_details": ... if read is ... else present(details),
            "completion_tokens_details": {"reasoning_tokens": 2}
            | ({} if read is ... else {"cached_tokens": read or 0, "prompt": {"hit": read}}),
            # DeepSeek's, Moonshot's, Anthropic's as some proxies pass it on.
            "prompt_cache_hit_tokens": read,
            "prompt_cache_miss_tokens": written,
            "cached_tokens": read,
            "cache_read_input_tokens": read,
            "num_cached_tokens": read,
            "cost": written,
        }
    )


def openai_members(cached: Cached) -> Json:
    """Members outside `usage` in which upstreams repeat it."""
    usage = openai_usage(cached)
    return {"x_groq": {"usage": usage}, "timings": {"cache_n": usage.get("cached_tokens")}}


def openai_choice(cached: Cached, **written: Any) -> Json:
    usage = openai_usage(cached)
    counted = {member: {**value, "usage": usage} for member, value in written.items()}
    logprobs = {"content": [], "usage": usage}
    return {"index": 0, "finish_reason": "stop", "usage": usage, "logprobs": logprobs, **counted}


def openai_call(cached: Cached) -> Json:
    """A call of the gateway's tool, with the counts of its upstream in each of its objects."""
    usage = openai_usage(cached)
    function = {"name": "gateway_datetime", "arguments": "{}", "usage": usage}
    return {"index": 0, "id": "call-1", "type": "function", "function": function, "usage": usage}


def openai_note(cached: Cached) -> Json:
    usage = openai_usage(cached)
    return {"type": "url_citation", "url_citation": {"url": "https://a.example", "usage": usage}}


def present(members: Json) -> Json:
    return {name: value for name, value in members.items() if value is not ...}


def openai_whole(cached: Cached) -> Script:
    said = {"role": "assistant", "content": "Hi", "annotations": [openai_note(cached)]}
    choice = openai_choice(cached, message=said)
    return answers(usage=openai_usage(cached), choices=[choice], **openai_members(cached))


def openai_stream(cached: Cached) -> Script:
    usage, members = openai_usage(cached), openai_members(cached)
    return streams(
        chunk("Hel", usage=usage, **members),
        chunk(choices=[openai_choice(cached, delta={"content": "lo"})]),
        {**chunk(), "choices": [], "usage": usage, **members},
        DONE,
    )


def anthropic_usage(cached: Cached) -> Json:
    """Anthropic counts what was cached beside the input, so the sum is what stays the same."""
    read, written = (count if type(count) is int and 0 <= count <= 20 else ... for count in cached)
    shares = [count for count in (read, written) if count is not ...]
    counts = {
        "input_tokens": TOKENS - sum(shares),
        "output_tokens": 5,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": ... if written is ... else {"ephemeral_5m_input_tokens": written},
    }
    return present(counts)


def anthropic_whole(cached: Cached) -> Script:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": anthropic_usage(cached),
    }
    return Script([json.dumps(body).encode()])


def anthropic_stream(cached: Cached) -> Script:
    usage = anthropic_usage(cached)
    message = {"id": "msg_1", "role": "assistant", "content": [], "usage": usage}
    text = {"type": "text_delta", "text": "Hi"}
    return streams(
        event({"type": "message_start", "message": message}),
        event({"type": "content_block_delta", "index": 0, "delta": text}),
        event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
        event({"type": "message_stop"}),
    )


def calls_a_tool(cached: Cached) -> Script:
    message = {"role": "assistant", "content": None, "tool_calls": [openai_call(cached)]}
    return answers(usage=openai_usage(cached), choices=[openai_choice(cached, message=message)])


def streams_a_call(cached: Cached) -> Script:
    return streams(
        chunk(choices=[openai_choice(cached, delta={"tool_calls": [openai_call(cached)]})]),
        {**chunk(), "choices": [], "usage": openai_usage(cached)},
        DONE,
    )


Scripts = Callable[[Cached], list[Script]]
# The dialect, the request's members, and what the upstream answers by what it had cached.
ANSWERED: dict[str, tuple[str, Json, Scripts]] = {
    "whole": ("openai", {}, lambda c: [openai_whole(c)]),
    "whole, with debug": ("openai", {**DEBUG, "meta": True}, lambda c: [openai_whole(c)]),
    "stream": ("openai", {"stream": True}, lambda c: [openai_stream(c)]),
    "stream with usage": ("openai", WITH_USAGE, lambda c: [openai_stream(c)]),
    "stream with debug": ("openai", {**WITH_USAGE, **DEBUG}, lambda c: [openai_stream(c)]),
    "anthropic, whole": ("anthropic", {}, lambda c: [anthropic_whole(c)]),
    "anthropic, with debug": ("anthropic", DEBUG, lambda c: [anthropic_whole(c)]),
    "anthropic, stream": ("anthropic", WITH_USAGE, lambda c: [anthropic_stream(c)]),
    "turns": ("openai", {"tools": [DATETIME]}, lambda c: [calls_a_tool(c), openai_whole(c)]),
    "turns of a stream": (
        "openai",
        {**WITH_USAGE, "tools": [DATETIME]},
        lambda c: [streams_a_call(c), openai_stream(c)],
    ),
}


def answered(
    name: str, cached: Cached, headers: dict[str, str], **row: Any
) -> tuple[GatewayAnswer, GatewayHarness]:
    dialect, members, scripts = ANSWERED[name]
    rows = (make_row("acme-one", dialect=dialect, price=PRICE, **row),)
    harness = GatewayHarness(*scripts(cached), rows=rows, policy=KeyPolicy(debug_phi=True))
    told = harness.chat(make_body(model="acme-one", max_tokens=99, **members), headers)
    assert told.status == 200, told.body
    return told, harness


@pytest.mark.parametrize("name", ANSWERED)
@settings(max_examples=25, deadline=None)
@given(cached=st.tuples(COUNTS, COUNTS))
def test_under_phi_answers_that_differ_in_cached_counts_alone_are_one(
    name: str, cached: Cached
) -> None:
    one, first = answered(name, (0, 0), PHI)
    other, second = answered(name, cached, PHI)
    assert other.body == one.body
    assert other.headers == one.headers
    assert second.records == first.records
    assert second.account() == first.account()
    assert second.event_log.notes == first.event_log.notes
    usage = second.record["usage"]
    turns = len(second.upstream.requests)
    assert (usage["in"], usage["cache_read"], usage["cache_write"]) == (TOKENS * turns, 0, 0)
    assert usage["source"] == "verified"
    assert second.record["cost"]["charged"] == turns * (TOKENS * 10 + 5 * 20)


SAYS_ALL: Cached = (40, 5)


@pytest.mark.parametrize("name", ANSWERED)
def test_under_phi_no_answer_names_a_cache(name: str) -> None:
    told, _ = answered(name, SAYS_ALL, PHI)
    for word in (b"cache", b"timings", b"x_groq"):
        assert word not in told.body.lower(), word


@pytest.mark.parametrize("name", ["whole", "stream with usage", "anthropic, whole"])
@pytest.mark.parametrize(
    ("headers", "row"),
    [({}, {}), (PHI, PER_KEY), ({}, PER_KEY)],
    ids=["general", "PHI and a cache per key", "general and a cache per key"],
)
def test_elsewhere_cached_tokens_are_told_kept_and_cheaper(
    name: str, headers: dict[str, str], row: Json
) -> None:
    read = 10
    told, harness = answered(name, (read, 0), headers, **row)
    usage = told.json["usage"] if told.headers["content-type"].endswith("json") else last(told)
    assert usage["prompt_tokens_details"]["cached_tokens"] == read
    assert harness.record["usage"]["cache_read"] == read
    assert harness.record["cost"]["charged"] == (TOKENS - read) * 10 + read * 1 + 5 * 20


def last(told: GatewayAnswer) -> Json:
    usage: Json = [each["usage"] for each in told.chunks if each.get("usage")][-1]
    return usage


@pytest.mark.parametrize(
    "row",
    [
        {"cache_is_per_key": True},
        {"cache_key_name": "cache_salt"},
        {**PER_KEY, "cache_key_name": "x"},
    ],
    ids=["without the key that makes it so", "a salt alone", "a name of a later release"],
)
def test_a_row_that_says_half_of_it_is_not_per_key(row: Json) -> None:
    told, harness = answered("whole", SAYS_ALL, PHI, **row)
    assert b"cached" not in told.body
    assert harness.record["usage"]["cache_read"] == 0


def test_usage_that_cannot_be_true_stays_an_estimate() -> None:
    for usage in ({"prompt_tokens": -1, "completion_tokens": 5}, "many", [1], 7):
        rows = (make_row("acme-one", price=PRICE),)
        harness = GatewayHarness(answers(usage=usage), rows=rows)
        told = harness.chat(make_body(model="acme-one"), PHI)
        assert told.headers["x-phi-usage"] == "estimated"
        assert harness.event_log.fields("usage_not_believed")


# ---------------------------------------------------------------- keys


def sent(harness: GatewayHarness) -> Json:
    (body,) = harness.upstream.bodies
    return body


def asks(salt: bytes, row: Json, body: Json, headers: dict[str, str] | None = None) -> Json:
    """What goes upstream for an account with this salt."""
    script = openai_stream((0, 0)) if body.get("stream") else answers()
    harness = GatewayHarness(script, rows=(make_row("acme-one", **row),))
    principal = Principal("acme", "k1", KeyPolicy(), int(NOW_S) - 1, None, salt)
    harness.use(keys=StaticKeys({key_sha256(KEY): principal}))
    told = harness.chat(body, headers)
    assert told.status == 200, told.body
    return sent(harness)


NAMES = ("prompt_cache_key", "cache_salt")
BODIES: dict[str, Json] = {
    "whole": make_body(model="acme-one"),
    "stream": STREAM,
    "its own key": make_body(model="acme-one", prompt_cache_key="ward-7"),
    "its own salt": make_body(model="acme-one", cache_salt="ward-7"),
    "both": make_body(model="acme-one", cache_salt="ward-7", prompt_cache_key="b"),
}


@pytest.mark.parametrize("headers", [{}, PHI], ids=["general", "PHI"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("name", NAMES)
def test_two_tenants_prompts_are_never_the_same_bytes_to_a_row_with_a_cache_key(
    name: str, body: Json, headers: dict[str, str]
) -> None:
    row = {"cache_key_name": name}
    one, again, other = (asks(salt, row, body, headers) for salt in (b"one", b"one", b"other"))
    assert one == again, "one account shares its own cache"
    assert one[name] != other[name]
    assert [each for each in NAMES if each in one] == [name]
    assert "ward-7" not in json.dumps(one)
    assert len(one[name]) == 64


def test_what_a_caller_groups_stays_grouped_within_its_account() -> None:
    row = {"cache_key_name": "cache_salt"}
    salts = [asks(b"one", row, body)["cache_salt"] for body in BODIES.values()]
    assert salts[0] == salts[1]
    assert salts[2] == salts[3] == salts[4], "a key groups where a salt is taken, too"
    assert salts[2] != salts[0]


def test_no_caller_can_write_another_accounts_key() -> None:
    row = {"cache_key_name": "cache_salt"}
    victim = asks(b"victim", row, BODIES["whole"])["cache_salt"]
    for members in ({"cache_salt": victim}, {"prompt_cache_key": victim}):
        body = make_body(model="acme-one", **members)
        assert asks(b"thief", row, body)["cache_salt"] != victim
    options = {"provider_options": {"acme": {"cache_salt": victim}}}
    for members in (options, {"cacheSalt": victim}, {"Cache-Salt": victim}):
        harness = GatewayHarness(answers(), rows=(make_row("acme-one", **row),))
        told = harness.chat(make_body(model="acme-one", **members))
        assert (told.status, told.error["code"]) == (400, "invalid_request")
        assert harness.upstream.requests == []


def test_a_row_of_which_no_key_is_known_gets_none_but_its_callers() -> None:
    assert not set(NAMES) & set(asks(b"one", {}, BODIES["whole"]))
    grouped = asks(b"one", {}, BODIES["its own key"])
    assert [each for each in NAMES if each in grouped] == ["prompt_cache_key"]
    assert grouped["prompt_cache_key"] != "ward-7"


@pytest.mark.parametrize("row", [{}, {"cache_key_name": "prompt_cache_key"}])
def test_a_salt_that_a_row_cannot_honour_is_dropped_and_named(row: Json) -> None:
    harness = GatewayHarness(answers(), rows=(make_row("acme-one", **row),))
    told = harness.chat(BODIES["its own salt"])
    assert told.headers["x-phi-dropped"] == "cache_salt"
    assert "cache_salt" not in sent(harness)
    required = {**BODIES["its own salt"], "provider": {"require_parameters": True}}
    assert GatewayHarness(rows=(make_row("acme-one", **row),)).chat(required).status == 404


def test_a_dry_run_takes_a_salt_as_a_call_does() -> None:
    harness = GatewayHarness()
    body = make_body(model="acme-one", cache_salt="ward-7")
    assert call(body).body.content == json.dumps(body).encode()
    assert harness.chat(make_body(model="acme-one", cache_salt=7)).error["param"] == "cache_salt"


def test_every_turn_of_a_loop_has_the_key() -> None:
    row = make_row("acme-one", cache_key_name="cache_salt")
    harness = GatewayHarness(
        calls_a_tool((0, 0)), Script([json.dumps(completion()).encode()]), rows=(row,)
    )
    harness.chat(make_body(model="acme-one", tools=[DATETIME]))
    first, second = (body["cache_salt"] for body in harness.upstream.bodies)
    assert first == second
