"""What lies outside of a function: its environment, the clock, the log, and where AWS answers."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TextIO, TypeVar

from phigate.aws.settings import (
    FunctionSettings,
    SettingsRefused,
    function_of,
    read_settings,
)
from phigate.core.clock import Clock
from phigate.effects.aws.credentials import CredentialsOf, NoCredentials, credentials_of
from phigate.effects.aws.json_service import AwsJson
from phigate.effects.aws.lambda_event_log import LambdaEventLog
from phigate.effects.aws.secrets_manager import SecretsManager
from phigate.effects.clock import WallClock
from phigate.effects.signing.kms_signer import KmsSigner
from phigate.effects.store.dynamodb import DynamoDB
from phigate.wiring import environment

S_co = TypeVar("S_co", bound=FunctionSettings, covariant=True)


def aws_endpoint(service: str, aws_region: str) -> str:
    """Where a service answers."""
    return f"https://{service}.{aws_region}.amazonaws.com"


@dataclass(frozen=True, slots=True)
class LambdaEnvironment:
    """The real one by default. `base_url` replaces a provider's own endpoint, for tests alone."""

    environ: Callable[[], Mapping[str, str]] = environment
    endpoint: Callable[[str, str], str] = aws_endpoint
    clock: Clock = field(default_factory=WallClock)
    log: TextIO = field(default_factory=lambda: sys.stdout)
    base_url: Callable[[str], str | None] = lambda _provider: None


class AwsClients(Generic[S_co]):
    """The services of one function, made after its start; `model` is that of its settings.

    Nothing is fetched until it is used. Raises SettingsRefused, NoCredentials.
    """

    def __init__(self, model: type[S_co], outside: LambdaEnvironment) -> None:
        environ = outside.environ()
        self.outside = outside
        self.clock = outside.clock
        self.function = function = function_of(model)
        self.event_log = LambdaEventLog(
            outside.log, outside.clock, function=function, stack=environ.get("PHIGATE_STACK", "")
        )
        try:
            self._settings = read_settings(environ, model)
            self.credentials: CredentialsOf = credentials_of(environ, self.clock, self.event_log)
        except (NoCredentials, SettingsRefused) as exc:
            self.event_log.record("start_failed", kind=type(exc).__name__, reason=str(exc))
            raise
        self.dynamodb = DynamoDB(
            table=self.settings.common.table,
            endpoint=self._endpoint("dynamodb"),
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
            service.close()
        await self.dynamodb.close()

    def _service(self, name: str) -> AwsJson:
        if name not in self._services:
            self._services[name] = AwsJson(
                service=name,
                endpoint=self._endpoint(name),
                region=self.settings.common.aws_region,
                credentials=self.credentials,
                clock=self.clock,
            )
        return self._services[name]

    def _endpoint(self, service: str) -> str:
        return self.outside.endpoint(service, self.settings.common.aws_region)
