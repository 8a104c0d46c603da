"""The functions' roles in the template: whose statements are whose."""

from collections.abc import Mapping

from phigate.aws.settings import FUNCTIONS, Function
from tests.template.cloudformation import Json, of_type, resolve
from tests.template.rights import EVERYTHING

TABLE: Json = {"Fn::GetAtt": ["Table", "Arn"]}


def role_of(function: str) -> str:
    """CatalogSyncRole of catalog_sync."""
    return "".join(part.title() for part in function.split("_")) + "Role"


ROLES: Mapping[str, Function] = {role_of(function): function for function in FUNCTIONS}


def statements_of(template: Json) -> dict[str, list[Json]]:
    """Every statement of each function's role, with all that can be on."""
    found: dict[str, list[Json]] = {function: [] for function in FUNCTIONS}
    policies = of_type(resolve(template, **EVERYTHING), "AWS::IAM::RolePolicy")
    for properties in policies.values():
        if function := ROLES.get(properties["RoleName"]["Ref"]):
            found[function] += properties["PolicyDocument"]["Statement"]
    return found
