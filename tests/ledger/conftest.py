"""A real engine for the ledger's tests: the binary that the local stack runs."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import engine
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import create_table
from phigate.effects.store.dynamodb import DynamoDB
from tests.fakes import Item


class RealStore:
    """dynoxide, called one call after the other; each simulation gets an account of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.dynamo = self.client()
        self._numbers = itertools.count()
        self.loop.run_until_complete(create_table(self.dynamo, WallClock()))

    def client(self) -> DynamoDB:
        """A client with sockets of its own."""
        return DynamoDB(
            table="phigate",
            endpoint=self.url,
            region="eu-central-2",
            credentials=lambda: Credentials("local", "local"),
            clock=WallClock(),
        )

    def execute(self, operation: str, payload: Item) -> Item:
        """One call."""
        return self.loop.run_until_complete(self.dynamo.call(operation, payload))

    def account(self) -> str:
        """A name that nobody has."""
        return f"a{next(self._numbers)}"

    def close(self) -> None:
        """Close the sockets and the loop."""
        self.loop.run_until_complete(self.dynamo.close())
        self.loop.close()


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStore]:
    """dynoxide on a free port; its absence fails the tests, it does not skip them."""
    state: Path = tmp_path_factory.mktemp("engine")
    running = engine.start(state)
    try:
        assert running.name == "dynoxide", "run local/install_dynoxide.py"
        store = RealStore(running.url)
        yield store
        store.close()
    finally:
        running.stop()
