"""The ASGI application of chat, math and directory: the gateway, built when its life begins.

Law: the factory reads the settings and makes nothing random; sockets, keys, secrets and the catalog
come with the lifespan, which under SnapStart begins after the restore.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from phigate.aws.environment import AwsClients, LambdaEnvironment
from phigate.aws.settings import DirectorySettings, ServedSettings, SettingsRefused, function_of
from phigate.core.errors import Overloaded
from phigate.core.receipts.port import SigningKey
from phigate.core.receipts.text_signer import TextSigner
from phigate.core.sandbox.port import Sandboxes
from phigate.core.types import Catalog, Row
from phigate.effects.aws.credentials import NoCredentials
from phigate.effects.aws.provider_credentials import ProviderCredentials
from phigate.effects.aws.secrets_manager import SecretUnread
from phigate.effects.aws.stack_catalog import StackCatalog
from phigate.effects.loop_failures import record_loop_failures
from phigate.effects.signing.signer import PublicKey, SigningFailed
from phigate.effects.store.breaker import DynamoBreaker
from phigate.effects.store.catalog import DynamoCatalog
from phigate.effects.store.ledger import DynamoLedger
from phigate.http.asgi import GatewayApp
from phigate.http.chat import Receive, Scope, Send
from phigate.pipeline.gateway import AnswerCleaner, Gateway, Stack
from phigate.wire.jwk import ec_public_key
from phigate.wiring import Parts, build_gateway

# API Gateway ends a buffered integration after 29 s; two are for the receipt, the settle, the way.
BUFFERED_TIMEOUT_S = 27.0


@dataclass(frozen=True, slots=True)
class FunctionParts:
    """What one function has that the others have not. `no_sandbox` is why math is refused where
    there are no sandboxes; `calls` are the rows whose providers it calls; `drained` is awaited
    after each call."""

    sandboxes: Sandboxes | None = None
    no_sandbox: str = ""
    calls: Callable[[Row], bool] = lambda _row: True
    answer_cleaner: AnswerCleaner | None = None
    text_signer: TextSigner | None = None
    wait_idle: Callable[[], Awaitable[None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None


S = TypeVar("S", bound=ServedSettings)
MakeParts = Callable[[AwsClients[S]], Awaitable[FunctionParts]]


class FunctionServer:
    """An ASGI application with a lifespan. `make_app` gives it its endpoints."""

    def __init__(
        self,
        model: type[S],
        lambda_environment: LambdaEnvironment,
        make_app: Callable[[Gateway], GatewayApp],
        make_parts: MakeParts[S],
    ) -> None:
        aws = AwsClients(model, lambda_environment)
        self._aws: AwsClients[ServedSettings] = aws
        self._make_app = make_app
        self._make_parts = functools.partial(make_parts, aws)
        self._app: GatewayApp | None = None
        self._gateway: Gateway | None = None
        self._function_parts = FunctionParts()
        self._stack = contextlib.AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._app is None or self._gateway is None:
            raise RuntimeError("a call before the lifespan began")
        with self._aws.event_log.invocation(*_invocation(scope)):
            await self._aws.credentials.fresh()
            try:
                await self._app(scope, receive, send)
            finally:
                # Before the environment freezes: what outlives a request settles or stops.
                await self._gateway.wait_idle()
                if self._function_parts.wait_idle is not None:
                    await self._function_parts.wait_idle()

    async def start(self) -> None:
        """Begin: sockets, keys, secrets, catalog. Raises what stops the start, told in a line."""
        record_loop_failures(asyncio.get_running_loop(), self._aws.event_log)
        try:
            self._app = await self._stack.enter_async_context(self._running())
        except Exception as exc:
            reason = str(exc) if isinstance(exc, STARTS_REFUSED) else ""
            self._aws.event_log.record("start_failed", kind=type(exc).__name__, reason=reason)
            raise

    async def stop(self) -> None:
        """End; twice is once."""
        self._app = None
        await self._stack.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan. A start that failed ends the environment."""
        await receive()
        try:
            await self.start()
        except Exception as exc:
            # Raised, it would count as an application that knows no lifespans.
            await send({"type": "lifespan.startup.failed", "message": type(exc).__name__})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[GatewayApp]:
        aws = self._aws
        try:
            await aws.credentials.fresh()
            trusted, self._function_parts = await asyncio.gather(
                _trusted_keys(aws), self._make_parts()
            )
            credentials = _provider_credentials(aws, self._function_parts)
            catalog = _stack_catalog(aws, trusted, credentials)
            gateway, upstream = build_gateway(
                _parts(aws, catalog, credentials, self._function_parts)
            )
            self._gateway = gateway
            try:
                await _check_catalog(catalog, aws.settings)
                yield self._make_app(gateway)
            finally:
                await gateway.wait_idle()
                await upstream.close()
        finally:
            if self._function_parts.close is not None:
                await self._function_parts.close()
            await aws.close()


