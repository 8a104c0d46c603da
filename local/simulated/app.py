"""All simulated providers as one ASGI application: the path's first step names the provider, its
ending the dialect. Nothing of a request is logged or kept.

A call is read, answered by pure functions and then played: sent, paused and cut as the parts say.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import orjson

from local.simulated.anthropic import DIALECT as ANTHROPIC
from local.simulated.compose import draft, limited
from local.simulated.control import FailurePlan
from local.simulated.enclave import PROVIDERS, Enclave
from local.simulated.failures import (
    REDIRECT_PATH,
    Case,
    answered,
    drafted,
    error_reply,
    replied,
)
from local.simulated.magic_words import orders_in, plan_of
from local.simulated.openai import DIALECT as OPENAI
from local.simulated.openai import answer_id
from local.simulated.render import steps
from local.simulated.schema_example import NoExample
from local.simulated.shapes import (
    Cut,
    Data,
    Dialect,
    FailureOrder,
    Head,
    Pause,
    Refused,
    Reply,
    Stamp,
    Step,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_BYTES_MAX = 32 * 1024 * 1024  # more than any provider takes; the gateway stops at 5 MB
CONTROL_PATH = "/__control"


def build_app(providers: Iterable[str]) -> "SimulatedProviders":
    """The application for these provider names; each is served under `/<provider>`."""
    names = tuple(providers)
    return SimulatedProviders(FailurePlan(names), {n: Enclave() for n in names if n in PROVIDERS})


class SimulatedProviders:
    """The ASGI application. Its state is the board, counts and planned failures, and what the
    enclaves of confidential providers have signed."""

    def __init__(self, board: FailurePlan, enclaves: Mapping[str, Enclave]) -> None:
        self._board = board
        self._enclaves = enclaves

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request. Other scopes are not supported."""
        if scope["type"] != "http":
            raise NotImplementedError("simulated providers speak HTTP only")
        data = await _body(receive)
        if data is None:
            return
        path = scope["path"]
        if path == CONTROL_PATH:
            reply = _NO_PAGE if _is_a_page(scope) else self._control(scope["method"], data)
            await _play(steps(reply), receive, send)
        elif path == REDIRECT_PATH:
            self._board.redirects_followed += 1
            await _play(
                steps(error_reply(OPENAI, 404, "[simulated] A redirect ends here.")), receive, send
            )
        elif (attested := self._attested(scope)) is not None:
            await _play(steps(attested), receive, send)
        else:
            await self._call(scope, data, receive, send)

    async def _call(self, scope: Scope, data: bytes, receive: Receive, send: Send) -> None:
        provider = scope["path"].split("/")[1]
        tally = self._board.tallies.get(provider)
        dialect = _dialect_of(scope["path"])
        if tally is None or dialect is None:
            reply = error_reply(OPENAI, 404, "[simulated] There is nothing at this path.")
            await _play(steps(reply), receive, send)
            return
        tally.calls += 1
        refusal = _refusal(scope, dialect, data)
        if refusal is None:
            planned = self._board.take(provider)
            stamp = Stamp(provider, tally.calls, int(time.time()))
            reply, failed = _reply(scope, data, dialect, stamp, planned)
            tally.failed += failed
        else:
            reply = refusal
        tally.refused += reply.status >= 400
        tally.open += 1
        script = self._witnessed(steps(reply), data, provider, tally.calls)
        try:
            tally.hung_up += not await _play(script, receive, send)
        finally:
            tally.open -= 1

    def _attested(self, scope: Scope) -> Reply | None:
        """The answer to a GET that only a provider with an enclave knows."""
        _, provider, *_ = scope["path"].split("/")
        enclave = self._enclaves.get(provider)
        if enclave is None or scope["method"] != "GET":
            return None
        path = scope["path"].removeprefix(f"/{provider}")
        return enclave.answers(path, scope["query_string"], _headers(scope))

    def _witnessed(
        self, script: Iterator[Step], data: bytes, provider: str, serial: int
    ) -> Iterator[Step]:
        enclave = self._enclaves.get(provider)
        if enclave is None:
            return script
        return enclave.witnessed(script, data, answer_id(provider, serial))

    def _control(self, method: str, data: bytes) -> Reply:
        try:
            if method == "POST":
                self._board.plan(*plan_of(_control_body(data)))
            elif method == "DELETE":
                self._board.reset()
            elif method != "GET":
                return error_reply(OPENAI, 405, "GET, POST and DELETE are allowed.")
        except Refused as refused:
            return error_reply(OPENAI, 400, refused.message, param=refused.param)
        return Reply(stream=False, parts=(Data("whole", self._board.read()),))


