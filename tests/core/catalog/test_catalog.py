"""The catalog in the repository is whole, and every mistake in a catalog is named at once."""

import copy
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from phigate.adapters import ADAPTERS
from phigate.core.catalog.check import check, checked_catalog
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.catalog.model_item import model_item
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.routing.route import rows_of_model
from phigate.core.types import MODEL_TIERS, REGIONS, Catalog, Json

CATALOG = Path(__file__).parents[3] / "catalog"
BUILT_AT = datetime(2026, 11, 21, tzinfo=UTC)

INFOMANIAK, SCALEWAY = "providers/infomaniak.toml", "providers/scaleway.toml"
GEMMA = "infomaniak-gemma-4-31b"
CH_ROW = ("providers", "infomaniak", "rows", 0)
CH_PLACE = (*CH_ROW, "places", "CH")
CH_AGREEMENT = ("providers", "infomaniak", "agreements", "dpa")
ABSENT = object()

Where = tuple[str | int, ...]

# What is changed in the document (path, value), and the mistakes that must come of it.
BROKEN: dict[str, tuple[list[tuple[Where, Any]], set[tuple[str, str, str]]]] = {
    "unknown field of a row": (
        [((*CH_ROW, "temperature"), 1)],
        {(INFOMANIAK, GEMMA, "temperature")},
    ),
    "missing field of a row": (
        [((*CH_ROW, "context"), ABSENT)],
        {(INFOMANIAK, GEMMA, "context")},
    ),
    "text where an integer belongs": (
        [((*CH_ROW, "context"), "131072")],
        {(INFOMANIAK, GEMMA, "context")},
    ),
    "a flag is no integer": (
        [((*CH_ROW, "overhead_tokens"), True)],
        {(INFOMANIAK, GEMMA, "overhead_tokens")},
    ),
    "an integer is no flag": (
        [((*CH_ROW, "supports_tools"), 0)],
        {(INFOMANIAK, GEMMA, "supports_tools")},
    ),
    "negative overhead": (
        [((*CH_ROW, "overhead_tokens"), -1)],
        {(INFOMANIAK, GEMMA, "overhead_tokens")},
    ),
    "bytes per token written without the factor of ten": (
        [((*CH_ROW, "bytes_per_token_x10"), 3)],
        {(INFOMANIAK, GEMMA, "bytes_per_token_x10")},
    ),
    "a speed of nothing": (
        [((*CH_ROW, "tokens_out_per_s"), 0), ((*CH_ROW, "tokens_out_per_s_evidence"), "a page")],
        {(INFOMANIAK, GEMMA, "tokens_out_per_s")},
    ),
    "a speed without evidence": (
        [((*CH_ROW, "tokens_out_per_s"), 100)],
        {(INFOMANIAK, GEMMA, "tokens_out_per_s_evidence")},
    ),
    "evidence that says nothing": (
        [((*CH_ROW, "tokens_out_per_s"), 100), ((*CH_ROW, "tokens_out_per_s_evidence"), " ")],
        {(INFOMANIAK, GEMMA, "tokens_out_per_s_evidence")},
    ),
    "negative price": (
        [((*CH_ROW, "price", "in_micros_per_mtok"), -1)],
        {(INFOMANIAK, GEMMA, "price.in_micros_per_mtok")},
    ),
    "price with decimals": (
        [((*CH_ROW, "price", "out_micros_per_mtok"), 0.44)],
        {(INFOMANIAK, GEMMA, "price.out_micros_per_mtok")},
    ),
    "missing price": (
        [((*CH_ROW, "price", "out_micros_per_mtok"), ABSENT)],
        {(INFOMANIAK, GEMMA, "price.out_micros_per_mtok")},
    ),
    "misspelt cache price": (
        [((*CH_ROW, "price", "cached_micros_per_mtok"), 1)],
        {(INFOMANIAK, GEMMA, "price.cached_micros_per_mtok")},
    ),
    "unknown status": ([((*CH_ROW, "status"), "beta")], {(INFOMANIAK, GEMMA, "status")}),
    "no_key is never written": (
        [((*CH_ROW, "status"), "no_key")],
        {(INFOMANIAK, GEMMA, "status")},
    ),
    "unknown model tier": (
        [((*CH_ROW, "model_tier"), "slow")],
        {(INFOMANIAK, GEMMA, "model_tier")},
    ),
    "unknown modality": (
        [((*CH_ROW, "modalities"), ["text", "image", "audio"])],
        {(INFOMANIAK, GEMMA, "modalities")},
    ),
    "a modality twice": (
        [((*CH_ROW, "modalities"), ["text", "image", "image"])],
        {(INFOMANIAK, GEMMA, "modalities")},
    ),
    "a row that reads no text": (
        [((*CH_ROW, "modalities"), ["image"])],
        {(INFOMANIAK, GEMMA, "modalities")},
    ),
    "a cache key of a name that no adapter writes": (
        [((*CH_ROW, "cache_key_name"), "cache_control")],
        {(INFOMANIAK, GEMMA, "cache_key_name")},
    ),
    "a cache per key without a key": (
        [((*CH_ROW, "cache_is_per_key"), True)],
        {(INFOMANIAK, GEMMA, "cache_is_per_key")},
    ),
    "a cache per key in words": (
        [((*CH_ROW, "cache_is_per_key"), "yes")],
        {(INFOMANIAK, GEMMA, "cache_is_per_key")},
    ),
    "images that cost nothing": (
        [((*CH_ROW, "image_tokens_max"), 0)],
        {(INFOMANIAK, GEMMA, "image_tokens_max")},
    ),
    "default output above the row's maximum": (
        [((*CH_ROW, "tokens_out_max"), 4096)],
        {(INFOMANIAK, GEMMA, "tokens_out_default")},
    ),
    "default output above 8192": (
        [((*CH_ROW, "tokens_out_default"), 8193), ((*CH_ROW, "tokens_out_max"), 9000)],
        {(INFOMANIAK, GEMMA, "tokens_out_default")},
    ),
    "output longer than the context": (
        [((*CH_ROW, "context"), 8000)],
        {(INFOMANIAK, GEMMA, "tokens_out_max")},
    ),
    "id of another provider": (
        [
            ((*CH_ROW, "id"), "scaleway-gemma"),
            (("regions", "CH", "chat"), ABSENT),
            (("regions", "CH", "vision"), ABSENT),
            (("aliases", "gemma-4"), ["scaleway-gemma"]),
        ],
        {(INFOMANIAK, "scaleway-gemma", "id")},
    ),
    "id with a slash": (
        [
            ((*CH_ROW, "id"), "infomaniak-google/gemma"),
            (("regions", "CH", "chat"), ABSENT),
            (("regions", "CH", "vision"), ABSENT),
            (("aliases", "gemma-4"), ABSENT),
        ],
        {(INFOMANIAK, "infomaniak-google/gemma", "id")},
    ),
    "id twice in one file": (
        [((*CH_ROW[:-1], 1, "id"), GEMMA), (("regions", "CH", "math"), ABSENT)],
        {(INFOMANIAK, GEMMA, "id"), ("aliases.toml", "qwen3.5", "")},
    ),
    "row without an id": (
        [
            ((*CH_ROW[:-1], 1, "id"), ABSENT),
            (("regions", "CH", "math"), ABSENT),
            (("aliases", "qwen3.5"), ["scaleway-qwen3.5"]),
        ],
        {(INFOMANIAK, "rows[2]", "id")},
    ),
    "row that is no table": (
        [
            ((*CH_ROW[:-1], 1), "qwen"),
            (("regions", "CH", "math"), ABSENT),
            (("aliases", "qwen3.5"), ["scaleway-qwen3.5"]),
        ],
        {(INFOMANIAK, "rows[2]", "")},
    ),
    "provider under another name than its file": (
        [(("providers", "infomaniak", "provider"), "infomaniac")],
        {(INFOMANIAK, "", "provider")},
    ),
    "unknown way to send the key": (
        [(("providers", "infomaniak", "auth"), "basic")],
        {(INFOMANIAK, "", "auth")},
    ),
    "provider without a dialect": (
        [(("providers", "infomaniak", "dialect"), ABSENT)],
        {(INFOMANIAK, "", "dialect")},
    ),
    "place in an unknown region": (
        [((*CH_ROW, "places", "MARS"), {})],
        {
            (INFOMANIAK, GEMMA, "places.MARS"),
            (INFOMANIAK, GEMMA, "places.MARS.base_url"),
            (INFOMANIAK, GEMMA, "places.MARS.residency"),
            (INFOMANIAK, GEMMA, "places.MARS.evidence_url"),
            (INFOMANIAK, GEMMA, "places.MARS.evidence_read"),
        },
    ),
    "unknown residency": (
        [((*CH_PLACE, "residency"), "trusted")],
        {(INFOMANIAK, GEMMA, "places.CH.residency")},
    ),
    "base URL without TLS": (
        [((*CH_PLACE, "base_url"), "http://api.infomaniak.com/v1")],
        {(INFOMANIAK, GEMMA, "places.CH.base_url")},
    ),
    "base URL with a query": (
        [((*CH_PLACE, "base_url"), "https://api.infomaniak.com/v1?a=b")],
        {(INFOMANIAK, GEMMA, "places.CH.base_url")},
    ),
    "base URL with a password": (
        [((*CH_PLACE, "base_url"), "https://me:secret@api.infomaniak.com/v1")],
        {(INFOMANIAK, GEMMA, "places.CH.base_url")},
    ),
    "base URL with a brace left open": (
        [((*CH_PLACE, "base_url"), "https://api.infomaniak.com/2/ai/{product_id/v1")],
        {(INFOMANIAK, GEMMA, "places.CH.base_url")},
    ),
    "base URL with a variable without a name": (
        [((*CH_PLACE, "base_url"), "https://api.infomaniak.com/2/ai/{}/v1")],
        {(INFOMANIAK, GEMMA, "places.CH.base_url")},
    ),
    "base URL with a closing slash": (
        [((*CH_PLACE, "base_url"), "https://api.infomaniak.com/v1/")],
        {(INFOMANIAK, GEMMA, "places.CH.base_url")},
    ),
    "residency without evidence": (
        [((*CH_PLACE, "evidence_url"), ""), ((*CH_PLACE, "evidence_read"), "lately")],
        {
            (INFOMANIAK, GEMMA, "places.CH.evidence_url"),
            (INFOMANIAK, GEMMA, "places.CH.evidence_read"),
        },
    ),
    "pins that nest": (
        [((*CH_PLACE, "pins"), {"region": {"name": "ch"}})],
        {(INFOMANIAK, GEMMA, "places.CH.pins")},
    ),
    "agreement that nobody wrote": (
        [((*CH_ROW, "agreement"), "baa")],
        {(INFOMANIAK, GEMMA, "agreement")},
    ),
    "agreement that ends before it begins": (
        [((*CH_AGREEMENT, "expires"), "2025-12-31")],
        {(INFOMANIAK, "dpa", "expires")},
    ),
    "agreement of no length": (
        [((*CH_AGREEMENT, "expires"), "2026-01-01")],
        {(INFOMANIAK, "dpa", "expires")},
    ),
    "date that does not exist": (
        [((*CH_AGREEMENT, "effective"), "2026-02-30")],
        {(INFOMANIAK, "dpa", "effective")},
    ),
    "date in a short form": (
        [((*CH_AGREEMENT, "effective"), "20260101")],
        {(INFOMANIAK, "dpa", "effective")},
    ),
    "agreement for a region without a place": (
        [(("providers", "scaleway", "agreements", "dpa", "regions"), ["EU", "UK"])],
        {
            (SCALEWAY, "scaleway-gemma-4-26b", "agreement"),
            (SCALEWAY, "scaleway-qwen3.6-35b", "agreement"),
            (SCALEWAY, "scaleway-qwen3.5", "agreement"),
        },
    ),
    "agreement where residency is unproven": (
        [((*CH_PLACE, "residency"), "unproven")],
        {(INFOMANIAK, GEMMA, "agreement")},
    ),
    "agreement in an unknown region": (
        [((*CH_AGREEMENT, "regions"), ["DE"])],
        {(INFOMANIAK, "dpa", "regions")},
    ),
    "unknown law": ([((*CH_AGREEMENT, "law"), "CCPA")], {(INFOMANIAK, "dpa", "law")}),
    "evidence that is no hash": (
        [((*CH_AGREEMENT, "evidence_sha256"), "F" * 64)],
        {(INFOMANIAK, "dpa", "evidence_sha256")},
    ),
    "zero retention as a word": (
        [((*CH_AGREEMENT, "zero_retention"), "yes")],
        {(INFOMANIAK, "dpa", "zero_retention")},
    ),
    "region left out": ([(("regions", "MENA"), ABSENT)], {("regions.toml", "MENA", "")}),
    "unknown region": (
        [(("regions", "MARS"), {"aws_regions": ["eu-central-1"]})],
        {("regions.toml", "MARS", "")},
    ),
    "AWS region misspelt": (
        [(("regions", "CH", "aws_regions"), ["zurich"])],
        {("regions.toml", "CH", "aws_regions")},
    ),
    "default row that does not exist": (
        [(("regions", "CH", "chat"), "infomaniak-gemma-5")],
        {("regions.toml", "CH", "chat")},
    ),
    "default row of another region": (
        [(("regions", "CH", "chat"), "scaleway-qwen3.5")],
        {("regions.toml", "CH", "chat")},
    ),
    "vision default without images": (
        [(("regions", "CH", "vision"), "infomaniak-qwen3.5")],
        {("regions.toml", "CH", "vision")},
    ),
    "math default without tools": (
        [(("regions", "CH", "math"), GEMMA)],
        {("regions.toml", "CH", "math")},
    ),
    "default for an unknown task": (
        [(("regions", "CH", "poetry"), GEMMA)],
        {("regions.toml", "CH", "poetry")},
    ),
    "alias to an unknown row": (
        [(("aliases", "gemma-5"), ["infomaniak-gemma-5"])],
        {("aliases.toml", "gemma-5", "")},
    ),
    "alias that is a row id": (
        [(("aliases", GEMMA), ["scaleway-gemma-4-26b"])],
        {("aliases.toml", GEMMA, "")},
    ),
    "alias that the router reads otherwise": (
        [(("aliases", "auto"), [GEMMA])],
        {("aliases.toml", "auto", "")},
    ),
    "alias to nothing": ([(("aliases", "empty"), [])], {("aliases.toml", "empty", "")}),
    "alias with a row twice": (
        [(("aliases", "double"), [GEMMA, GEMMA])],
        {("aliases.toml", "double", "")},
    ),
    "alias that hides an upstream id": (
        [(("aliases", "gemma-4-26b-a4b-it"), [GEMMA])],
        {("aliases.toml", "gemma-4-26b-a4b-it", "")},
    ),
    "alias that breaks a header": (
        [(("aliases", "a\r\nb"), [GEMMA])],
        {("aliases.toml", "a\r\nb", "")},
    ),
    "several mistakes in several files": (
        [
            ((*CH_ROW, "status"), "beta"),
            ((*CH_ROW, "price", "in_micros_per_mtok"), "0.22"),
            (("providers", "scaleway", "rows", 2, "context"), 0),
            (("regions", "US", "chat"), "together-qwen9"),
            (("aliases", "gpt-4o"), ["azure-gpt-5"]),
        ],
        {
            (INFOMANIAK, GEMMA, "status"),
            (INFOMANIAK, GEMMA, "price.in_micros_per_mtok"),
            (SCALEWAY, "scaleway-qwen3.5", "context"),
            ("regions.toml", "US", "chat"),
            ("aliases.toml", "gpt-4o", ""),
        },
    ),
    "part left out": (
        [(("aliases",), ABSENT)],
        {("", "", "aliases")},
    ),
    "part that nobody knows": ([(("extras",), {})], {("", "", "extras")}),
}


