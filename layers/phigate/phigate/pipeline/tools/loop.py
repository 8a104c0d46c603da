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
from phigate.pipeline.charge.finalize import Ticket
from phigate.pipeline.gateway import Drawings
from phigate.pipeline.plan import RequestPlan, plan_next_turn, within
from phigate.pipeline.tools.code_execution import CodeSession, no_sandbox

_JSON_FORMATS = ("json_object", "json_schema")
# How much of each result the last turn is told when credit is short; the first is all of it.
_RESULT_BYTES = (1 << 30, 4_096, 512, 0)


class Loop:
    """State of one request's turns. A request without server tools has exactly one."""

    def __init__(self, ticket: Ticket, order: RequestPlan, out: ResponseWriter) -> None:
        self._ticket = ticket
        self._order = order
        self._counts: Counts | None = None
        self.programs: CodeSession | None = None
        self._drawings: Drawings | None = None
        self._until_s = ticket.started_s + MATH_TIMEOUT_S
        self._is_last = False
        if order.asked.task == "math":
            drawings = self._drawings = ticket.gateway.drawings
            if drawings is None:
                raise no_sandbox(ticket.gateway)
            if order.server is not None and order.server.programs:
                region = order.asked.region
                self.programs = CodeSession(ticket, drawings, region, self._until_s, out)
        if order.server is not None:
            self._counts = Counts(order.server, calls_max=order.body.get("max_tool_calls"))

    @property
    def has_tools(self) -> bool:
        """Whether the gateway's tools are offered at all."""
        return self._order.server is not None

    def usage(self) -> Json | None:
        """The `usage` of the whole answer, summed over turns; None where the upstream's stands."""
        charge = self._ticket.charge
        if self._counts is None or charge is None:
            return None
        used = charge.usage
        return {
            "prompt_tokens": used.tokens_in,
            "completion_tokens": used.tokens_out,
            "total_tokens": used.tokens_in + used.tokens_out,
            "server_tool_use": self._counts.used(self._ticket.runs),
        }

    async def after(self, message: Json, row: Row) -> RequestPlan | None:
        """The order of the next turn, or None when `message` is the answer.

        The gateway's calls are taken out of an answer. Raises ServerToolLimit, ServerToolError,
        SandboxError, RateLimited.
        """
        order, counts = self._order, self._counts
        if order.server is None or counts is None:
            return None
        ours, theirs = split(message, order.server)
        if not ours:
            return None
        if theirs or self._is_last:
            message["tool_calls"] = theirs
            return None
        counts.count(ours)
        results = [(call, await self._result(call, order.server)) for call in ours]
        following = plan_next_turn(order, followed(order.body, message, results), row)
        is_late = self._ticket.gateway.clock.now_s() >= self._until_s
        if not await self._ticket.raise_for(following):
            self._is_last = True
            following = self._covered(order, message, results, row)
        elif counts.is_over or (self.programs is not None and is_late):
            # Neither turns nor time are left for a turn that may call again.
            self._is_last = True
            following = replace(following, body=without_tools(following.body))
        self._order = self._ticket.order = following
        return following

    def _covered(
        self, order: RequestPlan, message: Json, results: Sequence[tuple[Json, str]], row: Row
    ) -> RequestPlan:
        """The last turn that what is held still covers: without tools, and where it must be with
        less of the results and fewer tokens. Raises InsufficientCredit."""
        room_micros = self._ticket.room_micros
        for result_bytes in _RESULT_BYTES:
            kept = [(call, cut(result, result_bytes)) for call, result in results]
            body = without_tools(followed(order.body, message, kept))
            last = within(plan_next_turn(order, body, row), room_micros)
            if last is not None:
                return last
        raise InsufficientCredit(
            "The credit that is left does not cover another turn of the model. The turns until "
            "then are charged.",
            extra={"available_micro": room_micros},
        )

    def close(self) -> None:
        """Begin to end what stands for the request alone."""
        if self.programs is not None:
            self.programs.close()

    def finish(self, body: Json) -> tuple[str, ...]:
        """The answer's end: a choice whose calls were all the gateway's has stopped. Returns what
        could not be honoured."""
        order = self._order
        first = body["choices"][0]
        message = first["message"]
        if "tool_calls" in message and not message["tool_calls"]:
            del message["tool_calls"]
            first["finish_reason"] = "stop"
        if self._drawings is None:
            return ()
        body["choices"] = [first]  # one was asked for
        figures = () if self.programs is None else self.programs.figures
        if self._wants_json:
            # Figures would end the JSON that was asked for.
            return (*order.dropped, "figures") if figures else order.dropped
        self._ticket.figures = len(figures)
        return order.dropped

    async def clean(self, body: Json) -> None:
        """The last step before a math answer's bytes: everything in it leaves clean, its figures
        with it. Cleaning takes a moment for which nobody else waits."""
        if self._drawings is not None:
            figures = () if self.programs is None else self.programs.figures
            shown = None if self._wants_json else figures
            await asyncio.to_thread(self._drawings.clean_answer, body, shown)

    @property
    def _wants_json(self) -> bool:
        asked = self._order.body.get("response_format") or {}
        return asked.get("type") in _JSON_FORMATS

    async def _result(self, call: Json, tools: ServerTools) -> str:
        if self.programs is not None and call["function"]["name"] in tools.programs:
            return await self.programs.result(call)
        gateway = self._ticket.gateway
        return run_datetime(call, tools, gateway.zones, gateway.clock.now_s())
