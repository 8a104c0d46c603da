"""Refusals: which code wins when several apply, what each leaves behind, and that none costs."""

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from phigate.core.errors import (
    CallerError,
    InsufficientCredit,
    InvalidApiKey,
    InvalidRequest,
    KeyPolicyViolated,
    ModelNotFound,
    NoRoute,
    Overloaded,
    PhiBlocked,
    RateLimited,
    RegionNotServed,
    RequestTooLarge,
    UnsupportedEncoding,
)
from phigate.core.ledger.account import ACCOUNT_SK, account_pk
from phigate.core.ledger.keys import make_key
from phigate.core.limits import REFUSALS_PER_MINUTE_MAX
from phigate.core.receipts.record import nonce
from phigate.core.types import Json, KeyPolicy, Row, Task
from phigate.formats.chat import CHAT
from phigate.pipeline.dry_run import dry_run
from phigate.pipeline.gateway import Stack
from phigate.pipeline.inbound_request import BodyLate, InboundBody, InboundRequest
from phigate.pipeline.serve import serve
from tests.builders import NOW_S, make_agreement, make_body, make_row
from tests.fakes import RecordingResponseWriter
from tests.pipeline.await_points import failing, watch
from tests.pipeline.gateway_harness import (
    ACCOUNT,
    CREDIT_MICROS,
    KEY,
    PLAIN,
    ROWS,
    GatewayAnswer,
    GatewayHarness,
    answers,
    call,
)


@dataclass(frozen=True)
class Case:
    """A call and the harness it is made on."""

    key: str | None = KEY
    key_id: str = "k1"
    expires_at_s: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=lambda: dict(PLAIN))
    raw: bytes | None = b""  # bytes in place of `body`; None: too large
    policy: KeyPolicy = field(default_factory=KeyPolicy)
    regions: tuple[str, ...] = ("CH",)
    rows: tuple[Row, ...] = ROWS
    credit_micros: int = 1_000_000
    calls_before: int = 0
    task: Task = "chat"


Fault = Callable[[Case], Case]


def with_header(name: str, value: str) -> Fault:
    return lambda case: replace(case, headers={**case.headers, name: value})


def with_member(name: str, value: Any) -> Fault:
    return lambda case: replace(case, body={**case.body, name: value})


def with_field(name: str, value: Any) -> Fault:
    return lambda case: replace(case, **{name: value})


def with_policy(name: str, value: Any) -> Fault:
    return lambda case: replace(case, policy=replace(case.policy, **{name: value}))


def without_agreements(case: Case) -> Case:
    rows = tuple(replace(row, agreement=None) for row in case.rows)
    return replace(case, rows=rows, headers={**case.headers, "x-phi": "true"})


def too_fast(case: Case) -> Case:
    return replace(case, policy=replace(case.policy, rpm=1), calls_before=1)


def against_confidential_required(case: Case) -> Case:
    lifting = with_member("provider", {"confidential": False})
    return lifting(with_policy("confidential", "required")(case))


def math_with_phi(case: Case) -> Case:
    """An image too, which no row can see."""
    rows = tuple(replace(row, modalities=frozenset({"text"})) for row in case.rows)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages = [{"role": "user", "content": [image]}]
    case = with_member("messages", messages)(replace(case, rows=rows, task="math"))
    return with_header("x-phi", "true")(case)


def against_phi_required(case: Case) -> Case:
    return with_header("x-phi", "0")(with_policy("phi", "required")(case))


