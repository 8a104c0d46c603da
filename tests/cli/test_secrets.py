"""No command takes a secret on its command line, which every user of the machine can read."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from phigate.cli.command import Command
from phigate.cli.main import COMMANDS, main
from phigate.cli.secret_input import SECRET_BYTES_MAX
from phigate.core.ledger.keys import KEY_RANDOM_BYTES, key_id_of, key_sha256, make_key
from tests.cli.conftest import Terminal

WORDS = [command.words for command in COMMANDS]
KEY = make_key("live", secrets.token_bytes(KEY_RANDOM_BYTES))
PLACES = {
    "alone": KEY,
    "as an option's value": f"--key={KEY}",
    "in the middle": f"Bearer {KEY}, please",
}


def piped(terminal: Terminal, text: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command with a text on its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "phigate.cli.main", *argv, "--state", str(terminal.state)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS, ids=WORDS)
def test_a_key_on_the_command_line_is_refused_with_the_way_that_is_safe(
    command: Command, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main((*command.words.split(), PLACES[place]), {"PHIGATE_STATE": str(tmp_path)}) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--key-file FILE" in err and "standard input" in err
    assert KEY not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spelled", ["--nonce=" + "0" * 64, "--nonce"])
def test_a_nonce_on_the_command_line_is_refused_with_the_way_that_is_safe(
    spelled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [] if "=" in spelled else ["0" * 64]
    assert main(("verify", "receipt.json", spelled, *more), {}) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--nonce-file FILE" in err
    assert "000" not in err


@pytest.mark.parametrize("command", ["disable", "rotate"])
def test_a_whole_key_comes_on_standard_input(terminal: Terminal, command: str) -> None:
    key = terminal("keys", "create", "--account", "clinic").out.strip()
    ran = piped(terminal, f"{key}\n", "keys", command, "--key-file", "-")
    assert ran.returncode == 0, ran.stderr
    assert key not in ran.stdout + ran.stderr
    key_id = key_id_of(key_sha256(key))
    listed = terminal("keys", "list").out.splitlines()
    assert ["disabled" in line for line in listed if key_id in line] == [True]


NOT_ONE = {"neither": (), "both": ("0123456789ab", "--key-file", "-")}


@pytest.mark.parametrize("argv", NOT_ONE.values(), ids=NOT_ONE)
def test_a_key_is_named_in_one_way(terminal: Terminal, argv: tuple[str, ...]) -> None:
    ran = terminal("keys", "disable", *argv)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "--key-file FILE" in ran.err


NO_SECRETS = {
    "empty": b"",
    "another thing": b"hello\n",
    "a key with a wrong checksum": b"phi_test_" + b"0" * 49,
    "bytes": b"\xff\xfe\x00",
    "too much": b"0" * (SECRET_BYTES_MAX + 1),
}


@pytest.mark.parametrize("content", NO_SECRETS.values(), ids=NO_SECRETS)
@pytest.mark.parametrize("option", ["--key-file", "--nonce-file"])
def test_a_file_that_holds_no_secret_is_one_line_and_is_not_repeated(
    terminal: Terminal, tmp_path: Path, option: str, content: bytes
) -> None:
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "receipt").write_text("a.b.c")
    words = ("keys", "disable") if option == "--key-file" else ("verify", str(tmp_path / "receipt"))
    ran = terminal(*words, option, str(tmp_path / "file"))
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert option in ran.err or "no secret of ours" in ran.err
    assert "hello" not in ran.err and "000" not in ran.err


def test_standard_input_is_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("verify", "-", "--nonce-file", "-"), {}) == 2
    assert "either" in capsys.readouterr().err
