"""The harness of the pipeline's stories: a gateway whose effects are all doubles, and one caller.

Three rows serve CH under an agreement, the dearer the later: acme-one, bolt-two, cove-three. Every
story starts at NOW_S with 1,000,000 micros of credit.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phigate.core.attributes import int_at
from phigate.core.ledger.account import ACCOUNT_SK, account_pk, holds
from phigate.core.ledger.keys import key_sha256, make_key
from phigate.core.ledger.receipt_item import BESIDE_SUFFIXES
from phigate.core.types import Catalog, Json, KeyPolicy, Principal, Row, Task
from phigate.effects.signing.receipt_signer import EphemeralKeySigner
from phigate.effects.signing.signer import SECP256K1
from phigate.effects.signing.text_signer import Eip191Signer
from phigate.effects.store.ledger import DynamoLedger
from phigate.effects.store.receipts import DynamoReceipts
from phigate.effects.zones import SystemZones
from phigate.formats.chat import CHAT
from phigate.pipeline.gateway import Gateway, ReceiptsRequired, Stack
from phigate.pipeline.inbound_request import InboundBody, InboundRequest
from phigate.pipeline.serve import serve
from phigate.pipeline.tools.figures import ANSWER_CLEANER
from phigate.verify.certificate import Certificate, read_certificate
from phigate.verify.receipt import Bundle, Evidence, verify
from phigate.verify.receipt_body import jws_of
from phigate.verify.roots import CERTIFICATES, Root, Roots, by_kid
from tests.builders import NOW_S, make_body, make_catalog, make_price, make_row
from tests.fakes import (
    FakeClock,
    FakeLedger,
    FakeRoot,
    FakeSandboxes,
    FakeUpstream,
    RecordingEventLog,
    RecordingResponseWriter,
    SandboxScript,
    Script,
    StaticCatalog,
    StaticKeys,
    Step,
)

ACCOUNT = "acme"
CREDIT_MICROS = 1_000_000
KEY = make_key("live", bytes(range(32)))
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
USAGE_MICROS = 5  # 10 tokens at 0.24 and 5 at 0.48 USD per million: 4.8, rounded up

ROWS = (
    make_row("acme-one"),
    make_row("bolt-two", price=make_price(1_000_000, 2_000_000)),
    make_row("cove-three", price=make_price(2_000_000, 4_000_000)),
)
DONE = b"data: [DONE]\n\n"
USAGE_CHUNK: Json = {"id": "up-1", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}


@dataclass(frozen=True)
class GatewayAnswer:
    """What the caller got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body of a JSON answer."""
        value: Json = json.loads(self.body)
        return value

    @property
    def error(self) -> Json:
        """The error of an envelope."""
        error: Json = self.json["error"]
        return error

    @property
    def lines(self) -> list[bytes]:
        """A stream's events and comments, without their blank lines."""
        assert self.body.endswith(b"\n\n")
        return self.body.removesuffix(b"\n\n").split(b"\n\n")

    @property
    def chunks(self) -> list[Json]:
        """A stream's events, without `[DONE]`."""
        data = [line.removeprefix(b"data: ") for line in self.lines if line.startswith(b"data: ")]
        return [json.loads(each) for each in data if each != b"[DONE]"]

    @property
    def comment(self) -> Json:
        """The facts of the comment line, which stands just before `[DONE]`."""
        *_, comment, done = self.lines
        assert done == b"data: [DONE]"
        assert comment.startswith(b": phi ")
        facts: Json = json.loads(comment.removeprefix(b": phi "))
        return facts


