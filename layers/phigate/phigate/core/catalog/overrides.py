"""Provider overrides of a local stack: addresses that take the place of providers' own, as
PHIGATE_<NAME>_BASE_URL, and PHIGATE_<NAME>_PHI says whether PHI may go there.

Law: an address is taken in one plain spelling or refused, so that what is checked here is what is
called; PHI goes to https, or to this machine by a name or a number that can mean no other.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from phigate.core.types import Override

TRUSTED = "trusted"
HOST_CHARS_MAX = 253  # of a name in DNS (RFC 1035)

# No user, query, fragment, percent, backslash or space before the path, and no name that a reader
# could take for another: what one parser takes for the host, every other does too.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/[a-z0-9._~%+:@=-]*)*",
    re.ASCII | re.IGNORECASE,
)
_PORT = re.compile(r":[0-9]+$", re.ASCII)
_LOOPBACK_V4 = IPv4Network("127.0.0.0/8")
_LOOPBACK_V6 = IPv6Address("::1")
_LOCALHOST = "localhost"
_PORT_MAX = 65_535


class OverrideRefused(Exception):
    """The stack does not start: one line names the variable and what is wrong with it."""


def read_override(prefix: str, environ: Mapping[str, str]) -> Override | None:
    """The override that the variables of one provider say; None without one. Raises
    OverrideRefused, whose text holds no part of an address that may hold a secret."""
    url_name, phi_name = f"{prefix}BASE_URL", f"{prefix}PHI"
    url, phi = environ.get(url_name, ""), environ.get(phi_name, "")
    if phi not in ("", TRUSTED):
        raise OverrideRefused(f"{phi_name} must be {TRUSTED}, or not be set")
    if not url:
        if phi:
            raise OverrideRefused(
                f"{phi_name} is about the address in {url_name}, which is not set"
            )
        return None
    match = _URL.fullmatch(url)
    if match is None or not _is_host(match["host"]) or not _is_port(match["port"]):
        raise OverrideRefused(
            f"{url_name} must be http(s)://host[:port][/path], without a user, query or fragment"
        )
    scheme, host = match["scheme"].lower(), match["host"].lower()
    if phi and scheme != "https" and not is_loopback(host):
        raise OverrideRefused(
            f"{url_name} is neither https nor on this machine (127.0.0.0/8, [::1], localhost), and "
            f"{phi_name}={TRUSTED} sends PHI there"
        )
    named = host if match["port"] is None else f"{host}:{match['port']}"
    return Override(named, phi_trusted=bool(phi))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its spelling alone. A name that DNS resolves to loopback
    now may mean another machine at the next call."""
    if host == _LOCALHOST:
        return True
    try:
        if host.startswith("["):
            return IPv6Address(host.strip("[]")) == _LOOPBACK_V6
        return IPv4Address(host) in _LOOPBACK_V4
    except ValueError:
        return False


def without_port(host: str) -> str:
    """The host that an Override names, without its port."""
    return _PORT.sub("", host)


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return len(host) <= HOST_CHARS_MAX
    try:
        IPv6Address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_port(port: str | None) -> bool:
    return port is None or 0 < int(port) <= _PORT_MAX
