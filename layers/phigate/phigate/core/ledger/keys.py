"""What an API key looks like, and how its policy is written down.

A key is `phi_live_` or `phi_test_`, 43 characters of base62 (256 bits) and a checksum of 6, so a
mistyped key is refused without a lookup. Only its SHA-256 is stored. A policy that holds anything
unknown cannot be read: a restriction that this version does not know must not be dropped.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from phigate.core.types import MODEL_TIERS, REGIONS, ConfidentialPolicy, Json, KeyPolicy, PhiPolicy

KeyKind = Literal["live", "test"]

KEY_RANDOM_BYTES = 32

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_CHARS = 43  # 62 ** 43 > 2 ** 256
_CHECKSUM_CHARS = 6  # 62 ** 6 > 2 ** 32
_KEY_ID_CHARS = 12  # 48 bits: one account's keys do not collide
_KEY = re.compile(r"phi_(live|test)_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_POLICY_MEMBERS = frozenset(KeyPolicy.__dataclass_fields__)
# Members that policies stored by earlier releases lack. None, their default, restricts nothing.
_POLICY_ADDED = frozenset({"confidential"})


class MalformedPolicy(ValueError):
    """A stored policy cannot be read; the key that carries it must not be served."""


@dataclass(frozen=True, slots=True)
class KeyParts:
    """A well-formed key's public parts. Whether the key exists is another question."""

    kind: KeyKind
    key_id: str
    sha256: str


def make_key(kind: KeyKind, random_bytes: bytes) -> str:
    """The full key, to be shown once; `random_bytes` are exactly 32."""
    if len(random_bytes) != KEY_RANDOM_BYTES:
        raise ValueError(f"a key takes {KEY_RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    if kind not in get_args(KeyKind):
        raise ValueError("a key is live or test")
    body = f"phi_{kind}_{_base62(int.from_bytes(random_bytes, 'big'), _SECRET_CHARS)}"
    return body + _checksum(body)


def parse_key(text: str) -> KeyParts | None:
    """A key's parts; None where the shape or the checksum is wrong."""
    match = _KEY.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_CHARS]) != match.group(3):
        return None
    sha256 = key_sha256(text)
    return KeyParts("live" if match.group(1) == "live" else "test", key_id_of(sha256), sha256)


def key_sha256(text: str) -> str:
    """The hex name under which a key is stored."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def key_id_of(sha256: str) -> str:
    """The public name of a key, 12 hex characters: for logs, receipts and `keys disable`."""
    return sha256[:_KEY_ID_CHARS]


def policy_members(policy: KeyPolicy) -> Json:
    """A policy as people are shown it: every member, sorted, sets as sorted lists."""
    members: Json = {name: getattr(policy, name) for name in sorted(_POLICY_MEMBERS)}
    for name, value in members.items():
        if isinstance(value, frozenset):
            members[name] = sorted(value)
    return members


def policy_to_json(policy: KeyPolicy) -> str:
    """A policy as stored. What earlier releases do not know stands there only where it restricts:
    then they refuse the key, and else they go on serving it."""
    members = policy_members(policy)
    stored = {n: value for n, value in members.items() if n not in _POLICY_ADDED or value}
    return json.dumps(stored, separators=(",", ":"))


def policy_from_json(text: str) -> KeyPolicy:
    """The policy that `policy_to_json` wrote.

    Raises MalformedPolicy on an unknown or missing member, a wrong type or an unknown value.
    """
    try:
        members = json.loads(text)
    except ValueError as exc:
        raise MalformedPolicy("the policy is not JSON") from exc
    if isinstance(members, dict):
        members = dict.fromkeys(_POLICY_ADDED) | members
    if not isinstance(members, dict) or set(members) != _POLICY_MEMBERS:
        raise MalformedPolicy("the policy does not hold exactly the members of this version")
    for name, is_valid in _POLICY_CHECKS.items():
        if not is_valid(members[name]):
            raise MalformedPolicy(f"the policy's {name} is not valid")
    for name in ("regions", "models"):
        if members[name] is not None:
            members[name] = frozenset(members[name])
    return KeyPolicy(**members)


def _base62(number: int, chars: int) -> str:
    digits = []
    for _ in range(chars):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_CHARS)


def _is_micros_or_none(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_names_or_none(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    )


_POLICY_CHECKS: dict[str, Callable[[Any], bool]] = {
    "phi": lambda value: value in get_args(PhiPolicy),
    "regions": lambda value: _is_names_or_none(value) and set(value or ()) <= set(REGIONS),
    "models": _is_names_or_none,
    "rpm": lambda value: type(value) is int and value > 0,
    "spend_limit_micros": _is_micros_or_none,
    "debug_phi": lambda value: isinstance(value, bool),
    "default_region": lambda value: value is None or value in REGIONS,
    "default_model_tier": lambda value: value is None or value in MODEL_TIERS,
    "confidential": lambda value: value is None or value in get_args(ConfidentialPolicy),
}
