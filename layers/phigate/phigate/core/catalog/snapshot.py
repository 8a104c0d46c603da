"""The catalog: from reviewed text to the one immutable snapshot that a request is decided on.

The path is texts -> document -> canonical bytes -> Catalog, and the SHA-256 of the canonical bytes
is the snapshot's name.
Law 1: a document with one mistake becomes no Catalog.
Law 2: what is pushed is checked strictly, and what was signed is read by `core.catalog.reading`: by
this release's fields, whichever release has signed it.
"""

import hashlib
import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from phigate.core.catalog.check import (
    ALIASES_FILE,
    PROVIDERS_FOLDER,
    REGIONS_FILE,
    TASKS,
    CatalogInvalid,
    Mistake,
    check,
)
from phigate.core.catalog.price import (
    card_of_rows,
    card_price,
    card_sha256,
    price_members,
    pricing_card,
    tier_of,
)
from phigate.core.catalog.reading import SnapshotTooNew, readable, with_reads_from
from phigate.core.limits import TOKENS_OUT_PER_S_DEFAULT
from phigate.core.types import Agreement, Catalog, Json, Place, Price, RegionDefaults, Row

__all__ = [
    "CatalogInvalid",
    "Mistake",
    "SnapshotTooNew",
    "canonical_bytes",
    "catalog_from_bytes",
    "check",
    "document_from_texts",
    "model_item",
    "pricing_card",
    "read_catalog",
    "with_missing_keys",
]


