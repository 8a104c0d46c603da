"""`phigate keys` on a real engine."""

import re
from pathlib import Path

import pytest

from phigate.core.ledger.keys import key_id_of, parse_key
from phigate.core.ledger.port import AccountView
from phigate.core.types import KeyPolicy, Principal
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.keys import DynamoKeys, KeyView
from phigate.effects.store.ledger import DynamoLedger
from tests.cli.conftest import Terminal

CREATE = ("keys", "create", "--account", "clinic")


def principal(terminal: Terminal, key: str) -> Principal | None:
    """Whose key it is, as a gateway reads it."""
    parts = parse_key(key)
    assert parts is not None

    async def read(dynamodb: DynamoDB) -> Principal | None:
        return await DynamoKeys(dynamodb, WallClock()).lookup(parts.sha256)

    return terminal.ask(read)


def account(terminal: Terminal, name: str = "clinic") -> AccountView:
    """The account as it stands."""

    async def read(dynamodb: DynamoDB) -> AccountView | None:
        return await DynamoLedger(dynamodb, WallClock()).account(name)

    view = terminal.ask(read)
    assert view is not None
    return view


def made(terminal: Terminal, *flags: str) -> str:
    """A new key."""
    ran = terminal(*CREATE, *flags)
    assert ran.status == 0, ran.err
    return ran.out.strip()


def id_of(key: str) -> str:
    """The public name of a key."""
    parts = parse_key(key)
    assert parts is not None
    return parts.key_id


def test_create_prints_the_key_alone_and_everything_else_aside(terminal: Terminal) -> None:
    ran = terminal(*CREATE, "--credit-usd", "1.00")
    assert ran.status == 0
    assert re.fullmatch(r"phi_test_[0-9A-Za-z]{49}\n", ran.out)
    assert "phi_" not in ran.err
    assert all(line.startswith("phigate: ") for line in ran.err.splitlines())


def test_create_makes_the_account_and_adds_exact_credit(terminal: Terminal) -> None:
    made(terminal, "--credit-usd", "1.000003")
    view = account(terminal)
    assert (view.available_micros, view.topped_up_micros) == (1_000_003, 1_000_003)


def test_create_without_credit_adds_none(terminal: Terminal) -> None:
    made(terminal)
    assert account(terminal).topped_up_micros == 0


def test_the_credit_of_a_key_can_be_sent_again_without_doubling(terminal: Terminal) -> None:
    key_id = id_of(made(terminal, "--credit-usd", "1.00"))
    again = ("--account", "clinic", "--usd", "1.00", "--ref", f"key {key_id}")
    ran = terminal("credit", "add", *again)
    assert (ran.status, ran.out) == (0, "")
    assert account(terminal).topped_up_micros == 1_000_000


def test_a_second_key_brings_its_own_credit(terminal: Terminal) -> None:
    assert made(terminal, "--credit-usd", "1.00") != made(terminal, "--credit-usd", "0.50")
    assert account(terminal).topped_up_micros == 1_500_000


POLICIES: dict[str, tuple[tuple[str, ...], KeyPolicy]] = {
    "nothing said": ((), KeyPolicy()),
    "a default region": (("--region", "CH"), KeyPolicy(default_region="CH")),
    "PHI required": (("--phi", "required"), KeyPolicy(phi="required")),
    "a rate without bound": (("--rpm", "5000000000"), KeyPolicy(rpm=5_000_000_000)),
    "a daily limit": (("--spend-limit-usd", "0.25"), KeyPolicy(spend_limit_micros=250_000)),
    "two regions": (("--regions", "CH,EU"), KeyPolicy(regions=frozenset({"CH", "EU"}))),
    "one model": (("--models", "gemma-4"), KeyPolicy(models=frozenset({"gemma-4"}))),
    "a model tier": (("--model-tier", "thinking"), KeyPolicy(default_model_tier="thinking")),
    "confidential rows": (("--confidential", "required"), KeyPolicy(confidential="required")),
    "debug": (("--debug-phi",), KeyPolicy(debug_phi=True)),
}


@pytest.mark.parametrize(("flags", "policy"), POLICIES.values(), ids=POLICIES)
def test_a_flag_becomes_the_policy_that_the_gateway_reads(
    terminal: Terminal, flags: tuple[str, ...], policy: KeyPolicy
) -> None:
    found = principal(terminal, made(terminal, *flags))
    assert found is not None
    assert found.policy == policy


def test_a_key_that_requires_confidential_rows_says_so_and_keeps_it(terminal: Terminal) -> None:
    old = made(terminal, "--confidential", "required")
    assert "confidential required" in terminal("keys", "list").out
    found = principal(terminal, terminal("keys", "rotate", id_of(old)).out.strip())
    assert found is not None
    assert found.policy.confidential == "required"


def test_a_confidential_word_that_does_not_exist_makes_nothing(terminal: Terminal) -> None:
    assert terminal(*CREATE, "--confidential", "allowed").status == 2
    assert terminal("account", "show", "clinic").status == 1


