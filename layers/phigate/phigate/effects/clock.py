"""The wall clock. Monotonic clocks stand still while an execution environment is frozen."""

import asyncio
import random
import time


class WallClock:
    """The Clock that runs in production."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Pause this task."""
        await asyncio.sleep(seconds)

    async def back_off(self, at_most_s: float) -> None:
        """See Clock. Nothing secret hangs on it."""
        await self.sleep(random.uniform(0, at_most_s))  # noqa: S311
