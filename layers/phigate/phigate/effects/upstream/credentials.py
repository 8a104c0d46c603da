"""How a provider is reached: its key, what fills its URLs, and the header that carries the key.

A new way to carry one is a row in AUTH_SCHEMES; rows of the catalog name it as `auth`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from phigate.core.clock import Clock
from phigate.core.errors import UpstreamFailed
from phigate.core.types import Override
from phigate.effects.upstream.google_token import (
    GoogleTokens,
    ServiceAccount,
    ServiceAccountUnusable,
)


@dataclass(frozen=True, slots=True)
class ProviderAccess:
    """How this stack reaches one provider.

    `base_url` replaces every row's own (the local stack's simulated providers, and overrides);
    `variables` fill the names in a row's base URL. `override` is what the operator said of the
    address in `base_url`, `is_simulated` that it is the stack's own simulator.
    """

    api_key: str
    base_url: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    override: Override | None = None
    is_simulated: bool = False


class AccessSource(Protocol):
    """How each provider is reached now; a dict where that never changes."""

    def get(self, provider: str, /) -> ProviderAccess | None: ...


Header = tuple[str, str]


class Credential(Protocol):
    """The header that carries a provider's key. `header` may fetch it: see `google_token`."""

    @property
    def ready(self) -> Header | None: ...

    async def header(self) -> Header: ...


@dataclass(frozen=True, slots=True)
class FixedCredential:
    """A header that never changes."""

    ready: Header

    async def header(self) -> Header:
        """See Credential."""
        return self.ready


class GoogleCredential:
    """The access token of a service account, exchanged when it is needed."""

    ready: Header | None = None

    def __init__(self, tokens: GoogleTokens) -> None:
        self._tokens = tokens

    async def header(self) -> Header:
        """See Credential. Raises UpstreamFailed."""
        return _bearer(await self._tokens.token())


class UnusableCredential:
    """A key that is none. It fails as a provider's own 401 does, and counts as the operator's."""

    ready: Header | None = None

    async def header(self) -> Header:
        """See Credential. Raises UpstreamFailed."""
        raise UpstreamFailed("http_401")


def _bearer(key: str) -> Header:
    return ("authorization", f"Bearer {key}")


def _google(key: str, session: aiohttp.ClientSession, clock: Clock) -> Credential:
    """A service account's JSON is exchanged for tokens; anything else is a token already."""
    if not key.lstrip().startswith("{"):
        return FixedCredential(_bearer(key))
    try:
        account = ServiceAccount(key)
    except ServiceAccountUnusable:
        return UnusableCredential()
    return GoogleCredential(GoogleTokens(account, session, clock))


Auth = Callable[[str, aiohttp.ClientSession, Clock], Credential]
AUTH_SCHEMES: Mapping[str, Auth] = {
    "bearer": lambda key, session, clock: FixedCredential(_bearer(key)),
    "x-api-key": lambda key, session, clock: FixedCredential(("x-api-key", key)),
    "api-key": lambda key, session, clock: FixedCredential(("api-key", key)),
    "google_service_account": _google,
}
