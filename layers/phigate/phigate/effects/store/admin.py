"""The operator's writes: accounts, keys, credit, and the table of a local engine.

Laws: a key's text is returned once and written nowhere; credit comes exactly once per reference; a
disabled key stops first where holds are made. Every write may be sent again.
"""

import secrets

from phigate.core.attributes import Item, binary, bytes_at, flag, int_at, mapping, number, text
from phigate.core.clock import Clock
from phigate.core.ledger import writes
from phigate.core.ledger.account import (
    ACCOUNT_SK,
    DIRECTORY_PK,
    KEY_SK,
    account_pk,
    check_account,
    key_pk,
    keys_pk,
)
from phigate.core.ledger.keys import KEY_RANDOM_BYTES, KeyKind, key_id_of, key_sha256, make_key
from phigate.core.types import KeyPolicy
from phigate.effects.store.dynamodb import (
    Dynamo,
    TableMissing,
    TransactionCanceled,
    Transient,
    pages,
    read_item,
    repeat,
)
from phigate.effects.store.keys import KeyView, key_view, new_key_call

SALT_BYTES = 16
REF_BYTES_MAX = 256  # a reference is an invoice number or a payment's id
TABLE_READY_TRIES_MAX = 60
TABLE_READY_PAUSE_S = 0.5  # AWS makes a table in about 10 s, a local engine at once


class NoSuchAccount(LookupError):
    """There is no account of this name."""


class NoSuchKey(LookupError):
    """The account has no key of this id."""


class CreditRefUsed(ValueError):
    """The reference was credited before, with another amount."""