def document_from_texts(texts: Mapping[str, str]) -> Json:
    """The document of a catalog folder. KeyStore are paths relative to the folder (`regions.toml`,
    `aliases.toml`, `providers/<name>.toml`), values TOML text.

    Raises CatalogInvalid for text that is not TOML and for files that have no place; what the
    document says is `check`'s matter.
    """
    document: Json = {"regions": {}, "aliases": {}, "providers": {}}
    mistakes = [
        Mistake(name, "", "", "the file is missing")
        for name in (REGIONS_FILE, ALIASES_FILE)
        if name not in texts
    ]
    for path, text in sorted(texts.items()):
        try:
            table = _without_dates(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            mistakes.append(Mistake(path, "", "", f"not TOML: {error}"))
            continue
        if path in FILES:
            document[FILES[path]] = table
        elif path.startswith(PROVIDERS_FOLDER) and path.endswith(".toml"):
            name = path.removeprefix(PROVIDERS_FOLDER).removesuffix(".toml")
            document["providers"][name] = table
        else:
            mistakes.append(Mistake(path, "", "", "no such file belongs in a catalog"))
    if mistakes:
        raise CatalogInvalid(mistakes)
    return with_reads_from(document)


def canonical_bytes(document: Json) -> bytes:
    """The document as the bytes that are hashed and signed: JSON, keys sorted, no spaces."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def catalog_from_bytes(document_bytes: bytes) -> Catalog:
    """The Catalog of canonical bytes that are to be pushed. Raises CatalogInvalid for every mistake
    in them at once."""
    return _catalog(_document(document_bytes), document_bytes)


def read_catalog(document_bytes: bytes) -> Catalog:
    """The Catalog of canonical bytes that some release has signed. Raises SnapshotTooNew where this
    release must not read them, CatalogInvalid for mistakes."""
    return _catalog(readable(_document(document_bytes)), document_bytes)


def _document(document_bytes: bytes) -> Any:
    try:
        return json.loads(document_bytes)
    except (ValueError, RecursionError) as error:
        raise CatalogInvalid([Mistake("", "", "", "the document is not JSON")]) from error


def _catalog(document: Any, document_bytes: bytes) -> Catalog:
    mistakes = check(document)
    if mistakes:
        raise CatalogInvalid(mistakes)
    rows = tuple(
        _row(table, provider)
        for _, provider in sorted(document["providers"].items())
        for table in provider["rows"]
    )
    return Catalog(
        sha256=hashlib.sha256(document_bytes).hexdigest(),
        card_sha256=card_sha256(card_of_rows(rows)),
        rows=rows,
        rows_by_id={row.id: row for row in rows},
        regions={name: _region(table) for name, table in document["regions"].items()},
        aliases={name: tuple(ids) for name, ids in document["aliases"].items()},
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


def model_item(catalog: Catalog, row: Row) -> Json:
    """One item of `/v1/models`."""
    return {
        "id": row.id,
        "object": "model",
        "created": 0,
        "owned_by": row.provider,
        "model": row.model,
        "aliases": sorted(name for name, ids in catalog.aliases.items() if row.id in ids),
        "regions": sorted(row.places),
        "tier": tier_of(row),
        "agreement": None if row.agreement is None else _agreement_item(row.agreement),
        "residency": {name: place.residency for name, place in sorted(row.places.items())},
        "status": row.status,
        "model_tier": row.model_tier,
        "supports_tools": row.supports_tools,
        "supports_vision": "image" in row.modalities,
        "supports_json_schema": row.supports_json_schema,
        "confidential": row.confidential,
        "context": row.context,
        "tokens_out_max": row.tokens_out_max,
        "price": price_members(row.price),
        **_reach_members(row),
    }


def _reach_members(row: Row) -> Json:
    """What is said of a row whose provider is reached elsewhere."""
    if row.override is None:
        return {}
    return {"override": {"host": row.override.host, "phi_trusted": row.override.phi_trusted}}


def _agreement_item(agreement: Agreement) -> Json:
    return {
        "id": agreement.id,
        "law": agreement.law,
        "kind": agreement.kind,
        "regions": sorted(agreement.regions),
        "effective": _day(agreement.effective_at_s),
        "expires": _day(agreement.expires_at_s),
        "zero_retention": agreement.zero_retention,
        "no_training": agreement.no_training,
        "evidence_sha256": agreement.evidence_sha256,
    }


def _row(table: Json, provider: Json) -> Row:
    base = _price(table["price"])
    return Row(
        id=table["id"],
        provider=provider["provider"],
        model=table["model"],
        dialect=provider["dialect"],
        auth=provider["auth"],
        status=table["status"],
        model_tier=table["model_tier"],
        places={name: _place(place) for name, place in table["places"].items()},
        modalities=frozenset(table["modalities"]),
        supports_tools=table["supports_tools"],
        supports_json_schema=table["supports_json_schema"],
        confidential=table["confidential"],
        context=table["context"],
        tokens_out_default=table["tokens_out_default"],
        tokens_out_max=table["tokens_out_max"],
        max_tokens_name=table["max_tokens_name"],
        image_tokens_max=table["image_tokens_max"],
        overhead_tokens=table["overhead_tokens"],
        tokens_per_message=table["tokens_per_message"],
        tool_overhead_tokens=table["tool_overhead_tokens"],
        bytes_per_token_x10=table["bytes_per_token_x10"],
        base=base,
        price=card_price(base),
        agreement=_agreement(provider["agreements"][name])
        if (name := table.get("agreement")) is not None
        else None,
        api_version=table.get("api_version", ""),
        drops=frozenset(table.get("drops", ())),
        cache_key_name=table.get("cache_key_name", ""),
        cache_is_per_key=table.get("cache_is_per_key", False),
        tokens_out_per_s=table.get("tokens_out_per_s", TOKENS_OUT_PER_S_DEFAULT),
    )


def _price(table: Json) -> Price:
    in_micros: int = table["in_micros_per_mtok"]
    return Price(
        in_micros_per_mtok=in_micros,
        out_micros_per_mtok=table["out_micros_per_mtok"],
        cache_read_micros_per_mtok=table.get("cache_read_micros_per_mtok", in_micros),
        cache_write_micros_per_mtok=table.get("cache_write_micros_per_mtok", in_micros),
    )


def _place(table: Json) -> Place:
    return Place(
        base_url=table["base_url"],
        residency=table["residency"],
        evidence_url=table["evidence_url"],
        evidence_read=table["evidence_read"],
        pins=table.get("pins", {}),
    )


def _agreement(table: Json) -> Agreement:
    return Agreement(
        id=table["id"],
        law=table["law"],
        kind=table["kind"],
        regions=frozenset(table["regions"]),
        effective_at_s=_midnight_s(table["effective"]),
        expires_at_s=_midnight_s(table["expires"]),
        zero_retention=table["zero_retention"],
        no_training=table["no_training"],
        evidence_sha256=table["evidence_sha256"],
    )


def _region(table: Json) -> RegionDefaults:
    return RegionDefaults(
        rows={task: table[task] for task in TASKS if task in table},
        aws_regions=tuple(table["aws_regions"]),
        sandbox=table.get("sandbox", False),
    )


def _midnight_s(day: str) -> int:
    """An agreement begins and ends at 00:00 UTC of the day that it names."""
    return int(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp())


def _day(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def _without_dates(value: Any) -> Any:
    """TOML's dates as their text: the document is JSON."""
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


FILES = {REGIONS_FILE: "regions", ALIASES_FILE: "aliases"}
