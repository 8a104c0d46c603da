"""The record: what it says of an answer and of a refusal, that it is small, and its hashes."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from phigate.core.attributes import inflate
from phigate.core.ledger import writes
from phigate.core.ledger.hold import StoredHold
from phigate.core.ledger.receipt_item import RECORD_WORDS, stored_receipt
from phigate.core.limits import RECEIPT_BYTES_MAX
from phigate.core.receipts.members import record
from phigate.core.receipts.record import Charge, Facts, Signed, digest, nonce
from phigate.core.routing.route import decide
from phigate.core.types import REGIONS, Attempt, Preferences, Rejection, Usage
from tests.builders import (
    make_agreement,
    make_gate_context,
    make_requirements,
    make_row,
    repository_catalog,
)

CHARGE = Charge(
    usage=Usage(100, 50, 20, 10),
    usage_is_estimate=False,
    bytes_in=400,
    bytes_out=200,
    computed_micros=48,
    charged_micros=48,
    held_micros=100,
)
AGREEMENT = make_agreement()
HOLD = StoredHold(id="AGtJ0gDc8mfYaX9p", seq=7, micros=100, expires_at_s=1_800_001_000)
ANSWER = Facts(
    id="AGtJ0gDc8mfYaX9p",
    account="clinic",
    key_id="k1",
    seq=7,
    time_s=1_800_000_000,
    signed_at_s=1_800_000_002,
    stack="ch",
    region="CH",
    phi=True,
    verdict="routed",
    rejections=(Rejection("b-1", "region"), Rejection("c-1", "region"), Rejection("d-1", "phi")),
    attempts=(Attempt("e-1", "CH", "http_500", 12), Attempt("acme-one", "CH", "ok", 345, 17)),
    catalog_sha256="c" * 64,
    card_sha256="d" * 64,
    request_sha256="e" * 64,
    response_sha256="f" * 64,
    ended="complete",
    row=make_row(),
    charge=CHARGE,
    agreements={"acme-one": AGREEMENT},
)
REFUSAL = replace(ANSWER, row=None, charge=None, agreements={}, ended="refused")
ANSWER_RECORD = {
    "id": "AGtJ0gDc8mfYaX9p",
    "account": "clinic",
    "key": "k1",
    "seq": 7,
    "time": 1_800_000_000,
    "signed": 1_800_000_002,
    "stack": "ch",
    "region_asked": "CH",
    "phi": True,
    "tier": "phi",
    "verdict": "routed",
    "rejected": {"region": ["b-1", "c-1"], "phi": ["d-1"]},
    "attempts": [["e-1", "CH", "http_500", 12, 0], ["acme-one", "CH", "ok", 345, 17]],
    "catalog": "c" * 64,
    "card": "d" * 64,
    "request_sha256": "e" * 64,
    "response_sha256": "f" * 64,
    "ended": "complete",
    "row": "acme-one",
    "provider": "acme",
    "region_served": "CH",
    "residency": "contract",
    "agreement": "agreement-1",
    "agreements": {
        "acme-one": ["agreement-1", "nFADP", AGREEMENT.effective_at_s, AGREEMENT.expires_at_s]
    },
    "usage": {
        "in": 100,
        "out": 50,
        "cache_read": 20,
        "cache_write": 10,
        "source": "verified",
        "bytes_in": 400,
        "bytes_out": 200,
    },
    "price": [240_000, 480_000, 240_000, 240_000],
    "cost": {"computed": 48, "charged": 48, "held": 100},
}
SERVED = {"row", "provider", "region_served", "residency", "agreement", "agreements"}
CHARGED = {"usage", "price", "cost"}


def without(names: set[str], **changes: Any) -> dict[str, Any]:
    left = {name: value for name, value in ANSWER_RECORD.items() if name not in names}
    return {**left, **changes}


RECORDS: dict[str, tuple[Facts, dict[str, Any]]] = {
    "an answer": (ANSWER, ANSWER_RECORD),
    "an estimate, charged below what was computed": (
        replace(
            ANSWER,
            charge=replace(CHARGE, usage_is_estimate=True, computed_micros=90),
        ),
        without(
            set(),
            usage={**ANSWER_RECORD["usage"], "source": "estimated"},  # type: ignore[dict-item]
            cost={"computed": 90, "charged": 48, "held": 100},
        ),
    ),
    "a refusal": (
        replace(
            ANSWER, verdict="phi_blocked", row=None, charge=None, agreements={}, ended="refused"
        ),
        without(SERVED | CHARGED, verdict="phi_blocked", ended="refused"),
    ),
    "a refusal before anything was read": (
        replace(
            REFUSAL,
            verdict="invalid_request",
            region=None,
            phi=None,
            rejections=(),
            attempts=(),
            catalog_sha256=None,
            card_sha256=None,
        ),
        without(
            SERVED | CHARGED,
            verdict="invalid_request",
            ended="refused",
            region_asked=None,
            phi=None,
            tier=None,
            rejected={},
            attempts=[],
            catalog=None,
            card=None,
        ),
    ),
    "general traffic at a row without agreement": (
        replace(ANSWER, phi=False, row=make_row(agreement=None), agreements={}),
        without({"agreements"}, phi=False, tier="general", agreement=None),
    ),
    "a key that nobody vouches for": (
        replace(ANSWER, is_certified=False),
        without(set(), certified=False),
    ),
    "a confidential row, whose provider signs": (
        replace(
            ANSWER,
            phi=False,
            row=make_row(agreement=None, confidential=True),
            agreements={},
            upstream_id="chatcmpl-1",
            upstream_hashes=("1" * 64, "2" * 64),
        ),
        without(
            {"agreements"},
            phi=False,
            tier="general",
            agreement=None,
            upstream_id="chatcmpl-1",
            upstream_request_sha256="1" * 64,
            upstream_response_sha256="2" * 64,
        ),
    ),
    "refusals that left none are counted": (
        replace(ANSWER, refusals_without_receipt=3),
        without(set(), refusals_without_receipt=3),
    ),
}


@pytest.mark.parametrize(("facts", "members"), RECORDS.values(), ids=RECORDS)
def test_the_record_says(facts: Facts, members: dict[str, Any]) -> None:
    assert record(facts) == members


@pytest.mark.parametrize("region", REGIONS)
def test_a_record_of_the_real_catalog_fits_one_write_unit(region: str) -> None:
    """Four attempts, every other row rejected, and hashes that do not compress."""
    catalog = repository_catalog()
    requirements = make_requirements(region=region, phi=True, images=1, needs_tools=True)
    route = decide(catalog, requirements, make_gate_context())
    longest = max(catalog.rows, key=lambda row: len(row.id))
    row = replace(longest, places={region: longest.places[next(iter(longest.places))]})
    facts = replace(
        ANSWER,
        region=region,
        stack="phigate-production-" + region.lower(),
        rejections=route.rejections,
        attempts=[
            Attempt(other.id, region, outcome, 119_873 - i)
            for i, (other, outcome) in enumerate(
                zip(catalog.rows, ("http_529", "oversized", "timeout", "error_event"), strict=False)
            )
        ],
        catalog_sha256=hashlib.sha256(b"1").hexdigest(),
        card_sha256=hashlib.sha256(b"2").hexdigest(),
        request_sha256=hashlib.sha256(b"3").hexdigest(),
        response_sha256=hashlib.sha256(b"4").hexdigest(),
        row=row,
        charge=replace(CHARGE, usage=Usage(123_457, 8_191, 65_537, 4_099), bytes_in=4_999_999),
        refusals_without_receipt=12_345,
    )
    assert len(route.rejections) >= len(catalog.rows) - 1
    payload = orjson.dumps(record(facts), option=orjson.OPT_SORT_KEYS)
    signed = Signed(payload, "k" * 43, bytes(64), bytes(64))
    call = writes.receipt("t", "an-account-of-24-letters", HOLD, 48, signed)
    assert item_bytes(call["Item"]) <= RECEIPT_BYTES_MAX
    assert stored_receipt("acme", call["Item"]).signed == signed


def test_a_confidential_record_fits_one_write_unit_too() -> None:
    """Two failed attempts, every other row rejected, four hashes that do not compress."""
    catalog = repository_catalog()
    requirements = make_requirements(region="WORLD", preferences=Preferences(confidential=True))
    route = decide(catalog, requirements, make_gate_context())
    rows = [row for row in catalog.rows if row.confidential]
    facts = replace(
        ANSWER,
        region="WORLD",
        phi=False,
        stack="phigate-production-world",
        rejections=route.rejections,
        attempts=[
            Attempt(row.id, "WORLD", outcome, 119_873)
            for row, outcome in zip(rows, ("http_529", "timeout", "ok"), strict=False)
        ],
        catalog_sha256=hashlib.sha256(b"1").hexdigest(),
        card_sha256=hashlib.sha256(b"2").hexdigest(),
        request_sha256=hashlib.sha256(b"3").hexdigest(),
        response_sha256=hashlib.sha256(b"4").hexdigest(),
        row=rows[2],
        charge=replace(CHARGE, usage=Usage(123_457, 8_191, 65_537, 4_099), bytes_in=4_999_999),
        agreements={},
        upstream_id="the longest that is kept is a hash",
        upstream_hashes=(hashlib.sha256(b"6").hexdigest(), hashlib.sha256(b"7").hexdigest()),
        confidential="preference",
    )
    payload = orjson.dumps(record(facts), option=orjson.OPT_SORT_KEYS)
    signed = Signed(payload, "k" * 43, bytes(64), bytes(64))
    call = writes.receipt("t", "an-account-of-24-letters", HOLD, 48, signed)
    assert item_bytes(call["Item"]) <= RECEIPT_BYTES_MAX


SIZES: dict[str, Callable[[str], int]] = {
    "S": lambda text: len(text.encode()),
    "N": lambda digits: len(digits) // 2 + 2,
    "B": lambda encoded: len(base64.b64decode(encoded)),
}


def item_bytes(item: dict[str, Any]) -> int:
    """An item's size as DynamoDB counts it: names and values; a number has half its digits and 1.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    size = len("pksk")
    for name, value in item.items():
        ((kind, content),) = value.items()
        size += len(name) * (name not in ("pk", "sk"))
        size += SIZES[kind](content)
    return size


