"""The end of a request: its receipt is written, then its hold is settled, each once.

Law 1: the receipt is durable before the last byte leaves; the settle comes right after it.
Law 2: whatever happens in between, the hold is settled here or swept by the receipt; a request
that never reached a receipt is voided by timeout.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from phigate.core.errors import GatewayError, PhigateError
from phigate.core.receipts.record import Digest, Ended
from phigate.core.response import CallerGone
from phigate.pipeline.charge.context import log_end
from phigate.pipeline.charge.hold import Hold
from phigate.pipeline.charge.receipt import Outcome, make_receipt


async def issue_receipt(hold: Hold, outcome: Outcome, response: Digest) -> None:
    """Sign and write the receipt; from here on the charge is certain. Raises Overloaded."""
    receipt = await make_receipt(hold.context, hold.opened, outcome, response)
    await hold.write_receipt(receipt)


@asynccontextmanager
async def finalizing(hold: Hold, response: Digest) -> AsyncIterator[None]:
    """Whatever ends early what is done inside, the hold is closed: what an upstream has begun is
    charged, and nothing is left to the sweeper. A caller who has gone ends it quietly."""
    try:
        yield
    except CallerGone:
        await _finalize(hold, response)
    except PhigateError:
        raise
    except asyncio.CancelledError:
        await finalize_cancelled(hold, response)
        raise
    except Exception:
        await finalize_cancelled(hold, response, "internal_error", "refused")
        raise


async def finalize_cancelled(
    hold: Hold, response: Digest, verdict: str = "routed", ended: Ended = "hang_up"
) -> None:
    """Close a cancelled request's hold although the task that has it is being cancelled."""
    if not hold.is_open:
        return
    gateway = hold.context.gateway
    try:
        await gateway.run_shielded(_finalize(hold, response, verdict, ended))
    except (GatewayError, asyncio.CancelledError):
        gateway.event_log.record("abandoned_hold", id=hold.context.id)


async def _finalize(
    hold: Hold, response: Digest, verdict: str = "routed", ended: Ended = "hang_up"
) -> None:
    """Nobody waits for the answer. An upstream that had begun is charged by estimate."""
    if not hold.is_open:
        return
    context, meter = hold.context, hold.context.meter
    now_s = context.gateway.clock.now_s()
    meter.add_unfinished_turn(held_micros=hold.micros, now_s=now_s)
    await issue_receipt(hold, Outcome(verdict, ended, meter.row), response)
    await hold.settle()
    log_end(context, "abandoned", meter.row)


def receipt_headers(hold: Hold | None) -> Mapping[str, str]:
    """What an error names once its receipt stands, or may stand: what is charged, and that a repeat
    would be charged again."""
    if hold is None:
        return {}
    charge, named = hold.context.meter.charge, {"x-phi-receipt": hold.context.id}
    if hold.is_receipted:
        return named if charge is None else named | _charged_again(hold.opened.cost_micros)
    # The sweeper settles by a receipt that may stand, else by what the hold says was used.
    if hold.state == "writing" and charge is not None:
        return named | _charged_again(charge.charged_micros)
    used_micros = hold.opened.stored.used_micros
    return named | _charged_again(used_micros) if used_micros else {}


def _charged_again(micros: int) -> dict[str, str]:
    return {"x-should-retry": "false", "x-phi-cost-micro": str(micros)}
