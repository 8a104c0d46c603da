"""Secrets that a command is given: in a file or on standard input, never on its command line.

A command line is for everybody: `ps` shows it to every user of the machine, and shells keep it.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phigate.cli.command import CommandFailed, WrongUsage
from phigate.core.ledger.keys import parse_key

SECRET_BYTES_MAX = 4_096  # a key has 58 characters, a nonce 64
STANDARD_INPUT = "-"

_PERHAPS_KEY = re.compile(r"phi_(?:live|test)_[0-9A-Za-z]+")


def secret_flag(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    """`--NAME-file FILE`."""
    parser.add_argument(
        f"--{name}-file", metavar="FILE", help=f"{what}, in a file; - reads standard input"
    )


def refused_flag(parser: argparse.ArgumentParser, name: str) -> None:
    """`--NAME`, which took the secret itself in older releases, and now says what to do."""
    parser.add_argument(f"--{name}", action=_Refused, help=argparse.SUPPRESS)


def secret_in(name: str) -> str:
    """What the file holds, without the white space round it. Raises CommandFailed or OSError."""
    if name == STANDARD_INPUT:
        content = sys.stdin.buffer.readline(SECRET_BYTES_MAX + 1)
    else:
        with Path(name).open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    if len(content) > SECRET_BYTES_MAX:
        raise CommandFailed("this is no secret of ours: it has over 4,096 bytes")
    return content.decode("utf-8", "replace").strip()


def refuse_keys(argv: Sequence[str]) -> None:
    """Raises WrongUsage where an argument holds a whole key, whatever it was meant for."""
    for argument in argv:
        if any(parse_key(found) for found in _PERHAPS_KEY.findall(argument)):
            raise WrongUsage(
                "a key is a secret, and every user of this machine can read a command line: name "
                "the key by its id (phigate keys list), or give --key-file FILE (- reads standard "
                "input)"
            )


class _Refused(argparse.Action):
    """The option may stand in scripts; its value must not be used."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        raise WrongUsage(
            f"{option_string} would show a secret to every user of this machine: give "
            f"{option_string}-file FILE (- reads standard input)"
        )