class DynamoAdmin:
    """The operator's side: accounts, keys and credit. Every method may raise Overloaded."""

    def __init__(self, dynamo: Dynamo, clock: Clock) -> None:
        self._dynamo = dynamo
        self._clock = clock

    async def create_account(self, account: str) -> bool:
        """Make an account without credit; False where it was there. ValueError for a bad name."""
        table = self._dynamo.table
        empty = {name: mapping({}) for name in ("h", "q", "k", "w", "d")}
        zeros = {name: number(0) for name in ("avail", "spent", "top", "seq")}
        item = _key(account_pk(check_account(account)), ACCOUNT_SK) | empty | zeros
        item["salt"] = binary(secrets.token_bytes(SALT_BYTES))
        listed = _key(DIRECTORY_PK, account) | {"created": number(int(self._clock.now_s()))}
        puts = [
            {
                "Put": {
                    "TableName": table,
                    "Item": item,
                    "ConditionExpression": writes.ACCOUNT_IS_NEW,
                }
            },
            {"Put": {"TableName": table, "Item": listed}},
        ]
        try:
            await self._call("TransactWriteItems", {"TransactItems": puts})
        except TransactionCanceled:
            return False
        return True

    async def add_credit(self, account: str, micros: int, ref: str) -> bool:
        """Top up, exactly once per reference; False where this one was credited before.

        Raises NoSuchAccount, CreditRefUsed, or ValueError for an amount or reference that is none.
        """
        if micros <= 0 or not 0 < len(ref.encode()) <= REF_BYTES_MAX:
            raise ValueError("a credit is above 0, and its reference 1 to 256 bytes")
        now_s = int(self._clock.now_s())
        call = writes.credit(self._dynamo.table, check_account(account), micros, ref, now_s)
        try:
            await self._call("TransactWriteItems", call)
        except TransactionCanceled as exc:
            if not exc.failed(0):
                raise NoSuchAccount(account) from exc
            if int_at(exc.reasons[0][1] or {}, "c") != micros:
                raise CreditRefUsed("this reference was credited with another amount") from exc
            return False
        return True

    async def create_key(
        self, account: str, kind: KeyKind, policy: KeyPolicy, *, expires_at_s: int | None = None
    ) -> str:
        """Make a key and return its text, which is nowhere else. Raises NoSuchAccount."""
        owner = await self._account_item(account)
        key = make_key(kind, secrets.token_bytes(KEY_RANDOM_BYTES))
        sha256 = key_sha256(key)
        view = KeyView(
            account=account,
            key_id=key_id_of(sha256),
            sha256=sha256,
            kind=kind,
            policy=policy,
            created_at_s=int(self._clock.now_s()),
            expires_at_s=expires_at_s,
            is_live=True,
        )
        call = new_key_call(self._dynamo.table, view, bytes_at(owner, "salt"))
        try:
            await self._call("TransactWriteItems", call)
        except TransactionCanceled as exc:
            # A name of 256 random bits that stands already was put by an earlier try.
            if not exc.failed(0):
                raise NoSuchAccount(account) from exc
        return key

    async def list_keys(self, account: str) -> list[KeyView]:
        """Every key of an account, oldest first. Raises NoSuchAccount."""
        await self._account_item(account)
        query: Item = {
            "TableName": self._dynamo.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": text(keys_pk(account))},
            "ConsistentRead": True,
        }
        found = [key_view(account, item) async for item in pages(self._dynamo, self._clock, query)]
        return sorted(found, key=lambda view: (view.created_at_s, view.key_id))

    async def disable_key(self, account: str, key_id: str) -> None:
        """Stop a key: first where holds are made, then where it is read. Raises NoSuchKey."""
        view = await self._listed(account, key_id)
        off = {":off": flag(False)}
        steps = (
            (account_pk(account), ACCOUNT_SK, "SET k.#name = :off", {"#name": key_id}),
            (key_pk(view.sha256), KEY_SK, "SET #name = :off", {"#name": "live"}),
            (keys_pk(account), key_id, "SET #name = :off", {"#name": "live"}),
        )
        for pk, sk, expression, names in steps:
            call = {
                "TableName": self._dynamo.table,
                "Key": _key(pk, sk),
                "UpdateExpression": expression,
                "ConditionExpression": writes.ITEM_EXISTS,
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": off,
            }
            await self._call("UpdateItem", call)

    async def rotate_key(self, account: str, key_id: str) -> str:
        """A new key with the same kind, policy and expiry; the old one is disabled after it."""
        old = await self._listed(account, key_id)
        key = await self.create_key(account, old.kind, old.policy, expires_at_s=old.expires_at_s)
        await self.disable_key(account, key_id)
        return key

    async def find_key(self, key_id: str, accounts: list[str]) -> KeyView | None:
        """The key of this id among the accounts named."""
        for account in accounts:
            item = await read_item(self._dynamo, self._clock, keys_pk(account), key_id)
            if item is not None:
                return key_view(account, item)
        return None

    async def _listed(self, account: str, key_id: str) -> KeyView:
        view = await self.find_key(key_id, [account])
        if view is None:
            raise NoSuchKey(key_id)
        return view

    async def _account_item(self, account: str) -> Item:
        pk = account_pk(check_account(account))
        item = await read_item(self._dynamo, self._clock, pk, ACCOUNT_SK)
        if item is None:
            raise NoSuchAccount(account)
        return item

    async def _call(self, operation: str, payload: Item) -> Item:
        return await repeat(self._dynamo, self._clock, operation, payload)


async def create_table(dynamo: Dynamo, clock: Clock) -> None:
    """Make the table where it is missing and wait until it answers; on AWS the template makes it.

    Raises TimeoutError.
    """
    attributes = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
    schema = [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    call: Item = {
        "TableName": dynamo.table,
        "AttributeDefinitions": attributes,
        "KeySchema": schema,
        "BillingMode": "PAY_PER_REQUEST",
    }
    for _ in range(TABLE_READY_TRIES_MAX):
        try:
            answer = await dynamo.call("DescribeTable", {"TableName": dynamo.table})
            if answer["Table"].get("TableStatus") == "ACTIVE":
                return
        except Transient:
            pass
        except TableMissing:
            await repeat(dynamo, clock, "CreateTable", call)
            continue
        await clock.sleep(TABLE_READY_PAUSE_S)
    raise TimeoutError("the table did not become ready")


def _key(pk: str, sk: str) -> Item:
    return {"pk": text(pk), "sk": text(sk)}
