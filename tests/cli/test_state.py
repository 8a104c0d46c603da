"""How a command reaches a local state: beside a stack, or alone with an engine of its own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.engine import DATABASE, Engine, running
from local.state import engine_named, locked
from phigate.cli.main import main, parser
from phigate.cli.store import StoreAddress, place_of
from tests.local.engine_port import on_a_port

KEY = ("keys", "create", "--account", "clinic", "--credit-usd", "1.00")
SHOW = ("account", "show", "clinic", "--json")


def typed(state: Path, *argv: str) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-m", "phigate.cli.main", *argv, "--state", str(state)]


@contextlib.contextmanager
def stack(state: Path) -> Iterator[Engine]:
    """What `phigate local` does with its state directory."""
    with locked(state), running(state) as engine, engine_named(state, engine.url, durable=True):
        yield engine


def test_alone_a_command_starts_the_engine_and_what_it_wrote_stays(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main((*KEY, "--state", str(state)), {}) == 0
    assert not (state / "engine.json").exists()
    capsys.readouterr()
    assert main((*SHOW, "--state", str(state)), {}) == 0
    assert json.loads(capsys.readouterr().out)["available_micro"] == 1_000_000


def test_beside_a_stack_a_command_uses_its_engine_and_database(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stack(state):
        assert main((*KEY, "--state", str(state)), {}) == 0
    capsys.readouterr()
    assert main((*SHOW, "--state", str(state)), {}) == 0
    assert json.loads(capsys.readouterr().out)["available_micro"] == 1_000_000


def test_two_commands_at_once_wait_for_each_other(state: Path) -> None:
    both = [
        subprocess.Popen(typed(state, *KEY), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=30) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended


STALE = {
    "the stack was killed": {"url": "{url}", "pid": 2**22 + 1, "durable": True},
    "nothing answers there": {"url": "unix:/nowhere/engine.sock", "pid": 1, "durable": True},
    "half a file": {"url": "{url}"},
    "no address": {"url": "nowhere", "pid": 1, "durable": True},
    "the port of an older release": {"url": "http://127.0.0.1:1", "pid": 1, "durable": True},
}


@pytest.mark.parametrize("named", STALE.values(), ids=STALE)
def test_an_engine_file_that_is_left_over_is_not_believed(
    state: Path, engine: Engine, named: dict[str, object]
) -> None:
    """What is named is another state's."""
    url = str(named["url"]).format(url=engine.url)
    content = {"table": "phigate"} | named | {"url": url}
    (state / "engine.json").write_text(json.dumps(content))
    assert main((*KEY, "--state", str(state)), {}) == 0
    assert (state / DATABASE).exists()


