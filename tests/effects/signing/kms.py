"""Two stand-ins for KMS behind one small HTTP server: moto, and one that obeys MessageType.

moto hashes a digest once more, so it proves the names and the errors; `Keys` proves the digest.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import boto3
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto import mock_aws

from phigate.effects.aws.json_service import AwsJson
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.clock import WallClock

REGION = "eu-central-2"
AWS_URL = f"https://kms.{REGION}.amazonaws.com/"
FORWARDED = ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date")
TIMEOUT_S = 10.0
CURVES: dict[str, ec.EllipticCurve] = {
    "ECC_NIST_P256": ec.SECP256R1(),
    "ECC_SECG_P256K1": ec.SECP256K1(),
}

Answer = tuple[int, bytes]
AnswerCall = Callable[[dict[str, str], bytes], Answer]


def aws_json(service: str, url: str) -> AwsJson:
    """The client of a service that stands in at a URL."""
    return AwsJson(
        service=service,
        endpoint=url,
        region=REGION,
        credentials=lambda: Credentials("made", "up"),
        clock=WallClock(),
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer_call: AnswerCall) -> None:
        super().__init__(("127.0.0.1", 0), _Endpoint)
        self.answer_call = answer_call


class _Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One POST is one call."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, content = cast(_Server, self.server).answer_call(dict(self.headers), body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(answer_call: AnswerCall) -> Iterator[str]:
    """The URL of a server that answers so."""
    with _Server(answer_call) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def ask_moto(headers: dict[str, str], body: bytes) -> Answer:
    """Hand a call to moto and its answer back; no packet is sent to AWS."""
    kept = {name: headers[name] for name in FORWARDED}
    answer = requests.post(AWS_URL, data=body, headers=kept, timeout=TIMEOUT_S)
    return answer.status_code, answer.content


@contextlib.contextmanager
def moto_kms() -> Iterator[tuple[str, Any]]:
    """moto's KMS: its URL, and AWS's own client to prepare keys with."""
    with mock_aws(), serving(ask_moto) as url:
        yield (
            url,
            boto3.client(
                "kms",
                region_name=REGION,
                aws_access_key_id="made",
                aws_secret_access_key="up",
            ),
        )


class Keys:
    """One key of each kind, and a Sign that does as it is told. `calls` are (target, body)."""

    def __init__(self) -> None:
        self.keys = {name: ec.generate_private_key(curve) for name, curve in CURVES.items()}
        self.calls: list[tuple[str, dict[str, str]]] = []

    def __call__(self, headers: dict[str, str], body: bytes) -> Answer:
        """One call."""
        assert headers["Content-Type"] == "application/x-amz-json-1.1"
        assert f"/{REGION}/kms/aws4_request" in headers["Authorization"]
        target, asked = headers["X-Amz-Target"], json.loads(body)
        self.calls.append((target, asked))
        key = self.keys[asked["KeyId"]]
        if target == "TrentService.GetPublicKey":
            der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return 200, json.dumps({"PublicKey": base64.b64encode(der).decode()}).encode()
        assert target == "TrentService.Sign"
        assert asked["SigningAlgorithm"] == "ECDSA_SHA_256"
        message = base64.b64decode(asked["Message"], validate=True)
        sha256 = hashes.SHA256()
        how = Prehashed(sha256) if asked["MessageType"] == "DIGEST" else sha256
        signature = base64.b64encode(key.sign(message, ec.ECDSA(how))).decode()
        return 200, json.dumps({"Signature": signature}).encode()
