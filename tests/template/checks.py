"""What must be true of the stack, as functions from a template to a list of problems.

Each takes the template as written or as SAM renders it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tests.template.cloudformation import Json, listed, of_type, resolve
from tests.template.items import item_problems
from tests.template.logs import log_problems
from tests.template.sizes import size_problems
from tests.template.tables import (
    ACTIONS,
    ANY_RESOURCE,
    CONTRACT,
    DOCKERS_CAPABILITIES,
    KEYS,
    NAMES,
    ON_ANYTHING,
    ONLY,
    ONLY_STREAMING,
    REACHABLE,
    TASK_GROUP,
    TASK_SUBNETS,
    TASK_TRAFFIC,
)

FUNCTIONS = ("AWS::Serverless::Function", "AWS::Lambda::Function")
STREAMED = {"/v1/chat/completions": "-chat:live", "/v1/math/chat/completions": "-math:live"}
# Chat refuses what the function that is left out would answer.
STREAMED_WITHOUT_MATH = dict.fromkeys(STREAMED, "-chat:live")
BUFFERED = {"/": "-directory:live", "/{proxy+}": "-directory:live"}


def streaming_problems(template: Json) -> list[str]:
    """Chat and math stream when Streaming is on, and only then; the directory never does."""
    problems = []
    for mode in ("on", "off"):
        for math, streamed in (("true", STREAMED), ("false", STREAMED_WITHOUT_MATH)):
            paths = _paths(resolve(template, Streaming=mode, MathEnabled=math))
            known = streamed | BUFFERED
            if set(paths) != set(known):
                problems.append(f"{mode}: other paths than known: {sorted(paths)}")
            for path, function in known.items():
                want = _integration(streams=mode == "on" and path in streamed)
                got = paths.get(path, {}).get("x-amazon-apigateway-any-method", {})
                found = got.get("x-amazon-apigateway-integration", {})
                place = f"Streaming={mode} MathEnabled={math} {path}"
                problems += _integration_problems(place, found, want, function)
    return problems


def _integration(*, streams: bool) -> tuple[str, str, str, int]:
    if streams:
        return "2021-11-15", "/response-streaming-invocations", "STREAM", 900_000
    return "2015-03-31", "/invocations", "BUFFERED", 29_000


def _integration_problems(
    place: str, got: Json, want: tuple[str, str, str, int], function: str
) -> list[str]:
    version, ending, mode, timeout_ms = want
    uri = str(got.get("uri", {}).get("Fn::Sub", ""))
    facts = {
        "uri version": f":lambda:path/{version}/functions/" in uri,
        "uri ending": uri.endswith(function + ending),
        "responseTransferMode": got.get("responseTransferMode", "BUFFERED") == mode,
        "timeoutInMillis": got.get("timeoutInMillis", 29_000) == timeout_ms,
        "type": got.get("type") == "aws_proxy" and got.get("httpMethod") == "POST",
    }
    return [f"{place}: {name}" for name, is_right in facts.items() if not is_right]


def permission_problems(template: Json) -> list[str]:
    """The API may invoke each path's function for that path."""
    problems = []
    for math, streamed in (("true", STREAMED), ("false", STREAMED_WITHOUT_MATH)):
        granted = [
            (_aliased(properties["FunctionName"]), properties["SourceArn"]["Fn::Sub"])
            for properties in of_type(
                resolve(template, MathEnabled=math), "AWS::Lambda::Permission"
            ).values()
            if properties["Principal"] == "apigateway.amazonaws.com"
        ]
        for path, function in (streamed | BUFFERED).items():
            sources = [arn.partition("}/*/*")[2] for name, arn in granted if name == function]
            if not {path, "/*"} & set(sources):
                problems.append(f"MathEnabled={math} {path}: {function} may not be invoked")
    return problems


def _aliased(reference: Json) -> str:
    """The end of a function's name, as integrations write it, of `Chat.Alias`; SAM renders that as
    `ChatAliaslive`."""
    return f"-{reference['Ref'].partition('Alias')[0].rstrip('.').lower()}:live"


def _paths(template: Json) -> Json:
    for properties in of_type(template, "AWS::Serverless::Api").values():
        paths: Json = properties["DefinitionBody"]["paths"]
        return paths
    (rest_api,) = of_type(template, "AWS::ApiGateway::RestApi").values()
    rendered: Json = rest_api["Body"]["paths"]
    return rendered


