"""RedPill's surface against a running stack, checked as its public verifiers check it, by libraries
that know nothing of this repository."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from phigate.core.ledger.keys import make_key
from phigate.core.limits import PROOFS_PER_MINUTE_MAX
from phigate.core.types import Json, KeyPolicy
from phigate.verify.receipt import Evidence, read_bundle, verify
from phigate.verify.roots import REDPILL, read_jwks
from phigate.wire.eip191 import address_of
from phigate.wire.jwk import ec_point
from tests import ethereum
from tests.builders import make_body
from tests.http.calls import CHAT, assert_envelope
from tests.local.running import Headers, HttpAnswer, RunningStack

NONCE = "0f" * 32
WORLD = (("x-region", "WORLD"),)
PHALA = "phala/qwen3.5-27b"
POLLS_MAX = 2_000  # the upstream's signature is kept some milliseconds after the answer

GENERAL: Json = make_body(model="gemma-4")
CONFIDENTIAL: Json = make_body(model=PHALA, provider={"allow_fallbacks": False})


@dataclass(frozen=True)
class Answered:
    """One call: the bytes that the caller sent and got."""

    sent: bytes
    got: bytes
    id: str
    row: str

    @property
    def text(self) -> str:
        """What RedPill's verifiers compare: both hashes of one's own bytes."""
        return f"{hashlib.sha256(self.sent).hexdigest()}:{hashlib.sha256(self.got).hexdigest()}"


def ask(
    stack: RunningStack, key: str, body: Json, headers: Headers = (), *, status: int = 200
) -> Answered:
    sent = json.dumps(body, indent=1).encode()
    told = stack.call("POST", CHAT, key=key, body=sent, headers=headers)
    assert told.status == status, told
    row = told.headers.get("x-phi-routed", "").split("/")[0]
    return Answered(sent, told.body, told.headers["x-phi-receipt"], row)


def signature(stack: RunningStack, key: str | None, call_id: str, query: str = "") -> HttpAnswer:
    return stack.call("GET", f"/v1/signature/{call_id}{query}", key=key)


def report(
    stack: RunningStack, key: str | None, query: str, headers: Headers = WORLD
) -> HttpAnswer:
    return stack.call("GET", f"/v1/attestation/report?{query}", key=key, headers=headers)


CALLS: dict[str, tuple[Json, Headers]] = {
    "a whole answer": (GENERAL, ()),
    "a stream": ({**GENERAL, "stream": True}, ()),
    "a confidential answer": (CONFIDENTIAL, WORLD),
    "a confidential stream": ({**CONFIDENTIAL, "stream": True}, WORLD),
}


@pytest.mark.parametrize("name", CALLS)
def test_redpills_steps_hold_for(name: str, stack: RunningStack, key: str) -> None:
    """Hash own bytes, compare with the text, recover the signer, compare with the address."""
    body, headers = CALLS[name]
    answered = ask(stack, key, body, headers)
    told = signature(stack, key, answered.id, f"?model={body['model']}&signing_algo=ecdsa")
    assert told.status == 200, told
    assert set(told.json) == {"text", "signature", "signing_address", "signing_algo"}
    assert told.json["text"] == answered.text
    assert told.json["signing_algo"] == "ecdsa"
    signer = ethereum.signer_of(told.json["text"], told.json["signature"])
    assert signer == told.json["signing_address"]


@pytest.mark.parametrize("name", CALLS)
def test_the_ed25519_signature_holds_for(name: str, stack: RunningStack, key: str) -> None:
    body, headers = CALLS[name]
    answered = ask(stack, key, body, headers)
    told = signature(stack, key, answered.id, "?signing_algo=ed25519").json
    assert told["text"] == answered.text
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["signing_address"]))
    public.verify(bytes.fromhex(told["signature"]), told["text"].encode())
    # The key is the one that the stack's root vouches for in the receipt of this call.
    roots = read_jwks(stack.call("GET", "/.well-known/jwks.json").body)
    bundle = read_bundle(json.dumps(told).encode())
    verified = verify(bundle, Evidence(roots, answered.sent, answered.got))
    assert verified.is_anchored
    assert not verified.fails, verified


def test_ecdsa_is_the_default_and_the_completions_id_will_do(stack: RunningStack, key: str) -> None:
    answered = ask(stack, key, GENERAL)
    told = signature(stack, key, json.loads(answered.got)["id"])
    assert told.json["signing_algo"] == "ecdsa"
    assert ethereum.signer_of(answered.text, told.json["signature"]) == told.json["signing_address"]


def test_the_address_is_that_of_a_root_of_the_stack(stack: RunningStack, key: str) -> None:
    answered = ask(stack, key, GENERAL)
    roots = read_jwks(stack.call("GET", "/.well-known/jwks.json").body)
    (root,) = [root for root in roots.values() if root.signs == REDPILL]
    told = signature(stack, key, answered.id)
    assert told.json["signing_address"] == address_of(ec_point(root.jwk))


@pytest.mark.parametrize("model", [PHALA, "phala-qwen3.5-27b", "auto"])
def test_the_model_may_be_named_as_in_a_call(stack: RunningStack, key: str, model: str) -> None:
    answered = ask(stack, key, CONFIDENTIAL, WORLD)
    assert signature(stack, key, answered.id, f"?model={model}").status == 200


PHI = (("x-phi", "true"),)
REFUSED: dict[str, tuple[Callable[[RunningStack, str], str], str, int, str, str | None, str]] = {
    "PHI": (
        lambda stack, key: ask(stack, key, GENERAL, PHI).id,
        "",
        404,
        "not_found",
        "id",
        "test guesses",
    ),
    "PHI, by ed25519": (
        lambda stack, key: ask(stack, key, GENERAL, PHI).id,
        "?signing_algo=ed25519",
        404,
        "not_found",
        "id",
        "test guesses",
    ),
    "a refusal": (
        lambda stack, key: ask(stack, key, make_body(model="nobody"), status=404).id,
        "",
        404,
        "not_found",
        "id",
        "refused",
    ),
    "a refusal whose headers could not be read": (
        lambda stack, key: ask(stack, key, GENERAL, (("x-phi", "perhaps"),), status=400).id,
        "",
        404,
        "not_found",
        "id",
        "PHI",
    ),
    "an unknown algorithm": (
        lambda stack, key: ask(stack, key, GENERAL).id,
        "?signing_algo=rsa",
        400,
        "invalid_request",
        "signing_algo",
        "ecdsa or ed25519",
    ),
    "another model": (
        lambda stack, key: ask(stack, key, GENERAL).id,
        f"?model={PHALA}",
        404,
        "not_found",
        "model",
        "answered by infomaniak-gemma-4-31b",
    ),
    "a model that is none": (
        lambda stack, key: ask(stack, key, GENERAL).id,
        "?model=nobody",
        404,
        "not_found",
        "model",
        "answered by",
    ),
    "no such receipt": (
        lambda stack, key: "AGtJ0AAAAAAAAAAA",
        "",
        404,
        "not_found",
        "id",
        "no receipt of this id",
    ),
    "no receipt's id": (
        lambda stack, key: "nonsense",
        "",
        404,
        "not_found",
        "id",
        "no receipt of this id",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_signature_is_given_for(name: str, stack: RunningStack, key: str) -> None:
    made, query, status, code, param, says = REFUSED[name]
    told = signature(stack, key, made(stack, key), query)
    assert_envelope(told, status, code, param)
    assert says in told.error["message"]


def test_only_the_account_that_called_gets_the_signature(stack: RunningStack, key: str) -> None:
    answered = ask(stack, key, GENERAL)
    other = stack.new_key("somebody-else")
    for algo in ("ecdsa", "ed25519"):
        told = signature(stack, other, answered.id, f"?signing_algo={algo}")
        assert_envelope(told, 404, "not_found", "id")
        assert "no receipt of this id" in told.error["message"], "as for one that is not there"
    assert_envelope(signature(stack, None, answered.id), 401, "invalid_api_key")
    unknown = make_key("test", bytes(32))
    assert_envelope(signature(stack, unknown, answered.id), 401, "invalid_api_key")


def receipt_with_upstream(stack: RunningStack, key: str, call_id: str) -> bytes:
    """The receipt, once the upstream's signature stands beside it."""
    for _ in range(POLLS_MAX):
        told = stack.call("GET", f"/v1/receipts/{call_id}", key=key)
        if "upstream_signature" in told.json:
            return told.body
    raise AssertionError(stack.output[-2_000:])


