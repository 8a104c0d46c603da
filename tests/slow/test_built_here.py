"""What `make build-here` made, laid out as Lambda does and run by a clean python3.13.

`make build-here` sets PHIGATE_BUILT_HERE to SAM's folder: the template of
`local.native_template`, whose
libraries are for this machine.
"""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from socket import create_server

import botocore
import pytest

from bench.cold_start import ASKED, contender_of
from layers.dependencies.authorities import subject_hash
from local.native_template import ARCHITECTURES, TEMPLATE, here
from phigate.aws.catalog_sync import CatalogSync
from tests.functions.aws_stack import CONTEXT, AwsStack, aws_stack_in, rest, sync_event
from tests.functions.test_imports import EXPORTS
from tests.slow.authority import write_authority
from tests.streaming_runtime.fake_api import fake_api
from tests.template.cloudformation import read

BUILT = Path(os.environ.get("PHIGATE_BUILT_HERE", ".aws-sam/here"))
FUNCTIONS = {
    "chat": "Chat",
    "math": "Math",
    "directory": "Directory",
    "catalog_sync": "CatalogSync",
    "sweeper": "Sweeper",
}
# What the managed runtime has and no layer brings.
MANAGED = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")
# -I and -S: no path comes from the environment, the folder, or packages of this machine's own.
# The order is Lambda's: https://docs.aws.amazon.com/lambda/latest/dg/python-layers.html
CODE = """
import os, sys
names, *paths = sys.argv[1:]
sys.path[:0] = paths
import app
import phigate.effects.aws.powertools_writer  # with a function's first line
files = {m.__name__: m for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
print([name for name in names.split(",") if getattr(app, name, None) is None])
print([name for name, m in files.items() if not m.__file__.startswith((sys.base_prefix, *paths))])
laid = {name: m for name, m in files.items() if m.__file__.startswith(paths[1])}
cached = {name: getattr(m, "__cached__", None) for name, m in laid.items()}
print([name for name, path in cached.items() if path and not os.path.exists(path)])
"""


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the managed runtime's own packages."""
    folder = tmp_path_factory.mktemp("runtime")
    site = Path(botocore.__file__).parents[1]
    for name in MANAGED:
        (folder / name).symlink_to(site / name)
    return folder


def laid_out(function: str, folder: Path) -> tuple[Path, Path]:
    """Task root and /opt of a function, its layers merged in their order."""
    layers = read()["Resources"][FUNCTIONS[function]]["Properties"]["Layers"]
    for layer in layers:
        shutil.copytree(BUILT / layer["Ref"], folder / "opt", dirs_exist_ok=True)
    return BUILT / FUNCTIONS[function], folder / "opt"


@pytest.mark.parametrize("function", EXPORTS)
def test_a_built_function_is_imported_from_what_was_built_alone(
    function: str, tmp_path: Path, managed: Path
) -> None:
    root, opt = laid_out(function, tmp_path)
    paths = [str(root.resolve()), str(opt / "python"), str(managed)]
    ran = subprocess.run(
        ["python3.13", "-I", "-S", "-B", "-c", CODE, ",".join(EXPORTS[function]), *paths],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    missing, foreign, uncompiled = ran.stdout.splitlines()
    assert (missing, foreign, uncompiled) == ("[]", "[]", "[]")


def test_only_the_processor_differs_from_what_is_deployed() -> None:
    text = TEMPLATE.read_text()
    assert here(text, "aarch64") == text
    changed = [
        (before, after)
        for before, after in zip(text.splitlines(), here(text, "x86_64").splitlines(), strict=True)
        if before != after
    ]
    assert len(changed) == 13
    assert all(
        after == before.replace("arm64", ARCHITECTURES["x86_64"]) for before, after in changed
    )


@pytest.fixture(scope="module")
def aws_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStack]:
    """A stack with its catalog."""
    with aws_stack_in(tmp_path_factory.mktemp("state")) as made:
        CatalogSync(made.lambda_environment("catalog_sync"))(
            sync_event("Create", made.aws.url), CONTEXT
        )
        yield made