def environment_problems(template: Json) -> list[str]:
    """Every variable of the contract is set on its functions, and no other."""
    problems = []
    for mode in ("on", "off"):
        for math in ("true", "false"):
            decided = resolve(template, Streaming=mode, MathEnabled=math)
            found = environments(decided)
            known = {name for name in NAMES if math == "true" or name != "math"}
            if set(found) != known:
                problems.append(f"functions: {sorted(found)}")
            for name in known & set(found):
                want = _variables(name, streams=mode == "on")
                problems += [f"{name} lacks {each}" for each in sorted(want - set(found[name]))]
                problems += [f"{name} has also {each}" for each in sorted(set(found[name]) - want)]
    return problems


def environments(template: Json) -> dict[str, Json]:
    """The variables of every function, by its name in the contract."""
    common = template.get("Globals", {}).get("Function", {}).get("Environment", {})
    return {
        _function_name(properties): {
            **common.get("Variables", {}),
            **properties.get("Environment", {}).get("Variables", {}),
        }
        for properties in of_type(template, *FUNCTIONS).values()
    }


def _function_name(properties: Json) -> str:
    name: str = properties["FunctionName"]["Fn::Sub"]
    return name.removeprefix("${AWS::StackName}-").replace("-", "_")


def _variables(function: str, *, streams: bool) -> set[str]:
    return {
        variable
        for variable, functions in CONTRACT.items()
        if function in functions.split() and (streams or variable not in ONLY_STREAMING)
    }


def role_problems(template: Json) -> list[str]:
    """Each role has the actions of the table on named resources."""
    decided = resolve(template, DigestBucket="digests")
    granted: dict[str, set[str]] = {name: set() for name in of_type(decided, "AWS::IAM::Role")}
    problems = []
    for name, properties in of_type(decided, "AWS::IAM::Role").items():
        more = {"Policies", "ManagedPolicyArns"} & set(properties)
        problems += [f"{name}: {each}" for each in more]
    for properties in of_type(decided, *FUNCTIONS).values():
        if "Policies" in properties or "Role" not in properties:
            problems.append(f"{_function_name(properties)}: a role that SAM makes")
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        problems += [f"{name}: a policy of another kind" for name in of_type(decided, kind)]
    for properties in of_type(decided, "AWS::IAM::RolePolicy").values():
        role = properties["RoleName"]["Ref"]
        for statement in properties["PolicyDocument"]["Statement"]:
            problems += _statement_problems(role, statement, granted.setdefault(role, set()))
    return problems + _unlike(granted, ACTIONS) + _interface_problems(decided)


def _interface_problems(template: Json) -> list[str]:
    """What Lambda needs to join math to its subnets is denied to math's own code."""
    statements = of_type(template, "AWS::IAM::RolePolicy")["MathPolicy"]["PolicyDocument"]
    allowed, denied = set(), set()
    for statement in statements["Statement"]:
        actions = {each for each in listed(statement["Action"]) if each.startswith("ec2:")}
        if statement["Effect"] == "Allow":
            allowed |= actions
        elif "lambda:SourceFunctionArn" in str(statement.get("Condition", {})):
            denied |= actions
    return [f"math's code may {each}" for each in sorted(allowed - denied)]


def _statement_problems(role: str, statement: Json, granted: set[str]) -> list[str]:
    problems = []
    if {"NotAction", "NotResource"} & set(statement):
        problems.append(f"{role}: a statement by exclusion")
    actions = listed(statement.get("Action", []))
    problems += [f"{role}: the action {each}" for each in actions if "*" in each]
    if statement["Effect"] == "Allow":
        granted |= set(actions)
        if "*" in listed(statement["Resource"]):
            problems += [f"{role}: {a} on *" for a in actions if (role, a) not in ON_ANYTHING]
    return problems


def _unlike(found: Mapping[str, set[str]], table: Mapping[str, str]) -> list[str]:
    want = {name: set(actions.split()) for name, actions in table.items()}
    problems = [f"{name} is in one of the two alone" for name in sorted(set(found) ^ set(want))]
    for name in sorted(set(found) & set(want)):
        problems += [f"{name} may {each}" for each in sorted(found[name] - want[name])]
        problems += [f"{name} may not {each}" for each in sorted(want[name] - found[name])]
    return problems


