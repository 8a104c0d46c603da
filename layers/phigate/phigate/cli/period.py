"""The flags of commands that look at an account's days: whose, and from when to when."""

import argparse

from phigate.cli import values
from phigate.cli.command import WrongUsage
from phigate.core.limits import AUDIT_DAYS_MAX
from phigate.core.receipts.days import DAY_S, day_at

PERIOD_EXAMPLE = "--account clinic --from 2026-07-01 --to 2026-09-30"


def period_flags(parser: argparse.ArgumentParser) -> None:
    """`--account`, `--from` and `--to`."""
    parser.add_argument("--account", type=values.account, required=True, metavar="A")
    parser.add_argument(
        "--from",
        dest="first_s",
        type=values.day,
        required=True,
        metavar="DAY",
        help="the first UTC day, YYYY-MM-DD",
    )
    parser.add_argument(
        "--to",
        dest="last_s",
        type=values.day,
        required=True,
        metavar="DAY",
        help="the last UTC day, which is included",
    )


def days_of(flags: argparse.Namespace) -> tuple[str, str]:
    """The first and the last day. Raises WrongUsage."""
    days = (flags.last_s - flags.first_s) // DAY_S + 1
    if days < 1:
        raise WrongUsage("--to is before --from")
    if days > AUDIT_DAYS_MAX:
        raise WrongUsage(f"a period has at most {AUDIT_DAYS_MAX} days")
    try:
        # The days around the period are looked at as well.
        day_at(flags.first_s - DAY_S), day_at(flags.last_s + DAY_S)
    except (ValueError, OverflowError):
        raise WrongUsage("the period ends the calendar") from None
    return day_at(flags.first_s), day_at(flags.last_s)
