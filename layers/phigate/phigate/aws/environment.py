"""What lies outside of a function: its environment, the clock, the log, and where AWS answers."""

import functools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TextIO, TypeVar

from phigate.aws.settings import (
    Function,
    FunctionSettings,
    SettingsRefused,
    function_of,
    read_settings,
)
from phigate.core.clock import Clock
from phigate.effects.aws.credentials import CredentialsOf, NoCredentials, credentials_of
from phigate.effects.aws.json_service import AwsJson
from phigate.effects.aws.lambda_event_log import LambdaEventLog, quiet_libraries
from phigate.effects.aws.secrets_manager import SecretsManager
from phigate.effects.clock import WallClock
from phigate.effects.signing.kms_signer import KmsSigner
from phigate.effects.store.dynamodb import DynamoDB
from phigate.wiring import environment, powertools_writer

SERVICE = "phigate"  # where POWERTOOLS_SERVICE_NAME says nothing
# Powertools raises where one of these holds another word, and it is made for the first line alone.
TRUTHS = ("POWERTOOLS_DEBUG", "POWERTOOLS_DEV", "POWERTOOLS_LOG_DEDUPLICATION_DISABLED")
_TRUTH = re.compile("1|y|yes|t|true|on|0|n|no|f|false|off", re.IGNORECASE)

S_co = TypeVar("S_co", bound=FunctionSettings, covariant=True)


def aws_endpoint(service: str, aws_region: str, fips: bool) -> str:
    """Where a service answers. Where AWS has no FIPS endpoint, that name has no address: nothing
    goes to the other one instead.

    https://aws.amazon.com/compliance/fips/
    """
    return f"https://{service}{'-fips' if fips else ''}.{aws_region}.amazonaws.com"


@dataclass(frozen=True, slots=True)
class LambdaEnvironment:
    """The real one by default. `base_url` replaces a provider's own endpoint, for tests alone."""

    environ: Callable[[], Mapping[str, str]] = environment
    endpoint: Callable[[str, str, bool], str] = aws_endpoint
    clock: Clock = field(default_factory=WallClock)
    log: TextIO = field(default_factory=lambda: sys.stdout)
    base_url: Callable[[str], str | None] = lambda _provider: None

    def event_log(self, function: Function) -> LambdaEventLog:
        """Where a function's lines go. What lives over invocations keeps it.

        Raises SettingsRefused."""
        environ = self.environ()
        for name in TRUTHS:
            if name in environ and _TRUTH.fullmatch(environ[name]) is None:
                raise SettingsRefused(
                    f"{function} does not start: {name} is neither true nor false"
                )
        quiet_libraries()
        stack = environ.get("PHIGATE_STACK", "")
        service = environ.get("POWERTOOLS_SERVICE_NAME") or SERVICE
        return LambdaEventLog(
            functools.partial(powertools_writer, self.log, service=service, stack=stack),
            self.clock,
            function=function,
            stack=stack,
            version=environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
            is_cold=environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "provisioned-concurrency",
        )


class AwsClients(Generic[S_co]):
    """The services of one function, made after its start; `model` is that of its settings.

    Nothing is fetched until it is used. Raises SettingsRefused, NoCredentials.
    """

    def __init__(
        self,
        model: type[S_co],
        lambda_environment: LambdaEnvironment,
        event_log: LambdaEventLog | None = None,
    ) -> None:
        environ = lambda_environment.environ()
        self.lambda_environment = lambda_environment
        self.clock = lambda_environment.clock
        self.function = function_of(model)
        self.event_log = event_log or lambda_environment.event_log(self.function)
        try:
            self._settings = read_settings(environ, model)
            self._fips = uses_fips(environ)
            self.credentials: CredentialsOf = credentials_of(environ, self.clock, self.event_log)
        except (NoCredentials, SettingsRefused) as exc:
            self.event_log.record("start_failed", kind=type(exc).__name__, reason=str(exc))
            raise
        self.dynamodb = DynamoDB(
            table=self.settings.common.table,
            endpoint=self.endpoint("dynamodb"),
            region=self.settings.common.aws_region,
            credentials=self.credentials,
            clock=self.clock,
        )
        self._services: dict[str, AwsJson] = {}

    @property
    def settings(self) -> S_co:
        """Read once, at the start."""
        return self._settings

    def kms(self, key_id: str) -> KmsSigner:
        """A key that KMS holds; all keys share the connections."""
        return KmsSigner(self._service("kms"), key_id)

    def secrets(self) -> SecretsManager:
        """Secrets Manager."""
        return SecretsManager(self._service("secretsmanager"))

    async def close(self) -> None:
        """Close every socket."""
        for service in self._services.values():
            await service.close()
        await self.dynamodb.close()

    def _service(self, name: str) -> AwsJson:
        if name not in self._services:
            self._services[name] = AwsJson(
                service=name,
                endpoint=self.endpoint(name),
                region=self.settings.common.aws_region,
                credentials=self.credentials,
                clock=self.clock,
            )
        return self._services[name]

    def endpoint(self, service: str) -> str:
        """Where a service answers this function."""
        return self.lambda_environment.endpoint(
            service, self.settings.common.aws_region, self._fips
        )


def uses_fips(environ: Mapping[str, str]) -> bool:
    """Whether AWS is reached over its FIPS endpoints alone, as boto3 reads it. Raises
    SettingsRefused: what boto3 would take for a no may be meant as a yes.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
    """
    said = environ.get("AWS_USE_FIPS_ENDPOINT", "").lower()
    if said not in ("", "true", "false"):
        raise SettingsRefused("AWS_USE_FIPS_ENDPOINT is neither true nor false")
    return said == "true"
