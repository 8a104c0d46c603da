"""An exchange with a confidential upstream: its bytes are hashed as they pass, so that
they can be compared with what the provider has signed.

Law: never under PHI (a plain hash of PHI would let others test guesses), and only for confidential
rows, so that nobody else pays for it.
"""

import hashlib

from phigate.core.upstream import Head, UpstreamRequest, UpstreamResponse


class HashingExchange:
    """An UpstreamResponse (see core.upstream) that hashes what went out and what comes in."""

    def __init__(self, response: UpstreamResponse, request: UpstreamRequest) -> None:
        self.row = request.row
        self.region = request.region
        self._response = response
        self._sent = hashlib.sha256(request.body)
        self._received = hashlib.sha256()

    @property
    def hashes(self) -> tuple[str, str]:
        """SHA-256 of the request's body, and of every byte of the answer's so far."""
        return self._sent.hexdigest(), self._received.hexdigest()

    async def headers(self, wait_s: float) -> Head | None:
        """See UpstreamResponse.headers."""
        return await self._response.headers(wait_s)

    async def next_chunk(self, wait_s: float) -> bytes | None:
        """See UpstreamResponse.next_chunk."""
        piece = await self._response.next_chunk(wait_s)
        if piece:
            self._received.update(piece)
        return piece

    def close(self) -> None:
        """See UpstreamResponse.close."""
        self._response.close()


def hash_exchange(
    response: UpstreamResponse, request: UpstreamRequest, *, phi: bool
) -> tuple[UpstreamResponse, HashingExchange | None]:
    """The response to read, and it again where its exchange is hashed."""
    if phi or not request.row.confidential:
        return response, None
    exchange = HashingExchange(response, request)
    return exchange, exchange
