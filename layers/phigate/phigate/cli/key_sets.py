"""Reads a stack's key set, from a file or from where the stack serves it."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from phigate.cli.command import CommandFailed
from phigate.verify.errors import ProofFailed
from phigate.verify.roots import Roots, read_jwks

KEY_SET_BYTES_MAX = 256 * 1024  # a key has 300 bytes
FETCH_TIMEOUT_S = 10.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def roots_from(source: str) -> Roots:
    """The roots of a file or an https address. Raises CommandFailed, OSError."""
    url = urlsplit(source)
    if url.scheme in ("http", "https"):
        if url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise CommandFailed("a key set that comes over plain http proves nothing; use https")
        content = asyncio.run(_fetched(source))
    else:
        content = Path(source).read_bytes()
    try:
        return read_jwks(content)
    except ProofFailed as exc:
        raise CommandFailed(f"{source}: {exc}") from exc


async def _fetched(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise CommandFailed(f"{url} answers {answer.status}")
            return await answer.content.read(KEY_SET_BYTES_MAX)
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise CommandFailed(f"{url} cannot be reached ({type(exc).__name__})") from exc
