"""What becomes of a catalog's rows where a stack does not reach their providers at home.

An agreement is of a row, and the bytes go to an address. Law: whatever address takes the place of a
provider's own has no agreement, no proven residency, no enclave and no known cache. A snapshot that
is read later is marked as the first one was; both hashes stay, for they name what was pushed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from phigate.core.types import Catalog, Override, Row


def with_overrides(catalog: Catalog, overrides: Mapping[str, Override]) -> Catalog:
    """The same catalog, where the rows of these providers say that they are overridden. A row that
    is not served stays so."""
    if not overrides:
        return catalog
    return _with_rows(
        catalog,
        (
            overridden_row(row, overrides[row.provider]) if row.provider in overrides else row
            for row in catalog.rows
        ),
    )


def with_simulated(catalog: Catalog, providers: Collection[str]) -> Catalog:
    """The same catalog, where the rows of these providers say that nobody but the stack's own
    simulator answers for them."""
    if not providers:
        return catalog
    return _with_rows(
        catalog,
        (replace(row, is_simulated=row.provider in providers) for row in catalog.rows),
    )


def overridden_row(row: Row, override: Override) -> Row:
    """The row at another address. What the catalog says of it stays in `reviewed`: who asks for a
    confidential model by its name is not answered by this one, and by its terms alone a trusted
    address sees PHI."""
    places = {name: replace(place, residency="unproven") for name, place in row.places.items()}
    return replace(
        row,
        status="overridden" if row.status in ("live", "alpha") else row.status,
        places=places,
        agreement=None,
        confidential=False,
        cache_is_per_key=False,
        override=override,
        overridden=row,
    )


def permitting_row(row: Row) -> Row:
    """The row by whose agreement and residency PHI is judged: of a trusted override the one that it
    stands for, so that trust in an address opens no row, region or date that the catalog does not.
    """
    trusted = row.override is not None and row.override.phi_trusted
    return row.reviewed if trusted else row


def _with_rows(catalog: Catalog, marked: Iterable[Row]) -> Catalog:
    rows = tuple(marked)
    return replace(catalog, rows=rows, rows_by_id={row.id: row for row in rows})
