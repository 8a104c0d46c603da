"""What the processes of a stack tell each other of failing rows."""

from typing import Protocol

from phigate.core.routing.breaker import Counted


class SharedBreaker(Protocol):
    """What the processes of a stack have counted of failing rows. Never raises: what cannot be read
    or written counts as nothing."""

    async def read(self) -> Counted:
        """All of the last BREAKER_WINDOW_S."""
        ...

    async def failed(self, row_id: str, at_s: float, succeeded_at_s: float) -> Counted:
        """Count a failure of a row that last succeeded in this process at `succeeded_at_s`; all
        that stands then."""
        ...

    async def succeeded(self, row_id: str, at_s: float) -> None:
        """Take the row's failures of before away, if any stand."""
        ...

    def watches(self, row_id: str, now_s: float) -> bool:
        """Whether a success of the row should be told: for BREAKER_WINDOW_S after the last failure
        that this process knows of."""
        ...
