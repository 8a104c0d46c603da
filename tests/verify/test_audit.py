"""Honest accounts are clean; what somebody changes in them is found, by the rule that it breaks."""

import base64
import dataclasses
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.audit_plan import Traffic
from phigate.cli.audit_page import page
from phigate.core.ledger.receipt_item import signed_members, signed_of
from phigate.core.limits import FINDINGS_KEPT_MAX
from phigate.core.receipts.days import DAY_S, begins_at_s
from phigate.core.receipts.ids import new_id
from phigate.core.receipts.record import Signed
from phigate.core.types import Json
from phigate.verify.certificate import read_certificate
from phigate.verify.roots import CERTIFICATES, DIGESTS
from tests.fakes import Item
from tests.verify.account_fixture import (
    TRAFFIC,
    AccountFixture,
    certificate_for,
    is_general,
    is_phi,
    is_receipt,
    jws_with,
    put_hold,
    rules,
)

HONEST = AccountFixture.kept()
DIGEST_ITEM = "jws"


OPEN = AccountFixture.kept(is_closed=False)


@pytest.fixture
def fixture() -> AccountFixture:
    """AccountFixture that a test may tamper with."""
    return HONEST.copy()


def is_tombstone(item: dict[str, object]) -> bool:
    return item["st"] == {"S": "expired"}


def put_jws(fixture: AccountFixture, name: tuple[str, str], change: Callable[[str], str]) -> None:
    fixture.change(name, jws={"S": change(fixture.items[name]["jws"]["S"])})


# What somebody does who has the table and not the keys. Every day is closed.


def tampered_field(fixture: AccountFixture) -> None:
    fixture.rewrite(fixture.names(is_general)[0], ended="hang_up")


def tampered_signature(fixture: AccountFixture) -> None:
    name = fixture.names(is_general)[0]
    raw = bytearray(base64.b64decode(fixture.items[name]["g"]["B"]))
    raw[70] ^= 1
    fixture.change(name, g={"B": base64.b64encode(raw).decode()})


def swapped_certificate(fixture: AccountFixture) -> None:
    one, other = (fixture.certificate(name) for name in fixture.names(is_receipt)[:2])
    fixture.change(one, jws=fixture.items[other]["jws"])


def missing_certificate(fixture: AccountFixture) -> None:
    del fixture.items[fixture.certificate(fixture.names(is_receipt)[0])]


def _certified_again(fixture: AccountFixture, signs: str, later_s: int) -> None:
    text = fixture.items[fixture.certificate(fixture.names(is_receipt)[0])]["jws"]["S"]
    certificate = read_certificate(text, None)
    again = certificate_for(certificate.jwk, certificate.issued_at_s + later_s)
    fixture.put_certificate(again, signs)


def expired_certificate(fixture: AccountFixture) -> None:
    _certified_again(fixture, CERTIFICATES, -7_200)


def certificate_by_the_digest_root(fixture: AccountFixture) -> None:
    _certified_again(fixture, DIGESTS, 0)


def _hs256(fixture: AccountFixture, signs: str) -> Callable[[bytes], bytes]:
    key = orjson.dumps(fixture.operator.signers[signs].public_jwk)
    return lambda message: hmac.digest(key, message, "sha256")


def certificate_without_algorithm(fixture: AccountFixture) -> None:
    name = fixture.certificate(fixture.names(is_receipt)[0])
    put_jws(fixture, name, lambda jws: jws_with(jws, alg="none", signature=lambda _: b"0"))


def certificate_under_hs256(fixture: AccountFixture) -> None:
    name = fixture.certificate(fixture.names(is_receipt)[0])
    made = _hs256(fixture, CERTIFICATES)
    put_jws(fixture, name, lambda jws: jws_with(jws, alg="HS256", signature=made))


def truncated_certificate(fixture: AccountFixture) -> None:
    put_jws(fixture, fixture.certificate(fixture.names(is_receipt)[0]), lambda jws: jws[:-40])


def certificate_that_is_no_text(fixture: AccountFixture) -> None:
    fixture.change(fixture.certificate(fixture.names(is_receipt)[0]), jws={"N": "1"})


def missing_receipt(fixture: AccountFixture) -> None:
    del fixture.items[fixture.names()[5]]


def first_receipt_missing(fixture: AccountFixture) -> None:
    by_number = sorted(fixture.names(day=0), key=lambda name: int(fixture.items[name]["s"]["N"]))
    del fixture.items[by_number[0]]


def last_receipt_missing(fixture: AccountFixture) -> None:
    names = fixture.names(day=TRAFFIC.days - 1)
    del fixture.items[max(names, key=lambda name: int(fixture.items[name]["s"]["N"]))]


def whole_day_missing(fixture: AccountFixture) -> None:
    for name in fixture.names():
        del fixture.items[name]


def reordered_receipts(fixture: AccountFixture) -> None:
    one, other = fixture.names(is_receipt)[:2]
    numbers = fixture.items[one]["s"], fixture.items[other]["s"]
    fixture.change(one, s=numbers[1])
    fixture.change(other, s=numbers[0])


