"""Keys: a typo is noticed, the text is never stored; policies: nothing unknown is overlooked."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.ledger.keys import (
    KEY_RANDOM_BYTES,
    MalformedPolicy,
    key_sha256,
    make_key,
    parse_key,
    policy_from_json,
    policy_members,
    policy_to_json,
)
from phigate.core.limits import KEY_BYTES_MAX
from phigate.core.types import KeyPolicy

LIVE = make_key("live", bytes(range(32)))
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

NOT_KEYS = {
    "empty": "",
    "a prefix alone": "phi_live_",
    "another prefix": LIVE.replace("phi_live_", "phi_prod_"),
    "the other kind": LIVE.replace("phi_live_", "phi_test_"),
    "no prefix": LIVE.removeprefix("phi_live_"),
    "another provider's key": "sk-" + LIVE,
    "one character less": LIVE[:-1],
    "one character more": LIVE + "0",
    "a space after it": LIVE + " ",
    "a line end after it": LIVE + "\n",
    "small letters": LIVE.lower(),
    "a letter that is not ASCII": LIVE[:-1] + "é",
    "two characters swapped": LIVE[:20] + LIVE[21] + LIVE[20] + LIVE[22:],
    "a lone surrogate": LIVE[:-1] + "\ud800",
}

POLICIES = {
    "the default": KeyPolicy(),
    "everything set": KeyPolicy(
        phi="required",
        regions=frozenset({"CH", "EU"}),
        models=frozenset({"gemma-4"}),
        rpm=6_000_000,
        spend_limit_micros=5_000_000,
        debug_phi=True,
        default_region="CH",
        default_model_tier="thinking",
        confidential="required",
    ),
    "nothing is allowed": KeyPolicy(
        regions=frozenset(), models=frozenset(), spend_limit_micros=0, phi="forbidden"
    ),
}

# One member changed or added; ABSENT takes it away.
ABSENT = object()
MALFORMED: dict[str, dict[str, Any]] = {
    "a member this version does not know": {"max_images": 3},
    "a member is missing": {"spend_limit_micros": ABSENT},
    "a phi word that does not exist": {"phi": "maybe"},
    "phi as a truth value": {"phi": True},
    "phi as a list": {"phi": ["required"]},
    "an unknown region": {"regions": ["MOON"]},
    "regions as text": {"regions": "CH"},
    "a region that is a number": {"regions": [1]},
    "regions as an object": {"regions": {"CH": 1}},
    "an empty model name": {"models": [""]},
    "no calls at all": {"rpm": 0},
    "calls as text": {"rpm": "600"},
    "calls as a truth value": {"rpm": True},
    "a fraction of a call": {"rpm": 1.5},
    "a negative limit": {"spend_limit_micros": -1},
    "a fraction of a micro": {"spend_limit_micros": 0.5},
    "debug as a number": {"debug_phi": 1},
    "an unknown default region": {"default_region": "MOON"},
    "a confidential word that does not exist": {"confidential": "allowed"},
    "confidential as a truth value": {"confidential": True},
    "confidential as a list": {"confidential": ["required"]},
    "an unknown default model tier": {"default_model_tier": "huge"},
}


# As the releases before `confidential` have stored them.
STORED_BEFORE: dict[str, tuple[str, KeyPolicy]] = {
    "the default": (
        '{"debug_phi":false,"default_model_tier":null,"default_region":null,"models":null,'
        '"phi":"allowed","regions":null,"rpm":600,"spend_limit_micros":null}',
        KeyPolicy(),
    ),
    "everything set": (
        '{"debug_phi":true,"default_model_tier":"thinking","default_region":"CH",'
        '"models":["gemma-4"],"phi":"required","regions":["CH","EU"],"rpm":6000000,'
        '"spend_limit_micros":5000000}',
        replace(POLICIES["everything set"], confidential=None),
    ),
}


def written(change: dict[str, Any]) -> str:
    """The default policy's JSON with a change."""
    members = json.loads(policy_to_json(KeyPolicy())) | change
    return json.dumps({name: value for name, value in members.items() if value is not ABSENT})


@given(random_bytes=st.binary(min_size=KEY_RANDOM_BYTES, max_size=KEY_RANDOM_BYTES))
def test_every_key_that_is_made_is_one(random_bytes: bytes) -> None:
    key = make_key("test", random_bytes)
    parts = parse_key(key)
    assert parts is not None
    assert (parts.kind, parts.sha256, len(key)) == ("test", key_sha256(key), len(LIVE))
    assert len(key) <= KEY_BYTES_MAX


@given(first=st.binary(min_size=32, max_size=32), second=st.binary(min_size=32, max_size=32))
def test_two_secrets_make_two_keys(first: bytes, second: bytes) -> None:
    assert (make_key("live", first) == make_key("live", second)) is (first == second)


@given(position=st.integers(len("phi_live_"), len(LIVE) - 1), character=st.sampled_from(BASE62))
def test_one_mistyped_character_is_noticed(position: int, character: str) -> None:
    typed = LIVE[:position] + character + LIVE[position + 1 :]
    assert (parse_key(typed) is not None) is (typed == LIVE)


@pytest.mark.parametrize("name", NOT_KEYS)
def test_what_is_no_key_is_refused(name: str) -> None:
    assert parse_key(NOT_KEYS[name]) is None


def test_a_key_id_shows_nothing_of_the_key() -> None:
    parts = parse_key(LIVE)
    assert parts is not None
    assert parts.key_id == key_sha256(LIVE)[:12]
    assert parts.key_id not in LIVE


@pytest.mark.parametrize("count", [0, 31, 33])
def test_a_key_is_not_made_of_fewer_or_more_bits(count: int) -> None:
    with pytest.raises(ValueError, match=r"32 random bytes"):
        make_key("live", bytes(count))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_comes_back_as_it_was(name: str) -> None:
    assert policy_from_json(policy_to_json(POLICIES[name])) == POLICIES[name]


@pytest.mark.parametrize(("text", "policy"), STORED_BEFORE.values(), ids=STORED_BEFORE)
def test_a_policy_of_an_earlier_release_is_read_and_is_written_as_it_was(
    text: str, policy: KeyPolicy
) -> None:
    """An earlier release reads it too: it knows no member that restricts nothing."""
    assert policy_from_json(text) == policy
    assert policy_to_json(policy) == text


def test_a_policy_that_an_earlier_release_would_weaken_has_a_member_that_it_refuses() -> None:
    stored = json.loads(policy_to_json(KeyPolicy(confidential="required")))
    before = json.loads(STORED_BEFORE["the default"][0])
    assert stored == {**before, "confidential": "required"}


def test_people_are_shown_every_member() -> None:
    assert policy_members(KeyPolicy()).keys() == set(KeyPolicy.__dataclass_fields__)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_policy_is_not_read(name: str) -> None:
    with pytest.raises(MalformedPolicy):
        policy_from_json(written(MALFORMED[name]))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{", '"phi"'])
def test_what_is_no_policy_is_not_read(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        policy_from_json(text)


def test_the_table_of_malformed_policies_starts_from_a_good_one() -> None:
    assert policy_from_json(written({})) == KeyPolicy()
