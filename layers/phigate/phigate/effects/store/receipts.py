"""What stands beside the receipts: certificates, roots, the digests of days, and a day's receipts.

CERT#<kid>        C           jws, ttl                     a receipt key's certificate
ROOTS             <kid>       jwk, signs, since, until     every root that ever signed
R#<account>#<day> <id>        the receipt (core.account, core.receipt_item)
R#<account>#<day> <id>.u      u, ttl                       what a confidential upstream has signed
R#<account>#<day> <id>.e      e, ttl                       what RedPill's verifiers asked us to sign
D#<account>       <day>       jws                          the day's signed digest
"""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from phigate.core.attributes import Item, int_at, number, text, text_at
from phigate.core.clock import Clock
from phigate.core.errors import InternalError
from phigate.core.ledger.account import (
    ACCOUNT_SK,
    DAY_S,
    DIRECTORY_PK,
    account_pk,
    holds,
    receipt_pk,
    receipts_pk,
)
from phigate.core.ledger.proof_count import ProofRefusal, count, refusal
from phigate.core.ledger.receipt_item import (
    BESIDE_SUFFIXES,
    TEXT_SUFFIX,
    UPSTREAM_SUFFIX,
    GarbledReceipt,
    read_receipt,
)
from phigate.core.limits import CERTIFICATE_LIFE_S, RECEIPT_DAYS
from phigate.core.receipts.ids import seconds_of
from phigate.core.receipts.port import StoredReceipt
from phigate.core.receipts.text_signer import TextSignature, read_text_signature
from phigate.core.receipts.upstream_signature import UpstreamSignature, read_upstream_signature
from phigate.effects.store.dynamodb import ConditionFailed, Dynamo, pages, read_item, repeat
from phigate.verify.open_hold import StandingHold
from phigate.verify.roots import Root
from phigate.wire.jwk import Jwk

_ROOTS = "ROOTS"
_CERTIFICATE_SK = "C"
# There is no digest of this day yet: a day is closed once.
DAY_IS_OPEN = "attribute_not_exists(pk)"
# No signature of this answer is kept yet: what was given out once never changes.
NONE_IS_KEPT = "attribute_not_exists(pk)"


@dataclass(frozen=True, slots=True)
class Standing:
    """An account as the numbers of its receipts need it: the last number given out, and each hold
    that still stands."""

    seq: int
    holds: tuple[StandingHold, ...]
    created_s: int | None
    spent_micros: int


class DayClosed(Exception):
    """Another digest of this day stands; the text is its JWS."""


