"""The rate card: what a token costs the caller.

Law: the published price is the base price plus MARGIN_PERCENT, rounded half up to whole cents per
million tokens, and the published price is what is billed.
"""

import hashlib
import json
from collections.abc import Sequence

from phigate.core.catalog.reach import permitting_row
from phigate.core.types import Catalog, Json, Price, Row

MARGIN_PERCENT = 10
MICROS_PER_USD = 1_000_000
MICROS_PER_CENT = 10_000
CARD_PREFIX = "sha256:"


def card_price(base: Price) -> Price:
    """The published price of a base price, each rate on its own."""
    return Price(
        in_micros_per_mtok=_with_margin(base.in_micros_per_mtok),
        out_micros_per_mtok=_with_margin(base.out_micros_per_mtok),
        cache_read_micros_per_mtok=_with_margin(base.cache_read_micros_per_mtok),
        cache_write_micros_per_mtok=_with_margin(base.cache_write_micros_per_mtok),
    )


def usd_per_mtok(micros: int) -> str:
    """A published rate in dollars, always with two decimals: 240_000 is `0.24`."""
    return f"{micros // MICROS_PER_USD}.{micros % MICROS_PER_USD // MICROS_PER_CENT:02d}"


def tier_of(row: Row) -> str:
    """The best data tier that the row can carry: `phi` where it has an agreement."""
    return "general" if permitting_row(row).agreement is None else "phi"


def card_sha256(card: Json) -> str:
    """The hash in hex of a card's body, over its currency, margin and rows as canonical JSON.

    A row's `status` is left out: it says what a stack can serve now, not what a token costs, and
    two stacks with different provider keys bill by the same card. Raises KeyError for a body that
    is no card.
    """
    priced = [{name: row[name] for name in row if name != "status"} for row in card["rows"]]
    text = json.dumps(
        {"currency": card["currency"], "margin_percent": card["margin_percent"], "rows": priced},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def card_of_rows(rows: Sequence[Row]) -> Json:
    """The card without its hash."""
    return {
        "currency": "USD",
        "margin_percent": MARGIN_PERCENT,
        "rows": [_card_row(row) for row in rows],
    }


def pricing_card(catalog: Catalog) -> Json:
    """The body of `/v1/pricing`."""
    return {"card": CARD_PREFIX + catalog.card_sha256, **card_of_rows(catalog.rows)}


def price_members(price: Price) -> dict[str, str]:
    """The four rates of a published price as the card and `/v1/models` show them."""
    return {
        "in_usd_per_mtok": usd_per_mtok(price.in_micros_per_mtok),
        "out_usd_per_mtok": usd_per_mtok(price.out_micros_per_mtok),
        "cache_read_usd_per_mtok": usd_per_mtok(price.cache_read_micros_per_mtok),
        "cache_write_usd_per_mtok": usd_per_mtok(price.cache_write_micros_per_mtok),
    }


def _card_row(row: Row) -> Json:
    return {
        "row": row.id,
        "provider": row.provider,
        "model": row.model,
        "regions": sorted(row.places),
        # Hashed with the prices, which an override leaves as they are.
        "tier": tier_of(row.reviewed),
        "status": row.status,
        **price_members(row.price),
    }


def _with_margin(base_micros: int) -> int:
    parts_per_cent = 100 * MICROS_PER_CENT
    cents = (base_micros * (100 + MARGIN_PERCENT) + parts_per_cent // 2) // parts_per_cent
    return cents * MICROS_PER_CENT
