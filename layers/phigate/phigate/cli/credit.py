"""`phigate credit`: prepaid credit, exactly once per reference."""

import argparse

from phigate.cli import values
from phigate.cli.command import Command, remark
from phigate.cli.store import Store, on_store, place_flags
from phigate.cli.tables import amount


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", type=values.account, required=True, metavar="A")
    parser.add_argument(
        "--usd",
        type=values.usd_above_zero,
        required=True,
        metavar="X",
        help="dollars, such as 1.00",
    )
    parser.add_argument(
        "--ref",
        type=values.reference,
        required=True,
        metavar="R",
        help="an invoice number or a payment's id; each is credited once",
    )
    place_flags(parser)


async def _add(store: Store, flags: argparse.Namespace) -> int:
    if await store.admin.add_credit(flags.account, flags.usd, flags.ref):
        print(f"credited {amount(flags.usd)} to {flags.account}, reference {flags.ref}")
    else:
        remark(f"reference {flags.ref} was credited before; nothing was changed")
    return 0


COMMANDS = (
    Command(
        words="credit add",
        summary="Add credit to an account. A reference that was credited before changes nothing.",
        example="phigate credit add --account clinic --usd 25.00 --ref invoice-17",
        flags=_add_flags,
        run=on_store(_add),
    ),
)
