"""Starts sandbox servers as their callers would and speaks their HTTP contract.

Three ways: `bwrap` on this machine; `lockdown` in a view like a container's, which this module
makes with bwrap as root; `docker`, that launcher in the real image, by `make test-sandbox-docker`.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".phigate-tools" / "sandbox"

# The image that `make test-sandbox-docker` built.
IMAGE_VARIABLE = "PHIGATE_TEST_SANDBOX_IMAGE"

# Stands for what a gateway has in its environment.
GATEWAY_VARIABLE = "AWS_SECRET_OF_THE_GATEWAY"

# What the outer cgroup of hostile programs allows; a fork bomb without one took a machine down.
OUTER_PIDS = 1_500
OUTER_BYTES = 8 << 30

# A server says its address after 0.1 s, is warm after 2 s, and ends 0.1 s after the word.
WAIT_S = 60

# The first uid that jails are given (sandbox_fargate/jail.py).
UID_FIRST = 1_900_000_000

Result = dict[str, Any]


@dataclass(slots=True)
class Sandbox:
    """A running server, its token and its address."""

    launcher: str
    process: subprocess.Popen[str]
    token: str
    host: str
    port: int
    container: str = ""

    def run(self, code: str, language: str = "python", timeout_s: float | None = None) -> Result:
        """The result of a program."""
        body: Result = {"language": language, "code": code}
        if timeout_s is not None:
            body["timeout_s"] = timeout_s
        status, result = self.post("/run", json.dumps(body).encode("ascii"))
        assert status == 200, result
        return result

    def post(self, path: str, body: bytes, token: str | None = None) -> tuple[int, Result]:
        """Any POST."""
        return self.ask("POST", path, body, self.token if token is None else token)

    def ask(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Result]:
        """Any request; an empty token sends none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://{self.host}:{self.port}{path}"
        with httpx.Client(timeout=WAIT_S * 2, trust_env=False) as client:
            answer = client.request(method, url, content=body, headers=headers)
        return answer.status_code, json.loads(answer.content)

    def wait_until_ready(self) -> None:
        """Wait for the server's word that libraries are loaded."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def end(self) -> int:
        """End the session; the server's exit code."""
        with contextlib.suppress(httpx.HTTPError):
            self.post("/end", b"")
        return self.process.wait(WAIT_S)


def launchers() -> list[str]:
    """The ways to test in this run."""
    return ["docker"] if IMAGE_VARIABLE in os.environ else ["bwrap", "lockdown"]


def why_not(launcher: str) -> str:
    """Why a launcher cannot be tested here, or nothing."""
    if launcher == "docker":
        return ""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (make setup-sandbox)"
    if not list(VENV.glob(".done-*")):
        return "the sandbox's libraries are not installed (make setup-sandbox)"
    if launcher == "lockdown" and os.geteuid() != 0:
        return "lockdown starts as root"
    return ""


@contextlib.contextmanager
def serving(
    launcher: str,
    *options: str,
    outer: tuple[str, ...] = (),
    user: int | None = None,
    python: str = sys.executable,
) -> Iterator[Sandbox]:
    """A server, ended at the end. `outer` are the cgroup folders that it joins."""
    token = secrets.token_hex(16)
    digest = hashlib.sha256(token.encode("ascii")).hexdigest()
    container = f"phigate-test-{secrets.token_hex(6)}" if launcher == "docker" else ""
    command = [*_command(launcher, python, digest, container), "--listen", "127.0.0.1:0", *options]
    join = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in outer)
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'{join}exec "$@"', "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        env={**os.environ, "PHIGATE_SANDBOX_TOKEN_SHA256": digest, GATEWAY_VARIABLE: token},
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            assert first.startswith("listening "), process.stderr.read()
            host, _, port = first.split()[1].rpartition(":")
            yield Sandbox(launcher, process, token, host, int(port), container)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WAIT_S)
            process.kill()


