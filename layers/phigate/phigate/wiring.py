"""The composition root: builds a Gateway out of effects. The only reader of the environment.

A provider's key and endpoint are read from variables that begin with PHIGATE_, so that neither a
sourced `local.env` nor a key that lies in the shell for other work changes where data goes.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TextIO

from phigate.core.catalog.overrides import read_override
from phigate.core.catalog.port import CatalogSource
from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.core.ledger.port import Ledger
from phigate.core.receipts.port import ReceiptSigner
from phigate.core.receipts.text_signer import TextSigner
from phigate.core.routing.breaker_port import SharedBreaker
from phigate.core.sandbox.port import Sandboxes
from phigate.core.types import Catalog, Override
from phigate.effects.aws.lambda_event_log import LineWriter
from phigate.effects.signing.receipt_signer import EphemeralKeySigner
from phigate.effects.signing.signer import PublicKey, Signer
from phigate.effects.store.catalog import DynamoCatalog
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.keys import DynamoKeys
from phigate.effects.store.receipts import DynamoReceipts
from phigate.effects.upstream.credentials import AccessSource, ProviderAccess
from phigate.effects.upstream.http_upstream import HttpUpstream
from phigate.effects.zones import SystemZones
from phigate.pipeline.gateway import AnswerCleaner, Gateway, Stack

_VARIABLE = re.compile(r"\{(\w+)\}")
_SIMULATED_KEY = "simulated"


@dataclass(frozen=True, slots=True)
class Parts:
    """What differs between a local stack and one on AWS.

    `catalog` is where rows come from, `access` says how their providers are reached, `key_refused`
    is told of a provider that refused its key. `receipt_root` certifies the keys of receipts;
    `issuer` is the base URL that certificates name; `signer` replaces the one that is built of
    them, and needs no root. `text_signer` and `answer_cleaner` are handed in made: what they load
    is not for processes that sign no texts and serve no math. `no_sandbox` is why math is refused
    where there are no sandboxes. `shared_breaker` is for a stack that several processes serve.
    """

    stack: Stack
    dynamodb: DynamoDB
    ledger: Ledger
    clock: Clock
    event_log: EventLog
    catalog: CatalogSource
    access: AccessSource
    receipt_root: Signer | None
    issuer: str
    signer: ReceiptSigner | None = None
    sandboxes: Sandboxes | None = None
    answer_cleaner: AnswerCleaner | None = None
    no_sandbox: str = "This stack has no sandbox to run programs in."
    key_refused: Callable[[str], None] = lambda _provider: None
    text_signer: TextSigner | None = None
    shared_breaker: SharedBreaker | None = None


def build_gateway(parts: Parts) -> tuple[Gateway, HttpUpstream]:
    """The gateway, and its connection pool to be closed at the end. Needs a running event loop."""
    upstream = HttpUpstream(parts.access)
    receipts = DynamoReceipts(parts.dynamodb, parts.clock)
    gateway = Gateway(
        stack=parts.stack,
        keys=DynamoKeys(parts.dynamodb, parts.clock),
        ledger=parts.ledger,
        signer=parts.signer or _receipt_signer(parts, receipts),
        receipts=receipts,
        catalog=parts.catalog,
        upstream=upstream,
        sandboxes=parts.sandboxes,
        no_sandbox=parts.no_sandbox,
        key_refused=parts.key_refused,
        answer_cleaner=parts.answer_cleaner,
        clock=parts.clock,
        event_log=parts.event_log,
        zones=SystemZones(),
        random_bytes=secrets.token_bytes,
        text_signer=parts.text_signer,
        shared_breaker=parts.shared_breaker,
        counters=lambda: {"dynamodb_calls": dict(parts.dynamodb.calls)},
    )
    return gateway, upstream


def environment() -> Mapping[str, str]:
    """The environment as it is now: under SnapStart it is another one after the restore."""
    return dict(os.environ)


def _receipt_signer(parts: Parts, receipts: DynamoReceipts) -> EphemeralKeySigner:
    if parts.receipt_root is None:
        raise ValueError("receipts need a signer, or a root that certifies its keys")
    return EphemeralKeySigner(
        root=parts.receipt_root,
        store=receipts.put_certificate,
        clock=parts.clock,
        event_log=parts.event_log,
        issuer=parts.issuer,
        stack=parts.stack.name,
    )


def local_catalog(
    dynamodb: DynamoDB,
    clock: Clock,
    event_log: EventLog,
    trusted_keys: Mapping[str, PublicKey],
    access: Mapping[str, ProviderAccess],
) -> DynamoCatalog:
    """The catalog of a local stack, with its overrides and simulated providers marked."""
    return DynamoCatalog(
        dynamodb,
        clock,
        event_log,
        trusted_keys,
        overrides=overrides_of(access),
        simulated=simulated_providers(access),
    )


def local_access(
    catalog: Catalog, simulated_url: str, environ: Mapping[str, str] | None = None
) -> dict[str, ProviderAccess]:
    """How a local stack reaches each provider: as PHIGATE_<NAME>_… say, else simulated. Raises
    MissingVariable, OverrideRefused."""
    variables = os.environ if environ is None else environ
    names = sorted({row.provider for row in catalog.rows})
    return {name: _access(name, catalog, simulated_url, variables) for name in names}


def simulated_providers(access: Mapping[str, ProviderAccess]) -> list[str]:
    """The providers that a local stack simulates."""
    return [name for name, reached in access.items() if reached.is_simulated]


def variable(provider: str, name: str) -> str:
    """The variable of a provider."""
    return f"PHIGATE_{provider.upper().replace('-', '_')}_{name}"


def overrides_of(access: Mapping[str, ProviderAccess]) -> dict[str, Override]:
    """What takes the place of providers' own addresses, by provider."""
    return {name: reached.override for name, reached in access.items() if reached.override}


