"""RedPill's surface: the signature of an answer, and the attestation report of a confidential row.

Law 1: a signature is given for a general answer alone: a plain hash of PHI would let others test
guesses, and a refusal answered nothing.
Law 2: a report is asked for where a chat call would be sent: same policy, same gate, same region.
Law 3: an answer is signed with ecdsa once, and what a key may ask for in a minute is limited: both
endpoints cost others, the key that certifies receipts and the upstream.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from urllib.parse import urlencode

import orjson

from phigate.core.errors import (
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    RateLimited,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from phigate.core.limits import (
    NONCE_BYTES_MAX,
    PROOFS_PER_MINUTE_MAX,
    REPORT_BYTES_MAX,
    REPORT_TIMEOUT_S,
)
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import Signed, hash_text
from phigate.core.routing.route import rows_of_model
from phigate.core.types import Catalog, Json, Principal, Row
from phigate.core.upstream import UpstreamFetch
from phigate.pipeline.authenticate import authenticate
from phigate.pipeline.dry_run import plan_only
from phigate.pipeline.gateway import Gateway
from phigate.pipeline.inbound_request import InboundBody, InboundRequest
from phigate.pipeline.plan import RequestPlan
from phigate.pipeline.refusals import refused
from phigate.verify.certificate import read_certificate
from phigate.verify.receipt_body import jws_of
from phigate.wire.jws import decode

ALGOS = ("ecdsa", "ed25519")
DEFAULT_ALGO = "ecdsa"  # RedPill's
_CONFIDENTIAL: Json = {"confidential": True, "allow_fallbacks": False}
_NONCE = re.compile(rf"(?:[0-9a-fA-F]{{2}}){{1,{NONCE_BYTES_MAX}}}")
_ADDRESS = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{40}|[0-9a-fA-F]{64})")


async def admitted(gateway: Gateway, headers: Mapping[str, str]) -> Principal:
    """The caller, counted. Raises InvalidApiKey, RateLimited, Overloaded."""
    principal = await authenticate(gateway, headers)
    now_s = int(gateway.clock.now_s())
    refusal = await gateway.receipts.count_proof(principal.account, principal.key_id, now_s)
    if refusal == "key":
        raise InvalidApiKey("The key is disabled.")
    if refusal == "rate":
        raise RateLimited(
            f"This key may ask for {PROOFS_PER_MINUTE_MAX} signatures and attestation reports a "
            "minute.",
            headers={"retry-after": str(60 - now_s % 60)},
        )
    return principal


async def signature(
    gateway: Gateway, stored: StoredReceipt, model: str | None, algo: str | None
) -> Json:
    """The signature of a stored receipt's answer. Raises NotFound, InvalidRequest, Overloaded."""
    algo = _algo(algo)
    signed = stored.signed
    if signed is None:
        raise NotFound("The call never came to its end, so nothing was signed.", param="id")
    record = orjson.loads(signed.payload)
    _check_signed(record)
    if model is not None:
        _check_model(record["row"], model, (await gateway.catalog.current()).catalog)
    text = hash_text(record["request_sha256"], record["response_sha256"])
    members = await (_ed25519 if algo == "ed25519" else _ecdsa)(gateway, stored, signed, text)
    return {"text": text, **members, "signing_algo": algo}


