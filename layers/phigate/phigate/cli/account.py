"""`phigate account`: what an account has, holds and has spent."""

import argparse
import json

from phigate.cli import values
from phigate.cli.command import Command, CommandFailed
from phigate.cli.store import Store, on_store, place_flags
from phigate.cli.tables import amount, columns, facts, usd

_AMOUNTS = ("AVAILABLE USD", "HELD USD", "SPENT USD", "TOPPED UP USD")


def _show_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", type=values.account, metavar="ACCOUNT")
    parser.add_argument("--json", action="store_true", help="print integers of micro-USD as JSON")
    place_flags(parser)


async def _show(store: Store, flags: argparse.Namespace) -> int:
    view = await store.ledger.account(flags.account)
    if view is None:
        raise CommandFailed(f"there is no account {flags.account}; phigate account list names them")
    if flags.json:
        shown = {
            "account": view.account,
            "available_micro": view.available_micros,
            "held_micro": view.held_micros,
            "spent_micro": view.spent_micros,
            "topped_up_micro": view.topped_up_micros,
        }
        print(json.dumps(shown))
        return 0
    lines = (
        ("account", view.account),
        ("available", amount(view.available_micros)),
        ("held", f"{amount(view.held_micros)} in {view.holds} holds"),
        ("spent", amount(view.spent_micros)),
        ("topped up", amount(view.topped_up_micros)),
    )
    print(facts(lines))
    return 0


async def _list(store: Store, flags: argparse.Namespace) -> int:
    ledger = store.ledger
    views = [await ledger.account(name) for name in await ledger.accounts()]
    rows = [
        (
            view.account,
            usd(view.available_micros),
            usd(view.held_micros),
            usd(view.spent_micros),
            usd(view.topped_up_micros),
        )
        for view in views
        if view is not None
    ]
    print(columns(("ACCOUNT", *_AMOUNTS), rows, right=frozenset(_AMOUNTS)))
    return 0


COMMANDS = (
    Command(
        words="account show",
        summary="Show what an account has available, held, spent and topped up.",
        example="phigate account show clinic --json",
        flags=_show_flags,
        run=on_store(_show),
    ),
    Command(
        words="account list",
        summary="List every account with its amounts.",
        example="phigate account list",
        flags=place_flags,
        run=on_store(_list),
    ),
)
