"""The one immutable snapshot that a request is decided on, read from the bytes that were signed.

The SHA-256 of a document's canonical bytes is the snapshot's name. It may be read by a release that
has not made it: an older one, a newer one, a function that is being replaced, or an audit years
later.
Law 1: what is missing, of a wrong type, out of range or against a rule makes no Catalog.
Law 2: a field that this release does not know is ignored, and one that was added since the snapshot
was signed has its default, which is never weaker for PHI than any value.
Law 3: where not knowing a field would weaken the gate the snapshot says so itself, by `reads_from`,
and an older release refuses all of it.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from phigate.core.catalog import vocabulary as may_be
from phigate.core.catalog.mistakes import CatalogInvalid, Mistake
from phigate.core.catalog.price import card_of_rows, card_price, card_sha256
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
from phigate.core.catalog.table_reader import TableReader, table_reader
from phigate.core.catalog.vocabulary import PRICE_MICROS_MAX, READS_FROM, TASKS, TOKENS_MAX
from phigate.core.limits import TOKENS_OUT_PER_S_DEFAULT
from phigate.core.release import RELEASE, parse_release
from phigate.core.request.prompt_cache import CACHE_KEY_NAMES
from phigate.core.types import (
    MODEL_TIERS,
    REGIONS,
    Agreement,
    Catalog,
    Json,
    Place,
    Price,
    RegionDefaults,
    Row,
)


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


def canonical_bytes(document: Json) -> bytes:
    """The document as the bytes that are hashed and signed: JSON, keys sorted, no spaces."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def parse_document(document_bytes: bytes) -> Any:
    """What canonical bytes hold. Raises CatalogInvalid where that is not JSON."""
    try:
        return json.loads(document_bytes)
    except (ValueError, RecursionError) as error:
        raise CatalogInvalid([Mistake("", "", "", "the document is not JSON")]) from error


def read_catalog(document_bytes: bytes, release: str = RELEASE) -> Catalog:
    """The Catalog of canonical bytes that some release has signed. Raises SnapshotTooNew where this
    release must not read them, CatalogInvalid for the first thing that it cannot read. `release` is
    a parameter so that a test can be another release."""
    document = parse_document(document_bytes)
    if isinstance(document, dict):
        _check_release(document.get(READS_FROM), release)
    return catalog_of(document, document_bytes)


def catalog_of(document: Any, document_bytes: bytes) -> Catalog:
    """The Catalog of a document, named by its bytes. Raises CatalogInvalid."""
    if not isinstance(document, dict):
        raise CatalogInvalid([Mistake("", "", "", "the document is not a table")])
    parts = TableReader(document, "", "", "")
    providers = [
        _provider(name, table) for name, table in sorted(parts.table("providers", least=0).items())
    ]
    tables = [row for provider in providers for row in provider.tables]
    by_id = rows_by_id(tables)
    regions = parts.table("regions", least=0)
    region_defaults = {name: _region(name, table) for name, table in regions.items()}
    aliases = parts.table("aliases", least=0)
    mistakes = [
        *(mistake for provider in providers for mistake in provider.mistakes),
        *row_mistakes(tables),
        *region_mistakes(regions, by_id),
        *alias_mistakes(aliases, by_id),
    ]
    if mistakes:
        raise CatalogInvalid(mistakes)
    rows = tuple(row for provider in providers for row in provider.rows)
    return Catalog(
        sha256=hashlib.sha256(document_bytes).hexdigest(),
        card_sha256=card_sha256(card_of_rows(rows)),
        rows=rows,
        rows_by_id={row.id: row for row in rows},
        regions=region_defaults,
        aliases={name: tuple(ids) for name, ids in aliases.items()},
    )


def with_missing_keys(catalog: Catalog, providers_without_key: Collection[str]) -> Catalog:
    """The same catalog, where rows that would be served are `no_key` for want of a provider key.

    A staged row stays staged, and both hashes stay: they name what was pushed.
    """

    def marked(row: Row) -> Row:
        served = row.status in ("live", "alpha")
        missing = row.provider in providers_without_key
        return replace(row, status="no_key") if served and missing else row

    rows = tuple(marked(row) for row in catalog.rows)
    return replace(catalog, rows=rows, rows_by_id={row.id: row for row in rows})


@dataclass(frozen=True, slots=True)
class _Provider:
    """A provider's rows, the tables that the rules run over, and what is wrong beside the rows."""

    rows: list[Row]
    tables: list[RowTables]
    mistakes: list[Mistake]


def _check_release(reads_from: Any, release: str) -> None:
    if reads_from is None:
        return
    needed, own = parse_release(reads_from), parse_release(release)
    if needed is None or own is None or needed > own:
        raise SnapshotTooNew(reads_from)


def _provider(name: str, table: Any) -> _Provider:
    file = provider_file(name)
    provider = table_reader(table, file)
    provider.text("provider", may_be.is_id)
    provider.text("dialect", may_be.is_id)
    provider.one_of("auth", may_be.AUTH_SCHEMES)
    agreement_tables = provider.table("agreements", {})
    agreements = {
        key: _agreement(table_reader(each, file, key)) for key, each in agreement_tables.items()
    }
    mistakes = [*provider_mistakes(name, provider.members)]
    for key, each in agreement_tables.items():
        mistakes += agreement_mistakes(file, key, each)
    rows, tables = [], []
    for number, each in enumerate(provider.rows("rows"), start=1):
        reader = table_reader(each, file, f"rows[{number}]")
        row = _row(reader, provider.members, agreements)
        rows.append(row)
        places = reader.members["places"]
        tables.append(RowTables(file, row.id, each, places, provider.members, agreement_tables))
    return _Provider(rows, tables, mistakes)


