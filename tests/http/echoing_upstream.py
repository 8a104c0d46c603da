"""A provider that throws whatever it was told back, in every place of an answer where an error text
could carry it further. The word `answer:<name>` in the request picks how."""

import contextlib
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import cast

import orjson

HEAD_BYTES_MAX = 64 * 1024
_WORD = re.compile(rb"answer:([a-z_]+)")
# A word that the request holds: the first long one with digits in it.
_LONG_WORD = re.compile(r"\b[a-z]{6,}[0-9][a-z0-9]{5,}\b")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def _http(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, kind, len(body)) + body


def _error(text: str) -> bytes:
    return orjson.dumps({"error": {"message": text, "type": text, "code": text, "param": text}})


def _answer(text: str, **members: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": text}
    return orjson.dumps({"id": text, "object": text, "choices": [choice], **members})


def _named(text: str) -> bytes:
    """An answer whose id is a word of the request behind a prefix that providers use."""
    word = _LONG_WORD.search(text)
    return _answer(text, usage=None).replace(
        b'"id":', b'"id":"chatcmpl-%b","x":' % (word[0] if word else "none").encode()
    )


def _signature(text: str) -> bytes:
    """What a confidential provider signs, with the request in every place."""
    names = ("text", "signature", "signing_address", "intel_quote", text)
    return _http(orjson.dumps({**dict.fromkeys(names, text[-900:]), "signing_algo": "ecdsa"}))


def _events(*events: bytes) -> bytes:
    return _http(b"".join(events), kind=b"text/event-stream")


# From the word to the bytes of the answer; the text is the request's own, the key included.
ANSWERS: dict[str, Callable[[str], bytes]] = {
    "refusal": lambda text: _http(_error(text), b"400 Bad Request"),
    "failure": lambda text: _http(_error(text), b"500 Oh"),
    "unauthorized": lambda text: _http(_error(text), b"401 No"),
    "status_line": lambda text: b"HTTP/1.1 " + text.encode()[:300] + b"\r\n\r\n",
    "no_http": lambda text: text.encode()[:300] + b"\r\n\r\n",
    "header": lambda text: b"HTTP/1.1 200 OK\r\n" + text.encode()[:300] + b"\r\n\r\n",
    "content_type": lambda text: _http(b"{}", kind=text.encode()[:300]),
    "redirect": lambda text: (
        b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/"
        + text.encode()[:300].replace(b" ", b"_")
        + b"\r\ncontent-length: 0\r\n\r\n"
    ),
    "cut": lambda text: _http(_answer(text)).replace(b"content-length: ", b"content-length: 9"),
    "not_json": lambda text: _http(b"<html>" + text.encode()),
    "wrong_shape": lambda text: _http(orjson.dumps({"choices": text})),
    "choices_of_text": lambda text: _http(orjson.dumps({"choices": [text]})),
    "usage": lambda text: _http(_answer(text, usage={"prompt_tokens": text})),
    "error_inside": lambda text: _http(_error(text)),
    "answer": lambda text: _http(_answer(text, usage=None)),
    "signed": lambda text: _http(_answer(text, usage=None).replace(b'"id":', b'"id":"up-1","x":')),
    "named": lambda text: _http(_named(text)),
    "event_broken": lambda text: _events(b"data: {" + text.encode() + b"\n\n"),
    "event_error": lambda text: _events(b"data: ", _error(text), b"\n\n"),
    "event_wrong": lambda text: _events(b"data: ", orjson.dumps({"choices": text}), b"\n\n"),
    "event_named": lambda text: _events(b"event: ", text.encode(), b"\ndata: {}\n\n"),
    "event_then_broken": lambda text: _events(
        b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n',
        b"data: {" + text.encode() + b"\n\n",
    ),
}


class _Exchange(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Read one request, answer, close."""
        head = b""
        while not head.endswith(b"\r\n\r\n") and len(head) < HEAD_BYTES_MAX:
            line = self.rfile.readline()
            if not line:
                return
            head += line
        length = _LENGTH.search(head)
        body = self.rfile.read(int(length[1])) if length else b""
        server = cast(EchoingUpstream, self.server)
        if head.startswith(b"GET "):
            server.gets.append(head)
            with contextlib.suppress(OSError):
                self.wfile.write(_signature(server.requests[-1].decode("utf-8", "replace")))
            return
        server.requests.append(head + body)
        word = _WORD.search(body)
        name = word[1].decode() if word else "answer"
        with contextlib.suppress(OSError):
            self.wfile.write(ANSWERS[name](body.decode("utf-8", "replace")))


class EchoingUpstream(socketserver.ThreadingTCPServer):
    """Listens on loopback; `requests` are the bytes of every POST, `gets` those of every GET."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.requests: list[bytes] = []
        self.gets: list[bytes] = []

    @property
    def base_url(self) -> str:
        """What PHIGATE_<NAME>_BASE_URL is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextlib.contextmanager
def echoing() -> Iterator[EchoingUpstream]:
    """One that serves."""
    with EchoingUpstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
