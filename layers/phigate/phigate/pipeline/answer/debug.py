"""What an answer tells besides itself, when its request asks: `meta`, `debug`, `trace`."""

from collections.abc import Sequence

from phigate.core.request.debug import DebugOptions, WireBodies
from phigate.core.routing.route import Route
from phigate.core.types import Attempt, Json


def debug_members(
    asks: DebugOptions,
    route: Route,
    attempts: Sequence[Attempt],
    dropped: Sequence[str],
    exchanged: WireBodies | None,
    *,
    sandbox: Json | None = None,
) -> Json:
    """The members to add to the answer; `sandbox` is what the receipt says of the programs."""
    members: Json = {}
    listed = [
        {"row": a.row, "region": a.region, "outcome": a.outcome, "ms": a.ms} for a in attempts
    ]
    if asks.meta:
        rejected = [{"row": r.row, "rule": r.rule} for r in route.rejections]
        members["meta"] = {
            "routing": {
                "considered": len(route.candidates) + len(rejected),
                "candidates": [row.id for row in route.candidates],
                "rejected": rejected,
                "attempts": listed,
            },
            "dropped_parameters": list(dropped),
        }
        if sandbox is not None:
            members["meta"]["sandbox"] = sandbox
    if asks.upstream_request and exchanged is not None:
        members["upstream_request"] = exchanged.sent
    if asks.upstream_response and exchanged is not None:
        members["upstream_response"] = exchanged.received
    if asks.trace:
        members["trace"] = listed
    return members
