"""Where a request goes: keys, headers, catalogs with a row of each kind, and what has happened to
the gateway before."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.golden.bodies import (
    CALL,
    CH,
    GOOD_STREAM,
    LOOK_UP,
    PHI,
    PIXEL,
    SCHEMA,
    TIME,
    TWO,
    anthropic,
    asks,
    called,
    calls,
    image,
    ran,
    streamed_call,
)
from tests.golden.harness import (
    KEY,
    MATH,
    STRANGER,
    Case,
    KeyPolicy,
    Script,
    answers,
    chunk,
    fails,
    streams,
)

ROUTE = "/v1/route"
WORLD = {"x-region": "WORLD"}
ODD_ROWS = """
plain-one staged-one alpha-one keyless-one moved-one trusted-one simulated-one blind-one
toolless-one schemaless-one short-one unagreed-one ended-one ahead-one brief-one abroad-one
keeping-one training-one unproven-one pinned-one away-one enclave-one enclave-two dropping-one
salted-one thinking-one claude-one claude-new claude-plain
"""
NO_FALLBACK = {"allow_fallbacks": False}

# Dry runs over the catalog of odd rows: every row is named with its rule.
DRY_RUNS: Mapping[str, tuple[Any, Mapping[str, str]]] = {
    "general": (asks(model="auto"), CH),
    "PHI": (asks(model="auto"), PHI),
    "an image": (image(PIXEL) | {"model": "auto"}, CH),
    "an image under PHI": (image(PIXEL) | {"model": "auto"}, PHI),
    "a tool that must be called": (
        asks(model="auto", tools=[LOOK_UP], tool_choice="required"),
        CH,
    ),
    "a schema": (asks(model="auto", response_format=SCHEMA), CH),
    "many tokens": (asks(model="auto", max_tokens=8_000), CH),
    "every parameter": (
        asks(
            model="auto",
            seed=1,
            top_k=3,
            cache_salt="s",
            whatever=1,
            provider={"require_parameters": True},
        ),
        CH,
    ),
    "an enclave": (asks(model="auto", provider={"confidential": True}), CH),
    "an enclave by its name": (asks(model="enclaves"), CH),
    "an enclave by a name of others too": (asks(model="either"), CH),
    "an enclave that is not needed": (asks(model="enclaves", provider={"confidential": False}), CH),
    "alpha": (asks(model="auto", provider={"include_alpha": True}), CH),
    "only": (asks(model="auto", provider={"only": ["plain", "claude-one", "nobody"]}), CH),
    "only nobody": (asks(model="auto", provider={"only": ["nobody"]}), CH),
    "ignore": (asks(model="auto", provider={"ignore": ["plain", "claude-one"]}), CH),
    "order": (asks(model="auto", provider={"order": ["claude", "salted-one"]}), CH),
    "a pinned row": (asks(model="plain-one", provider=NO_FALLBACK), CH),
    "a pinned row that is away": (asks(model="away-one", provider=NO_FALLBACK), CH),
    "a model tier": (asks(model="auto"), {**CH, "x-model-tier": "thinking"}),
    "another region": (asks(model="auto"), {"x-region": "EU"}),
    "a region that is none": (asks(), {"x-region": "MOON"}),
    "too many tokens": (asks(max_tokens=10**7), CH),
    "a stream": (asks(model="auto", stream=True), CH),
    "the gateway's clock": (asks(model="auto", tools=[TIME]), CH),
    "a body that is no object": (b"[]", CH),
    "no body": (None, CH),
    "a compressed body": (asks(), {**CH, "content-encoding": "br"}),
    "debug members under PHI": (asks(debug={"trace": True}), PHI),
}

# Rows in whose place another answers.
FALLING_BACK: Mapping[str, Mapping[str, str]] = {
    "staged-one": CH,
    "alpha-one": CH,
    "keyless-one": CH,
    "away-one": CH,
    "unproven-one": CH,
    "blind-one": CH,
    "unagreed-one": PHI,
    "ended-one": PHI,
    "training-one": PHI,
}

POLICIES: Mapping[str, tuple[KeyPolicy, Any, Mapping[str, str]]] = {
    "two regions, another": (KeyPolicy(regions=frozenset({"US", "EU"})), asks(), CH),
    "two models, another": (KeyPolicy(models=frozenset({"a", "qwen3.5"})), asks(), CH),
    "a model that nobody serves there": (
        KeyPolicy(models=frozenset({"glm-5.2"})),
        asks(model="auto"),
        CH,
    ),
    "a model that nobody knows": (KeyPolicy(models=frozenset({"gpt-7"})), asks(model="gpt-7"), CH),
    "models, and a fallback among them": (
        KeyPolicy(models=frozenset({"gemma-4", "qwen3.5"})),
        asks(),
        CH,
    ),
    "PHI alone, no header": (KeyPolicy("required"), asks(), CH),
    "PHI alone, where no row may": (KeyPolicy("required"), asks(), {"x-region": "US"}),
    "no PHI, no header": (KeyPolicy("forbidden"), asks(), CH),
    "enclaves alone, lifted": (
        KeyPolicy(confidential="required"),
        asks(provider={"confidential": False}),
        CH,
    ),
    "enclaves alone, wished": (
        KeyPolicy(confidential="required"),
        asks(provider={"confidential": True}),
        CH,
    ),
    "a region of its own": (KeyPolicy(default_region="US"), asks(model="auto"), {}),
    "a region of its own against a header": (KeyPolicy(default_region="US"), asks(), CH),
    "a tier of its own against a header": (
        KeyPolicy(default_model_tier="fast"),
        asks(model="auto"),
        {**CH, "x-model-tier": "thinking"},
    ),
    "a limit of spending that is enough": (KeyPolicy(spend_limit_micros=50_000), asks(), CH),
    "a limit of spending for a short answer": (
        KeyPolicy(spend_limit_micros=500),
        asks(),
        CH,
    ),
    "debug under PHI": (KeyPolicy(debug_phi=True), asks(debug={"trace": True}), PHI),
    "an echo under PHI": (KeyPolicy(debug_phi=True), asks(echo_upstream_request=True), PHI),
}

SENT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "X_PHI": (("x_phi", "true"), ("x-region", "US")),
    "X_Region": (("x_region", "CH"),),
    "X_Model_Tier": (("x_model_tier", "huge"),),
    "PHI twice": (("x-phi", "true"), ("x-phi", "false")),
    "PHI in two spellings": (("x-phi", "false"), ("x_phi", "true")),
    "a region twice": (("x-region", "CH"), ("x-region", "CH")),
    "blanks": (("x-phi", " true "), ("x-region", " ch ")),
    "an empty PHI": (("x-phi", ""),),
    "PHI as 0": (("x-phi", "0"),),
    "PHI as yes": (("x-phi", "yes"),),
    "a model tier in capitals": (("x-model-tier", "BASELINE"),),
    "an empty model tier": (("x-model-tier", ""),),
    "no encoding": (("content-encoding", "identity"),),
    "an encoding in capitals": (("content-encoding", "IDENTITY"),),
    "an empty encoding": (("content-encoding", ""),),
    "two encodings": (("content-encoding", "gzip, identity"),),
    "an answer's own headers": (("x-phi-receipt", "x"), ("x-request-id", "x")),
    "a client's headers": (
        ("openai-organization", "o"),
        ("openai-project", "p"),
        ("x-stainless-lang", "python"),
    ),
    "no JSON wanted": (("accept", "text/html"),),
    "8 KB": (("x-long", "x" * 8_200),),
}
BEARERS: Mapping[str, str] = {
    "small letters": f"bearer {KEY}",
    "blanks": f"Bearer   {KEY}  ",
    "no scheme": KEY,
    "another scheme": f"Basic {KEY}",
    "no token": "Bearer ",
    "a long token": "Bearer " + "x" * 300,
    "a wrong last letter": f"Bearer {KEY[:-1]}!",
    "a stranger": f"Bearer {STRANGER}",
    "a stranger's test key": f"Bearer {STRANGER.replace('live', 'test')}",
}

TIMED = asks(tools=[TIME], model="qwen3.5")
TIMED_TURNS = (calls(called("gateway_datetime", {})), answers())
CLOCK_STREAM = streamed_call(called("gateway_datetime", {})).body
MATH_TURNS = (calls(called("python", {"code": "6 * 7"})), answers("42"))


def _odd() -> Iterator[tuple[str, Case]]:
    for row in ODD_ROWS.split():
        scripts = (anthropic(),) if row.startswith("claude") else (answers(),)
        for kind, headers in {"": CH, " under PHI": PHI}.items():
            body = asks(model=row, seed=1, stop=["x"], temperature=0.5, cache_salt="s")
            alone = {**body, "provider": NO_FALLBACK}
            yield f"row{kind}: {row}", Case(alone, headers, catalog="odd", scripts=scripts)
    for name, (content, headers) in DRY_RUNS.items():
        yield f"dry run: {name}", Case(content, headers, path=ROUTE, catalog="odd")
        if content is not None and headers is not PHI:
            yield (
                f"no dry run: {name}",
                Case(content, headers, catalog="odd", scripts=(fails(503), answers())),
            )
    yield (
        "dry run: residency need not be proven",
        Case(
            asks(model="auto"),
            CH,
            path=ROUTE,
            catalog="odd",
            situation="residency need not be proven",
        ),
    )
    yield (
        "dry run under PHI: residency need not be proven",
        Case(
            asks(model="auto"),
            PHI,
            path=ROUTE,
            catalog="odd",
            situation="residency need not be proven",
        ),
    )
    yield "dry run: no rows", Case(asks(model="auto"), CH, path=ROUTE, catalog="empty")
    yield "no rows", Case(asks(model="auto"), CH, catalog="empty")
    unproven = "residency need not be proven"
    for row in ("moved-one", "trusted-one", "unproven-one"):
        for kind, headers in {"": CH, " under PHI": PHI}.items():
            alone = asks(model=row, provider=NO_FALLBACK)
            yield (
                f"row{kind}, unproven: {row}",
                Case(alone, headers, catalog="odd", situation=unproven, scripts=(answers(),)),
            )


def _instead() -> Iterator[tuple[str, Case]]:
    """Another row than the one that was asked for, or none in its place."""
    for row, headers in FALLING_BACK.items():
        body = image(PIXEL) if row == "blind-one" else asks()
        yield (
            f"another model: {row}",
            Case({**body, "model": row}, headers, catalog="odd", scripts=(answers(),)),
        )
    ignored = asks(model="plain-one", provider={"ignore": ["plain"]})
    yield "another model: ignored", Case(ignored, CH, catalog="odd", scripts=(answers(),))
    policy = KeyPolicy(models=frozenset({"unagreed-one", "simulated-one"}))
    yield (
        "another model: of the key's",
        Case(asks(model="mixed"), PHI, catalog="odd", policy=policy, scripts=(answers(),)),
    )
    yield (
        "an agreement that ends before the second attempt",
        Case(asks(model="brief-one"), PHI, catalog="odd", scripts=(_SLOW_FAILURE, answers())),
    )
    alone = asks(model="brief-one", provider=NO_FALLBACK)
    yield (
        "the only agreement ends before the second attempt",
        Case(alone, PHI, catalog="odd", scripts=(_SLOW_FAILURE, answers())),
    )
    timed = asks(model="brief-one", tools=[TIME], provider=NO_FALLBACK)
    slow_turn = Script([90.0, *TIMED_TURNS[0].body])
    yield (
        "the only agreement ends before the second turn",
        Case(timed, PHI, catalog="odd", scripts=(slow_turn, answers())),
    )


def _keys() -> Iterator[tuple[str, Case]]:
    for name, (policy, body, headers) in POLICIES.items():
        yield f"policy: {name}", Case(body, headers, policy=policy, scripts=TWO)
    for name, pairs in SENT.items():
        yield f"sent: {name}", Case(asks(), again=pairs, scripts=TWO)
    for name, bearer in BEARERS.items():
        headers = {**CH, "authorization": bearer}
        yield f"bearer: {name}", Case(asks(), headers, key=None, scripts=TWO)
        yield (
            f"bearer at an account: {name}",
            Case(None, headers, key=None, method="GET", path="/v1/account"),
        )
    yield (
        "policy at an account",
        Case(
            None,
            method="GET",
            path="/v1/account",
            policy=KeyPolicy(
                "required",
                regions=frozenset({"EU", "CH"}),
                models=frozenset({"gemma-4", "auto"}),
                rpm=7,
                spend_limit_micros=9,
                debug_phi=True,
                default_region="CH",
                default_model_tier="fast",
                confidential="required",
            ),
        ),
    )
    yield "rate: a dry run", Case(asks(), CH, path=ROUTE, policy=KeyPolicy(rpm=1), times=2)
    yield (
        "rate: spent by dry runs",
        Case(asks(), CH, path=ROUTE, policy=KeyPolicy(rpm=3), times=4),
    )
    yield "rate: 61 refusals", Case(b"{", CH, times=62)
    yield "rate: 61 refusals and a minute", Case(b"{", CH, times=63, waits_s=60)
    yield (
        "spending: used up",
        Case(
            asks(max_tokens=20),
            CH,
            policy=KeyPolicy(spend_limit_micros=100),
            times=20,
            scripts=(answers(),) * 20,
        ),
    )


KINDS: Mapping[str, Case] = {
    "an answer": Case(asks(), CH, scripts=TWO),
    "PHI": Case(asks(), PHI, scripts=TWO),
    "a stream": Case(asks(stream=True), PHI, scripts=(streams(*GOOD_STREAM),)),
    "two turns": Case(TIMED, CH, scripts=TIMED_TURNS),
    "math": Case(asks(), CH, path=MATH, scripts=MATH_TURNS, plays=(ran(),)),
    "a refusal": Case(asks(model="gpt-7"), CH),
    "a failure": Case(asks(), CH, scripts=(fails(500),) * 4),
    "a dry run": Case(asks(), CH, path=ROUTE),
    "an account": Case(None, method="GET", path="/v1/account"),
    "a receipt": Case(asks(), CH, scripts=TWO, then="/v1/receipts/{receipt}"),
    "a signature": Case(asks(), CH, scripts=TWO, then="/v1/signature/{receipt}"),
    "models": Case(None, method="GET", path="/v1/models", catalog="odd"),
    "pricing": Case(None, method="GET", path="/v1/pricing", catalog="odd"),
    "a report": Case(None, method="GET", path=f"/v1/attestation/report?model=x&nonce={'0f' * 32}"),
}
ANSWERS = "an answer, PHI, a stream, two turns, math"
REFUSALS = "a refusal, a failure"
SOME = "an answer, a stream, a refusal"
# Which kinds of request meet what has happened.
MET: Mapping[str, str] = {
    "the key is disabled": f"an answer, a stream, {REFUSALS}, a dry run, a report",
    "200 requests are under way": "an answer, a refusal",
    "the catalog is old": f"{ANSWERS}, a dry run",
    "no receipt can be certified": f"{ANSWERS}, {REFUSALS}, a receipt, a signature",
    "residency need not be proven": "PHI, a dry run",
    "there is no sandbox": "two turns, math",
    "there is no math": "two turns, math",
    "nobody signs text": "a signature",
    "the key store is away": "an answer, a dry run, an account, a report, models",
    "the catalog is away": f"{SOME}, a dry run, an account, a report, models, pricing",
    "the hold is not written": SOME,
    "the hold is written unheard": SOME,
    "the hold is not extended": "two turns, math",
    "the receipt is not written": f"{ANSWERS}, {REFUSALS}",
    "the receipt is written unheard": f"{ANSWERS}, {REFUSALS}",
    "the hold is not settled": f"{ANSWERS}, {REFUSALS}",
    "the account is away": "an account",
    "the receipts are away": "a receipt, a signature",
    "no sandbox can be opened": "math",
    "a bug in the keys": "an answer, a dry run, an account",
    "a bug in the catalog": f"{SOME}, a dry run, models",
    "a bug before the hold": SOME,
    "a bug behind the hold": SOME,
    "a bug in extending": "two turns",
    "a bug before the receipt": f"{SOME}, a failure",
    "a bug behind the receipt": f"{SOME}, a failure",
    "a bug in settling": SOME,
    "a bug in certifying": SOME,
    "a bug in renewing": SOME,
}


def _situations() -> Iterator[tuple[str, Case]]:
    for situation, kinds in MET.items():
        for kind in kinds.split(", "):
            yield f"{situation}: {kind}", replace(KINDS[kind], situation=situation)


def _arriving() -> Iterator[tuple[str, Case]]:
    late = "a body has to be there at once"
    yield "a late body", Case(asks(), CH, arrives="late", situation=late)
    yield "a late body under PHI", Case(asks(), PHI, arrives="late", situation=late)
    yield "a late body of a dry run", Case(asks(), CH, path=ROUTE, arrives="late", situation=late)
    yield "a late body of nobody", Case(asks(), CH, key=None, arrives="late", situation=late)
    yield "a cut body", Case(asks(), CH, arrives="cut")
    yield "a cut body of a dry run", Case(asks(), CH, path=ROUTE, arrives="cut")
    yield "gone before the answer", Case(asks(), CH, scripts=TWO, reads=0)
    yield (
        "gone before the stream",
        Case(asks(stream=True), CH, scripts=(streams(*GOOD_STREAM),), reads=0),
    )
    yield (
        "gone in the stream",
        Case(asks(stream=True), CH, scripts=(streams(*GOOD_STREAM),), reads=1),
    )
    yield (
        "gone in a stream without usage",
        Case(asks(stream=True), CH, scripts=(streams(*GOOD_STREAM[:2], 100.0),), reads=1),
    )
    yield "gone before the refusal", Case(asks(model="gpt-7"), CH, reads=0)
    yield (
        "gone between two turns",
        Case(
            asks(tools=[TIME], model="qwen3.5", stream=True),
            CH,
            scripts=(streams(chunk("a"), *CLOCK_STREAM), streams(*GOOD_STREAM)),
            reads=1,
        ),
    )
    yield (
        "many images",
        Case(
            asks(
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": PIXEL}}] * 20,
                    }
                ]
            ),
            PHI,
            scripts=TWO,
        ),
    )
    yield (
        "credit for one turn",
        Case(TIMED, CH, scripts=TIMED_TURNS, options={"credit_micros": 36_400}),
    )
    yield (
        "credit for no second turn",
        Case({**TIMED, "max_tokens": 20}, CH, scripts=TIMED_TURNS, options={"credit_micros": 700}),
    )
    yield (
        "a caller's tool beside the clock",
        Case(
            asks(tools=[TIME, LOOK_UP], model="qwen3.5"),
            CH,
            scripts=(calls(called("gateway_datetime", {}), {**CALL, "id": "c2"}),),
        ),
    )


_SLOW_FAILURE = streams(200.0)

ROUTING_CASES: Mapping[str, Case] = dict(
    (*_odd(), *_instead(), *_keys(), *_situations(), *_arriving())
)