def test_a_live_key_says_so(terminal: Terminal) -> None:
    assert made(terminal, "--live").startswith("phi_live_")


def test_expires_is_midnight_of_that_day(terminal: Terminal) -> None:
    found = principal(terminal, made(terminal, "--expires", "2090-01-01"))
    assert found is not None
    assert found.expires_at_s == 3_786_912_000


def test_an_expiry_that_is_past_makes_nothing(terminal: Terminal) -> None:
    ran = terminal(*CREATE, "--expires", "2020-01-01", "--credit-usd", "1")
    assert (ran.status, ran.out) == (1, "")
    assert "2020-01-01" in ran.err
    assert terminal("account", "show", "clinic").status == 1


def test_a_default_region_outside_the_regions_makes_nothing(terminal: Terminal) -> None:
    ran = terminal(*CREATE, "--region", "US", "--regions", "CH,EU")
    assert (ran.status, ran.out) == (2, "")
    assert terminal("account", "show", "clinic").status == 1


def test_list_shows_ids_and_policies_and_no_key(terminal: Terminal) -> None:
    first = made(terminal, "--region", "CH", "--phi", "required")
    second = terminal("keys", "create", "--account", "lab", "--rpm", "5").out.strip()
    everything = terminal("keys", "list")
    assert {id_of(first), id_of(second)} <= set(everything.out.split())
    assert "phi required; rpm 600; region CH" in everything.out
    assert first not in everything.out and second not in everything.out
    one = terminal("keys", "list", "--account", "lab")
    assert id_of(second) in one.out and id_of(first) not in one.out


@pytest.mark.parametrize("account_flag", [(), ("--account", "clinic")], ids=["searched", "named"])
@pytest.mark.parametrize("by_id", [True, False], ids=["by its id", "by the key"])
def test_disable_stops_the_key_and_no_other(
    terminal: Terminal, tmp_path: Path, by_id: bool, account_flag: tuple[str, ...]
) -> None:
    key, other = made(terminal), made(terminal)
    (tmp_path / "key").write_text(f"{key}\n")
    named = (id_of(key),) if by_id else ("--key-file", str(tmp_path / "key"))
    ran = terminal("keys", "disable", *named, *account_flag)
    assert ran.status == 0
    assert key not in ran.out + ran.err
    assert principal(terminal, key) is None
    assert principal(terminal, other) is not None


def test_disable_twice_is_said(terminal: Terminal) -> None:
    key_id = id_of(made(terminal))
    assert terminal("keys", "disable", key_id).out == f"disabled key {key_id} of clinic\n"
    assert "before" in terminal("keys", "disable", key_id).out


def test_rotate_prints_a_new_key_alone_with_the_same_policy(terminal: Terminal) -> None:
    old = made(terminal, "--region", "CH", "--expires", "2090-01-01", "--live")
    before = principal(terminal, old)
    ran = terminal("keys", "rotate", id_of(old))
    assert re.fullmatch(r"phi_live_[0-9A-Za-z]{49}\n", ran.out)
    after = principal(terminal, ran.out.strip())
    assert before is not None and after is not None
    assert (after.policy, after.expires_at_s) == (before.policy, before.expires_at_s)
    assert principal(terminal, old) is None


def test_rotate_does_not_revive_a_disabled_key(terminal: Terminal) -> None:
    key_id = id_of(made(terminal))
    terminal("keys", "disable", key_id)
    ran = terminal("keys", "rotate", key_id)
    assert (ran.status, ran.out) == (1, "")
    assert "disabled" in ran.err

    async def listed(dynamodb: DynamoDB) -> list[KeyView]:
        return await DynamoAdmin(dynamodb, WallClock()).list_keys("clinic")

    assert len(terminal.ask(listed)) == 1


NO_SUCH_KEY = {
    "no id": "hello",
    "an unknown id": "0123456789ab",
    "a key with a wrong checksum": "phi_test_" + "0" * 49,
}


@pytest.mark.parametrize("command", ["disable", "rotate"])
@pytest.mark.parametrize("name", NO_SUCH_KEY.values(), ids=NO_SUCH_KEY)
def test_a_key_that_is_none_is_refused_and_not_repeated(
    terminal: Terminal, command: str, name: str
) -> None:
    made(terminal)
    ran = terminal("keys", command, name)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "phi_test_" not in ran.err


def test_a_key_is_found_in_its_own_account_alone(terminal: Terminal) -> None:
    key = made(terminal)
    terminal("keys", "create", "--account", "lab")
    ran = terminal("keys", "disable", id_of(key), "--account", "lab")
    assert ran.status == 1
    assert principal(terminal, key) is not None


def test_an_id_is_the_first_characters_of_the_hash(terminal: Terminal) -> None:
    key = made(terminal)
    parts = parse_key(key)
    assert parts is not None
    assert key_id_of(parts.sha256) in terminal("keys", "list").out
