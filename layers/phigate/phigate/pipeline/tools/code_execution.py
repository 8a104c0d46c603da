"""The programs of one request: one sandbox, which nobody used before and nobody uses after.

Law 1: it is opened when the first program is to be run (with `warm_start` when the request comes),
and closed whatever becomes of the request.
Law 2: a program that fails is a result that the model is told; a sandbox that fails ends the call.
Law 3: no figure that is not clean leaves here.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TypeVar

from phigate.core.errors import PhigateError, SandboxError, SvgRefused
from phigate.core.limits import (
    FIGURES_MAX,
    FIGURES_SEEN_MAX,
    GONE_LOOK_S,
    PROGRAM_CODE_BYTES_MAX,
    PROGRAM_TIMEOUT_S,
    PROGRAMS_MAX,
)
from phigate.core.response import CallerGone, ResponseWriter
from phigate.core.sandbox.port import RunResult, Sandbox
from phigate.core.sandbox.runs import Run
from phigate.core.tools.programs import LANGUAGES, code_of, figure_label, format_result, not_run
from phigate.core.types import Json
from phigate.pipeline.charge.context import RequestContext
from phigate.pipeline.gateway import AnswerCleaner, Gateway

T = TypeVar("T")


class CodeSession:
    """State of one request's programs. `until_s` is when the last of them has to end."""

    def __init__(
        self,
        context: RequestContext,
        answer_cleaner: AnswerCleaner,
        region: str,
        until_s: float,
        out: ResponseWriter,
    ) -> None:
        gateway = context.gateway
        if gateway.sandboxes is None:
            raise no_sandbox(gateway)
        self._context = context
        self._meter = context.meter
        self._clean = answer_cleaner.clean
        self._sandboxes = gateway.sandboxes
        self._region = region
        self._until_s = until_s
        self._out = out
        self._seen = 0  # figures, those that were refused too
        self._opening: asyncio.Task[Sandbox] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._figures: list[str] = []
        if gateway.stack.warm_start:
            self._opening = asyncio.ensure_future(self._open())

    @property
    def figures(self) -> Sequence[str]:
        """The figures that were kept, clean and in order."""
        return self._figures

    async def run(self, call: Json) -> str:
        """Run what a call asks for; what the model is told. Raises SandboxError, RateLimited,
        CallerGone."""
        code = code_of(call)
        left_s = self._until_s - self._context.gateway.clock.now_s()
        if code is None:
            return not_run('The arguments must be {"code": "…"} and nothing else.')
        if len(code.encode("utf-8", "replace")) > PROGRAM_CODE_BYTES_MAX:
            return not_run(f"A program has at most {PROGRAM_CODE_BYTES_MAX} bytes.")
        if left_s <= 0 or len(self._meter.runs) >= PROGRAMS_MAX:
            return not_run("There is no time left to run programs: answer with what you have.")
        sandbox = await self._while_here(self._opened())
        language = LANGUAGES[call["function"]["name"]]
        running = sandbox.run(language, code, min(PROGRAM_TIMEOUT_S, left_s))
        result = await self._while_here(running)
        self._record_run(Run(language, result.exit_code, result.wall_ms))
        return format_result(result, *await self._keep_figures(result))

    def close(self) -> None:
        """Begin to end the sandbox. It takes a moment for which no answer waits; the request does,
        once its answer has gone."""
        if self._opening is not None:
            opening, self._opening = self._opening, None
            self._closing = self._context.gateway.spawn(_close(opening))

    async def wait_for_cleanup(self) -> None:
        """Wait until nothing is left of the sandbox."""
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def _record_run(self, run: Run) -> None:
        """The operator's line names a program's language, exit and time."""
        self._meter.record_run(run)
        context = self._context
        context.gateway.event_log.record(
            "program", id=context.id, language=run.language, exit=run.exit_code, ms=run.wall_ms
        )

    async def _while_here(self, work: Coroutine[None, None, T]) -> T:
        """The work's result, while there is somebody to tell it. Raises CallerGone."""
        doing = asyncio.ensure_future(work)
        try:
            while self._out.gone_at_s is None:
                done, _ = await asyncio.wait((doing,), timeout=GONE_LOOK_S)
                if done:
                    return doing.result()
            raise CallerGone
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait((doing,))

    async def _opened(self) -> Sandbox:
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        # Not shielded: whoever is cancelled here cancels the opening, which leaves nothing behind.
        sandbox = await self._opening
        self._meter.image = sandbox.image
        return sandbox

    async def _open(self) -> Sandbox:
        return await self._sandboxes.open(
            account=self._context.principal.account,
            request_id=self._context.id,
            region=self._region,
            until_s=self._until_s,
        )

    async def _keep_figures(self, result: RunResult) -> tuple[list[str], list[str]]:
        """The names of a program's figures, and why the others were refused. Cleaning takes a
        moment for which nobody else waits."""
        names: list[str] = []
        refused: list[str] = []
        for figure in result.figures:
            self._seen += 1
            if len(self._figures) >= FIGURES_MAX or self._seen > FIGURES_SEEN_MAX:
                refused.append(f"An answer has at most {FIGURES_MAX} figures.")
                break
            try:
                self._figures.append(await asyncio.to_thread(self._clean, figure))
            except SvgRefused as exc:
                refused.append(str(exc))
                continue
            names.append(figure_label(len(self._figures)))
        return names, refused


def no_sandbox(gateway: Gateway) -> SandboxError:
    """Why this process runs no programs, before anything was sent."""
    return SandboxError(f"{gateway.no_sandbox} Nothing was sent to a provider.")


async def _close(opening: asyncio.Task[Sandbox]) -> None:
    """End a sandbox, or the opening of one that nobody needs any more."""
    opening.cancel()
    try:
        sandbox = await opening
    except (PhigateError, asyncio.CancelledError):
        return
    await sandbox.close()
