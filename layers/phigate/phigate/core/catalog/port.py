"""The catalog at run time, as the pipeline sees it."""

from dataclasses import dataclass
from typing import Protocol

from phigate.core.types import Catalog


@dataclass(frozen=True, slots=True)
class CatalogView:
    """The verified snapshot in use and when it was last read from the table."""

    catalog: Catalog
    read_at_s: float


class CatalogSource(Protocol):
    """The catalog at run time. Raises Overloaded when no verified snapshot was ever read."""

    async def current(self) -> CatalogView: ...

    async def card(self, card_sha256: str) -> bytes | None:
        """An older rate card's JSON bytes by its hash."""
        ...
