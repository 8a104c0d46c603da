"""AWS Signature Version 4 for one service and region, with the day's signing key kept.

Deriving the signing key takes four HMACs; with it kept, a signature costs two hashes and one.
Specification: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs a request. `token` comes with temporary credentials only."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        """Without the secret: a traceback may print this."""
        return f"Credentials({self.access_key!r})"


CredentialsSource = Callable[[], Credentials]


class Signer:
    """Signs POSTs of one host, path `/`, without query."""

    def __init__(self, *, host: str, region: str, service: str, source: CredentialsSource) -> None:
        self._host = host
        self._region = region
        self._service = service
        self._source = source
        self._day_key: tuple[str, str, bytes] = ("", "", b"")
        self._second: tuple[int, str] = (-1, "")

    def headers(self, *, now_s: float, target: str, body: bytes) -> dict[str, str]:
        """The headers of a signed call, Host apart; `target` is the X-Amz-Target."""
        credentials = self._source()
        stamp = self._stamp(int(now_s))
        day = stamp[:8]
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Date": stamp,
            "X-Amz-Target": target,
        }
        names = "content-type;host;x-amz-date;x-amz-target"
        token_line = ""
        if credentials.token is not None:
            headers["X-Amz-Security-Token"] = credentials.token
            names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
            token_line = f"x-amz-security-token:{credentials.token}\n"
        canonical = (
            f"POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:{self._host}\n"
            f"x-amz-date:{stamp}\n{token_line}x-amz-target:{target}\n\n"
            f"{names}\n{hashlib.sha256(body).hexdigest()}"
        )
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(canonical.encode("utf-8")).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        key = self._signing_key(credentials.secret_key, day)
        signature = hmac.digest(key, to_sign.encode("utf-8"), "sha256").hex()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _stamp(self, second: int) -> str:
        if self._second[0] != second:
            stamp = datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")
            self._second = (second, stamp)
        return self._second[1]

    def _signing_key(self, secret: str, day: str) -> bytes:
        if self._day_key[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode("utf-8"), "sha256")
            self._day_key = (secret, day, key)
        return self._day_key[2]
