"""The turns of one request round the gateway's own tools: one hold, raised before each further
turn; what follows after a turn is decided by `core.tools.tool_loop`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from phigate.core.errors import InsufficientCredit
from phigate.core.limits import MATH_TIMEOUT_S
from phigate.core.response import ResponseWriter
from phigate.core.tools.tool_loop import (
    Counts,
    ServerTools,
    cut,
    followed,
    run_datetime,
    split,
    without_tools,
)
from phigate.core.types import Json, Row
from phigate.pipeline.charge.hold import Hold
from phigate.pipeline.gateway import AnswerCleaner
from phigate.pipeline.plan import RequestPlan, fit_to_credit, plan_next_turn
from phigate.pipeline.tools.code_execution import CodeSession, no_sandbox

_JSON_FORMATS = ("json_object", "json_schema")
# How much of each result the last turn is told when credit is short; the first is all of it.
_RESULT_BYTES = (1 << 30, 4_096, 512, 0)


class ToolLoop:
    """State of one request's turns. A request without server tools has exactly one."""

    def __init__(self, hold: Hold, plan: RequestPlan, out: ResponseWriter) -> None:
        context = hold.context
        self._hold = hold
        self._context = context
        self._plan = plan
        self._counts: Counts | None = None
        self._session: CodeSession | None = None
        self._answer_cleaner: AnswerCleaner | None = None
        self._until_s = context.started_s + MATH_TIMEOUT_S
        self._is_last = False
        self.figures = 0  # that the answer shows
        if plan.requirements.task == "math":
            answer_cleaner = self._answer_cleaner = context.gateway.answer_cleaner
            if answer_cleaner is None:
                raise no_sandbox(context.gateway)
            if plan.server is not None and plan.server.programs:
                region = plan.requirements.region
                self._session = CodeSession(context, answer_cleaner, region, self._until_s, out)
        if plan.server is not None:
            self._counts = Counts(plan.server, calls_max=plan.body.get("max_tool_calls"))

    @property
    def has_tools(self) -> bool:
        """Whether the gateway's tools are offered at all."""
        return self._plan.server is not None

    def usage(self) -> Json | None:
        """The `usage` of the whole answer, summed over turns; None where the upstream's stands."""
        charge = self._context.meter.charge
        if self._counts is None or charge is None:
            return None
        used = charge.usage
        return {
            "prompt_tokens": used.tokens_in,
            "completion_tokens": used.tokens_out,
            "total_tokens": used.tokens_in + used.tokens_out,
            "server_tool_use": self._counts.used(self._context.meter.runs),
        }

    async def next_plan(self, message: Json, row: Row) -> RequestPlan | None:
        """The plan of the next turn, or None when `message` is the answer.

        The gateway's calls are taken out of an answer. Raises ServerToolLimit, ServerToolError,
        SandboxError, RateLimited.
        """
        plan, counts = self._plan, self._counts
        if plan.server is None or counts is None:
            return None
        ours, theirs = split(message, plan.server)
        if not ours:
            return None
        if theirs or self._is_last:
            message["tool_calls"] = theirs
            return None
        counts.count(ours)
        results = [(call, await self._result(call, plan.server)) for call in ours]
        following = plan_next_turn(plan, followed(plan.body, message, results), row)
        is_late = self._context.gateway.clock.now_s() >= self._until_s
        if not await self._hold.extend(following.hold_micros):
            self._is_last = True
            following = self._fitting_plan(plan, message, results, row)
        elif counts.is_over or (self._session is not None and is_late):
            # Neither turns nor time are left for a turn that may call again.
            self._is_last = True
            following = replace(following, body=without_tools(following.body))
        self._plan = following
        return following

    def _fitting_plan(
        self, plan: RequestPlan, message: Json, results: Sequence[tuple[Json, str]], row: Row
    ) -> RequestPlan:
        """The last turn that what is held still covers: without tools, and where it must be with
        less of the results and fewer tokens. Raises InsufficientCredit."""
        room_micros = self._hold.unused_micros
        for result_bytes in _RESULT_BYTES:
            kept = [(call, cut(result, result_bytes)) for call, result in results]
            body = without_tools(followed(plan.body, message, kept))
            last = fit_to_credit(plan_next_turn(plan, body, row), room_micros)
            if last is not None:
                return last
        raise InsufficientCredit(
            "The credit that is left does not cover another turn of the model. The turns until "
            "then are charged.",
            extra={"available_micro": room_micros},
        )

    def close(self) -> None:
        """Begin to end what stands for the request alone."""
        if self._session is not None:
            self._session.close()

    async def wait_for_cleanup(self) -> None:
        """Wait until nothing that stood for the request alone is left."""
        if self._session is not None:
            await self._session.wait_for_cleanup()

    def finish(self, body: Json) -> tuple[str, ...]:
        """The answer's end: a choice whose calls were all the gateway's has stopped. Returns what
        could not be honoured."""
        plan = self._plan
        first = body["choices"][0]
        message = first["message"]
        if "tool_calls" in message and not message["tool_calls"]:
            del message["tool_calls"]
            first["finish_reason"] = "stop"
        if self._answer_cleaner is None:
            return ()
        body["choices"] = [first]  # one was asked for
        figures = () if self._session is None else self._session.figures
        if self._wants_json:
            # Figures would end the JSON that was asked for.
            return (*plan.dropped, "figures") if figures else plan.dropped
        self.figures = len(figures)
        return plan.dropped

    async def clean_answer(self, body: Json) -> None:
        """The last step before a math answer's bytes: everything in it leaves clean, its figures
        with it. Cleaning takes a moment for which nobody else waits."""
        if self._answer_cleaner is not None:
            figures = () if self._session is None else self._session.figures
            shown = None if self._wants_json else figures
            await asyncio.to_thread(self._answer_cleaner.clean_answer, body, shown)

    @property
    def _wants_json(self) -> bool:
        response_format = self._plan.body.get("response_format") or {}
        return response_format.get("type") in _JSON_FORMATS

    async def _result(self, call: Json, tools: ServerTools) -> str:
        if self._session is not None and call["function"]["name"] in tools.programs:
            return await self._session.run(call)
        gateway = self._context.gateway
        return run_datetime(call, tools, gateway.zones, gateway.clock.now_s())
