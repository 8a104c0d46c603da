"""What a request is answered with instead: the error's envelope, and the receipt that names it."""

from collections.abc import Mapping

import orjson

from phigate.core.errors import Overloaded, PhigateError
from phigate.core.response import ResponseWriter
from phigate.formats.caller_format import CallerFormat
from phigate.pipeline.charge.context import RequestContext, log_end
from phigate.pipeline.charge.finalize import issue_receipt, receipt_headers
from phigate.pipeline.charge.hold import Hold, hold_refusal
from phigate.pipeline.charge.receipt import Outcome


async def refuse(
    error: PhigateError,
    context: RequestContext | None,
    hold: Hold | None,
    caller_format: CallerFormat,
    out: ResponseWriter,
) -> None:
    """Answer with an error; with a receipt when the key is known."""
    named: Mapping[str, str] = {}
    body = _envelope(error, context, caller_format)
    if context is not None:
        try:
            named = await _write_receipt(context, hold, error, body)
        except PhigateError as worse:
            error, body = worse, _envelope(worse, context, caller_format)
            named = receipt_headers(hold)
    headers = {
        **error.headers,
        **named,
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    if context is not None:
        log_end(context, "refused", None, status=error.status, code=error.code)
        headers |= {
            "x-request-id": context.id,
            "x-phi-attempts": str(context.meter.rows_sent),
        }
    await out.start(error.status, headers)
    await out.write(body, last=True)


async def _write_receipt(
    context: RequestContext, hold: Hold | None, error: PhigateError, body: bytes
) -> Mapping[str, str]:
    """The receipt of a refusal or failure, which is answered with `body`; the headers that name it.
    Only turns that were answered before it cost something."""
    if hold is not None and (hold.is_receipted or hold.state == "writing"):
        return receipt_headers(hold)
    try:
        hold = hold or await hold_refusal(context)
        if hold is None:
            return {}
        response = context.new_digest()  # an answer that was withheld is not what is sent
        response.update(body)
        outcome = Outcome(error.code, "refused", context.meter.last_row)
        await issue_receipt(hold, outcome, response)
    except Overloaded:
        # The refusal stands; that it has no receipt is the operator's to see.
        context.gateway.event_log.record("refusal_without_receipt", code=error.code)
        return receipt_headers(hold)
    await hold.settle()
    return receipt_headers(hold)


def _envelope(
    error: PhigateError, context: RequestContext | None, caller_format: CallerFormat
) -> bytes:
    """The error's body. It may quote an upstream, which a math agent's caller may show as well."""
    envelope = caller_format.envelope(error)
    if (
        context is not None
        and context.plan is not None
        and context.plan.requirements.task == "math"
    ):
        answer_cleaner = context.gateway.answer_cleaner
        if answer_cleaner is not None:
            answer_cleaner.clean_error(envelope)
    return orjson.dumps(envelope)
