"""One stored receipt: signed by a certified key, about this account, charged as it says.

Nothing is assumed of what is read: an item that cannot be read is a finding like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from phigate.core.ledger.receipt_item import GarbledReceipt
from phigate.core.limits import RECEIPT_DAYS
from phigate.core.receipts.days import DAY_S
from phigate.core.receipts.ids import MalformedId, day_of, seconds_of
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.record import Signed, hash_text
from phigate.core.types import Json
from phigate.verify.certificate import Certificate, read_certificate
from phigate.verify.consistency import Violation, read_record, violations
from phigate.verify.errors import VerificationError
from phigate.verify.receipt import check_certificate
from phigate.verify.receipt_body import receipt_input
from phigate.verify.roots import Roots
from phigate.wire.jwk import ed25519_public_key, verify_ed25519
from phigate.wire.jws import JwsInvalid


@dataclass(frozen=True, slots=True)
class ReceiptKey:
    """A receipt key that a root vouches for, read once for all that it signed."""

    certificate: Certificate
    public_key: Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Unproven:
    """A certificate or a catalog that cannot be believed, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of a day as it was read. `record` is None for a tombstone, and for what has a
    `fault`: then nothing else is known of it."""

    id: str
    seq: int | None
    stored: StoredReceipt | None = None
    record: Json | None = None
    fault: str | None = None

    @property
    def signed(self) -> Signed | None:
        """The signed record, where there is one that can be read."""
        return None if self.stored is None or self.record is None else self.stored.signed


def read_entry(item: StoredReceipt | GarbledReceipt) -> Entry:
    """An item with its record. Never raises."""
    if isinstance(item, GarbledReceipt):
        return Entry(item.id, item.seq, fault="the item cannot be read")
    if item.signed is None:
        return Entry(item.id, item.seq, item)
    try:
        record = read_record(item.signed.payload)
    except VerificationError as exc:
        return Entry(item.id, item.seq, item, fault=str(exc))
    return Entry(item.id, item.seq, item, record)


def receipt_key(text: str, roots: Roots) -> ReceiptKey | Unproven:
    """The key of a stored certificate, when a root vouches for it. Never raises."""
    try:
        certificate = read_certificate(text, roots)
        return ReceiptKey(certificate, ed25519_public_key(certificate.jwk))
    except (VerificationError, JwsInvalid, ValueError) as exc:
        return Unproven(str(exc))


def is_uncertified(record: Json, key: ReceiptKey | Unproven | None) -> bool:
    """Whether the receipt says that nobody vouches for its key, and nobody does."""
    return key is None and record.get("certified") is False


def faults(
    entry: Entry, account: str, day: str, key: ReceiptKey | Unproven | None
) -> Iterator[Violation]:
    """Every rule that the item breaks. `key` is None where no certificate is stored."""
    yield from _place(entry, day)
    if entry.fault is not None:
        yield "garbled", entry.fault
    stored, record = entry.stored, entry.record
    if stored is None:
        return
    swept_micros = stored.swept_micros
    if stored.state == "done" and swept_micros:
        yield "cost", f"{swept_micros} micro-USD were swept of a call that came to its end"
    if stored.state == "expired" and stored.cost_micros != swept_micros:
        yield "cost", f"{stored.cost_micros} micro-USD are stored, {swept_micros} were swept"
    if stored.expires_at_s is not None and stored.expires_at_s < _kept_until_s(stored.id):
        yield "expiry", f"the store erases it at {stored.expires_at_s}, before its time"
    if stored.signed is not None and record is not None:
        yield from _matches(stored, account, record)
        yield from _vouched(stored.signed, record, key)
        yield from violations(record)


def own_number(entry: Entry, account: str, day: str) -> int | None:
    """The number that an item shows to be there: a receipt of this account by what it has signed,
    a tombstone in its place. Of anything else None. Whether the signature holds is not asked."""
    stored, record = entry.stored, entry.record
    if entry.fault is not None or stored is None or any(_place(entry, day)):
        return None
    if record is not None and any(_matches(stored, account, record)):
        return None
    return stored.seq


def vouched_number(
    entry: Entry, account: str, day: str, key: ReceiptKey | Unproven | None
) -> int | None:
    """The same, of a receipt only where its signature holds under a certified key."""
    signed, record = entry.signed, entry.record
    if signed is None or record is None:
        return own_number(entry, account, day)
    if is_uncertified(record, key) or any(_vouched(signed, record, key)):
        return None
    return own_number(entry, account, day)


def _place(entry: Entry, day: str) -> Iterator[Violation]:
    receipt_id, dot, number = entry.id.partition(".")
    try:
        is_at_home = day_of(receipt_id) == day
    except MalformedId:
        yield "place", "its key is no receipt id"
        return
    if not is_at_home:
        yield "place", f"it was made on {day_of(receipt_id)} and stands under {day}"
    is_stray = entry.stored is not None and entry.stored.signed is None
    if dot and not (is_stray and number == str(entry.seq)):
        yield "place", "only the tombstone of a stray hold stands under an id with its number"


def _kept_until_s(receipt_id: str) -> int:
    """Until when an item stands at least; of what has no id, `_place` has said so."""
    try:
        return seconds_of(receipt_id.partition(".")[0]) + RECEIPT_DAYS * DAY_S
    except MalformedId:
        return 0


def _matches(stored: StoredReceipt, account: str, record: Json) -> Iterator[Violation]:
    if record["account"] != account:
        yield "account", f"it is a receipt of account {record['account']}"
    if record["id"] != stored.id:
        yield "id", f"it is receipt {record['id']}"
    if record["seq"] != stored.seq:
        yield "number", f"it stands as number {stored.seq} and was signed as {record['seq']}"
    signed_micros = record.get("cost", {}).get("charged", 0)
    if stored.cost_micros != signed_micros:
        yield "cost", f"{stored.cost_micros} micro-USD are stored, {signed_micros} were signed"
    if "cost" in record and stored.swept_micros > record["cost"]["held"]:
        held_micros = record["cost"]["held"]
        yield "cost", f"{stored.swept_micros} micro-USD were swept of {held_micros} that were held"


def _vouched(
    signed: Signed, record: Json, key: ReceiptKey | Unproven | None
) -> Iterator[Violation]:
    if is_uncertified(record, key):
        if record["phi"] is not False:
            yield "certificate", "nobody vouches for the key of a receipt of PHI"
        return
    if not isinstance(key, ReceiptKey):
        yield "certificate", "no certificate is stored for its key" if key is None else key.reason
        return
    try:
        check_certificate(key.certificate, signed.kid, record)
    except VerificationError as exc:
        yield "certificate", str(exc)
    if not verify_ed25519(key.public_key, receipt_input(signed), signed.signature):
        yield "signature", "the record or its signature was changed"
    elif not signed.text_signature and record["phi"] is False and "cost" in record:
        yield "signature", "the signature over the hashes of request and response is gone"
    elif signed.text_signature and not verify_ed25519(
        key.public_key,
        hash_text(record["request_sha256"], record["response_sha256"]).encode("ascii"),
        signed.text_signature,
    ):
        yield "signature", "the signature over the hashes of request and response was changed"