def texts() -> dict[str, str]:
    return {str(path.relative_to(CATALOG)): path.read_text() for path in CATALOG.rglob("*.toml")}


def document() -> Json:
    return document_from_texts(texts())


def catalog() -> Catalog:
    return checked_catalog(canonical_bytes(document()))


def changed(changes: list[tuple[Where, Any]]) -> Json:
    whole = copy.deepcopy(document())
    for where, value in changes:
        table: Any = whole
        for step in where[:-1]:
            table = table[step]
        if value is ABSENT:
            del table[where[-1]]
        else:
            table[where[-1]] = value
    return whole


def test_the_catalog_of_the_repository_has_no_mistake() -> None:
    assert check(document(), frozenset(ADAPTERS)) == []


@pytest.mark.parametrize("changes, expected", BROKEN.values(), ids=BROKEN.keys())
def test_each_mistake_is_named_by_file_row_and_field(
    changes: list[tuple[Where, Any]], expected: set[tuple[str, str, str]]
) -> None:
    broken = changed(changes)
    mistakes = check(broken)
    assert {(mistake.file, mistake.row, mistake.field) for mistake in mistakes} == expected
    with pytest.raises(CatalogInvalid) as caught:
        checked_catalog(json.dumps(broken).encode())
    assert list(caught.value.mistakes) == mistakes
    assert all(str(mistake) in str(caught.value) for mistake in mistakes)


