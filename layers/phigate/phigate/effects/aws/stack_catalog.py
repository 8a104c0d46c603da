"""The catalog as a stack on AWS serves it: only where its jurisdictions allow, and with the rows of
providers without a secret marked.

Law 1: a snapshot whose `aws_regions` do not allow this stack is not served, whatever it says else.
Law 2: secrets are read when a snapshot is first used, never before, and again after SECRETS_FRESH_S
in the background; a secret that cannot be read leaves the provider as it was.
Law 3: a key that its provider refuses is read again in the background, never for each refusal.
Law 4: nothing that was asked for SECRETS_AGE_MAX_S ago is used before it was asked for again: the
first call after a long freeze waits for that, whatever comes of it.
"""

import asyncio
import math
import re
from collections.abc import Callable, MutableMapping
from typing import Protocol

import orjson

from phigate.core.catalog.port import CatalogSource, CatalogView
from phigate.core.catalog.snapshot import with_missing_keys
from phigate.core.clock import Clock
from phigate.core.errors import Overloaded
from phigate.core.event_log import EventLog
from phigate.core.limits import CATALOG_PHI_AGE_MAX_S
from phigate.core.types import Catalog, Row
from phigate.effects.aws.secrets_manager import SecretUnread
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


class StackCatalog:
    """A CatalogSource over another one. `access` is filled here and read by the upstream.

    `calls` says which rows this process calls itself: of a provider of none of them it is only
    looked whether there is a key.
    """

    def __init__(
        self,
        inner: CatalogSource,
        *,
        secrets: Secrets,
        prefix: str,
        access: MutableMapping[str, ProviderAccess],
        fault_of: Callable[[Catalog], str | None],
        clock: Clock,
        event_log: EventLog,
        calls: Callable[[Row], bool] = lambda _row: True,
        base_url: Callable[[str], str | None] = lambda _provider: None,
    ) -> None:
        self.inner = inner
        self._secrets = secrets
        self._prefix = prefix
        self._access = access
        self._fault_of = fault_of
        self._clock = clock
        self._event_log = event_log
        self._calls = calls
        self._base_url = base_url
        self._served: tuple[Catalog, Catalog] | None = None  # as read, and as served
        # By provider: when what is known of its secret was asked for. An answer may be as old as
        # its question.
        self._asked_at_s: dict[str, float] = {}
        self._doubted: set[str] = set()  # the last reading failed, or the key was refused since
        self._flight: asyncio.Task[None] | None = None

    async def current(self) -> CatalogView:
        """See CatalogSource. Raises Overloaded for a snapshot that may not be served here."""
        view = await self.inner.current()
        if (fault := self._fault_of(view.catalog)) is not None:
            self._event_log.record("catalog_not_served", reason=fault)
            raise Overloaded(f"This stack may not serve: {fault}.")
        while (served := self._served_of(view.catalog)) is None or self._older(SECRETS_AGE_MAX_S):
            # Shielded: a caller who hangs up must not end what others wait for.
            await asyncio.shield(self._read_once(view.catalog))
        if self._due():
            self._read_once(view.catalog)
        return CatalogView(served, view.read_at_s)

    async def card(self, card_sha256: str) -> bytes | None:
        """See CatalogSource."""
        return await self.inner.card(card_sha256)

    def key_refused(self, provider: str) -> None:
        """A provider has refused its key, which may have been changed: it is read again, at once or
        as soon as RETRY_AFTER_S have passed since it was."""
        self._doubted.add(provider)
        if self._served is not None and self._due():
            self._read_once(self._served[0])

    def _served_of(self, catalog: Catalog) -> Catalog | None:
        """The catalog as it is served; None while its secrets were not read."""
        if self._served is None or self._served[0].sha256 != catalog.sha256:
            return None
        return self._served[1]

    def _read_once(self, catalog: Catalog) -> asyncio.Task[None]:
        """The reading under way, or a new one."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._read(catalog))
        return self._flight

    def _due(self) -> list[str]:
        """The providers whose secret is to be read again."""
        return [name for name in self._asked_at_s if self._is_older(name, self._fresh_s(name))]

    def _older(self, age_s: float) -> bool:
        """Whether what is known of any secret is older than that."""
        return any(self._is_older(name, age_s) for name in self._asked_at_s)

    def _is_older(self, name: str, age_s: float) -> bool:
        # A clock that was set back makes no copy younger.
        return not 0 <= self._clock.now_s() - self._asked_at_s[name] < age_s

    def _fresh_s(self, name: str) -> float:
        return RETRY_AFTER_S if name in self._doubted else SECRETS_FRESH_S

    async def _read(self, catalog: Catalog) -> None:
        """Read what is due, and of a new snapshot everything: its URLs may have other names."""
        names = sorted({row.provider for row in catalog.rows})
        if self._served_of(catalog) is None:
            self._asked_at_s = dict.fromkeys(names, -math.inf)
        while due := self._due():  # a key may be refused while another secret is read
            await asyncio.gather(*(self._read_one(name, catalog) for name in due))
        missing = frozenset(name for name in names if name not in self._access)
        self._served = (catalog, with_missing_keys(catalog, missing))

    async def _read_one(self, name: str, catalog: Catalog) -> None:
        """What the provider's secret holds becomes its access, where it can be read."""
        asked_at_s = self._clock.now_s()
        self._doubted.discard(name)  # a refusal from here on may be of what is read now
        try:
            found = await self._found(name, catalog)
        except SecretUnread as exc:
            self._event_log.record("secret_unread", provider=name, outcome=str(exc))
            self._doubted.add(name)
        else:
            self._learn(name, found)
        self._asked_at_s[name] = asked_at_s

    async def _found(self, name: str, catalog: Catalog) -> ProviderAccess | None:
        secret = f"{self._prefix}/{name}"
        if not any(self._calls(row) for row in catalog.rows if row.provider == name):
            return NOT_CALLED if await self._secrets.is_filled(secret) else None
        text = await self._secrets.text(secret)
        return None if text is None else self._access_of(name, text, catalog)

    def _learn(self, name: str, found: ProviderAccess | None) -> None:
        known = self._access.get(name)
        if found is None:
            self._access.pop(name, None)
            return
        self._access[name] = found
        if known is not None and known.api_key != found.api_key:
            self._event_log.record("provider_key_changed", provider=name)

    def _access_of(self, name: str, text: str, catalog: Catalog) -> ProviderAccess | None:
        fields = _fields(text)
        key = fields.pop("api_key", "")
        if not key:
            if fields or text != "{}":
                self._event_log.record("secret_unusable", provider=name, reason="no api_key")
            return None
        if missing := sorted(_variables(name, catalog) - fields.keys()):
            reason = f"no {', '.join(missing)}"
            self._event_log.record("secret_unusable", provider=name, reason=reason)
            return None
        return ProviderAccess(api_key=key, base_url=self._base_url(name), variables=fields)


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


def _variables(provider: str, catalog: Catalog) -> set[str]:
    """The names in a provider's base URLs."""
    urls = [
        p.base_url for row in catalog.rows if row.provider == provider for p in row.places.values()
    ]
    return {variable for url in urls for variable in _VARIABLE.findall(url)}
