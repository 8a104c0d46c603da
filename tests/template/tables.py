"""The literal tables that the template is held against; a wider right is a change here too."""

from collections.abc import Mapping

from tests.template.cloudformation import Json

NAMES = ("chat", "math", "directory", "catalog_sync", "sweeper")
_ALL = "chat math directory catalog_sync sweeper"
_SANDBOX = "math sweeper"
# The contract with the functions' wiring.
CONTRACT: Mapping[str, str] = {
    "PHIGATE_TABLE": _ALL,
    "PHIGATE_STACK": _ALL,
    "PHIGATE_ISSUER": "chat math directory",
    "PHIGATE_REGION": "chat math directory sweeper",
    "PHIGATE_JURISDICTIONS": "chat math directory sweeper",
    "PHIGATE_ALLOW_UNPROVEN": "chat math directory",
    "PHIGATE_RECEIPTS_REQUIRED": "chat math",
    "PHIGATE_RECEIPT_KEY": "chat math catalog_sync",
    "PHIGATE_CATALOG_KEY": "chat math directory catalog_sync",
    "PHIGATE_DAY_KEY": "sweeper catalog_sync",
    "PHIGATE_REDPILL_KEY": "directory catalog_sync",
    "PHIGATE_SECRETS": "chat math directory",
    "PHIGATE_STREAMING": "chat math",
    "PHIGATE_DIGEST_BUCKET": "sweeper",
    "PHIGATE_CATALOG_FOLDER": "catalog_sync",
    "PHIGATE_CLUSTER": _SANDBOX,
    "PHIGATE_TASK_DEFINITION": _SANDBOX,
    "PHIGATE_SUBNETS": _SANDBOX,
    "PHIGATE_SECURITY_GROUPS": _SANDBOX,
    "PHIGATE_SANDBOX_IMAGE": _SANDBOX,
    "PHIGATE_WARM_POOL": _SANDBOX,
    "PHIGATE_SANDBOXES_PER_ACCOUNT": _SANDBOX,
    "PHIGATE_SANDBOXES_PER_STACK": _SANDBOX,
    "PHIGATE_SANDBOX_SECRET": _SANDBOX,
    "POWERTOOLS_SERVICE_NAME": _ALL,
    "PYDANTIC_DISABLE_PLUGINS": _ALL,
    "SSL_CERT_DIR": _ALL,
    "SSL_CERT_FILE": _ALL,
    "AWS_LAMBDA_EXEC_WRAPPER": "chat math",
    "STREAMING_RUNTIME_FAILURES": "chat math",
}
ONLY_STREAMING = {"AWS_LAMBDA_EXEC_WRAPPER", "STREAMING_RUNTIME_FAILURES"}

