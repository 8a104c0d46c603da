"""Every error on the wire is the OpenAI envelope with an x-request-id, whatever went wrong."""

import json
import socket
import time
from dataclasses import dataclass

import pytest

from phigate.core.ledger.keys import make_key
from phigate.core.limits import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    JSON_DEPTH_MAX,
    JSON_MEMBERS_MAX,
    KEY_BYTES_MAX,
)
from phigate.core.types import Json, KeyPolicy
from phigate.effects.clock import WallClock
from phigate.effects.store.admin import DynamoAdmin
from phigate.effects.store.dynamodb import DynamoDB
from tests.builders import make_body
from tests.http.calls import CHAT, HELLO, IMAGE, assert_envelope
from tests.local.running import Headers, RunningStack

UNKNOWN_KEY = make_key("test", bytes(32))


AUTHORIZATIONS: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "another scheme": "Basic cGhpOnBoaQ==",
    "a bearer without a key": "Bearer ",
    "another house's key": "Bearer sk-proj-0123456789",
    "a wrong checksum": f"Bearer {UNKNOWN_KEY[:-1]}{'1' if UNKNOWN_KEY[-1] == '0' else '0'}",
    "unknown": f"Bearer {UNKNOWN_KEY}",
    "twice in one header": f"Bearer {UNKNOWN_KEY}, Bearer {UNKNOWN_KEY}",
    "over the length of any key": f"Bearer {UNKNOWN_KEY}{'0' * KEY_BYTES_MAX}",
    "odd bytes": "Bearer phi_test_\xff\xfe",
}


@pytest.mark.parametrize("path", [CHAT, "/api/v1/chat/completions", "/v1/route", "/v1/account"])
@pytest.mark.parametrize("name", AUTHORIZATIONS)
def test_a_key_that_is_none_is_401(stack: RunningStack, name: str, path: str) -> None:
    value = AUTHORIZATIONS[name]
    headers: Headers = [] if value is None else [("authorization", value.encode("latin-1"))]
    method = "GET" if path.endswith("account") else "POST"
    assert_envelope(stack.call(method, path, body=HELLO, headers=headers), 401, "invalid_api_key")


def test_an_expired_key_is_401(stack: RunningStack, account: str) -> None:
    key = stack.new_key(account, expires_at_s=int(time.time()) - 1)
    assert_envelope(stack.chat(HELLO, key), 401, "invalid_api_key")


@pytest.mark.parametrize("used_before", [False, True], ids=["never used", "cached"])
def test_a_disabled_key_is_401(
    stack: RunningStack, account: str, key: str, *, used_before: bool
) -> None:
    if used_before:
        assert stack.chat(HELLO, key).status == 200

    async def disabled(dynamodb: DynamoDB) -> None:
        admin = DynamoAdmin(dynamodb, WallClock())
        (view,) = await admin.list_keys(account)
        await admin.disable_key(account, view.key_id)

    stack.ask(disabled)
    assert_envelope(stack.chat(HELLO, key), 401, "invalid_api_key")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/chat/completions",
        "/v1/chat/completions/",
        "/v1/completions",
        "/v1/route/",
        "/v1//models",
        "/docs",
        "/redoc",
        "/api",
        "/api/api/v1/models",
        "/%2e%2e/v1/models",
    ],
)
def test_an_unknown_path_is_404(stack: RunningStack, key: str, path: str) -> None:
    for method in ("GET", "POST"):
        assert_envelope(stack.call(method, path, key=key), 404, "not_found")


METHODS = {
    CHAT: "POST",
    "/api/v1/chat/completions": "POST",
    "/v1/route": "POST",
    "/v1/models": "GET",
    "/v1/models/infomaniak-qwen3.5": "GET",
    "/v1/pricing": "GET",
    "/v1/account": "GET",
    "/healthz": "GET",
    "/openapi.json": "GET",
}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", METHODS)
def test_another_method_is_405_and_says_which_is_allowed(
    stack: RunningStack, path: str, method: str
) -> None:
    if method == METHODS[path]:
        return
    told = stack.call(method, path)
    assert_envelope(told, 405, "method_not_allowed")
    assert told.headers["allow"] == METHODS[path]