class GatewayHarness:
    """One gateway, its doubles, and the calls that were made."""

    def __init__(
        self,
        *scripts: Script,
        rows: Sequence[Row] = ROWS,
        catalog: Catalog | None = None,
        policy: KeyPolicy | None = None,
        credit_micros: int = CREDIT_MICROS,
        expires_at_s: int | None = None,
        regions: tuple[str, ...] = ("CH",),
        key_id: str = "k1",
        receipts_required: ReceiptsRequired = "phi",
        plays: Sequence[SandboxScript] = (),
        warm_start: bool = False,
        clock: FakeClock | None = None,
    ) -> None:
        self.clock = clock or FakeClock(NOW_S)
        self.ledger = FakeLedger(self.clock, account=ACCOUNT, micros=credit_micros)
        self.event_log = RecordingEventLog()
        self.upstream = FakeUpstream(self.clock, scripts)
        self.out = RecordingResponseWriter(self.clock)
        self.root = FakeRoot()
        self.sandboxes = FakeSandboxes(self.clock, plays)
        self.text_root = FakeRoot(SECP256K1)
        self.refused_keys: list[str] = []  # of which providers, in order
        self._drawn = 0
        principal = Principal(
            ACCOUNT, key_id, policy or KeyPolicy(), int(NOW_S) - 1, expires_at_s, b"salt"
        )
        receipts = DynamoReceipts(self.ledger.dynamo, self.clock)
        self.gateway = Gateway(
            stack=Stack(
                "stack-1", "CH", regions, receipts_required=receipts_required, warm_start=warm_start
            ),
            keys=StaticKeys({key_sha256(KEY): principal}),
            ledger=self.ledger,
            receipts=receipts,
            sandboxes=self.sandboxes,
            answer_cleaner=ANSWER_CLEANER,
            signer=EphemeralKeySigner(
                root=self.root,
                store=receipts.put_certificate,
                clock=self.clock,
                event_log=self.event_log,
                issuer="http://stack.test",
                stack="stack-1",
            ),
            catalog=StaticCatalog(catalog or make_catalog(rows, sandboxes=("CH",)), NOW_S),
            upstream=self.upstream,
            clock=self.clock,
            event_log=self.event_log,
            zones=SystemZones(),
            random_bytes=self._draw,
            text_signer=Eip191Signer(self.text_root, self.event_log),
            key_refused=self.refused_keys.append,
        )

    def plays(self, *scripts: Script) -> None:
        """What the upstreams answer from now on."""
        self.upstream = FakeUpstream(self.clock, scripts)
        self.use(upstream=self.upstream)

    def use(self, **parts: Any) -> None:
        """From now on a gateway with these parts instead; what it counts goes on."""
        self.gateway = replace(self.gateway, **parts)

    def chat(
        self,
        body: Json | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        key: str | None = KEY,
        on_last: Callable[[], object] = lambda: None,
        task: Task = "chat",
    ) -> GatewayAnswer:
        """One call to its end, on an event loop of its own; `on_last` is called with its end."""
        out = RecordingResponseWriter(self.clock)
        out.on_last = on_last
        asyncio.run(self.serve(body, headers, key=key, out=out, task=task))
        return self.told()

    def chat_gone(self, body: Json) -> None:
        """One call whose caller goes before its end: the answer may never have been begun."""
        asyncio.run(self.serve(body))
        assert self.out.gone_at_s is not None
        assert len(self.out.starts) <= 1

    def phi(self, **members: Any) -> GatewayAnswer:
        """One PHI call."""
        return self.chat(make_body(**members), {"x-phi": "true"})

    async def serve(
        self,
        body: Json | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        key: str | None = KEY,
        out: RecordingResponseWriter | None = None,
        task: Task = "chat",
    ) -> None:
        """The same on the running loop. `body` None is the shortest good body."""
        self.out = out or RecordingResponseWriter(self.clock)
        await serve(self.gateway, CHAT, call(body, headers, key=key, task=task), self.out)

    def told(self) -> GatewayAnswer:
        """What the last call's caller got; asserts that the answer was begun and ended once."""
        assert len(self.out.starts) == 1
        assert self.out.last_at == len(self.out.writes) - 1
        self.check_receipts()
        status, headers = self.out.starts[0]
        return GatewayAnswer(status, headers, b"".join(self.out.writes))

    def hang_up(self) -> None:
        """The caller of the call under way goes. A step of a script."""
        self.out.hang_up()

    def pass_time(self, seconds: float) -> None:
        """A step of a script, or between two calls."""
        self.clock.time_s += seconds

    @property
    def log(self) -> list[tuple[Any, ...]]:
        """The ledger's log without the ids."""
        return [(name, *line) for name, _, *line in self.ledger.log]

    @property
    def records(self) -> list[Json]:
        """Every receipt's record, in the order of writing."""
        return [json.loads(record.payload) for record in self.ledger.records.values()]

    @property
    def record(self) -> Json:
        """The one receipt's record."""
        (record,) = self.records
        return record

    @property
    def attempts(self) -> list[list[Any]]:
        """The one receipt's attempts: row, region, outcome, milliseconds; without their starts."""
        return [attempt[:4] for attempt in self.record["attempts"]]

    @property
    def roots(self) -> Roots:
        """What a caller would find in the stack's key set."""
        return by_kid([Root(self.root.signer.public_jwk, CERTIFICATES, 0)])

    def certificate(self, kid: str) -> Certificate:
        """The stored certificate of a key."""
        text = self.ledger.dynamo.items[f"CERT#{kid}", "C"]["jws"]["S"]
        return read_certificate(text, self.roots)

    def bundle(self, receipt_id: str) -> Bundle:
        """A receipt with its certificate, as the endpoint hands it out."""
        signed = self.ledger.records[receipt_id]
        certificate = self.ledger.dynamo.items.get((f"CERT#{signed.kid}", "C"))
        return Bundle(jws_of(signed), None if certificate is None else certificate["jws"]["S"])

    def check_receipts(self) -> None:
        """Every receipt of every story holds before a stranger, whatever came of the call."""
        for receipt_id, signed in self.ledger.records.items():
            verified = verify(self.bundle(receipt_id), Evidence(roots=self.roots))
            uncertified = json.loads(signed.payload).get("certified") is False
            found = {check.name for check in verified.checks if check.outcome == "fails"}
            assert found == ({"certificate"} if uncertified else set()), verified.checks

    def account(self) -> dict[str, int]:
        """Avail, held, spent and top; asserts the invariant."""
        item = self.ledger.dynamo.items[account_pk(ACCOUNT), ACCOUNT_SK]
        held = sum(hold.micros for hold in holds(item))
        avail, spent, top = (int_at(item, name) for name in ("avail", "spent", "top"))
        assert avail + held + spent == top, "avail + Σ holds + spent = top"
        assert avail >= 0
        return {"avail": avail, "held": held, "spent": spent, "top": top}

    def sweep(self) -> None:
        """Let time pass until every hold is over, and let another process sweep."""
        asyncio.run(self.swept())

    async def swept(self) -> None:
        """The same on the running loop."""
        self.clock.time_s += 10_000
        sweeper = DynamoLedger(self.ledger.dynamo, self.clock)
        await sweeper.sweep(ACCOUNT, int(self.clock.time_s))

    def receipts(self) -> dict[str, tuple[str, int]]:
        """State and cost of every receipt and tombstone as stored."""
        return {
            sk: (item["st"]["S"], int_at(item, "c"))
            for (pk, sk), item in self.ledger.dynamo.items.items()
            if pk.startswith("R#") and not sk.endswith(BESIDE_SUFFIXES)
        }

    def _draw(self, count: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(count, "big")


def call(
    body: Json | bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    key: str | None = KEY,
    task: Task = "chat",
) -> InboundRequest:
    """A call as it came in."""
    raw = body if isinstance(body, bytes) else json.dumps(body or make_body()).encode()
    bearer = {} if key is None else {"authorization": f"Bearer {key}"}
    return InboundRequest(task, {**bearer, **(headers or {})}, InboundBody(raw))


def completion(content: Any = "Hi", *, usage: Any = USAGE, **members: Any) -> Json:
    """An upstream's whole answer."""
    message = {"role": "assistant", "content": content}
    body = {
        "id": "up-1",
        "object": "chat.completion",
        "created": 1,
        "model": "upstream/name",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
        **members,
    }
    return {name: value for name, value in body.items() if value is not ...}


def answers(content: Any = "Hi", *, usage: Any = USAGE, **members: Any) -> Script:
    """A good JSON answer."""
    return Script([json.dumps(completion(content, usage=usage, **members)).encode()])


def fails(status: int, body: Json | None = None) -> Script:
    """An error answer with a body."""
    error = body or {"error": {"message": "no", "type": "t", "code": "c", "param": None}}
    return Script([json.dumps(error).encode()], status=status)


def chunk(content: str = "Hi", **members: Any) -> Json:
    """One chunk of a stream."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "upstream/name",
        "choices": [choice],
        **members,
    }


def event(value: Json) -> bytes:
    """A chunk as the upstream writes it."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def streams(*steps: Step | Json) -> Script:
    """A stream: chunks become events; bytes, silences and errors stay what they are."""
    body = [event(step) if isinstance(step, dict) else step for step in steps]
    return Script(body, content_type="text/event-stream")


GOOD_STREAM = streams(chunk("Hel"), chunk("lo"), USAGE_CHUNK, DONE)
STREAM: Json = make_body(model="acme-one", stream=True)
PLAIN: Json = make_body(model="acme-one")
