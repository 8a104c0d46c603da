"""The push of a catalog: the one way in which a snapshot comes into the table.

It stands apart from the reader because it checks the document with the models of the catalog's
files, which no process that serves requests loads.
"""

import base64
import zlib
from typing import Any

from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.price import pricing_card
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.errors import InternalError, Overloaded
from phigate.effects.signing.signer import Signer
from phigate.effects.store.catalog import CARD, CATALOG, CURRENT, signed_message
from phigate.effects.store.dynamodb import Dynamo, NotAccepted, Transient

Item = dict[str, Any]


async def push_snapshot(db: Dynamo, document_bytes: bytes, signer: Signer, now_s: int) -> str:
    """Sign and store the document, then make it the current one. Returns its SHA-256.

    Pushing the same document again renews its signature. Raises CatalogInvalid before anything is
    written; Overloaded or InternalError when a write fails, and then the old snapshot is still the
    current one unless the failed write was the last.
    """
    catalog = checked_catalog(document_bytes)
    name = catalog.sha256
    created = {"N": str(now_s)}
    snapshot = {
        "doc": _packed(document_bytes),
        "sig": _binary(await signer.sign(signed_message(name))),
        "kid": {"S": (await signer.jwk())["kid"]},
        "created": created,
    }
    card = {"doc": _packed(canonical_bytes(pricing_card(catalog))), "created": created}
    pointer = {"sha256": {"S": name}, "created": created}
    await _put(db, CATALOG, {"S": f"S#{name}"}, snapshot)
    await _put(db, CARD, {"S": catalog.card_sha256}, card)
    await _put(db, CATALOG, CURRENT, pointer)
    return name


async def _put(db: Dynamo, pk: Item, sk: Item, members: Item) -> None:
    """One write of a push, not repeated: whoever pushes sees the error and pushes again."""
    try:
        await db.call("PutItem", {"TableName": db.table, "Item": {"pk": pk, "sk": sk, **members}})
    except Transient as error:
        raise Overloaded("the table did not take the catalog in time; push again") from error
    except NotAccepted as error:
        raise InternalError("the table did not accept the catalog") from error


def _binary(content: bytes) -> Item:
    return {"B": base64.b64encode(content).decode()}


def _packed(content: bytes) -> Item:
    return _binary(zlib.compress(content, 9))