@pytest.mark.parametrize("path", METHODS)
def test_head_is_405_without_a_body(stack: RunningStack, path: str) -> None:
    told = stack.call("HEAD", path)
    assert (told.status, told.headers["allow"], told.body) == (405, METHODS[path], b"")


@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
def test_a_body_over_the_limit_is_413(stack: RunningStack, key: str, path: str) -> None:
    body = json.dumps(HELLO).encode().ljust(BODY_BYTES_MAX + 1)
    assert_envelope(stack.call("POST", path, key=key, body=body), 413, "request_too_large")
    assert stack.call("POST", path, key=key, body=body[:-1]).status == 200


def test_a_chunked_body_over_the_limit_is_413(stack: RunningStack, key: str) -> None:
    chunks = [b" " * 1_000_000] * 5 + [json.dumps(HELLO).encode()]
    assert_envelope(stack.call("POST", CHAT, key=key, chunks=chunks), 413, "request_too_large")


def test_a_chunked_body_is_read_whole(stack: RunningStack, key: str) -> None:
    whole = json.dumps(HELLO).encode()
    chunks = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    assert stack.call("POST", CHAT, key=key, chunks=chunks).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "nonsense"])
@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
def test_an_encoded_body_is_415(stack: RunningStack, key: str, path: str, encoding: str) -> None:
    told = stack.call("POST", path, key=key, body=HELLO, headers=[("content-encoding", encoding)])
    assert_envelope(told, 415, "unsupported_encoding")


@pytest.mark.parametrize("encoding", ["identity", "Identity"])
def test_identity_is_no_encoding(stack: RunningStack, key: str, encoding: str) -> None:
    told = stack.call("POST", CHAT, key=key, body=HELLO, headers=[("content-encoding", encoding)])
    assert told.status == 200


