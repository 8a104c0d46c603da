"""What a receipt is made from: what ran where, under which agreement, at what price. It holds ids,
names, counts, hashes and micros; never content. `members` is the table of what is written of it.

The hashes of general traffic are SHA-256 of the bytes. Under PHI they are HMAC-SHA256 under a
nonce that only the key's holder can compute, so that nobody else can test guesses (decision 92). A
record is signed as it stands and checked by `verify`, which owns what its members must agree with.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from phigate.core.sandbox.runs import Run
from phigate.core.types import (
    Agreement,
    Attempt,
    ConfidentialBy,
    Json,
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


def sandbox_told(image: str, runs: Iterable[Run]) -> Json:
    """What a receipt and `meta` tell of a sandbox: what ran in it, never which program."""
    return {"image": image, "runs": [[run.language, run.exit_code, run.wall_ms] for run in runs]}