async def report(
    gateway: Gateway,
    headers: Mapping[str, str],
    *,
    model: str | None,
    nonce: str | None,
    algo: str | None,
    address: str | None,
) -> bytes:
    """The attestation report of a confidential row's upstream, as that gives it.

    Raises CallerError, UpstreamError.
    """
    principal = await admitted(gateway, headers)  # before anything is said of the query
    if model is None:
        raise InvalidRequest("model must name a confidential model.", param="model")
    query = {"nonce": _checked("nonce", nonce, _NONCE, f"1 to {NONCE_BYTES_MAX} bytes in hex")}
    if algo is not None:
        query["signing_algo"] = _algo(algo)
    if address is not None:
        what = "an Ethereum address or an Ed25519 key in hex"
        query["signing_address"] = _checked("signing_address", address, _ADDRESS, what)
    body = orjson.dumps({"model": model, "provider": _CONFIDENTIAL})
    # The same question as of a chat call that has this body.
    request = InboundRequest("chat", headers, InboundBody(body))
    plan = await plan_only(gateway, request, principal)
    row = _confidential_row(plan)
    path = "/attestation/report?" + urlencode({"model": row.model, **query})
    fetch = UpstreamFetch(row, plan.requirements.region, path, REPORT_TIMEOUT_S, REPORT_BYTES_MAX)
    try:
        fetched = await gateway.upstream.fetch(fetch)
    except UpstreamFailed as failed:
        gateway.event_log.record("report_failed", row=row.id, outcome=failed.outcome)
        raise _no_report(failed.outcome) from None
    if fetched.status != 200 or not _is_object(fetched.body):
        outcome = "malformed" if fetched.status == 200 else f"http_{fetched.status}"
        gateway.event_log.record("report_failed", row=row.id, outcome=outcome)
        raise _no_report(outcome)
    return fetched.body


def _algo(algo: str | None) -> str:
    if algo not in (None, *ALGOS):
        raise InvalidRequest(f"signing_algo must be {' or '.join(ALGOS)}.", param="signing_algo")
    return algo or DEFAULT_ALGO


def _checked(param: str, value: str | None, shape: re.Pattern[str], what: str) -> str:
    if value is None or shape.fullmatch(value) is None:
        raise InvalidRequest(f"{param} must be {what}.", param=param)
    return value


def _check_signed(record: Json) -> None:
    if record["phi"] is not False:
        raise NotFound(
            "There is no such signature of a PHI call: a plain hash of PHI would let others test "
            "guesses. Its receipt holds hashes under a nonce that only the key's holder can make.",
            param="id",
        )
    if record["ended"] == "refused" or "row" not in record:
        raise NotFound("The call was refused; there is no answer to sign.", param="id")


def _check_model(row_id: str, model: str, catalog: Catalog) -> None:
    if model != row_id and all(row.id != row_id for row in rows_of_model(catalog, model)):
        raise NotFound(f"This call was answered by {row_id}, not by that model.", param="model")


async def _ecdsa(gateway: Gateway, stored: StoredReceipt, _: Signed, text: str) -> Json:
    kept = await gateway.receipts.text(stored.account, stored.id)
    if kept is not None:
        return asdict(kept)
    if gateway.text_signer is None:
        raise NotFound("This process does not sign with ecdsa; ask for signing_algo=ed25519.")
    signature = await gateway.text_signer.sign(text)
    return asdict(await gateway.receipts.put_text(stored.account, stored.id, signature))


async def _ed25519(gateway: Gateway, _: StoredReceipt, signed: Signed, __: str) -> Json:
    """What the receipt's own key has signed, and what anchors that key."""
    certificate = await gateway.receipts.certificate(signed.kid)
    if certificate is None:
        raise NotFound("Nobody vouches for the key that signed this receipt.", param="id")
    return {
        "signature": signed.text_signature.hex(),
        "signing_address": decode(read_certificate(certificate, None).jwk["x"]).hex(),
        "certificate": certificate,
        "receipt": jws_of(signed),
    }


def _confidential_row(plan: RequestPlan) -> Row:
    """The row whose upstream is asked. Raises NotFound, or what a chat call is refused with."""
    candidates = plan.route.candidates
    if candidates:
        return candidates[0]
    named = rows_of_model(plan.catalog, plan.requirements.model)
    if not any(row.confidential for row in named):
        raise NotFound(
            "The model is not confidential: no enclave serves it, so there is no attestation. "
            "GET /v1/models names the models that are.",
            param="model",
        )
    raise refused(plan.route.code or "no_route", plan.requirements)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except ValueError:
        return False


def _no_report(outcome: str) -> UpstreamError:
    kind = UpstreamTimeout if outcome == "timeout" else UpstreamError
    return kind(f"The provider gave no attestation report ({outcome}); try again.")
