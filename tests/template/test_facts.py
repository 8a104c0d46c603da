"""What the template says beside roles, network and streaming: errors, secrets, names, options."""

import json
import re

import pytest

from phigate.core import errors
from phigate.core.errors import PhigateError
from phigate.effects.aws.lambda_event_log import METRICS
from phigate.effects.aws.powertools_writer import NAMESPACE
from tests.builders import repository_catalog
from tests.template.cloudformation import ROOT, defaults, listed, of_type, read, resolve

TEMPLATE = read()
API = TEMPLATE["Resources"]["Api"]["Properties"]
ANSWERS = API["DefinitionBody"]["x-amazon-apigateway-gateway-responses"]
PROVIDERS = sorted((ROOT / "catalog" / "providers").glob("*.toml"))

# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
GATEWAY_TYPES = [
    "ACCESS_DENIED",
    "API_CONFIGURATION_ERROR",
    "AUTHORIZER_CONFIGURATION_ERROR",
    "AUTHORIZER_FAILURE",
    "BAD_REQUEST_BODY",
    "BAD_REQUEST_PARAMETERS",
    "DEFAULT_4XX",
    "DEFAULT_5XX",
    "EXPIRED_TOKEN",
    "INTEGRATION_FAILURE",
    "INTEGRATION_TIMEOUT",
    "INVALID_API_KEY",
    "INVALID_SIGNATURE",
    "MISSING_AUTHENTICATION_TOKEN",
    "QUOTA_EXCEEDED",
    "REQUEST_TOO_LARGE",
    "RESOURCE_NOT_FOUND",
    "THROTTLED",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
    "WAF_FILTERED",
]
KINDS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PhigateError) and "code" in vars(kind)
}


def test_every_answer_that_api_gateway_makes_is_ours() -> None:
    assert sorted(ANSWERS) == sorted(GATEWAY_TYPES)


@pytest.mark.parametrize("name", GATEWAY_TYPES)
def test_api_gateways_answer_has_the_envelope(name: str) -> None:
    answer = ANSWERS[name]
    (body,) = answer["responseTemplates"].values()
    error = json.loads(body)["error"]
    kind = KINDS[error["code"]]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["type"] == kind.type
    assert error["message"].endswith(" Request $context.requestId.")
    assert "$context.error" not in body
    assert answer.get("statusCode", str(kind.status)) == str(kind.status)
    headers = answer["responseParameters"]
    assert headers["gatewayresponse.header.x-request-id"] == "context.requestId"
    assert ("gatewayresponse.header.retry-after" in headers) == (kind.status == 429)


def test_api_is_regional_and_logs_no_bodies() -> None:
    assert API["EndpointConfiguration"] == {"Type": "REGIONAL"}
    assert API["StageName"] == "api"
    for settings in API["MethodSettings"]:
        assert (settings["LoggingLevel"], settings["DataTraceEnabled"]) == ("OFF", False)
    assert API["TracingEnabled"] is False


def test_parameter_that_changes_an_integration_is_deployed() -> None:
    assert API["AlwaysDeploy"] is True


@pytest.mark.parametrize("name", ["Chat", "Math", "Directory"])
def test_every_release_is_a_version(name: str) -> None:
    function = TEMPLATE["Resources"][name]["Properties"]
    assert function["AutoPublishAlias"] == "live"
    assert function["AutoPublishAliasAllProperties"] is True
    assert "${Release}" in function["Description"]["Fn::Sub"]
    assert "${Release}" in function["VersionDescription"]["Fn::Sub"]


def test_handlers_follow_the_contract() -> None:
    for mode, entry in (("on", "app.application"), ("off", "app.handler")):
        functions = of_type(resolve(TEMPLATE, Streaming=mode), "AWS::Serverless::Function")
        handlers = {name: properties["Handler"] for name, properties in functions.items()}
        assert handlers == {
            "Chat": entry,
            "Math": entry,
            "Directory": "app.handler",
            "CatalogSync": "app.handler",
            "Sweeper": "app.handler",
        }


