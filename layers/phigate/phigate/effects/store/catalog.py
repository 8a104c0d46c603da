"""The catalog in DynamoDB: one signed snapshot per version, and the rate cards that go with them.

    pk       sk             holds
    CATALOG  S#<sha256>     doc (deflated canonical bytes), sig, kid, created
    CATALOG  current        sha256 of the snapshot in use; written last
    CARD     <card sha256>  doc (deflated JSON of the rate card)

Law: nothing is used that does not hash to its name and bear a trusted key's signature; what cannot
be verified leaves the old copy in place with its old age, and the gate refuses PHI by that age.
"""

import base64
import binascii
import contextlib
import hashlib
import json
import re
import zlib
from collections.abc import Collection, Mapping
from typing import Any

from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.catalog.port import CatalogView
from phigate.core.catalog.price import CARD_PREFIX, card_sha256
from phigate.core.catalog.reach import with_overrides, with_simulated
from phigate.core.catalog.snapshot import SnapshotTooNew, read_catalog, with_missing_keys
from phigate.core.clock import Clock
from phigate.core.errors import Overloaded, PhigateError
from phigate.core.event_log import EventLog
from phigate.core.limits import CATALOG_FRESH_S, CATALOG_PHI_AGE_MAX_S
from phigate.core.types import Catalog, Override
from phigate.effects.refreshed import Refreshed
from phigate.effects.signing.signer import PublicKey, verify
from phigate.effects.store.dynamodb import Dynamo, repeat
from phigate.verify.roots import CATALOGS, Roots
from phigate.wire.jwk import ec_public_key

DOCUMENT_BYTES_MAX = 4 * 1024 * 1024  # 400 KB of item, deflated ten to one
RETRY_AFTER_S = 5.0  # between two refreshes that failed: a store that is down is not hammered
SIGNED_AS = b"phigate catalog snapshot\0"  # the purpose; the same key also certifies receipt keys

Item = dict[str, Any]

CATALOG = {"S": "CATALOG"}
CURRENT = {"S": "current"}
CARD = {"S": "CARD"}
_HEX = re.compile(r"[0-9a-f]{64}")


class SnapshotRefused(Exception):
    """A stored snapshot cannot be used. `reason` is one word for the event log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DynamoCatalog:
    """CatalogSource over the table. `trusted` maps key ids to the public keys that may sign."""

    def __init__(
        self,
        db: Dynamo,
        clock: Clock,
        event_log: EventLog,
        trusted: Mapping[str, PublicKey],
        *,
        providers_without_key: frozenset[str] = frozenset(),
        overrides: Mapping[str, Override] | None = None,
        simulated: Collection[str] = (),
    ) -> None:
        self._db = db
        self._clock = clock
        self._event_log = event_log
        self._known = Refreshed(
            self._read, clock, retry_after_s=RETRY_AFTER_S, on_failure=self._note_failure
        )
        self._trusted = dict(trusted)
        self._providers_without_key = providers_without_key
        self._overrides = dict(overrides or {})
        self._simulated = frozenset(simulated)

    async def current(self) -> CatalogView:
        """The snapshot in use. A copy that PHI may still use is answered with at once, and renewed
        in the background when it is no longer fresh; an older one waits for the renewal."""
        known = self._known
        age_s = known.age_s()
        if known.value is None:
            with contextlib.suppress(SnapshotRefused, PhigateError):
                await known.fetch()
        elif age_s >= CATALOG_FRESH_S and known.renew() and age_s >= CATALOG_PHI_AGE_MAX_S:
            await known.wait()
        if known.value is None:
            raise Overloaded("the catalog cannot be read; try again")
        return known.value

    async def card(self, card_sha256_or_name: str) -> bytes | None:
        """A stored rate card's JSON bytes by its hash, with or without `sha256:`; None: unknown."""
        name = card_sha256_or_name.removeprefix(CARD_PREFIX)
        if _HEX.fullmatch(name) is None:
            return None
        item = await _get(self._db, self._clock, CARD, {"S": name})
        if item is None:
            return None
        try:
            body = _unpacked(item)
            right = card_sha256(json.loads(body)) == name
        except (SnapshotRefused, ValueError, KeyError, TypeError):
            right = False
        if not right:
            self._event_log.record("card_refused", card=name)
            return None
        return body

    def _note_failure(self, failure: Exception) -> None:
        known = self._known
        now_s = self._clock.now_s()
        age = {} if known.value is None else {"age_s": round(now_s - known.value.read_at_s)}
        self._event_log.record("catalog_refresh_failed", reason=_reason(failure), **age)

    async def _read(self) -> CatalogView:
        # The age counts from before the read: an answer may be as old as its question.
        read_at_s = self._clock.now_s()
        return CatalogView(await self._read_catalog(), read_at_s)

    async def _read_catalog(self) -> Catalog:
        pointer = await _get(self._db, self._clock, CATALOG, CURRENT)
        name = pointer.get("sha256", {}).get("S") if pointer is not None else None
        if name is None:
            raise SnapshotRefused("missing")
        known = self._known.value
        if known is not None and known.catalog.sha256 == name:
            return known.catalog  # verified when it was read
        item = await _get(self._db, self._clock, CATALOG, {"S": f"S#{name}"})
        if item is None:
            raise SnapshotRefused("missing")
        catalog = _verified(name, item, self._trusted)
        catalog = with_missing_keys(catalog, self._providers_without_key)
        return with_overrides(with_simulated(catalog, self._simulated), self._overrides)


