"""`python -m tests.slow.sam_local`: the built functions behind `sam local start-api`, until Ctrl-C.

Law 1: the functions and their catalog are those that are deployed, and reach AWS and the providers
by the names that they have there. Where these lead is all that differs: to stand_ins.py.
Law 2: nothing is left behind. What SAM makes of the base image inherits its label and goes with it.
"""

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from tests.functions.aws import AWS_REGION, moto_services
from tests.functions.aws_stack import ENVIRONMENT, TASKS, AwsStack, aws_stack_in, sync_event
from tests.slow.stand_ins import PORT, TOLD, answering, ways_of
from tests.template.cloudformation import read

BUILT = Path(os.environ.get("PHIGATE_BUILT_HERE", ".aws-sam/here"))
SAM = Path(os.environ.get("PHIGATE_SAM", ".phigate-tools/sam/bin/sam"))
BASE = os.environ.get("PHIGATE_LAMBDA_BASE", "")
IMAGE = "phigate-sam-local:run"
LABEL = "phigate.sam-local"
AUTHORITY = "/etc/ssl/certs/stand-ins.pem"
PARAMETERS = ("Jurisdiction=CH", "Jurisdictions=CH")
# In variables SAM leaves the template's conditions as they are, here on Streaming.
CONDITIONAL = ("AWS_LAMBDA_EXEC_WRAPPER", "STREAMING_RUNTIME_FAILURES")
FUNCTIONS = ("Chat", "Math", "Directory", "CatalogSync", "Sweeper")
READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0  # a first call makes the function's image
STOP_TIMEOUT_S = 20.0
FORGET_TRIES_MAX = 50  # ten seconds; a step of a build takes under one
PAUSE_S = 0.2


def docker(*words: str) -> str:
    """What Docker prints."""
    ran = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def bridge_address() -> str:
    """This machine, as a container on Docker's bridge reaches it."""
    (network,) = json.loads(docker("network", "inspect", "bridge"))
    (config, *_) = network["IPAM"]["Config"]
    # Where nobody chose one, Docker names none, and takes the first.
    first = next(ipaddress.ip_network(config["Subnet"]).hosts())
    return config.get("Gateway") or str(first)


@contextlib.contextmanager
def runtime_image(authority: Path) -> Iterator[None]:
    """IMAGE: the base image, trusting the authority. It ends with all that was made of it."""
    forget()  # what a run left that was killed
    (authority.parent / "Dockerfile").write_text(
        f"FROM {BASE}\nLABEL {LABEL}=\nCOPY {authority.name} {AUTHORITY}\n"
        # boto3 has authorities of its own.
        f"ENV AWS_CA_BUNDLE={AUTHORITY}\n"
    )
    try:
        docker("build", "--quiet", "--tag", IMAGE, str(authority.parent))
        yield
    finally:
        forget()


def made() -> list[str]:
    """Every container and image with the label; there is one run at a time, by its port."""
    return [name for kind in ("ps", "images") for name in _labelled(kind, "--all", "--quiet")]


def forget() -> None:
    """Remove them."""
    for _ in range(FORGET_TRIES_MAX):
        # A build that was broken off still removes its own meanwhile. What it keeps after the last
        # look has no name, and the next run removes it.
        if containers := _labelled("ps", "--all", "--quiet"):
            subprocess.run(
                ["docker", "rm", "--force", *containers], capture_output=True, check=False
            )
        _labelled("image", "prune", "--all", "--force")
        if not made():
            return
        time.sleep(PAUSE_S)
    raise RuntimeError(f"Docker keeps what has the label {LABEL}")


def _labelled(*words: str) -> list[str]:
    return docker(*words, "--filter", f"label={LABEL}").split()


