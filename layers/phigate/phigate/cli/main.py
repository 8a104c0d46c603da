"""`phigate`: the table of commands, and what each expected failure looks like.

Exit status: 0 done, 1 failed with one line on standard error, 2 wrong usage, 130 by Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from phigate.cli import account, audit, catalog, credit, days, keys, local, route, sweep, verify
from phigate.cli.command import Command, CommandFailed, Environment, Parser, WrongUsage, remark
from phigate.cli.secret_input import refuse_keys
from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.errors import PhigateError
from phigate.effects.audit.day_closer import KeepingFailed
from phigate.effects.signing.signer import KeyFileUnusable, SigningFailed
from phigate.effects.store.admin import CreditRefUsed, NoSuchAccount, NoSuchKey

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None, environ: Environment | None = None) -> int:
    """Run one command and return its exit status. `--help` raises SystemExit(0)."""
    # A command's defaults come from the environment of the shell it was typed in.
    variables = os.environ if environ is None else environ  # noqa: TID251
    try:
        refuse_keys(sys.argv[1:] if argv is None else argv)
        flags = parser().parse_args(argv)
        command: Command = flags.command
        status = command.run(flags, variables)
        sys.stdout.flush()
    except WrongUsage as exc:
        remark(str(exc))
        return 2
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except tuple(FAILURES) as exc:
        remark(_said(exc))
        return 1
    return status


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    top = Parser(
        prog="phigate",
        description="A gateway that keeps calls in their region and PHI under its agreements.",
        example="phigate keys create --account clinic --credit-usd 1.00 --region CH",
    )
    places = {"": _choice(top)}
    for command in COMMANDS:
        noun, _, verb = command.words.rpartition(" ")
        if noun not in places:
            group = places[""].add_parser(
                noun,
                prog=f"phigate {noun}",
                help=NOUNS[noun],
                description=f"{NOUNS[noun]}.",
                example=command.example,
            )
            places[noun] = _choice(group)
        single = places[noun].add_parser(
            verb,
            prog=f"phigate {command.words}",
            help=command.summary,
            description=command.summary,
            example=command.example,
        )
        command.flags(single)
        single.set_defaults(command=command)
    return top


def _choice(group: argparse.ArgumentParser) -> Any:
    """Subparsers of a group; their type has no name that may be used outside argparse."""
    return group.add_subparsers(metavar="COMMAND", required=True)


def _said(exc: Exception) -> str:
    for kind, said in FAILURES.items():
        if isinstance(exc, kind):
            return said(exc)
    raise AssertionError("only what the table names is caught")


def _api_error(exc: Any) -> str:
    """The message, and what the store said where that is the cause."""
    cause = "" if exc.__cause__ is None else f" ({exc.__cause__})"
    param = "" if exc.param is None or exc.param in exc.message else f"{exc.param}: "
    return f"{param}{exc.message}{cause}"


def _file_error(exc: Any) -> str:
    named = "" if exc.filename is None else f"{exc.filename}: "
    return f"{named}{exc.strerror or exc}"


def _catalog_invalid(exc: Any) -> str:
    first, more = exc.mistakes[0], len(exc.mistakes) - 1
    others = f", and {more} more mistakes" if more else ""
    return f"the catalog is not valid: {first}{others}; see phigate catalog check"


# Every failure that a command may end with, and its line.
FAILURES: Mapping[type[Exception], Callable[[Any], str]] = {
    CommandFailed: str,
    PhigateError: _api_error,
    NoSuchAccount: lambda exc: f"there is no account {exc}; phigate account list names them",
    NoSuchKey: lambda exc: f"there is no key {exc}; phigate keys list shows the ids",
    CreditRefUsed: str,
    KeyFileUnusable: str,
    SigningFailed: lambda exc: f"the key did not sign: {exc}",
    KeepingFailed: str,
    CatalogInvalid: _catalog_invalid,
    OSError: _file_error,
}

NOUNS = {
    "keys": "Make, list, stop and replace API keys",
    "account": "Show accounts and their credit",
    "credit": "Add prepaid credit",
    "catalog": "Check, show and load the catalog",
    "days": "Close days by signed digests, and save these",
}

COMMANDS: tuple[Command, ...] = (
    *local.COMMANDS,
    *keys.COMMANDS,
    *account.COMMANDS,
    *credit.COMMANDS,
    *route.COMMANDS,
    *catalog.COMMANDS,
    *sweep.COMMANDS,
    *days.COMMANDS,
    *audit.COMMANDS,
    *verify.COMMANDS,
)

if __name__ == "__main__":
    sys.exit(main())
