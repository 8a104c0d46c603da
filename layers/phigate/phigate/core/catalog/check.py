"""What is wrong with a catalog document: every mistake at once, each by file, row and field.

First each table is given to its model, then the rules that span fields run over the fields whose
shape is right, so that one mistake is reported once and hides no other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phigate.core.catalog.files import MODELS, wrong_fields
from phigate.core.catalog.mistakes import CatalogInvalid, Mistake
from phigate.core.catalog.rules import (
    REGIONS_FILE,
    RowTables,
    agreement_mistakes,
    alias_mistakes,
    provider_file,
    provider_mistakes,
    region_mistakes,
    row_mistakes,
    rows_by_id,
)
from phigate.core.catalog.snapshot import catalog_of, parse_document
from phigate.core.catalog.vocabulary import PARTS, READS_FROM, Table
from phigate.core.release import parse_release
from phigate.core.types import REGIONS, Catalog


def checked_catalog(document_bytes: bytes) -> Catalog:
    """The Catalog of canonical bytes that are to be pushed. Raises CatalogInvalid for every mistake
    in them at once."""
    document = parse_document(document_bytes)
    if mistakes := check(document):
        raise CatalogInvalid(mistakes)
    return catalog_of(document, document_bytes)


def check(document: Any, dialects: frozenset[str] | None = None) -> list[Mistake]:
    """Every mistake of the document, sorted. With `dialects`, a row that is served in a dialect
    that has no adapter is one too."""
    if not isinstance(document, dict):
        return [Mistake("", "", "", "the document is not a table")]
    mistakes = [
        Mistake("", "", str(name), "unknown part")
        for name in document.keys() - {*PARTS, READS_FROM}
    ]
    mistakes += _reads_from(document.get(READS_FROM))
    mistakes += [
        Mistake("", "", name, "must be a table")
        for name in PARTS
        if not isinstance(document.get(name), dict)
    ]
    rows: list[RowTables] = []
    for name, provider in _tables(document.get("providers")):
        found, seen = _provider(name, provider)
        mistakes += found
        rows += seen
    mistakes += row_mistakes(rows)
    mistakes += _dialects_served(rows, dialects)
    by_id = rows_by_id(rows)
    mistakes += _regions(document.get("regions"), by_id)
    mistakes += alias_mistakes(dict(_tables(document.get("aliases"))), by_id)
    return sorted(set(mistakes))


def _reads_from(release: Any) -> Iterator[Mistake]:
    if release is not None and parse_release(release) is None:
        yield Mistake("", "", READS_FROM, "must be a release, such as 1.2.3")


def _shape(table: Any, kind: str, file: str, row: str, prefix: str = "") -> list[Mistake]:
    """Unknown, missing and ill-typed members of one table, one mistake a member."""
    if not isinstance(table, dict):
        return [Mistake(file, row, prefix.rstrip("."), "must be a table")]
    wrong = wrong_fields(MODELS[kind], table)
    return [Mistake(file, row, prefix + name, said) for name, said in wrong.items()]


def _sound(table: Any, mistakes: Sequence[Mistake], prefix: str = "") -> Table:
    """The members of a table that `_shape` found nothing wrong with."""
    if not isinstance(table, dict):
        return {}
    wrong = {mistake.field for mistake in mistakes}
    return {name: value for name, value in table.items() if prefix + str(name) not in wrong}


def _provider(name: str, provider: Any) -> tuple[list[Mistake], list[RowTables]]:
    file = provider_file(name)
    mistakes = _shape(provider, "provider", file, "")
    fields = _sound(provider, mistakes)
    mistakes += provider_mistakes(name, fields)
    agreements: dict[str, Table] = {}
    for key, agreement in _tables(fields.get("agreements")):
        found = _shape(agreement, "agreement", file, key)
        agreements[key] = _sound(agreement, found)
        mistakes += found
        mistakes += agreement_mistakes(file, key, agreements[key])
    rows: list[RowTables] = []
    for number, table in enumerate(fields.get("rows", ()), start=1):
        found, row = _row(file, number, table, fields | {"provider": name}, agreements)
        mistakes += found
        rows.append(row)
    return mistakes, rows


def _row(
    file: str, number: int, table: Any, provider: Table, agreements: dict[str, Table]
) -> tuple[list[Mistake], RowTables]:
    given = table.get("id") if isinstance(table, dict) else None
    row_id = given if isinstance(given, str) and given else f"rows[{number}]"
    mistakes = _shape(table, "row", file, row_id)
    fields = _sound(table, mistakes)
    if "price" in fields:
        mistakes += _shape(fields["price"], "price", file, row_id, "price.")
    places: dict[str, Table] = {}
    for name, place in _tables(fields.get("places")):
        prefix = f"places.{name}."
        if name not in REGIONS:
            mistakes.append(Mistake(file, row_id, prefix.rstrip("."), "unknown region"))
        found = _shape(place, "place", file, row_id, prefix)
        places[name] = _sound(place, found, prefix)
        mistakes += found
    return mistakes, RowTables(file, row_id, fields, places, provider, agreements)


def _dialects_served(
    rows: Sequence[RowTables], dialects: frozenset[str] | None
) -> Iterator[Mistake]:
    for row in rows:
        dialect = row.provider.get("dialect")
        if dialects is None or dialect is None or dialect in dialects:
            continue
        if row.fields.get("status", "staged") != "staged":
            message = f"must be 'staged' until the dialect {dialect!r} has an adapter"
            yield Mistake(row.file, row.id, "status", message)


def _regions(regions: Any, rows: Mapping[str, RowTables]) -> Iterator[Mistake]:
    sound: dict[str, Table] = {}
    for name, table in _tables(regions):
        found = _shape(table, "region", REGIONS_FILE, name)
        yield from found
        sound[name] = _sound(table, found)
    yield from region_mistakes(sound, rows)


def _tables(value: Any) -> list[tuple[str, Any]]:
    """The members of a table in the order of their names; none where it is no table."""
    if not isinstance(value, dict):
        return []
    return sorted((str(name), member) for name, member in value.items())
