"""Where programs are run, as the pipeline sees it."""

from dataclasses import dataclass
from typing import Protocol

from phigate.core.sandbox.runs import Language


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one program did. A program that failed is a result: its exit code, the end of what it
    wrote, and the limits that it hit by name.

    `value` is the last expression's, as the language shows it; `figures` are SVG as drawn, which
    nobody has cleaned yet.
    """

    language: Language
    exit_code: int
    stdout: str
    stderr: str
    value: str | None
    figures: tuple[str, ...]
    limits: tuple[str, ...]
    wall_ms: int


class Sandbox(Protocol):
    """One sandbox, of one request and no other. `image` names what runs in it."""

    @property
    def image(self) -> str: ...

    async def run(self, language: Language, code: str, timeout_s: float) -> RunResult:
        """Run one program. Raises SandboxError when the sandbox itself fails."""
        ...

    async def close(self) -> None:
        """End it, and everything in it. Never raises; a second time does nothing."""
        ...


class Sandboxes(Protocol):
    """Where sandboxes come from: a pool on this machine, or Fargate tasks."""

    async def open(self, *, account: str, request_id: str, region: str, until_s: float) -> Sandbox:
        """A fresh sandbox in the region, which ends by itself soon after `until_s` whatever becomes
        of this process. Cancelled on the way it leaves nothing behind.

        Raises SandboxError where none can be had, RateLimited above the account's or the stack's
        number of sandboxes at once.
        """
        ...
