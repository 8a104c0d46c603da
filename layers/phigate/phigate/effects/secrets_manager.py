"""Secrets of AWS Secrets Manager, by one POST each; a secret that is missing or empty is None.

Law: no text of a secret reaches an error or a log line.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

from phigate.effects.aws_json import AwsJson, NoAnswer

_TARGET = "secretsmanager.GetSecretValue"
_MISSING = "ResourceNotFoundException"  # also a secret that has no value yet


class SecretUnread(Exception):
    """A secret could not be read. The text names the outcome, never the secret's."""


class SecretsManager:
    """Implements effects.served_catalog.Secrets."""

    def __init__(self, service: AwsJson) -> None:
        self._service = service

    async def text(self, name: str) -> str | None:
        """The secret's text; None where there is none. Raises SecretUnread."""
        try:
            answer = await self._service.call(_TARGET, {"SecretId": name})
        except NoAnswer as exc:
            raise SecretUnread(exc.outcome) from None
        if answer.status == 200:
            return str(answer.members.get("SecretString") or "").strip() or None
        if answer.error == _MISSING:
            return None
        raise SecretUnread("unreachable" if answer.status >= 500 else answer.error or "refused")
