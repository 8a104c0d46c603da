"""The points at which a request waits for an effect: before each effect happens and after it."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from phigate.core.upstream import Fetched, UpstreamFetch, UpstreamRequest
from tests.fakes import FakeSandboxes, FakeUpstream
from tests.pipeline.gateway_harness import GatewayHarness

Pass = Callable[[str], Awaitable[None]]


class Observed:
    """An effect whose every await passes two points, `before <name>` and `after <name>`."""

    def __init__(self, effect: Any, name: str, passes: Pass) -> None:
        self._effect = effect
        self._name = name
        self._passes = passes

    def __getattr__(self, attribute: str) -> Any:
        member = getattr(self._effect, attribute)
        if not inspect.iscoroutinefunction(member):
            return member
        name = f"{self._name}.{attribute}"

        async def watched(*args: Any, **named: Any) -> Any:
            await self._passes(f"before {name}")
            result = await member(*args, **named)
            await self._passes(f"after {name}")
            return result

        return watched


class ObservedUpstream:
    """An upstream whose exchanges are watched."""

    def __init__(self, upstream: FakeUpstream, passes: Pass) -> None:
        self._upstream = upstream
        self._passes = passes

    def open(self, request: UpstreamRequest) -> Any:
        """As the Protocol says."""
        return Observed(self._upstream.open(request), "exchange", self._passes)

    async def fetch(self, request: UpstreamFetch) -> Fetched:
        """As the Protocol says."""
        return await self._upstream.fetch(request)


class ObservedSandboxes:
    """Sandboxes that are watched, and everything that is done in them."""

    def __init__(self, sandboxes: FakeSandboxes, passes: Pass) -> None:
        self._sandboxes = sandboxes
        self._passes = passes

    async def open(self, **named: Any) -> Any:
        """As the Protocol says."""
        await self._passes("before sandboxes.open")
        # A cancelled `open` leaves nothing behind; one that came back is closed by who has it.
        return Observed(await self._sandboxes.open(**named), "sandbox", self._passes)


def watch(harness: GatewayHarness, passes: Pass) -> None:
    """Watch every effect of a harness's gateway; its ResponseWriter is watched by who makes it."""
    gateway = harness.gateway
    harness.use(
        keys=Observed(gateway.keys, "keys", passes),
        catalog=Observed(gateway.catalog, "catalog", passes),
        ledger=Observed(harness.ledger, "ledger", passes),
        upstream=ObservedUpstream(harness.upstream, passes),
        clock=Observed(harness.clock, "clock", passes),
        signer=Observed(gateway.signer, "signer", passes),
        sandboxes=ObservedSandboxes(harness.sandboxes, passes),
    )


def at(name: str, act: Callable[[], object]) -> Pass:
    """Do something at every point of this name."""

    async def passes(point: str) -> None:
        if point == name:
            act()

    return passes


def failing(
    name: str,
    error: Callable[[], Exception],
    times: int = 1_000,
    seen: list[str] | None = None,
) -> Pass:
    """Raise at the first so many points of this name; `seen` gets every point's name."""
    left = [times]
    points = [] if seen is None else seen

    async def passes(point: str) -> None:
        points.append(point)
        if point == name and left[0] > 0:
            left[0] -= 1
            raise error()

    return passes


def sweeps_at(name: str, harness: GatewayHarness) -> Pass:
    """Let another process sweep, long after every hold's time, at every point of this name."""

    async def passes(point: str) -> None:
        if point == name:
            await harness.swept()

    return passes
