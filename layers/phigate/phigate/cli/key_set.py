"""The key set that a person names: a file, or the URL of a stack's `/.well-known/jwks.json`."""

import urllib.error
import urllib.request
from pathlib import Path

from phigate.cli.command import CommandFailed
from phigate.proof.failed import ProofFailed
from phigate.proof.roots import Roots, read_jwks

KEY_SET_BYTES_MAX = 256 * 1024  # a root has 400 bytes, and a stack a few
FETCH_TIMEOUT_S = 10.0
_SCHEMES = ("https://", "http://")


def named_roots(name: str) -> Roots:
    """The roots of a key set. Raises CommandFailed, OSError."""
    content = _fetched(name) if name.startswith(_SCHEMES) else _read(Path(name))
    if len(content) > KEY_SET_BYTES_MAX:
        raise CommandFailed(f"{name}: a key set is not longer than {KEY_SET_BYTES_MAX} bytes")
    try:
        return read_jwks(content)
    except ProofFailed as exc:
        raise CommandFailed(f"{name}: {exc}") from exc


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(KEY_SET_BYTES_MAX + 1)


def _fetched(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"accept": "application/json"})  # noqa: S310
    try:
        # The scheme was checked: no file is read by a URL.
        with urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310
            return bytes(answer.read(KEY_SET_BYTES_MAX + 1))
    except urllib.error.HTTPError as exc:
        exc.close()
        raise CommandFailed(f"{url} answers {exc.code}") from exc
    except (OSError, ValueError) as exc:
        raise CommandFailed(f"{url} cannot be reached") from exc
