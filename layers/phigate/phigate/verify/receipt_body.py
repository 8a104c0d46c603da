"""A receipt as it is given out: the JWS, and the JSON round it.

A module of its own because those who give receipts out need not load what checks them.
"""

from dataclasses import asdict

import orjson

from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import RECEIPT_ALG, RECEIPT_TYP, Signed
from phigate.core.receipts.upstream_signature import UpstreamSignature
from phigate.core.types import Json
from phigate.wire.jws import compact, signing_input


def jws_of(signed: Signed) -> str:
    """The receipt as a compact JWS."""
    return compact(receipt_input(signed), signed.signature)


def receipt_input(signed: Signed) -> bytes:
    """What a receipt's signature is made over."""
    return signing_input(alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=signed.kid, payload=signed.payload)


def receipt_body(
    stored: StoredReceipt, certificate: str | None, upstream: UpstreamSignature | None = None
) -> Json:
    """The body of `GET /v1/receipts/{id}`. A tombstone has no receipt: its call never ended.

    `upstream` is what a confidential provider has signed of the answer, where that was kept.
    """
    signed = stored.signed
    body = {
        "id": stored.id,
        "object": "receipt",
        "state": stored.state,
        "seq": stored.seq,
        "cost_micro": stored.cost_micros,
        "receipt": None if signed is None else jws_of(signed),
        "certificate": certificate,
        "record": None if signed is None else orjson.loads(signed.payload),
    }
    return body if upstream is None else {**body, "upstream_signature": asdict(upstream)}
