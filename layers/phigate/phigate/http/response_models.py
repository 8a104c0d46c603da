"""What endpoints answer with, for the document. Answers are written as they always were: none of
these is filled on the way out, and the tests hold real answers against them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from phigate.core.types import PhiPolicy


class ErrorDetail(BaseModel):
    """What is wrong, as OpenAI's SDKs read it."""

    message: str
    type: str
    code: str
    param: str | None


class Error(BaseModel):
    """The envelope of every error."""

    error: ErrorDetail


class Rates(BaseModel):
    """Published prices, in dollars with two decimals per million tokens."""

    in_usd_per_mtok: str
    out_usd_per_mtok: str
    cache_read_usd_per_mtok: str
    cache_write_usd_per_mtok: str


class AgreementItem(BaseModel):
    """What permits a row to see health data; from and until 00:00 UTC of its days."""

    id: str
    law: str
    kind: str
    regions: list[str]
    effective: str
    expires: str
    zero_retention: bool
    no_training: bool
    evidence_sha256: str


class OverrideItem(BaseModel):
    """Where a local stack reaches a row instead."""

    host: str
    phi_trusted: bool


class ModelItem(BaseModel):
    """One model as one provider serves it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    model: str
    aliases: list[str]
    regions: list[str]
    tier: Literal["phi", "general"]
    agreement: AgreementItem | None
    residency: dict[str, str]
    status: str
    model_tier: str
    supports_tools: bool
    supports_vision: bool
    supports_json_schema: bool
    confidential: bool
    context: int
    tokens_out_max: int
    price: Rates
    # Only where there is one.
    override: OverrideItem = Field(default_factory=OverrideItem.model_construct)


class ModelList(BaseModel):
    """Every row of the snapshot in use."""

    object: Literal["list"]
    data: list[ModelItem]


class RateCardRow(Rates):
    """One row's prices."""

    row: str
    provider: str
    model: str
    regions: list[str]
    tier: Literal["phi", "general"]
    status: str


class RateCard(BaseModel):
    """What is billed, margin included; `card` is its hash."""

    card: str
    currency: Literal["USD"]
    margin_percent: int
    rows: list[RateCardRow]


class PolicyItem(BaseModel):
    """What a key may ask for; null is no restriction."""

    confidential: str | None
    debug_phi: bool
    default_model_tier: str | None
    default_region: str | None
    models: list[str] | None
    phi: PhiPolicy
    regions: list[str] | None
    rpm: int
    spend_limit_micros: int | None


class AccountKey(BaseModel):
    """The key that asked."""

    id: str
    policy: PolicyItem


class Account(BaseModel):
    """Prepaid credit, in millionths of a dollar."""

    account: str
    available_micro: int
    held_micro: int
    spent_micro: int
    topped_up_micro: int
    key: AccountKey


class UpstreamSignatureItem(BaseModel):
    """What a confidential provider has signed of the answer."""

    text: str
    signature: str
    signing_address: str
    signing_algo: str


class Receipt(BaseModel):
    """A receipt as a compact JWS, and what it says. Null where the call never came to its end."""

    id: str
    object: Literal["receipt"]
    state: str
    seq: int
    cost_micro: int
    receipt: str | None
    certificate: str | None
    record: dict[str, Any] | None
    # Only where one was kept.
    upstream_signature: UpstreamSignatureItem = Field(
        default_factory=UpstreamSignatureItem.model_construct
    )


class AnswerSignature(BaseModel):
    """The signature of an answer's hashes; with ed25519 also what anchors its key."""

    text: str
    signature: str
    signing_address: str
    signing_algo: Literal["ecdsa", "ed25519"]
    certificate: str = Field(default_factory=str)
    receipt: str = Field(default_factory=str)


class KeySet(BaseModel):
    """A JWK set (RFC 7517); members that begin with `phi_` are ours."""

    keys: list[dict[str, Any]]


class Health(BaseModel):
    """Alive; beside these what was counted since the start."""

    status: Literal["ok"]
    stack: str