def _access(
    name: str, catalog: Catalog, simulated_url: str, environ: Mapping[str, str]
) -> ProviderAccess:
    prefix = variable(name, "")
    key, override = environ.get(f"{prefix}API_KEY"), read_override(prefix, environ)
    if override is not None:
        base_url = environ[f"{prefix}BASE_URL"]
        return ProviderAccess(api_key=key or "none", base_url=base_url, override=override)
    if key:
        return ProviderAccess(api_key=key, variables=_variables(name, prefix, catalog, environ))
    base_url = f"{simulated_url}/{name}/v1"
    return ProviderAccess(api_key=_SIMULATED_KEY, base_url=base_url, is_simulated=True)


def _variables(
    name: str, prefix: str, catalog: Catalog, environ: Mapping[str, str]
) -> dict[str, str]:
    """The values of the names in a provider's base URLs. Raises MissingVariable."""
    urls = (
        place.base_url
        for row in catalog.rows
        if row.provider == name
        for place in row.places.values()
    )
    wanted = {variable for url in urls for variable in _VARIABLE.findall(url)}
    missing = sorted(f"{prefix}{v.upper()}" for v in wanted if not environ.get(prefix + v.upper()))
    if missing:
        raise MissingVariable(name, missing)
    return {variable: environ[prefix + variable.upper()] for variable in wanted}


class MissingVariable(Exception):
    """A real provider's endpoint needs a value that the environment does not give."""

    def __init__(self, provider: str, missing: Iterable[str]) -> None:
        super().__init__(f"{provider} has a key but its endpoint also needs {', '.join(missing)}.")


def powertools_writer(stream: TextIO, *, service: str, stack: str) -> LineWriter:
    """What writes a function's lines. Imported for the first of them, which of a call comes after
    its last byte: 14 ms of CPU that a first answer does not wait for."""
    from phigate.effects.aws.powertools_writer import PowertoolsWriter  # noqa: PLC0415

    return PowertoolsWriter(stream, service=service, stack=stack)
