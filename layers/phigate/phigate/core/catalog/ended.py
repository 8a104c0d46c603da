"""Agreements that were ended before their own date, whichever snapshot names them.

Law: an end is only ever moved forward, so the gate removes what it would have admitted, never more.
"""

from collections.abc import Mapping
from dataclasses import replace

from phigate.core.types import Catalog, Row


def with_ended(catalog: Catalog, ended_at_s: Mapping[str, int]) -> Catalog:
    """The same catalog, where each agreement ends when it was ended. Both hashes stay."""
    if not ended_at_s:
        return catalog

    def ended(row: Row) -> Row:
        agreement = row.agreement
        end_s = None if agreement is None else ended_at_s.get(agreement.id)
        if agreement is None or end_s is None or end_s >= agreement.expires_at_s:
            return row
        return replace(row, agreement=replace(agreement, expires_at_s=end_s))

    rows = tuple(map(ended, catalog.rows))
    return replace(catalog, rows=rows, rows_by_id={row.id: row for row in rows})
