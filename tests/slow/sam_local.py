"""`python -m tests.slow.sam_local`: the built functions behind `sam local start-api`, until Ctrl-C.

Law: the functions and their catalog are those that are deployed, and reach AWS and the providers by
the names that they have there. What differs is where those names lead: in a function's container to
a TLS endpoint on Docker's bridge, whose authority the container trusts too. Behind it are the
stand-ins of tests/functions, the local DynamoDB engine and the simulated providers.
"""

import contextlib
import http.client
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from phigate.aws.outside import aws_endpoint
from tests.functions.aws import AWS_REGION
from tests.functions.world import ENVIRONMENT, TASKS, World, sync_event, world_in
from tests.slow.authority import write_authority

BUILT = Path(os.environ.get("PHIGATE_BUILT_HERE", ".aws-sam/here"))
SAM = Path(os.environ.get("PHIGATE_SAM", ".phigate-tools/sam/bin/sam"))
BASE = os.environ.get("PHIGATE_LAMBDA_BASE", "")
# The first is what SAM asks for; the second is what it asks for in a function with layers.
TAGS = ("public.ecr.aws/lambda/python:3.13", "public.ecr.aws/lambda/python:3.13-{architecture}")
AUTHORITY = "/etc/ssl/certs/stand-ins.pem"
# The one provider whose secret the world holds; the secret's product is 1.
PROVIDER = ("https://api.infomaniak.com/2/ai/1/openai/v1", "infomaniak")
PARAMETERS = ("Jurisdiction=CH", "Jurisdictions=CH", "Streaming=off")
FUNCTIONS = ("Chat", "Math", "Directory", "CatalogSync", "Sweeper")
# Where CloudFormation waits for an answer in this AWS region.
TOLD = "cloudformation-custom-resource-response-eucentral2.s3.eu-central-2.amazonaws.com"
READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0  # a first call makes the function's image
STOP_TIMEOUT_S = 20.0
PAUSE_S = 0.2
_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length"})

