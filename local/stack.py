"""The local stack: one process tree that serves the gateway on a real DynamoDB engine.

The gateway runs in this process; the engine and the simulated providers are its children and die
with it, also when it is killed. One state directory has one stack.
"""

import asyncio
import contextlib
import gc
import re
import resource
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from local.children import child
from local.engine import Engine, EngineFailed, running
from local.sandboxes import described, sandboxes
from local.server import STOP_GRACE_S, BoundServer, Deadlined
from local.state import (
    TABLE,
    StartRefused,
    engine_named,
    locked,
    overrides_named,
    read_env,
    write_env,
)
from local.sweeper import sweep_for_ever
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.catalog.overrides import OverrideRefused
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.clock import Clock
from phigate.core.ledger.keys import parse_key
from phigate.core.ledger.port import Ledger
from phigate.core.receipts.port import ReceiptSigner
from phigate.core.types import Catalog, KeyPolicy
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.clock import WallClock
from phigate.effects.event_log import LineJournal
from phigate.effects.loop_failures import record_loop_failures
from phigate.effects.signing.key_files import LOCAL_STACK, file_signer, publish
from phigate.effects.signing.signer import KeyFileSigner, KeyFileUnusable
from phigate.effects.signing.text_signer import Eip191Signer
from phigate.effects.store.admin import DynamoAdmin, create_table
from phigate.effects.store.catalog_push import push_snapshot
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.keys import DynamoKeys
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from phigate.effects.upstream.credentials import ProviderAccess
from phigate.http.app import build_app
from phigate.pipeline.gateway import Gateway, Stack
from phigate.pipeline.tools.figures import ANSWER_CLEANER
from phigate.verify.roots import CATALOGS, CERTIFICATES, DIGESTS, PURPOSES, REDPILL
from phigate.wiring import (
    MissingVariable,
    Parts,
    build_gateway,
    local_access,
    local_catalog,
    overrides_of,
    simulated_providers,
    variable,
)

HOST = "127.0.0.1"
LOCAL_ACCOUNT = "local"
FREE_CREDIT_MICROS = 10_000_000
READY_TIMEOUT_S = 20.0
_BACKLOG = 2048
_GC_THRESHOLD = 20_000


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of `phigate local`."""

    port: int
    state: Path
    catalog: Path
    sandboxes: int = 0  # kept warm; more are started when they are asked for


@dataclass(frozen=True, slots=True)
class Resources:
    """What stands before the gateway is built."""

    listener: socket.socket
    engine: Engine
    catalog_bytes: bytes
    access: dict[str, ProviderAccess]


MakeLedger = Callable[[DynamoDB, Clock], Ledger]


async def serve(
    options: Options,
    make_ledger: MakeLedger = DynamoLedger,
    signer: ReceiptSigner | None = None,
) -> None:
    """Serve until a signal; a ledger or signer of another kind is for benches. Raises StartRefused
    with one line for a person."""
    catalog_bytes, catalog = _read_catalog(options.catalog)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listener(options.port))
        stack.enter_context(locked(options.state))
        engine = stack.enter_context(_engine(options.state))
        stack.enter_context(engine_named(options.state, engine.url, durable=engine.durable))
        simulated_url = stack.enter_context(_simulators(options.state))
        access = _access(catalog, simulated_url)
        stack.enter_context(overrides_named(options.state, overrides_of(access)))
        resources = Resources(listener, engine, catalog_bytes, access)
        await _serve(options, resources, make_ledger, signer)


def _allow_many_sockets() -> None:
    """A paced stream is two sockets, and a shell's usual limit of 1,024 ends at 500 of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(
    options: Options,
    resources: Resources,
    make_ledger: MakeLedger,
    signer: ReceiptSigner | None,
) -> None:
    _allow_many_sockets()
    clock = WallClock()
    dynamodb = local_dynamodb(resources.engine.url, clock)
    signers = _signers(options.state)
    event_log = LineJournal(sys.stdout, clock)
    record_loop_failures(asyncio.get_running_loop(), event_log)
    key, is_new = await _filled(dynamodb, options.state, resources.catalog_bytes, signers, clock)
    math = sandboxes(dynamodb, clock, event_log, warm=options.sandboxes)
    trusted = {signers[CATALOGS].kid: signers[CATALOGS].public_key}
    gateway, upstream = build_gateway(
        Parts(
            stack=Stack(name=LOCAL_STACK, region="CH", unproven_allowed=frozenset({"*"})),
            dynamodb=dynamodb,
            ledger=make_ledger(dynamodb, clock),
            clock=clock,
            event_log=event_log,
            catalog=local_catalog(dynamodb, clock, event_log, trusted, resources.access),
            access=resources.access,
            receipt_root=signers[CERTIFICATES],
            signer=signer,
            issuer=f"http://{HOST}:{options.port}",
            text_signer=Eip191Signer(signers[REDPILL], event_log),
            sandboxes=math.limited,
            answer_cleaner=ANSWER_CLEANER,
        )
    )
    server = _server(gateway, _hello(options, key, resources, is_new=is_new))
    math.pool.begin()
    sweeper = asyncio.ensure_future(sweep_for_ever(dynamodb, signers[DIGESTS], clock, event_log))
    try:
        await server.serve(sockets=[resources.listener])
    finally:
        sweeper.cancel()
        await gateway.wait_idle()
        await math.close()
        await upstream.close()
        await dynamodb.close()