def test_functions_and_layers_are_of_one_architecture() -> None:
    assert TEMPLATE["Globals"]["Function"]["Architectures"] == ["arm64"]
    for facts in TEMPLATE["Resources"].values():
        if facts["Type"] == "AWS::Serverless::LayerVersion":
            assert facts["Metadata"] == {"BuildMethod": "makefile", "BuildArchitecture": "arm64"}


def test_every_provider_has_a_secret_that_is_kept_and_empty() -> None:
    secrets = {
        name: facts
        for name, facts in TEMPLATE["Resources"].items()
        if facts["Type"] == "AWS::SecretsManager::Secret" and name != "SandboxSecret"
    }
    named = {f"{facts['Properties']['Name']['Fn::Sub']}" for facts in secrets.values()}
    assert named == {f"${{AWS::StackName}}/{path.stem}" for path in PROVIDERS}
    for facts in secrets.values():
        assert facts["DeletionPolicy"] == "RetainExceptOnCreate"
        assert facts["UpdateReplacePolicy"] == "Retain"
        assert not {"SecretString", "GenerateSecretString"} & set(facts["Properties"])


def test_names_that_math_resolves_are_those_of_the_catalog() -> None:
    hosts = {
        host
        for path in PROVIDERS
        for host in re.findall(r'base_url = "https://([^/"]+)', path.read_text())
    }
    # A host with a variable is the operator's to add; Google's tokens come from another host.
    exact = {host for host in hosts if "{" not in host} | {"oauth2.googleapis.com"}
    assert set(defaults(TEMPLATE)["ProviderDomains"]) == exact


def test_stack_without_math_has_no_network_and_no_sandbox() -> None:
    left = resolve(TEMPLATE, MathEnabled="false")["Resources"]
    services = {facts["Type"].split("::")[1] for facts in left.values()}
    assert not services & {"EC2", "ECS", "ECR", "Route53Resolver"}
    assert "Math" not in left


def test_nothing_refers_to_what_a_stack_without_math_lacks() -> None:
    whole = set(TEMPLATE["Resources"])
    left = resolve(TEMPLATE, MathEnabled="false")["Resources"]
    text = json.dumps(left)
    lacking = whole - set(left)
    used = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r'GetAtt": \["(\w+)"', text))
    used |= set(re.findall(r"\$\{(\w+)[.}]", text))
    assert not used & lacking


def test_firewall_has_no_managed_rules() -> None:
    resources = resolve(TEMPLATE, Waf="on")
    (acl,) = of_type(resources, "AWS::WAFv2::WebACL").values()
    statements = {name for rule in acl["Rules"] for name in rule["Statement"]}
    assert statements == {"IPSetReferenceStatement", "RateBasedStatement"}
    assert not of_type(resolve(TEMPLATE), "AWS::WAFv2::WebACL")


def test_what_is_kept_outlives_its_stack() -> None:
    kept = {"DynamoDB::Table", "KMS::Key", "Logs::LogGroup"}
    for name, facts in TEMPLATE["Resources"].items():
        if facts["Type"].removeprefix("AWS::") in kept:
            assert facts["DeletionPolicy"].startswith("Retain"), name
            assert facts["UpdateReplacePolicy"] == "Retain", name


def test_what_has_a_name_and_stays_is_never_switched_off() -> None:
    """Its name would be taken when it is switched on again."""
    for name, facts in TEMPLATE["Resources"].items():
        if str(facts.get("DeletionPolicy", "")).startswith("Retain"):
            assert "Condition" not in facts, name


