"""Checks what a confidential provider has signed of an answer against the receipt: that it is of
the bytes that the gateway sent and got, and made by the address that it names.

Law: the quote inside an attestation report is not verified here, and the message says so: that the
address lives in an enclave is for the quote verifiers of Intel and NVIDIA to say.
"""

from collections.abc import Iterator
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from phigate.core.errors import InvalidRequest
from phigate.core.receipts.upstream_signature import UpstreamSignature, read_upstream_signature
from phigate.core.types import Json
from phigate.verify.check import Check
from phigate.verify.errors import VerificationError
from phigate.wire.eip191 import Unrecoverable, recovered_address
from phigate.wire.json import parse_object

_NAME = "upstream"
# Where the formats of a report keep one for each attested machine.
_LISTS = ("model_attestations", "all_attestations")
_GATEWAY = "gateway_attestation"


def check_upstream(record: Json, signature: bytes | None, attestation: bytes | None) -> Check:
    """Whether the provider has signed this receipt's exchange, by the JSON of its signature and, if
    that is given, of its attestation report."""
    if signature is None:
        return Check(_NAME, "open", "give the provider's signature with --upstream")
    try:
        signed = _read(signature)
        _check_hashes(record, signed)
        _check_signature(signed)
        attested = _check_attestation(signed, attestation)
    except VerificationError as exc:
        return Check(_NAME, "fails", str(exc))
    return Check(
        _NAME,
        "holds",
        f"{signed.signing_address} has signed the bytes that the gateway sent and got; {attested}",
    )


def _read(content: bytes) -> UpstreamSignature:
    signed = read_upstream_signature(content)
    if signed is None:
        raise VerificationError(
            "the provider's signature is not one: text, signature, address, algorithm"
        )
    return signed


def _check_hashes(record: Json, signed: UpstreamSignature) -> None:
    names = ("upstream_request_sha256", "upstream_response_sha256")
    if not all(name in record for name in names):
        raise VerificationError("the receipt names no hashes of what went over the provider's wire")
    for name, found in zip(names, signed.hashes, strict=True):
        if found != record[name]:
            raise VerificationError(
                f"the provider signed {found}, the receipt's {name} is {record[name]}"
            )


def _check_signature(signed: UpstreamSignature) -> None:
    if signed.signing_algo == "ed25519":
        _check_ed25519(signed)
        return
    try:
        found = recovered_address(signed.text, signed.signature)
    except Unrecoverable as exc:
        raise VerificationError(f"the provider's signature: {exc}") from exc
    if not _same(found, signed.signing_address):
        raise VerificationError(f"{found} has signed this, not {signed.signing_address}")


def _check_ed25519(signed: UpstreamSignature) -> None:
    try:
        public = Ed25519PublicKey.from_public_bytes(_bytes(signed.signing_address))
        public.verify(_bytes(signed.signature), signed.text.encode("ascii"))
    except (InvalidSignature, ValueError):
        raise VerificationError(f"{signed.signing_address} has not signed this") from None


def _check_attestation(signed: UpstreamSignature, attestation: bytes | None) -> str:
    """What the report adds, for a person."""
    if attestation is None:
        return "whose address it is, its attestation report says (give it with --attestation)"
    try:
        report = parse_object(attestation)
    except InvalidRequest as exc:
        raise VerificationError(f"the attestation report cannot be read: {exc.message}") from exc
    if not any(_same(address, signed.signing_address) for address in _addresses(report)):
        raise VerificationError(f"the attestation report is not of {signed.signing_address}")
    return "the report names that address; the quote inside the report is NOT verified here"


def _addresses(report: Json) -> Iterator[str]:
    """The address of every machine that the report attests, whichever format it has."""
    parts: list[Any] = [report, report.get(_GATEWAY)]
    for name in _LISTS:
        listed = report.get(name)
        parts += listed if isinstance(listed, list) else []
    for part in parts:
        address = part.get("signing_address") if isinstance(part, dict) else None
        if isinstance(address, str):
            yield address


def _same(one: str, other: str) -> bool:
    return one.lower().removeprefix("0x") == other.lower().removeprefix("0x")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
