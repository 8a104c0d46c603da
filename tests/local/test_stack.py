"""The local stack from outside: what it refuses to start on, what it leaves, how it ends."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.__main__ import CATALOG
from local.stack import FREE_CREDIT_MICROS, LOCAL_ACCOUNT, Options, serve
from local.state import TABLE, StartRefused
from phigate.core.attributes import number, text
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.ledger.account import ACCOUNT_SK, account_pk
from phigate.core.ledger.keys import key_sha256
from phigate.core.types import Catalog, Json
from phigate.effects.store.dynamodb import DynamoDB
from phigate.wiring import MissingVariable, local_access, simulated_providers
from tests.builders import make_body
from tests.http.echoing_upstream import echoing
from tests.local.running import (
    HOST,
    STOP_TIMEOUT_S,
    RunningStack,
    command,
    free_port,
    refused,
    started,
)

PROVIDERS = sorted(path.stem for path in (CATALOG / "providers").glob("*.toml"))
HELLO: Json = make_body(model="gemma-4")
# What may lie in a shell for other work; none of it may change where data goes.
STRANGERS = {
    "INFOMANIAK_API_KEY": "a-key-of-theirs",
    "TOGETHER_API_KEY": "a-key-of-theirs",
    "OPENAI_API_KEY": "sk-of-theirs",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
}
# The simulated providers, the engine, and what hands its connections out.
CHILDREN = 3
NOBODY = 65534
SIMULATED_URL = "http://127.0.0.1:1"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that is not there yet."""
    return tmp_path / "state"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that the tests of this module only look at; its shell holds other work's keys."""
    with started(tmp_path_factory.mktemp("running") / "state", variables=STRANGERS) as stack:
        yield stack


def assert_one_line(told: tuple[int, str, str], *words: str) -> None:
    """The start was refused with one line for a person."""
    status, out, err = told
    assert (status, out) == (1, "")
    assert re.fullmatch(r"phigate: [^\n]+\n", err), err
    for word in words:
        assert word in err


def assert_refused(options: Options, *words: str) -> None:
    """The same without a process: the reason is one line."""
    with pytest.raises(StartRefused) as told:
        asyncio.run(serve(options))
    assert "\n" not in str(told.value)
    for word in words:
        assert word in str(told.value)


def family(pid: int) -> list[int]:
    """A process's children and theirs, by what the kernel says."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(") ")[2].split()
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = list(parents.get(pid, []))
    for child in found:
        found += parents.get(child, [])
    return found


def wait_until_ended(pids: list[int]) -> None:
    """Return once none of the processes runs; they are no children of this one."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            with open(descriptor, "rb"):
                ended, _, _ = select.select([descriptor], [], [], STOP_TIMEOUT_S)
                assert ended, f"process {pid} still runs"


