"""One request through the whole application on doubles, and everything that it left behind.

This module alone knows how a gateway is composed: what the requests need of it, they take from
here, and a renamed class or a moved one is mended here alone.
"""

import ast
import asyncio
import functools
import hashlib
import inspect
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import httpx2

import phigate
from phigate.core.attributes import flag
from phigate.core.catalog.reach import overridden_row
from phigate.core.catalog.snapshot import read_catalog
from phigate.core.errors import Overloaded, PhigateError, SandboxError, UpstreamFailed
from phigate.core.ledger.account import ACCOUNT_SK, account_pk
from phigate.core.ledger.keys import make_key
from phigate.core.ledger.port import HoldRequest
from phigate.core.receipts.members import RECORD
from phigate.core.request.fields import FIELDS
from phigate.core.routing import gate
from phigate.core.routing.route import FALLBACK_REASONS
from phigate.core.sandbox.port import RunResult
from phigate.core.types import REGIONS, Catalog, Json, KeyPolicy, Override, Row, Status
from phigate.core.upstream import Fetched
from phigate.http.app import build_app
from tests import builders
from tests.builders import make_agreement, make_catalog, make_place, make_price, make_row
from tests.fakes import SandboxScript, Script, StaticCatalog
from tests.pipeline.await_points import failing, watch
from tests.pipeline.gateway_harness import (
    ACCOUNT,
    KEY,
    GatewayHarness,
    answers,
    chunk,
    event,
    fails,
    streams,
)

__all__ = [
    "CATALOGS",
    "CHAT",
    "DAY_S",
    "ERROR_CODES",
    "FALLBACKS",
    "KEY",
    "MATH",
    "MEMBERS",
    "NOW_S",
    "PRODUCT",
    "RECORD_MEMBERS",
    "REJECTIONS",
    "SITUATIONS",
    "STRANGER",
    "Case",
    "Fetched",
    "Json",
    "KeyPolicy",
    "RunResult",
    "SandboxError",
    "Script",
    "UpstreamFailed",
    "answer_of",
    "answers",
    "chunk",
    "event",
    "fails",
    "streams",
]

CHAT = "/v1/chat/completions"
MATH = "/v1/math/chat/completions"
NOW_S = int(builders.NOW_S)
DAY_S = builders.DAY_S
STRANGER = make_key("live", bytes(range(1, 33)))  # a key of the right form that nobody knows
MEMBERS = tuple(FIELDS)  # of a request, those of its objects with a dot
CATALOG_JSON = Path(__file__).parent / "catalog.json"
PRODUCT = Path(phigate.__file__).parent
LONG_BYTES = 2_000
NEWEST = 8  # of what many requests leave behind, so much is told

Upstreams = tuple[Script, ...]


@dataclass(frozen=True)
class Case:
    """A request, what upstreams and sandboxes answer it, and the key and account that send it.

    `again`: further headers, whose names may stand twice. `arrives`: whether the body is whole.
    `reads`: of so many pieces of the answer the caller takes the last, and is gone. `gets` answer
    the gateway's own GETs. `situation` names what is done to the gateway before, and `catalog` the
    catalog that it serves. `times`: how often the request is sent; the last answer counts, before
    which `waits_s` pass. `then`: `thens` GETs after it, with `then_headers`, in which `{receipt}`
    is the receipt's id; the last answer counts instead.
    """

    body: Json | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    path: str = CHAT
    key: str | None = KEY
    scripts: Upstreams = ()
    plays: tuple[SandboxScript, ...] = ()
    policy: KeyPolicy = field(default_factory=KeyPolicy)
    options: Mapping[str, Any] = field(default_factory=dict)
    again: tuple[tuple[str, str], ...] = ()
    arrives: Literal["whole", "late", "cut"] = "whole"
    reads: int | None = None
    gets: tuple[Fetched | UpstreamFailed, ...] = ()
    situation: str = ""
    catalog: str = "recorded"
    times: int = 1
    waits_s: float = 0
    then: str = ""
    thens: int = 1
    then_headers: Mapping[str, str] = field(default_factory=dict)


