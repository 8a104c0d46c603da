"""`phigate sweep`: settle the holds that are past their time."""

import argparse

from phigate.cli import values
from phigate.cli.command import Command, CommandFailed, remark
from phigate.cli.store import Store, on_store, place_flags
from phigate.cli.tables import columns, usd

_NUMBERS = ("EXPIRED", "SETTLED", "CHARGED USD")


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--account", type=values.account, metavar="A", help="this account alone (default: all)"
    )
    place_flags(parser)


async def _sweep(store: Store, flags: argparse.Namespace) -> int:
    ledger, now_s = store.ledger, int(store.clock.now_s())
    if flags.account is None:
        swept, failed = await ledger.sweep_all(now_s)
    elif await ledger.account(flags.account) is None:
        raise CommandFailed(f"there is no account {flags.account}")
    else:
        swept, failed = [await ledger.sweep(flags.account, now_s)], []
    rows = [
        (done.account, str(done.expired), str(done.settled), usd(done.charged_micros))
        for done in swept
    ]
    print(columns(("ACCOUNT", *_NUMBERS), rows, right=frozenset(_NUMBERS)))
    for account in failed:
        remark(f"{account} was not swept to its end; sweep again")
    return 1 if failed else 0


COMMANDS = (
    Command(
        words="sweep",
        summary="End the holds that are past their time: by their receipt, else without charge "
        "but for what was noted as used. `phigate local` does this every 30 s by itself.",
        example="phigate sweep",
        flags=_flags,
        run=on_store(_sweep),
    ),
)
