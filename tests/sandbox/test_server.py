"""The server's contract: token, requests, one at a time, its end by itself and with its parent."""

import contextlib
import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.sandbox.harness import (
    ROOT,
    VENV,
    Sandbox,
    jail_of,
    launchers,
    orphans,
    serving,
    why_not,
)

LAUNCHER = launchers()[0]
PROGRAM = b'{"language": "python", "code": "1"}'

pytestmark = pytest.mark.skipif(bool(why_not(LAUNCHER)), reason=why_not(LAUNCHER) or "-")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One session for what does not end it."""
    with serving(LAUNCHER) as server:
        yield server


UNAUTHORISED = (
    ("no token", "POST", "/run", ""),
    ("a wrong token", "POST", "/run", "wrong"),
    ("the token's hash", "POST", "/run", "HASH"),
    ("a longer token", "POST", "/run", "TOKENx"),
    ("no token at the end", "POST", "/end", ""),
    ("no token elsewhere", "POST", "/other", ""),
    ("no token on another page", "GET", "/", ""),
    ("health with more behind it", "GET", "/healthz?x", ""),
    ("health by POST", "POST", "/healthz", ""),
)


@pytest.mark.parametrize(("name", "method", "path", "token"), UNAUTHORISED)
def test_without_the_token_everything_is_401(
    name: str, method: str, path: str, token: str, sandbox: Sandbox
) -> None:
    digest = hashlib.sha256(sandbox.token.encode("ascii")).hexdigest()
    given = token.replace("TOKEN", sandbox.token).replace("HASH", digest)
    assert sandbox.ask(method, path, PROGRAM, given) == (401, {"error": "unauthorised"})


def test_health_needs_no_token_and_says_one_word(sandbox: Sandbox) -> None:
    status, answer = sandbox.ask("GET", "/healthz", b"", "")
    assert status == 200
    assert answer in ({"status": "warming"}, {"status": "ready"})


MALFORMED = (
    ("no JSON", b"{"),
    ("a list", b"[]"),
    ("no code", b'{"language": "python"}'),
    ("no language", b'{"code": "1"}'),
    ("another language", b'{"language": "sh", "code": "1"}'),
    ("a number as code", b'{"language": "python", "code": 1}'),
    ("an unknown member", b'{"language": "python", "code": "1", "root": true}'),
    ("too much time", b'{"language": "python", "code": "1", "timeout_s": 61}'),
    ("no time", b'{"language": "python", "code": "1", "timeout_s": 0}'),
    ("a text as time", b'{"language": "python", "code": "1", "timeout_s": "9"}'),
    ("no number as time", b'{"language": "python", "code": "1", "timeout_s": NaN}'),
    ("a deep nest", b"[" * 100_000),
)


@pytest.mark.parametrize(("name", "body"), MALFORMED)
def test_malformed_request_is_400(name: str, body: bytes, sandbox: Sandbox) -> None:
    status, answer = sandbox.post("/run", body)
    assert status == 400
    assert set(answer) == {"error"}


def test_result_has_exactly_the_members_of_the_contract(sandbox: Sandbox) -> None:
    result = sandbox.run("1")
    wall_ms = result.pop("wall_ms")
    assert isinstance(wall_ms, int)
    assert result == {
        "language": "python",
        "exit_code": 0,
        "stdout": "",
        "stderr": "",
        "value": "1",
        "figures": [],
        "limits": [],
    }


RAW = (
    ("no length", b"POST /run HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\n\r\n", 400),
    (
        "chunks",
        b"POST /run HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "a huge length",
        b"POST /run HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 99999999999\r\n\r\n",
        413,
    ),
    ("another method", b"PUT /run HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\n\r\n", 501),
    ("no HTTP", b"garbage\r\n\r\n", 400),
    ("a long line", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
)


@pytest.mark.parametrize(("name", "head", "status"), RAW)
def test_bad_http_is_refused_without_an_echo(
    name: str, head: bytes, status: int, sandbox: Sandbox
) -> None:
    with socket.create_connection((sandbox.host, sandbox.port)) as connection:
        connection.sendall(head.replace(b"TOKEN", sandbox.token.encode("ascii")))
        answer = connection.makefile("rb").read()
    assert b"garbage" not in answer
    assert b"xxxx" not in answer
    assert b" %d " % status in answer.splitlines()[0] or b'"error"' in answer


def test_second_program_at_the_same_time_is_409(sandbox: Sandbox) -> None:
    answers: list[int] = []
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait()
        code = b'{"language": "python", "code": "import time; time.sleep(0.5)"}'
        answers.append(sandbox.post("/run", code)[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409, 409]
    assert sandbox.run("1")["value"] == "1"


def test_token_and_programs_are_in_no_log_and_no_process_list() -> None:
    with serving(LAUNCHER) as server:
        server.run("print('a secret of the caller')\nraise ValueError('another secret')")
        environment = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        server.end()
        assert server.process.stderr is not None
        log = server.process.stderr.read()
    assert "run language=python exit=1" in log
    for word in ("secret", server.token, "ValueError"):
        assert word not in log
        assert word.encode() not in environment


def test_session_ends_and_process_exits() -> None:
    with serving(LAUNCHER) as server:
        server.run("1")
        assert server.post("/end", b"") == (200, {"status": "ended"})
        assert server.process.wait(30) == 0


def test_end_stops_a_running_program() -> None:
    with serving(LAUNCHER) as server:
        server.wait_until_ready()
        statuses: list[int] = [409]
        body = b'{"language": "python", "code": "while True: pass"}'

        def ask() -> None:
            while statuses == [409]:
                statuses[0] = server.post("/run", body)[0]

        thread = threading.Thread(target=ask)
        thread.start()
        # A malformed request is 400 as long as nothing runs.
        while server.post("/run", b"")[0] != 409:
            pass
        assert server.post("/end", b"")[0] == 200
        thread.join()
        assert server.process.wait(30) == 0
        assert statuses in ([200], [503])


@pytest.mark.parametrize("launcher", launchers())
def test_session_ends_by_itself_also_in_the_middle_of_a_program(launcher: str) -> None:
    if reason := why_not(launcher):
        pytest.skip(reason)
    with serving(launcher, "--session-s", "1.5") as server:
        result = server.run("while True: pass")
        assert (result["exit_code"], result["limits"]) == (137, ["session"])
        assert server.process.wait(30) == 0


def test_unused_sandbox_ends_by_itself() -> None:
    with serving(LAUNCHER, "--idle-s", "0.5") as server:
        assert server.process.wait(30) == 0


@pytest.mark.skipif(LAUNCHER == "docker", reason="a container has no parent process")
def test_killed_parent_takes_server_and_jail_along() -> None:
    parent = [
        sys.executable,
        "-c",
        "import os, subprocess, sys\n"
        "words = [*sys.argv[1:], '--parent', str(os.getpid())]\n"
        "child = subprocess.Popen(words)\n"
        "child.wait()",
        *[sys.executable, "-m", "sandbox_fargate.server", "--launcher", "bwrap"],
        *["--venv", str(VENV), "--token-sha256", "0" * 64, "--idle-s", "30"],
    ]
    with subprocess.Popen(
        parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening ")
        assert process.stdout.readline() == "ready\n"
        process.kill()
        # The server holds the other end of this pipe: it is closed when the server has ended.
        assert select.select([process.stdout], [], [], 10)[0], "the server lives on"
        assert process.stdout.read() == ""
        assert process.stderr is not None
        assert "end clean=yes" in process.stderr.read()
    assert orphans() == set()


@pytest.mark.skipif(LAUNCHER == "docker", reason="a container's end is Docker's")
def test_killed_server_takes_its_jail_along() -> None:
    with serving("bwrap") as server:
        server.wait_until_ready()
        # In the middle of a program: a supervisor that waits ends when its pipe is closed.
        thread = threading.Thread(target=_ask_in_vain, args=(server,))
        thread.start()
        while server.post("/run", b"")[0] != 409:
            pass
        watched = [os.pidfd_open(pid) for pid in jail_of(server)]
        server.process.send_signal(signal.SIGKILL)
        thread.join()
        server.process.wait()
        assert watched
        for descriptor in watched:
            assert select.select([descriptor], [], [], 10)[0], "the jail lives on"
            os.close(descriptor)


def _ask_in_vain(server: Sandbox) -> None:
    body = b'{"language": "python", "code": "while True: pass", "timeout_s": 30}'
    with contextlib.suppress(httpx.HTTPError):
        while server.post("/run", body)[0] == 409:
            pass


def test_server_without_a_token_does_not_start() -> None:
    command = [sys.executable, "-m", "sandbox_fargate.server", "--launcher", "bwrap"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True, env={})
    assert done.returncode == 3
    assert "no token" in done.stderr
    assert done.stdout == ""
