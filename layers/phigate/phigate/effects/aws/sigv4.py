"""AWS Signature Version 4 for one service and region, with the day's signing key kept.

Deriving the signing key takes four HMACs; with it kept, a signature costs two hashes and one.
Specification: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

CONTENT_TYPE = "application/x-amz-json-1.0"


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


class RequestSigner:
    """Signs POSTs of one host, path `/`, without query. `content_type` is the service's own."""

    def __init__(
        self,
        *,
        host: str,
        region: str,
        service: str,
        source: CredentialsSource,
        content_type: str = CONTENT_TYPE,
    ) -> None:
        self._host = host
        self._content_type = content_type
        self._region = region
        self._service = service
        self._source = source
        self._day_key: tuple[str, str, bytes] = ("", "", b"")
        self._second: tuple[int, str] = (-1, "")

    def headers(self, *, now_s: float, target: str, body: bytes) -> dict[str, str]:
        """The headers of a signed call, Content-Length apart; `target` is the X-Amz-Target."""
        credentials = self._source()
        stamp = self._stamp(int(now_s))
        token = credentials.token
        names = "content-type;host;x-amz-date;x-amz-target"
        lines = f"content-type:{self._content_type}\nhost:{self._host}\nx-amz-date:{stamp}\n"
        if token is not None:
            names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
            lines += f"x-amz-security-token:{token}\n"
        lines += f"x-amz-target:{target}\n"
        signature = self._signature(credentials, stamp, f"POST\n/\n\n{lines}\n{names}\n", body)
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        headers = {
            "Host": self._host,
            "Content-Type": self._content_type,
            "X-Amz-Date": stamp,
            "X-Amz-Target": target,
            "Authorization": (
                f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
                f"SignedHeaders={names}, Signature={signature}"
            ),
        }
        return headers if token is None else {**headers, "X-Amz-Security-Token": token}

    def _signature(self, credentials: Credentials, stamp: str, canonical: str, body: bytes) -> str:
        canonical += hashlib.sha256(body).hexdigest()
        day = stamp[:8]
        digest = hashlib.sha256(canonical.encode("ascii")).hexdigest()
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        key = self._signing_key(credentials.secret_key, day)
        return hmac.digest(key, to_sign.encode("ascii"), "sha256").hex()

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
