"""A request is cancelled, killed or meets a bug at every single await on an effect, one after
another: at every moment the account is whole, and after the sweeper every micro is in its place.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from phigate.core.errors import InternalError, SandboxError, UpstreamFailed
from phigate.core.sandbox.port import RunResult
from phigate.core.types import Json, Task
from phigate.effects.store.ledger import DynamoLedger
from phigate.formats.chat import CHAT
from phigate.pipeline.serve import serve
from tests.builders import make_body
from tests.fakes import RecordingResponseWriter, SandboxScript, Script
from tests.pipeline.await_points import Observed, Pass, watch
from tests.pipeline.gateway_harness import (
    DONE,
    GOOD_STREAM,
    PLAIN,
    STREAM,
    USAGE_CHUNK,
    GatewayHarness,
    answers,
    call,
    chunk,
    fails,
    streams,
)


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Scene:
    """A call, what the upstreams do, and what it costs when it is served to its end."""

    body: Json | bytes
    scripts: tuple[Script, ...]
    micros: int
    most: int = 20  # where it is interrupted and charged by estimate
    plays: tuple[SandboxScript, ...] = ()  # what programs do: a scene with some is a math call

    @property
    def task(self) -> Task:
        """Which endpoint is called."""
        return "math" if self.plays else "chat"


TOLD: Json = make_body(model="acme-one", max_tokens=20, logprobs=True)
LOOPS: Json = make_body(model="acme-one", tools=[{"type": "gateway:datetime"}], max_tokens=100)
CALL = {"id": "1", "type": "function", "function": {"name": "gateway_datetime", "arguments": "{}"}}
PROGRAM = answers(
    choices=[
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "python", "arguments": '{"code": "6 * 7"}'},
                    }
                ],
            },
        }
    ]
)
RAN = RunResult("python", 0, "", "", "42", (), (), 12)
CALLED = answers(choices=[{"index": 0, "message": {"role": "assistant", "tool_calls": [CALL]}}])
CALLED_STREAM = streams(
    chunk(choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}]}}]),
    USAGE_CHUNK,
    DONE,
)
SCENES = {
    "json": Scene(PLAIN, (answers(),), 5),
    "stream": Scene(STREAM, (GOOD_STREAM,), 5),
    "json after a failover": Scene(PLAIN, (fails(500), answers()), 20),
    "stream after a failover": Scene(STREAM, (fails(500), GOOD_STREAM), 20),
    "json, the same row again": Scene(
        {**PLAIN, "provider": {"only": ["acme"]}}, (fails(500), answers()), 5
    ),
    "stream that breaks": Scene(STREAM, (streams(chunk(), 20.0, UpstreamFailed("cut")),), 2),
    "stream that is silent for a while": Scene(
        STREAM, (streams(chunk(), 40.0, USAGE_CHUNK, DONE),), 5
    ),
    "json, assembled": Scene(TOLD, (GOOD_STREAM,), 5),
    "json, assembled after a break": Scene(
        TOLD, (streams(chunk(), UpstreamFailed("cut")), GOOD_STREAM), 20
    ),
    "json, assembled until the deadline": Scene(
        TOLD, (streams(chunk(), *(50.0, chunk("")) * 6),), 2, most=5
    ),
    "everybody fails": Scene(PLAIN, (fails(500), fails(503), fails(429)), 0),
    "the provider refuses": Scene(PLAIN, (fails(400),), 0),
    "json, two turns": Scene(LOOPS, (CALLED, answers()), 10, most=60),
    "stream, two turns": Scene(
        {**LOOPS, "stream": True}, (CALLED_STREAM, GOOD_STREAM), 10, most=60
    ),
    "math, two programs": Scene(
        PLAIN,
        (PROGRAM, PROGRAM, answers()),
        15,
        most=120,
        plays=(RAN, RAN),
    ),
    "math, a sandbox that fails": Scene(
        PLAIN, (PROGRAM, PROGRAM), 10, most=120, plays=(RAN, SandboxError("it is gone"))
    ),
    "refused": Scene(b"{", (), 0),
    "no credit": Scene(make_body(max_tokens=8_000, model="acme-one"), (), 0),
}


class Interruption:
    """Does something at the n-th point that one request passes."""

    def __init__(
        self, harness: GatewayHarness, act: Callable[["Interruption"], None], nth: int
    ) -> None:
        self.harness = harness
        self.points: list[str] = []
        self.task: asyncio.Task[None] | None = None
        self.dead = False
        self._act = act
        self._nth = nth

    async def passes(self, point: str) -> None:
        """One point: the account must be whole there."""
        self.harness.account()
        if self.dead:
            raise Killed
        self.points.append(point)
        if len(self.points) == self._nth:
            self._act(self)
        await asyncio.sleep(0)

    def cancel(self) -> None:
        """The task that serves is cancelled, wherever it is."""
        assert self.task is not None
        self.task.cancel()


def cancelled(interruption: Interruption) -> None:
    interruption.cancel()


def cancelled_twice(interruption: Interruption) -> None:
    """Again a turn of the loop later: while the hold is being settled."""
    loop = asyncio.get_running_loop()
    interruption.cancel()
    loop.call_soon(loop.call_soon, interruption.cancel)


def killed(interruption: Interruption) -> None:
    interruption.dead = True
    raise Killed


def a_bug(interruption: Interruption) -> None:
    raise RuntimeError("a bug")


MODES: dict[str, Callable[[Interruption], None]] = {
    "cancelled": cancelled,
    "cancelled twice": cancelled_twice,
    "killed": killed,
    "a bug": a_bug,
}


def play(
    scene: Scene, act: Callable[[Interruption], None], nth: int
) -> tuple[GatewayHarness, Interruption]:
    """One request of a scene on a fresh account, interrupted at its n-th point."""
    credit = 100 if scene is SCENES["no credit"] else 1_000_000
    harness = GatewayHarness(*scene.scripts, credit_micros=credit, plays=scene.plays)
    interruption = Interruption(harness, act, nth)
    asyncio.run(_serve(harness, scene, interruption))
    return harness, interruption


async def _serve(harness: GatewayHarness, scene: Scene, interruption: Interruption) -> None:
    passes: Pass = interruption.passes
    watch(harness, passes)
    dynamo = Observed(harness.ledger.dynamo, "dynamo", passes)
    harness.use(ledger=Observed(DynamoLedger(dynamo, harness.clock), "ledger", passes))
    harness.out = RecordingResponseWriter(harness.clock)
    out = Observed(harness.out, "out", passes)
    serving = serve(harness.gateway, CHAT, call(scene.body, task=scene.task), out)
    interruption.task = asyncio.create_task(serving)
    with contextlib.suppress(asyncio.CancelledError, Killed, InternalError):
        await interruption.task
    await harness.gateway.wait_idle()


@pytest.mark.parametrize("act", MODES.values(), ids=MODES)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_interrupted_at_any_await_no_micro_is_lost_or_charged_twice(
    scene: Scene, act: Callable[[Interruption], None]
) -> None:
    whole, counted = play(scene, act, nth=0)
    assert whole.account()["spent"] == scene.micros
    assert len(counted.points) >= 10
    for nth in range(1, len(counted.points) + 1):
        harness, interruption = play(scene, act, nth)
        where = f"{nth}: {counted.points[nth - 1]}"
        assert interruption.points[:nth] == counted.points[:nth], where
        harness.account()
        served = harness.out.last_at is not None
        harness.sweep()
        account = harness.account()
        receipts = harness.receipts()
        assert account["held"] == 0, where
        assert account["spent"] == sum(cost for _, cost in receipts.values()), where
        assert len(receipts) <= 1, where
        assert account["spent"] <= max(scene.micros, scene.most), where
        if served:
            assert account["spent"] == scene.micros, where
        assert {exchange.closed for exchange in harness.upstream.exchanges} <= {1}, where
        if not interruption.dead and counted.points[nth - 1] != "before sandbox.close":
            # A sandbox whose process was killed ends by itself, and its own `close` never raises.
            assert harness.sandboxes.closed == len(harness.sandboxes.opened), where


@pytest.mark.parametrize("act", [cancelled, cancelled_twice], ids=["once", "twice"])
@pytest.mark.parametrize(
    "name",
    [
        "json",
        "json, assembled",
        "stream",
        "stream that breaks",
        "stream that is silent for a while",
    ],
)
def test_a_cancelled_request_is_never_free_once_an_upstream_was_called(
    name: str, act: Callable[[Interruption], None]
) -> None:
    scene = SCENES[name]
    _, counted = play(scene, act, nth=0)
    first = counted.points.index("before exchange.headers") + 1
    for nth in range(first, len(counted.points) + 1):
        harness, _ = play(scene, act, nth)
        where = f"{nth}: {counted.points[nth - 1]}"
        # Closed by the request itself, not by the sweeper.
        assert harness.account()["held"] == 0, where
        assert harness.account()["spent"] > 0, where


def test_a_cancelled_stream_is_charged_for_what_was_written() -> None:
    words = [chunk("a" * 350) for _ in range(4)]
    scene = Scene(STREAM, (streams(*words, 10.0, USAGE_CHUNK, DONE),), 0)
    _, counted = play(scene, cancelled, nth=0)
    writes = [i for i, name in enumerate(counted.points, 1) if name == "after out.write"]
    spent = [play(scene, cancelled, nth)[0].account()["spent"] for nth in writes[:4]]
    # 6 tokens in, and 100 tokens for each piece that has been passed on.
    assert spent == [-(-(6 * 240_000 + 100 * n * 480_000) // 1_000_000) for n in (1, 2, 3, 4)]
