"""The engine for clients that know no socket which hands connections out: http.client, botocore."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from phigate.effects.handed_socket import SCHEME, handed_socket_now

TIMEOUT_S = 10.0


def connection_to(url: str) -> http.client.HTTPConnection:
    """A connection to an engine by its url."""
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
    connection.sock = handed_socket_now(url.removeprefix(f"{SCHEME}:"), TIMEOUT_S)
    return connection


@contextlib.contextmanager
def on_a_port(url: str) -> Iterator[str]:
    """The engine behind a port of its own, for as long as the context lasts; its URL."""

    class Forwarding(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.closing(connection_to(url)) as connection:
                connection.request("POST", "/", body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Forwarding) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
