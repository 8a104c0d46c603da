"""How each provider is reached by this stack: its key and the rest of its secret, kept fresh.

Law 1: secrets are read when a snapshot is first used, never before, and again after SECRETS_FRESH_S
in the background; a secret that cannot be read leaves the provider as it was.
Law 2: a key that its provider refuses is read again in the background, never for each refusal.
Law 3: nothing that was asked for SECRETS_AGE_MAX_S ago is used before it was asked for again: the
first call after a long freeze waits for that, whatever comes of it.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Protocol

import orjson

from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.core.limits import CATALOG_PHI_AGE_MAX_S
from phigate.core.types import Catalog, Row
from phigate.effects.aws.secrets_manager import SecretUnread
from phigate.effects.refreshed import Refreshed
from phigate.effects.upstream.credentials import ProviderAccess

SECRETS_FRESH_S = 300.0  # as long as a catalog is fresh
RETRY_AFTER_S = 5.0  # where one could not be read or was refused; a reading takes some 20 ms
# As PHI's catalog, so that after a long freeze one call waits for both. A busy environment's copy
# is never near it.
SECRETS_AGE_MAX_S = CATALOG_PHI_AGE_MAX_S

# There is a key, which is none of this process's business.
NOT_CALLED = ProviderAccess(api_key="")

_VARIABLE = re.compile(r"\{(\w+)\}")


class Secrets(Protocol):
    """Where providers' keys lie. Raises SecretUnread."""

    async def text(self, name: str) -> str | None: ...

    async def is_filled(self, name: str) -> bool: ...


class ProviderCredentials:
    """The accesses of a stack's providers. The catalog says which providers there are.

    `calls` says which rows this process calls itself: of a provider of none of them it is only
    looked whether there is a key.
    """

    def __init__(
        self,
        secrets: Secrets,
        *,
        prefix: str,
        clock: Clock,
        event_log: EventLog,
        calls: Callable[[Row], bool] = lambda _row: True,
        base_url: Callable[[str], str | None] = lambda _provider: None,
    ) -> None:
        self._secrets = secrets
        self._prefix = prefix
        self._clock = clock
        self._event_log = event_log
        self._calls = calls
        self._base_url = base_url
        self._catalog: Catalog | None = None
        self._names: tuple[str, ...] = ()  # of the catalog's providers
        # By provider, also of catalogs before: a call that was planned by one may be under way.
        # A reading never fails: what cannot be read stays, and is doubted.
        self._known: dict[str, Refreshed[ProviderAccess | None]] = {}
        self._doubted: set[str] = set()  # the last reading failed, or the key was refused since

    def get(self, provider: str, /) -> ProviderAccess | None:
        """How the provider is reached now; None where nothing says how."""
        known = self._known.get(provider)
        return None if known is None else known.value

    async def providers_without_key(self, catalog: Catalog) -> frozenset[str]:
        """The catalog's providers of which no key is known. Waits where a secret was not asked for
        since the catalog came, or for too long."""
        if self._catalog is None or self._catalog.sha256 != catalog.sha256:
            self._begin(catalog)
        names = self._names  # those of this catalog, also where another one comes meanwhile
        # What is asked meanwhile is younger; what was asked before a freeze is not.
        while late := [name for name in names if self._age_s(name) >= SECRETS_AGE_MAX_S]:
            await asyncio.gather(*(self._known[name].fetch() for name in late))
        for name in names:
            self._renew(name)
        return frozenset(name for name in names if self._known[name].value is None)

    def key_refused(self, provider: str) -> None:
        """A provider has refused its key, which may have been changed: it is read again, at once or
        as soon as RETRY_AFTER_S have passed since it was."""
        self._doubted.add(provider)
        if provider in self._names:
            self._renew(provider)

    def _begin(self, catalog: Catalog) -> None:
        """Everything is read again for a new snapshot: its URLs may have other names."""
        self._catalog = catalog
        self._names = tuple(sorted({row.provider for row in catalog.rows}))
        for name in self._names:
            if name not in self._known:
                self._known[name] = self._unread(name)
            self._known[name].expire()

    def _unread(self, name: str) -> Refreshed[ProviderAccess | None]:
        return Refreshed(partial(self._read, name), self._clock, retry_after_s=RETRY_AFTER_S)

    def _age_s(self, name: str) -> float:
        return self._known[name].age_s()

    def _renew(self, name: str) -> None:
        fresh_s = RETRY_AFTER_S if name in self._doubted else SECRETS_FRESH_S
        if self._age_s(name) >= fresh_s:
            self._known[name].renew()

    async def _read(self, name: str) -> ProviderAccess | None:
        """What the provider's secret holds, or what is known where it cannot be read."""
        known = self.get(name)
        self._doubted.discard(name)  # a refusal from here on may be of what is read now
        try:
            found = await self._found(name)
        except SecretUnread as exc:
            self._event_log.record("secret_unread", provider=name, outcome=str(exc))
            self._doubted.add(name)
            return known
        if found is not None and known is not None and known.api_key != found.api_key:
            self._event_log.record("provider_key_changed", provider=name)
        return found

    async def _found(self, name: str) -> ProviderAccess | None:
        secret = f"{self._prefix}/{name}"
        if not any(self._calls(row) for row in self._rows(name)):
            return NOT_CALLED if await self._secrets.is_filled(secret) else None
        text = await self._secrets.text(secret)
        return None if text is None else self._access_of(name, text)

    def _access_of(self, name: str, text: str) -> ProviderAccess | None:
        fields = _fields(text)
        key = fields.pop("api_key", "")
        if not key:
            if fields or text != "{}":
                self._event_log.record("secret_unusable", provider=name, reason="no api_key")
            return None
        if missing := sorted(_variables(self._rows(name)) - fields.keys()):
            reason = f"no {', '.join(missing)}"
            self._event_log.record("secret_unusable", provider=name, reason=reason)
            return None
        return ProviderAccess(api_key=key, base_url=self._base_url(name), variables=fields)

    def _rows(self, name: str) -> list[Row]:
        rows = () if self._catalog is None else self._catalog.rows
        return [row for row in rows if row.provider == name]


def _fields(text: str) -> dict[str, str]:
    """The members of a secret; a member that is an object (a service account) as its JSON."""
    try:
        members = orjson.loads(text)
    except ValueError:
        return {}
    if not isinstance(members, dict):
        return {}
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in members.items()
        if value not in ("", None)
    }


def _variables(rows: list[Row]) -> set[str]:
    """The names in a provider's base URLs."""
    urls = [place.base_url for row in rows for place in row.places.values()]
    return {variable for url in urls for variable in _VARIABLE.findall(url)}