def _command(launcher: str, python: str, digest: str, container: str) -> list[str]:
    server = ["-m", "sandbox_fargate.server"]
    if launcher == "bwrap":
        return [python, *server, "--launcher", "bwrap", "--venv", str(VENV)]
    if launcher == "lockdown":
        words = [*server, "--launcher", "lockdown", "--venv", "/opt/sandbox"]
        return [*container_view(digest), *words]
    bounds = ["--pids-limit", str(OUTER_PIDS), "--memory", str(OUTER_BYTES), "--rm"]
    # What Fargate grants at most, and what the Dockerfile says is enough.
    rights = ["--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID"]
    rights += ["--cap-add", "KILL", "--read-only", "--tmpfs", "/tmp:mode=1777"]
    token = ["--env", f"PHIGATE_SANDBOX_TOKEN_SHA256={digest}", "--name", container]
    token += ["--env", f"{GATEWAY_VARIABLE}={digest}"]
    # Ours is the filter under test, not Docker's.
    rights += ["--security-opt", "seccomp=unconfined"]
    image = os.environ[IMAGE_VARIABLE]
    return ["docker", "run", "--network", "host", *bounds, *rights, *token, image]


def container_view(digest: str) -> list[str]:
    """A root file system like the image's, made by bwrap, and this Python started in it."""
    python = Path(sys.base_prefix)
    words = ["bwrap", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--cap-drop", "ALL"]
    for right in ("SETUID", "SETGID", "KILL"):
        words += ["--cap-add", f"CAP_{right}"]
    words += ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]
    for name in ("lib", "lib64", "bin", "sbin"):
        words += ["--symlink", f"usr/{name}", f"/{name}"]
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]
    words += ["--perms", "1777", "--tmpfs", "/dev/shm"]
    # Folders that bwrap makes by itself would be root's alone.
    if not python.is_relative_to("/usr"):
        for folder in [*reversed(python.parents)][1:]:
            words += ["--perms", "0755", "--dir", str(folder)]
        words += ["--ro-bind", str(python), str(python)]
    for folder in (Path("/app"), Path("/opt")):
        words += ["--perms", "0755", "--dir", str(folder)]
    words += ["--ro-bind", str(ROOT / "sandbox_fargate"), "/app/sandbox_fargate"]
    words += ["--ro-bind", str(VENV), "/opt/sandbox", "--chdir", "/app", "--clearenv"]
    words += ["--setenv", "PHIGATE_SANDBOX_TOKEN_SHA256", digest]
    words += ["--setenv", GATEWAY_VARIABLE, digest]
    return [*words, "--", str(python / "bin" / Path(sys.executable).resolve().name)]


@contextlib.contextmanager
def outer_cgroup() -> Iterator[tuple[str, ...]]:
    """Folders of a cgroup that bounds processes and memory; none where it cannot be made."""
    limits = {
        f"pids/phigate-tests-{os.getpid()}": ("pids.max", OUTER_PIDS),
        f"memory/phigate-tests-{os.getpid()}": ("memory.limit_in_bytes", OUTER_BYTES),
    }
    made = []
    try:
        for name, (file, value) in limits.items():
            folder = Path("/sys/fs/cgroup", name)
            folder.mkdir()
            made.append(folder)
            (folder / file).write_text(str(value), encoding="ascii")
    except OSError:
        _remove(made)
        made = []
    try:
        yield tuple(str(folder) for folder in made)
    finally:
        _remove(made)


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        folder.rmdir()


def jail_processes() -> dict[int, int]:
    """Living processes of every jail that root started on this machine, with their uids."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            uid = _living_uid(entry)
            if uid >= UID_FIRST:
                found[int(entry.name)] = uid
    return found


def _living_uid(entry: Path) -> int:
    """The uid in the status file, for the folder of a process that guards itself is root's."""
    lines = (entry / "status").read_text(encoding="utf-8").splitlines()
    zombie = any(line.startswith("State:\tZ") for line in lines)
    uids = [line.split()[1] for line in lines if line.startswith("Uid:")]
    return -1 if zombie or not uids else int(uids[0])


def jail_of(sandbox: Sandbox) -> dict[int, int]:
    """The living processes below one server that are a jail's, with their uids."""
    own = sandbox.process.pid
    return {pid: uid for pid, uid in jail_processes().items() if own in _ancestors(pid)}


def orphans() -> set[int]:
    """Processes of jails whose server is gone; other servers on this machine may have theirs."""
    return {
        pid
        for pid in jail_processes()
        if not any("sandbox_fargate.server" in _command_line(above) for above in _ancestors(pid))
    }


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    while pid > 1:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return found
        pid = int(text.rsplit(")", 1)[1].split()[1])
        found.append(pid)
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""