def _reason(failure: Exception) -> str:
    """One word for the event log; of a bug the class alone."""
    if isinstance(failure, SnapshotRefused):
        return failure.reason
    return failure.code if isinstance(failure, PhigateError) else type(failure).__name__


async def read_snapshot(db: Dynamo, clock: Clock, name: str, roots: Roots) -> Catalog:
    """The snapshot of this SHA-256, as an audit reads it: signed by a root that was in use when it
    was pushed. Raises SnapshotRefused, Overloaded."""
    item = await _get(db, clock, CATALOG, {"S": f"S#{name}"})
    if item is None:
        raise SnapshotRefused("missing")
    try:
        created_s = int(item["created"]["N"])
        trusted = {
            kid: ec_public_key(root.jwk)
            for kid, root in roots.items()
            if root.vouches(CATALOGS, created_s)
        }
        return _verified(name, item, trusted)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotRefused("garbled") from error


def _verified(name: str, item: Item, trusted: Mapping[str, PublicKey]) -> Catalog:
    """The catalog of a stored snapshot. Raises SnapshotRefused."""
    document_bytes = _unpacked(item)
    if hashlib.sha256(document_bytes).hexdigest() != name:
        raise SnapshotRefused("hash")
    public_key = trusted.get(item.get("kid", {}).get("S", ""))
    if public_key is None:
        raise SnapshotRefused("key")
    if not verify(public_key, signed_message(name), _bytes_of(item, "sig")):
        raise SnapshotRefused("signature")
    try:
        return read_catalog(document_bytes)
    except SnapshotTooNew as error:
        raise SnapshotRefused("needs_newer_release") from error
    except CatalogInvalid as error:
        # Signed by us and yet wrong: another release's loader with other rules wrote it.
        raise SnapshotRefused("invalid") from error


def signed_message(name: str) -> bytes:
    return SIGNED_AS + name.encode()


async def _get(db: Dynamo, clock: Clock, pk: Item, sk: Item) -> Item | None:
    payload = {"TableName": db.table, "Key": {"pk": pk, "sk": sk}, "ConsistentRead": True}
    answer = await repeat(db, clock, "GetItem", payload)
    item: Item | None = answer.get("Item")
    return item


def _bytes_of(item: Item, member: str) -> bytes:
    try:
        return base64.b64decode(item.get(member, {}).get("B", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SnapshotRefused("garbled") from error


def _unpacked(item: Item) -> bytes:
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(_bytes_of(item, "doc"), DOCUMENT_BYTES_MAX)
    except zlib.error as error:
        raise SnapshotRefused("garbled") from error
    if not inflate.eof:
        raise SnapshotRefused("garbled")
    return content
