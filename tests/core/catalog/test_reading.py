"""How a snapshot is read by a release that has not made it."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, create_model

from phigate.core.catalog.check import check, checked_catalog
from phigate.core.catalog.files import (
    MODELS,
    FileTable,
    document_from_texts,
    reads_from,
    with_reads_from,
    wrong_fields,
)
from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.catalog.snapshot import SnapshotTooNew, canonical_bytes, read_catalog
from phigate.core.catalog.table_reader import TableReader, table_reader
from phigate.core.release import RELEASE, parse_release
from phigate.core.routing.gate import admit
from phigate.core.types import REGIONS, Json
from tests.builders import CATALOG_FOLDER, NOW_S, make_gate_context, make_requirements
from tests.core.catalog.test_catalog import BROKEN, GEMMA, Where, changed

ROOT = Path(__file__).parents[3]


def document() -> Json:
    texts = {
        path.relative_to(CATALOG_FOLDER).as_posix(): path.read_text("utf-8")
        for path in CATALOG_FOLDER.rglob("*.toml")
    }
    return document_from_texts(texts)


WHOLE = document()
WHOLE_BYTES = canonical_bytes(WHOLE)


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
    assert PLACES.keys() == MODELS.keys()


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
    read, own = read_catalog(content), checked_catalog(canonical_bytes(document()))
    assert replace(read, sha256=own.sha256) == own
    assert read.sha256 != own.sha256  # it is named by what was signed
    assert [mistake.message for mistake in check(later)] == ["unknown field"]
    with pytest.raises(CatalogInvalid):
        checked_catalog(content)


def test_a_part_of_a_later_release_is_ignored_in_reading_and_a_mistake_in_checking() -> None:
    later = {**document(), "overlays": {"ch": {}}}
    assert read_catalog(canonical_bytes(later)).rows
    assert [mistake.message for mistake in check(later)] == ["unknown part"]


def later_models(kind: str, name: str, **extra: str) -> Mapping[str, type[FileTable]]:
    """The models of a later release, in which a kind of table has one more flag."""
    field: Any = (bool, Field(json_schema_extra={**extra}))
    return {**MODELS, kind: create_model("Later", __base__=MODELS[kind], **{name: field})}


@pytest.mark.parametrize("kind", PLACES)
def test_a_field_that_was_added_since_has_its_default_in_reading_and_is_required_in_checking(
    kind: str,
) -> None:
    model = later_models(kind, "added")[kind]
    table = PLACES[kind](document())
    assert wrong_fields(model, table) == {"added": "missing"}
    assert table_reader(table, "a file").flag("added", False) is False
    said = {**table, "added": True}
    assert wrong_fields(model, said) == {}
    assert table_reader(said, "a file").flag("added", False) is True


@pytest.mark.parametrize("kind", PLACES)
def test_a_snapshot_whose_field_narrows_the_gate_is_refused_by_older_releases_in_words(
    kind: str,
) -> None:
    later = document()
    PLACES[kind](later)["narrows"] = True
    later = with_reads_from(later, later_models(kind, "narrows", reads_from="2.1.0"))
    assert later["reads_from"] == "2.1.0"
    content = canonical_bytes(later)
    for release in ("0.2.0", "2.0.9", "1.99.99"):
        with pytest.raises(SnapshotTooNew, match=r"needs release 2\.1\.0 or a later one"):
            read_catalog(content, release)
    for release in ("2.1.0", "2.1.1", "10.0.0"):
        assert read_catalog(content, release).rows
    with pytest.raises(SnapshotTooNew):
        read_catalog(content)


def test_the_greatest_release_of_several_fields_is_named() -> None:
    models = {
        **MODELS,
        "row": later_models("row", "one", reads_from="1.9.0")["row"],
        "place": later_models("place", "two", reads_from="1.10.0")["place"],
    }
    later = document()
    a_row(later)["one"] = True
    PLACES["place"](later)["two"] = True
    assert with_reads_from(later, models)["reads_from"] == "1.10.0"


def test_no_field_of_this_release_needs_a_newer_one() -> None:
    assert "reads_from" not in document()
    for model in MODELS.values():
        for name, field in model.model_fields.items():
            needed = reads_from(field.json_schema_extra)
            assert field.json_schema_extra is None or needed is not None, name
            assert needed is None or needed <= (parse_release(RELEASE) or ()), name


UNREADABLE = ["", "2", "2.1", "02.1.0", "v2.1.0", "2.1.0-rc1", "9999999.0.0", 2, 2.1, True, [], {}]


@pytest.mark.parametrize("reads_from", UNREADABLE, ids=repr)
def test_a_release_that_cannot_be_told_is_refused(reads_from: Any) -> None:
    odd = {**document(), "reads_from": reads_from}
    with pytest.raises(SnapshotTooNew):
        read_catalog(canonical_bytes(odd))
    assert [mistake.field for mistake in check(odd)] == ["reads_from"]


@pytest.mark.parametrize("junk", [None, 1, "text", [], [1], True], ids=repr)
@pytest.mark.parametrize("where", ["regions", "providers", "aliases"])
def test_junk_in_a_signed_snapshot_is_refused_and_never_a_crash(where: str, junk: Any) -> None:
    with pytest.raises(CatalogInvalid):
        read_catalog(json.dumps({**document(), where: junk}).encode())


@pytest.mark.parametrize("changes", [changes for changes, _ in BROKEN.values()], ids=BROKEN)
def test_a_signed_snapshot_with_a_mistake_is_refused(changes: list[tuple[Where, Any]]) -> None:
    """The same table as the check's; what a later release may have added is no mistake here."""
    broken = changed(changes)
    if {mistake.message for mistake in check(broken)} <= {"unknown field", "unknown part"}:
        assert read_catalog(canonical_bytes(broken)).rows == read_catalog(WHOLE_BYTES).rows
        return
    with pytest.raises(CatalogInvalid):
        read_catalog(json.dumps(broken).encode())


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