@contextlib.contextmanager
def open_stream(stack: RunningStack, words: str) -> Iterator[http.client.HTTPResponse]:
    """A stream of the local key of which the first event has come."""
    connection = http.client.HTTPConnection(HOST, stack.port, timeout=30)
    with contextlib.closing(connection):
        body = make_body(
            model="gemma-4", stream=True, messages=[{"role": "user", "content": words}]
        )
        headers = {"authorization": f"Bearer {stack.key}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.readline().startswith(b"data: ")
        yield answer


def test_a_second_start_on_the_same_state_is_refused_in_one_line(running: RunningStack) -> None:
    assert_one_line(
        refused(running.state, free_port()), "another gateway is running", str(running.state)
    )
    assert running.chat(HELLO, running.key).status == 200
    assert (running.state / "engine.json").exists()


def test_a_used_port_is_refused_in_one_line(running: RunningStack, state: Path) -> None:
    assert_one_line(refused(state, running.port), f"port {running.port} is in use", "--port")
    assert not state.exists()


def test_a_port_that_is_none_is_a_mistake_of_the_command_line(state: Path) -> None:
    ran = subprocess.run(command(state, 65_536), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    assert "--port" in ran.stderr


CATALOGS: dict[str, dict[str, bytes]] = {
    "an empty folder": {},
    "not TOML": {"regions.toml": b"CH = [", "aliases.toml": b""},
    "not UTF-8": {"regions.toml": b"\xff\xfe", "aliases.toml": b""},
    "mistakes": {
        "regions.toml": b'[CH]\naws_regions = ["eu-central-2"]\nchat = "no-such-row"\n',
        "aliases.toml": b"",
    },
}


@pytest.mark.parametrize("name", CATALOGS)
def test_a_bad_catalog_is_refused_in_one_line(tmp_path: Path, state: Path, name: str) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    for path, content in CATALOGS[name].items():
        (folder / path).write_bytes(content)
    assert_refused(Options(free_port(), state, folder), str(folder), "phigate catalog check")
    assert not state.exists()


def _is_a_file(state: Path) -> None:
    state.write_text("")


def _has_a_broken_key(state: Path) -> None:
    state.mkdir()
    (state / "catalog-key.pem").write_text("no key")


def _has_a_broken_database(state: Path) -> None:
    state.mkdir()
    (state / "dynamodb.sqlite").write_bytes(b"no database" * 1000)


STATES = {
    "a file in its place": (_is_a_file, "cannot be used"),
    "a key file that is none": (_has_a_broken_key, "catalog-key.pem"),
    "a database that is none": (_has_a_broken_database, "did not start"),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_cannot_be_used_is_refused_in_one_line(state: Path, name: str) -> None:
    spoil, word = STATES[name]
    spoil(state)
    assert_refused(Options(free_port(), state, CATALOG), word)


MODES = {
    ".": 0o700,
    "lock": 0o600,
    "engine.json": 0o600,
    "engine.sock": 0o600,
    "dynamodb.sqlite": 0o600,
    "dynamodb.sqlite-shm": 0o600,
    "dynamodb.sqlite-wal": 0o600,
    "local.env": 0o600,
    "overrides.json": 0o600,
    "simulated.log": 0o600,
    "catalog-key.pem": 0o600,
    "receipt-root.pem": 0o600,
    "day-root.pem": 0o600,
    "redpill-key.pem": 0o600,
}


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """For whatever is started meanwhile."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes_in(state: Path) -> dict[str, int]:
    """Every file of a state directory, and itself."""
    paths = {".": state} | {path.name: path for path in state.iterdir()}
    return {name: stat.S_IMODE(path.stat().st_mode) for name, path in paths.items()}


def test_what_it_leaves_is_its_owners_alone(running: RunningStack) -> None:
    assert modes_in(running.state) == MODES
    lines = (running.state / "local.env").read_text().splitlines()
    assert lines == [
        f"OPENAI_BASE_URL={running.base_url}",
        f"OPENAI_API_KEY={running.key}",
    ]


def test_what_was_left_open_to_others_is_closed_by_the_next_start(state: Path) -> None:
    """Whatever the shell's umask, whoever made the files."""
    with umask(0):
        with started(state):
            assert modes_in(state) == MODES
        for path in state.iterdir():
            if path.suffix != ".pem":  # one that others may read is refused, see _has_a_broken_key
                path.chmod(0o666)
        with started(state):
            assert modes_in(state) == MODES


def test_a_command_alone_leaves_nothing_open_to_others(tmp_path: Path) -> None:
    """The first key of a state is made before its stack was ever started."""
    argv = ["keys", "create", "--account", "ward", "--state", str(tmp_path / "state")]
    with umask(0):
        subprocess.run(
            [sys.executable, "-m", "phigate.cli.main", *argv], check=True, capture_output=True
        )
    found = modes_in(tmp_path / "state")
    assert "dynamodb.sqlite" in found
    assert found == {name: MODES[name] for name in found}


def test_a_state_that_others_may_write_in_is_refused_in_one_line(state: Path) -> None:
    """They need not read a secret in whose place they can put their own."""
    state.mkdir()
    state.chmod(0o775)
    assert_refused(Options(free_port(), state, CATALOG), str(state), "chmod 700")


def _belongs_to_another(state: Path) -> None:
    state.mkdir()
    os.chown(state, NOBODY, -1)


def _holds_anothers_file(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "local.new").write_text("")
    os.chown(state / "local.new", NOBODY, -1)


def _holds_anothers_link(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "lock").symlink_to(state.parent / "precious")
    os.chown(state / "lock", NOBODY, -1, follow_symlinks=False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    "prepare", [_belongs_to_another, _holds_anothers_file, _holds_anothers_link]
)
def test_a_state_that_another_user_prepared_is_refused_in_one_line(
    state: Path, prepare: Callable[[Path], None]
) -> None:
    """What they own they can replace, read, or have pointed at a file that is overwritten."""
    precious = state.parent / "precious"
    precious.write_text("precious")
    prepare(state)
    assert_one_line(refused(state, free_port()), str(state), "another user")
    assert precious.read_text() == "precious"


def test_no_code_is_taken_from_the_folder_that_it_is_started_in(tmp_path: Path) -> None:
    """Somebody else may have put a folder of our name there."""
    taken = tmp_path / "taken"
    for name in ("local", "local/simulated", "phigate", "sandbox_fargate"):
        (tmp_path / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (tmp_path / name / file).write_text(f"open({str(taken)!r}, 'w')\n")
    with started(tmp_path / "state") as stack:
        assert stack.chat(HELLO, stack.key).status == 200
    assert not taken.exists()


def command_lines() -> Iterator[str]:
    """Of every process of this machine, as every user of it can read them."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_text("utf-8", "replace")


def test_no_process_shows_a_secret_on_its_command_line(state: Path) -> None:
    provider_key = "a-secret-of-the-provider"
    variables = {
        "PHIGATE_INFOMANIAK_API_KEY": provider_key,
        "PHIGATE_INFOMANIAK_PRODUCT_ID": "4711",
    }
    with started(state, "--sandboxes", "1", variables=variables) as stack:
        pem_lines = [
            line
            for path in state.glob("*.pem")
            for line in path.read_text().splitlines()
            if "-----" not in line
        ]
        kept = [stack.key, key_sha256(stack.key), provider_key, *pem_lines]
        assert len(kept) > 3 + 4
        # Its own processes, and whatever they have started that is no child of theirs any more.
        shown = "".join(command_lines())
        assert f"--state\0{state}" in shown
        assert [secret for secret in kept if secret in shown] == []


def test_the_key_is_shown_by_the_first_start_alone(state: Path) -> None:
    with started(state) as first:
        key = first.key
        assert first.output.count(key.encode()) == 1
    with started(state) as again:
        assert again.key == key
        assert key.encode() not in again.output
        assert str(state / "local.env").encode() in again.output


def test_it_listens_on_loopback_alone(running: RunningStack) -> None:
    names = [*family(running.process.pid), running.process.pid]
    inodes = {
        os.readlink(link).removeprefix("socket:[").removesuffix("]")
        for pid in names
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if os.readlink(link).startswith("socket:")
    }
    listening = [
        fields[1].partition(":")[0]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and fields[9] in inodes
    ]
    assert len(listening) == 2, "the gateway and the simulated providers"
    assert set(listening) == {"0100007F"}


def test_keys_without_our_prefix_mean_nothing(running: RunningStack) -> None:
    told = running.chat(HELLO, running.key)
    assert (told.status, told.headers["x-phi-attempts"]) == (200, "1")


def test_the_hello_says_what_is_simulated_and_how_to_call_it(running: RunningStack) -> None:
    hello = running.output.decode()
    assert f"phigate serves {running.base_url}\n" in hello
    assert f"key        {running.key}, in {running.state / 'local.env'}\n" in hello
    assert f"simulated  {', '.join(PROVIDERS)}\n" in hello
    curl = hello[hello.index("  try ") + len("  try ") : hello.index("ready\n")]
    ran = subprocess.run(
        ["sh", "-c", f"{curl.strip()} -sS -o /dev/null -w '%{{http_code}}'"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ran.stdout == "200"


@pytest.mark.parametrize("number_sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_that_was_started(
    state: Path, number_sent: signal.Signals
) -> None:
    with started(state) as stack:
        children = family(stack.process.pid)
        assert len(children) == CHILDREN
        assert stack.chat(HELLO, stack.key).status == 200
        stack.process.send_signal(number_sent)
        assert stack.ended() == 0
        wait_until_ended(children)
        assert b"Traceback" not in stack.output
        assert not (state / "engine.json").exists()
        with pytest.raises(ConnectionRefusedError), socket.create_connection((HOST, stack.port)):
            pass


def test_a_request_under_way_at_the_end_leaves_its_receipt_and_its_charge(state: Path) -> None:
    with started(state) as stack, open_stream(stack, "simulate:silence=30"):
        assert stack.account(stack.key)["held_micro"] > 0
        stack.process.send_signal(signal.SIGINT)
        while _takes_connections(stack.port):
            pass
        stack.process.send_signal(signal.SIGINT)
        assert stack.ended() == 0
    with started(state) as again:
        account = again.account(again.key)
        receipts = _receipts(again)
    assert account["held_micro"] == 0
    assert account["spent_micro"] > 0
    assert [item["st"]["S"] for item in receipts] == ["done"]


def _takes_connections(port: int) -> bool:
    gone = (ConnectionRefusedError, ConnectionResetError)
    with contextlib.suppress(*gone), socket.create_connection((HOST, port)):
        return True
    return False


def _receipts(stack: RunningStack) -> list[Json]:
    return [item for item in stack.items() if item["pk"]["S"].startswith(f"R#{LOCAL_ACCOUNT}#")]


def test_a_kill_ends_the_children_and_costs_neither_credit_nor_key(state: Path) -> None:
    with started(state) as stack:
        key, children = stack.key, family(stack.process.pid)
        spent = int(stack.chat(HELLO, key).headers["x-phi-cost-micro"])
        while stack.account(key)["held_micro"]:
            pass
        with open_stream(stack, "simulate:silence=30"):
            held = stack.account(key)["held_micro"]
            assert held > 0
            stack.process.kill()
            assert stack.ended() == -signal.SIGKILL
        wait_until_ended(children)
        assert len(children) == CHILDREN

    with started(state) as again:
        assert again.key == key
        account = again.account(key)
        assert account["topped_up_micro"] == FREE_CREDIT_MICROS
        assert account["spent_micro"] == spent
        # The dead process's hold stands until its time is over.
        assert account["held_micro"] == held
        assert account["available_micro"] == FREE_CREDIT_MICROS - spent - held
        assert again.chat(HELLO, key).status == 200
        while again.account(key)["held_micro"] != held:
            pass  # the settle comes right after the answer's last byte
        again.ask(_age_every_hold)

    with started(state) as third:
        while third.account(key)["held_micro"]:
            pass
        account = third.account(key)
        assert account["spent_micro"] == 2 * spent
        assert account["available_micro"] == FREE_CREDIT_MICROS - 2 * spent
        states = sorted(item["st"]["S"] for item in _receipts(third))
        assert states == ["done", "done", "expired"]


async def _age_every_hold(dynamodb: DynamoDB) -> None:
    """As if the time of every hold had passed."""
    key = {"pk": text(account_pk(LOCAL_ACCOUNT)), "sk": text(ACCOUNT_SK)}
    read = {"TableName": TABLE, "Key": key, "ConsistentRead": True}
    held = (await dynamodb.call("GetItem", read))["Item"]["h"]["M"]
    assert len(held) == 1
    for hold_id in held:
        aged = {
            "TableName": TABLE,
            "Key": key,
            "UpdateExpression": "SET h.#id.e = :past",
            "ExpressionAttributeNames": {"#id": hold_id},
            "ExpressionAttributeValues": {":past": number(1)},
        }
        await dynamodb.call("UpdateItem", aged)


def test_a_provider_can_be_pointed_elsewhere(state: Path) -> None:
    with (
        echoing() as upstream,
        started(
            state,
            variables={
                "PHIGATE_INFOMANIAK_BASE_URL": upstream.base_url,
                "PHIGATE_INFOMANIAK_API_KEY": "a-key-of-theirs",
                "PHIGATE_INFOMANIAK_PHI": "trusted",
            },
        ) as stack,
    ):
        told = stack.chat(HELLO, stack.key, x_region="CH", x_phi="true")
        assert told.status == 200
        (request,) = upstream.requests
        assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b"a-key-of-theirs" in request
        assert stack.key.encode() not in request
        hello = stack.output.decode()
        others = [name for name in PROVIDERS if name != "infomaniak"]
        assert f"simulated  {', '.join(others)}\n" in hello
        # The others are simulated as before, and theirs is not told the key of another provider.
        assert stack.chat(HELLO, stack.key, x_region="EU").status == 200
        assert len(upstream.requests) == 1


def test_a_key_without_what_its_endpoint_needs_is_refused_in_one_line(state: Path) -> None:
    told = refused(state, free_port(), variables={"PHIGATE_INFOMANIAK_API_KEY": "a-key-of-theirs"})
    assert_one_line(told, "infomaniak", "PHIGATE_INFOMANIAK_PRODUCT_ID")
    assert "a-key-of-theirs" not in told[2]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """The catalog of this repository."""
    texts = {str(p.relative_to(CATALOG)): p.read_text() for p in CATALOG.rglob("*.toml")}
    return checked_catalog(canonical_bytes(document_from_texts(texts)))


def test_without_variables_every_provider_is_simulated(catalog: Catalog) -> None:
    access = local_access(catalog, SIMULATED_URL, {})
    assert simulated_providers(access) == sorted({row.provider for row in catalog.rows})
    assert access["infomaniak"].base_url == f"{SIMULATED_URL}/infomaniak/v1"


def test_a_key_alone_means_the_providers_own_endpoint(catalog: Catalog) -> None:
    variables = {
        "PHIGATE_INFOMANIAK_API_KEY": "secret-1",
        "PHIGATE_INFOMANIAK_PRODUCT_ID": "4711",
        "PHIGATE_SCALEWAY_API_KEY": "secret-2",
    }
    access = local_access(catalog, SIMULATED_URL, variables)
    infomaniak = access["infomaniak"]
    assert (infomaniak.api_key, infomaniak.base_url) == ("secret-1", None)
    place = catalog.rows_by_id["infomaniak-gemma-4-31b"].places["CH"]
    assert (
        place.base_url.format_map(infomaniak.variables)
        == "https://api.infomaniak.com/2/ai/4711/openai/v1"
    )
    scaleway = access["scaleway"]
    assert (scaleway.api_key, scaleway.base_url, scaleway.variables) == ("secret-2", None, {})
    assert "infomaniak" not in simulated_providers(access)


def test_a_base_url_alone_needs_no_key(catalog: Catalog) -> None:
    variables = {"PHIGATE_INFOMANIAK_BASE_URL": "http://127.0.0.1:9/v1"}
    access = local_access(catalog, SIMULATED_URL, variables)["infomaniak"]
    assert access.base_url == "http://127.0.0.1:9/v1"
    assert access.api_key == "none"


def test_a_missing_variable_is_named(catalog: Catalog) -> None:
    variables = {"PHIGATE_INFOMANIAK_API_KEY": "secret-1", "PHIGATE_INFOMANIAK_PRODUCT_ID": ""}
    with pytest.raises(MissingVariable, match="PHIGATE_INFOMANIAK_PRODUCT_ID") as missing:
        local_access(catalog, SIMULATED_URL, variables)
    assert "secret-1" not in str(missing.value)
