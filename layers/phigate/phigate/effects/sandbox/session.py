"""One sandbox over HTTP: programs in, results out, its end.

Laws: what a sandbox sends is an attacker's, and whatever does not fit exactly is SandboxError; a
sandbox that failed once is not asked again; its end is begun once and goes on when its caller is
cancelled.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from phigate.core.clock import Clock
from phigate.core.errors import SandboxError
from phigate.core.sandbox.port import RunResult
from phigate.core.sandbox.runs import Language

CLOCKS_DIFFER_MS = 50  # 60 s at 500 parts per million, more than any clock is off
HEALTH_TIMEOUT_S = 2.0
HEALTH_PAUSE_S = 0.25
CONNECT_TIMEOUT_S = 3.0
# The server drops a connection that was silent for 30 s; a POST must not meet that moment.
KEEP_ALIVE_S = 15.0

# Ten figures of 2 MB whose every second byte is escaped have 30 MB; charts have 0.2 MB.
ANSWER_BYTES_MAX = 32 * 1024 * 1024
HEALTH_BYTES_MAX = 1024
PIECE_BYTES = 256 * 1024
# The sandbox refuses more than 262,144 bytes in words; nobody writes millions by hand.
CODE_CHARS_MAX = 1_000_000

TEXT_CHARS_MAX = 65_536 + 4_096  # what the sandbox keeps of a stream, and its notes on cuts
FIGURE_BYTES_MAX = 2_000_000
FIGURES_MAX = 10
LIMITS_MAX = 16  # the sandbox knows twelve names
LIMIT_NAME = re.compile(r"[a-z][a-z_]{0,31}")
MEMBERS = frozenset(
    ("language", "exit_code", "stdout", "stderr", "value", "figures", "limits", "wall_ms")
)

FOREIGN = (aiohttp.ClientError, OSError, TimeoutError, ValueError)

End = Callable[[], Awaitable[None]]


def token_of(secret: bytes, nonce: str) -> str:
    """A sandbox's token; whoever has the stack's secret can compute it again from the nonce."""
    message = b"phigate sandbox token " + nonce.encode("utf-8")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def token_sha256(token: str) -> str:
    """What a sandbox is told of its token."""
    return hashlib.sha256(token.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait: beyond a program's own time, where the server waits 10 s for libraries and
    leftovers; and for the word of the end, which comes in 0.1 s, when the jail is removed."""

    run_margin_s: float = 15.0
    end_s: float = 5.0


PATIENCE = Timeouts()


class HttpSandbox:
    """Implements core.sandbox.port.Sandbox. `end` ends what stands behind it and does not raise."""

    def __init__(
        self, *, base_url: str, token: str, image: str, end: End, patience: Timeouts = PATIENCE
    ) -> None:
        self.base_url = base_url
        self._patience = patience
        self._headers = {"authorization": f"Bearer {token}"}
        self._image = image
        self._end = end
        self._http = _session()
        self._is_usable = True
        self._closing: asyncio.Task[None] | None = None

    @property
    def image(self) -> str:
        """See Sandbox."""
        return self._image

    async def run(self, language: Language, code: str, timeout_s: float) -> RunResult:
        """See Sandbox. One program at a time."""
        if not self._is_usable:
            raise SandboxError("The sandbox of this request has ended, or is at work.")
        if len(code) > CODE_CHARS_MAX:
            return _too_long(language)
        # The standard library's JSON also writes a lone surrogate, which the sandbox answers to.
        program = {"language": language, "code": code, "timeout_s": timeout_s}
        body = json.dumps(program).encode("ascii")
        patience_s = timeout_s + self._patience.run_margin_s
        started_s = time.monotonic()
        # Until its result was read, nobody knows what the sandbox is doing.
        self._is_usable = False
        try:
            async with asyncio.timeout(patience_s):
                content = await self._post("/run", body, ANSWER_BYTES_MAX)
        except TimeoutError as exc:
            raise SandboxError("The sandbox did not answer in time.") from exc
        except FOREIGN as exc:
            raise SandboxError("The sandbox did not answer.") from exc
        # What it says of its own time cannot be above what passed here, but for clocks that differ.
        wall_ms_max = int((time.monotonic() - started_s) * 1000) + CLOCKS_DIFFER_MS
        try:
            ran = read_ran(content, language, wall_ms_max)
        except (ValueError, TypeError, KeyError) as exc:
            raise SandboxError("The sandbox's answer is not one.") from exc
        self._is_usable = self._closing is None
        return ran

    async def close(self) -> None:
        """See Sandbox. A caller that is cancelled here does not stop it."""
        self._is_usable = False
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            with contextlib.suppress(*FOREIGN):
                async with asyncio.timeout(self._patience.end_s):
                    await self._post("/end", b"", HEALTH_BYTES_MAX)
            await self._http.close()
        finally:
            await self._end()

    async def _post(self, path: str, body: bytes, bytes_max: int) -> bytes:
        """The body of a 200; anything else is ValueError."""
        async with self._http.post(
            self.base_url + path, data=body, headers=self._headers, allow_redirects=False
        ) as answer:
            return await _content(answer, bytes_max)


