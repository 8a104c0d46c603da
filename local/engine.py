"""The local DynamoDB: dynoxide with its file in the state directory, else moto in memory.

Laws: it is reached through a socket of mode 0600 in the state directory and through no port, is
ready when `start` returns, and ends with the process that started it. With dynoxide an answered
write outlives kill -9; with moto nothing outlives anything.
"""

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from local.isolated_engine import HOST, NO_NAMESPACE
from local.state import TABLE, StartRefused, locked
from phigate.effects.handed_socket import SCHEME, handed_socket_now

DATABASE = "dynamodb.sqlite"
DATABASE_FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
SOCKET = "engine.sock"
READY_TIMEOUT_S = 20.0  # dynoxide needs 10 ms, moto's imports 2 s, a busy machine some more
READY_PAUSE_S = 0.02
STOP_TIMEOUT_S = 5.0

DYNOXIDE, MOTO = "dynoxide", "moto"
HERE = Path(__file__).resolve().parent
BIND = [sys.executable, "-I", "-S", str(HERE / "die_with_parent.py")]


class EngineFailed(Exception):  # named by what happened, like every error here
    """No local DynamoDB could be started; the text is one line."""


class Engine:
    """A running engine. `durable` says whether it survives the end of its process.

    `why` says why it is not the better one, in a few words; empty where it is.
    """

    def __init__(
        self, name: str, path: Path, process: subprocess.Popen[bytes], *, why: str = ""
    ) -> None:
        self.name = name
        self.url = f"{SCHEME}:{path}"
        self.durable = name == DYNOXIDE
        self.why = why
        self._path = path
        self._process = process

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._process.pid

    def stop(self) -> None:
        """End the engine; twice is once."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._path.unlink(missing_ok=True)


def dynoxide_path() -> Path:
    """Where install_dynoxide.py puts the binary: beside this interpreter."""
    return Path(sys.executable).with_name("dynoxide")


def start(state: Path, binary: Path | None = None) -> Engine:
    """Start dynoxide where its binary is and others can be shut out, else moto.

    Raises EngineFailed.
    """
    binary = binary or dynoxide_path()
    state = state.resolve()
    if not os.access(binary, os.X_OK):
        return _moto(state, "dynoxide is not installed")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in DATABASE_FILES:  # an older release may have left them open to others
        with contextlib.suppress(FileNotFoundError):
            (state / name).chmod(0o600)
    database = str(state / DATABASE)
    isolated = [sys.executable, "-P", "-m", "local.isolated_engine", str(state / SOCKET)]
    # Bound after it has left the network: to do that ends what binds it.
    command = [*isolated, *_bound(), str(binary), "--host", HOST, "--db-path", database, "--port"]
    engine, status = _started(DYNOXIDE, command, state / SOCKET)
    if engine is not None:
        return engine
    if status != NO_NAMESPACE:
        raise _not_started(DYNOXIDE)
    if (state / DATABASE).exists():
        raise EngineFailed(
            f"the database in {state} can be shut off from this machine's other users only in a "
            "network namespace, which this system refuses; choose another state with --state"
        )
    return _moto(state, "this system refuses the network namespace that dynoxide needs")


@contextlib.contextmanager
def running(state: Path) -> Iterator[Engine]:
    """The engine of a state directory for as long as the context lasts."""
    engine = start(state)
    try:
        yield engine
    finally:
        engine.stop()


def _moto(state: Path, why: str) -> Engine:
    command = [*_bound(), sys.executable, "-P", "-m", "local.moto_engine", str(state / SOCKET)]
    engine, _ = _started(MOTO, command, state / SOCKET, why)
    if engine is None:
        raise _not_started(MOTO)
    return engine


def _bound() -> list[str]:
    return [*BIND, str(os.getpid())]


def _started(
    name: str, command: list[str], path: Path, why: str = ""
) -> tuple[Engine | None, int | None]:
    """The engine once it answers; else None, and the status that it has ended with by itself."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A Ctrl-C reaches the gateway, which still has receipts to write.
        start_new_session=True,
    )
    engine = Engine(name, path, process, why=why)
    if _is_ready(process, path):
        return engine, None
    status = process.poll()
    engine.stop()
    return None, status


def _not_started(name: str) -> EngineFailed:
    return EngineFailed(f"the local DynamoDB ({name}) did not start")


def _is_ready(process: subprocess.Popen[bytes], path: Path) -> bool:
    """Wait for the first answer; false when the process ends, or stays silent too long."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if _answers(path):
                return True
        time.sleep(READY_PAUSE_S)
    return False


def _answers(path: Path) -> bool:
    connection = http.client.HTTPConnection(HOST, timeout=READY_TIMEOUT_S)
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.ListTables",
        "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/"
        "aws4_request, SignedHeaders=host, Signature=none",
        "X-Amz-Date": "20260101T000000Z",
    }
    with contextlib.closing(connection):
        connection.sock = handed_socket_now(str(path), READY_TIMEOUT_S)
        connection.request("POST", "/", b"{}", headers)
        return connection.getresponse().status == 200


def main() -> int:
    """`python -m local.engine --state DIR`: the engine for one command, until stdin closes.

    Prints one JSON line with the URL when it is ready; exit status 1 with one line when it is not.
    """
    parser = argparse.ArgumentParser(prog="python -m local.engine")
    parser.add_argument("--state", type=Path, required=True)
    state = parser.parse_args().state.absolute()
    os.umask(0o077)
    try:
        with locked(state), running(state) as engine:
            line = {"url": engine.url, "table": TABLE, "durable": engine.durable}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            sys.stdin.read()
    except (StartRefused, EngineFailed) as exc:
        sys.stderr.write(f"phigate: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
