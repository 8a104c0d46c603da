"""AWS as the functions reach it: KMS and Secrets Manager made up, DynamoDB handed on to dynoxide,
CloudFormation's URL to answer to, and boto3's own services in moto (ECS also from other processes).
Every action is recorded, and the table is as closed to a function as its role in the template."""

import base64
import contextlib
import datetime
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import boto3
from botocore import xform_name
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto import mock_aws
from moto.moto_api import state_manager

from tests.functions.actions import kind_of
from tests.local.engine_port import connection_to
from tests.template.cloudformation import Json, read
from tests.template.policy import (
    ATTRIBUTES,
    LEADING_KEYS,
    Request,
    decide,
    dynamodb_requests,
    in_one_request,
)
from tests.template.roles import TABLE, statements_of

AWS_REGION = "eu-central-2"
KEYS: dict[str, ec.EllipticCurve] = {
    "receipt-key": ec.SECP256R1(),
    "catalog-key": ec.SECP256R1(),
    "day-key": ec.SECP256R1(),
    "redpill-key": ec.SECP256K1(),
}
_SHA256 = ec.ECDSA(Prehashed(hashes.SHA256()))
_STATEMENTS = statements_of(read())
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_ACCESS_DENIED = b'{"__type":"com.amazon.coral.service#AccessDeniedException"}'
Answer = tuple[int, bytes]


class Aws:
    """The services. `actions` are what was asked for; `secrets` and `down` may be changed."""

    def __init__(self, dynamo_url: str) -> None:
        self.keys = {name: ec.generate_private_key(curve) for name, curve in KEYS.items()}
        self.secrets: dict[str, str] = {}
        self.down: set[str] = set()
        self.actions: set[str] = set()
        self.key_actions: set[tuple[str, str]] = set()
        # What was done with which kinds of items, and what a role did not allow, by function.
        self.items: set[tuple[str, str]] = set()
        self.attributes: set[str] = set()  # of the items that were put
        self.refused: list[tuple[str, str, str]] = []
        self.tokens: set[str] = set()
        self.told: list[dict[str, Any]] = []
        self.refused_puts = 0
        self.url = ""
        self._dynamo_url = dynamo_url

    def endpoint(self, service: str, aws_region: str, _fips: bool) -> str:
        """See LambdaEnvironment.endpoint."""
        assert aws_region == AWS_REGION
        return self.url

    def post(self, headers: dict[str, str], body: bytes) -> Answer:
        """One call of a JSON service."""
        service, _, operation = headers["X-Amz-Target"].rpartition(".")
        assert f"/{AWS_REGION}/" in headers["Authorization"]
        self.tokens.add(headers.get("X-Amz-Security-Token", ""))
        name, answer = {
            "TrentService": ("kms", self._kms),
            "secretsmanager": ("secretsmanager", self._secret),
            "DynamoDB_20120810": ("dynamodb", self._dynamodb),
            "AmazonEC2ContainerServiceV20141113": ("ecs", self._ecs),
        }[service]
        if name in self.down:
            return 500, b"{}"
        asked = json.loads(body)
        if name == "dynamodb":
            return self._allowed(operation, asked, headers, body)
        self.actions.add(f"{name}:{operation}")
        return answer(operation, asked, headers, body)

    def put(self, path: str, body: bytes) -> int:
        """CloudFormation's URL."""
        if self.refused_puts:
            self.refused_puts -= 1
            return 503
        self.told.append(json.loads(body))
        return 200

    def _kms(self, operation: str, asked: Any, headers: Any, body: bytes) -> Answer:
        key = self.keys[asked["KeyId"]]
        self.key_actions.add((asked["KeyId"], operation))
        if operation == "GetPublicKey":
            der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return 200, json.dumps({"PublicKey": base64.b64encode(der).decode()}).encode()
        signature = key.sign(base64.b64decode(asked["Message"]), _SHA256)
        return 200, json.dumps({"Signature": base64.b64encode(signature).decode()}).encode()

    def _secret(self, operation: str, asked: Any, headers: Any, body: bytes) -> Answer:
        text = self.secrets.get(asked["SecretId"])
        if text is None:
            return 400, b'{"__type":"ResourceNotFoundException"}'
        if operation == "DescribeSecret":
            return 200, json.dumps({"VersionIdsToStages": {"1": ["AWSCURRENT"]}}).encode()
        return 200, json.dumps({"SecretString": text}).encode()

    def _allowed(self, operation: str, asked: Any, headers: Any, body: bytes) -> Answer:
        """What the role of the function whose credentials these are allows, and no more."""
        requests = dynamodb_requests(operation, asked, TABLE)
        self.actions |= {each.action for each in requests}
        self.items |= set(_touched(requests))
        self.attributes |= {name for each in requests for name in each.context.get(ATTRIBUTES, ())}
        function = _CREDENTIAL.findall(headers["Authorization"])[0]
        if function in _STATEMENTS and not _is_allowed(_STATEMENTS[function], requests):
            self.refused += [(function, *each) for each in _touched(requests)]
            return 400, _ACCESS_DENIED
        return self._dynamodb(operation, asked, headers, body)

    def _dynamodb(self, operation: str, asked: Any, headers: Any, body: bytes) -> Answer:
        with contextlib.closing(connection_to(self._dynamo_url)) as connection:
            kept = ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date")
            connection.request("POST", "/", body, {name: headers[name] for name in kept})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _ecs(self, operation: str, asked: Any, headers: Any, body: bytes) -> Answer:
        """Within moto_services; a date is told as seconds."""
        answer = getattr(boto3.client("ecs"), xform_name(operation))(**asked)
        return 200, json.dumps(answer, default=datetime.datetime.timestamp).encode()


