"""The real engine of the ledger's tests, for the effects that write conditionally too."""

from tests.ledger.conftest import real_store

__all__ = ["real_store"]
