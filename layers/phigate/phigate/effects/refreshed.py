"""A value that is fetched anew when it is too old: by one for all who ask, and not again too soon.

Law 1: one fetch is under way at a time. It belongs to nobody who waits: one who leaves takes nobody
along, and what it brings is kept although all have left.
Law 2: a value is as old as its question: its age counts from before the fetch. A clock that was
set back makes no value younger.
Law 3: `renew` fetches nothing within `retry_after_s` of a failure. `fetch` does: who has nothing
that may be used asks at once.
Law 4: a fetch that fails leaves the value, with its age. Whether it may still be used is the
caller's to say.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from phigate.core.clock import Clock

T = TypeVar("T")


def _untold(failure: Exception) -> None:
    """Nobody is told of a failure but those who wait for the fetch."""


class Refreshed(Generic[T]):
    """One such value. `on_failure` is told of each fetch that fails, once.

    Needs a running event loop from its first fetch on.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[T]],
        clock: Clock,
        *,
        retry_after_s: float = 0.0,
        on_failure: Callable[[Exception], None] = _untold,
    ) -> None:
        self.value: T | None = None
        # When the value was asked for; nothing is older than what has none.
        self.asked_at_s = -math.inf
        self._fetch = fetch
        self._clock = clock
        self._retry_after_s = retry_after_s
        self._on_failure = on_failure
        self._failed_at_s: float | None = None
        self._expired = False  # since the flight began
        self._flight: asyncio.Task[T] | None = None

    def age_s(self) -> float:
        """How long ago the value was asked for; endless where there is none, or it is expired."""
        age_s = self._clock.now_s() - self.asked_at_s
        return age_s if age_s >= 0 else math.inf

    async def fetch(self) -> T:
        """What the fetch under way brings, or a new one. Raises what it raises."""
        # Shielded: a caller who hangs up must not end what others wait for.
        return await asyncio.shield(self._begin())

    def renew(self) -> bool:
        """Begin a fetch, unless one is under way or has failed lately; whether one is under way."""
        if self._is_under_way():
            return True
        if self._has_failed_lately():
            return False
        self._begin()
        return True

    async def wait(self) -> None:
        """Wait for the fetch under way, whatever comes of it."""
        if self._flight is not None and not self._flight.done():
            await asyncio.wait((self._flight,))

    def expire(self) -> None:
        """What is known, and what was asked for before now, is too old for any caller."""
        self.asked_at_s = -math.inf
        self._expired = True

    def _begin(self) -> "asyncio.Task[T]":
        """The fetch under way, or a new one."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fetch_anew())
            self._flight.add_done_callback(_looked_at)
        return self._flight

    async def _fetch_anew(self) -> T:
        asked_at_s = self._clock.now_s()
        self._expired = False
        try:
            self.value = value = await self._fetch()
        except Exception as exc:
            self._failed_at_s = self._clock.now_s()
            self._on_failure(exc)
            raise
        self.asked_at_s = -math.inf if self._expired else asked_at_s
        self._failed_at_s = None
        return value

    def _is_under_way(self) -> bool:
        return self._flight is not None and not self._flight.done()

    def _has_failed_lately(self) -> bool:
        failed_at_s = self._failed_at_s
        return (
            failed_at_s is not None and 0 <= self._clock.now_s() - failed_at_s < self._retry_after_s
        )


def _looked_at(flight: "asyncio.Task[T]") -> None:
    """A failure that nobody waits for is no error of the loop's, which would write its text."""
    if not flight.cancelled():
        flight.exception()
