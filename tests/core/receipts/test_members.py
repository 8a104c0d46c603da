"""The table of a record's members: what is written can be read, and the JSON Schema says the same
to a validator that others have written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.ledger.receipt_item import signed_of
from phigate.core.receipts.members import RECORD, record, record_schema, wrong_members
from phigate.core.receipts.record import Worked
from phigate.core.sandbox.runs import Run
from phigate.core.types import Json
from tests.builders import make_row
from tests.core.receipts.schema import PATH, written
from tests.core.receipts.test_record import ANSWER, CHARGE, REFUSAL

RELEASES = Path(__file__).parents[2] / "releases"
ROW = make_row(confidential=True)
# Every member at once; that some contradict each other is for `verify` to find.
FULL = replace(
    ANSWER,
    row=ROW,
    charge=replace(
        CHARGE, turns=((ROW, CHARGE.usage), (ROW, CHARGE.usage)), worked=Worked(10, 200, 8_192)
    ),
    overrides={"e-1": "proxy.test"},
    simulated=("acme-one",),
    refusals_without_receipt=3,
    upstream_id="chatcmpl-1",
    upstream_hashes=("1" * 64, "2" * 64),
    is_certified=False,
    image="sha256:simulated",
    runs=(Run("python", -9, 12),),
    confidential="name",
)
VALIDATOR = jsonschema_rs.Draft202012Validator(record_schema())
RECORDS: dict[str, Json] = {
    "an answer": record(ANSWER),
    "an answer with everything": record(FULL),
    "a refusal": record(REFUSAL),
}
# One value of each kind, and some at the edges of what a shape takes.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**53, 2**53 + 1, 0.5, "", "a", "\x1b", "A" * 257, "a" * 64, "ok",
    "phi", "routed", [], [[]], {}, {"a": 1}, {"a": "b"}, [1, 2, 3], [1, 2, 3, 4], ["a"],
)  # fmt: skip


def is_taken(members: Json) -> bool:
    """What the reader decides."""
    return not wrong_members(members) and members.keys() <= RECORD.keys()


@pytest.mark.parametrize("members", RECORDS.values(), ids=RECORDS)
def test_what_is_written_can_be_read(members: Json) -> None:
    assert wrong_members(members) == []
    VALIDATOR.validate(members)


def test_every_member_is_in_some_record() -> None:
    assert set().union(*RECORDS.values()) == set(RECORD)


@pytest.mark.parametrize("name", RECORD)
@pytest.mark.parametrize("members", RECORDS.values(), ids=RECORDS)
def test_the_schema_takes_a_changed_member_where_the_reader_does(members: Json, name: str) -> None:
    without = {each: value for each, value in members.items() if each != name}
    assert VALIDATOR.is_valid(without) == is_taken(without)
    for value in (*VALUES, *_inside(members.get(name))):
        changed = {**members, name: value}
        assert VALIDATOR.is_valid(changed) == is_taken(changed), value


@given(st.sampled_from(list(RECORDS)), st.sets(st.sampled_from([*RECORD, "another"])))
def test_the_schema_takes_any_choice_of_members_where_the_reader_does(
    kind: str, dropped: set[str]
) -> None:
    members = {name: value for name, value in RECORDS[kind].items() if name not in dropped}
    if "another" in dropped:
        members["another"] = 1
    assert VALIDATOR.is_valid(members) == is_taken(members)


@pytest.mark.parametrize("release", [path.name for path in RELEASES.iterdir() if path.is_dir()])
def test_the_schema_takes_the_receipts_of_a_release(release: str) -> None:
    payloads = _payloads(RELEASES / release)
    assert payloads
    for members in payloads:
        VALIDATOR.validate(members)
        assert is_taken(members)


def test_the_published_schema_is_that_of_the_table() -> None:
    assert PATH.read_text() == written(), "run: python -m tests.core.receipts.schema"


def _inside(value: Any) -> list[Any]:
    """The value with each of its parts gone, doubled or replaced."""
    if isinstance(value, dict):
        parts = [{k: v for k, v in value.items() if k != name} for name in value]
        return [*parts, {**value, "another": 1}, *({**value, name: None} for name in value)]
    if isinstance(value, list) and value:
        return [value[1:], [*value, value[0]], [None, *value[1:]], *([each] for each in value)]
    return []


def _payloads(folder: Path) -> list[Json]:
    items = json.loads((folder / "items.json").read_text("utf-8"))
    found = [signed_of(item) for item in items if item["pk"]["S"].startswith("R#")]
    return [json.loads(signed.payload) for signed in found if signed is not None]
