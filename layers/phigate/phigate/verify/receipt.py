"""Checks one receipt, offline: whose it is, that it was not changed, and that it agrees with the
bytes that the caller sent and got.

`verify` is one pure function from what is at hand to a list of checks; what was not given is `open`
and never counts as good.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from phigate.core.catalog.price import CARD_PREFIX, card_sha256, price_members
from phigate.core.errors import InvalidRequest
from phigate.core.receipts.record import RECEIPT_ALG, RECEIPT_TYP
from phigate.core.types import Json, Price
from phigate.verify.certificate import Certificate, read_certificate
from phigate.verify.check import Check, Outcome
from phigate.verify.consistency import read_record, violations
from phigate.verify.errors import VerificationError
from phigate.verify.roots import Roots
from phigate.verify.upstream import check_upstream
from phigate.wire.json import parse_object
from phigate.wire.jwk import verify as signature_holds
from phigate.wire.jws import Jws, JwsInvalid, read

# What a caller of `verify` needs stands here, wherever it is defined.
__all__ = (
    "Bundle",
    "Check",
    "Evidence",
    "Outcome",
    "Verified",
    "check_certificate",
    "check_signature",
    "read_bundle",
    "verify",
)

RECEIPT_BYTES_MAX = 256 * 1024  # a receipt with its certificate has 4 KB


@dataclass(frozen=True, slots=True)
class Bundle:
    """A receipt and what goes with it, as texts. `upstream` is a confidential provider's signature,
    the JSON that its own endpoint gives."""

    receipt: str
    certificate: str | None = None
    upstream: bytes | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the caller has besides the receipt. `nonce` opens the hashes of PHI; `upstream` is a
    confidential provider's signature, before the bundle's, and `attestation` its report."""

    roots: Roots | None = None
    request: bytes | None = None
    response: bytes | None = None
    nonce: bytes | None = None
    card: bytes | None = None
    upstream: bytes | None = None
    attestation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it. `record` is None where the receipt could not be read."""

    checks: tuple[Check, ...]
    record: Json | None

    @property
    def fails(self) -> bool:
        """Whether a check does not hold."""
        return any(check.outcome == "fails" for check in self.checks)

    @property
    def is_anchored(self) -> bool:
        """Whether a root of the stack vouches for it."""
        return any(c.name == "certificate" and c.outcome == "holds" for c in self.checks)


def read_bundle(content: bytes) -> Bundle:
    """A receipt as the endpoint gives it: its JSON, or the bare JWS. Raises VerificationError."""
    if len(content) > RECEIPT_BYTES_MAX:
        raise VerificationError(f"a receipt is not longer than {RECEIPT_BYTES_MAX} bytes")
    if not content.lstrip().startswith(b"{"):
        try:
            return Bundle(content.decode("ascii").strip())
        except UnicodeDecodeError:
            raise VerificationError("this is neither a receipt's JSON nor a JWS") from None
    try:
        body = parse_object(content)
    except InvalidRequest as exc:
        raise VerificationError(f"the receipt cannot be read: {exc.message}") from exc
    receipt, certificate = body.get("receipt"), body.get("certificate")
    upstream = body.get("upstream_signature")
    if not isinstance(receipt, str):
        raise VerificationError("this holds no receipt: the call never came to its end")
    return Bundle(
        receipt,
        certificate if isinstance(certificate, str) else None,
        None if upstream is None else orjson.dumps(upstream),
    )


def verify(bundle: Bundle, evidence: Evidence) -> Verified:
    """Every check that can be made with what is at hand."""
    try:
        jws = read(bundle.receipt, alg=RECEIPT_ALG, typ=RECEIPT_TYP)
        record = read_record(jws.payload)
    except (JwsInvalid, VerificationError) as exc:
        return Verified((Check("receipt", "fails", str(exc)),), None)
    checks = (
        *_certificate_and_signature(bundle, jws, record, evidence.roots),
        _consistent(record),
        _card(record, evidence.card),
        _bytes("request", record, evidence.request, evidence.nonce),
        _bytes("response", record, evidence.response, evidence.nonce),
        *_upstream(bundle, record, evidence),
        *_override(record),
    )
    return Verified(checks, record)


def check_signature(jws_input: bytes, signature: bytes, certificate: Certificate) -> bool:
    """Whether a certified key signed this."""
    return signature_holds(certificate.jwk, RECEIPT_ALG, jws_input, signature)


def check_certificate(certificate: Certificate, kid: str, record: Json) -> None:
    """Whether a certificate is this receipt's. Raises VerificationError."""
    if certificate.kid != kid:
        raise VerificationError("the certificate is another key's than the receipt names")
    if certificate.stack != record["stack"]:
        raise VerificationError(
            f"the certificate is of stack {certificate.stack}, the receipt of {record['stack']}"
        )
    if not certificate.covers(record["signed"]):
        raise VerificationError(
            f"it was signed at {record['signed']}; its certificate is good from "
            f"{certificate.issued_at_s} to {certificate.expires_at_s}"
        )
    if record.get("certified") is False:
        raise VerificationError("the receipt says itself that its key was not certified")


