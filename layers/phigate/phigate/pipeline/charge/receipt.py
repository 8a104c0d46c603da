"""A record on its way to becoming a receipt: what it says of agreements, and its signatures."""

from collections.abc import Iterable

import orjson

from phigate.core.errors import Overloaded
from phigate.core.receipts.members import record
from phigate.core.receipts.port import SigningKey
from phigate.core.receipts.record import RECEIPT_ALG, RECEIPT_TYP, Facts, Signed, hash_text
from phigate.core.types import Agreement, Attempt, Row
from phigate.pipeline.plan import RequestPlan
from phigate.wire.jws import signing_input


def signed(facts: Facts, key: SigningKey) -> Signed:
    """The record of these facts under this key. A general answer's hashes are signed once more as
    the text that RedPill's verifiers know."""
    payload = orjson.dumps(record(facts), option=orjson.OPT_SORT_KEYS)
    message = signing_input(alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=key.kid, payload=payload)
    text_signature = b""
    if facts.phi is False and facts.charge is not None:
        text = hash_text(facts.request_sha256, facts.response_sha256)
        text_signature = key.sign(text.encode("ascii"))
    return Signed(payload, key.kid, key.sign(message), text_signature)


def agreements(order: RequestPlan | None, attempts: Iterable[Attempt]) -> dict[str, Agreement]:
    """Those of the rows that were tried."""
    tried = _tried(order, attempts)
    return {row.id: row.agreement for row in tried if row.agreement is not None}


def overrides(order: RequestPlan | None, attempts: Iterable[Attempt]) -> dict[str, str]:
    """The hosts that were tried in the place of providers' own, by row."""
    return {row.id: row.override.host for row in _tried(order, attempts) if row.override}


def simulated(order: RequestPlan | None, attempts: Iterable[Attempt]) -> list[str]:
    """The rows that were tried and that the stack plays itself."""
    return sorted({row.id for row in _tried(order, attempts) if row.is_simulated})


def _tried(order: RequestPlan | None, attempts: Iterable[Attempt]) -> list[Row]:
    rows = {} if order is None else order.catalog.rows_by_id
    return [rows[attempt.row] for attempt in attempts if attempt.row in rows]


def uncertified() -> Overloaded:
    return Overloaded(
        "Receipts cannot be certified at the moment, and this traffic is not served without them. "
        "Nothing was sent to a provider; try again in a few seconds."
    )
