"""The destination policy for all outbound connections of this process.

Only configured origins may be connected to. Names are resolved here, and the addresses are checked before one of them
is connected to, so that a name cannot resolve to another address afterwards. Link-local addresses, at which clouds
serve credentials without authentication, are refused unless the operator allows them.
"""

import contextlib
import functools
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
_LINK_LOCAL = tuple(
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
    """The policy refuses the connection."""


class Origin(NamedTuple):
    """A host and a port."""

    host: str
    port: int


def origin_of(url: str) -> Origin:
    """The origin of an http or https URL. A `ValueError` does not quote the URL, which may contain a password."""
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
    """The origins that may be connected to, and whether their addresses may be link-local or private."""

    def __init__(
        self, origins: Iterable[Origin], *, allow_link_local: bool = False, allow_private: bool = True
    ) -> None:
        self._origins = frozenset(origins)
        self._allow_link_local = allow_link_local
        self._allow_private = allow_private

    def require_configured(self, origin: Origin) -> None:
        """Raise `DestinationRefused` unless this origin was configured."""
        if Origin(origin.host.lower().rstrip("."), origin.port) not in self._origins:
            raise DestinationRefused("this destination is not configured")

    def allowed_addresses(self, addresses: Iterable[Address]) -> list[Address]:
        """The addresses that may be connected to. Raises `DestinationRefused` if there are none."""
        if not self._allow_private:
            addresses = [address for address in addresses if is_public(address[1])]
            if not addresses:
                raise DestinationRefused("its address is private, and no setting allows that")
        allowed = [address for address in addresses if self._allow_link_local or not is_link_local(address[1])]
        if not allowed:
            raise DestinationRefused(
                "its address is link-local or a cloud's metadata service; FILESTEAD_ALLOW_LINK_LOCAL=true allows it"
            )
        return allowed

    def connect(self, origin: Origin, seconds: float) -> socket.socket:
        """Connect to the first address that accepts, each within `seconds`. Blocks; raises `OSError`."""
        self.require_configured(origin)
        failure: OSError = ConnectionRefusedError("no address")
        for _, host in self.allowed_addresses(numeric_addresses(socket.getaddrinfo(*origin, type=socket.SOCK_STREAM))):
            try:
                return socket.create_connection((host, origin.port), timeout=seconds)
            except OSError as error:
                failure = error
        raise failure

    @contextlib.contextmanager
    def http_connection(
        self, url: str, seconds: float
    ) -> Iterator[tuple[http.client.HTTPConnection, Callable[[], bool]]]:
        """A connection for the URL that is shut down after `seconds`, and whether it was. Redirects are not followed.

        A socket timeout would start again with each byte. Blocks; raises `OSError`.
        """
        origin = origin_of(url)
        connection = http.client.HTTPConnection(*origin)
        opened = self.connect(origin, seconds)
        handle = opened.dup()  # remains usable when TLS takes over the socket
        is_expired = threading.Event()
        timer = threading.Timer(seconds, lambda: _expire(handle, is_expired))
        timer.daemon = True
        timer.start()
        try:
            if url.startswith("https:"):
                connection.default_port = http.client.HTTPS_PORT
                connection.sock = tls_context().wrap_socket(opened, server_hostname=origin.host)
            else:
                connection.sock = opened
            yield connection, is_expired.is_set
        finally:
            timer.cancel()
            connection.close()
            opened.close()
            handle.close()


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The settings of TLS, cached, as reading all certificates takes tens of milliseconds."""
    return ssl.create_default_context()


def _expire(opened: socket.socket, is_expired: threading.Event) -> None:
    is_expired.set()  # set first: the reader could take the end of the stream for the end of a response
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


def numeric_addresses(found: Iterable[tuple[socket.AddressFamily, int, int, str, tuple[object, ...]]]) -> list[Address]:
    """The result of `getaddrinfo` as addresses; IPv6 addresses keep their scope (`%eth0`)."""
    return [(family, str(address[0])) for family, _, _, _, address in found]


def is_link_local(host: str) -> bool:
    """Whether a numeric host is link-local or a metadata service, in any notation."""
    return any(one in network for one in _notations(host) for network in _LINK_LOCAL)


def is_public(host: str) -> bool:
    """Whether a numeric host is globally reachable in every notation: neither private nor loopback nor multicast."""
    return all(one.is_global and not one.is_multicast for one in _notations(host))


def _notations(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """A numeric host, and the IPv4 address that an IPv6 address stands for."""
    address = ipaddress.ip_address(host.partition("%")[0])
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address | None] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        found += [address.ipv4_mapped, address.sixtofour]
        if address in _NAT64 or int(address) >> 32 == 0:  # the latter: IPv4-compatible
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def is_link_local_origin(origin: Origin) -> bool:
    """Whether the host is a numeric link-local address, which needs no resolver to tell."""
    with contextlib.suppress(ValueError):
        return is_link_local(origin.host)
    return False
