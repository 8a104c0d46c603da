"""`python -m tests.template.rights`: every right of the stack, one a line, as rights.txt has them.

The checks say what must hold; this says all that there is, so that a wider right, another rule of a
security group or a new way in is a line in the change that somebody reviews. Run it to write the
file anew.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.template.cloudformation import Json, listed, of_type, read, resolve

PAGE = Path(__file__).with_name("rights.txt")
# All that can be on.
EVERYTHING = {
    "NatPerZone": "true",
    "DigestBucket": "digests",
    "Waf": "on",
    "AccessLogs": "on",
    "AlarmTopic": "topic",
}
# By type, the properties that let somebody do something or reach something.
STATED = {
    "AWS::ApiGateway::RestApi": ("Policy",),
    "AWS::DynamoDB::Table": ("ResourcePolicy",),
    "AWS::EC2::NatGateway": ("SubnetId",),
    "AWS::EC2::Route": ("RouteTableId", "DestinationCidrBlock", "GatewayId", "NatGatewayId"),
    "AWS::EC2::SubnetRouteTableAssociation": ("SubnetId", "RouteTableId"),
    "AWS::EC2::VPCEndpoint": ("SubnetIds", "RouteTableIds", "SecurityGroupIds"),
    "AWS::EC2::VPCPeeringConnection": ("VpcId", "PeerVpcId"),
    "AWS::ECR::Repository": ("RepositoryPolicyText",),
    "AWS::Lambda::LayerVersionPermission": ("Action", "LayerVersionArn", "Principal"),
    "AWS::Lambda::Permission": ("Action", "FunctionName", "Principal", "SourceArn"),
    "AWS::Lambda::Url": ("TargetFunctionArn", "AuthType"),
    "AWS::Logs::ResourcePolicy": ("PolicyDocument",),
    "AWS::Route53Resolver::FirewallDomainList": ("Domains",),
    "AWS::Route53Resolver::FirewallRuleGroupAssociation": ("VpcId", "FirewallRuleGroupId"),
    "AWS::Serverless::Api": ("Auth", "TracingEnabled"),
    "AWS::Serverless::Function": ("Role", "VpcConfig", "FunctionUrlConfig", "Tracing", "Policies"),
}
POLICIES = {
    "AWS::IAM::Role": "AssumeRolePolicyDocument",
    "AWS::IAM::RolePolicy": "PolicyDocument",
    "AWS::KMS::Key": "KeyPolicy",
    "AWS::EC2::VPCEndpoint": "PolicyDocument",
}


def page(template: Json) -> str:
    """The whole file."""
    decided = resolve(template, **EVERYTHING)
    traced = template.get("Globals", {}).get("Function", {}).get("Tracing", "none")
    lines = [
        *_policies(decided),
        *_groups(decided),
        *_task(decided),
        *_stated(decided),
        f"Globals: Tracing {_short(traced)}",
    ]
    return "\n".join(sorted(lines)) + "\n"


def _policies(template: Json) -> Iterator[str]:
    for kind, member in POLICIES.items():
        for name, properties in of_type(template, kind).items():
            for statement in properties.get(member, {}).get("Statement", ()):
                yield from _statement(name, dict(statement))


def _statement(name: str, statement: Json) -> Iterator[str]:
    effect = statement.pop("Effect")
    actions = listed(statement.pop("Action", "no action"))
    resources = listed(statement.pop("Resource", "itself"))
    statement.pop("Sid", None)
    more = "".join(f" {key.lower()} {_short(statement[key])}" for key in sorted(statement))
    for action in actions:
        for resource in resources:
            yield f"{name}: {effect} {_short(action)} on {_short(resource)}{more}"


def _groups(template: Json) -> Iterator[str]:
    for name, properties in of_type(template, "AWS::EC2::SecurityGroup").items():
        for way in ("Ingress", "Egress"):
            for rule in properties.get(f"SecurityGroup{way}", ()):
                yield f"{name}: {way} {_short(rule)}"
    for way in ("Ingress", "Egress"):
        for rule in of_type(template, f"AWS::EC2::SecurityGroup{way}").values():
            others = {key: each for key, each in rule.items() if key != "GroupId"}
            yield f"{_short(rule['GroupId'])}: {way} {_short(others)}"


def _task(template: Json) -> Iterator[str]:
    for name, properties in of_type(template, "AWS::ECS::TaskDefinition").items():
        containers = properties["ContainerDefinitions"]
        plain = {key: each for key, each in properties.items() if key != "ContainerDefinitions"}
        for facts in (plain, *containers):
            for key, value in facts.items():
                yield f"{name}: {key} {_short(value)}"


def _stated(template: Json) -> Iterator[str]:
    for kind, members in STATED.items():
        for name, properties in of_type(template, kind).items():
            for member in members:
                if member in properties:
                    yield f"{name}: {member} {_short(properties[member])}"


def _short(value: Any) -> str:
    """Intrinsic functions by what they name."""
    named = _named(value)
    return named if isinstance(named, str) else json.dumps(named, sort_keys=True)


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == ["Ref"]:
            return f"<{value['Ref']}>"
        if list(value) == ["Fn::GetAtt"]:
            return f"<{'.'.join(value['Fn::GetAtt'])}>"
        if list(value) == ["Fn::Sub"]:
            return value["Fn::Sub"]
        return {key: _named(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each) for each in value]
    return value


if __name__ == "__main__":
    PAGE.write_text(page(read()))
