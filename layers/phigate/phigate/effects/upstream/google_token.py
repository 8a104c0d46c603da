"""Access tokens of Google service accounts: a JWT signed with the account's key is exchanged for a
token, which is kept until RENEW_BEFORE_S before it expires.

Law: of callers who wait for the same token one asks, and one who leaves takes nobody along.
https://developers.google.com/identity/protocols/oauth2/service-account
"""

import asyncio
import base64
import json
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from phigate.core.clock import Clock
from phigate.core.errors import UpstreamFailed
from phigate.effects.refreshed import Refreshed

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LASTS_S = 3_600  # the longest that is taken
RENEW_BEFORE_S = 300  # a token lasts an hour; a stream started with it may run for 15 minutes
ANSWER_BYTES_MAX = 64 * 1024  # a token has some 1,000
TIMEOUT_S = 10.0


class ServiceAccountUnusable(Exception):
    """The key is no service account's. The operator mends it; the text quotes nothing of it."""


class ServiceAccount:
    """A service account's key: who it is, where its tokens come from, and its signature."""

    def __init__(self, key_json: str) -> None:
        try:
            fields = json.loads(key_json)
            key = load_pem_private_key(fields["private_key"].encode(), password=None)
            self._email: str = fields["client_email"]
            self._key_id: str = fields.get("private_key_id", "")
            self.token_url: str = fields["token_uri"]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ServiceAccountUnusable("the key is no JSON of a service account") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ServiceAccountUnusable("the service account's private key is not RSA")
        self._key = key

    def assertion(self, now_s: int) -> str:
        """The JWT (RFC 7523) that a token is asked for with."""
        header = {"alg": "RS256", "typ": "JWT", "kid": self._key_id}
        claims = {
            "iss": self._email,
            "scope": SCOPE,
            "aud": self.token_url,
            "iat": now_s,
            "exp": now_s + ASSERTION_LASTS_S,
        }
        signed = f"{_part(header)}.{_part(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"


class GoogleTokens:
    """The token of one service account. Needs a running event loop from its first use on."""

    def __init__(
        self, account: ServiceAccount, session: aiohttp.ClientSession, clock: Clock
    ) -> None:
        self._account = account
        self._session = session
        self._clock = clock
        # With the time until which it is good.
        self._known = Refreshed(self._ask, clock)

    async def token(self) -> str:
        """A token that lasts. Raises UpstreamFailed with `http_401`, `timeout`, `connect` or
        `malformed`."""
        known = self._known.value
        if known is None or self._clock.now_s() >= known[1]:
            known = await self._known.fetch()
        return known[0]

    async def _ask(self) -> tuple[str, float]:
        now_s = self._clock.now_s()
        form = {"grant_type": GRANT, "assertion": self._account.assertion(int(now_s))}
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._session.post(
                    self._account.token_url, data=form, allow_redirects=False
                ) as answer,
            ):
                status, body = answer.status, b""
                while piece := await answer.content.readany():
                    body += piece
                    if len(body) > ANSWER_BYTES_MAX:
                        raise UpstreamFailed("malformed")
        except TimeoutError as exc:
            raise UpstreamFailed("timeout") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise UpstreamFailed("connect") from exc
        if status != 200:
            # A refused key is the operator's fault, as a provider's own 401 is.
            raise UpstreamFailed("http_401" if 400 <= status < 500 else "connect")
        token, lasts_s = _granted(body)
        return token, now_s + lasts_s - RENEW_BEFORE_S


def _granted(body: bytes) -> tuple[str, int]:
    try:
        fields = json.loads(body)
        token, lasts_s = fields["access_token"], fields["expires_in"]
    except (ValueError, TypeError, KeyError) as exc:
        raise UpstreamFailed("malformed") from exc
    # It becomes a header: whatever could end one is no token.
    if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
        raise UpstreamFailed("malformed")
    if type(lasts_s) is not int:
        raise UpstreamFailed("malformed")
    return token, lasts_s


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