class RegionRefused(Exception):
    """This stack stands in an AWS region in which one of its jurisdictions may not be served."""


# Their texts name settings, regions and outcomes; of anything else the class alone is told.
STARTS_REFUSED = (NoCredentials, RegionRefused, SecretUnread, SettingsRefused, SigningFailed)


def region_fault(settings: ServedSettings, catalog: Catalog) -> str | None:
    """Why this catalog may not be served here; None when it may."""
    aws_region = settings.common.aws_region
    for name in settings.server.residency.jurisdictions:
        defaults = catalog.regions.get(name)
        if defaults is None:
            return f"the catalog does not know {name}"
        if aws_region not in defaults.aws_regions:
            allowed = ", ".join(defaults.aws_regions)
            return f"{name} is served from {allowed}, and this stack stands in {aws_region}"
    return None


async def _check_catalog(served: StackCatalog, settings: ServedSettings) -> None:
    """A wrong region stops the start. A catalog that is not there yet does not: calls are refused
    until it is. Raises RegionRefused."""
    try:
        view = await served.inner.current()
    except Overloaded:
        return
    if (fault := region_fault(settings, view.catalog)) is not None:
        raise RegionRefused(f"{function_of(type(settings))} does not start: {fault}")
    await served.current()


def _provider_credentials(
    aws: AwsClients[ServedSettings], function_parts: FunctionParts
) -> ProviderCredentials:
    return ProviderCredentials(
        aws.secrets(),
        prefix=aws.settings.secrets,
        clock=aws.clock,
        event_log=aws.event_log,
        calls=function_parts.calls,
        base_url=aws.lambda_environment.base_url,
    )


def _stack_catalog(
    aws: AwsClients[ServedSettings], trusted: dict[str, PublicKey], credentials: ProviderCredentials
) -> StackCatalog:
    settings = aws.settings
    return StackCatalog(
        DynamoCatalog(aws.dynamodb, aws.clock, aws.event_log, trusted),
        providers_without_key=credentials.providers_without_key,
        fault_of=lambda catalog: region_fault(settings, catalog),
        event_log=aws.event_log,
    )


def stack_of(settings: ServedSettings) -> Stack:
    """The stack as the gateway knows it. Without streaming every deadline is API Gateway's."""
    server = settings.server
    stack = Stack(
        name=settings.common.stack,
        region=server.residency.region,
        regions=server.residency.jurisdictions,
        unproven_allowed=server.unproven_allowed,
    )
    if isinstance(settings, DirectorySettings):
        return stack  # it answers no chat
    stack = replace(stack, receipts_required=settings.receipts.required)
    if settings.is_streaming:
        return stack
    return replace(stack, json_timeout_s=BUFFERED_TIMEOUT_S, stream_timeout_s=BUFFERED_TIMEOUT_S)


def _parts(
    aws: AwsClients[ServedSettings],
    catalog: StackCatalog,
    credentials: ProviderCredentials,
    function_parts: FunctionParts,
) -> Parts:
    settings = aws.settings
    receipts = None if isinstance(settings, DirectorySettings) else settings.receipts
    return Parts(
        stack=stack_of(settings),
        dynamodb=aws.dynamodb,
        ledger=DynamoLedger(aws.dynamodb, aws.clock),
        clock=aws.clock,
        event_log=aws.event_log,
        catalog=catalog,
        access=credentials,
        key_refused=credentials.key_refused,
        receipt_root=None if receipts is None else aws.kms(receipts.key),
        signer=NullReceiptSigner() if receipts is None else None,
        issuer=settings.server.issuer,
        sandboxes=function_parts.sandboxes,
        no_sandbox=function_parts.no_sandbox,
        answer_cleaner=function_parts.answer_cleaner,
        text_signer=function_parts.text_signer,
        shared_breaker=DynamoBreaker(aws.dynamodb, aws.clock, aws.event_log),
    )


class NullReceiptSigner:
    """The ReceiptSigner of a function that writes no receipts."""

    def begin(self, until_s: float) -> None:
        """See ReceiptSigner."""

    async def key(self, until_s: float) -> SigningKey:
        """See ReceiptSigner. Raises Overloaded."""
        raise Overloaded("This function signs no receipts.")

    async def renew(self) -> None:
        """See ReceiptSigner."""


async def _trusted_keys(aws: AwsClients[ServedSettings]) -> dict[str, PublicKey]:
    """The key that signs catalogs, by its name. Raises SigningFailed."""
    jwk = await aws.kms(aws.settings.catalog_key).jwk()
    return {jwk["kid"]: ec_public_key(jwk)}


def _invocation(scope: Scope) -> tuple[str, str]:
    """Lambda's name of the invocation, however the event came in; its trace where it is told."""
    streamed = scope.get("extensions", {}).get("aws.lambda")
    if streamed is not None:
        return str(streamed["request_id"]), str(streamed["trace_id"])
    return str(getattr(scope.get("aws.context"), "aws_request_id", "")), ""
