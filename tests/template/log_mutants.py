"""Broken logs, made from tables: each header that is not taken out, each variable that would tell
of a caller. The API's log is found as the template has it or as SAM renders it."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.template.cloudformation import Json, of_type
from tests.template.logs import PLAIN, REDACTED, log_problems
from tests.template.mutants import Mutant

Change = Callable[[Json], Any]


def _properties(template: Json, kind: str) -> Json:
    (found,) = of_type(template, kind).values()
    return found


def _protected(template: Json) -> list[Json]:
    found: list[Json] = _properties(template, "AWS::WAFv2::WebACL")["DataProtectionConfig"][
        "DataProtections"
    ]
    return found


def _redacted(template: Json) -> list[Json]:
    found: list[Json] = _properties(template, "AWS::WAFv2::LoggingConfiguration")["RedactedFields"]
    return found


def _without(header: str) -> Iterator[Mutant]:
    yield Mutant(
        f"the firewall's log has {header}",
        lambda template: _redacted(template).remove({"SingleHeader": {"Name": header}}),
        log_problems,
    )
    yield Mutant(
        f"the firewall gives {header} away",
        lambda template: _protected(template)[0]["Field"]["FieldKeys"].remove(header),
        log_problems,
    )


def _format(template: Json, variable: str) -> None:
    kinds = ("AWS::Serverless::Api", "AWS::ApiGateway::Stage")
    (properties,) = of_type(template, *kinds).values()
    settings = properties["AccessLogSetting"]["Fn::If"][1]
    settings["Format"] = settings["Format"][:-1] + f',"more":"{variable}"}}'


# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
_VARIABLES = (
    "$context.path",
    "$context.identity.apiKey",
    "$context.identity.userAgent",
    "$context.identity.user",
    "$context.identity.sourceIp",
    "$context.identity.clientCert.subjectDN",
    "$context.authorizer.principalId",
    "$context.authorizer.claims.email",
    "$context.requestOverride.header.authorization",
    "$context.requestOverride.querystring.id",
    "$context.error.message",
    "$context.error.messageString",
    "$context.integration.error",
    "$input.params('authorization')",
    "$input.body",
)


def _of_logs() -> Iterator[Mutant]:
    for header in sorted(REDACTED):
        yield from _without(header)
    for variable in _VARIABLES:
        yield Mutant(
            f"the API's log has {variable}",
            lambda template, variable=variable: _format(template, variable),  # type: ignore[misc]
            log_problems,
        )
    for name, change in _LOGS.items():
        yield Mutant(name, change, log_problems)


_LOGS: dict[str, Change] = {
    "the firewall's log has queries": lambda t: _redacted(t).remove({"QueryString": {}}),
    "the firewall's log has paths": lambda t: _redacted(t).remove({"UriPath": {}}),
    "the firewall's log has everything": lambda t: _properties(
        t, "AWS::WAFv2::LoggingConfiguration"
    ).pop("RedactedFields"),
    "the firewall hides what is needed": lambda t: _redacted(t).append(
        {"SingleHeader": {"Name": sorted(PLAIN)[0]}}
    ),
    "the firewall gives queries away": lambda t: _protected(t).pop(),
    "the firewall protects nothing": lambda t: _properties(t, "AWS::WAFv2::WebACL").pop(
        "DataProtectionConfig"
    ),
    "the firewall hashes": lambda t: _protected(t)[0].update(Action="HASH"),
    "the firewall tells what a rule has matched": lambda t: _protected(t)[0].update(
        ExcludeRuleMatchDetails=True
    ),
    "the firewall samples requests": lambda t: _properties(t, "AWS::WAFv2::WebACL")["Rules"][1][
        "VisibilityConfig"
    ].update(SampledRequestsEnabled=True),
}

LOG_MUTANTS = tuple(_of_logs())