async def _filled(
    dynamodb: DynamoDB,
    state: Path,
    catalog_bytes: bytes,
    signers: Mapping[str, KeyFileSigner],
    clock: Clock,
) -> tuple[str, bool]:
    """The table with its roots, its catalog and a key; the key, and whether it is new."""
    now_s = int(clock.now_s())
    await create_table(dynamodb, clock)
    await publish(signers, DynamoReceipts(dynamodb, clock), now_s)
    await push_snapshot(dynamodb, catalog_bytes, signers[CATALOGS], now_s)
    return await _test_key(state, dynamodb, clock)


def _server(gateway: Gateway, hello: str) -> BoundServer:
    app = build_app(gateway)
    # What stands now lives as long as the process: the collector need not look at it again, nor
    # after every 700 objects, of which a stream of 200 chunks makes thousands.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    config = uvicorn.Config(
        app,
        http=Deadlined,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=STOP_GRACE_S,
    )
    return BoundServer(config, hello)


def local_dynamodb(url: str, clock: Clock) -> DynamoDB:
    """The client of a local engine, which takes any credentials."""
    return DynamoDB(
        table=TABLE,
        endpoint=url,
        region="local",
        credentials=lambda: Credentials("local", "local"),
        clock=clock,
    )


def _read_catalog(folder: Path) -> tuple[bytes, Catalog]:
    try:
        texts = {
            str(path.relative_to(folder)): path.read_text("utf-8")
            for path in sorted(folder.rglob("*.toml"))
        }
        document_bytes = canonical_bytes(document_from_texts(texts))
        return document_bytes, checked_catalog(document_bytes)
    except (CatalogInvalid, OSError, UnicodeDecodeError) as exc:
        raise StartRefused(
            f"the catalog in {folder} has mistakes; see phigate catalog check"
        ) from exc


@contextlib.contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as exc:
            raise StartRefused(f"port {port} is in use; choose another with --port") from exc
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        yield listener


# What `local.simulated` says once it listens.
_SIMULATED_AT = re.compile(r"^simulated providers: (http://[0-9.]+:[0-9]+)$", re.MULTILINE)


@contextlib.contextmanager
def _simulators(state: Path) -> Iterator[str]:
    """Run the simulated providers; their URL, to which `/<provider>/v1` is added.

    They bind a port and say which: one that was chosen here could be another user's by then.
    """
    log = state / "simulated.log"
    # `-P`: nothing is taken from the working directory, where another user may have put it.
    command = [sys.executable, "-P", "-m", "local.simulated"]
    with child(command, log) as process:
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while (said := _SIMULATED_AT.search(log.read_text())) is None:
            if process.poll() is not None or time.monotonic() > give_up_s:
                raise StartRefused(
                    f"the simulated providers do not start; see {state}/simulated.log"
                )
            time.sleep(0.02)
        yield said[1]


@contextlib.contextmanager
def _engine(state: Path) -> Iterator[Engine]:
    try:
        with running(state) as engine:
            yield engine
    except EngineFailed as exc:
        raise StartRefused(str(exc)) from exc


def _signers(state: Path) -> dict[str, KeyFileSigner]:
    try:
        return {signs: file_signer(state, signs) for signs in PURPOSES}
    except KeyFileUnusable as exc:
        raise StartRefused(str(exc)) from exc


def _access(catalog: Catalog, simulated_url: str) -> dict[str, ProviderAccess]:
    try:
        return local_access(catalog, simulated_url)
    except (MissingVariable, OverrideRefused) as exc:
        raise StartRefused(str(exc)) from exc


async def _test_key(state: Path, dynamodb: DynamoDB, clock: Clock) -> tuple[str, bool]:
    """The key of an earlier start if it still works, else a new one, and whether it is new; with
    free credit, once."""
    admin = DynamoAdmin(dynamodb, clock)
    await admin.create_account(LOCAL_ACCOUNT)
    await admin.add_credit(LOCAL_ACCOUNT, FREE_CREDIT_MICROS, "free credit of the local stack")
    known = parse_key(read_env(state).get("OPENAI_API_KEY", ""))
    if known is not None and await DynamoKeys(dynamodb, clock).lookup(known.sha256) is not None:
        return read_env(state)["OPENAI_API_KEY"], False
    return await admin.create_key(LOCAL_ACCOUNT, "test", KeyPolicy()), True


def _hello(options: Options, key: str, resources: Resources, *, is_new: bool) -> str:
    """Says where it serves, and writes that where SDKs can read it.

    The key is shown once: what a terminal or a log keeps of later starts opens nothing.
    """
    base_url = f"http://{HOST}:{options.port}/v1"
    variables = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key}
    path = shlex.quote(str(write_env(options.state, variables)))
    engine, simulated = resources.engine, simulated_providers(resources.access)
    durable = "" if engine.durable else f" ({engine.why}): the state is lost when it stops"
    return f"""phigate serves {base_url}
  key        {key if is_new else "as before"}, in {path}
  database   {engine.name}{durable}
  simulated  {", ".join(simulated) or "no provider"}
{_elsewhere(resources.access)}  residency  unproven rows are allowed here, never for PHI
  programs   {described(options.sandboxes)}
  try        . {path}; echo "Authorization: Bearer $OPENAI_API_KEY" | \\
               curl {base_url}/chat/completions -H @- -H "X-Region: CH" -H "X-PHI: true" \\
               -d '{{"model": "gemma-4", "messages": [{{"role": "user", "content": "Hello"}}]}}'
ready
"""


def _elsewhere(access: Mapping[str, ProviderAccess]) -> str:
    """A line for each provider whose own address is not used: the host, and what may go there."""
    return "".join(
        f"  override   {name} is {each.host}: "
        + (
            f"PHI is sent there, as {variable(name, 'PHI')} says; no agreement is in force\n"
            if each.phi_trusted
            else f"general traffic alone; {variable(name, 'PHI')}=trusted would send PHI\n"
        )
        for name, each in overrides_of(access).items()
    )
