"""The members of a receipt's record: one table, from which the writer, the reader and the JSON
Schema of docs/receipt.schema.json are made.

A new member is a row at the end and stays optional for ever: receipts of every release are read. A
member is never renamed and its shape never narrowed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from phigate.core.receipts.record import Charge, Ended, Facts, sandbox_told
from phigate.core.receipts.shapes import (
    Shape,
    boolean,
    constant,
    count,
    list_of,
    map_of,
    matching,
    nullable,
    object_of,
    one_of,
    text,
    tuple_of,
    whole,
)
from phigate.core.receipts.upstream_id import kept_id
from phigate.core.types import ConfidentialBy, Json, Price, Rejection, Residency, Tier, Usage

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
# Members that stand together or not at all.
Group = Literal["served", "charged", "override"]


@dataclass(frozen=True, slots=True)
class Member:
    """A member: what it must be, how it is made (`None` leaves an optional one out), what it says.

    `always`: every record has it, if need be as null. `needs`: it stands only where that one does.
    """

    shape: Shape
    make: Callable[[Facts], Any]
    says: str
    always: bool = False
    group: Group | None = None
    needs: str | None = None


def record(facts: Facts) -> Json:
    """The record as JSON members; absent members mean `none`."""
    made = {name: member.make(facts) for name, member in RECORD.items()}
    return {name: made[name] for name in made if made[name] is not None or _is_null(name, made)}


def wrong_members(members: Json) -> list[str]:
    """The members that are missing, or not what they must be, by the order of the table."""
    wrong = [name for name, member in RECORD.items() if not _stands(name, member, members)]
    wrong += [
        member.needs
        for name, member in RECORD.items()
        if name in members and member.needs is not None and member.needs not in members
    ]
    for group in _GROUPS.values():
        if group & members.keys():
            wrong += sorted(group - members.keys())
    return wrong


def record_schema() -> Json:
    """The record as JSON Schema, draft 2020-12."""
    needs: dict[str, list[str]] = {}
    for name, member in RECORD.items():
        together = _GROUPS[member.group] - {name} if member.group is not None else ()
        if found := sorted({*together, *([member.needs] if member.needs else ())}):
            needs[name] = found
    return {
        "$schema": SCHEMA_ID,
        "title": "phigate receipt",
        "description": "The payload of a receipt (JWS, typ residency-receipt+jwt). No content.",
        "type": "object",
        "properties": {
            name: {"description": member.says, **member.shape.schema}
            for name, member in RECORD.items()
        },
        "required": [name for name, member in RECORD.items() if member.always],
        "dependentRequired": needs,
        "additionalProperties": False,
    }


def _stands(name: str, member: Member, members: Json) -> bool:
    return member.shape.fits(members[name]) if name in members else not member.always


def _is_null(name: str, made: Mapping[str, Any]) -> bool:
    """Whether a member that is None is written as null: it always stands, or its group stands."""
    member = RECORD[name]
    return member.always or (member.group == "served" and made["row"] is not None)


# --- What is made of the facts --------------------------------------------------------------------


def _tier(facts: Facts) -> Tier | None:
    return None if facts.phi is None else "phi" if facts.phi else "general"


def _rejected(facts: Facts) -> dict[str, list[str]]:
    """Rejections grouped by rule: shorter than naming the rule with every row."""
    return _by_rule(facts.rejections)


def _by_rule(rejections: Iterable[Rejection]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for rejection in rejections:
        grouped.setdefault(rejection.rule, []).append(rejection.row)
    return grouped


def _attempts(facts: Facts) -> list[list[Any]]:
    return [[a.row, a.region, a.outcome, a.ms, a.at_ms] for a in facts.attempts]


def _residency(facts: Facts) -> Residency | None:
    return None if facts.row is None else facts.row.places[facts.region or ""].residency


def _agreement(facts: Facts) -> str | None:
    agreement = None if facts.row is None else facts.row.agreement
    return None if agreement is None else agreement.id


def _agreements(facts: Facts) -> dict[str, list[Any]] | None:
    agreements = facts.agreements.items()
    return {row: [a.id, a.law, a.effective_at_s, a.expires_at_s] for row, a in agreements} or None


def _charge(facts: Facts) -> Charge | None:
    return facts.charge if facts.row is not None else None


def _usage(facts: Facts) -> Json | None:
    charge = _charge(facts)
    if charge is None:
        return None
    return {
        "in": charge.usage.tokens_in,
        "out": charge.usage.tokens_out,
        "cache_read": charge.usage.tokens_cache_read,
        "cache_write": charge.usage.tokens_cache_write,
        "source": "estimated" if charge.usage_is_estimate else "verified",
        "bytes_in": charge.bytes_in,
        "bytes_out": charge.bytes_out,
    }


def _price(facts: Facts) -> list[int] | None:
    return None if _charge(facts) is None or facts.row is None else _rates(facts.row.price)


def _cost(facts: Facts) -> Json | None:
    charge = _charge(facts)
    if charge is None:
        return None
    return {
        "computed": charge.computed_micros,
        "charged": charge.charged_micros,
        "held": charge.held_micros,
    }


def _turns(facts: Facts) -> list[list[Any]] | None:
    charge = _charge(facts)
    if charge is None or len(charge.turns) < 2:
        return None
    return [[row.id, *_counts(usage), *_rates(row.price)] for row, usage in charge.turns]


def _worked(facts: Facts) -> list[int] | None:
    charge = _charge(facts)
    worked = None if charge is None else charge.worked
    return None if worked is None else [worked.ms, worked.tokens_out_per_s, worked.tokens_out_max]


def _upstream_id(facts: Facts) -> str | None:
    """A confidential provider signs its answer under its own id."""
    if facts.row is None or facts.upstream_id is None or not facts.row.confidential:
        return None
    return kept_id(facts.upstream_id, phi=facts.phi is not False)


def _upstream_hash(facts: Facts, index: int) -> str | None:
    hashes = None if facts.row is None else facts.upstream_hashes
    return None if hashes is None else hashes[index]


def _counts(usage: Usage) -> list[int]:
    return [usage.tokens_in, usage.tokens_out, usage.tokens_cache_read, usage.tokens_cache_write]


def _rates(price: Price) -> list[int]:
    return [
        price.in_micros_per_mtok,
        price.out_micros_per_mtok,
        price.cache_read_micros_per_mtok,
        price.cache_write_micros_per_mtok,
    ]


# --- The table ------------------------------------------------------------------------------------

# A name that people are shown: printable ASCII, so that nothing in it moves a terminal's cursor.
_NAME = matching("[ -~]{0,256}")
_SHA256 = matching("[0-9a-f]{64}")
_FOUR = (count(),) * 4

RECORD: Mapping[str, Member] = {
    "id": Member(_NAME, lambda f: f.id, "The receipt's id, which holds its time.", always=True),
    "account": Member(_NAME, lambda f: f.account, "Whose credit paid.", always=True),
    "key": Member(_NAME, lambda f: f.key_id, "The id of the API key.", always=True),
    "seq": Member(count(), lambda f: f.seq, "The account's number of this call.", always=True),
    "time": Member(count(), lambda f: f.time_s, "When it began, in Unix seconds.", always=True),
    "signed": Member(count(), lambda f: f.signed_at_s, "When it was signed.", always=True),
    "stack": Member(_NAME, lambda f: f.stack, "The stack that answered.", always=True),
    "region_asked": Member(
        nullable(_NAME), lambda f: f.region, "Where it had to be processed.", always=True
    ),
    "phi": Member(
        nullable(boolean()),
        lambda f: f.phi,
        "Whether it was PHI; null where the headers could not be read.",
        always=True,
    ),
    "tier": Member(nullable(one_of(*get_args(Tier))), _tier, "The same as a word.", always=True),
    "verdict": Member(
        matching("[a-z][a-z0-9_]{0,63}"),
        lambda f: f.verdict,
        "`routed`, or the code of the refusal.",
        always=True,
    ),
    "rejected": Member(
        map_of(text(), list_of(text())),
        _rejected,
        "Rows removed, by rule.",
        always=True,
    ),
    "attempts": Member(
        list_of(tuple_of(_NAME, _NAME, _NAME, count(), count())),
        _attempts,
        "Each try: row, region, outcome, milliseconds, and its start after `time` in milliseconds.",
        always=True,
    ),
    "catalog": Member(
        nullable(_SHA256), lambda f: f.catalog_sha256, "The catalog it was routed by.", always=True
    ),
    "card": Member(
        nullable(_SHA256), lambda f: f.card_sha256, "The rate card it was priced by.", always=True
    ),
    "request_sha256": Member(
        _SHA256,
        lambda f: f.request_sha256,
        "The body as received; under PHI an HMAC under the key holder's nonce.",
        always=True,
    ),
    "response_sha256": Member(
        _SHA256,
        lambda f: f.response_sha256,
        "The body as sent, of a stream every byte; under PHI an HMAC.",
        always=True,
    ),
    "ended": Member(one_of(*get_args(Ended)), lambda f: f.ended, "How it ended.", always=True),
    "row": Member(
        _NAME, lambda f: f.row and f.row.id, "The model row that answered.", group="served"
    ),
    "provider": Member(_NAME, lambda f: f.row and f.row.provider, "Its provider.", group="served"),
    "region_served": Member(
        _NAME, lambda f: (f.region or "") if f.row else None, "Where it ran.", group="served"
    ),
    "residency": Member(
        one_of(*get_args(Residency)), _residency, "What that rests on.", group="served"
    ),
    "agreement": Member(
        nullable(_NAME), _agreement, "The agreement it ran under, if there was one.", group="served"
    ),
    "agreements": Member(
        map_of(text(), tuple_of(_NAME, _NAME, count(), count())),
        _agreements,
        "Of every row that was tried: agreement, law, and from when until when in Unix seconds.",
    ),
    "usage": Member(
        object_of(
            **dict.fromkeys(
                ("in", "out", "cache_read", "cache_write", "bytes_in", "bytes_out"), count()
            ),
            source=one_of("verified", "estimated"),
        ),
        _usage,
        "Tokens, and whether the provider reported them.",
        group="charged",
    ),
    "price": Member(
        tuple_of(*_FOUR),
        _price,
        "Micro-USD for a million tokens: in, out, read from a cache, written to one.",
        group="charged",
    ),
    "cost": Member(
        object_of(computed=count(), charged=count(), held=count()),
        _cost,
        "Micro-USD: prices times usage, what was charged of it, what was held.",
        group="charged",
        needs="row",
    ),
    "turns": Member(
        list_of(tuple_of(_NAME, *_FOUR, *_FOUR)),
        _turns,
        "With several turns, of each: row, tokens, prices.",
        needs="cost",
    ),
    "confidential": Member(
        one_of(*get_args(ConfidentialBy)),
        lambda f: f.confidential,
        "What made an enclave necessary.",
    ),
    "worked": Member(
        tuple_of(count(), count(), count()),
        _worked,
        "Of an answer that nobody saw: milliseconds, tokens a second, most tokens.",
        needs="cost",
    ),
    "upstream_id": Member(text(), _upstream_id, "The provider's own id of the answer."),
    "sandbox": Member(
        object_of(image=text(), runs=list_of(tuple_of(text(), whole(), count()))),
        lambda f: None if f.image is None else sandbox_told(f.image, f.runs),
        "The image, and of each program: language, exit code, milliseconds.",
    ),
    "upstream_request_sha256": Member(
        _SHA256, lambda f: _upstream_hash(f, 0), "The bytes that went to the provider."
    ),
    "upstream_response_sha256": Member(
        _SHA256, lambda f: _upstream_hash(f, 1), "The bytes that came from it."
    ),
    "refusals_without_receipt": Member(
        count(),
        lambda f: f.refusals_without_receipt or None,
        "Refusals of this key before this call that left no receipt.",
    ),
    "certified": Member(
        constant(False),
        lambda f: None if f.is_certified else False,
        "Nobody vouches for the key that signed.",
    ),
    "override": Member(
        constant(True),
        lambda f: True if f.overrides else None,
        "An address that is no provider's own was tried.",
        group="override",
    ),
    "overrides": Member(
        map_of(_NAME, _NAME, least=1),
        lambda f: dict(f.overrides) or None,
        "Its host, by row.",
        group="override",
    ),
    "simulated": Member(
        list_of(_NAME, least=1),
        lambda f: list(f.simulated) or None,
        "Rows that the stack played itself.",
    ),
}
_GROUPS: Mapping[Group, frozenset[str]] = {
    group: frozenset(name for name, member in RECORD.items() if member.group == group)
    for group in get_args(Group)
}
