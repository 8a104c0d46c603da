"""How long the roles' policies become: IAM takes 10,240 characters of inline policies of one role,
white space not counted, and CloudFormation would fail only while it deploys.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

import json
import re
from typing import Any

from tests.template.cloudformation import Json, of_type, resolve
from tests.template.rights import EVERYTHING

INLINE_MAX = 10_240
# The longest that a function's name leaves to its stack's: 64 characters and `-catalog-sync`.
STACK = "s" * 51
ACCOUNT, AWS_REGION, PARTITION = "1" * 12, "ap-southeast-1", "aws"
_NAMED = {
    "AWS::Partition": PARTITION,
    "AWS::Region": AWS_REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
    "DigestBucket": "b" * 63,
}
# As long as the longest ARN of them: a log group's, a secret's, a key's, a role's.
_ARN = f"arn:aws:secretsmanager:{AWS_REGION}:{ACCOUNT}:secret:{STACK}/infomaniak-123456".ljust(
    160, "x"
)


def sizes(template: Json) -> dict[str, int]:
    """The characters of each role's inline policies, with all that can be on."""
    found: dict[str, int] = {}
    policies = of_type(resolve(template, **EVERYTHING), "AWS::IAM::RolePolicy")
    for properties in policies.values():
        role = properties["RoleName"]["Ref"]
        text = json.dumps(_written_out(properties["PolicyDocument"]), separators=(",", ":"))
        found[role] = found.get(role, 0) + len(re.sub(r"\s", "", text))
    return found


def size_problems(template: Json) -> list[str]:
    """No role's policies are longer than IAM takes."""
    return [
        f"{role}: {size} characters of {INLINE_MAX}"
        for role, size in sizes(template).items()
        if size > INLINE_MAX
    ]


def _written_out(value: Any) -> Any:
    if isinstance(value, list):
        return [_written_out(each) for each in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["Fn::Sub"]:
        return re.sub(r"\$\{([\w.:]+)\}", lambda found: _long(found[1]), value["Fn::Sub"])
    if list(value) == ["Ref"]:
        return _long(value["Ref"])
    if list(value) == ["Fn::GetAtt"]:
        return _ARN
    return {key: _written_out(each) for key, each in value.items()}


def _long(name: str) -> str:
    """What a name becomes, or an ARN in its place."""
    return _NAMED.get(name, _ARN)
