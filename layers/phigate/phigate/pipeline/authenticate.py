"""Who calls: the bearer token of a request becomes the Principal that the key store knows by it."""

from collections.abc import Mapping

from phigate.core.errors import InvalidApiKey
from phigate.core.ledger.keys import parse_key
from phigate.core.limits import KEY_FRESH_S
from phigate.core.types import Principal
from phigate.pipeline.gateway import Gateway


async def authenticate(
    gateway: Gateway, headers: Mapping[str, str], *, key_age_max_s: float = KEY_FRESH_S
) -> Principal:
    """The caller behind the bearer token. Raises InvalidApiKey."""
    key = parse_key(bearer_token(headers))
    if key is None:
        raise InvalidApiKey(
            "The API key is missing or not a key of this gateway. Send it as "
            "Authorization: Bearer phi_live_… or phi_test_…."
        )
    principal = await gateway.keys.lookup(key.sha256, age_max_s=key_age_max_s)
    if principal is None:
        raise InvalidApiKey("The API key is not known here.")
    expires_at_s = principal.expires_at_s
    if expires_at_s is not None and gateway.clock.now_s() >= expires_at_s:
        raise InvalidApiKey("The API key has expired.")
    return principal


def bearer_token(headers: Mapping[str, str]) -> str:
    """The bearer token, empty when there is none. Header names in lower case."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
