"""The catalog as a stack on AWS serves it: only where its jurisdictions allow, and with the rows of
providers without a key marked.

Law: a snapshot whose `aws_regions` do not allow this stack is not served, whatever it says else.
"""

from collections.abc import Awaitable, Callable

from phigate.core.catalog.port import CatalogSource, CatalogView
from phigate.core.catalog.snapshot import with_missing_keys
from phigate.core.errors import Overloaded
from phigate.core.event_log import EventLog
from phigate.core.types import Catalog


class StackCatalog:
    """A CatalogSource over another one."""

    def __init__(
        self,
        inner: CatalogSource,
        *,
        providers_without_key: Callable[[Catalog], Awaitable[frozenset[str]]],
        fault_of: Callable[[Catalog], str | None],
        event_log: EventLog,
    ) -> None:
        self.inner = inner
        self._providers_without_key = providers_without_key
        self._fault_of = fault_of
        self._event_log = event_log
        # A catalog as read, the providers without a key, and what is served for both.
        self._served: tuple[Catalog, frozenset[str], Catalog] | None = None

    async def current(self) -> CatalogView:
        """See CatalogSource. Raises Overloaded for a snapshot that may not be served here."""
        view = await self.inner.current()
        if (fault := self._fault_of(view.catalog)) is not None:
            self._event_log.record("catalog_not_served", reason=fault)
            raise Overloaded(f"This stack may not serve: {fault}.")
        missing = await self._providers_without_key(view.catalog)
        return CatalogView(self._served_of(view.catalog, missing), view.read_at_s)

    async def card(self, card_sha256: str) -> bytes | None:
        """See CatalogSource."""
        return await self.inner.card(card_sha256)

    def _served_of(self, catalog: Catalog, missing: frozenset[str]) -> Catalog:
        known = self._served
        if known is None or known[0].sha256 != catalog.sha256 or known[1] != missing:
            known = self._served = (catalog, missing, with_missing_keys(catalog, missing))
        return known[2]