def test_a_state_that_is_held_by_a_stack_without_an_engine_is_one_line(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(state):
        assert main((*SHOW, "--state", str(state)), {}) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "another gateway" in err


def test_without_a_state_the_commands_that_read_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    for argv in (SHOW, ("keys", "list"), ("sweep",), ("catalog", "show"), ("route", "auto")):
        assert main((*argv, "--state", str(nowhere)), {}) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "phigate local" in err
    assert not nowhere.exists()


def test_a_key_may_be_the_first_thing_in_a_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = tmp_path / "fresh"
    assert main(KEY, {"PHIGATE_STATE": str(fresh)}) == 0
    assert f"made a new local state in {fresh}" in capsys.readouterr().err
    assert fresh.stat().st_mode & 0o077 == 0


def test_a_wrong_command_makes_no_state(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    assert main((*KEY, "--expires", "2001-01-01", "--state", str(fresh)), {}) == 1
    assert main(("catalog", "push", str(tmp_path), "--state", str(fresh)), {}) == 1
    assert not fresh.exists()


def test_a_state_that_is_a_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main((*KEY, "--state", str(tmp_path / "file")), {}) == 1
    assert capsys.readouterr().err.count("\n") == 1


PLACES: dict[str, tuple[tuple[str, ...], dict[str, str], StoreAddress]] = {
    "nothing said": ((), {}, StoreAddress(Path(".phigate"), None)),
    "a state": (("--state", "s"), {}, StoreAddress(Path("s"), None)),
    "a table": (("--table", "t"), {}, StoreAddress(None, "t")),
    "a state in the environment": ((), {"PHIGATE_STATE": "s"}, StoreAddress(Path("s"), None)),
    "a table in the environment": ((), {"PHIGATE_TABLE": "t"}, StoreAddress(None, "t")),
    "a state over a table": (
        ("--state", "s"),
        {"PHIGATE_TABLE": "t"},
        StoreAddress(Path("s"), None),
    ),
    "a table over a state": (("--table", "t"), {"PHIGATE_STATE": "s"}, StoreAddress(None, "t")),
    "an empty variable": ((), {"PHIGATE_TABLE": ""}, StoreAddress(Path(".phigate"), None)),
}


@pytest.mark.parametrize(("argv", "environ", "place"), PLACES.values(), ids=PLACES)
def test_flags_then_the_environment_say_where_to_work(
    argv: tuple[str, ...], environ: dict[str, str], place: StoreAddress
) -> None:
    assert place_of(parser().parse_args(("sweep", *argv)), environ) == place


def test_the_environment_that_names_two_places_is_wrong_usage(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("keys", "list"), {"PHIGATE_STATE": str(state), "PHIGATE_TABLE": "t"}) == 2
    assert main(("keys", "list", "--state", str(state), "--table", "t"), {}) == 2
    assert capsys.readouterr().err.count("\n") == 2


def on_aws(url: str, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command as on AWS, with a local engine as the endpoint and nothing of the shell's."""
    variables = {
        "PATH": os.defpath,
        "AWS_ENDPOINT_URL_DYNAMODB": url,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "phigate.cli.main", *argv]
    return subprocess.run(
        command, env=variables | environ, capture_output=True, text=True, check=False
    )


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}
IN_ZURICH = CREDENTIALS | {"AWS_REGION": "eu-central-2"}


def test_a_table_is_reached_with_the_usual_credentials(state: Path) -> None:
    assert main((*KEY, "--state", str(state)), {}) == 0
    with running(state) as engine, on_a_port(engine.url) as url:
        ran = on_aws(url, *SHOW, PHIGATE_TABLE="phigate", **IN_ZURICH)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["available_micro"] == 1_000_000
    assert ran.stderr == "phigate: working on table phigate in eu-central-2\n"


AWS_FAILURES: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "no credentials": (("account", "list"), {"AWS_REGION": "eu-central-2"}, "credentials"),
    "no region": (("account", "list"), CREDENTIALS, "region"),
    "no such table": (("account", "list"), IN_ZURICH, "ResourceNotFound"),
    "no key to verify with": (("catalog", "show"), IN_ZURICH, "--catalog"),
}


@pytest.mark.parametrize(("argv", "environ", "said"), AWS_FAILURES.values(), ids=list(AWS_FAILURES))
def test_what_fails_on_aws_is_one_line(
    engine: Engine, argv: tuple[str, ...], environ: dict[str, str], said: str
) -> None:
    with on_a_port(engine.url) as url:
        ran = on_aws(url, *argv, "--table", "missing", **environ)
    assert (ran.returncode, ran.stdout) == (1, "")
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("phigate: ") and said in last
    assert "Traceback" not in ran.stderr


def test_local_hands_its_flags_to_the_stack(tmp_path: Path) -> None:
    """The stack says that the port is taken, in one line; a folder that is not it stays out."""
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "__init__.py").touch()
    (tmp_path / "local" / "__main__.py").write_text("raise SystemExit('not the stack')")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "phigate.cli.main", "local", "--port", port]
        command += ["--state", str(tmp_path / "state")]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert port in ran.stderr
