"""moto's DynamoDB behind a small HTTP server, for machines that dynoxide is not made for.

moto is not atomic across threads: conditional writes of 32 clients spend the same credit twice.
One lock round each call repairs that. Nothing is written to disk.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from moto import mock_aws

# moto answers for this host inside the process; no packet is sent to it.
AWS_URL = "https://dynamodb.us-east-1.amazonaws.com/"
FORWARDED = ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date")
TIMEOUT_S = 10.0


class Server(ThreadingHTTPServer):
    """Listens on loopback; `lock` is held by the one call that is at work."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Endpoint)
        self.lock = threading.Lock()


class Endpoint(BaseHTTPRequestHandler):
    """One POST is one call."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        """Hand the call to moto and its answer back."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name: self.headers[name] for name in FORWARDED if name in self.headers}
        with self.server.lock:
            answer = requests.post(AWS_URL, data=body, headers=headers, timeout=TIMEOUT_S)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the request line of every call is no news."""


def main(arguments: list[str]) -> int:
    """Serve on the given port until killed."""
    with mock_aws(), Server(int(arguments[0])) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
