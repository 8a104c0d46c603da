"""A provider's prompt cache between tenants: what keeps them apart, and what is told of it.

One provider account serves all tenants, so its cache would be theirs together: who sends another
tenant's prompt sees by the cached tokens that somebody has sent it before.
Law 1: a row that takes a cache key gets one of the account's own, whatever the caller sent.
Law 2: under PHI, where the catalog does not say that a row's cache is per key, cached tokens are
input like any other, and no count of them is told or kept. How long an answer takes still tells.
"""

import hmac
from collections.abc import Mapping

from phigate.core.types import Json, Row

# The members by which providers keep caches apart; `core.request.fields` has what callers may say.
PROMPT_CACHE_KEY = "prompt_cache_key"
CACHE_SALT = "cache_salt"
CACHE_KEY_NAMES = (PROMPT_CACHE_KEY, CACHE_SALT)
# What of the caller's is keyed for each: a salt parts what is grouped by a key, not the reverse.
_KEYED_FROM: Mapping[str, tuple[str, ...]] = {
    PROMPT_CACHE_KEY: (PROMPT_CACHE_KEY,),
    CACHE_SALT: (CACHE_SALT, PROMPT_CACHE_KEY),
    "": (PROMPT_CACHE_KEY,),
}
_NO_WORD = "phigate prompt cache"  # keyed where the caller has not said anything


def cache_keys(body: Json, row: Row, salt: bytes) -> dict[str, str]:
    """The member that keeps this account's prompts apart at the row, if the row takes one.

    A row of which the catalog names none gets the caller's own key as before, and never one that
    the caller did not send: providers answer 400 to members that they do not know.
    """
    name = _name(row)
    word = next((body[each] for each in _KEYED_FROM[name] if body.get(each) is not None), None)
    if word is None:
        if not name:
            return {}
        word = _NO_WORD
    return {name or PROMPT_CACHE_KEY: keyed(word, salt)}


def keyed(value: object, salt: bytes) -> str:
    """A caller's own word as it goes upstream: an account's HMAC of it."""
    return hmac.digest(salt, str(value).encode(), "sha256").hex()


def hides_cached(row: Row, *, phi: bool) -> bool:
    """Whether no count of the row's cached tokens may be told, kept or priced."""
    return phi and not (row.cache_is_per_key and _name(row))


def _name(row: Row) -> str:
    """The member that the row takes; none for one that a later release may know."""
    return row.cache_key_name if row.cache_key_name in CACHE_KEY_NAMES else ""
