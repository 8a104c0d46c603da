"""What is wrong with a catalog document: every mistake at once, each by file, row and field.

First the shape of each table is checked against its field table, then the rules that span fields
run over the fields whose shape is right, so that one mistake is reported once and hides no other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phigate.core.catalog.fields import (
    AGREEMENT_FIELDS,
    PLACE_FIELDS,
    PRICE_FIELDS,
    PROVIDER_FIELDS,
    REGION_FIELDS,
    ROW_FIELDS,
    TOKENS_OUT_DEFAULT_MAX,
    Fields,
    is_name,
)
from phigate.core.release import parse_release
from phigate.core.types import REGIONS

REGIONS_FILE = "regions.toml"
ALIASES_FILE = "aliases.toml"
PROVIDERS_FOLDER = "providers/"
PARTS = ("regions", "aliases", "providers")
READS_FROM = "reads_from"  # the oldest release that may read the snapshot; made, never written
TASKS = ("chat", "vision", "math")
RESERVED_NAMES = frozenset({"auto"})  # the router reads it as: any model

Table = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake. `row` is the row, region, alias or agreement; empty where there is none."""

    file: str
    row: str
    field: str
    message: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.row, self.field) if part)
        return f"{place}: {self.message}" if place else self.message


class CatalogInvalid(Exception):
    """The operator's catalog has mistakes. It ends a command or a push, never a request."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row's fields of right shape, its places, and where it stands."""

    file: str
    id: str
    fields: Table
    places: dict[str, Table]
    provider: Table
    agreements: dict[str, Table]


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
    rows: list[_Row] = []
    for name, provider in _tables(document.get("providers")):
        found, seen = _provider(name, provider)
        mistakes += found
        rows += seen
    for row in rows:
        for rule in ROW_RULES:
            mistakes += rule(row)
        mistakes += _dialect_served(row, dialects)
    mistakes += _duplicates(rows)
    # Of rows with one id the first counts; the second is named as the duplicate.
    by_id = {row.id: row for row in reversed(rows)}
    mistakes += _regions(document.get("regions"), by_id)
    mistakes += _aliases(document.get("aliases"), by_id)
    return sorted(set(mistakes))


def _reads_from(release: Any) -> Iterator[Mistake]:
    if release is not None and parse_release(release) is None:
        yield Mistake("", "", READS_FROM, "must be a release, such as 1.2.3")


def _shape(table: Any, fields: Fields, file: str, row: str, prefix: str = "") -> list[Mistake]:
    """Unknown, missing and ill-typed members of one table."""
    if not isinstance(table, dict):
        return [Mistake(file, row, prefix.rstrip("."), "must be a table")]
    mistakes = [
        Mistake(file, row, prefix + str(name), "unknown field") for name in table.keys() - fields
    ]
    for name, field in fields.items():
        if name not in table:
            if field.is_required:
                mistakes.append(Mistake(file, row, prefix + name, "missing"))
        elif (wrong := field.wrong(table[name])) is not None:
            mistakes.append(Mistake(file, row, prefix + name, wrong))
    return mistakes


def _sound(table: Any, mistakes: Sequence[Mistake], prefix: str = "") -> Table:
    """The members of a table that `_shape` found nothing wrong with."""
    if not isinstance(table, dict):
        return {}
    wrong = {mistake.field for mistake in mistakes}
    return {name: value for name, value in table.items() if prefix + str(name) not in wrong}


def _provider(name: str, provider: Any) -> tuple[list[Mistake], list[_Row]]:
    file = f"{PROVIDERS_FOLDER}{name}.toml"
    mistakes = _shape(provider, PROVIDER_FIELDS, file, "")
    fields = _sound(provider, mistakes)
    if fields.get("provider", name) != name:
        mistakes.append(Mistake(file, "", "provider", f"must be the file's name, {name!r}"))
    agreements: dict[str, Table] = {}
    for key, agreement in _tables(fields.get("agreements")):
        found = _shape(agreement, AGREEMENT_FIELDS, file, key)
        agreements[key] = _sound(agreement, found)
        mistakes += found
        mistakes += _agreement_dates(file, key, agreements[key])
    rows: list[_Row] = []
    for number, table in enumerate(fields.get("rows", ()), start=1):
        found, row = _row(file, number, table, fields | {"provider": name}, agreements)
        mistakes += found
        rows.append(row)
    return mistakes, rows


