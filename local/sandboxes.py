"""The math agent's sandboxes on this machine: a few warm servers in bubblewrap, each used once."""

import hashlib
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.core.sandbox.slots import SlotLimits
from phigate.effects.sandbox.pool import LocalSandboxes
from phigate.effects.sandbox.server import bwrap_launch
from phigate.effects.sandbox.slots import DynamoSlots, LimitedSandboxes
from phigate.effects.store.dynamodb import Dynamo

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".phigate-tools" / "sandbox"
FOLDER = ROOT / "sandbox_fargate"


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """What the gateway opens, and the pool behind it."""

    limited: LimitedSandboxes
    pool: LocalSandboxes

    async def close(self) -> None:
        """End every sandbox, and free its slot."""
        await self.pool.close()
        await self.limited.wait_idle()


def sandboxes(dynamo: Dynamo, clock: Clock, event_log: EventLog, *, warm: int) -> Sandboxes:
    """The sandboxes of one stack, `warm` of them waiting. Needs a running event loop."""
    pool = LocalSandboxes(
        launch=bwrap_launch(python=sys.executable, root=ROOT, venv=VENV),
        secret=secrets.token_bytes(32),
        clock=clock,
        event_log=event_log,
        image=image(),
        size=warm,
    )
    slots = DynamoSlots(dynamo, clock, SlotLimits())
    return Sandboxes(LimitedSandboxes(inner=pool, slots=slots), pool)


def image() -> str:
    """What runs in a sandbox, by the hash of everything that it is made of."""
    running = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            running.update(str(path.relative_to(FOLDER)).encode() + b"\0")
            running.update(hashlib.sha256(path.read_bytes()).digest())
    return f"local@sha256:{running.hexdigest()}"


def described(warm: int) -> str:
    """The banner's line: that programs can be run, or what is missing."""
    if shutil.which("bwrap") is None:
        return "no sandbox for math: bubblewrap is missing (make setup-sandbox)"
    if not (VENV / "bin" / "python").exists():
        return "no sandbox for math: its libraries are missing (make setup-sandbox)"
    languages = "Python and R" if shutil.which("Rscript") else "Python (R is not installed)"
    return f"{languages}, {warm} kept warm" if warm else f"{languages}, started when asked for"
