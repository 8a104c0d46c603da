"""What `/v1/models` tells of a row."""

from datetime import UTC, datetime

from phigate.core.catalog.price import price_members, tier_of
from phigate.core.types import Agreement, Catalog, Json, Row


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


def _day(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()