class DynamoReceipts:
    """Reads and writes them; every method may raise Overloaded."""

    def __init__(self, dynamo: Dynamo, clock: Clock) -> None:
        self._dynamo = dynamo
        self._clock = clock

    async def put_certificate(self, kid: str, jws: str, expires_at_s: int) -> None:
        """Keep a certificate for as long as the receipts that stand on it."""
        item = {"pk": text(f"CERT#{kid}"), "sk": text(_CERTIFICATE_SK), "jws": text(jws)}
        item["ttl"] = number(expires_at_s + (RECEIPT_DAYS + 1) * DAY_S)
        await self._put(item)

    async def certificate(self, kid: str) -> str | None:
        """The certificate of a key as JWS; None where nobody vouched for it."""
        item = await read_item(self._dynamo, self._clock, f"CERT#{kid}", _CERTIFICATE_SK)
        return None if item is None else _jws(item)

    async def roots(self) -> list[Root]:
        """Every root, the ones that were replaced too."""
        return [_root(item) async for item in self._query(_ROOTS)]

    async def use_root(self, jwk: Jwk, signs: str, now_s: int) -> None:
        """From now on this key signs that. The ones before it end in an hour, when the last
        certificate of a process that still knows them does."""
        known = await self.roots()
        for root in known:
            if root.signs == signs and root.kid != jwk["kid"] and root.until_s is None:
                await self._put_root(Root(root.jwk, signs, root.from_s, now_s + CERTIFICATE_LIFE_S))
        in_use = [root for root in known if root.kid == jwk["kid"] and root.until_s is None]
        if not in_use:
            await self._put_root(Root(jwk, signs, now_s))

    async def day(self, account: str, day: str) -> AsyncIterator[StoredReceipt | GarbledReceipt]:
        """Every receipt and tombstone of an account's UTC day, `YYYY-MM-DD`, in no order."""
        async for item in self._query(receipts_pk(account, day)):
            if not str(text_at(item, "sk")).endswith(BESIDE_SUFFIXES):
                yield read_receipt(account, item)

    async def has_receipts(self, account: str, day: str) -> bool:
        """Whether anything stands in a day."""
        async for _ in self._query(receipts_pk(account, day), {"Limit": 1}):
            return True
        return False

    async def standing(self, account: str) -> Standing | None:
        """The account's counter and open holds as they are now; None where there is no account."""
        item = await read_item(self._dynamo, self._clock, account_pk(account), ACCOUNT_SK)
        if item is None:
            return None
        listed = await read_item(self._dynamo, self._clock, DIRECTORY_PK, account)
        created_s = int_at(listed or {}, "created", -1)
        return Standing(
            seq=int_at(item, "seq"),
            holds=tuple(StandingHold(h.id, h.seq, h.expires_at_s) for h in holds(item)),
            created_s=None if created_s < 0 else created_s,
            spent_micros=int_at(item, "spent"),
        )

    async def put_upstream(
        self, account: str, receipt_id: str, signature: UpstreamSignature
    ) -> None:
        """See ReceiptStore."""
        item = _beside(account, receipt_id, UPSTREAM_SUFFIX)
        await self._put_once(item | {"u": text(json.dumps(asdict(signature)))})

    async def upstream(self, account: str, receipt_id: str) -> UpstreamSignature | None:
        """See ReceiptStore."""
        sk = receipt_id + UPSTREAM_SUFFIX
        item = await read_item(self._dynamo, self._clock, receipt_pk(account, receipt_id), sk)
        if item is None:
            return None
        return read_upstream_signature(str(text_at(item, "u")).encode())

    async def put_text(
        self, account: str, receipt_id: str, signature: TextSignature
    ) -> TextSignature:
        """See ReceiptStore. In place of what is not readable nothing can be kept."""
        item = _beside(account, receipt_id, TEXT_SUFFIX)
        stands = await self._put_once(item | {"e": text(json.dumps(asdict(signature)))})
        return (stands and _text_signature(stands)) or signature

    async def text(self, account: str, receipt_id: str) -> TextSignature | None:
        """See ReceiptStore."""
        sk = receipt_id + TEXT_SUFFIX
        item = await read_item(self._dynamo, self._clock, receipt_pk(account, receipt_id), sk)
        return None if item is None else _text_signature(item)

    async def count_proof(self, account: str, key_id: str, now_s: int) -> ProofRefusal | None:
        """See ReceiptStore."""
        call = count(self._dynamo.table, account, key_id, now_s)
        try:
            await repeat(self._dynamo, self._clock, "UpdateItem", call)
        except ConditionFailed as exc:
            return refusal(exc.item, key_id)
        return None

    async def put_digest(self, account: str, day: str, jws: str) -> None:
        """Close a day, once. Raises DayClosed."""
        item = {"pk": text(f"D#{account}"), "sk": text(day), "jws": text(jws)}
        call = {
            "TableName": self._dynamo.table,
            "Item": item,
            "ConditionExpression": DAY_IS_OPEN,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await repeat(self._dynamo, self._clock, "PutItem", call)
        except ConditionFailed as exc:
            stands = text_at(exc.item or {}, "jws") or ""
            if stands != jws:
                raise DayClosed(stands) from None

    async def digests(self, account: str) -> list[tuple[str, str]]:
        """The days that are closed and the JWS of each, in order."""
        query = self._query(f"D#{account}")
        return sorted([(str(text_at(item, "sk")), _jws(item)) async for item in query])

    async def _put_root(self, root: Root) -> None:
        item = {
            "pk": text(_ROOTS),
            "sk": text(root.kid),
            "jwk": text(json.dumps(root.jwk)),
            "signs": text(root.signs),
            "since": number(root.from_s),
        }
        await self._put(item if root.until_s is None else item | {"until": number(root.until_s)})

    async def _put_once(self, item: Item) -> Item | None:
        """What stands there already; None where the item was put."""
        call = {
            "TableName": self._dynamo.table,
            "Item": item,
            "ConditionExpression": NONE_IS_KEPT,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await repeat(self._dynamo, self._clock, "PutItem", call)
        except ConditionFailed as exc:
            return exc.item
        return None

    async def _put(self, item: Item) -> None:
        await repeat(
            self._dynamo, self._clock, "PutItem", {"TableName": self._dynamo.table, "Item": item}
        )

    def _query(self, pk: str, more: Item | None = None) -> AsyncIterator[Item]:
        query: Item = {
            "TableName": self._dynamo.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": text(pk)},
            "ConsistentRead": True,
            **(more or {}),
        }
        return pages(self._dynamo, self._clock, query)


def _beside(account: str, receipt_id: str, suffix: str) -> Item:
    """An item beside a receipt, which goes with it."""
    return {
        "pk": text(receipt_pk(account, receipt_id)),
        "sk": text(receipt_id + suffix),
        "ttl": number(seconds_of(receipt_id) + RECEIPT_DAYS * DAY_S),
    }


def _text_signature(item: Item) -> TextSignature | None:
    try:
        return read_text_signature(text_at(item, "e") or "")
    except (KeyError, TypeError):
        return None


def _jws(item: Item) -> str:
    """The JWS of an item; where somebody has put something else there, one that nobody signed."""
    try:
        return text_at(item, "jws") or ""
    except (KeyError, TypeError):
        return ""


def _root(item: Item) -> Root:
    try:
        jwk: Jwk = json.loads(str(text_at(item, "jwk")))
        until_s = int_at(item, "until", -1)
        signs, from_s = str(text_at(item, "signs")), int_at(item, "since")
    except (ValueError, KeyError, TypeError) as exc:
        raise InternalError("a root in the table is not readable") from exc
    return Root(jwk, signs, from_s, None if until_s < 0 else until_s)