def _is_allowed(statements: list[Json], requests: list[Request]) -> bool:
    """By item; and, since AWS does not write how it puts a transaction's keys together, also if it
    asked for each action with the keys of all items."""
    return all(
        decide(statements, each) == "allowed" for each in (*requests, *in_one_request(requests))
    )


def _touched(requests: list[Request]) -> Iterator[tuple[str, str]]:
    """(PutItem, R#) of R#clinic#2026-11-26; what names no item is of the kind `none`."""
    for each in requests:
        for key in each.context.get(LEADING_KEYS, ("none",)):
            yield each.action.removeprefix("dynamodb:"), kind_of(key)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # a dropped SYN comes again after a second
    aws: Aws


class _Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """One call."""
        status, content = cast(_Server, self.server).aws.post(dict(self.headers), self._body())
        self._answer(status, content)

    def do_PUT(self) -> None:
        """One answer to CloudFormation."""
        assert self.headers["Content-Type"] == ""
        self._answer(cast(_Server, self.server).aws.put(self.path, self._body()), b"")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(aws: Aws) -> Iterator[None]:
    """Let it be reached at its `url`."""
    with _Server(("127.0.0.1", 0), _Endpoint) as server:
        server.aws = aws
        aws.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def boto3_recorded(aws: Aws) -> Iterator[None]:
    """What boto3's clients call is recorded too; a session of its own for each story."""

    def note(model: Any, **_more: Any) -> None:
        aws.actions.add(f"{model.service_model.service_name}:{model.name}")

    boto3.setup_default_session(
        aws_access_key_id="made", aws_secret_access_key="up", region_name=AWS_REGION
    )
    session = boto3.DEFAULT_SESSION
    assert session is not None
    events = session.events
    events.register("before-call", note)
    try:
        yield
    finally:
        events.unregister("before-call", note)
        boto3.DEFAULT_SESSION = None


BUCKET = "digests"


@contextlib.contextmanager
def moto_services(aws: Aws) -> Iterator[dict[str, str]]:
    """A cluster in a network of its own, and a bucket with Object Lock; what names them."""
    try:
        # In this order: moto begins with a default session of its own.
        with mock_aws(), boto3_recorded(aws):
            # Else every look moves a task on, to STOPPED in the end.
            state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1000})
            boto3.client("s3").create_bucket(
                Bucket=BUCKET,
                CreateBucketConfiguration={"LocationConstraint": AWS_REGION},
                ObjectLockEnabledForBucket=True,
            )
            yield {"PHIGATE_DIGEST_BUCKET": BUCKET, **_network(), **_cluster()}
    finally:
        state_manager.unset_transition("ecs::task")


def _network() -> dict[str, str]:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    # Without it moto cannot name a task's interface.
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="sandbox", Description="none", VpcId=vpc)
    return {"PHIGATE_SUBNETS": subnet, "PHIGATE_SECURITY_GROUPS": group["GroupId"]}


def _cluster() -> dict[str, str]:
    ecs = boto3.client("ecs")
    ecs.create_cluster(clusterName="phigate")
    ecs.register_task_definition(
        family="phigate-sandbox",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="1024",
        memory="4096",
        containerDefinitions=[{"name": "sandbox", "image": "sandbox", "memory": 4096}],
    )
    return {"PHIGATE_CLUSTER": "phigate", "PHIGATE_TASK_DEFINITION": "phigate-sandbox"}