def answer_of(case: Case) -> Json:
    """What the caller got, and what the gateway sent, wrote down and charged."""
    harness = GatewayHarness(
        *case.scripts,
        **{
            "catalog": CATALOGS[case.catalog](),
            "regions": REGIONS,
            "plays": case.plays,
            "policy": case.policy,
            **case.options,
        },
    )
    harness.upstream.gets = list(case.gets)
    response, is_whole = asyncio.run(_sent(case, harness))
    harness.check_receipts()
    account = harness.account()
    body = _body(response)
    records = [_shortened(record) for record in harness.records[-NEWEST:]]
    line = {
        "status": response.status_code,
        "headers": _headers(response.headers),
        "body": body,
        "body_sha256": _hash_of(response, body),
        **({} if is_whole else {"is_whole": False}),
        "upstream": [
            [sent.row.id, sent.region, sent.path, dict(sent.headers), _shortened(_sent_body(sent))]
            for sent in harness.upstream.requests[-NEWEST:]
        ],
        "fetched": [[get.row.id, get.region, get.path] for get in harness.upstream.fetches],
        "keys_refused": harness.refused_keys,
        "programs": [list(each) for each in harness.sandboxes.programs],
        "sandboxes": [len(harness.sandboxes.opened), harness.sandboxes.closed],
        "ledger": [list(line) for line in harness.log[-3 * NEWEST :]],
        "account": [account[name] for name in ("avail", "held", "spent")],
        "records": records,
        "log": [[event, fields] for event, fields in harness.event_log.notes[-NEWEST:]],
    }
    return {name: value for name, value in line.items() if value not in _USUAL}


async def _sent(case: Case, harness: GatewayHarness) -> tuple[httpx2.Response, bool]:
    if case.situation:
        await SITUATIONS[case.situation](harness)
    _GATEWAY.serving = harness.gateway
    app = _Line(_app(), case)
    named = [] if case.key is None else [("authorization", f"Bearer {case.key}")]
    headers = [*named, *case.headers.items(), *case.again]
    body = case.body
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://phigate") as http:
        for number in range(case.times):
            if number == case.times - 1:
                harness.pass_time(case.waits_s)
            response = await http.request(case.method, case.path, content=content, headers=headers)
        if case.then:
            receipt = response.headers.get("x-phi-receipt", "")
            path = case.then.format(receipt=receipt)
            for _ in range(case.thens):
                response = await http.get(path, headers=[*named, *case.then_headers.items()])
        await harness.gateway.wait_idle()
    return response, app.is_whole


class _ServingGateway:
    """The gateway of the request under way, whatever it is asked for: the application is built
    once, since the framework takes 50 ms for it."""

    serving: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.serving, name)


_GATEWAY: Any = _ServingGateway()


@functools.cache
def _app() -> Callable[..., Awaitable[None]]:
    return build_app(_GATEWAY)


