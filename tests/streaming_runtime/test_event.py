"""From a proxy event to an ASGI request: one table of what is taken, one of what is refused."""

import base64
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_runtime.errors import EventRefused, MalformedEvent, UnsupportedEvent
from streaming_runtime.event import to_request
from streaming_runtime.types import Invocation
from tests.streaming_runtime.events import EVENT, at, event

BIG = "x" * 9000
IPV6 = "2001:db8::1"


def headers(**many: list[str]) -> bytes:
    """An event with these headers alone."""
    return event(multiValueHeaders=many, headers=None)


def query(**many: list[str]) -> bytes:
    """An event with these parameters."""
    return event(multiValueQueryStringParameters=many)


# name, event, what the scope (or "body") says
TAKEN: list[tuple[str, bytes, dict[str, Any]]] = [
    ("method", event(), {"method": "POST"}),
    ("method in lower case", event(httpMethod="get"), {"method": "GET"}),
    ("method of one's own", event(httpMethod="PURGE"), {"method": "PURGE"}),
    (
        "the harness is in the path and is the root",
        event(),
        {"path": "/api/v1/chat/completions", "root_path": "/api"},
    ),
    (
        "custom domain: no harness in the URL",
        event(context={"path": "/v1/chat/completions"}),
        {"path": "/v1/chat/completions", "root_path": ""},
    ),
    (
        "custom domain with a base path",
        event(path="/base/v1/models", context={"path": "/base/v1/models"}),
        {"path": "/base/v1/models", "root_path": ""},
    ),
    (
        "no requestContext.path",
        event(context={"path": None}),
        {"path": "/v1/chat/completions", "root_path": ""},
    ),
    (
        "no requestContext",
        event("requestContext"),
        {"path": "/v1/chat/completions", "client": None, "http_version": "1.1"},
    ),
    (
        "a requestContext.path that is another's",
        event(context={"path": "/other"}),
        {"path": "/v1/chat/completions", "root_path": ""},
    ),
    (
        "the root",
        event(path="/", context={"path": "/api/"}),
        {"path": "/api/", "root_path": "/api", "raw_path": b"/api/"},
    ),
    ("an empty path", event(path="", context={"path": "/api"}), {"path": "/", "root_path": ""}),
    ("a path without its slash", event(path="v1", context={"path": None}), {"path": "/v1"}),
    ("%2F stays in the raw path", at("/a%2Fb"), {"path": "/api/a/b", "raw_path": b"/api/a%2Fb"}),
    ("%3F is no query", at("/a%3Fb"), {"path": "/api/a?b", "query_string": b""}),
    ("a space", at("/a%20b"), {"path": "/api/a b", "raw_path": b"/api/a%20b"}),
    ("a plus is a plus", at("/a+b"), {"path": "/api/a+b", "raw_path": b"/api/a+b"}),
    (
        "unicode, encoded",
        at("/caf%C3%A9"),
        {"path": "/api/café", "raw_path": b"/api/caf%C3%A9"},
    ),
    ("unicode, plain", at("/café"), {"path": "/api/café", "raw_path": b"/api/caf%C3%A9"}),
    ("a byte that is no UTF-8", at("/%FF"), {"path": "/api/\ufffd", "raw_path": b"/api/%FF"}),
    ("an encoded percent is decoded once", at("/%252F"), {"path": "/api/%2F"}),
    ("dots are the application's matter", at("/a/../b"), {"path": "/api/a/../b"}),
    (
        "header names in lower case, in order",
        headers(B=["1"], A=["2"]),
        {"headers": [(b"b", b"1"), (b"a", b"2")]},
    ),
    (
        "a repeated header",
        headers(Accept=["a", "b"]),
        {"headers": [(b"accept", b"a"), (b"accept", b"b")]},
    ),
    (
        "single headers alone",
        event("multiValueHeaders", headers={"X-A": "1"}),
        {"headers": [(b"x-a", b"1")]},
    ),
    ("null headers", event(headers=None, multiValueHeaders=None), {"headers": []}),
    ("no headers", event("headers", "multiValueHeaders"), {"headers": []}),
    ("an empty header value", headers(A=[""]), {"headers": [(b"a", b"")]}),
    ("a Latin-1 header", headers(A=["é"]), {"headers": [(b"a", b"\xe9")]}),
    ("a header beyond Latin-1", headers(A=["€"]), {"headers": [(b"a", "€".encode())]}),
    ("a huge header", headers(A=[BIG]), {"headers": [(b"a", BIG.encode())]}),
    (
        "cookies stay one header",
        headers(Cookie=["a=1; b=2"]),
        {"headers": [(b"cookie", b"a=1; b=2")]},
    ),
    ("null query", event(), {"query_string": b""}),
    ("no query", event("multiValueQueryStringParameters"), {"query_string": b""}),
    ("a query", query(card=["sha256:ab"]), {"query_string": b"card=sha256%3Aab"}),
    ("a repeated parameter", query(a=["1", "2"]), {"query_string": b"a=1&a=2"}),
    ("a parameter without a value", query(a=[""]), {"query_string": b"a="}),
    ("a decoded & and =", query(q=["a&b=c"]), {"query_string": b"q=a%26b%3Dc"}),
    ("a space in a query", query(q=["a b"]), {"query_string": b"q=a%20b"}),
    ("unicode in a query", query(q=["é"]), {"query_string": b"q=%C3%A9"}),
    (
        "single parameters alone",
        event("multiValueQueryStringParameters", queryStringParameters={"a": "1"}),
        {"query_string": b"a=1"},
    ),
    ("a body", event(), {"body": b'{"model":"auto"}'}),
    ("a null body", event(body=None), {"body": b""}),
    ("no body", event("body"), {"body": b""}),
    ("an empty body", event(body=""), {"body": b""}),
    ("a unicode body", event(body="é€"), {"body": "é€".encode()}),
    (
        "a base64 body",
        event(body=base64.b64encode(b"\0\xff").decode(), isBase64Encoded=True),
        {"body": b"\0\xff"},
    ),
    ("an empty base64 body", event(body="", isBase64Encoded=True), {"body": b""}),
    ("isBase64Encoded missing", event("isBase64Encoded", body="YQ=="), {"body": b"YQ=="}),
    ("the client as API Gateway saw it", event(), {"client": ("203.0.113.9", 0)}),
    ("a client on IPv6", event(context={"identity": {"sourceIp": IPV6}}), {"client": (IPV6, 0)}),
    ("no identity", event(context={"identity": None}), {"client": None}),
    ("https unless said otherwise", headers(A=["1"]), {"scheme": "https"}),
    ("http", headers(**{"X-Forwarded-Proto": ["http"]}), {"scheme": "http"}),
    ("a scheme of no meaning", headers(**{"X-Forwarded-Proto": ["gopher"]}), {"scheme": "https"}),
    ("HTTP/1.0", event(context={"protocol": "HTTP/1.0"}), {"http_version": "1.0"}),
    ("HTTP/2", event(context={"protocol": "HTTP/2.0"}), {"http_version": "2"}),
    ("a protocol of no meaning", event(context={"protocol": "SPDY"}), {"http_version": "1.1"}),
    (
        "the server",
        event(),
        {"server": ("abc.execute-api.eu-central-2.amazonaws.com", 443)},
    ),
    (
        "the server's port",
        headers(**{"Host": ["h"], "X-Forwarded-Port": ["8443"]}),
        {"server": ("abc.execute-api.eu-central-2.amazonaws.com", 8443)},
    ),
    (
        "a port of no meaning, and the host alone",
        event("requestContext", multiValueHeaders={"Host": ["h"], "X-Forwarded-Port": ["x"]}),
        {"server": ("h", 443)},
    ),
    ("no host at all", event("requestContext", "headers", multiValueHeaders={}), {"server": None}),
]