@pytest.mark.parametrize("stream", [False, True])
def test_a_confidential_answer_is_verified_up_to_the_provider(
    stream: bool, stack: RunningStack, key: str
) -> None:
    answered = ask(stack, key, {**CONFIDENTIAL, "stream": stream}, WORLD)
    receipt = receipt_with_upstream(stack, key, answered.id)
    signed = json.loads(receipt)["upstream_signature"]
    signer = ethereum.signer_of(signed["text"], signed["signature"])
    assert signer.lower() == signed["signing_address"]
    told = report(stack, key, f"model={PHALA}&nonce={NONCE}")
    roots = read_jwks(stack.call("GET", "/.well-known/jwks.json").body)
    evidence = Evidence(roots, answered.sent, answered.got, attestation=told.body)
    verified = verify(read_bundle(receipt), evidence)
    checks = {check.name: check for check in verified.checks}
    assert checks["upstream"].outcome == "holds", checks
    assert "NOT verified here" in checks["upstream"].message
    assert not verified.fails


def test_other_rows_receipts_say_nothing_of_an_upstream(stack: RunningStack, key: str) -> None:
    answered = ask(stack, key, GENERAL)
    body = stack.call("GET", f"/v1/receipts/{answered.id}", key=key).json
    assert "upstream_signature" not in body
    assert [name for name in body["record"] if "upstream" in name] == []


