"""A request as it came in, before anything is known of it but its endpoint."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from phigate.core.types import Task


class BodyLate(Exception):
    """A body was not whole within its time."""


class InboundBody:
    """The body of a request. It is received when it is asked for, which is after the key is known,
    and given away: five megabytes are not kept while an upstream answers.

    `receive` may raise BodyLate, and InvalidRequest for a body that was cut.
    """

    def __init__(
        self,
        content: bytes | None = b"",
        *,
        receive: Callable[[], Awaitable[bytes | None]] | None = None,
    ) -> None:
        self.content = content  # None: it was too large
        self.is_late = False
        self._receive = receive

    async def receive(self) -> None:
        """Wait for the body. Raises InvalidRequest for one that was cut: nobody waits for its
        answer, and half a request is none."""
        if self._receive is not None:
            receive, self._receive = self._receive, None
            try:
                self.content = await receive()
            except BodyLate:
                self.is_late = True

    def pop(self) -> bytes:
        """The body, given away."""
        content, self.content = self.content or b"", b""
        return content


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """One request for a task. Header names in lower case."""

    task: Task
    headers: Mapping[str, str]
    body: InboundBody
