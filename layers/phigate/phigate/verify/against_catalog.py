"""Whether a receipt says of rows, regions, agreements and prices what the catalog it names says.

The record alone proves that it agrees with itself; here it is held against the reviewed snapshot
that the gateway decided on.
"""

from collections.abc import Callable, Iterator
from typing import Any

from phigate.core.types import Agreement, Catalog, Json, Price, Row
from phigate.verify.consistency import Violation


def mismatches(record: Json, catalog: Catalog) -> Iterator[Violation]:
    """Every rule by which the record departs from the snapshot."""
    for name, rule in RULES:
        for sentence in rule(record, catalog):
            yield name, sentence


def names_no_catalog(record: Json) -> bool:
    """Whether something was tried or charged although the record names no snapshot."""
    return record["catalog"] is None and bool(record["attempts"] or "row" in record)


def _rows(record: Json, catalog: Catalog) -> Iterator[str]:
    for row in sorted(_tried(record) - catalog.rows_by_id.keys()):
        yield f"the catalog has no row {row}"
    row_served = catalog.rows_by_id.get(record.get("row", ""))
    if row_served is not None and row_served.provider != record["provider"]:
        yield f"{row_served.id} is {row_served.provider}'s, the receipt says {record['provider']}"


def _region(record: Json, catalog: Catalog) -> Iterator[str]:
    for row_id, region, *_ in record["attempts"]:
        row = catalog.rows_by_id.get(row_id)
        if row is not None and region not in row.places:
            yield f"{row_id} was tried in {region}, which it does not serve"
    row = catalog.rows_by_id.get(record.get("row", ""))
    if row is not None and record["region_served"] not in row.places:
        yield f"{row.id} does not serve {record['region_served']}"


def _residency(record: Json, catalog: Catalog) -> Iterator[str]:
    row = catalog.rows_by_id.get(record.get("row", ""))
    place = None if row is None else row.places.get(record["region_served"])
    if record.get("row") in record.get("overrides", {}):
        return  # what the catalog says is of the provider's own address
    if place is not None and place.residency != record["residency"]:
        yield f"the residency is {place.residency}, the receipt says {record['residency']}"


def _price(record: Json, catalog: Catalog) -> Iterator[str]:
    if record["card"] != catalog.card_sha256:
        yield f"the catalog's price card is {catalog.card_sha256}, not {record['card']}"
    for row_id, rates in _priced(record):
        row = catalog.rows_by_id.get(row_id)
        if row is not None and Price(*rates) != row.price:
            yield f"the prices of {row_id} are not the published ones"


def _worked(record: Json, catalog: Catalog) -> Iterator[str]:
    """How fast the row of the last turn writes, and the most that it may be asked for."""
    if "worked" not in record:
        return
    turns = record.get("turns")
    row = catalog.rows_by_id.get(turns[-1][0] if turns else record["row"])
    _, tokens_out_per_s, tokens_out_max = record["worked"]
    if row is not None and tokens_out_per_s != row.tokens_out_per_s:
        yield f"{row.id} writes {row.tokens_out_per_s} tokens a second, not {tokens_out_per_s}"
    if row is not None and tokens_out_max > row.tokens_out_max:
        yield f"{row.id} is asked for {row.tokens_out_max} tokens at most, not {tokens_out_max}"


def _priced(record: Json) -> Iterator[tuple[str, list[int]]]:
    for turn in record.get("turns", ()):
        yield turn[0], turn[5:]
    if "row" in record and "price" in record:
        yield record["row"], record["price"]


def _agreement(record: Json, catalog: Catalog) -> Iterator[str]:
    told = record.get("agreements", {})
    for row_id, region in sorted({(attempt[0], attempt[1]) for attempt in record["attempts"]}):
        row = catalog.rows_by_id.get(row_id)
        if row is None:
            continue
        if row_id in told and told[row_id] != _dated(row.agreement):
            yield f"the agreement of {row_id} is not the catalog's, or has other dates"
        if record["phi"] is not False:
            yield from _unfit(row, region)
    yield from _untimely(record, catalog)


def _untimely(record: Json, catalog: Catalog) -> Iterator[str]:
    """PHI at an override outside the dates of the agreement by whose terms it was trusted: the
    receipt names none."""
    overrides = {} if record["phi"] is False else record.get("overrides", {})
    for row_id, _, _, _, at_ms in record["attempts"]:
        row = catalog.rows_by_id.get(row_id)
        agreement = None if row is None or row_id not in overrides else row.agreement
        if agreement is None:
            continue
        tried_ms = record["time"] * 1000 + at_ms
        if not agreement.effective_at_s * 1000 <= tried_ms < agreement.expires_at_s * 1000:
            yield f"{row_id} saw PHI while {agreement.id} was not in force"


def _unfit(row: Row, region: str) -> Iterator[str]:
    """Why a row's agreement does not permit PHI in a region."""
    agreement = row.agreement
    if agreement is None:
        yield f"the catalog has no agreement for {row.id}, which saw PHI"
        return
    if region not in agreement.regions:
        yield f"{agreement.id} does not cover {region}"
    if not agreement.zero_retention or not agreement.no_training:
        yield f"{agreement.id} does not forbid retention and training"
    place = row.places.get(region)
    if place is not None and place.residency == "unproven":
        yield f"{row.id} saw PHI in {region}, where its residency is unproven"


def _confidential(record: Json, catalog: Catalog) -> Iterator[str]:
    """What was required was required of every attempt and every turn."""
    told = record.get("confidential")
    if told in ("name", "policy", "preference"):
        for row_id in sorted(_tried(record)):
            row = catalog.rows_by_id.get(row_id)
            if row is not None and not row.confidential:
                yield f"a confidential row was required by {told}, {row_id} is none"
    if told in ("name", "lifted") and not any(row.confidential for row in catalog.rows):
        yield "the catalog has no confidential row that a name could mean"


def _tried(record: Json) -> set[str]:
    """Every row that the record names as tried, charged or answering."""
    named = {attempt[0] for attempt in record["attempts"]}
    named.update(turn[0] for turn in record.get("turns", ()))
    if "row" in record:
        named.add(record["row"])
    return named


def _dated(agreement: Agreement | None) -> list[Any] | None:
    if agreement is None:
        return None
    return [agreement.id, agreement.law, agreement.effective_at_s, agreement.expires_at_s]


RULES: tuple[tuple[str, Callable[[Json, Catalog], Iterator[str]]], ...] = (
    ("row", _rows),
    ("region", _region),
    ("residency", _residency),
    ("price", _price),
    ("agreement", _agreement),
    ("confidential", _confidential),
    ("worked", _worked),
)
