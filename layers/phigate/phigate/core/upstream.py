"""Calls at a row's upstream: the chat call, piece by piece, and small GETs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from phigate.core.types import Row


@dataclass(frozen=True, slots=True)
class UpstreamFetch:
    """One small GET at a row's upstream, with its bounds; `path` holds the query, encoded."""

    row: Row
    region: str
    path: str
    timeout_s: float
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a GET brought."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One POST to a row's upstream. The credential is added by the effect, not seen before it."""

    row: Row
    region: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Status and content type (lower case, without parameters) of an upstream's answer."""

    status: int
    content_type: str


class UpstreamResponse(Protocol):
    """One POST under way. Waiting is cut into slices so that the pipeline can look up between.

    Raises UpstreamFailed with `connect`, `redirect`, `oversized`, `cut` or `timeout`. `close` is
    called exactly once, in any case; it drops the connection unless the answer was read whole.
    """

    async def headers(self, wait_s: float) -> Head | None:
        """The head, or None when it has not come within `wait_s`."""
        ...

    async def next_chunk(self, wait_s: float) -> bytes | None:
        """The next bytes of the body; empty after `wait_s` of silence; None at the end."""
        ...

    def close(self) -> None: ...


class Upstream(Protocol):
    """Every provider, by the row's place in the region."""

    def open(self, request: UpstreamRequest) -> UpstreamResponse:
        """Start one POST. Raises NotSent where this stack has no key."""
        ...

    async def fetch(self, request: UpstreamFetch) -> Fetched:
        """The whole answer to a GET, within its bounds. Raises UpstreamFailed as a POST does."""
        ...


class HashedExchange(Protocol):
    """An exchange whose bytes were hashed as they passed: its row and region, and SHA-256 in hex
    of what was sent and what came."""

    @property
    def row(self) -> Row: ...

    @property
    def region(self) -> str: ...

    @property
    def hashes(self) -> tuple[str, str]: ...
