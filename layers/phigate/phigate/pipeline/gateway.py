"""The gateway as a value: its effects, its stack's parameters, and the little state it keeps.

Nothing here does I/O. `wiring` builds it, `pipeline` is handed it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from phigate.core.background_tasks import BackgroundTasks
from phigate.core.catalog.port import CatalogSource, CatalogView
from phigate.core.clock import Clock
from phigate.core.event_log import EventLog
from phigate.core.ledger.port import KeyStore, Ledger
from phigate.core.ledger.proof_count import ProofRefusal
from phigate.core.limits import BODY_TIMEOUT_S, JSON_TIMEOUT_S, STREAM_TIMEOUT_S
from phigate.core.receipts.port import ReceiptSigner
from phigate.core.receipts.text_signer import TextSignature, TextSigner
from phigate.core.receipts.upstream_signature import UpstreamSignature
from phigate.core.routing.breaker import Breaker
from phigate.core.routing.breaker_port import SharedBreaker
from phigate.core.routing.gate import GateContext
from phigate.core.sandbox.port import Sandboxes
from phigate.core.tools.tool_loop import Zones
from phigate.core.types import REGIONS, Json
from phigate.core.upstream import Upstream
from phigate.pipeline.key_counts import KeyCounts
from phigate.verify.roots import Root

T = TypeVar("T")

ReceiptsRequired = Literal["phi", "all", "none"]


@dataclass(frozen=True, slots=True)
class Stack:
    """One deployment: the jurisdictions it serves and the deadlines its transport allows.

    `unproven_allowed` holds `row/region` pairs, or `*` on a local stack. `receipts_required` names
    the traffic that stops when its receipts cannot be certified. `warm_start` opens a math agent's
    sandbox when its request comes; every start is billed for a minute.
    """

    name: str
    region: str
    regions: tuple[str, ...] = REGIONS
    unproven_allowed: frozenset[str] = frozenset()
    json_timeout_s: float = JSON_TIMEOUT_S
    stream_timeout_s: float = STREAM_TIMEOUT_S
    body_timeout_s: float = BODY_TIMEOUT_S
    receipts_required: ReceiptsRequired = "phi"
    warm_start: bool = False

    def requires_receipt(self, phi: bool) -> bool:
        """Whether such a request stops when its receipt cannot be certified."""
        return self.receipts_required == "all" or (phi and self.receipts_required == "phi")

    def gate_context(self, view: CatalogView, now_s: float) -> GateContext:
        """What the gate has to know besides the request, now."""
        return GateContext(now_s, now_s - view.read_at_s, self.unproven_allowed)


class ReceiptStore(Protocol):
    """What stands beside the receipts: who vouches for their keys, and what a confidential provider
    and this stack have signed of an answer. Each may raise Overloaded."""

    async def certificate(self, kid: str) -> str | None: ...

    async def put_upstream(
        self, account: str, receipt_id: str, signature: UpstreamSignature
    ) -> None:
        """Keep it, unless one is kept already."""
        ...

    async def upstream(self, account: str, receipt_id: str) -> UpstreamSignature | None: ...

    async def put_text(
        self, account: str, receipt_id: str, signature: TextSignature
    ) -> TextSignature:
        """Keep it, unless one is kept already; the one that is kept."""
        ...

    async def text(self, account: str, receipt_id: str) -> TextSignature | None: ...

    async def count_proof(self, account: str, key_id: str, now_s: int) -> ProofRefusal | None:
        """Count one signature or report that the key asks for, or say why it may not."""
        ...

    async def roots(self) -> Sequence[Root]: ...


@dataclass(frozen=True, slots=True)
class AnswerCleaner:
    """What makes a math agent's answers safe.

    `clean` gives an SVG back clean, or raises SvgRefused. `clean_answer` cleans all of an answer in
    place, and puts figures that are clean where its text names them (None: JSON was asked for).
    `clean_error` does the same for an error's envelope, which may quote an upstream.
    """

    clean: Callable[[str], str]
    clean_answer: Callable[[Json, Sequence[str] | None], None]
    clean_error: Callable[[Json], None]


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything that one process needs to serve requests, built once; what changes is in parts."""

    stack: Stack
    keys: KeyStore
    ledger: Ledger
    signer: ReceiptSigner
    receipts: ReceiptStore
    catalog: CatalogSource
    upstream: Upstream
    clock: Clock
    event_log: EventLog
    zones: Zones
    random_bytes: Callable[[int], bytes]
    sandboxes: Sandboxes | None = None
    # None where this process serves no math.
    answer_cleaner: AnswerCleaner | None = None
    no_sandbox: str = "This stack has no sandbox to run programs in."
    # None where this process may not sign for RedPill's verifiers.
    text_signer: TextSigner | None = None
    # Told which provider has refused the operator's key; whoever can read it again does.
    key_refused: Callable[[str], None] = lambda provider: None
    counters: Callable[[], Mapping[str, object]] = dict
    breaker: Breaker = field(default_factory=Breaker)
    # None where this process alone serves the stack.
    shared_breaker: SharedBreaker | None = None
    _key_counts: KeyCounts = field(default_factory=KeyCounts)
    _background: BackgroundTasks = field(default_factory=BackgroundTasks)
    _beside: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "beside"))

    async def beside(self, work: Callable[[], T], *, heavy: bool) -> T:
        """Do pure `work` on the event loop; heavy work beside it, one after the other.

        The interpreter changes threads every 5 ms, so the loop waits that long and for one call
        into C at most; of several threads it would wait for each.
        """
        if not heavy:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._beside, work)

    def count_refusal(self, key_id: str) -> None:
        """A refusal over the limit, which leaves no receipt of its own."""
        self._key_counts.count_refusal(key_id)

    def take_refusals(self, key_id: str) -> int:
        """How many refusals of the key left no receipt since the last one that did."""
        return self._key_counts.take_refusals(key_id)

    def count_timeout(self, key_id: str, now_s: float) -> int:
        """How many attempts of the key have timed out in this process today, this one too."""
        return self._key_counts.count_timeout(key_id, now_s)

    async def run_shielded(self, work: Coroutine[None, None, None]) -> None:
        """See BackgroundTasks."""
        await self._background.run_shielded(work)

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Future[None]:
        """See BackgroundTasks."""
        return self._background.spawn(work)

    def spawn_best_effort(self, work: Coroutine[None, None, None]) -> None:
        """See BackgroundTasks."""
        self._background.spawn_best_effort(work)

    async def wait_idle(self) -> None:
        """See BackgroundTasks. Without streaming the answer waits too."""
        await self._background.wait_idle()