# The name that a function calls, the start of the path there, and what answers instead.
Way = tuple[str, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    ways: Mapping[str, Way]


class _Endpoint(BaseHTTPRequestHandler):
    """Hands a request on by the name that was called; the answer comes back in one piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """One call."""
        self._hand_on()

    def do_PUT(self) -> None:
        """One answer to CloudFormation."""
        self._hand_on()

    def _hand_on(self) -> None:
        start, target = cast(_Server, self.server).ways[self.headers["Host"].partition(":")[0]]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(target)
        connection = http.client.HTTPConnection(url.netloc, timeout=ANSWER_TIMEOUT_S)
        with contextlib.closing(connection):
            path = url.path + self.path.removeprefix(start)
            connection.request(self.command, path, body, _kept(dict(self.headers.items())))
            answer = connection.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in _kept(dict(answer.getheaders())).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def ways_of(world: World) -> dict[str, Way]:
    """Where each name leads."""
    services = ("dynamodb", "kms", "secretsmanager")
    names = [str(urlsplit(aws_endpoint(service, AWS_REGION)).hostname) for service in services]
    real, provider = urlsplit(PROVIDER[0]), PROVIDER[1]
    simulated = world.outside().base_url(provider)
    assert real.hostname is not None and simulated is not None
    aws = dict.fromkeys((*names, TOLD), ("", world.aws.url))
    return {**aws, real.hostname: (real.path, simulated)}


@contextlib.contextmanager
def answering(address: str, ways: Mapping[str, Way], folder: Path) -> Iterator[Path]:
    """Answer under those names at an address, port 443; the authority that vouches for them."""
    authority, chain = write_authority(folder, sorted(ways))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with _Server((address, 443), _Endpoint) as server:
        server.ways = ways
        # The handshake waits for the connection's own thread.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield authority
        finally:
            server.shutdown()
            thread.join()


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
def trusting(authority: Path) -> Iterator[None]:
    """The base image under Lambda's names, trusting the authority as long as the context lasts."""
    architecture = "arm64" if os.uname().machine in ("aarch64", "arm64") else "x86_64"
    tags = [tag.format(architecture=architecture) for tag in TAGS]
    (authority.parent / "Dockerfile").write_text(
        f"FROM {BASE}\nCOPY {authority.name} {AUTHORITY}\n"
    )
    docker("build", "--quiet", *(f"--tag={tag}" for tag in tags), str(authority.parent))
    try:
        yield
    finally:
        for tag in tags:
            docker("tag", BASE, tag)


class Stack:
    """The built functions in Lambda's emulator. What `sam` prints goes to sam.log in the folder."""

    def __init__(self, world: World, folder: Path, ways: Mapping[str, Way]) -> None:
        self.world = world
        self._log = folder / "sam.log"
        self._folder = folder
        self._environment = {
            **os.environ,
            **{name: value for name, value in ENVIRONMENT.items() if name.startswith("AWS_")},
            "SAM_CLI_TELEMETRY": "0",
            # A run that was killed leaves a lock behind that the next one would wait for.
            "TMPDIR": str(folder),
        }
        (folder / "variables.json").write_text(json.dumps(_variables()))
        address = bridge_address()
        self._options = [
            *("--template", str(BUILT / "template.yaml"), "--region", AWS_REGION),
            *("--skip-pull-image", "--layer-cache-basedir", str(folder / "layers")),
            *("--env-vars", str(folder / "variables.json")),
            *(word for name in ways for word in ("--add-host", f"{name}:{address}")),
            *("--parameter-overrides", *PARAMETERS),
        ]

    def invoke(self, function: str, event: Mapping[str, object]) -> list[dict[str, Any]]:
        """Call a function as AWS itself does; its lines. Raises RuntimeError when it fails."""
        path = self._folder / "event.json"
        path.write_text(json.dumps(event))
        ran = subprocess.run(
            [SAM.resolve(), "local", "invoke", function, "--event", path, *self._options],
            capture_output=True,
            text=True,
            env=self._environment,
            check=False,
        )
        with self._log.open("a") as log:
            log.write(ran.stdout + ran.stderr)
        if ran.returncode or '"errorType"' in ran.stdout:
            raise RuntimeError(f"{function} failed:\n{(ran.stdout + ran.stderr)[-4000:]}")
        printed = [line for line in (ran.stdout + ran.stderr).splitlines() if line[:1] == "{"]
        return [json.loads(line) for line in printed]

    @contextlib.contextmanager
    def served(self, port: int) -> Iterator[str]:
        """The API; its base URL."""
        command = [
            *(str(SAM.resolve()), "local", "start-api", "--port", str(port)),
            *("--force-image-build", "--warm-containers", "LAZY"),
            *self._options,
        ]
        with (
            self._log.open("ab") as out,
            subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=self._environment
            ) as process,
        ):
            try:
                yield _ready(process, f"http://127.0.0.1:{port}", self._log)
            finally:
                process.send_signal(signal.SIGINT)  # SAM removes its containers
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def _variables() -> dict[str, dict[str, str]]:
    """By function what only a deployment knows; SAM hands out those that the template declares."""
    values = {**ENVIRONMENT, **TASKS, "PHIGATE_STREAMING": "off"}
    del values["PHIGATE_CATALOG_FOLDER"]  # the layer's
    variables = {name: value for name, value in values.items() if name.startswith("PHIGATE_")}
    variables["SSL_CERT_FILE"] = AUTHORITY  # beside the template's SSL_CERT_DIR
    # ECS has no stand-in that a container reaches.
    return dict.fromkeys(FUNCTIONS, variables) | {"Sweeper": {**variables, "PHIGATE_CLUSTER": ""}}


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
    with world_in(folder / "state") as world:
        ways = ways_of(world)
        with answering(bridge_address(), ways, trust) as authority, trusting(authority):
            stack = Stack(world, folder, ways)
            stack.invoke("CatalogSync", sync_event("Create", f"https://{TOLD}"))
            with stack.served(port) as url:
                yield stack, url


def main() -> int:
    """Serve until Ctrl-C; first, one call by OpenAI's SDK."""
    port = int(sys.argv[1])
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        sys.exit(f"Port {port} is taken; say another one: make sam-local PORT=…")
    # Also where a shell started this in the background: then Ctrl-C is ignored, here and by SAM.
    for ends in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ends, signal.default_int_handler)
    with TemporaryDirectory() as scratch, sam_local(Path(scratch), port) as (stack, url):
        key = stack.world.key
        client = OpenAI(base_url=f"{url}/v1", api_key=key)
        asked = ChatCompletionUserMessageParam(role="user", content="Is this thing on?")
        answer = client.chat.completions.create(model="gemma-4", messages=[asked])
        print(f"asked by OpenAI's SDK: {answer.choices[0].message.content}")
        print(f"OPENAI_BASE_URL={url}/v1\nOPENAI_API_KEY={key}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