# name, event, the error, a word of its message
REFUSED: list[tuple[str, bytes, type[EventRefused], str]] = [
    ("not JSON", b"{", MalformedEvent, "JSON"),
    ("no bytes", b"", MalformedEvent, "JSON"),
    ("not UTF-8", b'{"a":"\xff"}', MalformedEvent, "JSON"),
    ("nested without end", b"[" * 200_000, MalformedEvent, "JSON"),
    ("an array", b"[]", MalformedEvent, "object"),
    ("null", b"null", MalformedEvent, "object"),
    ("a test event of the console", b'{"key1":"value1"}', MalformedEvent, "httpMethod"),
    ("no method", event("httpMethod"), MalformedEvent, "httpMethod"),
    ("a method with a space", event(httpMethod="GET /"), MalformedEvent, "httpMethod"),
    ("a method that is a number", event(httpMethod=1), MalformedEvent, "httpMethod"),
    ("no path", event("path"), MalformedEvent, "path"),
    ("a path that is a number", event(path=1), MalformedEvent, "path"),
    ("a path that is half a character", event(path="/\ud800"), MalformedEvent, "path"),
    ("headers that are an array", event(multiValueHeaders=[]), MalformedEvent, "multiValueHeaders"),
    ("a header that is no array", headers(A="1"), MalformedEvent, "no array"),  # type: ignore[arg-type]
    ("a header that is a number", headers(A=[1]), MalformedEvent, "no string"),  # type: ignore[list-item]
    ("a header name with a space", headers(**{"a b": ["1"]}), MalformedEvent, "token"),
    ("a header name with a break", headers(**{"a\r\nb": ["1"]}), MalformedEvent, "token"),
    ("a header that is half a character", headers(A=["\ud800"]), MalformedEvent, "headers"),
    ("a parameter that is half a character", query(a=["\ud800"]), MalformedEvent, "query"),
    ("a body that is an object", event(body={}), MalformedEvent, "body"),
    ("a body that is half a character", event(body="\ud800"), MalformedEvent, "body"),
    ("a body that is no base64", event(body="a", isBase64Encoded=True), MalformedEvent, "base64"),
    ("base64 with breaks", event(body="YQ\n==", isBase64Encoded=True), MalformedEvent, "base64"),
    ("a flag that is a word", event(isBase64Encoded="no"), MalformedEvent, "isBase64Encoded"),
    ("a context that is a word", event(requestContext="no"), MalformedEvent, "requestContext"),
    (
        "a client that is a number",
        event(context={"identity": {"sourceIp": 1}}),
        MalformedEvent,
        "sourceIp",
    ),
    ("a protocol that is a list", event(context={"protocol": []}), MalformedEvent, "protocol"),
    ("a load balancer", event(context={"elb": {}}), UnsupportedEvent, "Load Balancer"),
    ("an HTTP API", event(version="2.0"), UnsupportedEvent, "2.0"),
    ("a function URL", event(rawPath="/", context={"http": {}}), UnsupportedEvent, "2.0"),
    ("a WebSocket", event(context={"connectionId": "a"}), UnsupportedEvent, "WebSocket"),
    ("a queue", b'{"Records":[]}', UnsupportedEvent, "queue"),
    ("a schedule", b'{"detail-type":"Scheduled Event"}', UnsupportedEvent, "EventBridge"),
]


