"""A stack's keys in one place: signs records as the stack does, and as somebody else would."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phigate.core.limits import CERTIFICATE_LIFE_S
from phigate.core.receipts.ids import new_id
from phigate.core.receipts.members import record
from phigate.core.receipts.record import RECEIPT_ALG, RECEIPT_TYP, Charge, Facts
from phigate.core.types import Attempt, Json, Usage
from phigate.effects.signing.signer import KeyFileSigner
from phigate.verify.certificate import ALG, Certificate, certificate_payload
from phigate.verify.receipt import Bundle
from phigate.verify.roots import CERTIFICATES, Root, Roots, by_kid
from phigate.wire.jwk import ed25519_jwk, thumbprint
from phigate.wire.jws import compact, signing_input
from tests.builders import NOW_S, make_agreement, make_row

TIME_S = int(NOW_S)
ID = new_id(TIME_S, b"7654321")


@dataclass(frozen=True)
class ReceiptFactory:
    """One stack: its root, and one receipt key with its certificate."""

    root: KeyFileSigner = field(
        default_factory=lambda: KeyFileSigner(ec.generate_private_key(ec.SECP256R1()))
    )
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def kid(self) -> str:
        """The receipt key's name."""
        return thumbprint(self.jwk)

    @property
    def jwk(self) -> dict[str, str]:
        """The receipt key's public half."""
        return ed25519_jwk(self.key.public_key().public_bytes_raw())

    @property
    def roots(self) -> Roots:
        """The stack's key set."""
        return by_kid([Root(self.root.public_jwk, CERTIFICATES, 0)])

    def certificate(self, signer: KeyFileSigner | None = None, **changes: Any) -> str:
        """The key's certificate, by the root unless another signs."""
        good = Certificate(
            kid=self.kid,
            jwk=self.jwk,
            issuer="https://stack.test",
            stack="stack-1",
            issued_at_s=TIME_S - 60,
            expires_at_s=TIME_S - 60 + CERTIFICATE_LIFE_S,
        )
        return self.signed_certificate(certificate_payload(replace(good, **changes)), signer)

    def signed_certificate(self, payload: bytes, signer: KeyFileSigner | None = None) -> str:
        """Any payload as a certificate."""
        root = signer or self.root
        message = signing_input(alg=ALG, typ=CERTIFICATES, kid=root.kid, payload=payload)
        return compact(message, root.signature(message))

    def jws(self, members: Mapping[str, Any] | bytes) -> str:
        """A record, or any payload, signed by the receipt key."""
        payload = (
            members
            if isinstance(members, bytes)
            else orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
        )
        message = signing_input(alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=self.kid, payload=payload)
        return compact(message, self.key.sign(message))

    def bundle(self, members: Mapping[str, Any] | None = None, **changes: Any) -> Bundle:
        """A receipt with a good certificate; `changes` are what a stack with a bug would sign."""
        return Bundle(self.jws({**(members or answer()), **changes}), self.certificate())


def answer(**changes: Any) -> Json:
    """The record of a PHI answer: one failed attempt, one that answered; 48 micros."""
    row = make_row()
    facts = Facts(
        id=ID,
        account="clinic",
        key_id="k1",
        seq=7,
        time_s=TIME_S,
        signed_at_s=TIME_S + 2,
        stack="stack-1",
        region="CH",
        phi=True,
        verdict="routed",
        rejections=(),
        attempts=(
            Attempt("bolt-two", "CH", "http_500", 20, 5),
            Attempt(row.id, "CH", "ok", 300, 30),
        ),
        catalog_sha256="c" * 64,
        card_sha256="d" * 64,
        request_sha256="e" * 64,
        response_sha256="f" * 64,
        ended="complete",
        row=row,
        charge=Charge(Usage(100, 50), False, 400, 200, 48, 48, 100),
        agreements={row.id: make_agreement(), "bolt-two": make_agreement()},
    )
    return {**record(facts), **changes}


def general(**changes: Any) -> Json:
    """The same in general traffic."""
    return answer(phi=False, tier="general", **changes)


def fresh_signer() -> KeyFileSigner:
    """A P-256 key that no stack has."""
    return KeyFileSigner(ec.generate_private_key(ec.SECP256R1()))
