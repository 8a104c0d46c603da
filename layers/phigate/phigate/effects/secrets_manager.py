"""Secrets of AWS Secrets Manager, by one POST each; a secret that is missing or empty is None.

Law: nothing is asked at init, and no text of a secret reaches an error or a log line.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

from urllib.parse import urlsplit

import orjson

from phigate.core.limits import SOCKET_UNUSED_MAX_S
from phigate.core.protocols import Clock
from phigate.effects import sigv4
from phigate.effects.http1 import Posts

CONNECT_TIMEOUT_S = 1.0  # in the same region it connects in a few milliseconds
CALL_TIMEOUT_S = 2.0  # a secret takes some 20 ms; a restore has 9 s for everything
CONNECTIONS_MAX = 8  # one for each provider
_TARGET = "secretsmanager.GetSecretValue"
_CONTENT_TYPE = "application/x-amz-json-1.1"
_MISSING = "ResourceNotFoundException"  # also a secret that has no value yet


class SecretUnread(Exception):
    """A secret could not be read. The text names the outcome, never the secret's."""


class SecretsManager:
    """The client. `close` it at the end."""

    def __init__(
        self, *, endpoint: str, region: str, credentials: sigv4.CredentialsSource, clock: Clock
    ) -> None:
        self._clock = clock
        self._signer = sigv4.Signer(
            host=urlsplit(endpoint).netloc,
            region=region,
            service="secretsmanager",
            source=credentials,
            content_type=_CONTENT_TYPE,
        )
        self._posts = Posts(
            endpoint=endpoint,
            clock=clock,
            connections_max=CONNECTIONS_MAX,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            unused_max_s=SOCKET_UNUSED_MAX_S,
        )

    async def text(self, name: str) -> str | None:
        """The secret's text; None where there is none. Raises SecretUnread."""
        body = orjson.dumps({"SecretId": name})
        head = self._signer.head(now_s=self._clock.now_s(), target=_TARGET, body=body)
        try:
            status, content = await self._posts.post(head, body, CALL_TIMEOUT_S)
            answer = orjson.loads(content)
        except TimeoutError:
            raise SecretUnread("timeout") from None
        except (OSError, ValueError) as exc:
            raise SecretUnread(
                "malformed" if isinstance(exc, ValueError) else "unreachable"
            ) from None
        if not isinstance(answer, dict):
            raise SecretUnread("malformed")
        if status == 200:
            return str(answer.get("SecretString") or "").strip() or None
        code = str(answer.get("__type", "")).rpartition("#")[2]
        if code == _MISSING:
            return None
        raise SecretUnread("unreachable" if status >= 500 else code or "refused")

    def close(self) -> None:
        """Close the sockets; a later call opens new ones."""
        self._posts.close()
