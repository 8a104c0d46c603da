"""The endpoints that tell about the gateway, and what they say of an answer that was given."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.golden.bodies import CH, GOOD_STREAM, PHI, asks, ran
from tests.golden.harness import (
    CHAT,
    MATH,
    STRANGER,
    Case,
    Fetched,
    KeyPolicy,
    UpstreamFailed,
    answers,
    chunk,
    fails,
    streams,
)

NONCE = "0f" * 32
REPORT = f"/v1/attestation/report?nonce={NONCE}&model="
SIGNATURE = {
    "text": f"{'a' * 64}:{'b' * 64}",
    "signature": "0x" + "c" * 130,
    "signing_address": "0x" + "D" * 40,
    "signing_algo": "ecdsa",
}
FOUND = Fetched(200, json.dumps(SIGNATURE).encode())
QUOTE = Fetched(200, b'{"intel_quote": "04",  "nvidia_payload": "x"}')

PATHS: tuple[tuple[str, str], ...] = (
    ("GET", "/v1/models/"),
    ("GET", "/v1/models/claude-one"),
    ("GET", "/v1/models/plain-one/x"),
    ("GET", "/v1/models/%2e%2e"),
    ("GET", "/v1/pricing?card=" + "d" * 64),
    ("GET", "/v1/pricing?card=a&card=b"),
    ("GET", "/api/v1/pricing"),
    ("GET", "/api/v1/account"),
    ("GET", "/v1/account/"),
    ("GET", "//v1/models"),
    ("GET", "/docs"),
    ("GET", "/v1/route"),
    ("GET", "/v1/receipts/"),
    ("GET", "/v1/receipts/" + "A" * 16),
    ("GET", "/v1/receipts/" + "A" * 300),
    ("GET", "/v1/signature/" + "A" * 16),
    ("GET", "/v1/signature/x?signing_algo=rsa"),
    ("GET", MATH),
    ("GET", "/api" + CHAT),
    ("HEAD", "/v1/models"),
    ("OPTIONS", "/v1/models"),
    ("OPTIONS", CHAT),
    ("PATCH", CHAT),
    ("POST", "/v1/models"),
    ("POST", "/v1/receipts/x"),
    ("POST", "/healthz"),
    ("PUT", "/v1/route"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/messages"),
)
GUARDED = (
    "/v1/account",
    "/v1/receipts/x",
    "/v1/signature/x",
    "/v1/attestation/report",
)
OPEN = (
    "/v1/models",
    "/v1/pricing",
    "/healthz",
    "/.well-known/jwks.json",
    "/.well-known/receipt.schema.json",
)
ACCEPTED: Mapping[str, tuple[str, str]] = {
    "a page of prices": ("/v1/pricing", "text/html"),
    "prices for a browser": ("/v1/pricing", "text/html,application/xhtml+xml,*/*;q=0.8"),
    "prices in JSON": ("/v1/pricing", "application/json"),
    "a page of another card": ("/v1/pricing?card=00", "text/html"),
    "models as a page": ("/v1/models", "text/html"),
}

# What is asked of an answer that was given: the answer, and then.
STREAM = Case(asks(stream=True), CH, scripts=(streams(*GOOD_STREAM),))
ANSWER = Case(asks(), CH, scripts=(answers(),))
PHI_ANSWER = Case(asks(), PHI, scripts=(answers(),))
REFUSAL = Case(asks(model="gpt-7"), CH)
FAILURE = Case(asks(), CH, scripts=(fails(500),) * 4)
GIVEN: Mapping[str, tuple[Case, str]] = {
    "a receipt of a stream": (STREAM, "/v1/receipts/{receipt}"),
    "a receipt of PHI": (PHI_ANSWER, "/v1/receipts/{receipt}"),
    "a receipt of a refusal": (REFUSAL, "/v1/receipts/{receipt}"),
    "a receipt of a failure": (FAILURE, "/v1/receipts/{receipt}"),
    "a receipt by the completion's id": (ANSWER, "/v1/receipts/chatcmpl-{receipt}"),
    "a receipt under the other path": (ANSWER, "/api/v1/receipts/{receipt}"),
    "a receipt and a query": (ANSWER, "/v1/receipts/{receipt}?x=1"),
    "a signature with ecdsa": (ANSWER, "/v1/signature/{receipt}?signing_algo=ecdsa"),
    "a signature with ed25519": (ANSWER, "/v1/signature/{receipt}?signing_algo=ed25519"),
    "a signature with rsa": (ANSWER, "/v1/signature/{receipt}?signing_algo=rsa"),
    "a signature with nothing": (ANSWER, "/v1/signature/{receipt}?signing_algo="),
    "a signature of its model": (ANSWER, "/v1/signature/{receipt}?model=gemma-4"),
    "a signature of its row": (ANSWER, "/v1/signature/{receipt}?model=infomaniak-gemma-4-31b"),
    "a signature of another model": (ANSWER, "/v1/signature/{receipt}?model=qwen3.5"),
    "a signature by the completion's id": (ANSWER, "/v1/signature/chatcmpl-{receipt}"),
    "a signature of a stream": (STREAM, "/v1/signature/{receipt}"),
    "a signature of PHI": (PHI_ANSWER, "/v1/signature/{receipt}"),
    "a signature of a refusal": (REFUSAL, "/v1/signature/{receipt}"),
    "a signature of a failure": (FAILURE, "/v1/signature/{receipt}"),
    "an account after a failure": (FAILURE, "/v1/account"),
}

REPORTS: Mapping[str, tuple[str, Mapping[str, str], tuple[Any, ...]]] = {
    "one": (REPORT + "enclave-one", CH, (QUOTE,)),
    "one of an alias": (REPORT + "enclaves", CH, (QUOTE,)),
    "one with an address": (
        f"{REPORT}enclave-one&signing_address=0x{'a' * 40}&signing_algo=ecdsa",
        CH,
        (QUOTE,),
    ),
    "one under PHI": (REPORT + "enclave-one", PHI, (QUOTE,)),
    "one of another region": (REPORT + "enclave-one", {"x-region": "EU"}, ()),
    "one of a region that is none": (REPORT + "enclave-one", {"x-region": "MOON"}, ()),
    "one of a name of others too": (REPORT + "either", CH, (QUOTE,)),
    "one of auto": (REPORT + "auto", CH, (QUOTE,)),
    "one of a model in the open": (REPORT + "plain-one", CH, ()),
    "one of a model that nobody knows": (REPORT + "gpt-7", CH, ()),
    "one of no model": (f"/v1/attestation/report?nonce={NONCE}", CH, ()),
    "one of an empty model": (REPORT, CH, ()),
    "one without a nonce": ("/v1/attestation/report?model=enclave-one", CH, ()),
    "a nonce that is long": (f"{REPORT}enclave-one&nonce={'0f' * 33}", CH, ()),
    "a nonce that is half": ("/v1/attestation/report?model=enclave-one&nonce=0", CH, ()),
    "an algorithm that is none": (REPORT + "enclave-one&signing_algo=rsa", CH, ()),
    "an address that is none": (REPORT + "enclave-one&signing_address=0x1", CH, ()),
    "a failure": (REPORT + "enclave-one", CH, (Fetched(500, b"no"),)),
    "a report that is not found": (REPORT + "enclave-one", CH, (Fetched(404, b"{}"),)),
    "a report that is no JSON": (REPORT + "enclave-one", CH, (Fetched(200, b"<html>"),)),
    "a report that is a list": (REPORT + "enclave-one", CH, (Fetched(200, b"[]"),)),
    "a timeout": (REPORT + "enclave-one", CH, (UpstreamFailed("timeout"),)),
    "a connection that fails": (REPORT + "enclave-one", CH, (UpstreamFailed("connect"),)),
    "a report that is too large": (REPORT + "enclave-one", CH, (UpstreamFailed("oversized"),)),
}

ENCLAVE = asks(model="enclave-two")
SIGNED: Mapping[str, tuple[Any, ...]] = {
    "a signature": (FOUND,),
    "a signature that comes late": (Fetched(404, b"{}"), FOUND),
    "no signature": (Fetched(404, b"{}"), Fetched(404, b"{}")),
    "a signature that is none": (Fetched(200, b"[]"),),
    "a timeout": (UpstreamFailed("timeout"), FOUND),
    "an error": (Fetched(500, b""), UpstreamFailed("connect")),
}


def _told() -> Iterator[tuple[str, Case]]:
    for method, path in PATHS:
        yield f"{method} {path} of odd rows", Case(None, method=method, path=path, catalog="odd")
    for name, (path, accept) in ACCEPTED.items():
        yield f"accept: {name}", Case(None, {"accept": accept}, method="GET", path=path)
    for path in GUARDED:
        yield f"no key at {path}", Case(None, key=None, method="GET", path=path)
        yield f"a stranger at {path}", Case(None, key=STRANGER, method="GET", path=path)
        ended = {"expires_at_s": 1}
        yield f"an ended key at {path}", Case(None, method="GET", path=path, options=ended)
    for path in OPEN:
        yield f"no key at {path}", Case(None, key=None, method="GET", path=path)
    long = {"x-long": "x" * 8_200}
    yield "8 KB of headers at models", Case(None, long, method="GET", path="/v1/models")


def _given() -> Iterator[tuple[str, Case]]:
    for name, (case, then) in GIVEN.items():
        yield f"then: {name}", replace(case, then=then)
    for name, case in {"an answer": ANSWER, "PHI": PHI_ANSWER, "a refusal": REFUSAL}.items():
        yield (
            f"then: a bare receipt of {name}",
            replace(case, then="/v1/receipts/{receipt}", then_headers={"accept": JOSE}),
        )
    signature = "/v1/signature/{receipt}"
    yield "then: 61 signatures", replace(ANSWER, then=signature, thens=61)
    for name, (path, headers, gets) in REPORTS.items():
        yield (
            f"report: {name}",
            Case(None, headers, method="GET", path=path, gets=gets, catalog="odd"),
        )
    yield (
        "report: of a key for PHI alone",
        Case(
            None,
            CH,
            method="GET",
            path=REPORT + "enclave-one",
            policy=KeyPolicy("required"),
            gets=(QUOTE,),
            catalog="odd",
        ),
    )
    yield (
        "report: of a key of another model",
        Case(
            None,
            CH,
            method="GET",
            path=REPORT + "enclave-one",
            policy=KeyPolicy(models=frozenset({"plain-one"})),
            catalog="odd",
        ),
    )
    yield (
        "report: 61 of them",
        Case(
            None,
            CH,
            method="GET",
            path=REPORT + "enclave-one",
            gets=(QUOTE,) * 60,
            times=61,
            catalog="odd",
        ),
    )


def _enclaves() -> Iterator[tuple[str, Case]]:
    for name, gets in SIGNED.items():
        yield (
            f"enclave: {name}",
            Case(ENCLAVE, CH, gets=gets, scripts=(answers(),), catalog="odd"),
        )
    more: dict[str, Any] = {"gets": (FOUND,), "catalog": "odd"}
    yield (
        "enclave: a receipt",
        Case(ENCLAVE, CH, scripts=(answers(),), then="/v1/receipts/{receipt}", **more),
    )
    yield (
        "enclave: a stream",
        Case({**ENCLAVE, "stream": True}, CH, scripts=(streams(*GOOD_STREAM),), **more),
    )
    yield (
        "enclave: a stream that is cut",
        Case({**ENCLAVE, "stream": True}, CH, scripts=(streams(chunk("a")),), **more),
    )
    yield "enclave: PHI", Case(ENCLAVE, PHI, scripts=(answers(),), **more)
    yield "enclave: a failure", Case(ENCLAVE, CH, scripts=(fails(500), answers()), **more)
    lifted = {**ENCLAVE, "provider": {"confidential": False}}
    yield "enclave: lifted", Case(lifted, CH, scripts=(fails(500), answers(), answers()), **more)
    yield (
        "enclave: an id of another shape",
        Case(ENCLAVE, CH, scripts=(answers(id="a/b c"),), **more),
    )
    yield "enclave: no id", Case(ENCLAVE, CH, scripts=(answers(id=...),), **more)
    required = KeyPolicy(confidential="required")
    yield (
        "enclave: a key for enclaves alone",
        Case(asks(model="auto"), CH, scripts=(answers(),), policy=required, **more),
    )
    yield (
        "enclave: math",
        Case(ENCLAVE, CH, path=MATH, scripts=(answers(),), plays=(ran(),), **more),
    )


JOSE = "application/jose"

ENDPOINT_CASES: Mapping[str, Case] = dict((*_told(), *_given(), *_enclaves()))
