"""The way back to the caller, as the pipeline sees it."""

from collections.abc import Mapping
from typing import Protocol


class CallerGone(Exception):
    """The caller hung up, and nothing more is done for them."""


class ResponseWriter(Protocol):
    """The way back to the caller. Writing never raises: a caller who has gone sets `gone_at_s`."""

    gone_at_s: float | None

    async def start(self, status: int, headers: Mapping[str, str]) -> None: ...

    async def write(self, body: bytes, *, last: bool = False) -> None: ...
