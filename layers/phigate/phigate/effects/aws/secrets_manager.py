"""Secrets of AWS Secrets Manager, by one POST each; a secret that is missing or empty is None.

Law: no text of a secret reaches an error or a log line.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
"""

from collections.abc import Mapping
from typing import Any

from phigate.effects.aws.json_service import AwsJson, NoAnswer

_TARGET_PREFIX = "secretsmanager."
_MISSING = "ResourceNotFoundException"  # also a secret that has no value yet
_CURRENT = "AWSCURRENT"


class SecretUnread(Exception):
    """A secret could not be read. The text names the outcome, never the secret's."""


class SecretsManager:
    """Implements effects.aws.provider_credentials.Secrets."""

    def __init__(self, service: AwsJson) -> None:
        self._service = service

    async def text(self, name: str) -> str | None:
        """The secret's text; None where there is none. Raises SecretUnread."""
        found = await self._call("GetSecretValue", name)
        return None if found is None else str(found.get("SecretString") or "").strip() or None

    async def is_filled(self, name: str) -> bool:
        """Whether the secret has a value, without reading it. Raises SecretUnread."""
        found = await self._call("DescribeSecret", name)
        versions = {} if found is None else found.get("VersionIdsToStages") or {}
        return any(_CURRENT in stages for stages in versions.values())

    async def _call(self, operation: str, name: str) -> Mapping[str, Any] | None:
        try:
            answer = await self._service.call(_TARGET_PREFIX + operation, {"SecretId": name})
        except NoAnswer as exc:
            raise SecretUnread(exc.outcome) from None
        if answer.status == 200:
            return answer.members
        if answer.error == _MISSING:
            return None
        raise SecretUnread("unreachable" if answer.status >= 500 else answer.error or "refused")
