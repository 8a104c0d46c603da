"""The values that travel through one request: catalog rows, the caller, what was asked.

All of them are frozen. Times are wall-clock seconds since the epoch, money is integer
micro-USD, prices are integer micro-USD per million tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phigate.core.limits import TOKENS_OUT_PER_S_DEFAULT

Json = dict[str, Any]

Residency = Literal["endpoint", "request_field", "contract", "unproven"]
# `no_key` and `overridden` are found out at start, never written in a catalog.
Status = Literal["live", "staged", "alpha", "no_key", "overridden"]
Tier = Literal["phi", "general"]
Task = Literal["chat", "vision", "math"]
PhiPolicy = Literal["required", "allowed", "forbidden"]
ConfidentialPolicy = Literal["required"]
# What makes an enclave necessary; `lifted`: the caller has said that the name alone does not.
ConfidentialBy = Literal["name", "preference", "policy", "lifted"]

REGIONS = ("CH", "EU", "US", "UK", "ASIA", "ANZ", "LATAM", "MENA", "INDIA", "WORLD")
MODEL_TIERS = ("fast", "baseline", "thinking")


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-USD per million tokens. Cache prices equal the input price where a row names none."""

    in_micros_per_mtok: int
    out_micros_per_mtok: int
    cache_read_micros_per_mtok: int
    cache_write_micros_per_mtok: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """The contract that permits a row to see PHI, in the regions and for the time it names."""

    id: str
    law: str
    kind: str
    regions: frozenset[str]
    effective_at_s: int
    expires_at_s: int
    zero_retention: bool
    no_training: bool
    evidence_sha256: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row processes for one region, and why we believe it."""

    base_url: str
    residency: Residency
    evidence_url: str
    evidence_read: str
    pins: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Override:
    """An address that takes the place of a provider's own; `host` with its port, where it has one.

    `phi_trusted`: the operator vouches for it. No agreement covers it either way.
    """

    host: str
    phi_trusted: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One model as one provider serves it. `catalog/README.md` owns the meaning of each field."""

    id: str
    provider: str
    model: str
    dialect: str
    auth: str
    status: Status
    model_tier: str
    places: Mapping[str, Place]
    modalities: frozenset[str]
    supports_tools: bool
    supports_json_schema: bool
    confidential: bool
    context: int
    tokens_out_default: int
    tokens_out_max: int
    max_tokens_name: str
    image_tokens_max: int
    overhead_tokens: int
    tokens_per_message: int
    tool_overhead_tokens: int
    bytes_per_token_x10: int
    base: Price
    price: Price
    agreement: Agreement | None
    api_version: str = ""
    drops: frozenset[str] = frozenset()
    cache_key_name: str = ""
    cache_is_per_key: bool = False
    tokens_out_per_s: int = TOKENS_OUT_PER_S_DEFAULT
    # Set on the local stack alone, by `core.catalog.reach`.
    override: Override | None = None
    overridden: "Row | None" = None  # the row as the catalog has it
    is_simulated: bool = False

    @property
    def reviewed(self) -> "Row":
        """The row as the catalog has it, whatever address took its provider's place."""
        return self if self.overridden is None else self.overridden


@dataclass(frozen=True, slots=True)
class RegionDefaults:
    """The resident default row per task (`chat`, `vision`, `math`); a task may have none.

    `sandbox`: programs can be run there.
    """

    rows: Mapping[str, str]
    aws_regions: tuple[str, ...]
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """One immutable snapshot; `sha256` is the hash of the document it was read from."""

    sha256: str
    card_sha256: str
    rows: tuple[Row, ...]
    rows_by_id: Mapping[str, Row]
    regions: Mapping[str, RegionDefaults]
    aliases: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What a key may ask for. `None` means no restriction."""

    phi: PhiPolicy = "allowed"
    regions: frozenset[str] | None = None
    models: frozenset[str] | None = None
    rpm: int = 600
    spend_limit_micros: int | None = None
    debug_phi: bool = False
    default_region: str | None = None
    default_model_tier: str | None = None
    confidential: ConfidentialPolicy | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is authenticated. `salt` keys the HMAC under which the caller's names go upstream."""

    account: str
    key_id: str
    policy: KeyPolicy
    created_at_s: int
    expires_at_s: int | None
    salt: bytes


@dataclass(frozen=True, slots=True)
class Preferences:
    """The caller's `provider` member. It reorders and removes rows; it never adds one.

    `confidential` false, not None, gives up what a confidential model's name asks for.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    include_alpha: bool = False
    confidential: bool | None = None
    require_parameters: bool = False


@dataclass(frozen=True, slots=True)
class Requirements:
    """What routing and pricing need to know of a request; holds no content.

    `parameters` are the names that a row may fail to honour (`core.request.fields.parameters`).
    `confidential` is the key policy's until `core.routing.route` has looked at the name.
    """

    model: str
    region: str
    phi: bool
    model_tier: str | None
    task: Task
    images: int
    needs_tools: bool
    needs_json_schema: bool
    has_tools: bool
    tokens_out: int | None
    text_bytes: int
    messages: int
    preferences: Preferences
    models_allowed: frozenset[str] | None = None
    parameters: frozenset[str] = frozenset()
    confidential: ConfidentialBy | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that the gate removed, and the rule that removed it."""

    row: str
    rule: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer; `tokens_in` includes the cached ones."""

    tokens_in: int
    tokens_out: int
    tokens_cache_read: int = 0
    tokens_cache_write: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a candidate. `outcome` is `ok`, `http_<status>`, `connect`, `timeout`, …

    `at_ms` is when it began, counted from the whole second in which the request did.
    """

    row: str
    region: str
    outcome: str
    ms: int
    at_ms: int = 0