_LOGS = "logs:CreateLogStream logs:PutLogEvents "
_SIGN = "kms:GetPublicKey kms:Sign "
_ECS = "ecs:DescribeTasks ecs:ListTasks ecs:RunTask ecs:StopTask ecs:TagResource iam:PassRole "
_EC2 = (
    "ec2:AssignPrivateIpAddresses ec2:CreateNetworkInterface ec2:DeleteNetworkInterface "
    "ec2:DescribeNetworkInterfaces ec2:DescribeSubnets ec2:UnassignPrivateIpAddresses"
)
_ITEMS = "dynamodb:GetItem dynamodb:PutItem dynamodb:Query "
_PULL = "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:GetDownloadUrlForLayer "
_SECRET = "secretsmanager:GetSecretValue "
ACTIONS: Mapping[str, str] = {
    "ChatRole": _LOGS + _SIGN + _SECRET + "dynamodb:GetItem dynamodb:PutItem dynamodb:UpdateItem",
    # DeleteItem forgets a sandbox; ec2 is Lambda's own, and denied to the code.
    "MathRole": _LOGS
    + _SIGN
    + _ITEMS
    + _SECRET
    + _ECS
    + "dynamodb:DeleteItem dynamodb:UpdateItem "
    + _EC2,
    "DirectoryRole": _LOGS
    + _SIGN
    + _SECRET
    + "secretsmanager:DescribeSecret "
    + "dynamodb:GetItem dynamodb:PutItem dynamodb:Query dynamodb:UpdateItem",
    "CatalogSyncRole": _LOGS + _SIGN + "dynamodb:PutItem dynamodb:Query",
    "SweeperRole": _LOGS
    + _SIGN
    + _ITEMS
    + _SECRET
    + _ECS
    + "dynamodb:DeleteItem dynamodb:UpdateItem "
    + "s3:ListBucketVersions s3:PutObject s3:PutObjectRetention",
    "TaskExecutionRole": _LOGS + _PULL + "ecr:GetAuthorizationToken",
}
# Keys, credit and trust: denied besides, whatever a role comes to allow.
_DENIED = "ACCOUNTS CARD CATALOG ROOTS C#* K#* KEYS#* "
DENIED_WRITES: Mapping[str, str] = {
    "ChatRole": _DENIED + "D#*",
    "MathRole": _DENIED + "D#*",
    "DirectoryRole": _DENIED + "D#*",
    "SweeperRole": _DENIED,
}
WRITES = {"dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}
# Actions that AWS grants on no named resource, each with its reason.
ON_ANYTHING: Mapping[tuple[str, str], str] = {
    ("TaskExecutionRole", "ecr:GetAuthorizationToken"): "a token is of the account",
    ("MathRole", "ecs:ListTasks"): "on Fargate there is no instance to name; bound to the cluster",
    ("SweeperRole", "ecs:ListTasks"): "the same",
    **{("MathRole", each): "Lambda checks it on *; the code is denied it" for each in _EC2.split()},
}
ANY_RESOURCE = {"ecr:GetAuthorizationToken", "ecs:ListTasks"}
KEYS: Mapping[str, tuple[str | None, str]] = {
    "ReceiptKey": ("ECC_NIST_P256", "ChatRole MathRole"),
    "CatalogKey": ("ECC_NIST_P256", "CatalogSyncRole"),
    "DayKey": ("ECC_NIST_P256", "SweeperRole"),
    "RedpillKey": ("ECC_SECG_P256K1", "DirectoryRole"),
    "TableKey": (None, ""),
}
TASK_SUBNETS = ("TaskSubnetA", "TaskSubnetB")
TASK_GROUP = "TaskSecurityGroup"
_HTTPS = {"FromPort": 443, "IpProtocol": "tcp", "ToPort": 443}
TASK_TRAFFIC: Mapping[str, list[Json]] = {
    "Egress": [
        {"DestinationPrefixListId": {"Ref": "S3PrefixList"}, **_HTTPS},
        {"DestinationSecurityGroupId": {"Ref": "TaskEndpointSecurityGroup"}, **_HTTPS},
    ],
    "Ingress": [
        {
            "FromPort": 8080,
            "IpProtocol": "tcp",
            "SourceSecurityGroupId": {"Ref": "MathSecurityGroup"},
            "ToPort": 8080,
        }
    ],
}
# The endpoints that a sandbox's subnet or security group reaches, and what they let pass.
REACHABLE: Mapping[str, str] = {
    "EcrApiEndpoint": _PULL + "ecr:GetAuthorizationToken",
    "EcrDkrEndpoint": _PULL + "ecr:GetAuthorizationToken",
    "LogsEndpoint": _LOGS,
    "S3Endpoint": "s3:GetObject",
}
# Nothing else may pass: this repository, this group, and where ECR keeps the region's layers.
_LAYERS = "arn:${AWS::Partition}:s3:::prod-${AWS::Region}-starport-layer-bucket/*"
ONLY: Mapping[str, Json] = {
    "EcrApiEndpoint": {"Fn::GetAtt": ["SandboxRepository", "Arn"]},
    "EcrDkrEndpoint": {"Fn::GetAtt": ["SandboxRepository", "Arn"]},
    "LogsEndpoint": {"Fn::GetAtt": ["SandboxLogs", "Arn"]},
    "S3Endpoint": {"Fn::Sub": _LAYERS},
}
# https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities
DOCKERS_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
