"""Whether a record agrees with itself: what a receipt says must not contradict what it says.

A signature proves who said it; these rules prove that it may be said: the region that was asked is
the one that served, PHI was tried only under agreements in force, the cost is prices times usage.
"""

from collections.abc import Callable, Iterator, Mapping

import orjson

from phigate.core.errors import InvalidRequest
from phigate.core.ledger.cost import cost, unseen_tokens
from phigate.core.limits import STREAM_TIMEOUT_S
from phigate.core.receipts.ids import MalformedId, seconds_of
from phigate.core.receipts.members import RECORD, wrong_members
from phigate.core.types import Json, Price, Usage
from phigate.verify.errors import VerificationError
from phigate.wire.json import parse_object

# The longest call, its drain, and a ledger that answers late; then the hold itself has expired.
CALL_S_MAX = STREAM_TIMEOUT_S + 120

Violation = tuple[str, str]  # the rule that does not hold, and the sentence for a person


def read_record(payload: bytes) -> Json:
    """The record of a receipt's payload. Raises VerificationError for what is no record of ours."""
    try:
        record = parse_object(payload)
    except InvalidRequest as exc:
        raise VerificationError(f"the record cannot be read: {exc.message}") from exc
    wrong = wrong_members(record)
    if wrong:
        raise VerificationError(f"the record's member {wrong[0]} is missing or not what it must be")
    if record.keys() - RECORD.keys():
        raise VerificationError("the record has a member that no version of it has")
    if orjson.dumps(record, option=orjson.OPT_SORT_KEYS) != payload:
        raise VerificationError("the record is not canonical JSON")
    return record


def violations(record: Json) -> Iterator[Violation]:
    """Every rule that the record breaks."""
    for name, rule in RULES.items():
        for sentence in rule(record):
            yield name, sentence


def recomputed_micros(record: Json) -> int:
    """What the turns cost at the unit prices that the record names."""
    turns = record.get("turns")
    if turns is None:
        usage = record["usage"]
        counts = [usage[name] for name in ("in", "out", "cache_read", "cache_write")]
        turns = [[record["row"], *counts, *record["price"]]]
    return cost((Price(*turn[5:]), Usage(*turn[1:5])) for turn in turns)


def _time(record: Json) -> Iterator[str]:
    try:
        began_s = seconds_of(record["id"])
    except MalformedId:
        yield "the id is no receipt id"
        return
    if began_s != record["time"]:
        yield f"the id was made at {began_s}, the record says {record['time']}"
    if not 0 <= record["signed"] - record["time"] <= CALL_S_MAX:
        yield f"it was signed {record['signed'] - record['time']} s after the call began"


def _tier(record: Json) -> Iterator[str]:
    tier = {True: "phi", False: "general", None: None}[record["phi"]]
    if record["tier"] != tier:
        yield f"the tier is {record['tier']}, PHI is {record['phi']}"


def _region(record: Json) -> Iterator[str]:
    asked = record["region_asked"]
    if "row" in record and record["region_served"] != asked:
        yield f"region {asked} was asked, {record['region_served']} served"
    for row, region, *_ in record["attempts"]:
        if region != asked:
            yield f"region {asked} was asked, {row} was tried in {region}"


def _agreement(record: Json) -> Iterator[str]:
    """Also where the headers do not tell whether it was PHI: then nothing may have been tried."""
    if record["phi"] is False:
        return
    agreements, overrides = record.get("agreements", {}), record.get("overrides", {})
    # Of an override it says itself that there is none, and who audits it decides about the host.
    covered = [attempt for attempt in record["attempts"] if attempt[0] not in overrides]
    for row, _, _, _, at_ms in covered:
        if row not in agreements:
            yield f"PHI was sent to {row} without an agreement"
            continue
        agreement_id, _, effective_s, expires_s = agreements[row]
        if not effective_s * 1000 <= record["time"] * 1000 + at_ms < expires_s * 1000:
            yield f"PHI was sent to {row} while its agreement {agreement_id} was not in force"
    if "row" not in record or record["row"] in overrides:
        return
    if record["residency"] == "unproven":
        yield f"PHI was served by {record['row']}, whose residency is unproven"
    if record["row"] not in agreements:
        yield f"PHI was served by {record['row']} without an agreement"