def _row(
    file: str, number: int, table: Any, provider: Table, agreements: dict[str, Table]
) -> tuple[list[Mistake], _Row]:
    given = table.get("id") if isinstance(table, dict) else None
    row_id = given if isinstance(given, str) and given else f"rows[{number}]"
    mistakes = _shape(table, ROW_FIELDS, file, row_id)
    fields = _sound(table, mistakes)
    if "price" in fields:
        mistakes += _shape(fields["price"], PRICE_FIELDS, file, row_id, "price.")
    places: dict[str, Table] = {}
    for name, place in _tables(fields.get("places")):
        prefix = f"places.{name}."
        if name not in REGIONS:
            mistakes.append(Mistake(file, row_id, prefix.rstrip("."), "unknown region"))
        found = _shape(place, PLACE_FIELDS, file, row_id, prefix)
        places[name] = _sound(place, found, prefix)
        mistakes += found
    return mistakes, _Row(file, row_id, fields, places, provider, agreements)


def _agreement_dates(file: str, key: str, agreement: Table) -> Iterator[Mistake]:
    effective, expires = agreement.get("effective"), agreement.get("expires")
    if effective is not None and expires is not None and effective >= expires:
        yield Mistake(file, key, "expires", "must be after effective")


def _id_begins_with_provider(row: _Row) -> Iterator[Mistake]:
    if "id" in row.fields and not row.id.startswith(f"{row.provider['provider']}-"):
        message = f"must begin with {row.provider['provider'] + '-'!r}"
        yield Mistake(row.file, row.id, "id", message)


def _tokens_out(row: _Row) -> Iterator[Mistake]:
    default, most = row.fields.get("tokens_out_default"), row.fields.get("tokens_out_max")
    context = row.fields.get("context")
    if default is not None and default > TOKENS_OUT_DEFAULT_MAX:
        message = f"must be at most {TOKENS_OUT_DEFAULT_MAX}"
        yield Mistake(row.file, row.id, "tokens_out_default", message)
    if default is not None and most is not None and default > most:
        yield Mistake(row.file, row.id, "tokens_out_default", "must be at most tokens_out_max")
    if most is not None and context is not None and most > context:
        yield Mistake(row.file, row.id, "tokens_out_max", "must be at most context")


def _speed(row: _Row) -> Iterator[Mistake]:
    if "tokens_out_per_s" in row.fields and "tokens_out_per_s_evidence" not in row.fields:
        message = "missing: callers are charged by tokens_out_per_s"
        yield Mistake(row.file, row.id, "tokens_out_per_s_evidence", message)


def _modalities(row: _Row) -> Iterator[Mistake]:
    modalities = row.fields.get("modalities")
    if modalities is None:
        return
    if "text" not in modalities:
        yield Mistake(row.file, row.id, "modalities", "must hold 'text'")
    if "image" in modalities and row.fields.get("image_tokens_max") == 0:
        message = "must be above 0 where the row takes images"
        yield Mistake(row.file, row.id, "image_tokens_max", message)


def _cache_is_keyed(row: _Row) -> Iterator[Mistake]:
    """All tenants share one provider key: a cache is per tenant by what the gateway sends, or not
    at all."""
    if row.fields.get("cache_is_per_key") and not row.fields.get("cache_key_name"):
        message = "needs cache_key_name: a cache is per key where one is sent"
        yield Mistake(row.file, row.id, "cache_is_per_key", message)


