"""The catalog as a stack on AWS serves it: only where its jurisdictions allow, and with the rows of
providers without a secret marked.

Law 1: a snapshot whose `aws_regions` do not allow this stack is not served, whatever it says else.
Law 2: secrets are read when a snapshot is first used, never before, and again in the background:
after SECRETS_FRESH_S, or when a provider has refused a key. A call that comes after a longer freeze
waits for them. A secret that cannot be read leaves the provider as it was.
"""

import asyncio
import re
from collections.abc import Callable, MutableMapping
from typing import Protocol

import orjson

from phigate.core.catalog import with_missing_keys
from phigate.core.errors import Overloaded
from phigate.core.protocols import CatalogSource, CatalogView, Clock, Journal
from phigate.core.types import Catalog
from phigate.effects.http_upstream import Access
from phigate.effects.secrets_manager import SecretUnread

SECRETS_FRESH_S = 300.0  # as long as a catalog is fresh
SECRETS_AGE_MAX_S = 3600.0  # as old as a catalog may be for PHI
RETRY_AFTER_S = 5.0  # where one could not be read, and until then counts as missing
# Where a key was refused: a key that stays wrong does not read the secrets with every call.
DOUBTED_AFTER_S = 60.0

_VARIABLE = re.compile(r"\{(\w+)\}")


class Secrets(Protocol):
    """Where providers' keys lie. Raises SecretUnread."""

    async def text(self, name: str) -> str | None: ...


class ServedCatalog:
    """A CatalogSource over another one. `access` is filled here and read by the upstream."""

    def __init__(
        self,
        inner: CatalogSource,
        *,
        secrets: Secrets,
        prefix: str,
        access: MutableMapping[str, Access],
        fault_of: Callable[[Catalog], str | None],
        clock: Clock,
        journal: Journal,
        base_url: Callable[[str], str | None] = lambda _provider: None,
    ) -> None:
        self.inner = inner
        self._secrets = secrets
        self._prefix = prefix
        self._access = access
        self._fault_of = fault_of
        self._clock = clock
        self._journal = journal
        self._base_url = base_url
        self._served: tuple[Catalog, Catalog] | None = None  # as read, and as served
        self._read_at_s = 0.0
        self._due_at_s = 0.0
        self._flight: asyncio.Task[None] | None = None

    async def current(self) -> CatalogView:
        """See CatalogSource. Raises Overloaded for a snapshot that may not be served here."""
        view = await self.inner.current()
        if (fault := self._fault_of(view.catalog)) is not None:
            self._journal.note("catalog_not_served", reason=fault)
            raise Overloaded(f"This stack may not serve: {fault}.")
        while (served := self._served_of(view.catalog)) is None or self._is_old():
            # Shielded: a caller who hangs up must not end what others wait for.
            await asyncio.shield(self._read_once(view.catalog))
        if self._clock.now_s() >= self._due_at_s:
            self._read_once(view.catalog)
        return CatalogView(served, view.read_at_s)

    def doubt(self) -> None:
        """A provider has refused its key: it may have been replaced."""
        self._due_at_s = min(self._due_at_s, self._read_at_s + DOUBTED_AFTER_S)

    async def card(self, card_sha256: str) -> bytes | None:
        """See CatalogSource."""
        return await self.inner.card(card_sha256)

    def _served_of(self, catalog: Catalog) -> Catalog | None:
        """The catalog as it is served; None while its secrets were not read."""
        if self._served is None or self._served[0].sha256 != catalog.sha256:
            return None
        return self._served[1]

    def _is_old(self) -> bool:
        return self._clock.now_s() - self._read_at_s >= SECRETS_AGE_MAX_S

    def _read_once(self, catalog: Catalog) -> asyncio.Task[None]:
        """The reading under way, or a new one."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._read(catalog))
        return self._flight

    async def _read(self, catalog: Catalog) -> None:
        names = sorted({row.provider for row in catalog.rows})
        read = await asyncio.gather(*(self._read_one(name, catalog) for name in names))
        missing = frozenset(name for name in names if name not in self._access)
        self._served = (catalog, with_missing_keys(catalog, missing))
        self._read_at_s = self._clock.now_s()
        self._due_at_s = self._read_at_s + (SECRETS_FRESH_S if all(read) else RETRY_AFTER_S)

    async def _read_one(self, name: str, catalog: Catalog) -> bool:
        """Whether it is known now what the provider's secret holds."""
        try:
            text = await self._secrets.text(f"{self._prefix}/{name}")
        except SecretUnread as exc:
            self._journal.note("secret_unread", provider=name, outcome=str(exc))
            return False
        found = None if text is None else self._access_of(name, text, catalog)
        if found is None:
            self._access.pop(name, None)
        else:
            self._access[name] = found
        return True

    def _access_of(self, name: str, text: str, catalog: Catalog) -> Access | None:
        fields = _fields(text)
        key = fields.pop("api_key", "")
        if not key:
            if fields or text != "{}":
                self._journal.note("secret_unusable", provider=name, reason="no api_key")
            return None
        if missing := sorted(_variables(name, catalog) - fields.keys()):
            reason = f"no {', '.join(missing)}"
            self._journal.note("secret_unusable", provider=name, reason=reason)
            return None
        return Access(api_key=key, base_url=self._base_url(name), variables=fields)


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