def _is_a_page(scope: Scope) -> bool:
    """A browser names the page that asks; nobody else sends the header."""
    return any(name == b"origin" for name, _ in scope["headers"])


def _control_body(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise Refused("The body is not JSON.") from exc
    if not isinstance(body, dict):
        raise Refused("The body is not an object.")
    return body


def _dialect_of(path: str) -> Dialect | None:
    return next((DIALECTS[ending] for ending in DIALECTS if path.endswith(ending)), None)


def _refusal(scope: Scope, dialect: Dialect, data: bytes) -> Reply | None:
    """The answer to a call that is refused before its body is read."""
    if scope["method"] != "POST":
        return error_reply(dialect, 405, "[simulated] Only POST is allowed.")
    if not dialect.authorized(_headers(scope)):
        message = "[simulated] You didn't provide an API key."
        return error_reply(dialect, 401, message, code="invalid_api_key")
    if len(data) > BODY_BYTES_MAX:
        return error_reply(dialect, 413, "[simulated] The request is too large.")
    return None


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): v.decode("latin-1") for name, v in scope["headers"]}


def _reply(
    scope: Scope, data: bytes, dialect: Dialect, stamp: Stamp, planned: tuple[FailureOrder, ...]
) -> tuple[Reply, bool]:
    """The reply to one call, and whether a failure was played on it."""
    try:
        ask = dialect.read(data, _headers(scope))
        orders = (*planned, *orders_in(ask.last_user_text))
        answer = answered(limited(drafted(draft(ask, stamp.provider), orders), ask), orders)
    except Refused as refused:
        message = f"[simulated {stamp.provider}] {refused.message}"
        names = {"param": refused.param, "code": refused.code}
        return error_reply(dialect, refused.status, message, **names), False
    except NoExample as exc:
        message = f"[simulated {stamp.provider}] Invalid schema: {exc}."
        return error_reply(dialect, 400, message, code="invalid_schema"), False
    reply = Reply(stream=ask.stream, parts=dialect.parts(ask, answer, stamp))
    return replied(reply, orders, Case(dialect, _elsewhere(scope))), bool(orders)


def _elsewhere(scope: Scope) -> str:
    """This server under another host name, so that a followed redirect is seen and counted."""
    host, port = scope.get("server") or ("127.0.0.1", 80)
    return f"http://{'localhost' if host != 'localhost' else '127.0.0.1'}:{port}"


async def _body(receive: Receive) -> bytes | None:
    """The request's body, one byte more than allowed at most; None when the client has left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= BODY_BYTES_MAX:
            body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _play(script: Iterator[Step], receive: Receive, send: Send) -> bool:
    """Send everything. False when the client left before the end; the rest is then not played."""
    sending = asyncio.ensure_future(_send_all(script, send))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finished = sending.done()
    finally:
        sending.cancel()
        leaving.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
    if finished:
        sending.result()
    return finished


async def _send_all(script: Iterator[Step], send: Send) -> None:
    for step in script:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Cut):
            return  # the server closes a connection whose response was not completed
        elif isinstance(step, Head):
            headers = [(name.encode(), value.encode()) for name, value in step.headers]
            start = {"type": "http.response.start", "status": step.status, "headers": headers}
            await send(start)
        else:
            await send({"type": "http.response.body", "body": step, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# From a path's ending to who speaks there.
DIALECTS: dict[str, Dialect] = {"/chat/completions": OPENAI, "/v1/messages": ANTHROPIC}


_NO_PAGE = error_reply(OPENAI, 403, "[simulated] A page may not plan failures.")