def _certificate_and_signature(
    bundle: Bundle, jws: Jws, record: Json, roots: Roots | None
) -> Iterator[Check]:
    if bundle.certificate is None:
        if record.get("certified") is False:
            message = "nobody vouches for its key: it was signed while certification failed"
            yield Check("certificate", "fails", message)
        else:
            yield Check("certificate", "open", "give the certificate with --certificate")
        yield Check("signature", "open", "the key is in the certificate")
        return
    try:
        certificate = read_certificate(bundle.certificate, roots)
        check_certificate(certificate, jws.kid, record)
    except VerificationError as exc:
        yield Check("certificate", "fails", str(exc))
        yield Check("signature", "open", "its key is not vouched for")
        return
    if roots is None:
        yield Check("certificate", "open", "give the stack's key set with --jwks to anchor it")
    else:
        message = f"stack {certificate.stack} at {certificate.issuer} vouches for the key"
        yield Check("certificate", "holds", message)
    if check_signature(jws.signing_input, jws.signature, certificate):
        yield Check("signature", "holds", "the record is as it was signed")
    else:
        yield Check("signature", "fails", "the record or its signature was changed")


def _consistent(record: Json) -> Check:
    found = [sentence for _, sentence in violations(record)]
    if found:
        return Check("record", "fails", "; ".join(found))
    return Check("record", "holds", _summary(record))


def _summary(record: Json) -> str:
    if "cost" not in record:
        return "it agrees with itself; nothing was charged"
    cost = record["cost"]
    return (
        f"it agrees with itself; prices times usage is {cost['computed']} micro-USD, "
        f"{cost['charged']} charged"
    )


def _card(record: Json, card: bytes | None) -> Check:
    if card is None:
        return Check("card", "open", "give the price card with --card to check the prices")
    try:
        body = parse_object(card)
        rows = {row["row"]: row for row in body["rows"]}
        name = card_sha256(body)
    except (InvalidRequest, KeyError, TypeError):
        return Check("card", "fails", "this is no price card")
    if name != record["card"]:
        return Check("card", "fails", f"this is card {name}, the receipt names {record['card']}")
    for row, price in _prices(record):
        published = rows.get(row, {})
        if any(published.get(member) != rate for member, rate in price_members(price).items()):
            return Check("card", "fails", f"the prices of {row} are not those of the card")
    return Check("card", "holds", f"the prices are those of card {CARD_PREFIX}{name}")


def _prices(record: Json) -> Iterator[tuple[str, Price]]:
    for turn in record.get("turns", ()):
        yield turn[0], Price(*turn[5:])
    if "price" in record:
        yield record["row"], Price(*record["price"])


def _upstream(bundle: Bundle, record: Json, evidence: Evidence) -> Iterator[Check]:
    """Only of confidential rows there is something to check, or where a signature was given."""
    signature = bundle.upstream if evidence.upstream is None else evidence.upstream
    if signature is not None or evidence.attestation is not None or "upstream_id" in record:
        yield check_upstream(record, signature, evidence.attestation)


def _override(record: Json) -> Iterator[Check]:
    """That the bytes went where the operator said, under no agreement, is no fault of the receipt;
    but nothing in it says that they might."""
    hosts = sorted(set(record.get("overrides", {}).values()))
    if hosts:
        message = f"the operator sent this to {', '.join(hosts)}: no agreement is in force there"
        yield Check("override", "open", message)


def _bytes(name: str, record: Json, content: bytes | None, nonce: bytes | None) -> Check:
    told = record[f"{name}_sha256"]
    if content is None:
        return Check(name, "open", f"give the bytes with --{name}")
    # A request whose headers could not be read is hashed as if it were PHI.
    if record["phi"] is not False:
        if nonce is None:
            return Check(name, "open", "PHI is hashed under a nonce; give it with --nonce-file")
        found = hmac.digest(nonce, content, "sha256").hex()
    else:
        found = hashlib.sha256(content).hexdigest()
    if not hmac.compare_digest(found, told):
        return Check(name, "fails", f"these bytes hash to {found}, the receipt says {told}")
    return Check(name, "holds", f"{len(content)} bytes, as they hash in the receipt")
