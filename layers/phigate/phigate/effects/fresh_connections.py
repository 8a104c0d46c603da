"""Connections that are kept between requests, and are given to nobody who could not trust them.

Law: what nobody asked for is never the answer to a later request. aiohttp takes what lies on an
idle connection for the next answer, and counts how long one was unused by the clock of the process,
which stands still while a function is frozen.
"""

from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from phigate.core.clock import Clock


class FreshConnections(aiohttp.TCPConnector):
    """Gives no connection again that was unused for long by the wall clock, or on which something
    came meanwhile. `settings` are TCPConnector's own."""

    def __init__(self, clock: Clock, unused_max_s: float, **settings: Any) -> None:
        super().__init__(limit=0, keepalive_timeout=unused_max_s, **settings)
        self._clock = clock
        self._unused_max_s = unused_max_s
        self._unused_since_s: WeakKeyDictionary[ResponseHandler, float] = WeakKeyDictionary()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (the method's own name for it)
    ) -> Connection:
        """See BaseConnector.connect."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101 (it was connected just now)
            now_s = self._clock.now_s()
            unused_s = now_s - self._unused_since_s.get(protocol, now_s)
            if 0 <= unused_s <= self._unused_max_s and not protocol.should_close:
                return connection
            connection.close()

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        # From here on it is unused: a long answer is use.
        self._unused_since_s[protocol] = self._clock.now_s()
        super()._release(key, protocol, should_close=should_close)
