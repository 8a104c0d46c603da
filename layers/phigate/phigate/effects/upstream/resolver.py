"""Names of upstreams: as the system resolves them, but `localhost`, which is this machine whatever
a resolver says (RFC 6761, section 6.3): PHI may go to it over plain http.
"""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

_LOCALHOST = "localhost"
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class UpstreamResolver(AbstractResolver):
    """`inner` is asked for every name but one."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See AbstractResolver."""
        if host.lower() != _LOCALHOST:
            return await self._inner.resolve(host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, address in _LOOPBACK
            if family in (kind, socket.AF_UNSPEC)
        ]

    async def close(self) -> None:
        """See AbstractResolver."""
        await self._inner.close()
