"""RedPill's surface where its parts fail: the upstream that is asked for a report, the key that
signs, a receipt that has nothing to sign."""

import asyncio
import json
from collections.abc import Callable

import pytest

from phigate import attestation as redpill
from phigate.core.attributes import Item, flag
from phigate.core.errors import (
    InvalidApiKey,
    NotFound,
    Overloaded,
    PhigateError,
    RateLimited,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from phigate.core.ledger.account import ACCOUNT_SK, account_pk, stale_counters
from phigate.core.limits import PROOFS_PER_MINUTE_MAX, REPORT_BYTES_MAX, REPORT_TIMEOUT_S
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.text_signer import TextSignature
from phigate.core.types import Json
from phigate.core.upstream import Fetched
from phigate.effects.store.receipts import DynamoReceipts
from tests import ethereum
from tests.builders import make_row
from tests.pipeline.gateway_harness import ACCOUNT, PLAIN, GatewayHarness, answers, call

NONCE = "0f" * 32
REPORT = b'{"signing_address": "0xab",  "intel_quote": "04"}'
ROWS = (make_row("acme-one", model="phala/qwen3.5-27b", confidential=True), make_row("bolt-two"))


def harness(**options: object) -> GatewayHarness:
    return GatewayHarness(**{"rows": ROWS, **options})  # type: ignore[arg-type]


def report(made: GatewayHarness, get: object = None, **asked: str | None) -> bytes:
    made.upstream.gets = [get]  # type: ignore[list-item]
    wanted: dict[str, str | None] = {
        "model": "acme-one",
        "nonce": NONCE,
        "algo": None,
        "address": None,
        **asked,
    }
    return asyncio.run(redpill.report(made.gateway, call({}).headers, **wanted))


def test_the_report_is_passed_on_byte_by_byte() -> None:
    made = harness()
    address = "0x" + "aB" * 20
    assert report(made, Fetched(200, REPORT), algo="ecdsa", address=address) == REPORT
    (fetch,) = made.upstream.fetches
    assert (fetch.row.id, fetch.region) == ("acme-one", "CH")
    assert (fetch.timeout_s, fetch.bytes_max) == (REPORT_TIMEOUT_S, REPORT_BYTES_MAX)
    assert fetch.path == (
        f"/attestation/report?model=phala%2Fqwen3.5-27b&nonce={NONCE}"
        f"&signing_algo=ecdsa&signing_address={address}"
    )


FAILURES: dict[str, tuple[object, type[PhigateError], str]] = {
    "a redirect": (UpstreamFailed("redirect"), UpstreamError, "redirect"),
    "huge": (UpstreamFailed("oversized"), UpstreamError, "oversized"),
    "slow": (UpstreamFailed("timeout"), UpstreamTimeout, "timeout"),
    "unreachable": (UpstreamFailed("connect"), UpstreamError, "connect"),
    "an error": (Fetched(500, REPORT), UpstreamError, "http_500"),
    "not there": (Fetched(404, REPORT), UpstreamError, "http_404"),
    "garbage": (Fetched(200, b"<html>canary"), UpstreamError, "malformed"),
    "a list": (Fetched(200, b"[]"), UpstreamError, "malformed"),
    "nothing": (Fetched(200, b""), UpstreamError, "malformed"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_report_that_cannot_be_had_is_the_upstreams_fault(name: str) -> None:
    get, kind, outcome = FAILURES[name]
    made = harness()
    with pytest.raises(kind) as raised:
        report(made, get)
    assert outcome in raised.value.message
    assert made.event_log.fields("report_failed") == [{"row": "acme-one", "outcome": outcome}]
    assert "canary" not in raised.value.message


NOT_ASKED: dict[str, tuple[Callable[[], GatewayHarness], str, str]] = {
    "a region that the stack does not serve": (
        lambda: harness(regions=("EU",)),
        "acme-one",
        "region_not_served",
    ),
    "a row that is not live": (
        lambda: harness(rows=(make_row("acme-one", confidential=True, status="staged"),)),
        "acme-one",
        "no_route",
    ),
    "a row that is not confidential": (harness, "bolt-two", "not_found"),
    "a model that is none": (harness, "nobody", "model_not_found"),
}


@pytest.mark.parametrize("name", NOT_ASKED)
def test_no_upstream_is_asked_for(name: str) -> None:
    make, model, code = NOT_ASKED[name]
    made = make()
    with pytest.raises(PhigateError) as raised:
        report(made, Fetched(200, REPORT), model=model)
    assert raised.value.code == code
    assert made.upstream.fetches == []


def answered(made: GatewayHarness) -> StoredReceipt:
    """The receipt of one answered call."""
    made.plays(answers())
    made.chat(PLAIN)
    receipt_id = made.records[-1]["id"]
    found = asyncio.run(made.gateway.ledger.receipt(ACCOUNT, receipt_id))
    assert found is not None
    return found


def signature(made: GatewayHarness, stored: StoredReceipt, algo: str | None = None) -> Json:
    return asyncio.run(redpill.signature(made.gateway, stored, None, algo))


def test_a_tombstone_has_nothing_to_sign() -> None:
    made = harness()
    stored = StoredReceipt(ACCOUNT, "AGtJ0AAAAAAAAAAA", "expired", 1, 0, None)
    with pytest.raises(NotFound, match="never came to its end"):
        signature(made, stored)


def test_an_answer_is_signed_when_the_caller_first_asks_and_never_again() -> None:
    made = harness()
    stored = answered(made)
    assert made.text_root.asked == 0, "never on the request's path"
    signature(made, stored, "ed25519")
    assert made.text_root.asked == 0
    told = [signature(made, stored) for _ in range(1_000)]
    assert made.text_root.asked == 1
    assert told == told[:1] * 1_000
    made.text_root.fails = True
    made.use(text_signer=None)
    assert signature(made, stored) == told[0], "also where nobody could sign now"


def beside(made: GatewayHarness, stored: StoredReceipt) -> dict[str, Item]:
    """What stands beside a receipt, by its suffix."""
    return {
        sk.removeprefix(stored.id): item
        for (_, sk), item in made.ledger.dynamo.items.items()
        if sk.startswith(stored.id + ".")
    }


def test_the_signature_goes_with_its_receipt_and_is_no_receipt() -> None:
    made = harness()
    stored = answered(made)
    signature(made, stored)
    kept = beside(made, stored)[".e"]
    assert kept["ttl"] == made.ledger.dynamo.items[kept["pk"]["S"], stored.id]["ttl"]

    async def listed() -> list[tuple[str, int | None]]:
        receipts, day = DynamoReceipts(made.ledger.dynamo, made.clock), kept["pk"]["S"][-10:]
        return [(receipt.id, receipt.seq) async for receipt in receipts.day(ACCOUNT, day)]

    assert asyncio.run(listed()) == [(stored.id, stored.seq)]
    assert set(made.receipts()) == {stored.id}


def test_of_two_that_sign_at_once_both_give_out_the_one_that_is_kept() -> None:
    made = harness()
    stored = answered(made)
    first = signature(made, stored)
    kept = TextSignature(first["signature"], first["signing_address"])
    other = TextSignature("0x" + "0f" * 65, first["signing_address"])
    assert asyncio.run(made.gateway.receipts.put_text(ACCOUNT, stored.id, other)) == kept


@pytest.mark.parametrize(
    "there", [{}, {"e": {"N": "1"}}, *({"e": {"S": text}} for text in ("", "[]", "{}", "<svg>"))]
)
def test_what_somebody_else_has_put_there_is_not_given_out(there: Item) -> None:
    made = harness()
    stored = answered(made)
    told = signature(made, stored)
    kept = beside(made, stored)[".e"]
    del kept["e"]
    kept.update(there)
    assert_signed_by(told["signing_address"], signature(made, stored))
    hostile = json.dumps({"signature": "<svg>", "signing_address": told["signing_address"]})
    kept["e"] = {"S": hostile}
    assert_signed_by(told["signing_address"], signature(made, stored))


def assert_signed_by(address: str, told: Json) -> None:
    assert told["signing_address"] == address
    assert ethereum.signer_of(told["text"], told["signature"]) == address


def admitted(made: GatewayHarness) -> None:
    asyncio.run(redpill.admitted(made.gateway, call({}).headers))


def test_a_key_may_ask_so_often_in_a_minute_and_is_told_when_to_come_back() -> None:
    made = harness()
    made.clock.time_s = 20.0 + made.clock.time_s // 60 * 60
    for _ in range(PROOFS_PER_MINUTE_MAX // 2):
        admitted(made)
        report(made, Fetched(200, REPORT))
    asked = len(made.upstream.fetches)
    with pytest.raises(RateLimited, match="60 signatures and attestation reports") as raised:
        report(made, Fetched(200, REPORT))
    assert raised.value.headers == {"retry-after": "40"}
    assert len(made.upstream.fetches) == asked
    with pytest.raises(RateLimited):
        admitted(made)
    made.plays(answers())
    assert made.chat(PLAIN).status == 200, "calls are counted apart"
    made.pass_time(40)
    admitted(made)
    account = made.ledger.dynamo.items[account_pk(ACCOUNT), ACCOUNT_SK]
    counters = [name for name in account["w"]["M"] if "proofs" in name]
    assert len(counters) == 1, "that of the minute before is gone"
    assert set(counters) <= set(stale_counters(account, int(made.clock.time_s) + 600)["w"])


def test_a_disabled_key_stops_at_once_whatever_is_cached() -> None:
    made = harness()
    account = made.ledger.dynamo.items[account_pk(ACCOUNT), ACCOUNT_SK]
    account["k"]["M"]["k1"] = flag(False)
    with pytest.raises(InvalidApiKey, match="disabled"):
        admitted(made)
    with pytest.raises(InvalidApiKey, match="disabled"):
        report(made, Fetched(200, REPORT))
    assert made.upstream.fetches == []
    made.ledger.dynamo.items.clear()
    with pytest.raises(InvalidApiKey):
        admitted(made)


def test_a_key_that_cannot_be_reached_is_overloaded_and_noted() -> None:
    made = harness()
    stored = answered(made)
    made.text_root.fails = True
    with pytest.raises(Overloaded):
        signature(made, stored)
    (note,) = made.event_log.fields("text_not_signed")
    assert note == {"kind": "SigningFailed", "outcome": "unreachable"}
    assert signature(made, stored, "ed25519")["signing_algo"] == "ed25519"


def test_a_process_without_the_key_says_so() -> None:
    made = harness()
    stored = answered(made)
    made.use(text_signer=None)
    with pytest.raises(NotFound, match="ed25519"):
        signature(made, stored)


def test_a_receipt_that_nobody_vouches_for_has_no_ed25519_signature() -> None:
    made = harness()
    made.root.fails = True
    stored = answered(made)
    with pytest.raises(NotFound, match="Nobody vouches"):
        signature(made, stored, "ed25519")
    assert signature(made, stored)["signing_algo"] == "ecdsa"


def test_a_row_that_left_the_catalog_is_known_by_its_own_id() -> None:
    made = harness()
    stored = answered(made)
    assert stored.signed is not None
    row = json.loads(stored.signed.payload)["row"]
    later = harness(rows=(make_row("cove-three"),))
    later.use(receipts=made.gateway.receipts)
    assert asyncio.run(redpill.signature(later.gateway, stored, row, None))["text"]
    with pytest.raises(NotFound, match="answered by"):
        asyncio.run(redpill.signature(later.gateway, stored, "cove-three", None))
