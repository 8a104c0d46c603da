"""Every command: its help, its example, and the one line that a failure is."""

import os
import shlex
import subprocess
import sys

import pytest

from phigate.cli.command import Command
from phigate.cli.main import COMMANDS, NOUNS, main, parser

WORDS = [command.words for command in COMMANDS]


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `--help` prints; it ends the process with 0."""
    with pytest.raises(SystemExit) as ended:
        main((*words, "--help"), {})
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("command", COMMANDS, ids=WORDS)
def test_help_shows_an_example_of_this_command(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = helped(capsys, *command.words.split())
    assert f"example:\n  {command.example}\n" in shown
    assert command.example.startswith(f"phigate {command.words}")


@pytest.mark.parametrize("command", COMMANDS, ids=WORDS)
def test_an_example_is_a_command_line_that_is_understood(command: Command) -> None:
    assert parser().parse_args(shlex.split(command.example)[1:]).command is command


@pytest.mark.parametrize("noun", ["", *NOUNS])
def test_help_of_a_noun_lists_its_commands_and_shows_an_example(
    noun: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = helped(capsys, *noun.split())
    assert "example:\n  phigate " in shown
    for words in WORDS:
        if words.startswith(noun):
            assert words.removeprefix(noun).split()[0] in shown


def test_every_command_of_the_contract_is_there() -> None:
    assert set(WORDS) == {
        "local",
        "verify",
        "nonce",
        "keys create",
        "keys list",
        "keys disable",
        "keys rotate",
        "account show",
        "account list",
        "credit add",
        "route",
        "catalog check",
        "catalog show",
        "catalog push",
        "sweep",
        "days close",
        "days save",
        "audit",
    }


USAGE = {
    "nothing": (),
    "a noun alone": ("keys",),
    "an unknown command": ("frobnicate",),
    "an unknown flag": ("sweep", "--hard"),
    "a flag cut short": ("credit", "add", "--acc", "clinic", "--usd", "1", "--ref", "r"),
    "a flag that is needed": ("credit", "add", "--account", "clinic"),
    "a word too many": ("account", "list", "phi_live_secret"),
}


@pytest.mark.parametrize("argv", USAGE.values(), ids=USAGE)
def test_wrong_usage_is_one_line_that_says_where_to_read_on(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv, {}) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--help" in err
    assert "phi_live_secret" not in err


def test_a_reader_that_has_enough_is_no_failure_with_a_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "phigate.cli.main", "catalog", "check"]
    with os.fdopen(write, "wb") as closed:
        ran = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (1, b"")