def invocation(payload: bytes) -> Invocation:
    """An invocation with this event."""
    return Invocation("r-1", 1_800_000_000.0, payload, "arn:f", "Root=1")


@pytest.mark.parametrize(("payload", "said"), [row[1:] for row in TAKEN], ids=[r[0] for r in TAKEN])
def test_event_becomes_request(payload: bytes, said: dict[str, Any]) -> None:
    request = to_request(invocation(payload))
    seen = {**request.scope, "body": request.body}
    assert {name: seen[name] for name in said} == said


@pytest.mark.parametrize(
    ("payload", "error", "word"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_event_is_refused_by_name(payload: bytes, error: type[EventRefused], word: str) -> None:
    with pytest.raises(error, match=word):
        to_request(invocation(payload))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("/%zz\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = st.sampled_from(sorted(EVENT))
OF_CONTEXT = st.sampled_from(["path", "identity", "protocol", "domainName", "elb", "harness"])


@settings(max_examples=400)
@given(st.dictionaries(MEMBERS, JSON), st.dictionaries(OF_CONTEXT, JSON))
def test_no_event_ends_the_process(changes: dict[str, Any], context: dict[str, Any]) -> None:
    with suppress(EventRefused):
        to_request(invocation(event(context=context, **changes)))


def test_refusal_quotes_nothing_of_the_event() -> None:
    with pytest.raises(MalformedEvent) as refused:
        to_request(invocation(event(body="secret-é", isBase64Encoded=True)))
    assert "secret" not in str(refused.value)


def test_scope_says_what_lambda_knows() -> None:
    scope = to_request(invocation(event()), {"pool": 1}).scope
    about = scope["extensions"]["aws.lambda"]
    assert scope["state"] == {"pool": 1}
    assert (about["request_id"], about["deadline_s"]) == ("r-1", 1_800_000_000.0)
    assert about["request_context"]["harness"] == "api"


def test_state_is_a_copy_for_each_request() -> None:
    state = {"calls": 0}
    to_request(invocation(event()), state).scope["state"]["calls"] = 1
    assert state == {"calls": 0}