UNKNOWN_KEY = make_key("live", bytes(32))
# In the order of docs/api.md: the rank, the code, and what is wrong.
FAULTS: dict[str, tuple[int, str, Fault]] = {
    "no key": (0, "invalid_api_key", with_field("key", None)),
    "a malformed key": (0, "invalid_api_key", with_field("key", KEY[:-1] + "?")),
    "a mistyped key": (0, "invalid_api_key", with_field("key", KEY[:-8] + "a" + KEY[-7:])),
    "an unknown key": (0, "invalid_api_key", with_field("key", UNKNOWN_KEY)),
    "an expired key": (0, "invalid_api_key", with_field("expires_at_s", int(NOW_S))),
    "a disabled key": (0, "invalid_api_key", with_field("key_id", "k9")),
    "an encoded body": (1, "unsupported_encoding", with_header("content-encoding", "gzip")),
    "too large a body": (2, "request_too_large", with_field("raw", None)),
    "a body that is no JSON": (3, "invalid_request", with_field("raw", b"{")),
    "a wrong member": (3, "invalid_request", with_member("temperature", 9)),
    "a member that names a place": (3, "invalid_request", with_member("inference_geo", "us")),
    "more tokens than any row writes": (3, "invalid_request", with_member("max_tokens", 8_193)),
    "an unknown region": (3, "invalid_request", with_header("x-region", "MARS")),
    "an unknown X-PHI": (3, "invalid_request", with_header("x-phi", "maybe")),
    "a region against the key": (4, "key_policy", with_policy("regions", frozenset({"EU"}))),
    "general traffic of a key for PHI": (4, "key_policy", against_phi_required),
    "a wish against the key": (4, "key_policy", against_confidential_required),
    "a model against the key": (4, "key_policy", with_policy("models", frozenset({"cove-three"}))),
    "a region of another stack": (5, "region_not_served", with_field("regions", ("EU",))),
    "an unknown model": (6, "model_not_found", with_member("model", "nobody")),
    "preferences that leave nothing": (7, "no_route", with_member("provider", {"only": ["no"]})),
    "PHI without an agreement": (7, "phi_blocked", without_agreements),
    "PHI for a math agent, of what no row sees": (7, "phi_blocked", math_with_phi),
    "no credit": (8, "insufficient_credit", with_field("credit_micros", 1)),
    "over the day's limit": (8, "insufficient_credit", with_policy("spend_limit_micros", 1)),
    "too fast": (9, "rate_limited", too_fast),
}


def made(case: Case, harness: GatewayHarness | None = None) -> tuple[GatewayHarness, GatewayAnswer]:
    """Make the call of a case."""
    harness = harness or GatewayHarness(
        rows=case.rows,
        policy=case.policy,
        credit_micros=case.credit_micros,
        expires_at_s=case.expires_at_s,
        regions=case.regions,
        key_id=case.key_id,
    )
    if case.calls_before:
        item = harness.ledger.dynamo.items[account_pk(ACCOUNT), ACCOUNT_SK]
        item["w"]["M"][f"k1:{int(NOW_S) // 60}"] = {"N": str(case.calls_before)}
    came = call(case.raw or case.body, case.headers, key=case.key, task=case.task)
    if case.raw is None:
        came = replace(came, body=InboundBody(None))
    harness.out = RecordingResponseWriter(harness.clock)
    asyncio.run(serve(harness.gateway, CHAT, came, harness.out))
    return harness, harness.told()


@pytest.mark.parametrize("name", FAULTS)
def test_a_refusal_is_an_envelope_costs_nothing_and_calls_nobody(name: str) -> None:
    _, code, fault = FAULTS[name]
    harness, told = made(fault(Case()))
    kind = KINDS[code]
    assert told.status == kind.status
    assert (told.error["code"], told.error["type"]) == (code, kind.type)
    assert set(told.error) >= {"message", "type", "code", "param"}
    assert told.headers["content-type"] == "application/json"
    assert told.headers["content-length"] == str(len(told.body))
    assert harness.upstream.requests == []
    assert harness.account()["held"] == harness.account()["spent"] == 0


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault[0]])
def test_a_refusal_of_a_known_key_leaves_a_receipt(name: str) -> None:
    _, code, fault = FAULTS[name]
    harness, told = made(fault(Case()))
    *refused, hold, receipt, settle = harness.log
    assert (hold, receipt, settle) == (("hold", 0), ("receipt", 0, "done"), ("settle", 0))
    assert [line[0] for line in refused] == ["hold"] * (FAULTS[name][0] >= 8)
    assert told.headers["x-phi-receipt"] == harness.record["id"] == told.headers["x-request-id"]
    assert harness.record["verdict"] == code
    assert harness.record["ended"] == "refused"
    assert "row" not in harness.record
    assert "cost" not in harness.record


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault[0]])
def test_a_refusal_without_a_key_in_force_writes_nothing(name: str) -> None:
    harness, told = made(FAULTS[name][2](Case()))
    assert [line for line in harness.log if line != ("hold", "key")] == []
    assert harness.receipts() == {}
    assert "x-phi-receipt" not in told.headers
    if name != "a disabled key":
        assert harness.ledger.dynamo.calls == {}