def key_problems(template: Json) -> list[str]:
    """Each key signs for the roles of the table and for nobody else."""
    problems = []
    keys = of_type(resolve(template), "AWS::KMS::Key")
    for name, properties in keys.items():
        if name not in KEYS:
            problems.append(f"{name} is not known")
            continue
        signers = set()
        for statement in properties["KeyPolicy"]["Statement"]:
            actions = listed(statement["Action"])
            problems += [f"{name}: the action {each}" for each in actions if "*" in each]
            if "*" in _principals(statement):
                problems += _open_problems(name, statement)
            if "kms:Sign" in actions:
                signers |= {str(p.get("Fn::GetAtt", p)) for p in _principals(statement)}
        spec, roles = KEYS[name]
        if signers != {str([role, "Arn"]) for role in roles.split()}:
            problems.append(f"{name} signs for {sorted(signers)}")
        if properties.get("KeySpec") != spec:
            problems.append(f"{name} is no {spec}")
    return problems + [f"{name} is missing" for name in set(KEYS) - set(keys)]


def _open_problems(name: str, statement: Json) -> list[str]:
    """A key that is for anybody is for anybody of this account, through the table."""
    held = statement.get("Condition", {}).get("StringEquals", {})
    if held.get("kms:CallerAccount") == {"Ref": "AWS::AccountId"} and "kms:ViaService" in held:
        return []
    return [f"{name} is open to anybody"]


def _principals(statement: Json) -> list[Any]:
    return listed(statement["Principal"]["AWS"])


def network_problems(template: Json) -> list[str]:
    """A sandbox has no way out: no route, no open endpoint, no name."""
    decided = resolve(template)
    tables = {
        properties["RouteTableId"]["Ref"]
        for properties in of_type(decided, "AWS::EC2::SubnetRouteTableAssociation").values()
        if properties["SubnetId"]["Ref"] in TASK_SUBNETS
    }
    return (
        _subnet_problems(decided)
        + _group_problems(decided)
        + _route_problems(decided, tables)
        + _endpoint_problems(decided, tables)
        + _name_problems(decided)
    )


def _subnet_problems(template: Json) -> list[str]:
    subnets = of_type(template, "AWS::EC2::Subnet")
    problems = [f"{name} is not there" for name in TASK_SUBNETS if name not in subnets]
    problems += [
        f"{name} gives public addresses"
        for name in TASK_SUBNETS
        if subnets.get(name, {}).get("MapPublicIpOnLaunch")
    ]
    wanted = ",".join(f"${{{name}}}" for name in TASK_SUBNETS)
    variables = environments(template)
    for function in ("math", "sweeper"):  # both start tasks
        named = variables[function]["PHIGATE_SUBNETS"]["Fn::Sub"]
        if named != wanted:
            problems.append(f"{function} runs sandboxes in {named}")
        if variables[function]["PHIGATE_SECURITY_GROUPS"] != {"Ref": TASK_GROUP}:
            problems.append(f"{function} runs sandboxes in another security group")
    return problems


def _group_problems(template: Json) -> list[str]:
    """The sandbox's security group lets in and out what the table says, wherever it is written."""
    group = of_type(template, "AWS::EC2::SecurityGroup").get(TASK_GROUP, {})
    passes: dict[str, list[Json]] = {}
    for way in ("Egress", "Ingress"):
        apart = of_type(template, f"AWS::EC2::SecurityGroup{way}").values()
        rules = [rule for rule in apart if rule["GroupId"] == {"Ref": TASK_GROUP}]
        passes[way] = [*group.get(f"SecurityGroup{way}", ()), *rules]
    found = {way: [_without_group(rule) for rule in rules] for way, rules in passes.items()}
    return [
        f"the sandbox's {way.lower()} is {found[way]}"
        for way, wanted in TASK_TRAFFIC.items()
        if sorted(map(str, found[way])) != sorted(map(str, wanted))
    ]


def _without_group(rule: Json) -> Json:
    return {name: rule[name] for name in sorted(rule) if name not in ("GroupId", "Description")}


def _route_problems(template: Json, tables: set[str]) -> list[str]:
    problems = [
        f"{name} leads out of a sandbox's subnet"
        for name, properties in of_type(template, "AWS::EC2::Route").items()
        if properties["RouteTableId"]["Ref"] in tables
    ]
    return problems + [
        f"{name} stands in a sandbox's subnet"
        for name, properties in of_type(template, "AWS::EC2::NatGateway").items()
        if properties["SubnetId"]["Ref"] in TASK_SUBNETS
    ]