async def wait_until_ready(base_url: str, clock: Clock, until_s: float) -> bool:
    """Whether a sandbox said that it is warm before the time was over. The token is not sent."""
    http = _session()
    try:
        while clock.now_s() < until_s:
            if await _is_ready(http, base_url):
                return True
            await clock.sleep(HEALTH_PAUSE_S)
        return False
    finally:
        await http.close()


def read_ran(content: bytes, language: Language, wall_ms_max: int) -> RunResult:
    """A result as it came. Raises ValueError, TypeError or KeyError when it is not one."""
    table = orjson.loads(content)
    if not isinstance(table, dict) or table.keys() != MEMBERS or table["language"] != language:
        raise ValueError("members")
    value = table["value"]
    return RunResult(
        language=language,
        exit_code=_int(table, "exit_code", 255),
        stdout=_text(table["stdout"]),
        stderr=_text(table["stderr"]),
        value=None if value is None else _text(value),
        figures=tuple(_figure(svg) for svg in _list(table, "figures", FIGURES_MAX)),
        limits=tuple(_limit(name) for name in _list(table, "limits", LIMITS_MAX)),
        wall_ms=_int(table, "wall_ms", wall_ms_max),
    )


def _session() -> aiohttp.ClientSession:
    """Sockets for one sandbox alone: no proxy, no cookies, nothing unpacked."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=2, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("accept-encoding", "user-agent"),
        trust_env=False,
    )


async def _is_ready(http: aiohttp.ClientSession, base_url: str) -> bool:
    try:
        async with (
            asyncio.timeout(HEALTH_TIMEOUT_S),
            http.get(f"{base_url}/healthz", allow_redirects=False) as answer,
        ):
            content = await _content(answer, HEALTH_BYTES_MAX)
            return bool(orjson.loads(content) == {"status": "ready"})
    except FOREIGN:
        return False


async def _content(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    if answer.status != 200 or answer.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("not an answer")
    content = bytearray()
    async for piece in answer.content.iter_chunked(PIECE_BYTES):
        content += piece
        if len(content) > bytes_max:
            raise ValueError("too long an answer")
    return bytes(content)


def _too_long(language: Language) -> RunResult:
    reason = f"The program has more than {CODE_CHARS_MAX} characters; compute data in code.\n"
    return RunResult(language, 1, "", reason, None, (), ("code",), 0)


def _int(table: Mapping[str, Any], name: str, most: int) -> int:
    value = table[name]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(name)
    return value


def _list(table: Mapping[str, Any], name: str, most: int) -> list[Any]:
    value = table[name]
    if type(value) is not list or len(value) > most:
        raise ValueError(name)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise ValueError("text")
    return value


def _figure(value: object) -> str:
    if not isinstance(value, str) or len(value) > FIGURE_BYTES_MAX:
        raise ValueError("figure")
    if not value.isascii() and len(value.encode("utf-8")) > FIGURE_BYTES_MAX:
        raise ValueError("figure")
    return value


def _limit(name: object) -> str:
    if not isinstance(name, str) or LIMIT_NAME.fullmatch(name) is None:
        raise ValueError("limit")
    return name
