"""What stands beside the receipts: certificates, roots, the digests of days, and a day's receipts.

CERT#<kid>        C           jws, ttl                     a receipt key's certificate
ROOTS             <kid>       jwk, signs, since, until     every root that ever signed
R#<account>#<day> <id>        the receipt (core.account, core.receipt_item)
R#<account>#<day> <id>.u      u, ttl                       what a confidential upstream has signed
D#<account>       <day>       jws                          the day's signed digest
"""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict

from phigate.core.account import DAY_S, receipt_pk, receipts_pk
from phigate.core.attributes import Item, int_at, number, text, text_at
from phigate.core.errors import InternalError
from phigate.core.ids import seconds_of
from phigate.core.limits import CERTIFICATE_LIFE_S, RECEIPT_DAYS
from phigate.core.protocols import Clock, StoredReceipt
from phigate.core.receipt_item import stored_receipt
from phigate.core.upstream_signature import UpstreamSignature, read_upstream_signature
from phigate.effects.dynamodb import ConditionFailed, Dynamo, pages, read_item, repeat
from phigate.proof.roots import Root
from phigate.wire.jwk import Jwk

_ROOTS = "ROOTS"
_CERTIFICATE_SK = "C"
# There is no digest of this day yet: a day is closed once.
DAY_IS_OPEN = "attribute_not_exists(pk)"
# No signature of this answer is kept yet: what was given out once never changes.
NONE_IS_KEPT = "attribute_not_exists(pk)"
# Behind a receipt's id: what stands beside it is no receipt.
UPSTREAM_SUFFIX = ".u"


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
        return None if item is None else text_at(item, "jws")

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

    async def day(self, account: str, day: str) -> AsyncIterator[StoredReceipt]:
        """Every receipt and tombstone of an account's UTC day, `YYYY-MM-DD`, in no order."""
        async for item in self._query(receipts_pk(account, day)):
            if not str(text_at(item, "sk")).endswith(UPSTREAM_SUFFIX):
                yield stored_receipt(account, item)

    async def put_upstream(
        self, account: str, receipt_id: str, signature: UpstreamSignature
    ) -> None:
        """See ReceiptStore."""
        item = {
            "pk": text(receipt_pk(account, receipt_id)),
            "sk": text(receipt_id + UPSTREAM_SUFFIX),
            "u": text(json.dumps(asdict(signature))),
            "ttl": number(seconds_of(receipt_id) + RECEIPT_DAYS * DAY_S),
        }
        call = {"TableName": self._dynamo.table, "Item": item, "ConditionExpression": NONE_IS_KEPT}
        with contextlib.suppress(ConditionFailed):
            await repeat(self._dynamo, self._clock, "PutItem", call)

    async def upstream(self, account: str, receipt_id: str) -> UpstreamSignature | None:
        """See ReceiptStore."""
        sk = receipt_id + UPSTREAM_SUFFIX
        item = await read_item(self._dynamo, self._clock, receipt_pk(account, receipt_id), sk)
        if item is None:
            return None
        return read_upstream_signature(str(text_at(item, "u")).encode())

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
        found = [
            (str(text_at(item, "sk")), str(text_at(item, "jws")))
            async for item in self._query(f"D#{account}")
        ]
        return sorted(found)

    async def _put_root(self, root: Root) -> None:
        item = {
            "pk": text(_ROOTS),
            "sk": text(root.kid),
            "jwk": text(json.dumps(root.jwk)),
            "signs": text(root.signs),
            "since": number(root.from_s),
        }
        await self._put(item if root.until_s is None else item | {"until": number(root.until_s)})

    async def _put(self, item: Item) -> None:
        await repeat(
            self._dynamo, self._clock, "PutItem", {"TableName": self._dynamo.table, "Item": item}
        )

    def _query(self, pk: str) -> AsyncIterator[Item]:
        query: Item = {
            "TableName": self._dynamo.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": text(pk)},
            "ConsistentRead": True,
        }
        return pages(self._dynamo, self._clock, query)


def _root(item: Item) -> Root:
    try:
        jwk: Jwk = json.loads(str(text_at(item, "jwk")))
    except ValueError as exc:
        raise InternalError("a root in the table is not readable") from exc
    until_s = int_at(item, "until", -1)
    return Root(
        jwk, str(text_at(item, "signs")), int_at(item, "since"), None if until_s < 0 else until_s
    )