def _agreement_fits(row: _Row) -> Iterator[Mistake]:
    name = row.fields.get("agreement")
    if name is None:
        return
    if name not in row.agreements:
        yield Mistake(row.file, row.id, "agreement", f"no agreement {name!r} in this file")
        return
    for region in row.agreements[name].get("regions", ()):
        if region not in row.places:
            message = f"names {region}, where the row has no place"
            yield Mistake(row.file, row.id, "agreement", message)
        elif row.places[region].get("residency") == "unproven":
            message = f"names {region}, where the row's residency is unproven"
            yield Mistake(row.file, row.id, "agreement", message)


def _dialect_served(row: _Row, dialects: frozenset[str] | None) -> Iterator[Mistake]:
    dialect = row.provider.get("dialect")
    if dialects is None or dialect is None or dialect in dialects:
        return
    if row.fields.get("status", "staged") != "staged":
        message = f"must be 'staged' until the dialect {dialect!r} has an adapter"
        yield Mistake(row.file, row.id, "status", message)


def _duplicates(rows: Sequence[_Row]) -> Iterator[Mistake]:
    first: dict[str, str] = {}
    for row in rows:
        if row.id in first:
            message = f"stands already in {first[row.id]}"
            yield Mistake(row.file, row.id, "id", message)
        first.setdefault(row.id, row.file)


def _regions(regions: Any, rows: Mapping[str, _Row]) -> Iterator[Mistake]:
    named = dict(_tables(regions))
    for name in REGIONS:
        if name not in named:
            yield Mistake(REGIONS_FILE, name, "", "the region is missing")
    for name, table in named.items():
        if name not in REGIONS:
            yield Mistake(REGIONS_FILE, name, "", "unknown region")
        found = _shape(table, REGION_FIELDS, REGIONS_FILE, name)
        yield from found
        sound = _sound(table, found)
        for task in TASKS:
            if task in sound:
                yield from _default_fits(name, task, sound[task], rows.get(sound[task]))


def _default_fits(region: str, task: str, row_id: str, row: _Row | None) -> Iterator[Mistake]:
    if row is None:
        yield Mistake(REGIONS_FILE, region, task, f"no row {row_id!r}")
        return
    if region not in row.places:
        yield Mistake(REGIONS_FILE, region, task, f"{row_id} does not serve the region")
    if task == "vision" and "image" not in row.fields.get("modalities", ("image",)):
        yield Mistake(REGIONS_FILE, region, task, f"{row_id} takes no images")
    if task == "math" and not row.fields.get("supports_tools", True):
        yield Mistake(REGIONS_FILE, region, task, f"{row_id} has no tools")


def _aliases(aliases: Any, rows: Mapping[str, _Row]) -> Iterator[Mistake]:
    for alias, ids in _tables(aliases):
        for message in (*_alias_name(alias, rows), *_alias_rows(alias, ids, rows)):
            yield Mistake(ALIASES_FILE, alias, "", message)


def _alias_name(alias: str, rows: Mapping[str, _Row]) -> Iterator[str]:
    if not is_name(alias):
        yield "is not a name"
    if alias in RESERVED_NAMES:
        yield "is a reserved name"
    if alias in rows:
        yield "is a row id already"


def _alias_rows(alias: str, ids: Any, rows: Mapping[str, _Row]) -> Iterator[str]:
    if not isinstance(ids, list) or not ids or not all(isinstance(item, str) for item in ids):
        yield "must be a list of row ids"
        return
    for row_id in sorted(set(ids)):
        if row_id not in rows:
            yield f"no row {row_id!r}"
        if ids.count(row_id) > 1:
            yield f"names {row_id!r} twice"
    for row in rows.values():
        if row.fields.get("model") == alias and row.id not in ids:
            yield f"hides {row.id!r}, whose upstream id it is"


def _tables(value: Any) -> list[tuple[str, Any]]:
    """The members of a table in the order of their names; none where it is no table."""
    if not isinstance(value, dict):
        return []
    return sorted((str(name), member) for name, member in value.items())


ROW_RULES: tuple[Callable[[_Row], Iterator[Mistake]], ...] = (
    _id_begins_with_provider,
    _tokens_out,
    _speed,
    _modalities,
    _cache_is_keyed,
    _agreement_fits,
)