def _endpoint_problems(template: Json, tables: set[str]) -> list[str]:
    problems = []
    reachable: dict[str, set[str]] = {}
    for name, properties in of_type(template, "AWS::EC2::VPCEndpoint").items():
        routed = {each["Ref"] for each in properties.get("RouteTableIds", ())}
        groups = {each["Ref"] for each in properties.get("SecurityGroupIds", ())}
        if routed & tables or "TaskEndpointSecurityGroup" in groups:
            reachable[name] = set()
        for statement in properties.get("PolicyDocument", {}).get("Statement", ()):
            actions = listed(statement["Action"])
            problems += [f"{name}: the action {each}" for each in actions if "*" in each]
            if "*" in listed(statement["Resource"]):
                problems += [f"{name}: {a} on *" for a in actions if a not in ANY_RESOURCE]
            if name in reachable:
                reachable[name] |= set(actions)
        if "PolicyDocument" not in properties:
            problems.append(f"{name} has no policy")
    return problems + _unlike(reachable, REACHABLE) + _resource_problems(template)


def _resource_problems(template: Json) -> list[str]:
    endpoints = of_type(template, "AWS::EC2::VPCEndpoint")
    return [
        f"{name} lets through {resource}"
        for name in REACHABLE
        for statement in endpoints.get(name, {}).get("PolicyDocument", {}).get("Statement", ())
        for resource in listed(statement["Resource"])
        if resource not in ("*", ONLY[name])
    ]


def _name_problems(template: Json) -> list[str]:
    lists = of_type(template, "AWS::Route53Resolver::FirewallDomainList")
    (group,) = of_type(template, "AWS::Route53Resolver::FirewallRuleGroup").values()
    rules = sorted(group["FirewallRules"], key=lambda rule: rule["Priority"])
    last = rules[-1]
    domains = [lists[rule["FirewallDomainListId"]["Ref"]]["Domains"] for rule in rules]
    problems = []
    if (last["Action"], last.get("BlockResponse"), domains[-1]) != ("BLOCK", "NODATA", ["*"]):
        problems.append("other names are answered")
    if any("*" in str(each) for each in domains[:-1]):
        problems.append("a pattern of names is answered")
    if not of_type(template, "AWS::Route53Resolver::FirewallRuleGroupAssociation"):
        problems.append("the network has no name firewall")
    return problems


def task_problems(template: Json) -> list[str]:
    """The sandbox's container: read-only, no role, three capabilities, bounds."""
    (task,) = of_type(resolve(template), "AWS::ECS::TaskDefinition").values()
    (container,) = task["ContainerDefinitions"]
    linux = container.get("LinuxParameters", {}).get("Capabilities", {})
    kept = DOCKERS_CAPABILITIES - set(linux.get("Drop", ()))
    facts = {
        "it has a role": "TaskRoleArn" not in task,
        "its root is writable": container.get("ReadonlyRootFilesystem") is True,
        f"it keeps {sorted(kept)}": kept == {"SETUID", "SETGID", "KILL"},
        "it gets capabilities": "Add" not in linux,
        "it has no bounds": {"core", "nofile", "nproc"}
        <= {each["Name"] for each in container.get("Ulimits", ())},
        "it has secrets or variables": not {"Secrets", "Environment"} & set(container),
        "it may be privileged": "Privileged" not in container,
        "it writes elsewhere": [each["ContainerPath"] for each in container["MountPoints"]]
        == ["/tmp"],
        "it is not called sandbox": container["Name"] == "sandbox",
    }
    return [problem for problem, is_right in facts.items() if not is_right]


def table_problems(template: Json) -> list[str]:
    """The table is kept, encrypted, restorable, and forgets receipts by `ttl` alone."""
    (table,) = of_type(template, "AWS::DynamoDB::Table").values()
    (facts,) = (r for r in template["Resources"].values() if r["Type"] == "AWS::DynamoDB::Table")
    encryption = table.get("SSESpecification", {})
    found = {
        "it may be deleted": facts.get("DeletionPolicy") == "Retain"
        and facts.get("UpdateReplacePolicy") == "Retain"
        and table.get("DeletionProtectionEnabled") is True,
        "it cannot be restored": table.get("PointInTimeRecoverySpecification")
        == {"PointInTimeRecoveryEnabled": True},
        "it has no key of its own": encryption.get("SSEType") == "KMS"
        and encryption.get("KMSMasterKeyId") == {"Fn::GetAtt": ["TableKey", "Arn"]},
        "it forgets by another attribute": table.get("TimeToLiveSpecification")
        == {"AttributeName": "ttl", "Enabled": True},
        "it is paid for by the hour": table.get("BillingMode") == "PAY_PER_REQUEST",
    }
    return [problem for problem, is_right in found.items() if not is_right]


Check = Callable[[Json], list[str]]
CHECKS: tuple[Check, ...] = (
    streaming_problems,
    permission_problems,
    environment_problems,
    role_problems,
    item_problems,
    size_problems,
    log_problems,
    key_problems,
    network_problems,
    task_problems,
    table_problems,
)
