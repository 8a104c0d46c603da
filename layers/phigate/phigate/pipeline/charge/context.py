"""What is known of one request of a known key. Frozen: each stage makes the next one of it."""

from dataclasses import dataclass, field, replace

from phigate.core.receipts.ids import ID_RANDOM_BYTES, new_id
from phigate.core.receipts.record import Digest, digest, nonce
from phigate.core.request.headers import RoutingHeaders
from phigate.core.types import Principal, Row
from phigate.pipeline.authenticate import bearer_token
from phigate.pipeline.charge.usage import UsageMeter
from phigate.pipeline.gateway import Gateway
from phigate.pipeline.inbound_request import InboundRequest
from phigate.pipeline.plan import RequestPlan


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks for what, and under which id it is held, logged and receipted.

    `routing`, `request_sha256` and `plan` are None until they are known; `meter` counts what the
    request uses.
    """

    gateway: Gateway
    request: InboundRequest
    principal: Principal
    id: str
    started_s: float
    phi_nonce: bytes
    meter: UsageMeter = field(default_factory=UsageMeter)
    routing: RoutingHeaders | None = None
    request_sha256: str | None = None
    plan: RequestPlan | None = None

    def with_routing(self, routing: RoutingHeaders) -> "RequestContext":
        """Once the headers are read. The request is hashed before its body is given away."""
        request_sha256 = self._hash_request(routing.phi)
        return replace(self, routing=routing, request_sha256=request_sha256)

    def with_plan(self, plan: RequestPlan) -> "RequestContext":
        """Once it is decided where the request may go."""
        return replace(self, plan=plan)

    @property
    def is_hashed_as_phi(self) -> bool:
        """A request whose headers could not be read is hashed as if it were PHI."""
        return self.routing is None or self.routing.phi

    def hash_request(self) -> str:
        """The hash of the body as it came."""
        return self.request_sha256 or self._hash_request(self.is_hashed_as_phi)

    def new_digest(self) -> Digest:
        """A fresh hash, for what is answered."""
        return digest(self.is_hashed_as_phi, self.phi_nonce)

    def _hash_request(self, phi: bool) -> str:
        request = digest(phi, self.phi_nonce)
        request.update(self.request.body.content or b"")
        return request.hexdigest()

    @property
    def needs_certificate(self) -> bool:
        """Whether this stack stops such traffic when its receipts cannot be certified."""
        stack = self.gateway.stack
        return self.routing is not None and stack.requires_receipt(self.routing.phi)


def begin_request(
    gateway: Gateway, request: InboundRequest, principal: Principal
) -> RequestContext:
    """The context of a request whose body is there: it has an id, and its time begins."""
    now_s = gateway.clock.now_s()
    request_id = new_id(int(now_s), gateway.random_bytes(ID_RANDOM_BYTES))
    token = bearer_token(request.headers)
    return RequestContext(gateway, request, principal, request_id, now_s, nonce(token, request_id))


def log_end(context: RequestContext, event: str, row: Row | None, **fields: str | int) -> None:
    """One line for the operator: ids, names, counts and micros."""
    event_log, routing, charge = context.gateway.event_log, context.routing, context.meter.charge
    if row is not None and routing is not None:
        fields["routed"] = f"{row.id}/{routing.region}/{'phi' if routing.phi else 'general'}"
    if charge is not None:
        fields["tokens_in"] = charge.usage.tokens_in
        fields["tokens_out"] = charge.usage.tokens_out
        fields["cost_micros"] = charge.charged_micros
        if charge.charged_micros < charge.computed_micros:
            event_log.record("cost_above_hold", id=context.id, row=row.id if row else "")
    ms = round((context.gateway.clock.now_s() - context.started_s) * 1000)
    attempts = len(context.meter.attempts)
    event_log.record(event, id=context.id, attempts=attempts, **fields, ms=max(0, ms))
