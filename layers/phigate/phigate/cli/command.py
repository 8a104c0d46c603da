"""What a command of `phigate` is: its words, its help with an example, its flags, its work.

Laws: results go to standard output and remarks to standard error; an expected failure is one line
there and exit status 1, a wrong command line one line and exit status 2.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

_KEY = re.compile(r"phi_(?:live|test)_\w*")

Environment = Mapping[str, str]
Run = Callable[[argparse.Namespace, Environment], int]


class CommandFailed(Exception):  # named by what happened, like every error here
    """The command cannot do what it was told; the text is one line for a person."""


class WrongUsage(Exception):  # named by what happened, like every error here
    """The command line does not say what to do; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `words` is `keys create` or `sweep`; `example` a line that works as it is.

    `run` returns the exit status and may raise what `main.FAILURES` names.
    """

    words: str
    summary: str
    example: str
    flags: Callable[[argparse.ArgumentParser], None]
    run: Run


class Parser(argparse.ArgumentParser):
    """Raises WrongUsage instead of printing a page and ending the process."""

    def __init__(self, *, prog: str, description: str, example: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """One line, and where to read on. argparse quotes what it was given, which may be a key."""
        raise WrongUsage(f"{_KEY.sub('phi_…', message)} (see {self.prog} --help)")


def remark(text: str) -> None:
    """Say something that is not the result."""
    print(f"phigate: {text}", file=sys.stderr)
