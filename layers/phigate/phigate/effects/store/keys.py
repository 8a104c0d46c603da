"""KeyStore on DynamoDB: who a key belongs to and what it may do, cached for KEY_CACHE_S at most.

Laws: a key's text is never stored. A key of a stored policy that cannot be read is not served.
Unknown and disabled keys are not cached, so guessing fills nothing and a new key works at once.

    K#<sha256>        sk K: account keyid policy created expires live salt
    KEYS#<account>    sk <key id>: sha256 kind policy created expires live
"""

from dataclasses import dataclass

from phigate.core.attributes import (
    Item,
    binary,
    bytes_at,
    flag,
    flag_at,
    int_at,
    number,
    text,
    text_at,
)
from phigate.core.clock import Clock
from phigate.core.errors import GatewayError, InternalError
from phigate.core.ledger.account import KEY_SK, key_pk, keys_pk
from phigate.core.ledger.keys import KeyKind, MalformedPolicy, policy_from_json, policy_to_json
from phigate.core.ledger.writes import ACCOUNT_EXISTS, KEY_IS_NEW, account_key
from phigate.core.limits import KEY_CACHE_ENTRIES_MAX, KEY_CACHE_S, KEY_FRESH_S
from phigate.core.types import KeyPolicy, Principal
from phigate.effects.refreshed import Refreshed
from phigate.effects.store.dynamodb import Dynamo, read_item


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as the operator sees it. `is_live` is false once disabled."""

    account: str
    key_id: str
    sha256: str
    kind: KeyKind
    policy: KeyPolicy
    created_at_s: int
    expires_at_s: int | None
    is_live: bool


class DynamoKeys:
    """Implements core.ledger.port.KeyStore. One object per process: it holds the cache."""

    def __init__(self, dynamo: Dynamo, clock: Clock) -> None:
        self._dynamo = dynamo
        self._clock = clock
        # By hash, the last that was read last; also those that are just being read.
        self._known: dict[str, Refreshed[Principal | None]] = {}

    async def lookup(self, key_sha256: str, *, age_max_s: float = KEY_FRESH_S) -> Principal | None:
        """Whose key it is; None for an unknown or disabled one. Expiry is the caller's to check.

        Raises Overloaded, and InternalError where the stored policy cannot be read.
        """
        known = self._known.get(key_sha256)
        if known is None:
            known = self._known[key_sha256] = self._unknown(key_sha256)
        if known.age_s() < min(age_max_s, KEY_CACHE_S):
            return known.value
        return await known.fetch()

    def _unknown(self, sha256: str) -> Refreshed[Principal | None]:
        known = Refreshed(lambda: self._read(sha256, known), self._clock)
        return known

    async def _read(self, sha256: str, known: Refreshed[Principal | None]) -> Principal | None:
        try:
            item = await read_item(self._dynamo, self._clock, key_pk(sha256), KEY_SK)
        except GatewayError:
            # What is known stays, as old as it is; what is not is no entry.
            if known.value is None:
                self._known.pop(sha256, None)
            raise
        # From here on the item alone says what is known of the key.
        self._known.pop(sha256, None)
        if item is None or not flag_at(item, "live"):
            return None
        principal = _principal(item)
        while len(self._known) >= KEY_CACHE_ENTRIES_MAX:
            del self._known[next(iter(self._known))]
        self._known[sha256] = known
        return principal


def new_key_call(table: str, key: KeyView, salt: bytes) -> Item:
    """TransactWriteItems: the key, its place in the account, its line in the list."""
    written = {
        "policy": text(policy_to_json(key.policy)),
        "created": number(key.created_at_s),
        "live": flag(key.is_live),
    }
    if key.expires_at_s is not None:
        written["expires"] = number(key.expires_at_s)
    owned = {"account": text(key.account), "keyid": text(key.key_id), "salt": binary(salt)}
    listed = {"sha256": text(key.sha256), "kind": text(key.kind)}
    switched_on = {
        "TableName": table,
        "Key": account_key(key.account),
        "UpdateExpression": "SET k.#key = :true",
        "ConditionExpression": ACCOUNT_EXISTS,
        "ExpressionAttributeNames": {"#key": key.key_id},
        "ExpressionAttributeValues": {":true": flag(True)},
    }
    put = {
        "TableName": table,
        "Item": {"pk": text(key_pk(key.sha256)), "sk": text(KEY_SK)} | written | owned,
        "ConditionExpression": KEY_IS_NEW,
    }
    line = {
        "TableName": table,
        "Item": {"pk": text(keys_pk(key.account)), "sk": text(key.key_id)} | written | listed,
    }
    return {"TransactItems": [{"Put": put}, {"Update": switched_on}, {"Put": line}]}


def key_view(account: str, item: Item) -> KeyView:
    """A line of an account's list of keys."""
    return KeyView(
        account=account,
        key_id=str(text_at(item, "sk")),
        sha256=str(text_at(item, "sha256")),
        kind="live" if text_at(item, "kind") == "live" else "test",
        policy=_policy(item),
        created_at_s=int_at(item, "created"),
        expires_at_s=_expires(item),
        is_live=flag_at(item, "live"),
    )


def _principal(item: Item) -> Principal:
    return Principal(
        account=str(text_at(item, "account")),
        key_id=str(text_at(item, "keyid")),
        policy=_policy(item),
        created_at_s=int_at(item, "created"),
        expires_at_s=_expires(item),
        salt=bytes_at(item, "salt"),
    )


def _policy(item: Item) -> KeyPolicy:
    try:
        return policy_from_json(text_at(item, "policy") or "")
    except MalformedPolicy as exc:
        raise InternalError("The key's stored policy cannot be read.") from exc


def _expires(item: Item) -> int | None:
    return int_at(item, "expires") if "expires" in item else None
