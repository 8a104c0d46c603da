"""The record that every answer and every refusal leaves: what ran where, under which agreement, at
what price. It holds ids, names, counts, hashes and micros; never content.

The hashes of general traffic are SHA-256 of the bytes. Under PHI they are HMAC-SHA256 under a
nonce that only the key's holder can compute, so that nobody else can test guesses (decision 92).
A record is signed as it stands and checked by `proof`, which owns what its members must agree with.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from phigate.core.receipts.upstream_id import kept_id
from phigate.core.sandbox.runs import Run
from phigate.core.types import (
    Agreement,
    Attempt,
    ConfidentialBy,
    Json,
    Price,
    Rejection,
    Row,
    Usage,
)

Ended = Literal["complete", "upstream_cut", "deadline", "hang_up", "refused"]

RECEIPT_TYP = "residency-receipt+jwt"
RECEIPT_ALG = "EdDSA"  # with an Ed25519 key (RFC 8037)


class Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def nonce(key: str, receipt_id: str) -> bytes:
    """HMAC(API key, receipt id): the caller can compute and disclose it, the operator cannot."""
    return hmac.digest(key.encode(), receipt_id.encode(), "sha256")


def digest(phi: bool, phi_nonce: bytes) -> Digest:
    """A fresh hash for the bytes of a request or an answer."""
    return hmac.new(phi_nonce, digestmod="sha256") if phi else hashlib.sha256()


@dataclass(frozen=True, slots=True)
class Signed:
    """A record as it is stored: its canonical JSON and the signature over the JWS of it.

    `kid` names the key; `text_signature` is the same key's over `hash_text`, for general answers.
    """

    payload: bytes
    kid: str
    signature: bytes
    text_signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Worked:
    """What the last turn's output was estimated by, where nothing of it was seen: how long the row
    worked, how fast it writes, and the most that it was asked for."""

    ms: int
    tokens_out_per_s: int
    tokens_out_max: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What an answer cost. `computed` may be above what the hold allowed to charge."""

    usage: Usage
    usage_is_estimate: bool
    bytes_in: int
    bytes_out: int
    computed_micros: int
    charged_micros: int
    held_micros: int
    turns: tuple[tuple[Row, Usage], ...] = ()
    worked: Worked | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a record says. `row` and `charge` are None for a refusal.

    `time_s` is when the request began, `signed_at_s` when its record was signed. `agreements` are
    those of the rows that were tried, by row. `overrides` are the hosts that were tried in place of
    providers' own, by row, `simulated` the rows that the stack played itself. `upstream_hashes` are
    of the bytes that went to the upstream that answered and came from it; of confidential rows
    in general traffic alone. `image` is what the programs of `runs` ran in. `confidential` is what
    made an enclave necessary.
    """

    id: str
    account: str
    key_id: str
    seq: int
    time_s: int
    signed_at_s: int
    stack: str
    region: str | None
    phi: bool | None
    verdict: str
    rejections: Sequence[Rejection]
    attempts: Sequence[Attempt]
    catalog_sha256: str | None
    card_sha256: str | None
    request_sha256: str
    response_sha256: str
    ended: Ended
    row: Row | None = None
    charge: Charge | None = None
    agreements: Mapping[str, Agreement] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    simulated: Sequence[str] = ()
    refusals_without_receipt: int = 0
    upstream_id: str | None = None
    upstream_hashes: tuple[str, str] | None = None
    is_certified: bool = True
    image: str | None = None
    runs: Sequence[Run] = ()
    confidential: ConfidentialBy | None = None


def hash_text(request_sha256: str, response_sha256: str) -> str:
    """What RedPill's signatures are made over: the two hashes with a colon between."""
    return f"{request_sha256}:{response_sha256}"


