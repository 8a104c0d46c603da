"""The gateway with a ledger that does nothing: what accounting costs is the difference.

Takes the flags of `phigate local`. For benches only: every call is free.
"""

import argparse
import sys
from pathlib import Path

import uvloop

from local.__main__ import CATALOG
from local.stack import Options, serve
from phigate.core.clock import Clock
from phigate.core.ledger.hold import OpenHold, StoredHold
from phigate.core.ledger.port import CountRefusal, HoldRefused, HoldRequest
from phigate.core.receipts.record import Signed
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.ledger import DynamoLedger


class NoLedger(DynamoLedger):
    """Grants every hold and writes nothing; reads (accounts, receipts) are the real ones."""

    async def hold(self, request: HoldRequest) -> OpenHold | HoldRefused:
        """A hold that is not written."""
        stored = StoredHold(request.id, 0, request.micros, request.expires_at_s)
        return OpenHold(
            request.account, stored, calls_this_minute=1, available_micros=request.micros
        )

    async def count_call(
        self, *, account: str, key_id: str, now_s: int, rpm: int
    ) -> CountRefusal | None:
        """A call that is not counted."""
        return None

    async def put_receipt(self, hold: OpenHold, record: Signed) -> OpenHold:
        """A receipt that is not written."""
        return hold.after("done")

    async def settle(self, hold: OpenHold) -> None:
        """Nothing to charge."""


def _no_ledger(dynamodb: DynamoDB, clock: Clock) -> NoLedger:
    return NoLedger(dynamodb, clock)


def main() -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m bench.noledger")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    flags = parser.parse_args()
    uvloop.run(serve(Options(flags.port, flags.state.absolute(), CATALOG), _no_ledger))
    return 0


if __name__ == "__main__":
    sys.exit(main())
