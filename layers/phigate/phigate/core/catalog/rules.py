"""The rules of a catalog that span fields or tables.

`check` runs them over the fields whose shape is right, so that every mistake is named at once; the
reader of signed snapshots runs the same ones, so that no release reads what it would not push.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phigate.core.catalog.mistakes import Mistake
from phigate.core.catalog.vocabulary import TASKS, TOKENS_OUT_DEFAULT_MAX, Table, is_name
from phigate.core.types import REGIONS

REGIONS_FILE = "regions.toml"
ALIASES_FILE = "aliases.toml"
PROVIDERS_FOLDER = "providers/"
RESERVED_NAMES = frozenset({"auto"})  # the router reads it as: any model


@dataclass(frozen=True, slots=True)
class RowTables:
    """A row's fields of right shape, its places, and where it stands."""

    file: str
    id: str
    fields: Table
    places: dict[str, Table]
    provider: Table
    agreements: dict[str, Table]


def provider_file(name: str) -> str:
    """The file that a provider's tables stand in."""
    return f"{PROVIDERS_FOLDER}{name}.toml"


def provider_mistakes(name: str, provider: Table) -> Iterator[Mistake]:
    """A provider is named as its file is."""
    if provider.get("provider", name) != name:
        message = f"must be the file's name, {name!r}"
        yield Mistake(provider_file(name), "", "provider", message)


def agreement_mistakes(file: str, key: str, agreement: Table) -> Iterator[Mistake]:
    """An agreement lasts."""
    effective, expires = agreement.get("effective"), agreement.get("expires")
    if effective is not None and expires is not None and effective >= expires:
        yield Mistake(file, key, "expires", "must be after effective")


def row_mistakes(rows: Sequence[RowTables]) -> Iterator[Mistake]:
    """Each row against its own fields, its provider and the rows before it."""
    for row in rows:
        for rule in ROW_RULES:
            yield from rule(row)
    yield from _duplicates(rows)


def rows_by_id(rows: Sequence[RowTables]) -> dict[str, RowTables]:
    """Of rows with one id the first counts; the second is named as the duplicate."""
    return {row.id: row for row in reversed(rows)}


def region_mistakes(
    regions: Mapping[str, Table], rows: Mapping[str, RowTables]
) -> Iterator[Mistake]:
    """The ten regions and no other, with default rows that serve them."""
    for name in REGIONS:
        if name not in regions:
            yield Mistake(REGIONS_FILE, name, "", "the region is missing")
    for name, table in regions.items():
        if name not in REGIONS:
            yield Mistake(REGIONS_FILE, name, "", "unknown region")
        for task in TASKS:
            if task in table:
                yield from _default_fits(name, task, table[task], rows.get(table[task]))


def alias_mistakes(aliases: Mapping[str, Any], rows: Mapping[str, RowTables]) -> Iterator[Mistake]:
    """Each alias is a free name and means rows."""
    for alias, ids in aliases.items():
        for message in (*_alias_name(alias, rows), *_alias_rows(alias, ids, rows)):
            yield Mistake(ALIASES_FILE, alias, "", message)


def _id_begins_with_provider(row: RowTables) -> Iterator[Mistake]:
    if "id" in row.fields and not row.id.startswith(f"{row.provider['provider']}-"):
        message = f"must begin with {row.provider['provider'] + '-'!r}"
        yield Mistake(row.file, row.id, "id", message)


def _tokens_out(row: RowTables) -> Iterator[Mistake]:
    default, most = row.fields.get("tokens_out_default"), row.fields.get("tokens_out_max")
    context = row.fields.get("context")
    if default is not None and default > TOKENS_OUT_DEFAULT_MAX:
        message = f"must be at most {TOKENS_OUT_DEFAULT_MAX}"
        yield Mistake(row.file, row.id, "tokens_out_default", message)
    if default is not None and most is not None and default > most:
        yield Mistake(row.file, row.id, "tokens_out_default", "must be at most tokens_out_max")
    if most is not None and context is not None and most > context:
        yield Mistake(row.file, row.id, "tokens_out_max", "must be at most context")


def _speed(row: RowTables) -> Iterator[Mistake]:
    if "tokens_out_per_s" in row.fields and "tokens_out_per_s_evidence" not in row.fields:
        message = "missing: callers are charged by tokens_out_per_s"
        yield Mistake(row.file, row.id, "tokens_out_per_s_evidence", message)


def _modalities(row: RowTables) -> Iterator[Mistake]:
    modalities = row.fields.get("modalities")
    if modalities is None:
        return
    if "text" not in modalities:
        yield Mistake(row.file, row.id, "modalities", "must hold 'text'")
    if "image" in modalities and row.fields.get("image_tokens_max") == 0:
        message = "must be above 0 where the row takes images"
        yield Mistake(row.file, row.id, "image_tokens_max", message)


def _cache_is_keyed(row: RowTables) -> Iterator[Mistake]:
    """All tenants share one provider key: a cache is per tenant by what the gateway sends, or not
    at all."""
    if row.fields.get("cache_is_per_key") and not row.fields.get("cache_key_name"):
        message = "needs cache_key_name: a cache is per key where one is sent"
        yield Mistake(row.file, row.id, "cache_is_per_key", message)


def _agreement_fits(row: RowTables) -> Iterator[Mistake]:
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


def _duplicates(rows: Sequence[RowTables]) -> Iterator[Mistake]:
    first: dict[str, str] = {}
    for row in rows:
        if row.id in first:
            message = f"stands already in {first[row.id]}"
            yield Mistake(row.file, row.id, "id", message)
        first.setdefault(row.id, row.file)


def _default_fits(region: str, task: str, row_id: str, row: RowTables | None) -> Iterator[Mistake]:
    if row is None:
        yield Mistake(REGIONS_FILE, region, task, f"no row {row_id!r}")
        return
    if region not in row.places:
        yield Mistake(REGIONS_FILE, region, task, f"{row_id} does not serve the region")
    if task == "vision" and "image" not in row.fields.get("modalities", ("image",)):
        yield Mistake(REGIONS_FILE, region, task, f"{row_id} takes no images")
    if task == "math" and not row.fields.get("supports_tools", True):
        yield Mistake(REGIONS_FILE, region, task, f"{row_id} has no tools")


def _alias_name(alias: str, rows: Mapping[str, RowTables]) -> Iterator[str]:
    if not is_name(alias):
        yield "is not a name"
    if alias in RESERVED_NAMES:
        yield "is a reserved name"
    if alias in rows:
        yield "is a row id already"


def _alias_rows(alias: str, ids: Any, rows: Mapping[str, RowTables]) -> Iterator[str]:
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


ROW_RULES: tuple[Callable[[RowTables], Iterator[Mistake]], ...] = (
    _id_begins_with_provider,
    _tokens_out,
    _speed,
    _modalities,
    _cache_is_keyed,
    _agreement_fits,
)
