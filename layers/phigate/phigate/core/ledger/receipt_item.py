"""A signed record as members of its DynamoDB item, and back: at most one write unit of 1 KB.

z    the payload, deflated behind RECORD_WORDS
g    its signature, and behind it the text's where there is one
kid  the name of the key, raw
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phigate.core.attributes import Item, binary, bytes_at, deflate, inflate, int_at, text_at
from phigate.core.ledger.account import verdict_of
from phigate.core.ledger.hold import IllegalTransition
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import Signed

SIGNATURE_BYTES = 64  # Ed25519
KID_CHARS = 43  # a SHA-256 in base64url (RFC 7638)
# What stands beside a receipt, under `<id>.u` and so on: a provider's own signature, and ours that
# RedPill's verifiers ask for.
UPSTREAM_SUFFIX = ".u"
TEXT_SUFFIX = ".e"
BESIDE_SUFFIXES = (UPSTREAM_SUFFIX, TEXT_SUFFIX)

_REQUIRED = frozenset({"pk", "sk", "st", "c", "p", "s"})

# What most records say in the same words: it stands in front of each when it is deflated, and saves
# 250 bytes. Stored records cannot be read without it, so it never changes; other words would need
# another member than `z`.
RECORD_WORDS = (
    b'"turns":"upstream_id":"refusals_without_receipt":"certified":false,"_region_not_served'
    b'"phi_no_agreement":["residency_unproven":["phi_agreement_not_in_force":["modality":["status_'
    b'no_key":["capability_tools":["provider_only":["http_500","timeout","connect","general"'
    b'"phi_blocked","no_route","invalid_request","endpoint","request_field","estimated","hang_up"'
    b'"upstream_cut","refused","infomaniak-gemma-4-31b","infomaniak-qwen3.5","scaleway-gemma-4-26b"'
    b',"scaleway-qwen3.6-35b","scaleway-qwen3.5","together-qwen3.5","together-glm-5.2","anthropic-'
    b'claude-sonnet-4-6","azure-gpt-4o","google-gemini-2-5-flash","openai-gpt-5-nano","phala-qwen3.'
    b'5-27b","phala-gemma-3-27b-it","phala-glm-5","phala-gpt-oss-120b"],{"account":"","agreement":"'
    b'-dpa-2026","agreements":{"":["","nFADP",17,18"GDPR-28"]},"attempts":[["","CH","ok",,0]],"card"'
    b':"","catalog":"","cost":{"charged":0,"computed":0,"held":0},"ended":"complete","id":"AG","key"'
    b':"","phi":true,"price":[0000,0000,0000],"provider":"","region_asked":"CH","region_served":"CH"'
    b',"rejected":{"region":[""]},"request_sha256":"","residency":"contract","response_sha256":"",'
    b'"row":"","seq":1,"signed":1,"stack":"","tier":"phi","time":1,"usage":{"bytes_in":0,"bytes_out'
    b'":0,"cache_read":0,"cache_write":0,"in":0,"out":0,"source":"verified"},"verdict":"routed"}'
)


@dataclass(frozen=True, slots=True)
class GarbledReceipt:
    """An item in a receipt's place that is none. `seq` where a number can still be read."""

    id: str
    seq: int | None


def signed_members(record: Signed) -> Item:
    """A signed record as members of its item: payload deflated, signatures, the key's name raw."""
    return {
        "z": binary(deflate(record.payload, RECORD_WORDS)),
        "g": binary(record.signature + record.text_signature),
        "kid": binary(base64.urlsafe_b64decode(record.kid + "=")),
    }


def signed_of(item: Mapping[str, Any]) -> Signed | None:
    """The signed record of an item; None for a tombstone."""
    if "z" not in item:
        return None
    signatures = bytes_at(item, "g")
    return Signed(
        payload=inflate(bytes_at(item, "z"), RECORD_WORDS),
        kid=base64.urlsafe_b64encode(bytes_at(item, "kid")).rstrip(b"=").decode("ascii"),
        signature=signatures[:SIGNATURE_BYTES],
        text_signature=signatures[SIGNATURE_BYTES:],
    )


def stored_receipt(account: str, item: Mapping[str, Any]) -> StoredReceipt:
    """A receipt's item as a value. Raises IllegalTransition."""
    verdict = verdict_of(item)
    return StoredReceipt(
        account=account,
        id=str(text_at(item, "sk")),
        state=verdict.state,
        seq=verdict.seq,
        cost_micros=verdict.cost_micros,
        signed=signed_of(item),
        swept_micros=verdict.swept_micros,
        expires_at_s=int_at(item, "ttl") if "ttl" in item else None,
    )


def read_receipt(account: str, item: Mapping[str, Any]) -> StoredReceipt | GarbledReceipt:
    """A receipt's item that somebody may have changed: nothing is assumed of its members."""
    try:
        receipt_id = str(item["sk"]["S"])
    except (KeyError, TypeError):
        return GarbledReceipt("?", None)
    try:
        missing = _REQUIRED - item.keys()
        stored = stored_receipt(account, item)
    except (KeyError, TypeError, ValueError, AttributeError, IllegalTransition):
        return GarbledReceipt(receipt_id, number_of(item))
    is_shaped = not missing and stored.seq > 0 and min(stored.cost_micros, stored.swept_micros) >= 0
    if is_shaped and _is_signed_as_its_state(stored):
        return stored
    return GarbledReceipt(receipt_id, number_of(item))


def _is_signed_as_its_state(stored: StoredReceipt) -> bool:
    signed = stored.signed
    if signed is None:
        return stored.state == "expired"
    lengths = len(signed.signature), len(signed.text_signature)
    is_whole = lengths in ((SIGNATURE_BYTES, 0), (SIGNATURE_BYTES, SIGNATURE_BYTES))
    is_named = len(signed.kid) == KID_CHARS
    return stored.state != "expired" and is_whole and is_named and bool(signed.payload)


def number_of(item: Mapping[str, Any]) -> int | None:
    """The number of an item, where one can be read."""
    try:
        return int(item["s"]["N"])
    except (KeyError, TypeError, ValueError):
        return None
