"""`phigate local`: hands over to the local stack, which is no part of this package."""

import argparse
import os
import sys
from pathlib import Path

from phigate.cli import values
from phigate.cli.command import Command, Environment
from phigate.cli.state import local_python
from phigate.cli.store import DEFAULT_STATE

DEFAULT_PORT = 8080


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=values.port,
        default=DEFAULT_PORT,
        metavar="N",
        help=f"TCP port on this machine (default {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="state directory (default: PHIGATE_STATE, else .phigate)",
    )
    parser.add_argument(
        "--catalog", type=Path, metavar="DIR", help="catalog folder (default: the repository's)"
    )
    parser.add_argument(
        "--sandboxes",
        type=values.count_or_none,
        metavar="N",
        help="sandboxes kept warm for math (default 2; 0: each is started when it is asked for)",
    )


def _run(flags: argparse.Namespace, environ: Environment) -> int:
    state = flags.state or environ.get("PHIGATE_STATE") or DEFAULT_STATE
    command = [*local_python("local"), "--port", str(flags.port), "--state", str(state)]
    if flags.catalog is not None:
        command += ["--catalog", str(flags.catalog)]
    if flags.sandboxes is not None:
        command += ["--sandboxes", str(flags.sandboxes)]
    sys.stdout.flush()
    sys.stderr.flush()
    # Replaced, so that signals reach the stack itself.
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted
    return 1


COMMANDS = (
    Command(
        words="local",
        summary="Serve an OpenAI-compatible gateway on this machine, providers simulated.",
        example="phigate local --port 8080 --state .phigate",
        flags=_flags,
        run=_run,
    ),
)
