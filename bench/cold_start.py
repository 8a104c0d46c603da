"""`python -m bench.cold_start`: from nothing to the first byte of a first streamed chat.

A fresh python3.13 runs the built chat function in the streaming loop; this process is the Runtime
API, AWS and the provider. Beside it, in turns, the plain equivalent (bench/cold/plain_app.py) with
bytecode of the same kind, which the budget is for, and as `sam build` leaves it: without. Files are
in the page cache, and Lambda's own download of the code is not in it. The exit code is 0 whatever
the figures are, and 1 when an answer was wrong.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3

from phigate.aws.catalog_sync import CatalogSync
from tests.functions.aws_stack import CONTEXT, ENVIRONMENT, AwsStack, aws_stack_in, rest, sync_event

HERE = Path(__file__).parent
BUILT = Path(os.environ.get("PHIGATE_BUILT_HERE", ".aws-sam/here")).resolve()
ROUNDS = 11
RATIO_MAX = 0.75
LARGEST = 3
READ_BYTES = 1 << 16
END = b"\r\n0\r\n\r\n"
LAYERS = {
    "phigate": ("Dependencies", "Phigate", "StreamingRuntime"),
    "plain": ("Dependencies", "Framework", "StreamingRuntime"),
}
# What the plain one needs beside the dependencies: all of it is Python alone.
PLAIN = (
    *("httpx", "httpcore", "h11", "certifi"),
    *("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py"),
    "aws_lambda_powertools",
)
# Each by its app.py in bench/cold.
CONTENDERS = {
    "phigate": "phigate_app.py",
    "plain": "plain_app.py",
    "plain, no bytecode": "plain_app.py",
}
ASKED = {
    "model": "gemma-4",
    "messages": [{"role": "user", "content": "Is this thing on?"}],
    "stream": True,
}


@dataclass(frozen=True)
class Contender:
    """A task root, its /opt, and how its runs are started."""

    name: str
    root: Path
    opt: Path
    environment: Mapping[str, str]


def main() -> int:
    """Measure and print; the exit code."""
    with TemporaryDirectory() as scratch, aws_stack_in(Path(scratch) / "state") as aws_stack:
        CatalogSync(aws_stack.lambda_environment("catalog_sync"))(
            sync_event("Create", aws_stack.aws.url), CONTEXT
        )
        contenders = [contender_of(name, Path(scratch), aws_stack) for name in CONTENDERS]
        headers = {"Content_Type": "application/json"}
        payload = rest("/v1/chat/completions", ASKED, aws_stack.key, **headers)
        event = json.dumps(payload).encode()
        for contender in contenders:  # fills the page cache
            _took_ms(contender, event)
        took: dict[str, list[tuple[float, float]]] = {
            contender.name: [] for contender in contenders
        }
        for _ in range(ROUNDS):
            for contender in contenders:
                took[contender.name].append(_took_ms(contender, event))
        _print(contenders, took)
    return 0


def _print(contenders: list[Contender], took: Mapping[str, list[tuple[float, float]]]) -> None:
    print("median ms of a fresh process\n")
    print("| | to the first GET | to the first byte | each | largest imports, by themselves |")
    print("|---|---|---|---|---|")
    medians = {}
    for contender in contenders:
        asked, first = zip(*took[contender.name], strict=True)
        medians[contender.name] = statistics.median(first)
        imports = ", ".join(f"{name} {ms:.0f}" for name, ms in _imports(contender))
        print(
            f"| {contender.name} | {statistics.median(asked):.0f} | {statistics.median(first):.0f} "
            f"| {' '.join(f'{ms:.0f}' for ms in first)} | {imports} |"
        )
    ratio, unbuilt = (
        medians["phigate"] / medians[name] for name in ("plain", "plain, no bytecode")
    )
    print(f"\nratio to plain {ratio:.2f} (budget {RATIO_MAX}), without bytecode {unbuilt:.2f}")


def contender_of(name: str, scratch: Path, aws_stack: AwsStack) -> Contender:
    """Its root and /opt, laid out as Lambda does."""
    root, opt = scratch / name, scratch / f"{name}-opt"
    root.mkdir()
    shutil.copy(HERE / "cold" / CONTENDERS[name], root / "app.py")
    for layer in LAYERS[name.partition(",")[0]]:
        shutil.copytree(BUILT / layer, opt, dirs_exist_ok=True)
    _compile(root)
    if name != "phigate":
        _add_plain(opt / "python")
        _compile(opt)
    if name == "plain, no bytecode":
        _decompile(opt)
        _decompile(root)
    providers = str(aws_stack.lambda_environment("chat").base_url("")).removesuffix("//v1")
    environment = {
        **ENVIRONMENT,
        "PATH": os.environ["PATH"],
        "BENCH_AWS": aws_stack.aws.url,
        "BENCH_PROVIDERS": providers,
        "LAMBDA_TASK_ROOT": str(root),
        "PYTHONPATH": f"{opt}/python",
        "_HANDLER": "app.application",
        "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's folders are read-only
    }
    if name == "phigate":  # as template.yaml says
        environment["STREAMING_RUNTIME_FAILURES"] = "app.FAILURES"
        environment["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
        environment["SSL_CERT_DIR"] = f"{opt}/authorities"
        environment["SSL_CERT_FILE"] = f"{opt}/authorities/none"
    return Contender(name, root, opt, environment)


def _add_plain(folder: Path) -> None:
    site = Path(boto3.__file__).parents[1]
    for name in PLAIN:
        if name.endswith(".py"):
            shutil.copy(site / name, folder / name)
        else:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(site / name, folder / name, ignore=ignored, dirs_exist_ok=True)


def _compile(folder: Path) -> None:
    words = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder))
    subprocess.run(["python3.13", *words], check=True)


def _decompile(folder: Path) -> None:
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)


def _took_ms(contender: Contender, event: bytes) -> tuple[float, float]:
    """One fresh process: to its first GET, to the first byte of its answer.

    Raises RuntimeError when it answers wrongly.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        api = f"127.0.0.1:{server.getsockname()[1]}"
        wrapper = contender.opt / "streaming-runtime"
        start_ns = time.perf_counter_ns()
        with subprocess.Popen(
            [wrapper, "python3.13", "bootstrap.py"],
            env={**contender.environment, "AWS_LAMBDA_RUNTIME_API": api},
            cwd=contender.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                connection, _ = server.accept()
                with connection:
                    _read_until(connection, b"\r\n\r\n")
                    asked_ns = time.perf_counter_ns()
                    connection.sendall(_invocation(event))
                    answer = _read_until(connection, b"data: ")
                    ended_ns = time.perf_counter_ns()
                    if not answer.endswith(END):  # else what it leaves open is told as a fault
                        _read_until(connection, END)
            finally:
                process.terminate()
    is_right = b"data: " in answer and b'"statusCode":200' in answer
    if not is_right:
        raise RuntimeError(f"{contender.name} answered {answer[:2000]!r}")
    return (asked_ns - start_ns) / 1e6, (ended_ns - start_ns) / 1e6


def _read_until(connection: socket.socket, wanted: bytes) -> bytes:
    data = b""
    connection.settimeout(20)
    while wanted not in data and not data.endswith(END):
        piece = connection.recv(READ_BYTES)
        if not piece:
            raise RuntimeError(f"it hung up after {data[:2000]!r}")
        data += piece
    return data


def _invocation(event: bytes) -> bytes:
    deadline_ms = int(time.time() * 1000) + 60_000
    head = (
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\n"
        f"Lambda-Runtime-Deadline-Ms: {deadline_ms}\r\nContent-Length: {len(event)}\r\n\r\n"
    )
    return head.encode() + event


def _imports(contender: Contender) -> list[tuple[str, float]]:
    """The packages whose modules take longest, each module by itself."""
    ran = subprocess.run(
        ["python3.13", "-X", "importtime", "-c", "import app"],
        env=dict(contender.environment),
        cwd=contender.root,
        capture_output=True,
        text=True,
        check=True,
    )
    own: Counter[str] = Counter()
    for line in ran.stderr.splitlines():
        if line.startswith("import time:") and "self [us]" not in line:
            us, _, name = line.removeprefix("import time:").split("|")
            own[name.strip().partition(".")[0]] += int(us)
    return [(name, us / 1000) for name, us in own.most_common(LARGEST)]


if __name__ == "__main__":
    sys.exit(main())
