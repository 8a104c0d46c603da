"""The role's credentials: from the environment, or after a SnapStart restore from the container
endpoint, which gives new ones before the old ones expire.

Law: what expires is renewed before a request begins, with more left than the longest request takes.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

import aiohttp
import orjson

from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.refreshed import Refreshed

RENEW_BEFORE_S = 1_200  # a stream may run for 840 s and settle after that
RETRY_AFTER_S = 5.0  # between two renewals that failed
TIMEOUT_S = 2.0  # it is on this machine
ANSWER_BYTES_MAX = 64 * 1024
_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "169.254.170.2", "169.254.170.23", "::1"})


class NoCredentials(Exception):
    """There are none, or they cannot be read. The text holds no secret."""


class FixedCredentials:
    """Those of the environment, which last as long as the environment does."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self) -> Credentials:
        """See CredentialsSource."""
        return self._credentials

    async def fresh(self) -> None:
        """Nothing to do."""


class ContainerCredentials:
    """Those of the container endpoint. `fresh` is awaited before each request."""

    def __init__(self, *, url: str, token: str, clock: Clock, event_log: EventLog) -> None:
        self._url = url
        self._token = token
        self._clock = clock
        self._event_log = event_log
        # With the time at which they expire.
        self._known = Refreshed(
            self._fetched, clock, retry_after_s=RETRY_AFTER_S, on_failure=self._note_failure
        )

    def __call__(self) -> Credentials:
        """See CredentialsSource. Raises NoCredentials before the first `fresh`."""
        if self._known.value is None:
            raise NoCredentials("the credentials were not fetched yet")
        return self._known.value[0]

    async def fresh(self) -> None:
        """Renew them where little time is left. Raises NoCredentials only where none are at hand:
        old ones may still do."""
        known = self._known
        if known.value is None:
            await known.fetch()
        elif self._clock.now_s() >= known.value[1] - RENEW_BEFORE_S and known.renew():
            await known.wait()

    def _note_failure(self, failure: Exception) -> None:
        # The text of any other class is not ours.
        reason = str(failure) if isinstance(failure, NoCredentials) else type(failure).__name__
        self._event_log.record("credentials_not_renewed", reason=reason)

    async def _fetched(self) -> tuple[Credentials, float]:
        headers = {"authorization": self._token} if self._token else {}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.get(self._url, headers=headers, allow_redirects=False) as answer,
            ):
                content = await answer.content.read(ANSWER_BYTES_MAX)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as exc:
            raise NoCredentials(f"the endpoint cannot be reached: {type(exc).__name__}") from None
        if answer.status != 200:
            raise NoCredentials(f"the endpoint answers {answer.status}")
        try:
            fields = orjson.loads(content)
            key = Credentials(fields["AccessKeyId"], fields["SecretAccessKey"], fields["Token"])
            return key, datetime.fromisoformat(fields["Expiration"]).timestamp()
        except (ValueError, KeyError, TypeError):
            raise NoCredentials("the endpoint's answer holds no credentials") from None


CredentialsOf = FixedCredentials | ContainerCredentials


def credentials_of(environ: Mapping[str, str], clock: Clock, event_log: EventLog) -> CredentialsOf:
    """Where this environment's credentials come from. Raises NoCredentials."""
    if url := environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOCAL_HOSTS:
            raise NoCredentials("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor local")
        token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        return ContainerCredentials(url=url, token=token, clock=clock, event_log=event_log)
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        raise NoCredentials("AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is missing")
    return FixedCredentials(Credentials(key, secret, environ.get("AWS_SESSION_TOKEN") or None))