class Stack:
    """The built functions in Lambda's emulator. What `sam` prints goes to sam.log in the folder."""

    def __init__(self, aws_stack: AwsStack, folder: Path, tasks: Mapping[str, str]) -> None:
        self.aws_stack = aws_stack
        self._log = folder / "sam.log"
        self._folder = folder
        self._environment = {
            **os.environ,
            **{name: value for name, value in ENVIRONMENT.items() if name.startswith("AWS_")},
            "SAM_CLI_TELEMETRY": "0",
            # It asks AWS whose credentials these are, again and again. They are made up.
            "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9",
            "AWS_MAX_ATTEMPTS": "1",
            # A run that was killed leaves a lock behind that the next one would wait for.
            "TMPDIR": str(folder),
        }
        for streaming in ("on", "off"):
            variables = dict.fromkeys(FUNCTIONS, _variables(tasks, streaming))
            (folder / f"{streaming}.json").write_text(json.dumps(variables))
        address = bridge_address()
        self._options = [
            *("--template", str(BUILT / "template.yaml"), "--region", AWS_REGION),
            *("--invoke-image", IMAGE, "--skip-pull-image"),
            *("--layer-cache-basedir", str(folder / "layers")),
            *(word for name in ways_of(aws_stack) for word in ("--add-host", f"{name}:{address}")),
        ]

    def invoke(self, function: str, event: Mapping[str, object]) -> list[dict[str, Any]]:
        """Call a function as AWS itself does; its lines. Raises RuntimeError when it fails."""
        ran = self._invoked(function, event, "off")
        printed = [line for line in (ran.stdout + ran.stderr).splitlines() if line[:1] == "{"]
        return [json.loads(line) for line in printed]

    def stream(self, function: str, event: Mapping[str, object]) -> tuple[dict[str, Any], str]:
        """Call one with Streaming=on; prelude and body. The emulator hands over the whole answer,
        which SAM's API cannot take apart."""
        prelude, _, body = self._invoked(function, event, "on").stdout.partition("\0" * 8)
        return json.loads(prelude), body

    def _invoked(
        self, function: str, event: Mapping[str, object], streaming: str
    ) -> "subprocess.CompletedProcess[str]":
        path = self._folder / "event.json"
        path.write_text(json.dumps(event))
        ran = subprocess.run(
            self._command("invoke", function, "--event", str(path), streaming=streaming),
            capture_output=True,
            text=True,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for this process, which ends SAM
            check=False,
        )
        with self._log.open("a") as log:
            log.write(ran.stdout + ran.stderr)
        if ran.returncode or '"errorType"' in ran.stdout:
            raise RuntimeError(f"{function} failed:\n{(ran.stdout + ran.stderr)[-4000:]}")
        return ran

    def _command(self, *words: str, streaming: str) -> list[str]:
        return [
            *(str(SAM.resolve()), "local", *words, *self._options),
            *("--env-vars", str(self._folder / f"{streaming}.json")),
            *("--parameter-overrides", *PARAMETERS, f"Streaming={streaming}"),
        ]

    @contextlib.contextmanager
    def served(self, port: int) -> Iterator[str]:
        """The API; its base URL."""
        words = ("start-api", "--port", str(port), "--warm-containers", "LAZY")
        with (
            self._log.open("ab") as out,
            subprocess.Popen(
                self._command(*words, streaming="off"),
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield _ready(process, f"http://127.0.0.1:{port}", self._log)
            finally:
                process.terminate()
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def _variables(tasks: Mapping[str, str], streaming: str) -> dict[str, str]:
    """What only a deployment knows; SAM hands out those that a function's template declares."""
    values = {**ENVIRONMENT, **TASKS, **tasks, "PHIGATE_STREAMING": streaming}
    values["PHIGATE_DIGEST_BUCKET"] = ""
    del values["PHIGATE_CATALOG_FOLDER"]  # the layer's
    variables = {name: value for name, value in values.items() if name.startswith("PHIGATE_")}
    variables["SSL_CERT_FILE"] = AUTHORITY  # beside the template's SSL_CERT_DIR
    if streaming == "on":
        chat = read()["Resources"]["Chat"]["Properties"]["Environment"]["Variables"]
        variables |= {name: chat[name]["Fn::If"][1] for name in CONDITIONAL}
    return variables


def _ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> str:
    for _ in range(int(READY_TIMEOUT_S / PAUSE_S)):
        if process.poll() is not None:
            break
        try:
            answer = httpx.get(f"{url}/healthz", timeout=ANSWER_TIMEOUT_S)
        except httpx.ConnectError:
            time.sleep(PAUSE_S)
            continue
        if answer.status_code == 200:
            return url
        raise RuntimeError(f"{answer.status_code} {answer.text}\n{log.read_text()[-4000:]}")
    raise RuntimeError(f"sam local does not answer:\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def sam_local(folder: Path, port: int) -> Iterator[tuple[Stack, str]]:
    """A stack whose catalog its own function has loaded, and its base URL."""
    trust = folder / "image"
    trust.mkdir()
    with (
        aws_stack_in(folder / "state") as aws_stack,
        moto_services(aws_stack.aws) as tasks,
        answering(bridge_address(), ways_of(aws_stack), trust) as authority,
        runtime_image(authority),
    ):
        aws_stack.aws.secrets["stack-ch/sandbox"] = "s" * 64
        stack = Stack(aws_stack, folder, tasks)
        stack.invoke("CatalogSync", sync_event("Create", f"https://{TOLD}"))
        with stack.served(port) as url:
            yield stack, url


def serve(port: int) -> None:
    """Until Ctrl-C; first, one call by OpenAI's SDK."""
    with TemporaryDirectory() as scratch, sam_local(Path(scratch), port) as (stack, url):
        key = stack.aws_stack.key
        client = OpenAI(base_url=f"{url}/v1", api_key=key)
        asked = ChatCompletionUserMessageParam(role="user", content="Is this thing on?")
        answer = client.chat.completions.create(model="gemma-4", messages=[asked])
        print(f"asked by OpenAI's SDK: {answer.choices[0].message.content}")
        print(f"OPENAI_BASE_URL={url}/v1\nOPENAI_API_KEY={key}", flush=True)
        threading.Event().wait()


def main() -> int:
    """The exit status."""
    port = int(sys.argv[1])
    for address, wanted, hint in (
        ("127.0.0.1", port, "make sam-local PORT=… takes another"),
        (bridge_address(), PORT, "is another sam-local running?"),
    ):
        try:
            socket.create_server((address, wanted)).close()
        except OSError as exc:
            sys.exit(f"{address}:{wanted}: {os.strerror(exc.errno or 0)}; {hint}")
    # Also where a shell started this in the background, and would have Ctrl-C ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    print("starting the functions (a quarter of a minute)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        serve(port)
    return 0


def _stopped(*_signal: object) -> None:
    """End once: what stops containers is not to be stopped itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("\nremoving what was started", flush=True)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
