"""One account on either engine, for stories that go one call after the other."""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from phigate.core.ledger.account import account_pk
from phigate.core.ledger.port import AccountView, HoldRequest
from phigate.core.receipts.ids import new_id
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.ledger import DynamoLedger
from tests.fakes import FakeClock, Fault, FaultyDynamo, Item

NOW_S = 1_790_000_000

T = TypeVar("T")


@dataclass
class LedgerHarness:
    """An engine and an account on it; the account is made by `open`."""

    execute: Callable[[str, Item], Item]
    account: str

    def __post_init__(self) -> None:
        self.table = "phigate"
        self.clock = FakeClock(NOW_S)
        self.sent: list[Item] = []
        self._made = 0

    async def call(self, operation: str, payload: Item) -> Item:
        """A client that answers at once; `sent` keeps what was asked."""
        self.sent.append(payload)
        return self.execute(operation, payload)

    def ledger(self, faults: Iterable[Fault | None] = ()) -> DynamoLedger:
        """A process of its own, whose first calls meet the faults."""
        return DynamoLedger(FaultyDynamo(self, faults), self.clock)

    def admin(self) -> DynamoAdmin:
        """The operator."""
        return DynamoAdmin(self, self.clock)

    def open(self, micros: int) -> None:
        """The account, with credit and one live key named k1."""
        drive(self.admin().create_account(self.account))
        if micros:
            drive(self.admin().add_credit(self.account, micros, "opening"))
        self.switch("k1", on=True)

    def switch(self, key_id: str, *, on: bool) -> None:
        """Put a key on or off in the account's item."""
        self.execute(
            "UpdateItem",
            {
                "TableName": "phigate",
                "Key": {"pk": {"S": account_pk(self.account)}, "sk": {"S": "A"}},
                "UpdateExpression": "SET k.#key = :on",
                "ExpressionAttributeNames": {"#key": key_id},
                "ExpressionAttributeValues": {":on": {"BOOL": on}},
            },
        )

    def request(self, micros: int = 10, **changes: Any) -> HoldRequest:
        """A hold with an id of its own at the harness's time."""
        self._made += 1
        now_s = int(self.clock.time_s)
        request = HoldRequest(
            account=self.account,
            key_id="k1",
            id=new_id(now_s, self._made.to_bytes(7, "big")),
            micros=micros,
            expires_at_s=now_s + 100,
            now_s=now_s,
            rpm=600,
        )
        return replace(request, **changes)

    def view(self) -> AccountView:
        """The account as it stands."""
        view = drive(self.ledger().account(self.account))
        assert view is not None
        return view

    def item(self) -> Item:
        """The account's item as stored."""
        key = {"pk": {"S": account_pk(self.account)}, "sk": {"S": "A"}}
        call = {"TableName": "phigate", "Key": key, "ConsistentRead": True}
        item: Item = self.execute("GetItem", call)["Item"]
        return item


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits for something")
