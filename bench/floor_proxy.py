"""The same-run floor: what a raw ASGI pass-through costs under uvicorn with aiohttp.

It parses the request and renames its model; a JSON answer passes as bytes; of a stream every
event is parsed, its model renamed, and written again. No key, no gate, no ledger.
"""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import orjson
import uvicorn

# The message types of ASGI, as its specification writes them.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON_HEADERS = [(b"content-type", b"application/json")]
_STREAM_HEADERS = [(b"content-type", b"text/event-stream")]
_UPSTREAM_HEADERS = {"content-type": "application/json", "authorization": "Bearer bench"}
_DONE = b"data: [DONE]"


class FloorProxy:
    """The ASGI application; its session lives from start to shutdown."""

    def __init__(self, upstream_url: str) -> None:
        self._upstream_url = upstream_url
        self._session: aiohttp.ClientSession

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection scope (asgi.readthedocs.io)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._pass(scope["path"], await _read_body(receive), send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _pass(self, path: str, body: bytes, send: Send) -> None:
        request = orjson.loads(body)
        request["model"] = "bench-upstream"
        is_stream = request.get("stream") is True
        async with self._session.post(
            self._upstream_url + path,
            data=orjson.dumps(request),
            headers=_UPSTREAM_HEADERS,
            allow_redirects=False,
        ) as answer:
            headers = _STREAM_HEADERS if is_stream else _JSON_HEADERS
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            if not is_stream:
                whole = await answer.read()
                await send(start)
                await send({"type": "http.response.body", "body": whole})
                return
            await send(start)
            async for part in rename_events(answer.content.iter_any()):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def rename_events(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events of a stream, each parsed and written again; one part out per part in."""
    rest = b""
    async for part in parts:
        *events, rest = (rest + part).split(b"\n\n")
        if events:
            yield b"".join([_rename_event(event) for event in events])


def _rename_event(event: bytes) -> bytes:
    if event == _DONE:
        return event + b"\n\n"
    chunk = orjson.loads(event.removeprefix(b"data: "))
    chunk["model"] = "gemma-4"
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def main() -> None:
    """Entry point of `python -m bench.floor_proxy --port N --upstream URL`."""
    parser = argparse.ArgumentParser(description="Pass-through proxy: the floor of the bench.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvicorn.run(
        FloorProxy(options.upstream),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