BODIES: dict[str, tuple[bytes, str | None]] = {
    "empty": (b"", None),
    "not JSON": (b"model=gemma-4", None),
    "not UTF-8": (b'{"model": "gemma-4", "messages": [{"role": "user", "content": "\xff"}]}', None),
    "UTF-16": (json.dumps(HELLO).encode("utf-16"), None),
    "cut short": (json.dumps(HELLO).encode()[:-1], None),
    "a list": (b"[]", None),
    "two objects": (b"{}{}", None),
    "a name twice": (b'{"model": "a", "model": "b", "messages": []}', None),
    "NaN": (b'{"model": "a", "messages": [], "temperature": NaN}', None),
    "a lone surrogate": (json.dumps(make_body(model="gemma-4", user="\ud800")).encode(), None),
    "too deep": (b'{"metadata": ' + b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX + b"}", None),
    "deeper than a parser": (b"[" * 200_000, None),
    "no model": (b'{"messages": [{"role": "user", "content": "Hi"}]}', "model"),
    "no messages": (b'{"model": "gemma-4"}', "messages"),
    "no message": (b'{"model": "gemma-4", "messages": []}', "messages"),
    "a text for a number": (json.dumps(HELLO | {"temperature": "1"}).encode(), "temperature"),
    "a number out of range": (json.dumps(HELLO | {"top_p": 1.5}).encode(), "top_p"),
    "tokens above every row's": (json.dumps(HELLO | {"max_tokens": 10**9}).encode(), "max_tokens"),
    "an unknown role": (
        json.dumps(HELLO | {"messages": [{"role": "boss", "content": "Hi"}]}).encode(),
        "messages.0.role",
    ),
    "store": (json.dumps(HELLO | {"store": True}).encode(), "store"),
    "only no provider": (json.dumps(HELLO | {"provider": {"only": []}}).encode(), "provider.only"),
    "too many containers": (
        b'{"metadata": {"x": [' + b"{}," * JSON_MEMBERS_MAX + b"{}]}}",
        None,
    ),
    "a tier in another spelling": (
        json.dumps(HELLO | {"Service_Tier": "priority"}).encode(),
        "Service_Tier",
    ),
    "a place": (json.dumps(HELLO | {"inference_geo": "us"}).encode(), "inference_geo"),
    "stream options alone": (
        json.dumps(HELLO | {"stream_options": {"include_usage": True}}).encode(),
        "stream_options",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_with_a_mistake_is_400(stack: RunningStack, key: str, name: str) -> None:
    body, param = BODIES[name]
    assert_envelope(stack.call("POST", CHAT, key=key, body=body), 400, "invalid_request", param)


HEADERS: dict[str, tuple[Headers, str]] = {
    "an unknown region": ([("x-region", "MARS")], "X-Region"),
    "an empty region": ([("x-region", "")], "X-Region"),
    "two regions": ([("x-region", "CH"), ("X-Region", "EU")], "X-Region"),
    "the same region twice": ([("x-region", "CH"), ("x-region", "CH")], "X-Region"),
    "a region of odd bytes": ([("x-region", b"C\xff\x80H")], "X-Region"),
    "a PHI flag that is none": ([("x-phi", "yes")], "X-PHI"),
    "two PHI flags": ([("x-phi", "true"), ("x-phi", "false")], "X-PHI"),
    "an empty PHI flag": ([("x-phi", "")], "X-PHI"),
    "two PHI flags, one with an underscore": ([("x-phi", "true"), ("X_PHI", "false")], "X-PHI"),
    "the underscore first": ([("x_phi", "false"), ("x-phi", "true")], "X-PHI"),
    "two regions, one with an underscore": ([("x-region", "CH"), ("x_region", "US")], "X-Region"),
    "an unknown region with an underscore": ([("X_Region", "MARS")], "X-Region"),
    "an unknown model tier with underscores": ([("X_Model_Tier", "best")], "X-Model-Tier"),
    "an unknown model tier with one underscore": ([("x-model_tier", "best")], "X-Model-Tier"),
    "an unknown model tier": ([("x-model-tier", "best")], "X-Model-Tier"),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
def test_a_header_with_a_mistake_is_400(
    stack: RunningStack, key: str, path: str, name: str
) -> None:
    headers, param = HEADERS[name]
    told = stack.call("POST", path, key=key, body=HELLO, headers=headers)
    assert_envelope(told, 400, "invalid_request", param)


def test_odd_bytes_in_a_header_of_no_meaning_do_no_harm(stack: RunningStack, key: str) -> None:
    told = stack.call("POST", CHAT, key=key, body=HELLO, headers=[("x-note", b"\xff\x80\xc3")])
    assert told.status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/nowhere"])
@pytest.mark.parametrize("count", [1, 8], ids=["one header", "eight headers"])
def test_headers_over_the_limit_together_are_400(
    stack: RunningStack, path: str, count: int
) -> None:
    many: Headers = [(f"x-{n}", "a" * (HEADER_BYTES_MAX // count)) for n in range(count)]
    told = stack.call("GET", path, headers=many)
    assert_envelope(told, 400, "invalid_request")


def test_headers_within_the_limit_are_read(stack: RunningStack, key: str) -> None:
    told = stack.call(
        "POST", CHAT, key=key, body=HELLO, headers=[("x-a", "a" * (HEADER_BYTES_MAX - 400))]
    )
    assert told.status == 200


@dataclass(frozen=True)
class Refusal:
    """A call that is refused, and how."""

    status: int
    code: str
    body: Json
    headers: tuple[tuple[str, str], ...] = ()
    policy: KeyPolicy | None = None
    micros: int = 1_000_000
    param: str | None = None
    extra: tuple[str, ...] = ()


REFUSALS = {
    "PHI with a key that may not": Refusal(
        403, "key_policy", HELLO, (("x-phi", "1"),), KeyPolicy(phi="forbidden"), param="X-PHI"
    ),
    "PHI with an underscore, with a key that may not": Refusal(
        403, "key_policy", HELLO, (("X_PHI", "true"),), KeyPolicy(phi="forbidden"), param="X-PHI"
    ),
    "PHI with an underscore where no agreement is": Refusal(
        403, "phi_blocked", HELLO, (("X_Region", "US"), ("X_PHI", "true"))
    ),
    "general with a key for PHI": Refusal(
        403, "key_policy", HELLO, (("x-phi", "0"),), KeyPolicy(phi="required"), param="X-PHI"
    ),
    "a region outside the key's": Refusal(
        403,
        "key_policy",
        HELLO,
        (("x-region", "US"),),
        KeyPolicy(regions=frozenset({"CH"})),
        param="X-Region",
    ),
    "a model outside the key's": Refusal(
        403,
        "key_policy",
        HELLO,
        policy=KeyPolicy(models=frozenset({"qwen3.5"})),
        param="model",
    ),
    "no such model": Refusal(404, "model_not_found", HELLO | {"model": "gpt-17"}, param="model"),
    "no model sees images there": Refusal(
        404,
        "no_route",
        {"model": "qwen3.5", "messages": [{"role": "user", "content": IMAGE}]},
        (("x-region", "US"), ("x-phi", "1")),
    ),
    "no agreement there": Refusal(
        403, "phi_blocked", HELLO, (("x-region", "US"), ("x-phi", "true"))
    ),
    "no credit": Refusal(
        402,
        "insufficient_credit",
        HELLO,
        micros=100,
        extra=("needed_micro", "available_micro", "max_tokens_affordable"),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_its_code_and_leaves_a_receipt(
    stack: RunningStack, account: str, name: str
) -> None:
    case = REFUSALS[name]
    key = stack.new_key(account, case.policy, micros=case.micros)
    told = stack.call("POST", CHAT, key=key, body=case.body, headers=case.headers)
    assert_envelope(told, case.status, case.code, case.param)
    assert told.headers["x-phi-receipt"] == told.headers["x-request-id"]
    assert told.headers["x-phi-attempts"] == "0"
    assert set(told.error) == {"message", "type", "code", "param", *case.extra}
    view = stack.account(key)
    assert (view["available_micro"], view["held_micro"], view["spent_micro"]) == (
        case.micros,
        0,
        0,
    )


def test_a_key_over_its_rate_is_429_and_told_when_to_come_back(
    stack: RunningStack, account: str
) -> None:
    key = stack.new_key(account, KeyPolicy(rpm=1))
    # The first two calls may stand on both sides of a minute's end; the third cannot.
    answers = [stack.chat(HELLO, key) for _ in range(3)]
    limited = [told for told in answers if told.status != 200]
    assert 1 <= len(limited) <= 2
    assert_envelope(limited[0], 429, "rate_limited")
    assert 1 <= int(limited[0].headers["retry-after"]) <= 60


def test_refusals_over_the_limit_are_429_without_a_receipt(stack: RunningStack, key: str) -> None:
    # 121 refusals cannot all fall into two minutes of 60.
    answers = [stack.call("POST", CHAT, key=key, body=b"") for _ in range(121)]
    limited = [told for told in answers if told.status == 429]
    assert limited
    assert_envelope(limited[0], 429, "rate_limited")
    assert "x-phi-receipt" not in limited[0].headers


def test_a_refused_provider_call_is_passed_on_as_the_callers_mistake(
    stack: RunningStack, key: str
) -> None:
    body = make_body(model="gemma-4", messages=[{"role": "user", "content": "simulate:refuse=400"}])
    told = stack.chat(body, key)
    assert told.status == 400
    assert told.error["code"] == "invalid_request"


RAW: dict[str, bytes] = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a path of odd bytes": b"GET /v1/\xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n",
    "two lengths": b"POST /v1/route HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n"
    b"content-length: 2\r\n\r\n{}",
    "a length and chunks": b"POST /v1/route HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a line end in a header": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-a: b\rc\r\n\r\n",
}


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_http_gets_no_answer_of_the_gateway_and_does_no_harm(
    stack: RunningStack, name: str
) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), 10) as connection:
        connection.sendall(RAW[name])
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert not answer.startswith(b"HTTP/1.1 200")
    assert not answer.startswith(b"HTTP/1.1 500")
    assert stack.call("GET", "/healthz").status == 200