PAIRS = [
    pytest.param(first, second, id=f"{first} and {second}")
    for first, second in itertools.combinations(FAULTS, 2)
    if FAULTS[first][0] < FAULTS[second][0]
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_of_two_faults_the_one_that_stands_first_in_the_table_is_told(
    first: str, second: str
) -> None:
    case = FAULTS[first][2](FAULTS[second][2](Case()))
    harness, told = made(case)
    assert told.error["code"] == FAULTS[first][1]
    assert harness.account()["spent"] == 0


def test_the_receipt_of_a_refusal_holds_the_hash_of_what_came_and_of_what_was_answered() -> None:
    harness = GatewayHarness()
    told = harness.chat(b"{")
    assert harness.record["request_sha256"] == hashlib.sha256(b"{").hexdigest()
    assert harness.record["response_sha256"] == hashlib.sha256(told.body).hexdigest()


@pytest.mark.parametrize("phi", ["true", "maybe"])
def test_what_is_or_may_be_phi_is_hashed_under_the_callers_nonce(phi: str) -> None:
    harness = GatewayHarness()
    told = harness.chat(b"{", {"x-phi": phi})
    key = nonce(KEY, told.headers["x-phi-receipt"])
    assert harness.record["request_sha256"] == hmac.digest(key, b"{", "sha256").hex()
    assert harness.record["response_sha256"] == hmac.digest(key, told.body, "sha256").hex()


def test_a_json_body_is_read_whatever_its_content_type_says() -> None:
    harness = GatewayHarness(answers())
    assert harness.chat(PLAIN, {"content-type": "text/plain"}).status == 200


def test_a_region_of_another_stack_is_told_which_ones_are_served() -> None:
    harness = GatewayHarness(regions=("CH", "EU"))
    told = harness.chat(PLAIN, {"x-region": "us"})
    assert told.status == 421
    assert "CH, EU" in told.error["message"]
    assert harness.record["region_asked"] == "US"


def test_phi_that_is_blocked_is_told_by_which_rule() -> None:
    ended = make_row(agreement=make_agreement(expires_at_s=int(NOW_S)))
    harness = GatewayHarness(rows=(ended, make_row("bolt-two", agreement=None)))
    assert harness.phi().error["code"] == "phi_blocked"
    assert harness.record["rejected"] == {
        "phi_no_agreement": ["bolt-two"],
        "phi_agreement_not_in_force": ["acme-one"],
    }


def test_a_math_agents_refusal_names_no_wish_that_would_not_help() -> None:
    harness = GatewayHarness(rows=(make_row(confidential=True),))
    told = harness.chat(PLAIN, {"x-phi": "true"}, task="math")
    assert told.error["code"] == "phi_blocked"
    assert "provider.confidential" not in told.error["message"]


def test_an_image_under_phi_without_a_row_is_no_route() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    harness = GatewayHarness(rows=(make_row(agreement=None),))
    told = harness.phi(messages=[{"role": "user", "content": [image]}])
    assert (told.status, told.error["code"]) == (404, "no_route")


def test_a_key_whose_models_do_not_serve_the_region_is_key_policy() -> None:
    rows = (make_row("acme-one", places={}), make_row("bolt-two"))
    harness = GatewayHarness(rows=rows, policy=KeyPolicy(models=frozenset({"acme-one"})))
    assert harness.chat(make_body()).error["code"] == "key_policy"


CREDITS = (1, 119, 120, 121, 122, 1_000, 4_123, 32_887)


@pytest.mark.parametrize("credit", CREDITS)
def test_a_402_says_what_is_needed_what_is_there_and_how_many_tokens_it_pays_for(
    credit: int,
) -> None:
    harness = GatewayHarness(credit_micros=credit)
    told = harness.chat(PLAIN)
    assert told.status == 402
    assert told.error["needed_micro"] == 120 + 8_192 * 4
    assert told.error["available_micro"] == credit
    # The dearest candidate decides: 120 micros for the prompt, 4 for each token of output.
    most = max(0, credit - 120) // 4
    # No answer has 0 tokens, and max_tokens: 0 is a 400: nobody is sent there.
    assert told.error.get("max_tokens_affordable") == (most or None)
    assert ("max_tokens" in told.error["message"]) == (most > 0)
    assert ("max_tokens_affordable" in told.error) == (most > 0)
    assert harness.chat({**PLAIN, "max_tokens": most + 1}).error["code"] == "insufficient_credit"
    if most:
        harness.plays(answers())
        assert harness.chat({**PLAIN, "max_tokens": most}).status == 200


def test_a_day_limit_says_what_is_left_of_it_and_asking_for_that_is_accepted() -> None:
    harness = GatewayHarness(answers(), policy=KeyPolicy(spend_limit_micros=1_000))
    told = harness.chat(PLAIN)
    assert told.status == 402
    most = told.error["max_tokens_affordable"]
    assert (told.error["available_micro"], most) == (1_000, (1_000 - 120) // 4)
    assert harness.chat({**PLAIN, "max_tokens": most}).status == 200


def test_a_day_limit_that_covers_no_answer_advises_none() -> None:
    told = GatewayHarness(policy=KeyPolicy(spend_limit_micros=120)).chat(PLAIN)
    assert told.status == 402
    assert "max_tokens" not in told.error["message"]
    assert "max_tokens_affordable" not in told.error


def test_a_limit_of_rate_says_when_to_come_back() -> None:
    harness = GatewayHarness(answers(), answers(), policy=KeyPolicy(rpm=1))
    assert harness.chat().status == 200
    told = harness.chat()
    seconds = int(told.headers["retry-after"])
    assert told.status == 429
    harness.pass_time(seconds)
    assert harness.chat().status == 200


def test_the_61st_refusal_of_a_minute_leaves_no_receipt_and_the_next_one_counts_it() -> None:
    harness = GatewayHarness()
    for _ in range(REFUSALS_PER_MINUTE_MAX):
        assert harness.chat(b"{").status == 400
    assert len(harness.records) == REFUSALS_PER_MINUTE_MAX
    for _ in range(3):
        told = harness.chat(b"{")
        assert (told.status, told.error["code"]) == (429, "rate_limited")
        assert "x-phi-receipt" not in told.headers
    assert len(harness.records) == REFUSALS_PER_MINUTE_MAX
    # A good call is served meanwhile, and its receipt tells of them.
    harness.plays(answers())
    assert harness.chat(PLAIN).status == 200
    assert harness.records[-1]["refusals_without_receipt"] == 3
    harness.pass_time(int(told.headers["retry-after"]))
    assert harness.chat(b"{").status == 400
    assert "refusals_without_receipt" not in harness.records[-1]


def test_a_key_store_that_cannot_be_reached_is_overloaded() -> None:
    harness = GatewayHarness()
    watch(harness, failing("before keys.lookup", lambda: Overloaded("no key store")))
    told = harness.chat(PLAIN)
    assert (told.status, told.error["code"]) == (503, "overloaded")
    assert harness.receipts() == {}


def test_a_catalog_that_was_never_read_is_overloaded() -> None:
    harness = GatewayHarness()
    watch(harness, failing("before catalog.current", lambda: Overloaded("no catalog")))
    told = harness.chat(PLAIN)
    assert (told.status, told.error["code"]) == (503, "overloaded")
    assert harness.record["verdict"] == "overloaded"


def test_a_header_of_two_keys_is_no_key() -> None:
    harness = GatewayHarness()
    harness.out = RecordingResponseWriter(harness.clock)
    headers = {"authorization": f"Bearer {KEY}, Bearer {KEY}"}
    came = InboundRequest("chat", headers, InboundBody(b"{}"))
    asyncio.run(serve(harness.gateway, CHAT, came, harness.out))
    assert harness.told().status == 401


def test_a_dry_run_decides_as_a_live_call_and_is_counted_alone() -> None:
    rows = (*ROWS[:2], make_row("cove-three", agreement=None))
    harness = GatewayHarness(rows=rows)
    came = call({"model": "bolt-two", "max_tokens": 10}, {"x-phi": "1"})
    decided = asyncio.run(dry_run(harness.gateway, came))
    assert decided == {
        "region": "CH",
        "phi": True,
        "decision": "routed",
        "code": None,
        "confidential": None,
        "candidates": [
            {"row": "bolt-two", "region": "CH", "cost_max_micro": 32 + 20},
            {"row": "acme-one", "region": "CH", "cost_max_micro": 13},
        ],
        "rejections": [{"row": "cove-three", "rule": "phi_no_agreement"}],
        "cost_max_micro": 52,
        "max_tokens": 10,
    }
    assert harness.ledger.dynamo.calls == {"UpdateItem": 1}
    assert harness.log == [("count", None)]
    assert harness.account() == {
        "avail": CREDIT_MICROS,
        "held": 0,
        "spent": 0,
        "top": CREDIT_MICROS,
    }
    assert harness.upstream.requests == []


def test_dry_runs_and_calls_share_the_rate_of_their_key() -> None:
    harness = GatewayHarness(answers(), answers(), policy=KeyPolicy(rpm=3))
    route = {"model": "bolt-two"}
    asyncio.run(dry_run(harness.gateway, call(route)))
    assert harness.chat().headers["x-ratelimit-remaining-requests"] == "1"
    asyncio.run(dry_run(harness.gateway, call(route)))
    assert harness.chat().status == 429
    with pytest.raises(RateLimited) as refused:
        asyncio.run(dry_run(harness.gateway, call(b"not even JSON")))
    assert refused.value.headers == {"retry-after": str(60 - int(NOW_S) % 60)}
    harness.pass_time(60)
    asyncio.run(dry_run(harness.gateway, call(route)))


def test_counts_of_past_minutes_do_not_pile_up() -> None:
    harness = GatewayHarness()
    for _ in range(10):
        asyncio.run(dry_run(harness.gateway, call({"model": "bolt-two"})))
        harness.pass_time(60)
    item = harness.ledger.dynamo.items[account_pk(ACCOUNT), ACCOUNT_SK]
    assert len(item["w"]["M"]) == 1


def test_a_dry_run_with_a_disabled_key_is_401() -> None:
    harness = GatewayHarness(key_id="off")  # found, as it still is where it is cached
    with pytest.raises(InvalidApiKey, match="disabled"):
        asyncio.run(dry_run(harness.gateway, call({"model": "bolt-two"})))


def test_a_dry_run_with_an_unknown_key_writes_and_reads_nothing() -> None:
    harness = GatewayHarness()
    with pytest.raises(InvalidApiKey):
        asyncio.run(dry_run(harness.gateway, call({}, key=make_key("live", bytes(32)))))
    assert harness.ledger.dynamo.calls == {}


async def never() -> bytes:
    """A body that nobody may ask for."""
    raise AssertionError("the body was read")


@pytest.mark.parametrize("key", ["", "phi_live_nonsense", make_key("live", bytes(32))])
def test_a_bad_key_is_refused_before_the_body_is_read(key: str) -> None:
    harness = GatewayHarness()
    came = InboundRequest("chat", {"authorization": f"Bearer {key}"}, InboundBody(receive=never))
    asyncio.run(serve(harness.gateway, CHAT, came, harness.out))
    assert harness.told().status == 401
    with pytest.raises(InvalidApiKey):
        asyncio.run(dry_run(harness.gateway, came))


def test_a_key_over_its_rate_is_refused_a_dry_run_before_the_body_is_read() -> None:
    harness = GatewayHarness(policy=KeyPolicy(rpm=1))
    asyncio.run(dry_run(harness.gateway, call({"model": "bolt-two"})))
    came = InboundRequest("chat", {"authorization": f"Bearer {KEY}"}, InboundBody(receive=never))
    with pytest.raises(RateLimited):
        asyncio.run(dry_run(harness.gateway, came))


def test_a_body_that_comes_too_late_is_408_with_a_receipt() -> None:
    harness = GatewayHarness()

    async def late() -> bytes:
        raise BodyLate

    came = InboundRequest("chat", {"authorization": f"Bearer {KEY}"}, InboundBody(receive=late))
    asyncio.run(serve(harness.gateway, CHAT, came, harness.out))
    told = harness.told()
    assert (told.status, told.error["code"]) == (408, "request_timeout")
    assert told.headers["connection"] == "close"
    (record,) = harness.records
    assert (record["verdict"], record["ended"]) == ("request_timeout", "refused")
    assert harness.upstream.requests == []


def test_a_body_that_was_cut_is_no_request() -> None:
    harness = GatewayHarness(answers())

    async def cut() -> bytes:
        raise InvalidRequest("The body ended before it was whole.")

    came = InboundRequest("chat", {"authorization": f"Bearer {KEY}"}, InboundBody(receive=cut))
    asyncio.run(serve(harness.gateway, CHAT, came, harness.out))
    assert (harness.log, harness.records, harness.upstream.requests) == ([], [], [])


def test_a_dry_run_of_a_refusal_names_its_code() -> None:
    harness = GatewayHarness(rows=(make_row(agreement=None),))
    came = call({"model": "acme-one"}, {"x-phi": "1"})
    decided = asyncio.run(dry_run(harness.gateway, came))
    assert (decided["decision"], decided["code"]) == ("refused", "phi_blocked")
    assert decided["candidates"] == []


def test_a_stack_that_allows_no_unproven_place_routes_none() -> None:
    unproven = replace(ROWS[0].places["CH"], residency="unproven")
    row = make_row(places={"CH": unproven})
    harness = GatewayHarness(answers(), rows=(row,))
    assert harness.chat(PLAIN).error["code"] == "no_route"
    harness.use(stack=Stack("stack-1", "CH", ("CH",), frozenset({"acme-one/CH"})))
    assert harness.chat(PLAIN).status == 200
    assert harness.phi().error["code"] == "phi_blocked"


KINDS: dict[str, type[CallerError]] = {
    kind.code: kind
    for kind in (
        InvalidApiKey,
        UnsupportedEncoding,
        RequestTooLarge,
        InvalidRequest,
        KeyPolicyViolated,
        RegionNotServed,
        ModelNotFound,
        NoRoute,
        PhiBlocked,
        InsufficientCredit,
        RateLimited,
    )
}
