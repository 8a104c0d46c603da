"""The rate card comes out to the cent, and its hash can be recomputed by anybody."""

import hashlib
import json
from pathlib import Path

import pytest

from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.price import card_price, card_sha256, pricing_card, usd_per_mtok
from phigate.core.catalog.snapshot import canonical_bytes, with_missing_keys
from phigate.core.types import Catalog, Price

CATALOG = Path(__file__).parents[3] / "catalog"

# Region, row, and the prices in and out that the two published cards name.
PUBLISHED = [
    ("CH", "infomaniak-gemma-4-31b", "phi", "live", "0.24", "0.48"),
    ("CH", "infomaniak-qwen3.5", "phi", "live", "0.97", "4.36"),
    ("EU", "scaleway-gemma-4-26b", "phi", "live", "0.30", "0.59"),
    ("EU", "scaleway-qwen3.6-35b", "phi", "live", "0.47", "1.78"),
    ("EU", "scaleway-qwen3.5", "phi", "live", "0.71", "4.28"),
    ("US", "together-qwen3.5", "general", "live", "0.77", "3.85"),
    ("US", "together-glm-5.2", "general", "live", "0.66", "2.41"),
    ("US", "anthropic-claude-sonnet-4-6", "general", "live", "3.30", "16.50"),
    ("EU", "anthropic-claude-sonnet-4-6", "general", "live", "3.30", "16.50"),
    ("WORLD", "anthropic-claude-sonnet-4-6", "general", "live", "3.30", "16.50"),
    ("UK", "google-gemini-2-5-flash", "general", "live", "0.33", "2.75"),
    ("ASIA", "google-gemini-2-5-flash", "general", "live", "0.33", "2.75"),
    ("ANZ", "google-gemini-2-5-flash", "general", "live", "0.33", "2.75"),
    ("LATAM", "google-gemini-2-5-flash", "general", "live", "0.33", "2.75"),
    ("MENA", "google-gemini-2-5-flash", "general", "live", "0.33", "2.75"),
    ("INDIA", "google-gemini-2-5-flash", "general", "live", "0.33", "2.75"),
    ("WORLD", "google-gemini-2-5-flash", "general", "live", "0.33", "2.75"),
    ("US", "azure-gpt-4o", "general", "staged", "2.75", "11.00"),
    ("WORLD", "openai-gpt-5-nano", "general", "live", "0.06", "0.44"),
    ("WORLD", "phala-qwen3.5-27b", "general", "live", "0.33", "2.64"),
    ("WORLD", "phala-gemma-3-27b-it", "general", "live", "0.12", "0.44"),
    ("WORLD", "phala-glm-5", "general", "live", "1.32", "3.85"),
    ("WORLD", "phala-gpt-oss-120b", "general", "live", "0.17", "0.66"),
]

# Base price and published price, micro-USD per million tokens.
ROUNDED = {
    "nothing costs nothing": (0, 0),
    "exact": (300_000, 330_000),
    "half a cent goes up": (50_000, 60_000),
    "a micro under half a cent goes down": (49_999, 50_000),
    "less than half a cent is free": (4_545, 0),
    "half a cent and a bit": (4_546, 10_000),
    "dear": (15_000_000, 16_500_000),
}


def catalog() -> Catalog:
    texts = {str(p.relative_to(CATALOG)): p.read_text() for p in CATALOG.rglob("*.toml")}
    return checked_catalog(canonical_bytes(document_from_texts(texts)))


@pytest.mark.parametrize("region, row_id, tier, status, in_usd, out_usd", PUBLISHED)
def test_card_equals_the_published_one_to_the_cent(
    *, region: str, row_id: str, tier: str, status: str, in_usd: str, out_usd: str
) -> None:
    card = pricing_card(catalog())
    [row] = [row for row in card["rows"] if row["row"] == row_id]
    assert region in row["regions"]
    assert (row["tier"], row["status"]) == (tier, status)
    assert (row["in_usd_per_mtok"], row["out_usd_per_mtok"]) == (in_usd, out_usd)


def test_published_cards_name_every_place_of_the_catalog() -> None:
    places = {(region, row.id) for row in catalog().rows for region in row.places}
    assert {(region, row_id) for region, row_id, *_ in PUBLISHED} == places


def test_card_is_what_is_billed() -> None:
    price = catalog().rows_by_id["infomaniak-gemma-4-31b"].price
    micros = 100 * price.in_micros_per_mtok + 50 * price.out_micros_per_mtok
    assert micros == 48 * 1_000_000


@pytest.mark.parametrize("base, published", ROUNDED.values(), ids=ROUNDED.keys())
def test_each_rate_is_rounded_half_up_to_whole_cents(base: int, published: int) -> None:
    assert card_price(Price(base, 0, 0, 0)) == Price(published, 0, 0, 0)
    assert card_price(Price(0, base, 0, 0)) == Price(0, published, 0, 0)
    assert card_price(Price(0, 0, base, 0)) == Price(0, 0, published, 0)
    assert card_price(Price(0, 0, 0, base)) == Price(0, 0, 0, published)


def test_cache_rates_default_to_the_input_price() -> None:
    rows = catalog().rows_by_id
    gemma, claude = rows["infomaniak-gemma-4-31b"].price, rows["anthropic-claude-sonnet-4-6"].price
    assert gemma.cache_read_micros_per_mtok == gemma.in_micros_per_mtok
    assert gemma.cache_write_micros_per_mtok == gemma.in_micros_per_mtok
    assert claude.cache_read_micros_per_mtok == 330_000
    assert claude.cache_write_micros_per_mtok == 4_130_000


@pytest.mark.parametrize(
    "micros, text",
    [(0, "0.00"), (10_000, "0.01"), (990_000, "0.99"), (1_000_000, "1.00"), (16_500_000, "16.50")],
)
def test_dollars_always_have_two_decimals(micros: int, text: str) -> None:
    assert usd_per_mtok(micros) == text


def test_card_hash_is_recomputed_from_its_json() -> None:
    card = json.loads(json.dumps(pricing_card(catalog())))
    rows = [{k: v for k, v in row.items() if k != "status"} for row in card["rows"]]
    body = {"currency": "USD", "margin_percent": 10, "rows": rows}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert card["card"] == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert card["card"] == "sha256:" + card_sha256(card)


def test_a_missing_key_changes_the_status_and_not_the_hash() -> None:
    whole = catalog()
    marked = with_missing_keys(whole, {"google", "azure"})
    assert marked.rows_by_id["google-gemini-2-5-flash"].status == "no_key"
    assert marked.rows_by_id["azure-gpt-4o"].status == "staged"
    assert marked.rows_by_id["together-glm-5.2"].status == "live"
    assert [row.id for row in marked.rows] == [row.id for row in whole.rows]
    assert marked.rows_by_id == {row.id: row for row in marked.rows}
    assert (marked.sha256, marked.card_sha256) == (whole.sha256, whole.card_sha256)
    assert card_sha256(pricing_card(marked)) == whole.card_sha256


def test_a_price_changes_the_hash() -> None:
    card = pricing_card(catalog())
    card["rows"][0]["in_usd_per_mtok"] = "0.01"
    assert "sha256:" + card_sha256(card) != card["card"]
