"""Broken templates, each with the check that must find it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tests.template import checks
from tests.template.checks import Check
from tests.template.cloudformation import Json
from tests.template.items import item_problems
from tests.template.sizes import size_problems


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change, and who must see it."""

    name: str
    change: Callable[[Json], Any]
    seen_by: Check
    also: tuple[Check, ...] = ()

    @property
    def seers(self) -> set[str]:
        """The checks that must see it, and no other may."""
        return {check.__name__ for check in (self.seen_by, *self.also)}

    def of(self, template: Json) -> Json:
        """The template with the change."""
        changed = deepcopy(template)
        self.change(changed)
        return changed


def _properties(template: Json, name: str) -> Json:
    properties: Json = template["Resources"][name]["Properties"]
    return properties


def _integration(template: Json, path: str = "/v1/chat/completions") -> Json:
    method = _properties(template, "Api")["DefinitionBody"]["paths"][path]
    found: Json = method["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
    return found


def _mode(template: Json, word: str) -> None:
    _integration(template)["responseTransferMode"]["Fn::If"][1] = word


def _uri_of_before(template: Json) -> None:
    uri = _integration(template, "/v1/math/chat/completions")["uri"]["Fn::If"][1]
    uri["Fn::If"][1] = uri["Fn::If"][2]


def _math_for_nobody(template: Json) -> None:
    name = _properties(template, "MathPermission")["FunctionName"]
    name["Fn::If"][2] = {"Ref": "Directory.Alias"}


def _math_to_nobody(template: Json) -> None:
    uri = _integration(template, "/v1/math/chat/completions")["uri"]
    uri["Fn::If"][2] = uri["Fn::If"][1]


def _statements(template: Json, policy: str) -> list[Any]:
    found: list[Any] = _properties(template, policy)["PolicyDocument"]["Statement"]
    return found


def _endpoint(template: Json, name: str) -> Json:
    found: Json = _properties(template, name)["PolicyDocument"]["Statement"][0]
    return found


def _variables(template: Json, function: str) -> Json:
    found: Json = _properties(template, function)["Environment"]["Variables"]
    return found


def _container(template: Json) -> Json:
    found: Json = _properties(template, "TaskDefinition")["ContainerDefinitions"][0]
    return found


def _add(template: Json, name: str, kind: str, **properties: Any) -> None:
    template["Resources"][name] = {"Type": kind, "Properties": properties}


def _way_out(template: Json) -> None:
    out = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": {"Ref": "NatA"}}
    _add(template, "WayOut", "AWS::EC2::Route", RouteTableId={"Ref": "TaskRoutes"}, **out)


def _route_of_math(template: Json) -> None:
    _properties(template, "TaskRoutesOfB")["RouteTableId"] = {"Ref": "MathRoutesB"}


def _sign_with_all(template: Json) -> None:
    statement = _properties(template, "ReceiptKey")["KeyPolicy"]["Statement"][1]
    statement["Principal"]["AWS"].append({"Fn::GetAtt": ["DirectoryRole", "Arn"]})


def _more(role: str, **statement: Any) -> Callable[[Json], Any]:
    allow = {"Effect": "Allow", **statement}
    return lambda template: _statements(template, role).append(allow)


_TABLE = {"Fn::GetAtt": ["Table", "Arn"]}

MUTANTS = (
    # SAM's events call the mode RESPONSE_STREAM, API Gateway STREAM; each refuses the other's word
    # or takes it silently for a buffered integration.
    Mutant(
        "SAM's word for the mode",
        lambda t: _mode(t, "RESPONSE_STREAM"),
        checks.streaming_problems,
    ),
    Mutant("chat is buffered", lambda t: _mode(t, "BUFFERED"), checks.streaming_problems),
    Mutant("math has the buffered URI", _uri_of_before, checks.streaming_problems),
    Mutant("nobody may refuse math", _math_for_nobody, checks.permission_problems),
    Mutant("math that is off leads nowhere", _math_to_nobody, checks.streaming_problems),
    Mutant(
        "no timeout of its own",
        lambda t: _integration(t).pop("timeoutInMillis"),
        checks.streaming_problems,
    ),
    Mutant(
        "a variable is missing",
        lambda t: _variables(t, "Sweeper").pop("PHIGATE_DAY_KEY"),
        checks.environment_problems,
    ),
    Mutant(
        "a variable too many",
        lambda t: _variables(t, "Directory").update(PHIGATE_RECEIPT_KEY="x"),
        checks.environment_problems,
    ),
    Mutant(
        "the wrapper without streaming",
        lambda t: _variables(t, "Chat").update(AWS_LAMBDA_EXEC_WRAPPER="/opt/streaming-runtime"),
        checks.environment_problems,
    ),
    Mutant(
        "a role gets *",
        _more("ChatPolicy", Action="*", Resource=_TABLE),
        checks.role_problems,
        (item_problems,),
    ),
    Mutant(
        "a role gets a service",
        _more("ChatPolicy", Action=["dynamodb:*"], Resource=_TABLE),
        checks.role_problems,
        (item_problems,),
    ),
    Mutant(
        "any resource",
        _more("ChatPolicy", Action=["kms:Sign"], Resource="*"),
        checks.role_problems,
    ),
    Mutant(
        "an action too many",
        _more("ChatPolicy", Action=["dynamodb:DeleteItem"], Resource=_TABLE),
        checks.role_problems,
        (item_problems,),
    ),
    Mutant(
        "an action is missing",
        lambda t: _statements(t, "SweeperPolicy").pop(1),
        checks.role_problems,
        (item_problems,),
    ),
    Mutant(
        "by exclusion",
        _more("ChatPolicy", NotAction=["kms:Sign"], Resource=_TABLE),
        checks.role_problems,
        (item_problems,),
    ),
    Mutant(
        "a managed policy",
        lambda t: _properties(t, "ChatRole").update(
            ManagedPolicyArns=["arn:aws:iam::aws:policy/X"]
        ),
        checks.role_problems,
    ),
    Mutant("the directory signs receipts", _sign_with_all, checks.key_problems),
    Mutant(
        "a key may do all",
        lambda t: _properties(t, "DayKey")["KeyPolicy"]["Statement"][0].update(Action="kms:*"),
        checks.key_problems,
    ),
    Mutant("a way out of the sandbox's subnet", _way_out, checks.network_problems),
    Mutant("the sandbox's subnet has math's routes", _route_of_math, checks.network_problems),
    Mutant(
        "sandboxes run beside math",
        lambda t: _variables(t, "Math").update(PHIGATE_SUBNETS={"Fn::Sub": "${MathSubnetA}"}),
        checks.network_problems,
    ),
    Mutant(
        "warm sandboxes run beside math",
        lambda t: _variables(t, "Sweeper").update(PHIGATE_SUBNETS={"Fn::Sub": "${MathSubnetA}"}),
        checks.network_problems,
    ),
    Mutant(
        "sandboxes are in math's security group",
        lambda t: _variables(t, "Math").update(
            PHIGATE_SECURITY_GROUPS={"Ref": "MathSecurityGroup"}
        ),
        checks.network_problems,
    ),
    Mutant(
        "the sandbox's security group lets everything out",
        lambda t: _properties(t, "TaskSecurityGroup")["SecurityGroupEgress"].append(
            {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}
        ),
        checks.network_problems,
    ),
    Mutant(
        "others call a sandbox",
        lambda t: _properties(t, "TaskFromMath").update(
            SourceSecurityGroupId={"Ref": "TaskSecurityGroup"}
        ),
        checks.network_problems,
    ),
    Mutant(
        "the table's key is open to anybody",
        lambda t: _properties(t, "TableKey")["KeyPolicy"]["Statement"][1].pop("Condition"),
        checks.key_problems,
    ),
    Mutant(
        "math's code makes network interfaces",
        lambda t: _statements(t, "MathPolicy").pop(),
        checks.role_problems,
    ),
    Mutant(
        "an endpoint without a policy",
        lambda t: _properties(t, "S3Endpoint").pop("PolicyDocument"),
        checks.network_problems,
    ),
    Mutant(
        "the sandbox reads any bucket",
        lambda t: _endpoint(t, "S3Endpoint").update(Resource="arn:aws:s3:::*"),
        checks.network_problems,
    ),
    Mutant(
        "the sandbox writes into chat's log",
        lambda t: _endpoint(t, "LogsEndpoint").update(
            Resource=[{"Fn::GetAtt": ["SandboxLogs", "Arn"]}, {"Fn::GetAtt": ["ChatLogs", "Arn"]}]
        ),
        checks.network_problems,
    ),
    Mutant(
        "the sandbox reaches KMS",
        lambda t: _properties(t, "KmsEndpoint")["SecurityGroupIds"].append(
            {"Ref": "TaskEndpointSecurityGroup"}
        ),
        checks.network_problems,
    ),
    Mutant(
        "other names are answered",
        lambda t: _properties(t, "DnsFirewall")["FirewallRules"].pop(),
        checks.network_problems,
    ),
    Mutant(
        "names of anybody's bucket are answered",
        lambda t: _properties(t, "AnsweredNames")["Domains"].append("*.s3.amazonaws.com"),
        checks.network_problems,
    ),
    Mutant(
        "the sandbox has a role",
        lambda t: _properties(t, "TaskDefinition").update(TaskRoleArn="x"),
        checks.task_problems,
    ),
    Mutant(
        "the sandbox writes anywhere",
        lambda t: _container(t).update(ReadonlyRootFilesystem=False),
        checks.task_problems,
    ),
    Mutant(
        "the sandbox keeps NET_RAW",
        lambda t: _container(t)["LinuxParameters"]["Capabilities"]["Drop"].remove("NET_RAW"),
        checks.task_problems,
    ),
    Mutant(
        "an index, which has other leading keys",
        lambda t: _properties(t, "Table").update(GlobalSecondaryIndexes=[]),
        item_problems,
    ),
    Mutant(
        "a policy that IAM does not take",
        _more("MathPolicy", Action=["logs:PutLogEvents"], Resource=["x" * 9_999]),
        size_problems,
    ),
    Mutant(
        "the table may be deleted",
        lambda t: _properties(t, "Table").update(DeletionProtectionEnabled=False),
        checks.table_problems,
    ),
    Mutant(
        "the table has no key",
        lambda t: _properties(t, "Table").pop("SSESpecification"),
        checks.table_problems,
    ),
)
