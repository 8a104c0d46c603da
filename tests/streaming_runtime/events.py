"""Proxy events as API Gateway's REST API makes them, with what a test wants to be different."""

import json
from typing import Any

EVENT: dict[str, Any] = {
    "resource": "/{proxy+}",
    "path": "/v1/chat/completions",
    "httpMethod": "POST",
    "headers": {"Host": "abc.execute-api.eu-central-2.amazonaws.com", "X-PHI": "true"},
    "multiValueHeaders": {
        "Host": ["abc.execute-api.eu-central-2.amazonaws.com"],
        "X-Forwarded-For": ["203.0.113.9, 130.176.1.1"],
        "X-Forwarded-Port": ["443"],
        "X-Forwarded-Proto": ["https"],
        "X-PHI": ["true"],
    },
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "pathParameters": {"proxy": "v1/chat/completions"},
    "stageVariables": None,
    "requestContext": {
        "resourcePath": "/{proxy+}",
        "httpMethod": "POST",
        "path": "/api/v1/chat/completions",
        "protocol": "HTTP/1.1",
        "harness": "api",
        "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
        "domainName": "abc.execute-api.eu-central-2.amazonaws.com",
        "identity": {"sourceIp": "203.0.113.9"},
    },
    "body": '{"model":"auto"}',
    "isBase64Encoded": False,
}


def event(*without: str, **changes: Any) -> bytes:
    """The event as bytes; a dict changes members, `context` those of the requestContext."""
    context = {**EVENT["requestContext"], **changes.pop("context", {})}
    whole = {**EVENT, "requestContext": context, **changes}
    return json.dumps(
        {name: value for name, value in whole.items() if name not in without}
    ).encode()


def at(path: str, **changes: Any) -> bytes:
    """The event of a GET at a path under the stage `api`."""
    return event(httpMethod="GET", path=path, context={"path": f"/api{path}"}, body=None, **changes)
