"""Answers in one piece by Mangum, on one event loop that lives as long as the environment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mangum import Mangum

from phigate.aws.error_responses import FAILURES
from phigate.aws.server import FunctionServer
from phigate.http.chat import Message, Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Else Mangum would hand JSON Web Keys and event streams over as base64.
TEXTS = ["text/", "application/json", "application/jwk-set+json"]


class Enveloped:
    """An application that never raises: Mangum would log an exception with its text, which may
    quote the request, and answer without our envelope."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if started:
                return
            status, headers, body = FAILURES.answer("app_failed")
            await send({"type": "http.response.start", "status": status, "headers": list(headers)})
            await send({"type": "http.response.body", "body": body})


class Buffered:
    """A Lambda handler. Nothing is made before the first event: it may lie behind a restore."""

    def __init__(self, make: Callable[[], FunctionServer]) -> None:
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: FunctionServer | None = None
        self._mangum: Mangum | None = None

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """One invocation. Raises what stops the start; Lambda then tries it anew."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        if self._mangum is None:
            server = self._make()
            self._loop.run_until_complete(server.start())
            self._server = server
            # Its own lifespans last for one event; ours lasts for all of them.
            self._mangum = Mangum(Enveloped(server), lifespan="off", text_mime_types=TEXTS)
        answer: dict[str, Any] = self._mangum(event, context)
        return answer

    def close(self) -> None:
        """End the pools and the loop; Lambda itself never asks for it."""
        if self._loop is not None:
            if self._server is not None:
                self._loop.run_until_complete(self._server.stop())
            asyncio.set_event_loop(None)
            self._loop.close()
        self._loop = self._server = self._mangum = None
