"""AWS and a provider by the names that functions call them by, for functions in a container.

A TLS endpoint answers under all of them; the stand-ins of tests/functions and the simulated
providers are behind it.
"""

import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from phigate.aws.environment import aws_endpoint
from tests.functions.aws import AWS_REGION
from tests.functions.aws_stack import AwsStack
from tests.slow.authority import write_authority

# The one provider whose secret the stack holds; the secret's product is 1.
PROVIDER = ("https://api.infomaniak.com/2/ai/1/openai/v1", "infomaniak")
# Where CloudFormation waits for an answer in this AWS region.
TOLD = "cloudformation-custom-resource-response-eucentral2.s3.eu-central-2.amazonaws.com"
PORT = 443
TIMEOUT_S = 60.0
_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length"})

# The start of the path under a name, and what answers instead.
Way = tuple[str, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    ways: Mapping[str, Way]


class _Endpoint(BaseHTTPRequestHandler):
    """Hands a request on by the name that was called; the answer comes back in one piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """One call."""
        self._hand_on()

    def do_PUT(self) -> None:
        """One answer to CloudFormation."""
        self._hand_on()

    def _hand_on(self) -> None:
        start, target = cast(_Server, self.server).ways[self.headers["Host"].partition(":")[0]]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(target)
        connection = http.client.HTTPConnection(url.netloc, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            path = url.path + self.path.removeprefix(start)
            connection.request(self.command, path, body, _kept(dict(self.headers.items())))
            answer = connection.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in _kept(dict(answer.getheaders())).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def ways_of(aws_stack: AwsStack) -> dict[str, Way]:
    """Where each name leads."""
    services = ("dynamodb", "ecs", "kms", "secretsmanager")
    names = [
        str(urlsplit(aws_endpoint(service, AWS_REGION, fips=False)).hostname)
        for service in services
    ]
    real, provider = urlsplit(PROVIDER[0]), PROVIDER[1]
    simulated = aws_stack.lambda_environment("chat").base_url(provider)
    assert real.hostname is not None and simulated is not None
    aws = dict.fromkeys((*names, TOLD), ("", aws_stack.aws.url))
    return {**aws, real.hostname: (real.path, simulated)}


@contextlib.contextmanager
def answering(address: str, ways: Mapping[str, Way], folder: Path) -> Iterator[Path]:
    """Answer under those names at an address; the authority that vouches for them."""
    authority, chain = write_authority(folder, sorted(ways))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with _Server((address, PORT), _Endpoint) as server:
        server.ways = ways
        # The handshake waits for the connection's own thread.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield authority
        finally:
            server.shutdown()
            thread.join()