def _row(table: TableReader, provider: Json, agreements: dict[str, Agreement]) -> Row:
    base = _price(table.reader("price"))
    table.text("tokens_out_per_s_evidence", may_be.is_evidence, "")
    return Row(
        id=table.text("id", may_be.is_id),
        provider=provider["provider"],
        model=table.text("model", may_be.is_name),
        dialect=provider["dialect"],
        auth=provider["auth"],
        status=table.one_of("status", may_be.STATUSES),
        model_tier=table.one_of("model_tier", MODEL_TIERS),
        places=_places(table),
        modalities=frozenset(table.names("modalities", may_be.one_of(may_be.MODALITIES))),
        supports_tools=table.flag("supports_tools"),
        supports_json_schema=table.flag("supports_json_schema"),
        confidential=table.flag("confidential"),
        context=table.count("context", 1, TOKENS_MAX),
        tokens_out_default=table.count("tokens_out_default", 1, TOKENS_MAX),
        tokens_out_max=table.count("tokens_out_max", 1, TOKENS_MAX),
        max_tokens_name=table.one_of("max_tokens_name", may_be.MAX_TOKENS_NAMES),
        image_tokens_max=table.count("image_tokens_max", 0, TOKENS_MAX),
        overhead_tokens=table.count("overhead_tokens", 0, TOKENS_MAX),
        tokens_per_message=table.count("tokens_per_message", 0, TOKENS_MAX),
        tool_overhead_tokens=table.count("tool_overhead_tokens", 0, TOKENS_MAX),
        bytes_per_token_x10=table.count("bytes_per_token_x10", *may_be.BYTES_PER_TOKEN_X10),
        base=base,
        price=card_price(base),
        agreement=_agreement_of(table, agreements),
        api_version=table.one_of("api_version", may_be.API_VERSIONS, ""),
        drops=frozenset(table.names("drops", may_be.one_of(may_be.DROPS), ())),
        cache_key_name=table.one_of("cache_key_name", CACHE_KEY_NAMES, ""),
        cache_is_per_key=table.flag("cache_is_per_key", False),
        tokens_out_per_s=table.count(
            "tokens_out_per_s", 1, may_be.TOKENS_PER_S_MAX, TOKENS_OUT_PER_S_DEFAULT
        ),
    )


def _agreement_of(table: TableReader, agreements: dict[str, Agreement]) -> Agreement | None:
    """A row without an agreement sees no PHI; one that names what is not there is refused."""
    if "agreement" not in table.members:
        return None
    name = table.text("agreement", may_be.is_name)
    if name not in agreements:
        raise table.wrong("agreement", f"no agreement {name!r} in this file")
    return agreements[name]


def _price(table: TableReader) -> Price:
    in_micros = table.count("in_micros_per_mtok", 0, PRICE_MICROS_MAX)
    return Price(
        in_micros_per_mtok=in_micros,
        out_micros_per_mtok=table.count("out_micros_per_mtok", 0, PRICE_MICROS_MAX),
        cache_read_micros_per_mtok=table.count(
            "cache_read_micros_per_mtok", 0, PRICE_MICROS_MAX, in_micros
        ),
        cache_write_micros_per_mtok=table.count(
            "cache_write_micros_per_mtok", 0, PRICE_MICROS_MAX, in_micros
        ),
    )


def _places(row: TableReader) -> dict[str, Place]:
    places = {}
    for name, value in row.table("places").items():
        if name not in REGIONS:
            raise row.wrong(f"places.{name}", "unknown region")
        places[name] = _place(table_reader(value, row.file, row.row, f"places.{name}."))
    return places


def _place(table: TableReader) -> Place:
    pins = table.table("pins", {}, least=0)
    if not may_be.is_plain(pins):
        raise table.wrong("pins", "must hold text, integers and flags only")
    return Place(
        base_url=table.text("base_url", may_be.is_base_url),
        residency=table.one_of("residency", may_be.RESIDENCIES),
        evidence_url=table.text("evidence_url", may_be.is_web_url),
        evidence_read=table.text("evidence_read", may_be.is_day),
        pins=pins,
    )


def _agreement(table: TableReader) -> Agreement:
    return Agreement(
        id=table.text("id", may_be.is_id),
        law=table.one_of("law", may_be.LAWS),
        kind=table.one_of("kind", may_be.KINDS),
        regions=frozenset(table.names("regions", may_be.one_of(REGIONS))),
        effective_at_s=_midnight_s(table.text("effective", may_be.is_day)),
        expires_at_s=_midnight_s(table.text("expires", may_be.is_day)),
        zero_retention=table.flag("zero_retention"),
        no_training=table.flag("no_training"),
        evidence_sha256=table.text("evidence_sha256", may_be.is_sha256),
    )


def _region(name: str, value: Any) -> RegionDefaults:
    table = table_reader(value, REGIONS_FILE, name)
    return RegionDefaults(
        rows={task: table.text(task, may_be.is_id) for task in TASKS if task in table.members},
        aws_regions=table.names("aws_regions", may_be.is_aws_region),
        sandbox=table.flag("sandbox", False),
    )


def _midnight_s(day: str) -> int:
    """An agreement begins and ends at 00:00 UTC of the day that it names."""
    return int(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp())
