"""The HTTP surface: which endpoint answers which path, and the envelope round all of them.

No error object of the framework is ever rendered or logged: they echo input.
"""

import functools
import json
from collections.abc import Collection, Mapping

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route as Endpoint

from phigate import pipeline
from phigate.core.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PhigateError,
)
from phigate.core.limits import HEADER_BYTES_MAX
from phigate.core.types import Task
from phigate.gateway import Gateway
from phigate.http.chat import ChatEndpoint, Message, Receive, Scope, Send
from phigate.http.directory import directory
from phigate.http.openapi import openapi_document

BASE_PATHS = ("", "/api")


TASKS: Collection[Task] = ("chat", "math")


def build_app(gateway: Gateway, served: Collection[Task] = TASKS) -> "Surface":
    """The ASGI application of one gateway; `served` are the tasks that this process takes."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(PhigateError, _our_error)
    # Without it the framework answers a bug with a text of its own before Surface sees it.
    app.add_exception_handler(Exception, _bug)
    tasks = {
        path: ChatEndpoint(gateway, task, pipeline.serve)
        for path, task in _TASKS.items()
        if task in served
    }
    router = directory(gateway)
    hot: dict[str, ChatEndpoint] = {}

    @functools.cache
    def document() -> bytes:
        """Made when it is first asked for: it would be most of a cold start's own work."""
        # Not orjson: the range of `seed` goes beyond 64 bits.
        return json.dumps(openapi_document(router)).encode()

    for base in BASE_PATHS:
        for name, endpoint in tasks.items():
            path = f"{base}{name}"
            app.router.routes.append(Endpoint(path, endpoint, methods=["POST"]))
            hot[path] = endpoint
        app.include_router(router, prefix=base)

        @app.get(f"{base}/openapi.json")
        async def _openapi() -> Response:
            return Response(document(), media_type="application/json")

    return Surface(app, hot, gateway)


class Surface:
    """The outermost layer: every answer has an x-request-id, every bug an envelope.

    A bug is noted by the name of its class alone: its text may quote the request.
    """

    def __init__(self, app: FastAPI, hot: Mapping[str, ChatEndpoint], gateway: Gateway) -> None:
        self._app = app
        self._hot = hot
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._gateway)
        if _header_bytes(scope) > HEADER_BYTES_MAX:
            await answer.refuse(
                InvalidRequest(f"The request headers are over {HEADER_BYTES_MAX} bytes together.")
            )
            return
        # The framework's own layers would be a tenth of a chat call's CPU; it keeps the endpoint
        # for the methods that the endpoint does not take.
        endpoint = self._hot.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            await (endpoint or self._app)(scope, receive, answer)
        except Exception as bug:
            if not isinstance(bug, InternalError):  # the pipeline has noted its own
                self._gateway.journal.note("bug", kind=type(bug).__name__)
            await answer.refuse(bug if isinstance(bug, InternalError) else _internal_error())


class _Answer:
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
            await render(error)({"type": "http"}, _no_more, self)


async def _no_more() -> Message:
    return {"type": "http.disconnect"}


def render(error: PhigateError) -> Response:
    """The error envelope as an answer."""
    return Response(
        orjson.dumps(error.envelope()),
        status_code=error.status,
        headers=error.headers,
        media_type="application/json",
    )


def _header_bytes(scope: Scope) -> int:
    """The request headers as they are counted on the wire: `name: value` and the line's end."""
    return sum(len(name) + len(value) + 4 for name, value in scope["headers"])


def _internal_error() -> InternalError:
    return InternalError("An error of the gateway's own; it was counted.")


async def _our_error(request: Request, exc: Exception) -> Response:
    return render(exc if isinstance(exc, PhigateError) else _internal_error())


async def _bug(request: Request, exc: Exception) -> Response:
    return render(_internal_error())


async def _framework_error(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    make, message = _FRAMEWORK_ERRORS.get(status, _OTHER)
    return render(make(message, headers={"allow": headers["Allow"]} if headers else None))


_TASKS: Mapping[str, Task] = {
    "/v1/chat/completions": "chat",
    "/v1/math/chat/completions": "math",
}
_FRAMEWORK_ERRORS: Mapping[int, tuple[type[PhigateError], str]] = {
    404: (NotFound, "No such endpoint. GET /openapi.json lists the endpoints."),
    405: (MethodNotAllowed, "This endpoint does not take that method; see the Allow header."),
}
_OTHER = (InvalidRequest, "The request is not valid HTTP.")
