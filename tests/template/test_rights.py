"""All rights of the stack are those of rights.txt, and none is given without a line there."""

from collections.abc import Callable

import pytest

from tests.template.cloudformation import Json, read
from tests.template.rights import PAGE, page


def test_rights_are_those_that_were_reviewed() -> None:
    """After a change that is meant: python -m tests.template.rights."""
    assert page(read()) == PAGE.read_text()


def properties(template: Json, name: str) -> Json:
    found: Json = template["Resources"][name]["Properties"]
    return found


def statement(template: Json, policy: str, action: str) -> Json:
    found: Json = next(
        each
        for each in properties(template, policy)["PolicyDocument"]["Statement"]
        if action in each.get("Action", ())
    )
    return found


def added(name: str, kind: str, **members: object) -> Callable[[Json], object]:
    return lambda t: t["Resources"].update({name: {"Type": kind, "Properties": members}})


WIDER: dict[str, Callable[[Json], object]] = {
    "any table": lambda t: statement(t, "ChatPolicy", "dynamodb:PutItem").update(
        Resource="arn:aws:dynamodb:*:*:table/*"
    ),
    "any secret": lambda t: statement(t, "DirectoryPolicy", "secretsmanager:GetSecretValue").update(
        Resource="arn:aws:secretsmanager:*:*:secret:*"
    ),
    "another key": lambda t: statement(t, "ChatPolicy", "kms:Sign").update(
        Resource={"Fn::GetAtt": ["DayKey", "Arn"]}
    ),
    "any role passed on": lambda t: statement(t, "MathPolicy", "iam:PassRole").pop("Condition"),
    "tasks of any cluster": lambda t: statement(t, "MathPolicy", "ecs:ListTasks").pop("Condition"),
    "a role for anybody": lambda t: properties(t, "ChatRole")["AssumeRolePolicyDocument"][
        "Statement"
    ][0].update(Principal={"AWS": "*"}),
    "grants by the account": lambda t: properties(t, "ReceiptKey")["KeyPolicy"]["Statement"][0][
        "Action"
    ].append("kms:CreateGrant"),
    "a function for anybody": added(
        "Open", "AWS::Lambda::Permission", Action="lambda:InvokeFunction", Principal="*"
    ),
    "a URL beside the API": lambda t: properties(t, "Chat").update(
        FunctionUrlConfig={"AuthType": "NONE"}
    ),
    "a table for others": lambda t: properties(t, "Table").update(ResourcePolicy={}),
    "images for others": lambda t: properties(t, "SandboxRepository").update(
        RepositoryPolicyText={}
    ),
    "traces": lambda t: t["Globals"]["Function"].update(Tracing="Active"),
    "a sandbox at math's endpoints": lambda t: properties(t, "MathEndpointSecurityGroup")[
        "SecurityGroupIngress"
    ].append({"SourceSecurityGroupId": {"Ref": "TaskSecurityGroup"}}),
    "a sandbox at math": lambda t: properties(t, "MathSecurityGroup").update(
        SecurityGroupIngress=[{"SourceSecurityGroupId": {"Ref": "TaskSecurityGroup"}}]
    ),
    "the network's own route table": lambda t: t["Resources"].pop("TaskRoutesOfA"),
    "a firewall elsewhere": lambda t: properties(t, "DnsFirewallOfVpc").update(VpcId="vpc-1"),
    "one more name": lambda t: properties(t, "AnsweredNames")["Domains"].append("evil.example.com"),
    "a neighbour": added("Peer", "AWS::EC2::VPCPeeringConnection", VpcId="a", PeerVpcId="b"),
    "an image from elsewhere": lambda t: properties(t, "TaskDefinition")["ContainerDefinitions"][
        0
    ].update(Image="docker.io/x"),
    "chat's log": lambda t: properties(t, "TaskDefinition")["ContainerDefinitions"][0][
        "LogConfiguration"
    ]["Options"].update({"awslogs-group": {"Ref": "ChatLogs"}}),
    "a million processes": lambda t: properties(t, "TaskDefinition")["ContainerDefinitions"][0][
        "Ulimits"
    ][2].update(HardLimit=1_000_000),
}


@pytest.mark.parametrize("name", WIDER)
def test_a_wider_right_is_seen(name: str) -> None:
    template = read()
    WIDER[name](template)
    assert page(template) != PAGE.read_text()
