"""One request: authenticate → read → route → hold → send → receipt → answer → settle, in order.
Read this first.

`serve` is the story; the stages stand in this order: `authenticate`, `plan`, `charge`, `call`,
`tools`, `answer`. Everything that does I/O comes in through the Gateway; how the caller's format is
read and written comes in as a CallerFormat.
"""

from phigate.core.errors import InternalError, PhigateError
from phigate.core.limits import KEY_CACHE_S
from phigate.core.response import ResponseWriter
from phigate.formats.caller_format import CallerFormat
from phigate.pipeline.answer.answer_writer import AnswerParts
from phigate.pipeline.answer.loop import answer_request
from phigate.pipeline.answer.refusal import refuse
from phigate.pipeline.authenticate import authenticate
from phigate.pipeline.call.row_health import sync_shared
from phigate.pipeline.call.upstream_signature import keep_upstream_signature
from phigate.pipeline.charge.context import RequestContext, begin_request
from phigate.pipeline.charge.finalize import finalizing, receipt_headers
from phigate.pipeline.charge.hold import Hold, hold_plan
from phigate.pipeline.charge.receipt import ensure_signing_key
from phigate.pipeline.gateway import Gateway
from phigate.pipeline.inbound_request import InboundRequest
from phigate.pipeline.plan import read_plan, read_routing_headers
from phigate.pipeline.refusals import refused
from phigate.pipeline.tools.loop import ToolLoop


async def serve(
    gateway: Gateway, caller_format: CallerFormat, request: InboundRequest, out: ResponseWriter
) -> None:
    """Answer one request on `out`. Raises InternalError for a bug, and nothing else."""
    context: RequestContext | None = None
    hold: Hold | None = None
    tools: ToolLoop | None = None
    try:
        try:
            # A disabled key is found by the hold, in its own write; a refusal holds too.
            principal = await authenticate(gateway, request.headers, key_age_max_s=KEY_CACHE_S)
            await request.body.receive()
            context = begin_request(gateway, request, principal)
            routing = read_routing_headers(request, principal.policy, gateway.stack)
            context = context.with_routing(routing)
            plan = await read_plan(gateway, caller_format, request, principal.policy, routing)
            context = context.with_plan(plan)
            sync_shared(gateway, plan.view)
            if plan.route.code is not None:
                raise refused(plan.route.code, plan.requirements)
            await ensure_signing_key(context, plan)
            hold = await hold_plan(context, plan)
            parts = AnswerParts(hold, plan, out, caller_format, context.new_digest())
            async with finalizing(hold, parts.response):
                tools = ToolLoop(hold, plan, out)
                await answer_request(parts, tools)
        except PhigateError as error:
            await refuse(error, context, hold, caller_format, out)
        await _clean_up(gateway, tools, hold)
    except Exception as bug:
        # Its text may quote the request: from here on its class alone is named.
        gateway.event_log.record("bug", kind=type(bug).__name__)
        message = "An error of the gateway's own; it was counted."
        raise InternalError(message, headers=receipt_headers(hold)) from None


async def _clean_up(gateway: Gateway, tools: ToolLoop | None, hold: Hold | None) -> None:
    """What no answer waits for: a sandbox's end, a new key, a confidential upstream's signature."""
    if tools is not None:
        await tools.wait_for_cleanup()
    await gateway.signer.renew()
    await keep_upstream_signature(hold)
