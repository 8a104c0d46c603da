"""The handle of a hold: its state is the ledger's table's, also where the outcome of a write is not
known, and its settle is begun once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from phigate.core.errors import Overloaded
from phigate.core.ledger.hold import IllegalTransition, OpenHold, State
from phigate.core.receipts.record import Signed
from phigate.pipeline.authenticate import authenticate
from phigate.pipeline.charge.context import begin_request
from phigate.pipeline.charge.hold import Hold, hold_refusal
from phigate.pipeline.charge.receipt import Receipt
from tests.builders import make_requirements, make_row
from tests.pipeline.await_points import failing, watch
from tests.pipeline.gateway_harness import USAGE, GatewayHarness, call

ROW = make_row("acme-one")
SIGNED = Signed(b"{}", "k" * 42 + "A", bytes(64))
RECEIPT = Receipt(SIGNED, cost_micros=0)


async def held(harness: GatewayHarness) -> Hold:
    """A hold of nothing that stands."""
    request = call()
    principal = await authenticate(harness.gateway, request.headers)
    hold = await hold_refusal(begin_request(harness.gateway, request, principal))
    assert hold is not None
    return hold


async def written(harness: GatewayHarness) -> Hold:
    """One whose receipt stands."""
    hold = await held(harness)
    await hold.write_receipt(RECEIPT)
    return hold


async def extended(harness: GatewayHarness) -> Hold:
    """One that was extended after a turn was used."""
    hold = await held(harness)
    assert await hold.extend(100)
    hold.context.meter.start_attempt(ROW, make_requirements(), 0.0)
    hold.charge_turn(USAGE, 2)
    assert await hold.extend(100)
    return hold


def watched(hold: Hold, harness: GatewayHarness, point: str) -> Hold:
    """The same hold, whose ledger gives no answer at a point."""
    watch(harness, failing(point, lambda: Overloaded("no answer")))
    return Hold(replace(hold.context, gateway=harness.gateway), hold.opened)


STANDS: dict[str, tuple[Callable[[GatewayHarness], Awaitable[Hold]], State]] = {
    "a hold": (held, "held"),
    "a hold that notes usage": (extended, "used"),
    "a receipt": (written, "done"),
}


@pytest.mark.parametrize(("make", "state"), STANDS.values(), ids=STANDS)
def test_the_state_is_the_tables(
    make: Callable[[GatewayHarness], Awaitable[Hold]], state: State
) -> None:
    async def story() -> Hold:
        return await make(GatewayHarness())

    assert asyncio.run(story()).state == state


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_extension_of_unknown_outcome_may_have_noted_usage(when: str) -> None:
    harness = GatewayHarness()

    async def story() -> Hold:
        hold = await extended(harness)
        hold.opened = OpenHold(hold.opened.account, hold.opened.stored)  # as if nothing were noted
        hold = watched(hold, harness, f"{when} ledger.extend_hold")
        with pytest.raises(Overloaded):
            await hold.extend(200)
        return hold

    hold = asyncio.run(story())
    assert (hold.state, hold.is_open, hold.is_receipted) == ("used", True, False)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_receipt_of_unknown_outcome_is_under_way_and_nothing_is_settled(when: str) -> None:
    harness = GatewayHarness()

    async def story() -> Hold:
        hold = await held(harness)
        hold = watched(hold, harness, f"{when} ledger.put_receipt")
        with pytest.raises(Overloaded):
            await hold.write_receipt(RECEIPT)
        await hold.settle()
        with pytest.raises(IllegalTransition):
            await hold.extend(0)
        return hold

    hold = asyncio.run(story())
    assert (hold.state, hold.is_open, hold.is_receipted) == ("writing", True, False)
    assert [name for name, *_ in harness.log].count("settle") == 0


def test_a_settle_is_begun_once() -> None:
    harness = GatewayHarness()

    async def story() -> Hold:
        hold = await written(harness)
        await asyncio.gather(hold.settle(), hold.settle())
        await hold.settle()
        return hold

    hold = asyncio.run(story())
    assert (hold.state, hold.is_open, hold.is_receipted) == ("settled", False, True)
    assert [name for name, *_ in harness.log].count("settle") == 1


def test_a_late_receipt_leaves_nothing_to_settle() -> None:
    harness = GatewayHarness()

    async def story() -> Hold:
        hold = await held(harness)
        await harness.swept()
        await hold.write_receipt(RECEIPT)
        await hold.settle()
        return hold

    hold = asyncio.run(story())
    assert (hold.state, hold.is_receipted) == ("late", True)
    assert [name for name, *_ in harness.log] == ["hold", "receipt"]