FIELDS = [(kind, name) for kind, model in MODELS.items() for name in model.model_fields]
OPTIONAL = [
    (kind, name) for kind, name in FIELDS if not MODELS[kind].model_fields[name].is_required()
]
REQUIRED = [field for field in FIELDS if field not in OPTIONAL]


@pytest.mark.parametrize("kind, name", REQUIRED, ids=[f"{kind}.{name}" for kind, name in REQUIRED])
def test_a_snapshot_that_lacks_what_every_release_has_signed_is_refused(
    kind: str, name: str
) -> None:
    lacking = document()
    del PLACES[kind](lacking)[name]
    with pytest.raises(CatalogInvalid):
        read_catalog(canonical_bytes(lacking))


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


Bad = tuple[Any, ...]

# What is asked of a member, what it may be, what it means where it is lacking, and what is refused.
READS: dict[str, tuple[Callable[..., Any], Any, Any, Bad]] = {
    "text": (
        lambda table, *default: table.text("it", str.islower, *default),
        "text",
        "",
        ("", "TEXT", 1, ["text"], {"text": 1}),
    ),
    "count": (
        lambda table, *default: table.count("it", 1, 9, *default),
        9,
        5,
        (0, 10, -1, 1.0, "1", True, [1], 10**30),
    ),
    "flag": (
        lambda table, *default: table.flag("it", *default),
        True,
        False,
        (0, 1, "true", "", [], {}),
    ),
    "one of": (
        lambda table, *default: table.one_of("it", ("a", "b"), *default),
        "a",
        "",
        ("", "c", "A", "ab", 1, ["a"], {"a": 1}),
    ),
    "names": (
        lambda table, *default: table.names("it", lambda item: item in ("a", "b"), *default),
        ("a", "b"),
        (),
        ([], ["a", "a"], ["c"], ["a", 1], [["a"]], "a", "", {"a": 1}, 1),
    ),
    "table": (
        lambda table, *default: table.table("it", *default),
        {"a": 1},
        {},
        ({}, [], ["a"], [["a", 1]], "a", 1, True),
    ),
}


