"""What becomes of a row's attempts, told to the breaker and, where several processes serve the
stack, to the others.

Law: no request fails by the others, or waits for them; what is told runs behind the answer, and an
answer without streaming, which goes out with its invocation, waits ADVICE_TIMEOUT_S at most.
"""

from collections.abc import Awaitable

from phigate.core.catalog.port import CatalogView
from phigate.core.routing.breaker import Counted
from phigate.pipeline.gateway import Gateway


def record_success(gateway: Gateway, row_id: str) -> None:
    """The row has given a whole answer."""
    now_s = gateway.clock.now_s()
    gateway.breaker.succeeded(row_id, now_s)
    shared = gateway.shared_breaker
    if shared is not None and shared.watches(row_id, now_s):
        gateway.spawn_best_effort(shared.succeeded(row_id, now_s))


def record_failure(gateway: Gateway, row_id: str, *, share: bool = True) -> None:
    """The row has failed an attempt, or has broken off a stream. A key that was refused is not
    shared: it is this stack's own, and each environment learns the new one by itself."""
    now_s = gateway.clock.now_s()
    should_share = gateway.breaker.should_share(row_id, now_s)
    if gateway.breaker.failed(row_id, now_s):
        gateway.event_log.record("breaker_opened", row=row_id)
    if gateway.shared_breaker is not None and should_share and share:
        succeeded_at_s = gateway.breaker.succeeded_at_s(row_id)
        asking = gateway.shared_breaker.failed(row_id, now_s, succeeded_at_s)
        gateway.spawn_best_effort(_merge(gateway, asking))


def sync_shared(gateway: Gateway, view: CatalogView) -> None:
    """Look at what the others have counted, once for each time that the catalog was read."""
    if gateway.shared_breaker is None or view.read_at_s == gateway.breaker.synced_at_s:
        return
    gateway.breaker.synced_at_s = view.read_at_s
    gateway.spawn_best_effort(_merge(gateway, gateway.shared_breaker.read()))


async def _merge(gateway: Gateway, asking: Awaitable[Counted]) -> None:
    counted = await asking
    for row_id in sorted(gateway.breaker.merge_shared(counted, gateway.clock.now_s())):
        gateway.event_log.record("breaker_heard", row=row_id)
