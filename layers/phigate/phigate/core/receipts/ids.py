"""Receipt ids: 5 bytes of Unix seconds, big endian, then 7 random bytes, base64url, 16 characters.

The time inside an id names the day under which its receipt is stored, so an id alone finds it.
"""

import base64
import re
from datetime import UTC, datetime

ID_RANDOM_BYTES = 7
ID_CHARS = 16

_SECONDS_BYTES = 5
_ID = re.compile(r"[A-Za-z0-9_-]{16}")


class MalformedId(ValueError):
    """The text is not a receipt id."""


def new_id(now_s: int, random_bytes: bytes) -> str:
    """The id of a request that began at `now_s`; `random_bytes` are exactly 7."""
    if len(random_bytes) != ID_RANDOM_BYTES:
        raise ValueError(f"an id takes {ID_RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    if not 0 <= now_s < 1 << (8 * _SECONDS_BYTES):
        raise ValueError(f"{now_s} s does not fit into {_SECONDS_BYTES} bytes")
    raw = now_s.to_bytes(_SECONDS_BYTES, "big") + random_bytes
    return base64.urlsafe_b64encode(raw).decode("ascii")


def seconds_of(receipt_id: str) -> int:
    """The Unix seconds inside an id. Raises MalformedId."""
    if not _ID.fullmatch(receipt_id):
        raise MalformedId("a receipt id is 16 characters of base64url")
    return int.from_bytes(base64.urlsafe_b64decode(receipt_id)[:_SECONDS_BYTES], "big")


def day_of(receipt_id: str) -> str:
    """The UTC day inside an id, `YYYY-MM-DD`. Raises MalformedId."""
    try:
        return datetime.fromtimestamp(seconds_of(receipt_id), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError) as exc:
        raise MalformedId("the id's time is past the calendar") from exc