@pytest.mark.anyio
async def test_the_built_chat_answers_streamed_and_whole_phi_and_not(
    aws_stack: AwsStack, tmp_path: Path
) -> None:
    """In the built loop, by python3.13: what differs from the function is where AWS answers."""
    chat = contender_of("phigate", tmp_path, aws_stack)
    async with fake_api() as api:
        process = await asyncio.create_subprocess_exec(
            *(chat.opt / "streaming-runtime", "python3.13", "bootstrap.py"),
            cwd=chat.root,
            env={**chat.environment, "AWS_LAMBDA_RUNTIME_API": api.authority},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            for stream, phi in product((True, False), (True, False)):
                asked = {**ASKED, "stream": stream}
                event = rest("/v1/chat/completions", asked, aws_stack.key, X_PHI=str(phi).lower())
                api.hand_out(json.dumps(event).encode())
                prelude, body = await (await api.post()).streamed()
                tier = "phi" if phi else "general"
                routed = prelude["headers"]["x-phi-routed"]
                assert (prelude["statusCode"], routed) == (200, f"infomaniak-gemma-4-31b/CH/{tier}")
                if stream:
                    assert body.startswith(b"data: ") and body.endswith(b"data: [DONE]\n\n")
                else:
                    assert json.loads(body)["choices"][0]["message"]["content"]
            for _ in range(5):  # for each event, and for the one after them
                await api.asked()
        finally:
            process.terminate()
            written, _ = await process.communicate()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["event"] for line in lines] == ["streamed"] * 2 + ["answered"] * 2
    assert [line["cold_start"] for line in lines] == [True, False, False, False]
    own = {"level", "service", "time", "event", "function", "stack", "cold_start", "_aws"}
    ids = {"function_request_id", "correlation_id", "xray_trace_id"}
    told = {"id", "attempts", "row", "region", "tier", "tokens_in", "tokens_out", "cost_micros"}
    for line in lines:
        small = {name for name in line if name.islower()} - {"ms", "ttft_ms", "ended"}
        assert small - ids == own | told
        assert line["function_request_id"] == line["correlation_id"]


AUTHORITIES = BUILT / "Dependencies" / "authorities"
NAME = "kms.eu-central-2.amazonaws.com"
# Shakes hands as every client of the functions does; prints what the certificate was found to be.
HANDSHAKE = """
import socket, ssl, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    try:
        with ssl.create_default_context().wrap_socket(plain, server_hostname=sys.argv[2]):
            print("trusted")
    except ssl.SSLCertVerificationError as error:
        print(error.verify_message)
"""


def test_openssl_finds_each_authority_by_its_hash() -> None:
    found = [path for path in AUTHORITIES.iterdir() if path.suffix == ".0"]
    assert len(found) > 100
    for path in AUTHORITIES.iterdir():
        assert path.stem == subject_hash(path.read_bytes()), path.name
        command = ("openssl", "verify", "-no-CAfile", "-no-CAstore", "-CApath", str(AUTHORITIES))
        subprocess.run([*command, str(path)], check=True, capture_output=True)


def test_only_a_laid_out_authority_is_trusted(tmp_path: Path) -> None:
    authority, chain = write_authority(tmp_path, [NAME])
    added = tmp_path / "authorities"
    shutil.copytree(AUTHORITIES, added)
    shutil.copy(authority, added / f"{subject_hash(authority.read_bytes())}.0")
    with _shaking_hands(chain) as port:
        assert _handshake(port, added) == "trusted"
        assert _handshake(port, AUTHORITIES) == "unable to get local issuer certificate"


def _handshake(port: int, authorities: Path) -> str:
    """What a python3.13 says that trusts as template.yaml has it."""
    ran = subprocess.run(
        ["python3.13", "-c", HANDSHAKE, str(port), NAME],
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "SSL_CERT_DIR": str(authorities.resolve()),
            "SSL_CERT_FILE": str(authorities.resolve() / "none"),
        },
        check=True,
    )
    return ran.stdout.strip()


@contextmanager
def _shaking_hands(chain: Path) -> Iterator[int]:
    """A port behind which a server shows this chain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):  # the server is closed, or the client hung up
                while True:
                    plain, _ = server.accept()
                    with (
                        plain,
                        suppress(ssl.SSLError),
                        context.wrap_socket(plain, server_side=True),
                    ):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(2)
            thread.join()