def doubled_number(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    again = new_id(begins_at_s(fixture.day(2)) + 5, b"doubled")
    fixture.items[name[0], again] = {**fixture.items[name], "sk": {"S": again}}


def number_doubled_on_another_day(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    again = new_id(begins_at_s(fixture.day(4)) + 5, b"doubled")
    pk = name[0].replace(fixture.day(2), fixture.day(4))
    fixture.items[pk, again] = {**fixture.items[name], "pk": {"S": pk}, "sk": {"S": again}}


def receipt_of_another_account(fixture: AccountFixture) -> None:
    signers = dict(fixture.operator.signers)
    other = AccountFixture.kept(
        dataclasses.replace(TRAFFIC, account="other", seed=2), signers=signers
    )
    name = fixture.names(is_receipt)[0]
    theirs = other.names(is_receipt)[0]
    fixture.items[other.certificate(theirs)] = other.items[other.certificate(theirs)]
    item = {**other.items[theirs], "pk": {"S": name[0]}, "sk": {"S": name[1]}}
    fixture.items[name] = {**item, "s": fixture.items[name]["s"]}


def receipt_on_another_day(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    pk = name[0].replace(fixture.day(2), fixture.day(3))
    fixture.items[pk, name[1]] = {**fixture.items.pop(name), "pk": {"S": pk}}


def altered_cost(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_general)[0], c={"N": "1"})


def altered_swept(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_receipt)[0], p={"N": "1"})


def altered_tombstone(fixture: AccountFixture) -> None:
    name = next(n for day in range(TRAFFIC.days) for n in fixture.names(is_tombstone, day))
    fixture.change(name, c={"N": "77"}, p={"N": "77"})


def tombstone_in_place_of_a_receipt(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    kept = {member: fixture.items[name][member] for member in ("pk", "sk", "s", "p", "ttl")}
    fixture.items[name] = {**kept, "st": {"S": "expired"}, "c": {"N": "0"}}


def erased_soon(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    fixture.change(name, ttl={"N": str(int(fixture.items[name]["ttl"]["N"]) - 1)})


def tombstone_erased_soon(fixture: AccountFixture) -> None:
    name = next(n for day in range(TRAFFIC.days) for n in fixture.names(is_tombstone, day))
    fixture.change(name, ttl={"N": "1"})


def time_of_expiry_that_is_no_number(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_receipt)[0], ttl={"S": "never"})


def swept_more_than_was_held(fixture: AccountFixture) -> None:
    name = fixture.names(is_general)[0]
    held = fixture.record(name)["cost"]["held"]
    fixture.change(name, st={"S": "late"}, p={"N": str(held + 1)})


def swept_less_than_nothing(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_general)[0], st={"S": "late"}, p={"N": "-1"})


def text_signature_gone(fixture: AccountFixture) -> None:
    name = fixture.names(is_general)[0]
    raw = base64.b64decode(fixture.items[name]["g"]["B"])
    fixture.change(name, g={"B": base64.b64encode(raw[:64]).decode()})


def something_behind_the_record(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    raw = base64.b64decode(fixture.items[name]["z"]["B"])
    fixture.change(name, z={"B": base64.b64encode(raw + b"a prompt").decode()})


def late_receipt_after_the_closing(fixture: AccountFixture) -> None:
    """The stack swept a call, closed its day, and then the call's answer came."""
    name = fixture.names(is_receipt)[0]
    answer = fixture.items[name]
    tombstone_in_place_of_a_receipt(fixture)
    fixture.close_again()
    fixture.items[name] = {**answer, "st": {"S": "late"}}


def garbled_record(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_receipt)[0], z={"B": base64.b64encode(b"no deflate").decode()})


def garbled_base64(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_receipt)[0], g={"B": "a"})


def garbled_state(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_receipt)[0], st={"S": "gone"})


