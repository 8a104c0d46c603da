"""The HTTP API: `GET /healthz`, `POST /run`, `POST /end`, on threads that wait for main.

Laws: without the token nothing is read and nothing answered but 401 and the bare health; the token
is known by its SHA-256 alone; no program and no output is logged.
"""

import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from sandbox_fargate.requests import MalformedError

# 10 MB of code are refused in words, so they have to be read; JSON may write a character as six.
BODY_BYTES_MAX = 16_000_000

# The gateway holds one connection; the dispatcher's health checks are a second.
CONNECTIONS_MAX = 16

# A peer on the same network that sends nothing for so long is gone.
SOCKET_TIMEOUT_S = 30.0


class Backend(Protocol):
    """What the HTTP API hands its work to."""

    def is_warm(self) -> bool:
        """Whether a program would find the libraries loaded."""

    def run(self, body: bytes) -> dict[str, Any] | None:
        """Run the program in a body; None when the session is over."""

    def try_claim(self) -> bool:
        """Take the only place for a program; False when one is running."""

    def free(self) -> None:
        """Give the place back."""

    def end(self) -> None:
        """End the session and wait until the sandbox is removed."""


class HttpApi(ThreadingHTTPServer):
    """The listening socket and its bounded threads."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], token_sha256: str, backend: Backend) -> None:
        """Listen; the hash is lower-case hex."""
        self.backend = backend
        self._token_sha256 = token_sha256.encode("ascii")
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._busy = 0
        self._idle = threading.Condition()
        super().__init__(address, Handler)

    def is_authorised(self, header: str | None) -> bool:
        """Whether a header carries the token, in time that does not depend on how wrong it is."""
        scheme, _, token = (header or "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()
        is_same = hmac.compare_digest(digest.encode("ascii"), self._token_sha256)
        return scheme.lower() == "bearer" and is_same

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread a connection, up to the bound; beyond it the connection is closed."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is its peer's affair; a traceback could hold what it sent."""

    def answering(self, step: int) -> None:
        """Count an answer that begins (1) or has been written (-1)."""
        with self._idle:
            self._busy += step
            self._idle.notify_all()

    def wait_until_written(self, timeout_s: float) -> None:
        """Wait until no answer is being written."""
        with self._idle:
            self._idle.wait_for(lambda: self._busy == 0, timeout_s)

    def server_bind(self) -> None:
        """Bind without the reverse look-up of names that http.server does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: HttpApi
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_TIMEOUT_S
    # Head and body go out together: a small answer is one packet.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The bare health, or nothing."""
        if self.path == "/healthz":
            self._answer(200, {"status": "ready" if self.server.backend.is_warm() else "warming"})
        elif self._is_allowed():
            self._refuse(404, "not_found")

    def do_POST(self) -> None:
        """A program, or the end."""
        if not self._is_allowed():
            return
        endpoint = ENDPOINTS.get(self.path)
        if endpoint is None:
            self._refuse(404, "not_found")
            return
        self.server.answering(1)
        try:
            endpoint(self)
            self.wfile.flush()
        finally:
            self.server.answering(-1)

    def run(self) -> None:
        """Run a program; one at a time."""
        body = self._body()
        if body is None:
            return
        if not self.server.backend.try_claim():
            self._answer(409, {"error": "a program is running"})
            return
        try:
            result = self.server.backend.run(body)
            status = 200
        except MalformedError as exc:
            status, result = 400, {"error": str(exc)}
        finally:
            # Before the answer: who has it may ask again at once.
            self.server.backend.free()
        if result is None:
            self._refuse(503, "the session is over")
        else:
            self._answer(status, result)

    def end(self) -> None:
        """End the session."""
        self.server.backend.end()
        self.close_connection = True
        self._answer(200, {"status": "ended"})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, in our shape and without an echo."""
        self._refuse(code, "malformed request")

    def log_message(self, format: str, *args: object) -> None:
        """Requests are logged by the main thread, by counts alone."""

    def version_string(self) -> str:
        """No version is told."""
        return "sandbox"

    def _is_allowed(self) -> bool:
        if self.server.is_authorised(self.headers.get("Authorization")):
            return True
        self._refuse(401, "unauthorised")
        return False

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            self._refuse(400, "Content-Length is needed")
            return None
        if int(length) > BODY_BYTES_MAX:
            self._refuse(413, f"the body has more than {BODY_BYTES_MAX} bytes")
            return None
        return self.rfile.read(int(length))

    def _refuse(self, status: int, reason: str) -> None:
        """An answer after which the rest of the connection is not read."""
        self.close_connection = True
        self._answer(status, {"error": reason})

    def _answer(self, status: int, table: dict[str, Any]) -> None:
        body = json.dumps(table).encode("ascii")
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


ENDPOINTS: dict[str, Callable[[Handler], None]] = {"/run": Handler.run, "/end": Handler.end}