def test_an_id_that_two_providers_use_is_named_where_it_stands_again() -> None:
    rows = document()["providers"]["infomaniak"]["rows"]
    mistakes = check(changed([(("providers", "scaleway", "rows", 0), rows[0])]))
    found = {(mistake.file, mistake.row, mistake.field) for mistake in mistakes}
    assert (SCALEWAY, GEMMA, "id") in found
    assert (INFOMANIAK, GEMMA, "id") not in found


@pytest.mark.parametrize("junk", [None, 1, "text", [], [1], True], ids=repr)
@pytest.mark.parametrize(
    "where",
    [
        ("regions",),
        ("regions", "CH"),
        ("aliases",),
        ("aliases", "gemma-4"),
        ("providers",),
        ("providers", "infomaniak"),
        ("providers", "infomaniak", "rows"),
        ("providers", "infomaniak", "agreements"),
        ("providers", "infomaniak", "agreements", "dpa"),
        CH_ROW,
        (*CH_ROW, "id"),
        (*CH_ROW, "price"),
        (*CH_ROW, "places"),
        CH_PLACE,
    ],
    ids=lambda where: ".".join(str(step) for step in where),
)
def test_junk_anywhere_is_a_mistake_and_never_a_crash(where: Where, junk: Any) -> None:
    assert check(changed([(where, junk)])) != []


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000])
def test_bytes_that_hold_no_document_are_refused(junk: bytes) -> None:
    with pytest.raises(CatalogInvalid):
        checked_catalog(junk)