@pytest.mark.parametrize("algo", ["", "&signing_algo=ecdsa", "&signing_algo=ed25519"])
def test_the_report_is_the_upstreams_with_the_nonce(
    algo: str, stack: RunningStack, key: str
) -> None:
    told = report(stack, key, f"model={PHALA}&nonce={NONCE}{algo}")
    assert told.status == 200, told
    assert told.headers["content-type"] == "application/json"
    assert told.json["request_nonce"] == NONCE
    assert told.json["simulated"] is True
    assert "[simulated]" in told.json["intel_quote"]
    assert told.json["signing_algo"] == (algo.rpartition("=")[2] or "ecdsa")


BAD_NONCES = {
    "missing": "",
    "empty": "&nonce=",
    "not hex": "&nonce=0g",
    "half a byte": "&nonce=abc",
    "with 0x": "&nonce=0xab",
    "too long": "&nonce=" + "0f" * 33,
    "a line end": "&nonce=0f%0a",
    "another parameter in it": "&nonce=0f%26model%3Dother",
}


@pytest.mark.parametrize("nonce", BAD_NONCES.values(), ids=BAD_NONCES)
def test_a_nonce_is_hex_of_at_most_32_bytes(nonce: str, stack: RunningStack, key: str) -> None:
    assert_envelope(report(stack, key, f"model={PHALA}{nonce}"), 400, "invalid_request", "nonce")


@pytest.mark.parametrize("nonce", ["0f", "0F" * 32, "ab" * 31])
def test_a_shorter_nonce_will_do(nonce: str, stack: RunningStack, key: str) -> None:
    assert report(stack, key, f"model={PHALA}&nonce={nonce}").json["request_nonce"] == nonce


