"""The outermost layer: the chat endpoints, and the envelope round every answer.

No web framework is loaded here: chat and math, which have no other endpoint on AWS, would wait for
it at every cold start. `http.app` adds the endpoints that are written with one.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping

import orjson

from phigate.core.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PhigateError,
)
from phigate.core.limits import HEADER_BYTES_MAX
from phigate.core.types import Task
from phigate.formats.caller_format import CallerFormat
from phigate.formats.chat import CHAT
from phigate.http.chat import ChatEndpoint, Message, Receive, Scope, Send, raw_headers
from phigate.pipeline import serve as pipeline
from phigate.pipeline.gateway import Gateway

App = Callable[[Scope, Receive, Send], Awaitable[None]]

BASE_PATHS = ("", "/api")
PATHS: Mapping[Task, str] = {
    "chat": "/v1/chat/completions",
    "math": "/v1/math/chat/completions",
}
FORMATS: Mapping[Task, CallerFormat] = {"chat": CHAT, "math": CHAT}
NO_ENDPOINT = "No such endpoint. GET /openapi.json lists the endpoints."
NO_METHOD = "This endpoint does not take that method; see the Allow header."


def chats(gateway: Gateway, tasks: Collection[Task]) -> "GatewayApp":
    """The application of a process that takes these tasks and has no other endpoint."""
    return GatewayApp(gateway, tasks, _no_endpoint)


class GatewayApp:
    """Every answer has an x-request-id, every bug an envelope.

    `others` takes what is for no chat endpoint. A bug is noted by the name of its class alone: its
    text may quote the request.
    """

    def __init__(self, gateway: Gateway, tasks: Collection[Task], others: App) -> None:
        self._gateway = gateway
        self._others = others
        self._chats = {
            base + PATHS[task]: ChatEndpoint(gateway, task, FORMATS[task], pipeline.serve)
            for task in tasks
            for base in BASE_PATHS
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        answer = _ResponseGuard(send, self._gateway)
        chat = self._chats.get(scope["path"])
        if _header_bytes(scope) > HEADER_BYTES_MAX:
            await answer.refuse(
                InvalidRequest(f"The request headers are over {HEADER_BYTES_MAX} bytes together.")
            )
        elif chat is not None and scope["method"] != "POST":
            await answer.refuse(MethodNotAllowed(NO_METHOD, headers={"allow": "POST"}))
        else:
            try:
                await (chat or self._others)(scope, receive, answer)
            except Exception as bug:
                if not isinstance(bug, InternalError):  # the pipeline has noted its own
                    self._gateway.event_log.record("bug", kind=type(bug).__name__)
                await answer.refuse(bug if isinstance(bug, InternalError) else internal_error())


class _ResponseGuard:
    """Watches one answer go out."""

    def __init__(self, send: Send, gateway: Gateway) -> None:
        self._send = send
        self._gateway = gateway
        self._started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            headers = message["headers"] = list(message["headers"])
            if not any(name == b"x-request-id" for name, _ in headers):
                headers.append((b"x-request-id", self._gateway.random_bytes(8).hex().encode()))
        await self._send(message)

    async def refuse(self, error: PhigateError) -> None:
        """Answer with an error, if nothing has been answered; else the connection just ends."""
        if not self._started:
            await send_error(error, self)


async def send_error(error: PhigateError, send: Send) -> None:
    """The error envelope as a whole answer."""
    status, headers, body = enveloped(error)
    start = {"type": "http.response.start", "status": status, "headers": raw_headers(headers)}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def enveloped(error: PhigateError) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an error's answer."""
    body = orjson.dumps(error.envelope())
    named = {"content-type": "application/json", "content-length": str(len(body))}
    return error.status, {**error.headers, **named}, body


def internal_error() -> InternalError:
    """A bug as the caller reads of it."""
    return InternalError("An error of the gateway's own; it was counted.")


async def _no_endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    await send_error(NotFound(NO_ENDPOINT), send)


def _header_bytes(scope: Scope) -> int:
    """The request headers as they are counted on the wire: `name: value` and the line's end."""
    return sum(len(name) + len(value) + 4 for name, value in scope["headers"])