def record(facts: Facts) -> Json:
    """The record as JSON members; absent members mean `none`."""
    members: Json = {
        "id": facts.id,
        "account": facts.account,
        "key": facts.key_id,
        "seq": facts.seq,
        "time": facts.time_s,
        "signed": facts.signed_at_s,
        "stack": facts.stack,
        "region_asked": facts.region,
        "phi": facts.phi,
        "tier": None if facts.phi is None else "phi" if facts.phi else "general",
        "verdict": facts.verdict,
        "rejected": _by_rule(facts.rejections),
        "attempts": [[a.row, a.region, a.outcome, a.ms, a.at_ms] for a in facts.attempts],
        "catalog": facts.catalog_sha256,
        "card": facts.card_sha256,
        "request_sha256": facts.request_sha256,
        "response_sha256": facts.response_sha256,
        "ended": facts.ended,
    }
    if facts.row is not None:
        members |= _answered(facts, facts.row)
    if facts.agreements:
        members["agreements"] = {
            row: [a.id, a.law, a.effective_at_s, a.expires_at_s]
            for row, a in facts.agreements.items()
        }
    if facts.confidential is not None:
        members["confidential"] = facts.confidential
    members |= _reached(facts)
    if facts.image is not None:
        members["sandbox"] = sandbox_told(facts.image, facts.runs)
    if facts.refusals_without_receipt:
        members["refusals_without_receipt"] = facts.refusals_without_receipt
    if not facts.is_certified:
        # Nobody vouches for the key; general traffic goes on when certification fails.
        members["certified"] = False
    return members


def _reached(facts: Facts) -> Json:
    """Where bytes of this call went that is no provider's own address: no agreement covers that."""
    members: Json = {}
    if facts.overrides:
        members |= {"override": True, "overrides": dict(facts.overrides)}
    if facts.simulated:
        members["simulated"] = list(facts.simulated)
    return members


def sandbox_told(image: str, runs: Iterable[Run]) -> Json:
    """What a receipt and `meta` tell of a sandbox: what ran in it, never which program."""
    return {"image": image, "runs": [[run.language, run.exit_code, run.wall_ms] for run in runs]}


def _answered(facts: Facts, row: Row) -> dict[str, Any]:
    """What is said of the row that answered: where, at what price, and what its provider signs."""
    members = _served(row, facts.region or "")
    if facts.charge is not None:
        members |= _charged(facts.charge, row.price)
    if facts.upstream_id is not None and row.confidential:
        # A confidential provider signs its answer under its own id.
        kept = kept_id(facts.upstream_id, phi=facts.phi is not False)
        members |= {} if kept is None else {"upstream_id": kept}
    if facts.upstream_hashes is not None:
        sent, received = facts.upstream_hashes
        members |= {"upstream_request_sha256": sent, "upstream_response_sha256": received}
    return members


def _served(row: Row, region: str) -> dict[str, Any]:
    place = row.places[region]
    return {
        "row": row.id,
        "provider": row.provider,
        "region_served": region,
        "residency": place.residency,
        "agreement": row.agreement.id if row.agreement is not None else None,
    }


def _charged(charge: Charge, price: Price) -> dict[str, Any]:
    return {
        "usage": {
            "in": charge.usage.tokens_in,
            "out": charge.usage.tokens_out,
            "cache_read": charge.usage.tokens_cache_read,
            "cache_write": charge.usage.tokens_cache_write,
            "source": "estimated" if charge.usage_is_estimate else "verified",
            "bytes_in": charge.bytes_in,
            "bytes_out": charge.bytes_out,
        },
        "price": _rates(price),
        "cost": {
            "computed": charge.computed_micros,
            "charged": charge.charged_micros,
            "held": charge.held_micros,
        },
        **_turns(charge),
        **_worked(charge.worked),
    }


def _turns(charge: Charge) -> dict[str, Any]:
    """With several turns the cost is the sum over them, each at its row's prices."""
    if len(charge.turns) < 2:
        return {}
    return {"turns": [[row.id, *_counts(usage), *_rates(row.price)] for row, usage in charge.turns]}


def _worked(worked: Worked | None) -> dict[str, Any]:
    """Of the last turn, so that its tokens can be recomputed."""
    if worked is None:
        return {}
    return {"worked": [worked.ms, worked.tokens_out_per_s, worked.tokens_out_max]}


def _counts(usage: Usage) -> list[int]:
    return [usage.tokens_in, usage.tokens_out, usage.tokens_cache_read, usage.tokens_cache_write]


def _rates(price: Price) -> list[int]:
    return [
        price.in_micros_per_mtok,
        price.out_micros_per_mtok,
        price.cache_read_micros_per_mtok,
        price.cache_write_micros_per_mtok,
    ]


def _by_rule(rejections: Iterable[Rejection]) -> dict[str, list[str]]:
    """Rejections grouped by rule: shorter than naming the rule with every row."""
    grouped: dict[str, list[str]] = {}
    for rejection in rejections:
        grouped.setdefault(rejection.rule, []).append(rejection.row)
    return grouped
