"""The whole HTTP surface: the chats, and the endpoints that tell about the gateway.

No error object of the framework is ever rendered or logged: they echo input.
"""

import functools
import json
from collections.abc import Collection, Mapping

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from phigate.core.errors import InvalidRequest, MethodNotAllowed, NotFound, PhigateError
from phigate.core.types import Task
from phigate.http import attestation, directory, receipts
from phigate.http.asgi import (
    BASE_PATHS,
    NO_ENDPOINT,
    NO_METHOD,
    PATHS,
    GatewayApp,
    enveloped,
    internal_error,
)
from phigate.http.openapi import openapi_document
from phigate.pipeline.gateway import Gateway

_ROUTERS = (directory.router, receipts.router, attestation.router)
ENDPOINTS = tuple(r for router in _ROUTERS for r in router.routes if isinstance(r, APIRoute))


def build_app(gateway: Gateway, tasks: Collection[Task] = tuple(PATHS)) -> GatewayApp:
    """The ASGI application of one gateway; `tasks` are those that this process takes."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.gateway = gateway
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(PhigateError, _our_error)
    # Without it the framework answers a bug with a text of its own before GatewayApp sees it.
    app.add_exception_handler(Exception, _bug)
    for base in BASE_PATHS:
        for router in _ROUTERS:
            app.include_router(router, prefix=base)
        app.add_api_route(f"{base}/openapi.json", _openapi)
    return GatewayApp(gateway, tasks, app)


@functools.cache
def _document() -> bytes:
    """Made when it is first asked for: it would be most of a start's own work."""
    # Not orjson: the range of `seed` goes beyond 64 bits.
    return json.dumps(openapi_document(ENDPOINTS)).encode()


async def _openapi() -> Response:
    return Response(_document(), media_type="application/json")


def _render(error: PhigateError) -> Response:
    status, headers, body = enveloped(error)
    return Response(body, status, headers)


async def _our_error(request: Request, exc: Exception) -> Response:
    return _render(exc if isinstance(exc, PhigateError) else internal_error())


async def _bug(request: Request, exc: Exception) -> Response:
    return _render(internal_error())


async def _framework_error(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    make, message = _FRAMEWORK_ERRORS.get(status, _OTHER)
    return _render(make(message, headers={"allow": headers["Allow"]} if headers else None))


_FRAMEWORK_ERRORS: Mapping[int, tuple[type[PhigateError], str]] = {
    404: (NotFound, NO_ENDPOINT),
    405: (MethodNotAllowed, NO_METHOD),
}
_OTHER = (InvalidRequest, "The request is not valid HTTP.")