Case = tuple[str, Headers, KeyPolicy | None, int, str, str | None]
NO_REPORT: dict[str, Case] = {
    "no model": (f"nonce={NONCE}", WORLD, None, 400, "invalid_request", "model"),
    "a model that is none": (
        f"model=nobody&nonce={NONCE}",
        WORLD,
        None,
        404,
        "model_not_found",
        "model",
    ),
    "a row that is not confidential": (
        f"model=gemma-4&nonce={NONCE}",
        (),
        None,
        404,
        "not_found",
        "model",
    ),
    "another region": (
        f"model={PHALA}&nonce={NONCE}",
        (("x-region", "CH"),),
        None,
        404,
        "no_route",
        None,
    ),
    "no region": (
        f"model={PHALA}&nonce={NONCE}",
        (("x-region", "MARS"),),
        None,
        400,
        "invalid_request",
        "X-Region",
    ),
    "PHI": (f"model={PHALA}&nonce={NONCE}", (*WORLD, *PHI), None, 403, "phi_blocked", None),
    "a key for another model": (
        f"model={PHALA}&nonce={NONCE}",
        WORLD,
        KeyPolicy(models=frozenset({"gemma-4"})),
        403,
        "key_policy",
        "model",
    ),
    "a key for another region": (
        f"model={PHALA}&nonce={NONCE}",
        WORLD,
        KeyPolicy(regions=frozenset({"CH"})),
        403,
        "key_policy",
        "X-Region",
    ),
    "a key that must say PHI": (
        f"model={PHALA}&nonce={NONCE}",
        (*WORLD, ("x-phi", "false")),
        KeyPolicy(phi="required"),
        403,
        "key_policy",
        "X-PHI",
    ),
    "an unknown algorithm": (
        f"model={PHALA}&nonce={NONCE}&signing_algo=rsa",
        WORLD,
        None,
        400,
        "invalid_request",
        "signing_algo",
    ),
    "an address that is none": (
        f"model={PHALA}&nonce={NONCE}&signing_address=0x12",
        WORLD,
        None,
        400,
        "invalid_request",
        "signing_address",
    ),
}


@pytest.mark.parametrize("name", NO_REPORT)
def test_no_report_is_given_for(name: str, stack: RunningStack, account: str) -> None:
    query, headers, policy, status, code, param = NO_REPORT[name]
    told = report(stack, stack.new_key(account, policy), query, headers)
    assert_envelope(told, status, code, param)


def test_a_report_needs_a_key(stack: RunningStack) -> None:
    assert_envelope(report(stack, None, f"model={PHALA}&nonce={NONCE}"), 401, "invalid_api_key")


def test_who_asks_for_a_row_that_is_not_confidential_is_told_so(
    stack: RunningStack, key: str
) -> None:
    told = report(stack, key, f"model=gemma-4&nonce={NONCE}", ())
    assert "not confidential" in told.error["message"]


def test_a_report_costs_nothing_and_leaves_no_receipt(stack: RunningStack, key: str) -> None:
    before = stack.account(key)
    for query in (f"model={PHALA}&nonce={NONCE}", f"model={PHALA}"):
        report(stack, key, query)
    assert stack.account(key) == before


def test_a_key_may_ask_so_often_in_a_minute(stack: RunningStack, key: str) -> None:
    answered = ask(stack, key, GENERAL)
    first = signature(stack, key, answered.id).json
    # A minute may end meanwhile.
    for _ in range(2 * PROOFS_PER_MINUTE_MAX):
        told = signature(stack, key, answered.id)
        if told.status != 200:
            break
        assert told.json == first, "signed once"
    assert_envelope(told, 429, "rate_limited")
    assert 1 <= int(told.headers["retry-after"]) <= 60
    assert_envelope(report(stack, key, f"model={PHALA}&nonce={NONCE}"), 429, "rate_limited")
    other = stack.new_key("somebody-else-who-asks")
    assert report(stack, other, f"model={PHALA}&nonce={NONCE}").status == 200
    assert ask(stack, key, GENERAL).row, "calls are counted apart"


PATHS: Sequence[str] = ("/v1/signature/x", "/v1/attestation/report?signing_algo=rsa")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("base", ["", "/api"])
def test_the_key_is_looked_at_first_under_both_base_paths(
    base: str, path: str, stack: RunningStack
) -> None:
    assert_envelope(stack.call("GET", base + path), 401, "invalid_api_key")
