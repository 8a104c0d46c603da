"""Reads a stack's key set, from a file or from where the stack serves it."""

import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from phigate.cli.command import CommandFailed
from phigate.verify.errors import VerificationError
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
        content = _fetched(source)
    else:
        content = Path(source).read_bytes()
    try:
        return read_jwks(content)
    except VerificationError as exc:
        raise CommandFailed(f"{source}: {exc}") from exc


def _fetched(url: str) -> bytes:
    """The first KEY_SET_BYTES_MAX of what lies there. No redirect is followed, and no variable of
    the environment leads elsewhere."""
    # By the system's authorities; httpx would bring its own.
    trusted = ssl.create_default_context()
    until_s = time.monotonic() + FETCH_TIMEOUT_S
    try:
        with (
            httpx.Client(timeout=FETCH_TIMEOUT_S, trust_env=False, verify=trusted) as client,
            client.stream("GET", url, headers={"accept-encoding": "identity"}) as answer,
        ):
            if answer.status_code != 200:
                raise CommandFailed(f"{url} answers {answer.status_code}")
            content = b""
            for piece in answer.iter_raw():
                content += piece
                if time.monotonic() > until_s:
                    raise CommandFailed(f"{url} did not answer in time")
                if len(content) >= KEY_SET_BYTES_MAX:
                    break
            return content[:KEY_SET_BYTES_MAX]
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise CommandFailed(f"{url} cannot be reached ({type(exc).__name__})") from exc
