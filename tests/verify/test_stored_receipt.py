"""Whatever lies in a receipt's place is judged, and nothing that lies there ends an audit."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.audit_operator import repository_document
from phigate.cli.audit_page import as_json, page
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.ledger.receipt_item import GarbledReceipt, read_receipt, signed_members
from phigate.core.receipts.members import RECORD
from phigate.core.receipts.record import Signed
from phigate.core.types import Json
from phigate.verify.audit import Audit, AuditScope
from phigate.verify.chain import read_closed
from phigate.verify.stored_receipt import read_entry, receipt_key
from tests.verify.account_fixture import TRAFFIC, AccountFixture, is_general, is_phi

HONEST = AccountFixture.kept()
NAMES = [HONEST.names(kind, day)[0] for kind, day in ((is_general, 2), (is_phi, 0))]
CATALOG = checked_catalog(canonical_bytes(repository_document()))

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8)
rows = st.sampled_from(sorted(CATALOG.rows_by_id))
values = st.recursive(
    scalars | rows | st.sampled_from(["CH", "EU", "0" * 64]),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(rows | st.text(), inner),
    max_leaves=12,
)
counts = st.integers(0, 2**63 - 1)
shaped: dict[str, st.SearchStrategy[Any]] = {
    "attempts": st.lists(st.tuples(rows, st.text(), st.text(), counts, counts).map(list)),
    "agreements": st.dictionaries(
        rows, st.tuples(st.text(), st.text(), counts, counts).map(list), max_size=3
    ),
    "turns": st.lists(st.tuples(rows, *[counts] * 8).map(list), max_size=3),
    "time": counts,
    "signed": counts,
    "phi": st.sampled_from([True, False, None]),
}
members = st.sampled_from([*RECORD, "another"])
changes = st.dictionaries(members, values, max_size=3) | st.fixed_dictionaries({}, optional=shaped)


def judged(item: dict[str, Any]) -> Audit:
    """An audit that has seen this item alone."""
    question = AuditScope(
        account=TRAFFIC.account,
        first_day=TRAFFIC.first_day,
        last_day=TRAFFIC.last_day,
        now_s=0.0,
        roots={},
        last_number=100,
        open_holds=(),
        closed=[read_closed(day, jws, {}) for day, jws in HONEST.saved()],
    )
    audit = Audit(question)
    entry = read_entry(read_receipt(TRAFFIC.account, item))
    for key in (None, receipt_key("x.y.z", {})):
        audit.entry(entry, HONEST.day(2), key, CATALOG)
    audit.end_day(HONEST.day(2))
    return audit


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(NAMES), changed=changes, without=st.sets(members, max_size=2))
def test_any_record_is_judged(name: tuple[str, str], changed: Json, without: set[str]) -> None:
    record = {k: v for k, v in HONEST.record(name).items() if k not in without} | changed
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    signed = Signed(text.encode("utf-8", "replace"), "k" * 43, bytes(64))
    report = judged({**HONEST.items[name], **signed_members(signed)}).report([], [])
    assert report.findings > 0
    assert page(report, "nobody")
    assert as_json(report, "nobody")["findings"]["total"] == report.findings


attributes = st.sampled_from(["S", "N", "B", "BOOL", "M", "L", "NULL"])
anything: st.SearchStrategy[Any] = scalars | st.just("AAAA") | st.just({})
typed = st.dictionaries(attributes, anything, max_size=2)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    changed=st.dictionaries(st.sampled_from(["sk", "st", "c", "p", "s", "z", "g", "kid"]), typed),
)
def test_any_item_is_judged(name: tuple[str, str], changed: Json) -> None:
    report = judged({**HONEST.items[name], **changed}).report([], [])
    assert report.findings > 0


def test_an_item_without_anything_is_garbled() -> None:
    assert read_receipt("clinic", {}) == GarbledReceipt("?", None)