class _Line:
    """The way between the caller and the application: a body may come late or be cut, and the
    caller may go before the answer's end. What the application leaves open is closed here."""

    def __init__(self, app: Callable[..., Awaitable[None]], case: Case) -> None:
        self.is_whole = False  # the answer that went last
        self._app = app
        self._case = case

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        pieces = self._pieces(receive)
        left = self._case.reads
        started = self.is_whole = False

        async def receives() -> Any:
            return await anext(pieces)

        async def sends(message: Any) -> None:
            nonlocal left, started
            is_body = message["type"] == "http.response.body"
            if left is not None and is_body:
                if left <= 0:
                    raise OSError("the caller has gone")
                left -= 1
            started = True
            self.is_whole = is_body and not message.get("more_body", False)
            await send(message)

        await self._app(scope, receives, sends)
        if not self.is_whole:
            if not started:
                await send({"type": "http.response.start", "status": 499, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self, receive: Any) -> AsyncIterator[Any]:
        if self._case.arrives != "whole":
            yield {"type": "http.request", "body": b"{", "more_body": True}
            if self._case.arrives == "late":
                await asyncio.Event().wait()
            yield {"type": "http.disconnect"}
        while True:
            yield await receive()


# --- What has happened before the request comes -------------------------------------------------

Situation = Callable[[GatewayHarness], Awaitable[None]]


def _overloaded() -> Exception:
    return Overloaded("It did not answer in time.")


def _bug() -> Exception:
    return ValueError("with words of the request")


def _fails_at(point: str, error: Callable[[], Exception] = _overloaded) -> Situation:
    """An effect whose answer does not come: at a point of tests.pipeline.await_points."""

    async def happen(harness: GatewayHarness) -> None:
        watch(harness, failing(point, error))

    return happen


def _is_without(**parts: Any) -> Situation:
    async def happen(harness: GatewayHarness) -> None:
        harness.use(**parts)

    return happen


async def _disables_key(harness: GatewayHarness) -> None:
    harness.ledger.dynamo.items[account_pk(ACCOUNT), ACCOUNT_SK]["k"]["M"]["k1"] = flag(False)


async def _fills_account(harness: GatewayHarness) -> None:
    for number in range(200):
        await harness.ledger.hold(
            HoldRequest(
                account=ACCOUNT,
                key_id="k1",
                id=f"AAAAA{number:011d}",
                micros=1,
                expires_at_s=NOW_S + 600,
                now_s=NOW_S,
                rpm=1_000,
            )
        )


async def _ages_catalog(harness: GatewayHarness) -> None:
    catalog = (await harness.gateway.catalog.current()).catalog
    harness.use(catalog=StaticCatalog(catalog, NOW_S - 4_000))


async def _certifies_nothing(harness: GatewayHarness) -> None:
    harness.root.fails = True


async def _allows_unproven(harness: GatewayHarness) -> None:
    harness.use(stack=replace(harness.gateway.stack, unproven_allowed=frozenset({"*"})))


async def _waits_briefly(harness: GatewayHarness) -> None:
    harness.use(stack=replace(harness.gateway.stack, body_timeout_s=0.01))


SITUATIONS: Mapping[str, Situation] = {
    "the key is disabled": _disables_key,
    "200 requests are under way": _fills_account,
    "the catalog is old": _ages_catalog,
    "no receipt can be certified": _certifies_nothing,
    "residency need not be proven": _allows_unproven,
    "a body has to be there at once": _waits_briefly,
    "there is no sandbox": _is_without(sandboxes=None),
    "there is no math": _is_without(answer_cleaner=None),
    "nobody signs text": _is_without(text_signer=None),
    "the key store is away": _fails_at("before keys.lookup"),
    "the catalog is away": _fails_at("before catalog.current"),
    "the hold is not written": _fails_at("before ledger.hold"),
    "the hold is written unheard": _fails_at("after ledger.hold"),
    "the hold is not extended": _fails_at("before ledger.extend_hold"),
    "the receipt is not written": _fails_at("before ledger.put_receipt"),
    "the receipt is written unheard": _fails_at("after ledger.put_receipt"),
    "the hold is not settled": _fails_at("before ledger.settle"),
    "the account is away": _fails_at("before ledger.account"),
    "the receipts are away": _fails_at("before ledger.receipt"),
    "no sandbox can be opened": _fails_at("before sandboxes.open"),
    "a bug in the keys": _fails_at("before keys.lookup", _bug),
    "a bug in the catalog": _fails_at("before catalog.current", _bug),
    "a bug before the hold": _fails_at("before ledger.hold", _bug),
    "a bug behind the hold": _fails_at("after ledger.hold", _bug),
    "a bug in extending": _fails_at("before ledger.extend_hold", _bug),
    "a bug before the receipt": _fails_at("before ledger.put_receipt", _bug),
    "a bug behind the receipt": _fails_at("after ledger.put_receipt", _bug),
    "a bug in settling": _fails_at("before ledger.settle", _bug),
    "a bug in certifying": _fails_at("before signer.key", _bug),
    "a bug in renewing": _fails_at("before signer.renew", _bug),
}

# --- The catalogs -------------------------------------------------------------------------------


@functools.cache
def _catalog_as_recorded() -> Catalog:
    """The repository's catalog at the time of the first recording: what is changed in it later, a
    price say, changes no answer here."""
    return read_catalog(CATALOG_JSON.read_bytes())


@functools.cache
def _odd_catalog() -> Catalog:
    """A row of each kind that the gate or an adapter treats in its own way; each is dearer than
    the one before, and `plain` is like any other."""
    rows = [
        replace(row, price=make_price(1_000_000 * (1 + n), 2_000_000 * (1 + n)))
        for n, row in enumerate(_odd_rows())
    ]
    aliases = {"enclaves": ("enclave-one", "enclave-two"), "either": ("enclave-one", "plain-one")}
    aliases["mixed"] = ("unagreed-one", "plain-one")
    return make_catalog(rows, aliases=aliases, sandboxes=("CH",))


def _odd_rows() -> list[Row]:
    ended = make_agreement(id="ended", expires_at_s=NOW_S)
    ahead = make_agreement(id="ahead", effective_at_s=NOW_S + 1)
    brief = make_agreement(id="brief", expires_at_s=NOW_S + 60)
    abroad = make_agreement(id="abroad", regions=frozenset({"EU"}))
    unproven = {"CH": make_place(residency="unproven")}
    pinned = {"CH": make_place(pins={"inference_geo": "ch"})}
    return [
        make_row("plain-one"),
        make_row("staged-one", status="staged"),
        make_row("alpha-one", status="alpha"),
        make_row("keyless-one", status="no_key"),
        overridden_row(make_row("moved-one"), Override("moved.test")),
        overridden_row(make_row("trusted-one"), Override("trusted.test", phi_trusted=True)),
        make_row("simulated-one", is_simulated=True),
        make_row("blind-one", modalities=frozenset({"text"})),
        make_row("toolless-one", supports_tools=False),
        make_row("schemaless-one", supports_json_schema=False),
        make_row("short-one", tokens_out_max=100, tokens_out_default=50),
        make_row("unagreed-one", agreement=None),
        make_row("ended-one", agreement=ended),
        make_row("ahead-one", agreement=ahead),
        make_row("brief-one", agreement=brief),
        make_row("abroad-one", agreement=abroad),
        make_row("keeping-one", agreement=make_agreement(zero_retention=False)),
        make_row("training-one", agreement=make_agreement(no_training=False)),
        make_row("unproven-one", places=unproven),
        make_row("pinned-one", places=pinned),
        make_row("away-one", places={"EU": make_place()}),
        make_row("enclave-one", confidential=True),
        make_row("enclave-two", confidential=True, model="phala/qwen3.5-27b"),
        make_row("dropping-one", drops=frozenset({"seed", "stop", "reasoning_effort"})),
        make_row("salted-one", cache_key_name="cache_salt", cache_is_per_key=True),
        make_row("thinking-one", model_tier="thinking", max_tokens_name="max_completion_tokens"),
        make_row("claude-one", dialect="anthropic", auth="x-api-key"),
        make_row("claude-new", dialect="anthropic", auth="x-api-key", api_version="2026-10-21"),
        make_row("claude-plain", dialect="anthropic", supports_json_schema=False),
    ]


CATALOGS: Mapping[str, Callable[[], Catalog]] = {
    "recorded": _catalog_as_recorded,
    "odd": _odd_catalog,
    "empty": functools.cache(lambda: make_catalog(())),
}

# --- What stands in a line ----------------------------------------------------------------------

_USUAL: tuple[list[int], ...] = ([], [0, 0])  # is left out


def _sent_body(sent: Any) -> Any:
    return json.loads(sent.body)


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    """All of them; an id that stands for no receipt is drawn anew each time."""
    kept = dict(sorted(headers.items()))
    if "x-request-id" in kept and "x-phi-receipt" not in kept:
        kept["x-request-id"] = "drawn"
    return {name: _SIGNED_HEADERS.get(name, value) for name, value in kept.items()}


def _body(response: httpx2.Response) -> Any:
    if not response.content:
        return ""
    kind = response.headers.get("content-type", "").partition(";")[0]
    read = _READERS.get(kind)
    return _shortened(_long(response.content) if read is None else read(response.content))


def _events(content: bytes) -> list[str]:
    return content.decode().split("\n\n")


def _long(content: bytes) -> str:
    if len(content) <= LONG_BYTES:
        return content.decode("utf-8", "backslashreplace")
    return f"{len(content)} bytes of sha256 {hashlib.sha256(content).hexdigest()}"


def _hash_of(response: httpx2.Response, body: Any) -> str:
    """Of a body in which something is signed, the bytes are others each time."""
    is_signed = '"signed"' in json.dumps(body)
    return "signed" if is_signed else hashlib.sha256(response.content).hexdigest()[:16]


def _shortened(value: Any) -> Any:
    """The same with long texts as their hashes, and without what a new key signs each time."""
    if isinstance(value, dict):
        return {
            name: "signed" if name in _SIGNED else _shortened(each) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    if not isinstance(value, str):
        return value
    return value[:16] if _SHA256.fullmatch(value) else _long(value.encode("utf-8", "surrogatepass"))


_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIGNED = ("jws", "receipt", "certificate", "signature", "keys", "signing_address", "kid")
_SIGNED_HEADERS = {"x-phi-certificate": "signed"}
_READERS: Mapping[str, Callable[[bytes], Any]] = {
    "application/json": json.loads,
    "application/jose": lambda _: "signed",
    "text/event-stream": _events,
}


def _rules() -> frozenset[str]:
    """What the rules of the gate say of a row that they remove."""
    rules = (
        node
        for node in ast.parse(inspect.getsource(gate)).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_")
    )
    returns = (n for rule in rules for n in ast.walk(rule) if isinstance(n, ast.Return))
    said = (name for found in returns for name in _names_in(found.value))
    removing = {*get_args(Status)} - {"live", "overridden"}  # of an overridden row its own counts
    return frozenset(said) | {f"status_{status}" for status in removing}


def _names_in(value: ast.expr | None) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(name)):
            yield name
        case ast.IfExp(body=one, orelse=other):
            yield from (*_names_in(one), *_names_in(other))


def _codes(error: type[PhigateError]) -> frozenset[str]:
    below = [_codes(kind) for kind in error.__subclasses__()]
    return frozenset({error.code}).union(*below)


REJECTIONS = _rules()
FALLBACKS = frozenset(reason for _, reason in FALLBACK_REASONS) | {"upstream_failed"}
RECORD_MEMBERS = frozenset(RECORD)
ERROR_CODES = _codes(PhigateError)  # every one that an answer may have
