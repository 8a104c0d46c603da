"""moto's DynamoDB behind a unix socket, for machines that dynoxide is not made for, or cannot be
shut off on.

moto is not atomic across threads: conditional writes of 32 clients spend the same credit twice.
One lock round each call repairs that. Nothing is written to disk, and no port is opened.
"""

import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import requests
from moto import mock_aws

from local.handover import hand_out, listen

# moto answers for this host inside the process; no packet is sent to it.
AWS_URL = "https://dynamodb.us-east-1.amazonaws.com/"
FORWARDED = ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date")
TIMEOUT_S = 10.0


class Moto:
    """The process's moto; `lock` is held by the one call that is at work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def connect(self) -> socket.socket:
        """One end of a new connection; a thread serves the other."""
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._serve, args=(ours,), daemon=True).start()
        return theirs

    def _serve(self, connection: socket.socket) -> None:
        server: Any = self  # all that the handler looks for in it is the lock
        with connection:
            Endpoint(connection, None, server)


class Endpoint(BaseHTTPRequestHandler):
    """One connection; one POST is one call."""

    protocol_version = "HTTP/1.1"
    server: Any

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
    """Serve on the socket of the given path until killed."""
    os.umask(0o077)
    listener = listen(Path(arguments[0]))
    with mock_aws():
        hand_out(listener, Moto().connect)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
