"""Turns an API Gateway proxy event (REST API, format 1.0) into an ASGI scope and a body. Pure.

Laws: the path is the one the caller asked for, stage included; the stage is the root path. Nothing
is guessed: an event of another source, or a member of a wrong type, is refused with its name.
Specification: https://docs.aws.amazon.com/apigateway/latest/developerguide/
set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from streaming_runtime.errors import MalformedEvent, UnsupportedEvent
from streaming_runtime.types import Invocation, Request

Event = Mapping[str, Any]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_PATH_SAFE = "/%:@!$&'()*+,;=-._~"  # RFC 3986, 3.3; % because the path comes encoded
_HTTPS_PORT = 443


def to_request(invocation: Invocation, state: Mapping[str, Any] | None = None) -> Request:
    """The request in an invocation. Raises EventRefused."""
    try:
        event = json.loads(invocation.event)
    except (ValueError, RecursionError) as exc:
        raise MalformedEvent("The event is not JSON.") from exc
    _refuse_others(event)
    method = _method(event)
    context = _member(event, "requestContext", dict) or {}
    headers = list(_headers(event))
    path, root_path, raw_path = _paths(event, context)
    by_name = dict(reversed(headers))  # of a header sent twice the first counts
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": _VERSIONS.get(_member(context, "protocol", str) or "", "1.1"),
        "method": method,
        "scheme": "http" if by_name.get(b"x-forwarded-proto") == b"http" else "https",
        "path": path,
        "raw_path": raw_path,
        "root_path": root_path,
        "query_string": "&".join(_query(event)).encode(),
        "headers": headers,
        "client": _client(context),
        "server": _server(context, by_name),
        "extensions": {"aws.lambda": _about(invocation, context)},
    }
    if state is not None:
        scope["state"] = dict(state)
    return Request(scope, _body(event))


def _refuse_others(event: object) -> None:
    if not isinstance(event, dict):
        raise MalformedEvent("The event is not an object.")
    context = event.get("requestContext")
    for source, seen in _OTHERS.items():
        if seen(event, context if isinstance(context, dict) else {}):
            raise UnsupportedEvent(
                f"This is an event of {source}; only proxy events of a REST API are served."
            )


def _member(event: Event, name: str, kind: type) -> Any:
    """A member that may be missing or null."""
    value = event.get(name)
    if value is not None and not isinstance(value, kind):
        raise MalformedEvent(f"The event's {name} is not of type {_KINDS[kind]}.")
    return value


def _method(event: Event) -> str:
    method = _member(event, "httpMethod", str)
    if not method or not _TOKEN.fullmatch(method):
        raise MalformedEvent("The event has no httpMethod.")
    return str(method.upper())


def _paths(event: Event, context: Event) -> tuple[str, str, bytes]:
    """Path, root path (both decoded) and the path as it was asked for.

    `path` lacks the stage where the caller's URL has it; `requestContext.path` is the URL's. Behind
    a custom domain both are the same, and the root is "".
    """
    path = _member(event, "path", str)
    if path is None:
        raise MalformedEvent("The event has no path.")
    whole = _member(context, "path", str)
    root = whole.removesuffix(path) if whole and path and whole.endswith(path) else ""
    asked = root + path
    if not asked.startswith("/"):
        asked = f"/{asked}"
    try:
        return unquote(asked), unquote(root), quote(asked, safe=_PATH_SAFE).encode()
    except UnicodeEncodeError as exc:
        raise MalformedEvent("The event's path is not Unicode.") from exc


def _headers(event: Event) -> Iterator[tuple[bytes, bytes]]:
    for name, value in _pairs(event, "multiValueHeaders", "headers"):
        if not _TOKEN.fullmatch(name):
            raise MalformedEvent("The event has a header whose name is no token.")
        try:
            yield name.lower().encode(), value.encode("latin-1")
        except UnicodeEncodeError:
            yield name.lower().encode(), _utf8(value, "headers")


def _query(event: Event) -> Iterator[str]:
    """The parameters come decoded and are encoded again."""
    pairs = _pairs(event, "multiValueQueryStringParameters", "queryStringParameters")
    for name, value in pairs:
        try:
            yield f"{quote(name, safe='')}={quote(value, safe='')}"
        except UnicodeEncodeError as exc:
            raise MalformedEvent("The event's query is not Unicode.") from exc


def _pairs(event: Event, many: str, one: str) -> Iterator[tuple[str, str]]:
    """Names and values of the member with lists, else of the one without."""
    lists = _member(event, many, dict)
    if lists:
        for name, values in lists.items():
            if not isinstance(values, list):
                raise MalformedEvent(f"The event's {many} has a value that is no array.")
            for value in values:
                yield name, _text(value, many)
        return
    for name, value in (_member(event, one, dict) or {}).items():
        yield name, _text(value, one)


def _text(value: object, member: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedEvent(f"The event's {member} has a value that is no string.")
    return value


def _utf8(text: str, member: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise MalformedEvent(f"The event's {member} is not Unicode.") from exc


def _body(event: Event) -> bytes:
    body = _member(event, "body", str)
    encoded = _member(event, "isBase64Encoded", bool)
    if not body:
        return b""
    if not encoded:
        return _utf8(body, "body")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedEvent("The event's body is not base64.") from exc


def _client(context: Event) -> tuple[str, int] | None:
    """What API Gateway saw, not X-Forwarded-For, which a caller can write; the port is not told."""
    identity = _member(context, "identity", dict) or {}
    address = _member(identity, "sourceIp", str)
    return (address, 0) if address else None


def _server(context: Event, headers: Mapping[bytes, bytes]) -> tuple[str, int] | None:
    host = _member(context, "domainName", str) or headers.get(b"host", b"").decode("latin-1")
    port = headers.get(b"x-forwarded-port", b"")
    if not host:
        return None
    return host, int(port) if port.isdigit() and len(port) <= 5 else _HTTPS_PORT


def _about(invocation: Invocation, context: Event) -> dict[str, object]:
    return {
        "request_id": invocation.request_id,
        "deadline_s": invocation.deadline_s,
        "function_arn": invocation.function_arn,
        "trace_id": invocation.trace_id,
        "request_context": context,
    }


_KINDS = {str: "string", dict: "object", bool: "boolean"}
_VERSIONS = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2": "2", "HTTP/2.0": "2"}
_OTHERS: Mapping[str, Callable[[Event, Event], bool]] = {
    "an Application Load Balancer": lambda event, context: "elb" in context,
    "an HTTP API or function URL (format 2.0)": lambda event, context: (
        event.get("version") == "2.0" or "rawPath" in event or "http" in context
    ),
    "a WebSocket API": lambda event, context: "connectionId" in context,
    "a queue, stream, bucket or topic": lambda event, context: "Records" in event,
    "EventBridge": lambda event, context: "detail-type" in event,
}
