"""What the local stack does beside its requests: sweep holds, and close days.

On AWS a function of its own does this on a schedule.
"""

from phigate.core.clock import Clock
from phigate.core.errors import Overloaded
from phigate.core.event_log import EventLog
from phigate.effects.audit.day_closer import DayCloser
from phigate.effects.signing.key_files import LOCAL_STACK
from phigate.effects.signing.signer import Signer
from phigate.effects.store.dynamodb import Dynamo
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts

SWEEP_INTERVAL_S = 30.0


async def sweep_for_ever(dynamodb: Dynamo, root: Signer, clock: Clock, event_log: EventLog) -> None:
    """Until it is cancelled. `root` is the one that signs digests."""
    ledger = DynamoLedger(dynamodb, clock)
    closer = DayCloser(
        ledger=ledger,
        receipts=DynamoReceipts(dynamodb, clock),
        root=root,
        clock=clock,
        stack=LOCAL_STACK,
    )
    while True:
        await _sweep(ledger, clock, event_log)
        await _close_days(closer, event_log)
        await clock.sleep(SWEEP_INTERVAL_S)


async def _sweep(ledger: DynamoLedger, clock: Clock, event_log: EventLog) -> None:
    try:
        swept, failed = await ledger.sweep_all(int(clock.now_s()))
    except Overloaded:
        swept, failed = [], [""]  # not even the accounts could be read
    for done in swept:
        if done.expired or done.settled:
            event_log.record("swept", expired=done.expired, settled=done.settled)
    if failed:
        event_log.record("sweep_failed", accounts=len(failed))


async def _close_days(closer: DayCloser, event_log: EventLog) -> None:
    """Costs nothing but once a day: the closer knows when the next day may be closed."""
    try:
        closings, failed = await closer.close_due()
    except Overloaded:
        closings, failed = [], [""]
    days = sum(len(closing.days) for closing in closings)
    left_open = sum(closing.left_open is not None for closing in closings)
    if days:
        event_log.record("days_closed", days=days)
    if failed or left_open:
        event_log.record("days_left_open", accounts=len(failed) + left_open)
