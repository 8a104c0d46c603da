"""The items of one account, honestly kept by a simulated stack, for tests to tamper with.

They are made once and copied: a test changes its own copy, item by item, as somebody would who has
the table but not the keys, or with `signed_anew` as the operator would who has them.
"""

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.audit_operator import Operator, audited_at_s
from bench.audit_plan import Traffic
from phigate.core.ledger.receipt_item import signed_members, signed_of
from phigate.core.receipts.record import RECEIPT_ALG, RECEIPT_TYP, Signed, hash_text
from phigate.core.types import Json
from phigate.effects.audit.auditor import Period, audit
from phigate.effects.audit.day_closer import Closing
from phigate.effects.signing.signer import KeyFileSigner
from phigate.verify.audit import Report
from phigate.verify.certificate import ALG, Certificate, certificate_payload
from phigate.verify.roots import CERTIFICATES, PURPOSES, Roots
from phigate.wire.jwk import ed25519_jwk, thumbprint
from phigate.wire.jws import compact, signing_input
from tests.fakes import FakeDynamo, Item

ACCOUNT = "clinic"
# The seed is one whose few calls have a tombstone, a stray hold and a late receipt among them.
TRAFFIC = Traffic(ACCOUNT, "2026-07-01", days=8, per_day=12, seed=18)
Name = tuple[str, str]


def new_signers() -> dict[str, KeyFileSigner]:
    """A root for each purpose, in memory."""
    return {signs: KeyFileSigner(ec.generate_private_key(ec.SECP256R1())) for signs in PURPOSES}


class AccountFixture:
    """A table with one account's traffic, its days closed unless `is_closed` is False."""

    def __init__(self, operator: Operator, traffic: Traffic) -> None:
        assert isinstance(operator.dynamo, FakeDynamo)
        self.dynamo = operator.dynamo
        self.operator = operator
        self.traffic = traffic

    @classmethod
    def kept(
        cls,
        traffic: Traffic = TRAFFIC,
        *,
        is_closed: bool = True,
        signers: dict[str, KeyFileSigner] | None = None,
    ) -> "AccountFixture":
        """AccountFixture of this traffic."""
        operator = Operator(FakeDynamo(), signers or new_signers())

        async def keep() -> None:
            await operator.open(traffic)
            await operator.write(traffic)
            if is_closed:
                await operator.close(traffic)

        asyncio.run(keep())
        return cls(operator, traffic)

    def copy(self) -> "AccountFixture":
        """The same account in a table of its own."""
        dynamo = FakeDynamo()
        dynamo.items = orjson_copy(self.dynamo.items)
        return AccountFixture(Operator(dynamo, self.operator.signers), self.traffic)

    @property
    def items(self) -> dict[Name, Item]:
        """Every item by its key."""
        return self.dynamo.items

    def names(self, what: Callable[[Item], bool] = lambda item: True, day: int = 2) -> list[Name]:
        """The keys of a day's items of this kind; days are counted from 0."""
        pk = f"R#{self.traffic.account}#{self.day(day)}"
        return sorted(name for name, item in self.items.items() if name[0] == pk and what(item))

    def day(self, number: int) -> str:
        """A day of the period."""
        return f"{self.traffic.first_day[:8]}{int(self.traffic.first_day[8:]) + number:02d}"

    def digest(self, day: int) -> Name:
        """The key of a day's digest."""
        return f"D#{self.traffic.account}", self.day(day)

    def certificate(self, name: Name) -> Name:
        """The key of the certificate under which a receipt was signed."""
        signed = signed_of(self.items[name])
        assert signed is not None
        return f"CERT#{signed.kid}", "C"

    def record(self, name: Name) -> Json:
        """The record of a receipt."""
        signed = signed_of(self.items[name])
        assert signed is not None
        record: Json = orjson.loads(signed.payload)
        return record

    def change(self, name: Name, **members: Any) -> None:
        """Write other members into an item."""
        self.items[name] = {**self.items[name], **members}

    def rewrite(self, name: Name, **changes: Any) -> None:
        """Change a record without the key: its signature stays."""
        signed = signed_of(self.items[name])
        assert signed is not None
        payload = orjson.dumps({**self.record(name), **changes}, option=orjson.OPT_SORT_KEYS)
        self.change(
            name,
            **signed_members(Signed(payload, signed.kid, signed.signature, signed.text_signature)),
        )

    def signed_anew(self, name: Name, **changes: Any) -> None:
        """Change a record as an operator could: with a key that the root certifies."""
        record = {**self.record(name), **changes}
        record = {member: value for member, value in record.items() if value is not ...}
        key = Ed25519PrivateKey.generate()
        jwk = ed25519_jwk(key.public_key().public_bytes_raw())
        kid = thumbprint(jwk)
        payload = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
        message = signing_input(alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=kid, payload=payload)
        text = b""
        if record["phi"] is False and "cost" in record:
            told = hash_text(record["request_sha256"], record["response_sha256"])
            text = key.sign(told.encode())
        self.change(name, **signed_members(Signed(payload, kid, key.sign(message), text)))
        cost = record.get("cost", {}).get("charged", 0)
        self.change(name, c={"N": str(cost)}, s={"N": str(record["seq"])})
        self.put_certificate(certificate_for(jwk, record["signed"] - 60), CERTIFICATES)

    def put_certificate(self, certificate: Certificate, signs: str) -> None:
        """A certificate signed by the root of that purpose."""
        root = self.operator.signers[signs]
        payload = certificate_payload(certificate)
        message = signing_input(alg=ALG, typ=CERTIFICATES, kid=root.kid, payload=payload)
        jws = compact(message, root.signature(message))
        name = f"CERT#{certificate.kid}", "C"
        self.items[name] = {"pk": {"S": name[0]}, "sk": {"S": "C"}, "jws": {"S": jws}}

    def close_again(self) -> Closing:
        """Sign every day anew."""
        for name in [name for name in self.items if name[0] == f"D#{self.traffic.account}"]:
            del self.items[name]
        return asyncio.run(self.operator.close(self.traffic))

    def saved(self) -> list[tuple[str, str]]:
        """The digests as somebody saves them."""
        digests = asyncio.run(self.operator.receipts.digests(self.traffic.account))
        return [(f"{day}.jws", jws) for day, jws in digests]

    def audit(
        self,
        first: int = 0,
        last: int | None = None,
        *,
        saved: Sequence[tuple[str, str]] = (),
        now_s: float | None = None,
        roots: Roots | None = None,
        uncertified_max: int = 0,
        tombstones_max: int | None = None,
        overrides_allowed: frozenset[str] = frozenset(),
    ) -> Report:
        """Audit the days from `first` to `last`, both counted from 0."""
        self.operator.clock.time_s = audited_at_s(self.traffic) if now_s is None else now_s
        until = self.traffic.days - 1 if last is None else last
        period = Period(
            account=self.traffic.account,
            first_day=self.day(first),
            last_day=self.day(until),
            roots=roots,
            saved=saved,
            uncertified_max=uncertified_max,
            tombstones_max=tombstones_max,
            overrides_allowed=overrides_allowed,
        )
        report = asyncio.run(audit(self.dynamo, self.operator.clock, period))
        assert report is not None
        return report


