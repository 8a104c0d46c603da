"""After an answer of a confidential row: the upstream's own signature is fetched and kept beside
the receipt.

Law: off the path. The answer has gone and is settled; whatever fails here is a line of the log.
"""

from urllib.parse import quote, urlencode

from phigate.core.errors import GatewayError, UpstreamFailed
from phigate.core.limits import (
    UPSTREAM_SIGNATURE_BYTES_MAX,
    UPSTREAM_SIGNATURE_S,
    UPSTREAM_SIGNATURE_TRIES_MAX,
)
from phigate.core.receipts.upstream_signature import UpstreamSignature, read_upstream_signature
from phigate.core.upstream import UpstreamFetch
from phigate.pipeline.charge.context import RequestContext
from phigate.pipeline.charge.hold import Hold
from phigate.pipeline.gateway import Gateway

_PAUSE_S = 0.5  # a proxy signs when its answer has ended, which is when ours has


async def keep_upstream_signature(hold: Hold | None) -> None:
    """Fetch and keep what the upstream has signed of this call's answer, if its receipt stands and
    its exchange was hashed."""
    if hold is None or not hold.is_receipted:
        return
    context, gateway = hold.context, hold.context.gateway
    signs = context.meter.signed_exchange
    if signs is None:
        return
    exchange, upstream_id = signs
    row = exchange.row
    path = f"/signature/{quote(upstream_id, safe='')}?" + urlencode(
        {"model": row.model, "signing_algo": "ecdsa"}
    )
    outcome = "no_time"
    until_s = gateway.clock.now_s() + UPSTREAM_SIGNATURE_S
    for tried in range(UPSTREAM_SIGNATURE_TRIES_MAX):
        pause_s = _PAUSE_S if tried else 0.0
        left_s = until_s - gateway.clock.now_s() - pause_s
        if left_s <= 0:
            break
        if tried:
            await gateway.clock.sleep(pause_s)
        request = UpstreamFetch(row, exchange.region, path, left_s, UPSTREAM_SIGNATURE_BYTES_MAX)
        found = await _fetch(gateway, request)
        if isinstance(found, UpstreamSignature):
            outcome = await _keep(context, found)
            break
        outcome = found
    if outcome != "ok":
        gateway.event_log.record(
            "upstream_signature_not_kept", id=context.id, row=row.id, outcome=outcome
        )


async def _fetch(gateway: Gateway, request: UpstreamFetch) -> UpstreamSignature | str:
    """The signature, or the outcome of a try that brought none."""
    try:
        fetched = await gateway.upstream.fetch(request)
    except UpstreamFailed as failed:
        return failed.outcome
    if fetched.status != 200:
        return f"http_{fetched.status}"
    signature = read_upstream_signature(fetched.body)
    if signature is None:
        return "malformed"
    return signature if signature.names(request.row.model) else "another_model"


async def _keep(context: RequestContext, signature: UpstreamSignature) -> str:
    try:
        receipts = context.gateway.receipts
        await receipts.put_upstream(context.principal.account, context.id, signature)
    except GatewayError as exc:
        return type(exc).__name__
    return "ok"
