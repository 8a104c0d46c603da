"""How a signed snapshot is read by a release that has not made it: by an older one, a newer one, a
function that is being replaced, or an audit years later.

Law 1: a field that this release does not know is ignored, and one that was added since the snapshot
was signed has its default, which is never weaker for PHI.
Law 2: where not knowing a field would weaken the gate the snapshot says so itself, by `reads_from`,
and an older release refuses all of it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from phigate.core.catalog.check import PARTS, READS_FROM
from phigate.core.catalog.fields import (
    AGREEMENT_FIELDS,
    PLACE_FIELDS,
    PRICE_FIELDS,
    PROVIDER_FIELDS,
    REGION_FIELDS,
    ROW_FIELDS,
    Fields,
)
from phigate.core.release import RELEASE, parse_release

Table = dict[str, Any]

# The field tables of a document by what they describe.
TABLES: Mapping[str, Fields] = {
    "provider": PROVIDER_FIELDS,
    "agreement": AGREEMENT_FIELDS,
    "row": ROW_FIELDS,
    "price": PRICE_FIELDS,
    "place": PLACE_FIELDS,
    "region": REGION_FIELDS,
}


class SnapshotTooNew(Exception):
    """The snapshot says that this release must not read it."""

    def __init__(self, reads_from: object) -> None:
        wanted = "a release that cannot be told"
        if (release := parse_release(reads_from)) is not None:
            wanted = "release " + ".".join(map(str, release))
        super().__init__(
            f"this catalog needs {wanted} or a later one, and this is {RELEASE}: it has a rule "
            "that this release does not know. Deploy that release first"
        )


def readable(document: Any, release: str = RELEASE, tables: Mapping[str, Fields] = TABLES) -> Any:
    """The document in this release's fields; what is no document stays what it is, for the check to
    name. `release` and `tables` are parameters so that a test can be another release.

    Raises SnapshotTooNew.
    """
    if not isinstance(document, dict):
        return document
    _check_release(document.get(READS_FROM), release)
    known = {name: part for name, part in document.items() if name in PARTS}
    return _walk(known, lambda table, kind: _as_known(table, tables[kind]))


def with_reads_from(document: Table, tables: Mapping[str, Fields] = TABLES) -> Table:
    """The document, naming the oldest release that may read it where that is not any."""
    needed = [
        release
        for kind, table in _tables_of(document)
        for name, field in tables[kind].items()
        if name in table and (release := parse_release(field.reads_from)) is not None
    ]
    if not needed:
        return document
    return {**document, READS_FROM: ".".join(map(str, max(needed)))}


def _check_release(reads_from: Any, release: str) -> None:
    if reads_from is None:
        return
    needed, own = parse_release(reads_from), parse_release(release)
    if needed is None or own is None or needed > own:
        raise SnapshotTooNew(reads_from)


def _as_known(table: Any, fields: Fields) -> Any:
    """The members of one table that are known, and the defaults of those that it lacks."""
    if not isinstance(table, dict):
        return table
    known = {name: value for name, value in table.items() if name in fields}
    absent = {
        name: field.absent
        for name, field in fields.items()
        if name not in known and field.absent is not None
    }
    return known | absent


def _tables_of(document: Any) -> Iterator[tuple[str, Table]]:
    """Every table of a document that has fields, with its kind."""
    found: list[tuple[str, Table]] = []

    def seen(table: Any, kind: str) -> Any:
        if isinstance(table, dict):
            found.append((kind, table))
        return table

    _walk(document, seen)
    return iter(found)


def _walk(document: Table, visit: Callable[[Any, str], Any]) -> Table:
    """The document with each table that has fields replaced by what `visit` makes of it."""
    out = dict(document)
    if "regions" in out:
        out["regions"] = _each(out["regions"], lambda table: visit(table, "region"))
    if "providers" in out:
        out["providers"] = _each(out["providers"], lambda table: _provider(table, visit))
    return out


def _provider(table: Any, visit: Callable[[Any, str], Any]) -> Any:
    out = visit(table, "provider")
    if not isinstance(out, dict):
        return out
    out = dict(out)
    if "agreements" in out:
        out["agreements"] = _each(out["agreements"], lambda each: visit(each, "agreement"))
    if isinstance(out.get("rows"), list):
        out["rows"] = [_row(row, visit) for row in out["rows"]]
    return out


def _row(table: Any, visit: Callable[[Any, str], Any]) -> Any:
    out = visit(table, "row")
    if not isinstance(out, dict):
        return out
    out = dict(out)
    if "price" in out:
        out["price"] = visit(out["price"], "price")
    if "places" in out:
        out["places"] = _each(out["places"], lambda each: visit(each, "place"))
    return out


def _each(tables: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(tables, dict):
        return tables
    return {name: change(table) for name, table in tables.items()}