def put_hold(fixture: AccountFixture, hold_id: str, seq: str, expires_at_s: int) -> None:
    """A hold of this number in the account."""
    entry = {"M": {"a": {"N": "1"}, "e": {"N": str(expires_at_s)}, "p": {"N": "0"}}}
    account = f"A#{fixture.traffic.account}#S0", "A"
    fixture.change(account, h={"M": {hold_id: entry}}, q={"M": {hold_id: {"N": seq}}})


def rules(report: Report) -> set[str]:
    """The rules that something broke."""
    return {found.rule for found in report.found}


def certificate_for(jwk: dict[str, str], issued_at_s: int) -> Certificate:
    """A certificate of an hour."""
    return Certificate(
        kid=thumbprint(jwk),
        jwk=jwk,
        issuer="http://127.0.0.1:8080",
        stack="local",
        issued_at_s=issued_at_s,
        expires_at_s=issued_at_s + 3_600,
    )


def orjson_copy(items: dict[Name, Item]) -> dict[Name, Item]:
    """A copy of every item; the keys are shared."""
    return {name: orjson.loads(orjson.dumps(item)) for name, item in items.items()}


def is_receipt(item: Item) -> bool:
    """Whether it is one that was written in time."""
    return bool(item["st"] == {"S": "done"})


def is_phi(item: Item) -> bool:
    """Whether it is an answer to PHI."""
    return _is_answer(item, phi=True)


def is_general(item: Item) -> bool:
    """Whether it is an answer that was no PHI."""
    return _is_answer(item, phi=False)


def _is_answer(item: Item, *, phi: bool) -> bool:
    signed = signed_of(item)
    if signed is None or not is_receipt(item):
        return False
    record: Json = orjson.loads(signed.payload)
    return record["phi"] is phi and "row" in record and "turns" not in record


def jws_parts(jws: str) -> tuple[Json, bytes, bytes]:
    """Header, payload and signature of a JWS."""
    header, payload, signature = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in jws.split(".")
    )
    return orjson.loads(header), payload, signature


def jws_with(jws: str, *, alg: str, signature: Callable[[bytes], bytes]) -> str:
    """The same claims under another algorithm."""
    header, payload, _ = jws_parts(jws)
    message = signing_input(alg=alg, typ=header["typ"], kid=header["kid"], payload=payload)
    return compact(message, signature(message))
