"""The turns of one request round the gateway's own tools: one hold, raised before each further
turn; what follows after a turn is decided by `core.tool_loop`.
"""

from dataclasses import replace

from phigate.closing import Ticket
from phigate.core.tool_loop import Counts, followed, run_datetime, split, without_tools
from phigate.core.types import Json, Row
from phigate.order import Order, next_order


class Loop:
    """State of one request's turns. A request without server tools has exactly one."""

    def __init__(self, ticket: Ticket, order: Order) -> None:
        self._ticket = ticket
        self._order = order
        self._counts = Counts(calls_max=order.body.get("max_tool_calls"))
        self._is_last = False

    @property
    def has_tools(self) -> bool:
        """Whether the gateway's tools are offered at all."""
        return self._order.server is not None

    def usage(self) -> Json | None:
        """The `usage` of the whole answer, summed over turns; None where the upstream's stands."""
        charge = self._ticket.charge
        if not self.has_tools or charge is None:
            return None
        used = charge.usage
        return {
            "prompt_tokens": used.tokens_in,
            "completion_tokens": used.tokens_out,
            "total_tokens": used.tokens_in + used.tokens_out,
            "server_tool_use": {"datetime_requests": self._counts.datetime_requests},
        }

    async def after(self, message: Json, row: Row) -> Order | None:
        """The order of the next turn, or None when `message` is the answer.

        The gateway's calls are taken out of an answer. Raises ServerToolLimit, ServerToolError.
        """
        order = self._order
        if order.server is None:
            return None
        ours, theirs = split(message, order.server)
        if not ours:
            return None
        if theirs or self._is_last:
            message["tool_calls"] = theirs
            return None
        self._counts.count(len(ours))
        gateway = self._ticket.gateway
        now_s = gateway.clock.now_s()
        results = [(call, run_datetime(call, order.server, gateway.zones, now_s)) for call in ours]
        following = next_order(order, followed(order.body, message, results), row)
        if not await self._ticket.raise_for(following):
            # Credit does not cover a turn that may call again: one last turn without tools.
            self._is_last = True
            following = replace(following, body=without_tools(following.body))
        self._order = following
        return following
