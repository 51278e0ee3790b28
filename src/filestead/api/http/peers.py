"""Who is at the other end: the address of a client, also behind proxies that the operator trusts."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from starlette.requests import Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def name_of(host: str) -> str:
    """What limits by address count under: an IPv4 address, or the network of 64 bits of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@dataclass(frozen=True, slots=True)
class Peers:
    """Finds the address of a client. `X-Forwarded-For` counts as far as trusted proxies have written it."""

    trusted: Collection[Network] = ()

    def client(self, request: Request) -> str:
        """The address, as `name_of` has it."""
        host = request.client.host if request.client else ""
        if self.trusted and self._is_trusted(host):
            # Each proxy adds the address that it was called from at the end, so the first ones can be made up.
            forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
            hosts = [text.strip() for text in forwarded if text.strip()]
            while hosts and self._is_trusted(host):
                host = hosts.pop()
        return name_of(host)

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.trusted)
