"""What goes to one row, and what its status means. Pure: the plan in, a request out."""

from collections.abc import Mapping

import orjson

from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import Adapter, WirePlan, WireRequest
from phigate.core.errors import InvalidRequest, NotSent, UpstreamFailed
from phigate.core.request.prompt_cache import cache_keys, keyed
from phigate.core.types import Json, Row
from phigate.core.upstream import Head, UpstreamRequest
from phigate.pipeline.plan import RequestPlan

# Another candidate may answer where this one could not (decision 81).
FAILOVER_STATUSES = frozenset({401, 402, 403, 404, 408, 409, 429})
KEYED_MEMBERS = {
    "user": "user",
    "user_id": "user",
    "safety_identifier": "safety_identifier",
}


class RowUnsuited(NotSent):
    """The row cannot do what this caller requires: no fault of its provider's."""


def upstream_request(
    plan: RequestPlan, row: Row, salt: bytes, *, stream: bool
) -> tuple[UpstreamRequest, WireRequest]:
    """One attempt's request in the row's dialect. Raises RowUnsuited, InvalidRequest."""
    adapter = ADAPTERS[row.dialect]
    requirements = plan.requirements
    wire_plan = WirePlan(
        stream=stream,
        tokens_out=row.tokens_out_default
        if requirements.tokens_out is None
        else requirements.tokens_out,
        keyed=_keyed(plan.body, row, salt),
    )
    try:
        wire = adapter.request(plan.body, row, row.places[requirements.region], wire_plan)
    except InvalidRequest:
        if row.id == plan.route.candidates[0].id:
            raise
        # What the caller's own choice could take is not the caller's fault at a fallback.
        raise RowUnsuited("unsuited") from None
    if wire.dropped and requirements.preferences.require_parameters:
        # What only the adapter can know; the gate has removed the rows that the table knows of.
        raise RowUnsuited("drops_parameters")
    try:
        body = orjson.dumps(wire.body)
    except TypeError as exc:
        # JSON has numbers that the providers' parsers have not.
        raise InvalidRequest(
            "The body holds an integer of more than 64 bits, which no provider reads."
        ) from exc
    headers = {**adapter.headers, **wire.headers}
    return UpstreamRequest(row, requirements.region, adapter.path, headers, body), wire


def check_status(head: Head, body: bytes, adapter: Adapter) -> None:
    """Raises UpstreamFailed for what another candidate may do better, InvalidRequest for a 400."""
    status = head.status
    if status == 200:
        return
    if status in FAILOVER_STATUSES or not 400 <= status < 500:
        raise UpstreamFailed(f"http_{status}")
    message, param = adapter.refusal(body)
    raise InvalidRequest(f"The provider refused the request: {message}", param=param)


def _keyed(body: Json, row: Row, salt: bytes) -> Mapping[str, str]:
    """One provider account serves all tenants: their names, and what parts their caches, go
    upstream under the account's HMAC."""
    names = {
        wire_name: keyed(body[name], salt)
        for name, wire_name in KEYED_MEMBERS.items()
        if body.get(name) is not None
    }
    return names | cache_keys(body, row, salt)