def test_api_is_throttled() -> None:
    (settings,) = API["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
        assert settings[limit] == {"Ref": "CallsPerSecond"}


@pytest.mark.parametrize("streaming", ["on", "off"])
def test_latency_alarm_can_fire(streaming: str) -> None:
    resources = resolve(TEMPLATE, Streaming=streaming)["Resources"]
    ends_ms = 900_000 if streaming == "on" else 29_000
    assert resources["LatencyAlarm"]["Properties"]["Threshold"] < ends_ms


def test_every_log_has_an_end() -> None:
    for properties in of_type(TEMPLATE, "AWS::Logs::LogGroup").values():
        assert properties["RetentionInDays"] == {"Ref": "LogDays"}


def test_second_nat_gateway_is_a_parameter() -> None:
    for wish, count in (("false", 1), ("true", 2)):
        resources = resolve(TEMPLATE, NatPerZone=wish)
        assert len(of_type(resources, "AWS::EC2::NatGateway")) == count


@pytest.mark.parametrize(("text", "is_set"), [("", False), ("40", True)])
def test_reserved_concurrency_is_set_when_asked_for(text: str, is_set: bool) -> None:
    asked = {"ReservedConcurrency": text, "DirectoryConcurrency": text}
    resources = resolve(TEMPLATE, **asked)["Resources"]
    for name in ("Chat", "Directory"):
        assert ("ReservedConcurrentExecutions" in resources[name]["Properties"]) == is_set
    assert defaults(TEMPLATE)["ChatMemory"] == 1769


def test_catalogs_layer_is_a_property_of_the_catalog_in_force() -> None:
    properties = TEMPLATE["Resources"]["CatalogInForce"]["Properties"]
    assert properties["CatalogLayer"] == {"Ref": "Catalog"}


@pytest.mark.parametrize(
    "metric",
    [
        "LedgerBroken",
        "HoldAgeS",
        "SandboxFailures",
        "CatalogFailures",
        "CatalogAgeS",
        "AgreementDaysLeft",
        "AgreementsEnded",
        "HoldsExpired",
        "CostAboveHold",
        "KeyTimeouts",
        "OperatorRefusals",
        "CertificationFailures",
        "DaysLeftOpen",
        "StartFailures",
        "Bugs",
        "5XXError",
        "Latency",
    ],
)
def test_metric_has_an_alarm_and_stands_on_the_dashboard(metric: str) -> None:
    alarms = re.findall(
        r'"MetricName": "(\w+)"', json.dumps(of_type(TEMPLATE, "AWS::CloudWatch::Alarm"))
    )
    (board,) = of_type(TEMPLATE, "AWS::CloudWatch::Dashboard").values()
    body = board["DashboardBody"]["Fn::Sub"]
    assert metric in alarms
    assert f'"{metric}"' in body
    assert json.loads(body)["widgets"]


def test_alarm_of_ours_looks_at_a_metric_that_is_emitted() -> None:
    emitted = {metric for metrics in METRICS.values() for metric, _, _ in metrics}
    for name, properties in of_type(TEMPLATE, "AWS::CloudWatch::Alarm").items():
        if properties.get("Namespace") == NAMESPACE:
            assert properties["MetricName"] in emitted, name
            (dimension,) = properties["Dimensions"]
            assert dimension == {"Name": "stack", "Value": {"Ref": "AWS::StackName"}}
            assert properties["Period"] * properties["EvaluationPeriods"] <= 86_400


def test_dashboard_shows_metrics_that_are_emitted() -> None:
    emitted = {metric for metrics in METRICS.values() for metric, _, _ in metrics}
    (board,) = of_type(TEMPLATE, "AWS::CloudWatch::Dashboard").values()
    shown = re.findall(rf'\["{NAMESPACE}", "(\w+)"', board["DashboardBody"]["Fn::Sub"])
    assert shown and set(shown) <= emitted


def test_directory_reads_the_keys_of_providers_with_an_attestation_alone() -> None:
    rows = repository_catalog().rows
    wanted = {row.provider for row in rows if row.confidential}
    read = {
        reference["Ref"].removesuffix("Secret").lower()
        for statement in TEMPLATE["Resources"]["DirectoryPolicy"]["Properties"]["PolicyDocument"][
            "Statement"
        ]
        if statement["Action"] == ["secretsmanager:GetSecretValue"]
        for reference in listed(statement["Resource"])
    }
    assert read == wanted
