"""How a snapshot is read by a release that has not made it."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phigate.core.catalog import fields as catalog_fields
from phigate.core.catalog.fields import Field, Fields
from phigate.core.catalog.reading import TABLES, readable, with_reads_from
from phigate.core.catalog.snapshot import (
    CatalogInvalid,
    SnapshotTooNew,
    canonical_bytes,
    catalog_from_bytes,
    check,
    document_from_texts,
    read_catalog,
)
from phigate.core.release import RELEASE, parse_release
from phigate.core.routing.gate import admit
from phigate.core.types import REGIONS, Json
from tests.builders import CATALOG_FOLDER, NOW_S, make_gate_context, make_requirements

ROOT = Path(__file__).parents[3]


def document() -> Json:
    texts = {
        path.relative_to(CATALOG_FOLDER).as_posix(): path.read_text("utf-8")
        for path in CATALOG_FOLDER.rglob("*.toml")
    }
    return document_from_texts(texts)


def a_row(whole: Json) -> Json:
    row: Json = whole["providers"]["infomaniak"]["rows"][0]
    return row


# A table of the document, one of each kind that has fields.
PLACES: dict[str, Callable[[Json], Json]] = {
    "provider": lambda whole: whole["providers"]["infomaniak"],
    "agreement": lambda whole: whole["providers"]["infomaniak"]["agreements"]["dpa"],
    "row": a_row,
    "price": lambda whole: a_row(whole)["price"],
    "place": lambda whole: a_row(whole)["places"]["CH"],
    "region": lambda whole: whole["regions"]["CH"],
}


def test_every_kind_of_table_stands_in_this_test() -> None:
    assert PLACES.keys() == TABLES.keys()


def test_the_release_is_the_one_of_the_package() -> None:
    assert f'\nversion = "{RELEASE}"\n' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert parse_release(RELEASE) is not None


@pytest.mark.parametrize("where", PLACES.values(), ids=PLACES)
def test_a_field_of_a_later_release_is_ignored_in_reading_and_a_mistake_in_checking(
    where: Callable[[Json], Json],
) -> None:
    later = document()
    where(later)["of_a_later_release"] = {"any": ["thing"]}
    content = canonical_bytes(later)
    read, own = read_catalog(content), catalog_from_bytes(canonical_bytes(document()))
    assert replace(read, sha256=own.sha256) == own
    assert read.sha256 != own.sha256  # it is named by what was signed
    assert [mistake.message for mistake in check(later)] == ["unknown field"]
    with pytest.raises(CatalogInvalid):
        catalog_from_bytes(content)


def test_a_part_of_a_later_release_is_ignored_in_reading_and_a_mistake_in_checking() -> None:
    later = {**document(), "overlays": {"ch": {}}}
    assert read_catalog(canonical_bytes(later)).rows
    assert [mistake.message for mistake in check(later)] == ["unknown part"]


@pytest.mark.parametrize("kind", PLACES)
def test_a_field_that_was_added_since_has_its_default_in_reading_and_is_required_in_checking(
    kind: str,
) -> None:
    tables = {**TABLES, kind: {**TABLES[kind], "added": Field(lambda _: None, absent="never")}}
    read = readable(document(), tables=tables)
    assert PLACES[kind](read)["added"] == "never"
    said = document()
    PLACES[kind](said)["added"] = "said"
    assert PLACES[kind](readable(said, tables=tables))["added"] == "said"


@pytest.mark.parametrize("kind", PLACES)
def test_a_snapshot_whose_field_narrows_the_gate_is_refused_by_older_releases_in_words(
    kind: str,
) -> None:
    tables = {
        **TABLES,
        kind: {**TABLES[kind], "narrows": Field(lambda _: None, reads_from="2.1.0")},
    }
    later = document()
    PLACES[kind](later)["narrows"] = True
    later = with_reads_from(later, tables)
    assert later["reads_from"] == "2.1.0"
    for release in ("0.2.0", "2.0.9", "1.99.99"):
        with pytest.raises(SnapshotTooNew, match=r"needs release 2\.1\.0 or a later one"):
            readable(later, release)
    for release in ("2.1.0", "2.1.1", "10.0.0"):
        assert readable(later, release)["providers"].keys() == later["providers"].keys()
    with pytest.raises(SnapshotTooNew):
        read_catalog(canonical_bytes(later))


def test_the_greatest_release_of_several_fields_is_named() -> None:
    tables = {
        **TABLES,
        "row": {**TABLES["row"], "one": Field(lambda _: None, reads_from="1.9.0")},
        "place": {**TABLES["place"], "two": Field(lambda _: None, reads_from="1.10.0")},
    }
    later = document()
    a_row(later)["one"] = 1
    PLACES["place"](later)["two"] = 2
    assert with_reads_from(later, tables)["reads_from"] == "1.10.0"


def test_no_field_of_this_release_needs_a_newer_one() -> None:
    assert "reads_from" not in document()
    for fields in TABLES.values():
        for name, field in fields.items():
            needed = parse_release(field.reads_from)
            assert field.reads_from is None or needed is not None, name
            assert needed is None or needed <= (parse_release(RELEASE) or ()), name


UNREADABLE = ["", "2", "2.1", "02.1.0", "v2.1.0", "2.1.0-rc1", "9999999.0.0", 2, 2.1, True, [], {}]


@pytest.mark.parametrize("reads_from", UNREADABLE, ids=repr)
def test_a_release_that_cannot_be_told_is_refused(reads_from: Any) -> None:
    odd = {**document(), "reads_from": reads_from}
    with pytest.raises(SnapshotTooNew):
        readable(odd)
    assert [mistake.field for mistake in check(odd)] == ["reads_from"]


@pytest.mark.parametrize("junk", [None, 1, "text", [], [1], True], ids=repr)
@pytest.mark.parametrize("where", ["regions", "providers", "aliases"])
def test_junk_in_a_signed_snapshot_is_refused_and_never_a_crash(where: str, junk: Any) -> None:
    with pytest.raises(CatalogInvalid):
        read_catalog(json.dumps({**document(), where: junk}).encode())


def admitted_under_phi(content: bytes) -> set[tuple[str, str]]:
    catalog = read_catalog(content)
    found = set()
    for region in REGIONS:
        asked = make_requirements(phi=True, region=region)
        found |= {
            (row.id, region)
            for row in admit(catalog.rows, asked, make_gate_context(now_s=NOW_S)).rows
        }
    return found


OPTIONAL = [
    (kind, name)
    for kind, fields in TABLES.items()
    for name, field in fields.items()
    if not field.is_required or field.absent is not None
]


@pytest.mark.parametrize("kind, name", OPTIONAL, ids=[f"{kind}.{name}" for kind, name in OPTIONAL])
def test_a_field_that_a_snapshot_lacks_never_admits_phi_anywhere_else(kind: str, name: str) -> None:
    whole = document()
    # Otherwise two rules would hide it: rows that nobody may be sent to are admitted nowhere.
    before = admitted_under_phi(canonical_bytes(whole))
    assert before
    lacking = copy.deepcopy(whole)
    for provider in lacking["providers"].values():
        tables: dict[str, list[Json]] = {
            "provider": [provider],
            "agreement": list(provider.get("agreements", {}).values()),
            "row": provider["rows"],
            "price": [row["price"] for row in provider["rows"]],
            "place": [place for row in provider["rows"] for place in row["places"].values()],
            "region": list(lacking["regions"].values()),
        }
        for table in tables[kind]:
            table.pop(name, None)
    if kind == "provider" and name == "agreements":
        with pytest.raises(CatalogInvalid):
            read_catalog(canonical_bytes(lacking))
        return
    assert admitted_under_phi(canonical_bytes(lacking)) <= before


def test_fields_are_named_once() -> None:
    named: list[Fields] = [getattr(catalog_fields, f"{kind.upper()}_FIELDS") for kind in TABLES]
    assert named == list(TABLES.values())