def test_a_row_that_is_served_in_a_dialect_without_adapter_is_a_mistake() -> None:
    live = changed([(("providers", "anthropic", "rows", 0, "status"), "live")])
    [mistake] = check(live, frozenset({"openai"}))
    assert (mistake.row, mistake.field) == ("anthropic-claude-sonnet-4-6", "status")
    assert check(live, frozenset({"openai", "anthropic"})) == []


# A file that is added, and the file that must be named.
ODD_FILES = {
    "not TOML": ({"providers/acme.toml": "provider = "}, "providers/acme.toml"),
    "one key twice": ({"aliases.toml": '"a" = ["b"]\n"a" = ["c"]'}, "aliases.toml"),
    "a file without a place": ({"notes.toml": ""}, "notes.toml"),
    "a provider in a folder of its own": (
        {"providers/acme/rows.json": ""},
        "providers/acme/rows.json",
    ),
}


@pytest.mark.parametrize("added, named", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_a_file_that_is_not_understood_is_named(added: dict[str, str], named: str) -> None:
    with pytest.raises(CatalogInvalid) as caught:
        document_from_texts({**texts(), **added})
    assert [mistake.file for mistake in caught.value.mistakes] == [named]


def test_missing_files_are_named() -> None:
    with pytest.raises(CatalogInvalid) as caught:
        document_from_texts({})
    assert {m.file for m in caught.value.mistakes} == {"regions.toml", "aliases.toml"}


def test_the_same_texts_give_the_same_bytes_in_any_order() -> None:
    forward, backward = texts(), dict(reversed(texts().items()))
    first = canonical_bytes(document_from_texts(forward))
    assert first == canonical_bytes(document_from_texts(backward))
    assert checked_catalog(first).sha256 == hashlib.sha256(first).hexdigest()


def test_all_ten_regions_have_a_chat_row_and_aws_regions() -> None:
    regions = catalog().regions
    assert set(regions) == set(REGIONS)
    for region in REGIONS:
        assert {"chat", "vision", "math"} == set(regions[region].rows)
        assert regions[region].aws_regions


def test_residents_are_those_of_the_published_cards() -> None:
    regions = catalog().regions
    assert regions["CH"].rows["vision"] == "infomaniak-gemma-4-31b"
    assert regions["CH"].rows["math"] == "infomaniak-qwen3.5"
    assert regions["EU"].rows["math"] == "scaleway-qwen3.5"
    assert regions["CH"].aws_regions == ("eu-central-2",)


@pytest.mark.parametrize("region", ["CH", "EU", "US"])
@pytest.mark.parametrize("alias", ["gemma-4", "qwen3.5", "qwen3.6", "glm-5.2"])
def test_each_canonical_alias_has_a_live_row_or_a_default_to_fall_back_to(
    alias: str, region: str
) -> None:
    whole = catalog()
    rows = [whole.rows_by_id[row_id] for row_id in whole.aliases[alias]]
    rows.append(whole.rows_by_id[whole.regions[region].rows["chat"]])
    assert any(row.status == "live" and region in row.places for row in rows)


def test_phi_is_served_in_switzerland_and_the_eu_alone_for_a_year_and_more() -> None:
    covered: set[str] = set()
    for row in catalog().rows:
        if row.agreement is None:
            continue
        assert row.agreement.zero_retention and row.agreement.no_training
        assert row.agreement.effective_at_s <= BUILT_AT.timestamp()
        assert row.agreement.expires_at_s >= (BUILT_AT + timedelta(days=365)).timestamp()
        covered |= {f"{row.provider} {region}" for region in row.agreement.regions}
    assert covered == {"infomaniak CH", "scaleway EU"}
    for row in catalog().rows:
        if row.provider in ("infomaniak", "scaleway"):
            assert row.agreement is not None


def test_agreement_dates_are_midnight_utc() -> None:
    agreement = catalog().rows_by_id[GEMMA].agreement
    assert agreement is not None
    assert agreement.effective_at_s == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert agreement.expires_at_s == datetime(2028, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("provider", ["infomaniak", "scaleway"])
def test_the_placeholder_evidence_bears_the_hash_that_the_agreement_names(provider: str) -> None:
    text = (CATALOG / "evidence" / f"{provider}-dpa.txt").read_bytes()
    assert text.startswith(b"PLACEHOLDER")
    agreement = document()["providers"][provider]["agreements"]["dpa"]
    assert agreement["evidence_sha256"] == hashlib.sha256(text).hexdigest()


def test_gemma_has_no_tools_and_every_model_tier_is_there() -> None:
    rows = catalog().rows
    assert not any(row.supports_tools for row in rows if "gemma" in row.id)
    assert {row.model_tier for row in rows} == set(MODEL_TIERS)


def test_a_place_pins_what_the_provider_needs_to_be_told() -> None:
    places = catalog().rows_by_id["anthropic-claude-sonnet-4-6"].places
    assert places["US"].pins == {"inference_geo": "us"}
    assert places["EU"].residency == "unproven"


def test_model_item_shows_what_the_contract_names() -> None:
    whole = catalog()
    item = model_item(whole, whole.rows_by_id[GEMMA])
    agreement = item.pop("agreement")
    price = item.pop("price")
    assert item == {
        "id": GEMMA,
        "object": "model",
        "created": 0,
        "owned_by": "infomaniak",
        "model": "google/gemma-4-31B-it",
        "aliases": ["gemma-4"],
        "regions": ["CH"],
        "tier": "phi",
        "residency": {"CH": "contract"},
        "status": "live",
        "model_tier": "baseline",
        "supports_tools": False,
        "supports_vision": True,
        "supports_json_schema": True,
        "confidential": False,
        "context": 131072,
        "tokens_out_max": 8192,
    }
    assert (agreement["law"], agreement["expires"]) == ("nFADP", "2028-01-01")
    assert (price["in_usd_per_mtok"], price["out_usd_per_mtok"]) == ("0.24", "0.48")
    general = model_item(whole, whole.rows_by_id["azure-gpt-4o"])
    assert (general["tier"], general["agreement"]) == ("general", None)


# Names of the public descriptions, with a slash in them, and the row that each means.
NAMES = {
    "openai/gpt-5-nano": "openai-gpt-5-nano",
    "gpt-5-nano": "openai-gpt-5-nano",
    "phala/qwen3.5-27b": "phala-qwen3.5-27b",
    "phala/gemma-3-27b-it": "phala-gemma-3-27b-it",
    "z-ai/glm-5": "phala-glm-5",
    "openai/gpt-oss-120b": "phala-gpt-oss-120b",
}


@pytest.mark.parametrize(("name", "row_id"), NAMES.items(), ids=NAMES)
def test_a_name_of_the_public_descriptions_means_a_row(name: str, row_id: str) -> None:
    assert [row.id for row in rows_of_model(catalog(), name)] == [row_id]


def test_confidential_rows_claim_no_region_and_carry_no_phi() -> None:
    confidential = [row for row in catalog().rows if row.confidential]
    assert {row.provider for row in confidential} == {"phala"}
    assert len(confidential) == 4
    for row in confidential:
        assert set(row.places) == {"WORLD"}
        assert row.places["WORLD"].residency == "unproven"
        assert row.agreement is None
        assert model_item(catalog(), row)["confidential"] is True


def test_a_row_says_which_members_it_does_not_take() -> None:
    rows = catalog().rows_by_id
    assert {"temperature", "top_p", "stop"} <= rows["openai-gpt-5-nano"].drops
    assert rows["openai-gpt-5-nano"].max_tokens_name == "max_completion_tokens"
    assert rows[GEMMA].drops == frozenset()


def test_a_cache_is_per_key_where_the_catalog_says_so_and_nowhere_by_default() -> None:
    rows = catalog().rows
    assert {row.id: row.cache_key_name for row in rows if row.cache_key_name} == {
        "azure-gpt-4o": "prompt_cache_key",
        "openai-gpt-5-nano": "prompt_cache_key",
    }
    assert not [row.id for row in rows if row.cache_is_per_key], "no provider says so yet"
    says: list[tuple[Where, Any]] = [
        ((*CH_ROW, "cache_key_name"), "cache_salt"),
        ((*CH_ROW, "cache_is_per_key"), True),
    ]
    said = checked_catalog(canonical_bytes(changed(says))).rows_by_id[GEMMA]
    assert (said.cache_key_name, said.cache_is_per_key) == ("cache_salt", True)


def test_a_row_writes_200_tokens_a_second_unless_its_catalog_says_otherwise() -> None:
    whole = copy.deepcopy(document())
    row = whole["providers"]["infomaniak"]["rows"][0]
    assert "tokens_out_per_s" not in row
    assert loaded(whole).rows_by_id[GEMMA].tokens_out_per_s == 200
    row |= {"tokens_out_per_s": 90, "tokens_out_per_s_evidence": "measured on 2026-11-30"}
    assert loaded(whole).rows_by_id[GEMMA].tokens_out_per_s == 90


def loaded(whole: Json) -> Catalog:
    return checked_catalog(canonical_bytes(whole))
