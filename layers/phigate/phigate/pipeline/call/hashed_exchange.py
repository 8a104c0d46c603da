"""An exchange with a confidential upstream, watched: its bytes are hashed as they pass, so that
they can be compared with what the provider has signed.

Law: never under PHI (a plain hash of PHI would let others test guesses), and only for confidential
rows, so that nobody else pays for it.
"""

import hashlib

from phigate.core.upstream import Exchange, Head, UpstreamRequest


class HashingExchange:
    """An Exchange (see core.upstream) that hashes what went out and what comes in."""

    def __init__(self, exchange: Exchange, request: UpstreamRequest) -> None:
        self.row = request.row
        self.region = request.region
        self._exchange = exchange
        self._sent = hashlib.sha256(request.body)
        self._received = hashlib.sha256()

    @property
    def hashes(self) -> tuple[str, str]:
        """SHA-256 of the request's body, and of every byte of the answer's so far."""
        return self._sent.hexdigest(), self._received.hexdigest()

    async def head(self, wait_s: float) -> Head | None:
        """See Exchange.head."""
        return await self._exchange.head(wait_s)

    async def piece(self, wait_s: float) -> bytes | None:
        """See Exchange.piece."""
        piece = await self._exchange.piece(wait_s)
        if piece:
            self._received.update(piece)
        return piece

    def close(self) -> None:
        """See Exchange.close."""
        self._exchange.close()


def watch(
    exchange: Exchange, request: UpstreamRequest, *, phi: bool
) -> tuple[Exchange, HashingExchange | None]:
    """The exchange to use, and it again where it is watched."""
    if phi or not request.row.confidential:
        return exchange, None
    watched = HashingExchange(exchange, request)
    return watched, watched
