"""Where this process may connect to by itself: the destination policy for every outbound call.

A call goes to an origin that was configured, or nowhere. Names are resolved here and the addresses judged before one of
them is connected to, so that a name cannot stand for another address afterwards. Link-local addresses, where clouds
hand out credentials to whoever asks, are refused unless the operator allows them.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",  # link-local: AWS, Azure, Google, Oracle, OpenStack
            "fe80::/10",
            "fd00:ec2::/32",  # AWS over IPv6
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure's wire server
        ),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = tuple[socket.AddressFamily, str]
"""A family, and a numeric host."""


class DestinationRefused(OSError):
    """The policy does not allow the connection."""


class Origin(NamedTuple):
    """A host and a port."""

    host: str
    port: int


def origin_of(url: str) -> Origin:
    """The origin of an http or https URL. `ValueError`, which quotes nothing of it: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("it cannot be read as a URL") from None
    if parts.scheme not in PORTS:
        raise ValueError("it must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("it must not hold a user name or a password")
    if not parts.hostname:
        raise ValueError("it names no host")
    return Origin(parts.hostname.rstrip("."), PORTS[parts.scheme] if port is None else port)


class Egress:
    """The origins that may be called, and whether link-local addresses may be."""

    def __init__(self, origins: Iterable[Origin], *, allow_link_local: bool = False) -> None:
        self._origins = frozenset(origins)
        self._allow_link_local = allow_link_local

    def require(self, origin: Origin) -> None:
        """`DestinationRefused` unless this origin was configured."""
        if Origin(origin.host.lower().rstrip("."), origin.port) not in self._origins:
            raise DestinationRefused("this destination is not one that was configured")

    def judge(self, addresses: Iterable[Address]) -> list[Address]:
        """Those of a name's addresses that may be connected to; `DestinationRefused` if there is none."""
        allowed = [address for address in addresses if self._allow_link_local or not is_link_local(address[1])]
        if not allowed:
            raise DestinationRefused(
                "its address is link-local or of a cloud's metadata service; FILESTEAD_ALLOW_LINK_LOCAL=true allows it"
            )
        return allowed

    def connect(self, origin: Origin, seconds: float) -> socket.socket:
        """A connection to the first address that takes it, each within `seconds`. Blocks; `OSError`."""
        self.require(origin)
        failure: OSError = ConnectionRefusedError("no address")
        for _, host in self.judge(numeric(socket.getaddrinfo(*origin, type=socket.SOCK_STREAM))):
            try:
                return socket.create_connection((host, origin.port), timeout=seconds)
            except OSError as error:
                failure = error
        raise failure


def numeric(found: Iterable[tuple[socket.AddressFamily, int, int, str, tuple[object, ...]]]) -> list[Address]:
    """What the resolver answered, as addresses; a scope (`%eth0`) stays with an IPv6 address."""
    return [(family, str(address[0])) for family, _, _, _, address in found]


def is_link_local(host: str) -> bool:
    """Whether a numeric host is link-local or a metadata service's, however it is written."""
    address = ipaddress.ip_address(host.partition("%")[0])
    inside: list[ipaddress.IPv4Address | ipaddress.IPv6Address | None] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inside += [address.ipv4_mapped, address.sixtofour]
        if address in _NAT64 or int(address) >> 32 == 0:  # the latter: IPv4-compatible
            inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return any(one is not None and one in network for one in inside for network in _METADATA)


def names_link_local(origin: Origin) -> bool:
    """Whether the host is itself written as a link-local address, which no resolver is needed to see."""
    with contextlib.suppress(ValueError):
        return is_link_local(origin.host)
    return False
