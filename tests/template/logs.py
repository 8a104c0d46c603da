"""What the logs that AWS writes of a request may hold: no key, no name, no identifier of a caller.

WAF writes every header of a request, its path and its query. Two settings take fields out, and both
are used. AWS says of `RedactedFields`, of the logging, that it concerns the rules that look at the
field, and ours look at none; the ACL's own data protection concerns all, but knows no path. Neither
can be told "all headers but these", so they are named; each takes 100.

https://docs.aws.amazon.com/waf/latest/APIReference/API_LoggingConfiguration.html
https://docs.aws.amazon.com/waf/latest/APIReference/API_DataProtectionConfig.html
"""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.cloudformation import Json, of_type, resolve

FIELDS_MAX = 100
HEADER_CHARS_MAX = 64
# Keys: ours, those of SDKs for other providers that are pointed here, those of proxies in front.
_KEYS = (
    "api-key authorization cf-access-client-secret cf-access-jwt-assertion cookie "
    "ocp-apim-subscription-key proxy-authorization x-access-token x-amz-security-token "
    "x-amzn-oidc-accesstoken x-amzn-oidc-data x-api-key x-auth-token x-forwarded-access-token "
    "x-goog-api-key x-goog-iap-jwt-assertion"
)
# Names of people, patients, cases, organisations; what callers put their own references into.
_NAMES = (
    "baggage cf-access-authenticated-user-email from http-referer idempotency-key "
    "openai-organization openai-project referer remote-user x-amzn-oidc-identity "
    "x-audit-case x-audit-purpose x-audit-subject x-audit-user x-auth-request-email "
    "x-auth-request-preferred-username x-auth-request-user x-client-request-id "
    "x-forwarded-client-cert x-forwarded-email x-forwarded-preferred-username x-forwarded-user "
    "x-goog-authenticated-user-email x-ms-client-principal-name x-remote-user x-request-id x-title "
    "x-user x-user-id"
)
REDACTED = frozenset(f"{_KEYS} {_NAMES}".split())
# Read or sent, and logged: what they hold is no secret. An address is what the rules are about, so
# `forwarded` and `x-forwarded-for` stay; a user agent is what an operator tells programs apart by.
_PLAIN = (
    "accept accept-encoding connection content-encoding content-length content-type forwarded host "
    "retry-after user-agent x-forwarded-for x-model-tier x-phi x-region"
)
PLAIN = frozenset(_PLAIN.split())
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
# resourcePath is the template's (`/{proxy+}`), where path would be the caller's.
ACCESS_LOG = {
    "$context.requestId",
    "$context.resourcePath",
    "$context.status",
    "$context.responseLatency",
    "$context.responseLength",
    "$context.error.responseType",
}
_VARIABLE = re.compile(r"\$[\w.]+(?:\([^)]*\))?")


def log_problems(template: Json) -> list[str]:
    """The firewall's logs and the API's hold nothing that they need not."""
    decided = resolve(template, Waf="on", AccessLogs="on")
    return [
        *_redaction(decided),
        *_protection(decided),
        *_access_logs(decided),
    ]


def _redaction(template: Json) -> Iterator[str]:
    for name, properties in of_type(template, "AWS::WAFv2::LoggingConfiguration").items():
        fields = properties.get("RedactedFields", [])
        headers = {each["SingleHeader"]["Name"] for each in fields if "SingleHeader" in each}
        yield from _unlike(name, headers)
        for field in ("QueryString", "UriPath"):
            if {field: {}} not in fields:
                yield f"{name} logs {field}"
        if len(fields) > FIELDS_MAX:
            yield f"{name} has {len(fields)} fields"


def _protection(template: Json) -> Iterator[str]:
    for name, properties in of_type(template, "AWS::WAFv2::WebACL").items():
        config = properties.get("DataProtectionConfig", {})
        found: dict[str, Any] = {}
        for each in config.get("DataProtections", []):
            # A hash of a name or of a case's number can be guessed.
            if each["Action"] != "SUBSTITUTION" or set(each) != {"Action", "Field"}:
                yield f"{name} does not replace {each['Field']}"
            found[each["Field"]["FieldType"]] = each["Field"].get("FieldKeys")
        yield from _unlike(name, set(found.get("SINGLE_HEADER", ())))
        if len(found.get("SINGLE_HEADER", ())) > FIELDS_MAX:
            yield f"{name} has too many headers"
        if "QUERY_STRING" not in found:
            yield f"{name} gives the query away"
        visible = [properties, *properties["Rules"]]
        if any(each["VisibilityConfig"]["SampledRequestsEnabled"] is not False for each in visible):
            yield f"{name} samples requests"


def _unlike(name: str, headers: set[str]) -> Iterator[str]:
    lowered = {each.lower() for each in headers}
    yield from (f"{name} logs {each}" for each in sorted(REDACTED - lowered))
    yield from (f"{name} hides {each} besides" for each in sorted(lowered - REDACTED))
    yield from (f"{name}: {each} is too long" for each in headers if len(each) > HEADER_CHARS_MAX)


def _access_logs(template: Json) -> Iterator[str]:
    kinds = ("AWS::Serverless::Api", "AWS::ApiGateway::Stage")
    for name, properties in of_type(template, *kinds).items():
        found = set(_VARIABLE.findall(properties["AccessLogSetting"]["Format"]))
        yield from (f"{name} logs {each}" for each in sorted(found - ACCESS_LOG))
