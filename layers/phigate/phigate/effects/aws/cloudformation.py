"""The answer to CloudFormation: one PUT to the URL that it gave, within a bound.

Law: an event that is not answered leaves a deployment waiting for an hour, so it is tried again.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from phigate.core.clock import Clock

PUT_TIMEOUT_S = 5.0
TRIES_MAX = 4
PAUSE_S = 0.5  # at most, and twice that after every try
REASON_CHARS_MAX = 1_500  # an answer may have 4,096 bytes


class NotAnswered(Exception):
    """CloudFormation could not be told; Lambda repeats the event."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an event."""

    status: Literal["SUCCESS", "FAILED"]
    reason: str = ""
    values: Mapping[str, str] | None = None


async def answer(
    event: Mapping[str, Any], physical_id: str, outcome: Outcome, clock: Clock
) -> None:
    """Tell CloudFormation. Raises NotAnswered."""
    body = orjson.dumps(
        {
            "Status": outcome.status,
            "Reason": outcome.reason[:REASON_CHARS_MAX],
            "PhysicalResourceId": event.get("PhysicalResourceId") or physical_id,
            "StackId": event.get("StackId", ""),
            "RequestId": event.get("RequestId", ""),
            "LogicalResourceId": event.get("LogicalResourceId", ""),
            "Data": dict(outcome.values or {}),
        }
    )
    url = str(event.get("ResponseURL", ""))
    if not url:
        raise NotAnswered("the event has no ResponseURL")
    timeout = aiohttp.ClientTimeout(total=PUT_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        for tried in range(TRIES_MAX):
            if tried:
                await clock.back_off(PAUSE_S * 2 ** (tried - 1))
            if await _put(session, url, body):
                return
    raise NotAnswered("CloudFormation took no answer")


async def _put(session: aiohttp.ClientSession, url: str, body: bytes) -> bool:
    # The URL is signed for no content type, and a client's own one would break its signature.
    headers = {"content-type": ""}
    try:
        async with session.put(url, data=body, headers=headers, allow_redirects=False) as taken:
            return taken.status == 200
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return False
