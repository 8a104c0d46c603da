"""The local DynamoDB: dynoxide with its file in the state directory, else moto in memory.

Laws: it listens on loopback only, is ready when `start` returns, and ends with the process that
started it. With dynoxide an answered write outlives kill -9; with moto nothing outlives anything.
"""

import argparse
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from local.state import TABLE, StartRefused, locked

DATABASE = "dynamodb.sqlite"
START_TRIES_MAX = 3  # another process may take the free port in between
READY_TIMEOUT_S = 20.0  # dynoxide needs 10 ms, moto's imports 2 s, a busy machine some more
READY_PAUSE_S = 0.02
STOP_TIMEOUT_S = 5.0

HERE = Path(__file__).resolve().parent
BIND = [sys.executable, "-I", "-S", str(HERE / "bound_to_parent.py")]


class EngineFailed(Exception):  # named by what happened, like every error here
    """No local DynamoDB could be started; the text is one line."""


class Engine:
    """A running engine. `durable` says whether it survives the end of its process."""

    def __init__(self, *, name: str, url: str, durable: bool, process: subprocess.Popen[bytes]):
        self.name = name
        self.url = url
        self.durable = durable
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


def dynoxide_path() -> Path:
    """Where install_dynoxide.py puts the binary: beside this interpreter."""
    return Path(sys.executable).with_name("dynoxide")


def start(state: Path, binary: Path | None = None) -> Engine:
    """Start dynoxide where its binary is, else moto. Raises EngineFailed."""
    binary = binary or dynoxide_path()
    if not os.access(binary, os.X_OK):
        return _start("moto", [sys.executable, "-P", str(HERE / "moto_engine.py")], durable=False)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = str(state.resolve() / DATABASE)
    command = [str(binary), "--host", "127.0.0.1", "--db-path", database, "--port"]
    return _start("dynoxide", command, durable=True)


@contextlib.contextmanager
def running(state: Path) -> Iterator[Engine]:
    """The engine of a state directory for as long as the context lasts."""
    engine = start(state)
    try:
        yield engine
    finally:
        engine.stop()


def _start(name: str, command: list[str], *, durable: bool) -> Engine:
    for _ in range(START_TRIES_MAX):
        port = _free_port()
        process = subprocess.Popen(
            [*BIND, str(os.getpid()), *command, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A Ctrl-C reaches the gateway, which still has receipts to write.
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        engine = Engine(name=name, url=url, durable=durable, process=process)
        if _is_ready(process, port):
            return engine
        engine.stop()
    raise EngineFailed(f"the local DynamoDB ({name}) did not start")


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait for the first answer; false when the process ends, or stays silent too long."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if _answers(port):
                return True
        time.sleep(READY_PAUSE_S)
    return False


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_TIMEOUT_S)
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.ListTables",
        "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/"
        "aws4_request, SignedHeaders=host, Signature=none",
        "X-Amz-Date": "20260101T000000Z",
    }
    with contextlib.closing(connection):
        connection.request("POST", "/", b"{}", headers)
        return connection.getresponse().status == 200


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """`python -m local.engine --state DIR`: the engine for one command, until stdin closes.

    Prints one JSON line with the URL when it is ready; exit status 1 with one line when it is not.
    """
    parser = argparse.ArgumentParser(prog="python -m local.engine")
    parser.add_argument("--state", type=Path, required=True)
    state = parser.parse_args().state.absolute()
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