def _override(record: Json) -> Iterator[str]:
    """What is said of other addresses than providers' own, and of rows that the stack plays."""
    tried = {attempt[0] for attempt in record["attempts"]}
    overrides, simulated = record.get("overrides", {}), record.get("simulated", ())
    for row in sorted({*overrides, *simulated} - tried):
        yield f"{row} is named as overridden or simulated and was never tried"
    for row in sorted(overrides.keys() & {*record.get("agreements", {}), *simulated}):
        yield f"{row} was tried at {overrides[row]}, where no agreement is in force"
    if record.get("row") in overrides and record["residency"] != "unproven":
        yield f"the residency of {overrides[record['row']]} is said to be {record['residency']}"


def _served(record: Json) -> Iterator[str]:
    tried = {attempt[0] for attempt in record["attempts"]}
    if "row" in record and record["row"] not in tried:
        yield f"{record['row']} served and was never tried"
    agreements = record.get("agreements", {})
    if "row" in record:
        named = agreements.get(record["row"], [None])[0]
        if named != record["agreement"]:
            yield f"the agreement is {record['agreement']} in one place and {named} in another"


def _cost(record: Json) -> Iterator[str]:
    if "cost" not in record:
        return
    computed = recomputed_micros(record)
    told = record["cost"]
    if computed != told["computed"]:
        yield f"prices times usage is {computed} micro-USD, the record computed {told['computed']}"
    if told["charged"] != min(told["computed"], told["held"]):
        yield f"{told['charged']} micro-USD were charged of {told['computed']}"
    if "turns" in record:
        sums = [sum(turn[i] for turn in record["turns"]) for i in range(1, 5)]
        usage = record["usage"]
        if sums != [usage[name] for name in ("in", "out", "cache_read", "cache_write")]:
            yield "the usage is not the sum over the turns"


def _worked(record: Json) -> Iterator[str]:
    """An answer nobody saw is charged by the time that its row worked, and not for more."""
    if "worked" not in record:
        return
    ms, tokens_out_per_s, tokens_out_max = record["worked"]
    written = unseen_tokens(ms, tokens_out_per_s, tokens_out_max)
    turns = record.get("turns")
    told = turns[-1][2] if turns else record["usage"]["out"]
    if told != written:
        yield f"{ms} ms of work are {written} tokens of output, the record says {told}"
    if record["usage"]["source"] != "estimated":
        yield "usage by the time worked is an estimate, the record calls it verified"
    if ms > CALL_S_MAX * 1000:
        yield f"a row worked for {ms} ms, longer than any call"
    if ms > (record["signed"] - record["time"] + 1) * 1000:
        yield f"a row worked for {ms} ms in a call that was over before"


def _upstream(record: Json) -> Iterator[str]:
    names = [
        name for name in ("upstream_request_sha256", "upstream_response_sha256") if name in record
    ]
    if names and record["phi"] is not False:
        yield "what may be PHI was hashed plainly, so that guesses can be tested"
    if len(names) == 1 or (names and "row" not in record):
        yield "one hash of the upstream's wire without the other, or without a row"


def _rejected_yet_tried(record: Json) -> Iterator[str]:
    """A row that the gate has removed is tried by nobody."""
    tried = {attempt[0] for attempt in record["attempts"]}
    for rule, rows in record["rejected"].items():
        for row in sorted(tried.intersection(rows)):
            if rule not in _ENCLAVE_RULES:
                yield f"{row} was rejected ({rule}), and was tried"


def _programs_for_phi(record: Json) -> Iterator[str]:
    if "sandbox" in record and record["phi"] is not False:
        yield "programs were run for PHI, which no agreement covers"


def _confidential(record: Json) -> Iterator[str]:
    told, rejected = record.get("confidential"), record["rejected"]
    if "capability_confidential" in rejected and told not in ("name", "policy"):
        yield "rows were rejected for want of an enclave, and neither name nor policy asked for one"
    removed = {row for rule in _ENCLAVE_RULES for row in rejected.get(rule, ())}
    for row in sorted(removed & {attempt[0] for attempt in record["attempts"]}):
        yield f"{row} was rejected for want of an enclave, and was tried"


RULES: Mapping[str, Callable[[Json], Iterator[str]]] = {
    "time": _time,
    "tier": _tier,
    "region": _region,
    "agreement": _agreement,
    "override": _override,
    "served": _served,
    "cost": _cost,
    "worked": _worked,
    "upstream": _upstream,
    "confidential": _confidential,
    "rejected": _rejected_yet_tried,
    "sandbox": _programs_for_phi,
}

_ENCLAVE_RULES = ("capability_confidential", "provider_confidential")
