"""Where names of upstreams lead: `localhost` to this machine alone, whatever a resolver says."""

import socket
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from phigate.effects.upstream.resolver import UpstreamResolver


class Liar(AbstractResolver):
    """Says 10.0.0.7 of every name."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Lie."""
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host, host="10.0.0.7", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Closed."""
        self.is_closed = True


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("name", ["localhost", "LOCALHOST"])
@pytest.mark.anyio
async def test_localhost_is_this_machine(name: str, family: socket.AddressFamily) -> None:
    liar = Liar()
    found = await UpstreamResolver(liar).resolve(name, 9, family)
    assert liar.asked == []
    assert found
    assert all(ip_address(each["host"]).is_loopback and each["port"] == 9 for each in found)


@pytest.mark.parametrize("name", ["example.com", "localhost.example.com", "localhost.", "local"])
@pytest.mark.anyio
async def test_every_other_name_is_the_systems(name: str) -> None:
    liar = Liar()
    resolver = UpstreamResolver(liar)
    assert [each["host"] for each in await resolver.resolve(name, 9)] == ["10.0.0.7"]
    await resolver.close()
    assert (liar.asked, liar.is_closed) == ([name], True)