def member_missing(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    fixture.items[name] = {m: v for m, v in fixture.items[name].items() if m != "kid"}


def number_missing(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    fixture.items[name] = {m: v for m, v in fixture.items[name].items() if m != "s"}


def member_of_another_type(fixture: AccountFixture) -> None:
    fixture.change(fixture.names(is_receipt)[0], c={"S": "free"})


def key_that_is_no_id(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    fixture.items[name[0], "hello"] = {**fixture.items.pop(name), "sk": {"S": "hello"}}


def truncated_digest(fixture: AccountFixture) -> None:
    put_jws(fixture, fixture.digest(2), lambda jws: jws[:-40])


def digest_that_is_no_text(fixture: AccountFixture) -> None:
    fixture.change(fixture.digest(2), jws={"B": "AAAA"})


def digest_missing(fixture: AccountFixture) -> None:
    del fixture.items[fixture.digest(2)]


def last_digest_missing(fixture: AccountFixture) -> None:
    del fixture.items[fixture.digest(TRAFFIC.days - 1)]


def digest_of_another_day(fixture: AccountFixture) -> None:
    fixture.change(fixture.digest(2), jws=fixture.items[fixture.digest(3)]["jws"])


def digest_by_the_wrong_root(fixture: AccountFixture) -> None:
    root = fixture.operator.signers[CERTIFICATES]
    put_jws(
        fixture, fixture.digest(7), lambda jws: jws_with(jws, alg="ES256", signature=root.signature)
    )


def digest_without_algorithm(fixture: AccountFixture) -> None:
    put_jws(
        fixture,
        fixture.digest(7),
        lambda jws: jws_with(jws, alg="none", signature=lambda _: b"0"),
    )


def digest_under_hs256(fixture: AccountFixture) -> None:
    made = _hs256(fixture, DIGESTS)
    put_jws(fixture, fixture.digest(7), lambda jws: jws_with(jws, alg="HS256", signature=made))


def _snapshots(fixture: AccountFixture) -> list[tuple[str, str]]:
    return [name for name in fixture.items if name[0] == "CATALOG" and name[1] != "current"]


def catalog_missing(fixture: AccountFixture) -> None:
    del fixture.items[_snapshots(fixture)[0]]


def catalog_garbled(fixture: AccountFixture) -> None:
    fixture.change(_snapshots(fixture)[0], doc={"B": "AAAA"})


def catalog_swapped(fixture: AccountFixture) -> None:
    one, other = _snapshots(fixture)
    fixture.change(one, doc=fixture.items[other]["doc"])


def catalog_by_another_root(fixture: AccountFixture) -> None:
    name = _snapshots(fixture)[0]
    fixture.change(name, kid={"S": fixture.operator.signers[DIGESTS].kid})


def catalog_with_another_signature(fixture: AccountFixture) -> None:
    one, other = _snapshots(fixture)
    fixture.change(one, sig=fixture.items[other]["sig"])


def counter_put_back(fixture: AccountFixture) -> None:
    fixture.change((f"A#{TRAFFIC.account}#S0", "A"), seq={"N": "3"})


TAMPERED: tuple[tuple[Callable[[AccountFixture], None], set[str]], ...] = (
    (tampered_field, {"signature", "digest"}),
    (tampered_signature, {"signature"}),
    (swapped_certificate, {"certificate", "signature"}),
    (missing_certificate, {"certificate"}),
    (expired_certificate, {"certificate"}),
    (certificate_by_the_digest_root, {"certificate"}),
    (certificate_without_algorithm, {"certificate"}),
    (certificate_under_hs256, {"certificate"}),
    (truncated_certificate, {"certificate"}),
    (certificate_that_is_no_text, {"certificate"}),
    (missing_receipt, {"gap", "digest"}),
    (first_receipt_missing, {"gap", "digest"}),
    (last_receipt_missing, {"digest"}),
    (whole_day_missing, {"gap", "digest"}),
    (reordered_receipts, {"number", "digest"}),
    (doubled_number, {"doubled", "id", "digest", "expiry"}),
    (number_doubled_on_another_day, {"doubled", "id", "digest", "expiry"}),
    (receipt_of_another_account, {"account", "id", "digest"}),
    (receipt_on_another_day, {"place", "digest"}),
    (altered_cost, {"cost"}),
    (altered_swept, {"cost"}),
    (altered_tombstone, {"digest"}),
    (tombstone_in_place_of_a_receipt, {"digest"}),
    (late_receipt_after_the_closing, {"late"}),
    (erased_soon, {"expiry"}),
    (tombstone_erased_soon, {"expiry"}),
    (time_of_expiry_that_is_no_number, {"garbled", "digest"}),
    (swept_more_than_was_held, {"cost"}),
    (swept_less_than_nothing, {"garbled", "digest"}),
    (text_signature_gone, {"signature"}),
    (something_behind_the_record, {"garbled", "digest"}),
    (garbled_record, {"garbled", "digest"}),
    (garbled_base64, {"garbled", "digest"}),
    (garbled_state, {"garbled", "digest"}),
    (member_missing, {"garbled", "digest"}),
    (number_missing, {"garbled", "gap", "digest"}),
    (member_of_another_type, {"garbled", "digest"}),
    (key_that_is_no_id, {"place", "id"}),
    (truncated_digest, {"digest", "chain"}),
    (digest_that_is_no_text, {"digest", "chain"}),
    (digest_missing, {"digest", "chain"}),
    (last_digest_missing, {"digest"}),
    (digest_of_another_day, {"digest", "chain"}),
    (digest_by_the_wrong_root, {"digest"}),
    (digest_without_algorithm, {"digest"}),
    (digest_under_hs256, {"digest"}),
    (catalog_missing, {"catalog"}),
    (catalog_garbled, {"catalog"}),
    (catalog_swapped, {"catalog"}),
    (catalog_by_another_root, {"catalog"}),
    (catalog_with_another_signature, {"catalog"}),
    (counter_put_back, {"number"}),
)


def test_honest_books_are_clean() -> None:
    report = HONEST.audit()
    assert report.found == []
    assert report.receipts + report.tombstones == TRAFFIC.numbers
    assert report.numbers == (1, TRAFFIC.numbers)
    assert report.days_closed == TRAFFIC.days
    assert report.stacks == ["local"]


@pytest.mark.parametrize(
    ("tamper", "broken"), TAMPERED, ids=[tamper.__name__ for tamper, _ in TAMPERED]
)
def test_what_was_tampered_with_breaks_its_rules(
    fixture: AccountFixture, tamper: Callable[[AccountFixture], None], broken: set[str]
) -> None:
    tamper(fixture)
    assert rules(fixture.audit()) == broken


# What an operator does who has the keys: each record is signed anew, and every day closed over it.

CHANGES: tuple[
    tuple[str, Callable[[dict[str, object]], bool], dict[str, object], set[str]], ...
] = (
    ("another region served", is_general, {"region_served": "MARS"}, {"region"}),
    ("another provider", is_general, {"provider": "nobody"}, {"row"}),
    ("a row that nobody has", is_general, {"row": "made-up"}, {"row", "served"}),
    ("another residency", is_general, {"residency": "unproven"}, {"residency"}),
    ("a residency that nobody has", is_general, {"residency": "sworn"}, {"garbled"}),
    ("an end that no call has", is_general, {"ended": "well"}, {"garbled"}),
    ("a name of two lines", is_general, {"stack": "local\nok"}, {"garbled"}),
    ("cheaper than published", is_general, {"price": [1, 1, 1, 1]}, {"price", "cost"}),
    ("another price card", is_general, {"card": "0" * 64}, {"price"}),
    ("an unknown catalog", is_general, {"catalog": "0" * 64}, {"catalog"}),
    ("no catalog", is_general, {"catalog": None}, {"catalog"}),
    ("PHI as general", is_phi, {"phi": False}, {"tier"}),
    ("PHI without agreement", is_phi, {"agreements": ..., "agreement": None}, {"agreement"}),
    ("signed before it began", is_general, {"signed": 1}, {"time"}),
    ("another stack", is_general, {"stack": "elsewhere"}, {"certificate", "digest"}),
    ("certified by nobody", is_phi, {"certified": False}, {"certificate"}),
    ("a count below 0", is_general, {"refusals_without_receipt": -1}, {"garbled"}),
    ("an enclave by the name", is_general, {"confidential": "name"}, {"confidential"}),
    ("an enclave by the policy", is_general, {"confidential": "policy"}, {"confidential"}),
    ("an enclave by a wish", is_general, {"confidential": "preference"}, {"confidential"}),
    ("an enclave given up", is_general, {"confidential": "lifted"}, set()),
    ("an enclave by no known word", is_general, {"confidential": "sworn"}, {"garbled"}),
    (
        "rejected for an enclave that nothing asked for",
        is_general,
        {"rejected": {"capability_confidential": ["together-glm-5.2"]}},
        {"confidential"},
    ),
    ("no row and a cost", is_general, {"row": ...}, {"garbled"}),
)


@pytest.mark.parametrize(
    ("kind", "changes", "broken"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_what_an_operator_signs_against_the_rules_is_found(
    fixture: AccountFixture,
    kind: Callable[[dict[str, object]], bool],
    changes: dict[str, object],
    broken: set[str],
) -> None:
    name = next(n for day in range(2, 6) for n in fixture.names(kind, day))
    fixture.signed_anew(name, **changes)
    fixture.close_again()
    found = rules(fixture.audit())
    # A record that cannot be read is not signed over: its day stays open.
    assert found - {"digest"} == broken - {"digest"}


ELSEWHERE = "10.0.0.7:9"
ALLOWED = {
    "nothing is allowed": (frozenset[str](), True),
    "another host": (frozenset({"10.0.0.8:9", "10.0.0.70"}), True),
    "another port": (frozenset({"10.0.0.7:90"}), True),
    "the host": (frozenset({"10.0.0.7"}), False),
    "the host and its port": (frozenset({"other", ELSEWHERE}), False),
}


def overridden(fixture: AccountFixture, kind: Callable[[Item], bool], **changes: Any) -> Json:
    """A receipt of that kind, signed as a stack does whose provider is reached elsewhere."""
    name = next(n for day in range(8) for n in fixture.names(kind, day))
    record = fixture.record(name)
    hosts = {attempt[0]: ELSEWHERE for attempt in record["attempts"]}
    said = {"override": True, "overrides": hosts, "agreements": ..., "agreement": None}
    fixture.signed_anew(name, **{**said, "residency": "unproven", **changes})
    fixture.close_again()
    return record


@pytest.mark.parametrize(("allowed", "is_found"), ALLOWED.values(), ids=ALLOWED)
def test_phi_at_another_address_is_a_finding_until_its_host_is_allowed(
    fixture: AccountFixture, allowed: frozenset[str], is_found: bool
) -> None:
    record = overridden(fixture, is_phi)
    report = fixture.audit(overrides_allowed=allowed)
    assert rules(report) == ({"override"} if is_found else set())
    assert report.overrides == {(ELSEWHERE, "phi"): 1}
    assert report.findings == int(is_found)
    if is_found:
        (found,) = report.found
        assert (found.subject, ELSEWHERE in found.sentence) == (record["id"], True)
    assert f"1 phi at {ELSEWHERE}" in page(report, "the table itself")


def test_general_traffic_at_another_address_is_counted_and_no_finding(
    fixture: AccountFixture,
) -> None:
    overridden(fixture, is_general)
    report = fixture.audit()
    assert report.found == []
    assert report.overrides == {(ELSEWHERE, "general"): 1}


def test_an_allowed_host_excuses_no_other_rule(fixture: AccountFixture) -> None:
    overridden(fixture, is_phi, residency="contract")
    assert rules(fixture.audit(overrides_allowed=frozenset({ELSEWHERE}))) == {"override"}


def test_trust_in_an_address_does_not_outlast_the_catalogs_agreement(
    fixture: AccountFixture,
) -> None:
    record = overridden(fixture, is_phi)
    row, region, *_ = record["attempts"][-1]
    late_ms = 20 * 365 * DAY_S * 1000
    overridden(fixture, is_phi, attempts=[[row, region, "ok", 900, late_ms]])
    report = fixture.audit(overrides_allowed=frozenset({ELSEWHERE}))
    (sentence,) = [found.sentence for found in report.found if found.rule == "agreement"]
    assert f"{row} saw PHI while" in sentence


def test_simulated_answers_are_counted(fixture: AccountFixture) -> None:
    name = next(n for day in range(8) for n in fixture.names(is_phi, day))
    fixture.signed_anew(name, simulated=[fixture.record(name)["row"]])
    fixture.close_again()
    report = fixture.audit()
    assert (report.found, report.simulated) == ([], 1)


def test_an_agreement_that_lapsed_between_two_attempts_is_found(fixture: AccountFixture) -> None:
    name = next(n for day in range(8) for n in fixture.names(is_phi, day))
    record = fixture.record(name)
    row, region, *_ = record["attempts"][-1]
    agreement_id, law, effective_s, _ = record["agreements"][row]
    record["agreements"][row] = [agreement_id, law, effective_s, record["time"] + 2]
    first = [row, region, "http_500", 900, 1_999]
    honest, late = [row, region, "ok", 900, 1_999], [row, region, "ok", 900, 2_000]
    for attempts, sentences in (([first, honest], 0), ([first, late], 1)):
        fixture.signed_anew(name, attempts=attempts, agreements=record["agreements"])
        found = [each.sentence for each in fixture.audit().found if each.rule == "agreement"]
        told = [text for text in found[0].split("; ") if "not in force" in text]
        assert len(told) == sentences


def test_phi_whose_agreement_had_ended_by_the_catalog_is_found() -> None:
    traffic = Traffic("clinic", "2026-07-01", days=12, per_day=6, plants=frozenset({"agreement"}))
    (found,) = AccountFixture.kept(traffic).audit().found
    assert (found.rule, "not in force" in found.sentence) == ("agreement", True)


def uncertified(fixture: AccountFixture, count: int = 1) -> list[str]:
    """General answers of a key that nobody vouches for; their ids."""
    names = [n for day in range(2, 8) for n in fixture.names(is_general, day)][:count]
    for name in names:
        fixture.signed_anew(name, certified=False)
        del fixture.items[fixture.certificate(name)]
    fixture.close_again()
    return [name[1] for name in names]


def forged_as_uncertified(fixture: AccountFixture) -> list[str]:
    """Without any key: PHI becomes a general receipt of a key that nobody has seen."""
    name = next(n for day in range(8) for n in fixture.names(is_phi, day))
    theirs = fixture.record(fixture.names(is_general)[0])
    kept = {member: fixture.record(name)[member] for member in ("id", "seq", "time", "signed")}
    payload = orjson.dumps({**theirs, **kept, "certified": False}, option=orjson.OPT_SORT_KEYS)
    fixture.change(name, **signed_members(Signed(payload, "k" * 43, bytes(64))))
    fixture.change(name, c={"N": str(theirs["cost"]["charged"])})
    fixture.close_again()
    return [name[1]]


@pytest.mark.parametrize("make", [uncertified, forged_as_uncertified])
def test_an_uncertified_receipt_is_a_finding(
    fixture: AccountFixture, make: Callable[[AccountFixture], list[str]]
) -> None:
    ids = make(fixture)
    report = fixture.audit()
    assert [(found.subject, found.rule) for found in report.found] == [(ids[0], "uncertified")]
    assert (report.uncertified, report.uncertified_ids) == (1, ids)


@pytest.mark.parametrize(("allowed", "findings"), [(0, 3), (2, 1), (3, 0), (4, 0)])
def test_uncertified_receipts_are_accepted_up_to_the_number_that_is_allowed(
    fixture: AccountFixture, allowed: int, findings: int
) -> None:
    ids = uncertified(fixture, 3)
    report = fixture.audit(uncertified_max=allowed)
    assert report.found_by_rule == ({"uncertified": findings} if findings else {})
    assert (report.uncertified, sorted(report.uncertified_ids)) == (3, sorted(ids))


def test_an_uncertified_receipt_of_phi_is_a_finding(fixture: AccountFixture) -> None:
    name = next(n for day in range(8) for n in fixture.names(is_phi, day))
    fixture.signed_anew(name, certified=False)
    del fixture.items[fixture.certificate(name)]
    fixture.close_again()
    report = fixture.audit(uncertified_max=9)
    assert (rules(report), report.uncertified_ids) == ({"certificate"}, [name[1]])


# Tombstones: nobody signs them.


@pytest.mark.parametrize(("accepted", "findings"), [(None, 0), (0, 1), (9, 0)])
def test_tombstones_are_listed_and_those_above_the_limit_found(
    accepted: int | None, findings: int
) -> None:
    report = HONEST.audit(tombstones_max=accepted)
    standing = sorted(
        (HONEST.day(day), name[1])
        for day in range(TRAFFIC.days)
        for name in HONEST.names(is_tombstone, day)
    )
    assert report.tombstones_listed == standing
    assert (report.tombstones, report.findings) == (len(standing), findings)
    assert rules(report) == ({"tombstones"} if findings else set())


def test_a_tombstone_that_took_a_receipts_place_before_the_closing_is_listed() -> None:
    """The audit cannot tell it from an honest one; docs/receipts.md says so."""
    fixture = OPEN.copy()
    before = len(HONEST.audit().tombstones_listed)
    name = fixture.names(is_receipt)[0]
    tombstone_in_place_of_a_receipt(fixture)
    fixture.close_again()
    report = fixture.audit()
    assert (report.findings, len(report.tombstones_listed)) == (0, before + 1)
    assert (fixture.day(2), name[1]) in report.tombstones_listed
    assert "not proven" in page(report, "the table itself")
    assert rules(fixture.audit(tombstones_max=before)) == {"tombstones"}


# Digests that somebody saved.


def test_a_day_that_was_signed_anew_is_seen_by_its_saved_digest_alone(
    fixture: AccountFixture,
) -> None:
    saved = fixture.saved()
    name = fixture.names(is_general)[0]
    fixture.signed_anew(name, ended="hang_up")
    fixture.close_again()
    assert fixture.audit().findings == 0
    report = fixture.audit(saved=saved)
    assert rules(report) == {"saved"}
    assert {found.subject for found in report.found} == {place for place, _ in saved}
    third = next(found for found in report.found if found.subject == f"{fixture.day(2)}.jws")
    assert "receipts_sha256" in third.sentence


def test_saved_digests_that_agree_are_no_finding(fixture: AccountFixture) -> None:
    assert fixture.audit(saved=fixture.saved()).findings == 0


def test_a_saved_digest_that_is_not_in_the_table_is_found(fixture: AccountFixture) -> None:
    saved = fixture.saved()
    last_digest_missing(fixture)
    assert rules(fixture.audit(0, 5, saved=saved)) == {"saved"}


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * 100_000])
def test_a_saved_digest_that_is_none_is_found(fixture: AccountFixture, text: str) -> None:
    assert rules(fixture.audit(saved=[("file", text)])) == {"saved"}


def test_a_saved_digest_of_another_account_is_found(fixture: AccountFixture) -> None:
    signers = dict(fixture.operator.signers)
    other = AccountFixture.kept(
        dataclasses.replace(TRAFFIC, account="other", days=3), signers=signers
    )
    report = fixture.audit(saved=other.saved())
    assert rules(report) == {"saved"}
    assert "of account other" in report.found[0].sentence


# Periods.


def test_every_part_of_the_period_is_clean_around_midnight() -> None:
    for first in range(TRAFFIC.days):
        for last in range(first, TRAFFIC.days):
            assert HONEST.audit(first, last).found == []


def test_what_is_missing_at_the_edge_of_a_period_is_found(fixture: AccountFixture) -> None:
    for number in (2 * 12 + 2, 5 * 12 + 11):
        (name,) = [n for n, item in fixture.items.items() if item.get("s") == {"N": str(number)}]
        del fixture.items[name]
    subjects = {found.subject for found in fixture.audit(2, 5).found if found.rule == "gap"}
    assert subjects == {"number 26", "number 71"}


def _junk(fixture: AccountFixture, item: dict[str, object], seq: str) -> dict[str, object]:
    return {"s": {"N": seq}}


def _junk_tombstone(
    fixture: AccountFixture, item: dict[str, object], seq: str
) -> dict[str, object]:
    zero = {"N": "0"}
    return {"s": {"N": seq}, "st": {"S": "expired"}, "c": zero, "p": zero}


def _renumbered(fixture: AccountFixture, item: dict[str, object], seq: str) -> dict[str, object]:
    return {**item, "s": {"N": seq}}


def _unsigned(
    fixture: AccountFixture, item: dict[str, object], seq: str, **more: bool
) -> dict[str, object]:
    signed = signed_of(item)
    assert signed is not None
    record = {**orjson.loads(signed.payload), "seq": int(seq), **more}
    payload = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    kid = "k" * 43 if more else signed.kid
    return {**item, "s": {"N": seq}, **signed_members(Signed(payload, kid, bytes(64)))}


def _uncertified(fixture: AccountFixture, item: dict[str, object], seq: str) -> dict[str, object]:
    return _unsigned(fixture, item, seq, certified=False)


Junk = Callable[[AccountFixture, dict[str, object], str], dict[str, object]]


@pytest.mark.parametrize("day", [1, 3])
@pytest.mark.parametrize(
    ("junk", "sk"),
    [
        (_junk, None),
        (_junk, "junk"),
        (_junk, "junk.u"),
        (_junk_tombstone, "junk"),
        (_junk_tombstone, "AAAAAAAAAAAAAAAA.u"),
        (_junk_tombstone, "AAAAAAAAAAAAAAAA"),
        (_renumbered, None),
        (_unsigned, None),
        (_uncertified, None),
    ],
)
def test_junk_on_a_neighbouring_day_has_no_number(
    fixture: AccountFixture, day: int, junk: Junk, sk: str | None
) -> None:
    seq = str(fixture.items.pop(fixture.names(is_receipt, 2)[4])["s"]["N"])
    name = fixture.names(is_general, day)[1]
    item = junk(fixture, fixture.items[name], seq)
    key = name[0], name[1] if sk is None else sk
    fixture.items[key] = {**item, "pk": {"S": key[0]}, "sk": {"S": key[1]}}
    found = [found.subject for found in fixture.audit(2, 2).found if found.rule == "gap"]
    assert found == [f"number {seq}"]


def test_a_period_without_receipts_between_others_is_clean(fixture: AccountFixture) -> None:
    report = fixture.audit(20, 25)
    assert (report.findings, report.receipts, report.numbers) == (0, 0, None)


def test_an_empty_period_out_of_which_a_day_was_taken_is_found(fixture: AccountFixture) -> None:
    whole_day_missing(fixture)
    digest_missing(fixture)
    found = {(each.subject, each.rule) for each in fixture.audit(2, 2).found}
    assert ("numbers 26 to 35", "gap") in found


def test_today_may_have_calls_under_way() -> None:
    fixture = AccountFixture.kept(is_closed=False)
    asked_s = begins_at_s(fixture.day(TRAFFIC.days - 1)) + DAY_S - 60.0
    names = fixture.names(is_receipt, TRAFFIC.days - 1)
    under_way, account = names[3], (f"A#{TRAFFIC.account}#S0", "A")
    number = fixture.items.pop(under_way)["s"]
    day = TRAFFIC.days - 1
    report = fixture.audit(day, now_s=asked_s)
    assert (rules(report), report.days_open) == ({"gap"}, [fixture.day(day)])
    entry = {"M": {"a": {"N": "1"}, "e": {"N": str(int(asked_s) + 9)}, "p": {"N": "0"}}}
    fixture.change(account, h={"M": {under_way[1]: entry}}, q={"M": {under_way[1]: number}})
    assert fixture.audit(day, now_s=asked_s).found == []


# What the hold that somebody writes in a deleted receipt's place looks like: when its call began
# and when it expires, from the time of the audit; which day's receipt was deleted.
NOW_S = begins_at_s("2026-07-08") + DAY_S - 60
FAKES = (
    ("as one under way", -30, 900, 7, False),
    ("of the day before", -DAY_S - 30, 900, 7, False),
    ("just past its time", -900, -120, 7, False),
    ("of two days before", -2 * DAY_S, 900, 7, True),
    ("of the future", 3_600, 960, 7, True),
    ("of the year 2100", 2_300_000_000, 900, 7, True),
    ("past its time", -900, -121, 7, True),
    ("without end", -30, 2_000_000_000, 7, True),
    ("longer than any call", -30, 961, 7, True),
    ("of a number given out days ago", -30, 900, 3, True),
)


@pytest.mark.parametrize(
    ("began_s", "expires_s", "day", "is_found"),
    [fake[1:] for fake in FAKES],
    ids=[f[0] for f in FAKES],
)
def test_a_number_is_excused_by_a_hold_that_may_be_under_way_and_by_no_other(
    began_s: int, expires_s: int, day: int, is_found: bool
) -> None:
    fixture = OPEN.copy()
    seq = fixture.items.pop(fixture.names(is_receipt, day)[3])["s"]["N"]
    put_hold(fixture, new_id(NOW_S + began_s, b"7 bytes"), seq, NOW_S + expires_s)
    found = [
        (f.subject, f.rule) for f in fixture.audit(now_s=float(NOW_S)).found if f.rule == "gap"
    ]
    assert found == ([(f"number {seq}", "gap")] if is_found else [])


def test_a_hold_with_an_id_that_is_none_excuses_nothing() -> None:
    fixture = OPEN.copy()
    seq = fixture.items.pop(fixture.names(is_receipt, 7)[3])["s"]["N"]
    put_hold(fixture, "\x1b[2J", seq, NOW_S)
    (found,) = [f for f in fixture.audit(now_s=float(NOW_S)).found if f.rule == "gap"]
    assert found.sentence.isprintable()


def test_today_ends_where_the_account_counts_to() -> None:
    fixture = AccountFixture.kept(is_closed=False)
    last_receipt_missing(fixture)
    asked_s = begins_at_s(fixture.day(TRAFFIC.days - 1)) + DAY_S - 60.0
    (found,) = fixture.audit(TRAFFIC.days - 1, now_s=asked_s).found
    assert (found.subject, found.rule) == (f"number {TRAFFIC.numbers}", "gap")


def test_an_account_without_traffic_is_clean() -> None:
    report = AccountFixture.kept(dataclasses.replace(TRAFFIC, per_day=0)).audit()
    assert (report.findings, report.receipts, report.days_closed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("seq", "spent", "first", "later_s", "is_found"),
    [
        ("0", "0", 0, 0, False),
        ("9", "0", 0, 0, True),
        ("0", "9", 0, 0, True),
        ("9", "9", 0, DAY_S, True),
        ("9", "9", 0, 2 * DAY_S, False),
        ("9", "9", 1, 0, False),
    ],
)
def test_an_account_out_of_which_everything_was_taken_is_found(
    seq: str, spent: str, first: int, later_s: int, is_found: bool
) -> None:
    """Also where the counter was put back, unless the period leaves out a part of its life."""
    fixture = HONEST.copy()
    for name in [name for name in fixture.items if name[0].startswith(("R#", "D#"))]:
        del fixture.items[name]
    fixture.change((f"A#{TRAFFIC.account}#S0", "A"), seq={"N": seq}, spent={"N": spent})
    now_s = float(begins_at_s(fixture.day(TRAFFIC.days - 1)) + DAY_S - 60 + later_s)
    assert ("lost" in rules(fixture.audit(first, now_s=now_s))) == is_found


def test_findings_above_the_limit_are_counted(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    for i in range(FINDINGS_KEPT_MAX + 50):
        pk, sk = name[0], f"junk-{i}"
        fixture.items[pk, sk] = {"pk": {"S": pk}, "sk": {"S": sk}}
    report = fixture.audit()
    assert len(report.found) == FINDINGS_KEPT_MAX
    assert report.found_by_rule["garbled"] == FINDINGS_KEPT_MAX + 50


def test_a_signature_beside_a_receipt_is_no_receipt(fixture: AccountFixture) -> None:
    name = fixture.names(is_receipt)[0]
    beside = f"{name[1]}.u"
    fixture.items[name[0], beside] = {"pk": {"S": name[0]}, "sk": {"S": beside}, "sig": {"S": "x"}}
    assert fixture.audit().found == []


def test_roots_that_somebody_knows_himself_outweigh_those_in_the_table() -> None:
    """Who has the table can write books of his own into it, roots and all."""
    forged = AccountFixture.kept()
    known = HONEST.audit().question.roots
    assert forged.audit().found == []
    report = forged.audit(roots=known)
    assert rules(report) == {"certificate", "digest", "catalog"}
    assert report.found_by_rule["certificate"] == report.receipts


# Properties.


@settings(max_examples=40, deadline=None)
@given(
    days=st.integers(1, 6),
    per_day=st.integers(2, 9),
    seed=st.integers(0, 2**32),
)
def test_any_honest_days_are_clean(days: int, per_day: int, seed: int) -> None:
    traffic = Traffic("clinic", "2026-07-01", days, per_day, seed=seed)
    assert AccountFixture.kept(traffic).audit().found == []


# What one member of an item is changed to. Left out are those that nothing stands on: the time of
# expiry, and what was swept before a late receipt.
ALTERED = ("st", "c", "s", "z", "g", "kid", "jws")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_single_item_removed_doubled_or_changed_is_found(data: st.DataObject) -> None:
    fixture = HONEST.copy()
    prefixes = ("R#", "D#", "CERT#")
    name = data.draw(st.sampled_from(sorted(n for n in fixture.items if n[0].startswith(prefixes))))
    act = data.draw(st.sampled_from(("remove", "double", "change")))
    item = fixture.items[name]
    if act == "remove":
        del fixture.items[name]
    elif act == "double" and name[0].startswith("R#"):
        again = new_id(begins_at_s(name[0][-10:]) + data.draw(st.integers(0, 86_399)), b"7 bytes")
        fixture.items[name[0], again] = {**item, "sk": {"S": again}}
    else:
        member = data.draw(st.sampled_from([m for m in ALTERED if m in item]))
        fixture.change(name, **{member: _altered(item, member, data)})
    is_unused = name[0].startswith("CERT#") and name not in _certificates(HONEST)
    # A record may be packed in several ways; what is signed is what comes out.
    is_the_same = (
        name in fixture.items and "z" in item and _said(fixture.items[name]) == _said(item)
    )
    assert is_unused or (is_the_same and act == "change") or fixture.audit().findings > 0


def _altered(item: dict[str, dict[str, str]], member: str, data: st.DataObject) -> object:
    ((kind, value),) = item[member].items()
    if kind == "N":
        return {"N": str(int(value) + data.draw(st.sampled_from((-1, 1, 1_000))))}
    if kind == "S" and member == "st":
        return {"S": data.draw(st.sampled_from([s for s in ("expired", "x") if s != value]))}
    if kind == "S":
        at = data.draw(st.integers(0, len(value) - 1))
        return {"S": value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]}
    raw = bytearray(base64.b64decode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return {"B": base64.b64encode(raw).decode()}


def _said(item: dict[str, object]) -> list[object]:
    return [signed_of(item), *(item[member] for member in ("st", "c", "s"))]


def _certificates(fixture: AccountFixture) -> set[tuple[str, str]]:
    return {
        fixture.certificate(name)
        for name, item in fixture.items.items()
        if name[0].startswith("R#") and signed_of(item) is not None
    }


def test_a_leaf_is_the_hash_of_the_jws_itself(fixture: AccountFixture) -> None:
    """Whoever has the receipts of a day can make its digest again without our code."""
    lines = []
    for name in sorted(fixture.names(day=2), key=lambda n: int(fixture.items[n]["s"]["N"])):
        item = fixture.items[name]
        signed = signed_of(item)
        if signed is None:
            facts = f'{{"cost":{item["c"]["N"]},"id":"{name[1]}","seq":{item["s"]["N"]}}}'
            lines.append(hashlib.sha256(facts.encode()).digest())
            continue
        header = f'{{"alg":"EdDSA","kid":"{signed.kid}","typ":"residency-receipt+jwt"}}'.encode()
        parts = (header, signed.payload, signed.signature)
        jws = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        lines.append(hashlib.sha256(jws).digest())
    digest = orjson.loads(base64.urlsafe_b64decode(fixture.saved()[2][1].split(".")[1] + "=="))
    assert digest["receipts_sha256"] == hashlib.sha256(b"".join(lines)).hexdigest()
