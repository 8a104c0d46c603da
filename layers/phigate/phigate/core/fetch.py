"""One small GET at a row's upstream, and what it brought."""

from dataclasses import dataclass

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
