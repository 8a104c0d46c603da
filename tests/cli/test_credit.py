"""`phigate account`, `phigate credit` and `phigate sweep` on a real engine."""

import json

import pytest

from phigate.core.ledger.hold import OpenHold
from phigate.core.ledger.port import HoldRefused, HoldRequest
from phigate.core.receipts.ids import new_id
from phigate.effects.clock import WallClock
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.ledger import DynamoLedger
from tests.cli.conftest import Terminal
from tests.cli.test_keys import id_of, made

ADD = ("credit", "add", "--account", "clinic")
HOLD_MICROS = 300_000


def amounts(terminal: Terminal, account: str = "clinic") -> dict[str, int]:
    """What `account show --json` says, the name apart."""
    shown = json.loads(terminal("account", "show", account, "--json").out)
    assert shown.pop("account") == account
    return {name: value for name, value in shown.items() if type(value) is int}


def hold(terminal: Terminal, key_id: str, expires_at_s: int) -> None:
    """Leave a hold behind, as a gateway that crashed does."""

    async def held(dynamodb: DynamoDB) -> OpenHold | HoldRefused:
        request = HoldRequest(
            account="clinic",
            key_id=key_id,
            id=new_id(expires_at_s, bytes(7)),
            micros=HOLD_MICROS,
            expires_at_s=expires_at_s,
            now_s=expires_at_s - 100,
            rpm=600,
        )
        return await DynamoLedger(dynamodb, WallClock()).hold(request)

    assert isinstance(terminal.ask(held), OpenHold)


def test_a_reference_is_credited_once(terminal: Terminal) -> None:
    made(terminal)
    first = terminal(*ADD, "--usd", "2.50", "--ref", "invoice-17")
    assert first.status == 0
    assert "2.500000 USD (2500000 micro)" in first.out
    again = terminal(*ADD, "--usd", "2.50", "--ref", "invoice-17")
    assert (again.status, again.out) == (0, "")
    assert "credited before" in again.err
    assert amounts(terminal)["topped_up_micro"] == 2_500_000


def test_another_reference_is_another_credit(terminal: Terminal) -> None:
    made(terminal)
    for ref in ("a", "b"):
        terminal(*ADD, "--usd", "0.000001", "--ref", ref)
    assert amounts(terminal)["topped_up_micro"] == 2


def test_a_reference_with_another_amount_is_refused(terminal: Terminal) -> None:
    made(terminal)
    terminal(*ADD, "--usd", "1", "--ref", "r")
    ran = terminal(*ADD, "--usd", "2", "--ref", "r")
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert amounts(terminal)["topped_up_micro"] == 1_000_000


@pytest.mark.parametrize("amount", ["-1", "1e3", "0", "0.0000001", "1,5", "many"])
def test_an_amount_that_is_none_changes_nothing(terminal: Terminal, amount: str) -> None:
    made(terminal)
    ran = terminal(*ADD, "--usd", amount, "--ref", "r")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "--usd" in ran.err
    assert amounts(terminal)["topped_up_micro"] == 0


def test_credit_makes_no_account(terminal: Terminal) -> None:
    ran = terminal("credit", "add", "--account", "nobody", "--usd", "1", "--ref", "r")
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "nobody" in ran.err
    assert "nobody" not in terminal("account", "list").out


def test_show_speaks_of_dollars_and_micros(terminal: Terminal) -> None:
    made(terminal, "--credit-usd", "1.5")
    ran = terminal("account", "show", "clinic")
    assert "available  1.500000 USD (1500000 micro)\n" in ran.out
    assert "topped up  1.500000 USD (1500000 micro)\n" in ran.out


def test_show_json_has_the_four_integers(terminal: Terminal) -> None:
    key = made(terminal, "--credit-usd", "1.00")
    hold(terminal, id_of(key), 1_900_000_000)
    assert amounts(terminal) == {
        "available_micro": 1_000_000 - HOLD_MICROS,
        "held_micro": HOLD_MICROS,
        "spent_micro": 0,
        "topped_up_micro": 1_000_000,
    }


def test_an_unknown_account_is_one_line(terminal: Terminal) -> None:
    for argv in (("account", "show"), ("keys", "list", "--account"), ("sweep", "--account")):
        ran = terminal(*argv, "nobody")
        assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)


def test_list_has_a_line_for_every_account(terminal: Terminal) -> None:
    made(terminal, "--credit-usd", "1.00")
    terminal("keys", "create", "--account", "lab")
    lines = terminal("account", "list").out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["clinic", "1.000000", "0.000000", "0.000000", "1.000000"],
        ["lab", "0.000000", "0.000000", "0.000000", "0.000000"],
    ]


@pytest.mark.parametrize("flags", [(), ("--account", "clinic")], ids=["all", "one"])
def test_sweep_ends_a_hold_that_is_past_its_time(
    terminal: Terminal, flags: tuple[str, ...]
) -> None:
    key = made(terminal, "--credit-usd", "1.00")
    hold(terminal, id_of(key), 1_700_000_000)
    ran = terminal("sweep", *flags)
    assert ran.status == 0
    assert ran.out.splitlines()[1].split() == ["clinic", "1", "0", "0.000000"]
    assert amounts(terminal)["available_micro"] == 1_000_000


def test_sweep_leaves_a_hold_that_has_time(terminal: Terminal) -> None:
    key = made(terminal, "--credit-usd", "1.00")
    hold(terminal, id_of(key), 4_000_000_000)
    assert terminal("sweep").out.splitlines()[1].split() == ["clinic", "0", "0", "0.000000"]
    assert amounts(terminal)["held_micro"] == HOLD_MICROS
