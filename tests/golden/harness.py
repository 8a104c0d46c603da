"""One request through the whole application on doubles, and everything that it left behind.

This module alone knows how a gateway is composed.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from local.__main__ import CATALOG
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.types import REGIONS, Catalog, Json, KeyPolicy
from phigate.http.app import build_app
from tests.fakes import SandboxScript, Script
from tests.pipeline.gateway_harness import KEY, GatewayHarness

CHAT = "/v1/chat/completions"
MATH = "/v1/math/chat/completions"
LONG_BYTES = 2_000


@dataclass(frozen=True)
class Case:
    """A request, what upstreams and sandboxes answer it, and the key and account that send it.

    `times`: how often it is sent; the last answer counts. `then`: a GET after it, in which
    `{receipt}` is the receipt's id, whose answer counts instead.
    """

    body: Json | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    path: str = CHAT
    key: str | None = KEY
    scripts: tuple[Script, ...] = ()
    plays: tuple[SandboxScript, ...] = ()
    policy: KeyPolicy = field(default_factory=KeyPolicy)
    options: Mapping[str, Any] = field(default_factory=dict)
    times: int = 1
    then: str = ""


def answer_of(case: Case) -> Json:
    """What the caller got, and what the gateway sent, wrote down and charged."""
    harness = GatewayHarness(
        *case.scripts,
        **{
            "catalog": repository_catalog(),
            "regions": REGIONS,
            "plays": case.plays,
            "policy": case.policy,
            **case.options,
        },
    )
    response = asyncio.run(_sent(case, harness))
    return {
        "status": response.status_code,
        "headers": _headers(response.headers),
        "body": _body(response),
        "upstream": [
            [sent.row.id, sent.region, _shortened(json.loads(sent.body))]
            for sent in harness.upstream.requests
        ],
        "programs": [list(each) for each in harness.sandboxes.programs],
        "ledger": [list(line) for line in harness.log],
        "records": [_shortened(record) for record in harness.records],
        "log": [[event, fields] for event, fields in harness.event_log.notes],
    }


async def _sent(case: Case, harness: GatewayHarness) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=build_app(harness.gateway))
    named = {} if case.key is None else {"authorization": f"Bearer {case.key}"}
    body = case.body
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx2.AsyncClient(transport=transport, base_url="http://phigate") as http:
        for _ in range(case.times):
            response = await http.request(
                case.method, case.path, content=content, headers={**named, **case.headers}
            )
        if case.then:
            receipt = response.headers.get("x-phi-receipt", "")
            response = await http.get(case.then.format(receipt=receipt), headers=named)
        await harness.gateway.wait_idle()
    return response


def repository_catalog() -> Catalog:
    """The catalog of this repository."""
    texts = {str(p.relative_to(CATALOG)): p.read_text() for p in sorted(CATALOG.rglob("*.toml"))}
    return checked_catalog(canonical_bytes(document_from_texts(texts)))


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    """All of them; an id that stands for no receipt is drawn anew each time."""
    kept = dict(sorted(headers.items()))
    if "x-request-id" in kept and "x-phi-receipt" not in kept:
        kept["x-request-id"] = "drawn"
    return kept


def _body(response: httpx2.Response) -> Any:
    kind = response.headers.get("content-type", "").partition(";")[0]
    read = _READERS.get(kind)
    return _shortened(_long(response.content) if read is None else read(response.content))


def _events(content: bytes) -> list[str]:
    return content.decode().split("\n\n")


def _long(content: bytes) -> str:
    if len(content) <= LONG_BYTES:
        return content.decode("utf-8", "backslashreplace")
    return f"{len(content)} bytes of sha256 {hashlib.sha256(content).hexdigest()}"


def _shortened(value: Any) -> Any:
    """The same with long texts as their hashes, and without what a new key signs each time."""
    if isinstance(value, dict):
        return {
            name: "signed" if name in _SIGNED else _shortened(each) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    return _long(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else value


_SIGNED = ("jws", "receipt", "certificate", "signature", "keys", "signing_address", "kid")
_READERS: Mapping[str, Callable[[bytes], Any]] = {
    "application/json": json.loads,
    "text/event-stream": _events,
}