@pytest.mark.parametrize(("read", "right", "default", "bad"), READS.values(), ids=READS)
def test_a_member_is_what_is_asked_for_or_the_snapshot_is_refused(
    read: Callable[..., Any], right: Any, default: Any, bad: Bad
) -> None:
    def table(**members: Any) -> TableReader:
        return table_reader(members, "a file", "a row", "part.")

    given = list(right) if isinstance(right, tuple) else right
    assert read(table(it=given)) == read(table(it=given), default) == right
    assert read(table(), default) == default
    with pytest.raises(CatalogInvalid, match=r"^a file: a row: part\.it: missing$"):
        read(table())
    for value in (None, *bad):
        for defaults in ((), (default,)):
            with pytest.raises(CatalogInvalid, match=r"part\.it: is not what it may be$"):
                read(table(it=value), *defaults)


def paths(value: Any, before: Where = ()) -> Iterator[Where]:
    members: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(value, dict):
        members = iter(value.items())
    elif isinstance(value, list):
        members = iter(enumerate(value))
    for name, member in members:
        yield (*before, name)
        yield from paths(member, (*before, name))


EVERYWHERE = tuple(paths(WHOLE))
ADMITTED = admitted_under_phi(WHOLE_BYTES)
GONE = object()
# Values of one member that look like those of another, and those that a sloppy reader takes.
TRAPS: tuple[Any, ...] = (
    *(GONE, None, True, False, 0, 1, -1, 1.0, 0.5, 10**30, "", " ", "x", "\ud800", [], {}, [[]]),
    *("http://api.example", "https://api.example/", "2026-02-30", "20260101", "CH\n", ["CH", "CH"]),
    *({"": 1}, {"\ud800": 1}, [None], "unproven", "staged", GEMMA, [GEMMA], 8193, 131072),
)
JUNK = st.recursive(
    st.sampled_from(TRAPS[1:]) | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def spoilt(where: Where, junk: Any) -> Json:
    whole = copy.deepcopy(WHOLE)
    table: Any = whole
    for step in where[:-1]:
        table = table[step]
    if junk is GONE:
        del table[where[-1]]
    else:
        table[where[-1]] = junk
    return whole


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EVERYWHERE), st.sampled_from(TRAPS) | JUNK)
def test_junk_anywhere_in_a_signed_snapshot_opens_nothing_and_is_never_a_crash(
    where: Where, junk: Any
) -> None:
    content = json.dumps(spoilt(where, junk)).encode()
    mistakes = check(json.loads(content))
    try:
        admitted = admitted_under_phi(content)
    except CatalogInvalid:
        assert mistakes, "what is pushed can be read"
        return
    assert admitted <= ADMITTED
    # What a reader takes and a push does not is what a later release may have added.
    assert {mistake.message for mistake in mistakes} <= {"unknown field", "unknown part"}


# A provider's agreement and one of its rows, a region and an alias.
ONE_OF_EACH = (
    ("providers", "scaleway", "agreements"),
    ("providers", "scaleway", "rows", 0),
    ("regions", "EU"),
    ("aliases", "qwen3.5"),
)


def test_each_trap_in_each_field_of_a_row_under_an_agreement_opens_nothing() -> None:
    """What the property tries by chance, whole."""
    refused = 0
    for where in EVERYWHERE:
        if not any(where[: len(start)] == start for start in ONE_OF_EACH):
            continue
        for junk in TRAPS:
            try:
                assert admitted_under_phi(json.dumps(spoilt(where, junk)).encode()) <= ADMITTED
            except CatalogInvalid:
                refused += 1
    assert refused > len(TRAPS)