# A record as an earlier version stored it. If it cannot be read any more, neither can anybody's.
STORED = (
    b"pdTBDoIwDAbgd/GMyToGjrsnn0BDPGABTRT14PvHUWB0cxp1vYyRwZL1/8ZzhBeTY/TSZJ+X8JKnCrtmebvSZeWu"
    b"sxErIM2pb6CFzhV1z09aQ59Qf+YLC6QJXVLOe7A4piozv2aRrCPLiTRGVoiE0txEPxtQgPjM4rERxzXqrt1V2+Ju"
    b"kZwhzETSASdK0zDOhsE105/qv25o33JRm67tE6boQG3E/nWIUxNZv3BsI8tyZukj1ivGmg7ZlJx94+mN8GmtCFJX"
    b"wsUuhcdd+t5hBA9iIp99b/4J"
)


def test_what_was_stored_once_can_always_be_read() -> None:
    assert inflate(base64.b64decode(STORED), RECORD_WORDS) == orjson.dumps(
        ANSWER_RECORD, option=orjson.OPT_SORT_KEYS
    )


def test_a_record_that_somebody_garbled_is_empty() -> None:
    assert inflate(b"\xff\xff\xff", RECORD_WORDS) == b""


BODY = b'{"messages": "canary"}'


def test_general_traffic_is_hashed_plainly() -> None:
    running = digest(False, b"not used")
    running.update(BODY[:5])
    running.update(BODY[5:])
    assert running.hexdigest() == hashlib.sha256(BODY).hexdigest()


def test_phi_is_hashed_under_a_nonce_that_only_the_caller_can_compute() -> None:
    key, receipt_id = "phi_test_abc", "AGtJ0gDc8mfYaX9p"
    own = hmac.new(key.encode(), receipt_id.encode(), "sha256").digest()
    assert nonce(key, receipt_id) == own
    running = digest(True, own)
    running.update(BODY)
    assert running.hexdigest() == hmac.new(own, BODY, "sha256").hexdigest()
    assert running.hexdigest() != hashlib.sha256(BODY).hexdigest()


def test_each_receipt_and_each_key_has_its_own_nonce() -> None:
    assert len({nonce("k1", "a"), nonce("k1", "b"), nonce("k2", "a")}) == 3
