"""What `serve` would decide, by the same code; nothing is sent or charged."""

from phigate.core.types import Json, Principal
from phigate.formats.chat import ROUTE
from phigate.pipeline.authenticate import authenticate
from phigate.pipeline.gateway import Gateway
from phigate.pipeline.inbound_request import InboundRequest
from phigate.pipeline.plan import RequestPlan, decision, read_plan, read_routing_headers
from phigate.pipeline.refusals import count_refused


async def dry_run(gateway: Gateway, request: InboundRequest) -> Json:
    """POST /v1/route. It counts against the key's rate, before its body is read."""
    principal = await authenticate(gateway, request.headers)
    now_s = int(gateway.clock.now_s())
    policy = principal.policy
    refusal = await gateway.ledger.count_call(
        account=principal.account, key_id=principal.key_id, now_s=now_s, rpm=policy.rpm
    )
    if refusal is not None:
        raise count_refused(refusal, policy, now_s)
    await request.body.receive()
    return decision(await plan_only(gateway, request, principal))


async def plan_only(gateway: Gateway, request: InboundRequest, principal: Principal) -> RequestPlan:
    """A call that need not have messages, read and routed as `serve` does, and no more."""
    routing = read_routing_headers(request, principal.policy, gateway.stack)
    return await read_plan(gateway, ROUTE, request, principal.policy, routing)
