"""What a caller may ask to be told besides the answer: `meta`, `debug`, `echo_upstream_request`.

It is told in the answer and nowhere else: not in a receipt, a log or an exception. Credentials
travel in headers, which are no part of it.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DebugOptions:
    """What the request asks to be told."""

    meta: bool = False
    upstream_request: bool = False
    upstream_response: bool = False
    trace: bool = False

    @property
    def any(self) -> bool:
        """Whether there is anything to tell."""
        return self.meta or self.is_debug

    @property
    def is_debug(self) -> bool:
        """Whether content that went upstream or came back is asked for."""
        return self.upstream_request or self.upstream_response or self.trace


@dataclass(frozen=True, slots=True)
class WireBodies:
    """One turn's wire bodies, kept only while a request asks for them."""

    sent: Any
    received: Any
