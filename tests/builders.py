"""Small functions that build the values of `core.types` for all tests; every argument is optional.

What they build is served: a live row with an agreement in force at NOW_S in CH, asked for in CH.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.routing.gate import GateContext
from phigate.core.types import (
    REGIONS,
    Agreement,
    Catalog,
    Json,
    Place,
    Preferences,
    Price,
    RegionDefaults,
    Requirements,
    Row,
)

CATALOG_FOLDER = Path(__file__).parents[1] / "catalog"
NOW_S = 1_800_000_000.0
DAY_S = 86_400
# Published prices of the CH gemma-4 row: 0.24 and 0.48 USD per million tokens.
GEMMA_PRICE = Price(240_000, 480_000, 240_000, 240_000)


def make_price(tokens_in: int, tokens_out: int, read: int | None = None, write: int = -1) -> Price:
    """A price in micros per million tokens; cache prices are the input price when left out."""
    return Price(
        tokens_in,
        tokens_out,
        tokens_in if read is None else read,
        tokens_in if write < 0 else write,
    )


def make_agreement(**changes: Any) -> Agreement:
    """An agreement for CH, in force at NOW_S, without retention or training."""
    agreement = Agreement(
        id="agreement-1",
        law="nFADP",
        kind="DPA",
        regions=frozenset({"CH"}),
        effective_at_s=int(NOW_S) - 100 * DAY_S,
        expires_at_s=int(NOW_S) + 100 * DAY_S,
        zero_retention=True,
        no_training=True,
        evidence_sha256="0" * 64,
    )
    return replace(agreement, **changes)


def make_place(**changes: Any) -> Place:
    """A place whose residency is proven by contract, without pins."""
    place = Place(
        base_url="https://api.example.com/v1",
        residency="contract",
        evidence_url="https://www.example.com/terms",
        evidence_read="2026-11-21",
        pins={},
    )
    return replace(place, **changes)


def make_row(row_id: str = "acme-one", **changes: Any) -> Row:
    """A live row in CH that sees images, takes tools, and has an agreement in force."""
    row = Row(
        id=row_id,
        provider=row_id.partition("-")[0],
        model=f"upstream/{row_id}",
        dialect="openai",
        auth="bearer",
        status="live",
        model_tier="baseline",
        places={"CH": make_place()},
        modalities=frozenset({"text", "image"}),
        supports_tools=True,
        supports_json_schema=True,
        confidential=False,
        context=131_072,
        tokens_out_default=8_192,
        tokens_out_max=8_192,
        max_tokens_name="max_tokens",
        image_tokens_max=1_000,
        overhead_tokens=32,
        tokens_per_message=8,
        tool_overhead_tokens=256,
        bytes_per_token_x10=35,
        base=make_price(220_000, 440_000),
        price=GEMMA_PRICE,
        agreement=make_agreement(),
    )
    return replace(row, **changes)


def make_catalog(
    rows: Iterable[Row],
    *,
    defaults: Mapping[str, Mapping[str, str]] | None = None,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
    sandboxes: Container[str] = (),
) -> Catalog:
    """A catalog of ten regions; `defaults` are the default rows per region and task, `sandboxes`
    the regions where programs can be run."""
    rows = tuple(rows)
    given = defaults or {}
    return Catalog(
        sha256="c" * 64,
        card_sha256="d" * 64,
        rows=rows,
        rows_by_id={row.id: row for row in rows},
        regions={
            name: RegionDefaults(given.get(name, {}), (), name in sandboxes) for name in REGIONS
        },
        aliases=aliases or {},
    )


def repository_catalog() -> Catalog:
    """The catalog that lies in the repository, as a stack would load it."""
    texts = {
        str(path.relative_to(CATALOG_FOLDER)): path.read_text(encoding="utf-8")
        for path in CATALOG_FOLDER.rglob("*.toml")
    }
    return checked_catalog(canonical_bytes(document_from_texts(texts)))


def make_requirements(**changes: Any) -> Requirements:
    """A general text request for any model in CH."""
    requirements = Requirements(
        model="auto",
        region="CH",
        phi=False,
        model_tier=None,
        task="chat",
        images=0,
        needs_tools=False,
        needs_json_schema=False,
        has_tools=False,
        tokens_out=None,
        text_bytes=100,
        messages=1,
        preferences=Preferences(),
    )
    return replace(requirements, **changes)


def make_gate_context(**changes: Any) -> GateContext:
    """NOW_S, a catalog read just now, and a stack that allows no unproven residency."""
    return replace(GateContext(NOW_S, 0.0), **changes)


def make_body(**members: Any) -> Json:
    """A chat body of one short message; a member given as None is null, not absent."""
    return {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], **members}
